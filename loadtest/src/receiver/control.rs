//! The receiver's own endpoints, under `/_/`: `plan` (POST a [`Plan`]), `stats`, `log` (binary arrivals), `clear`.

use std::sync::Arc;

use super::arrival::ENCODED_LEN;
use super::behaviour::{Plan, Table};
use super::request::Request;
use super::{ActivePlan, Shared, Stats};

pub(super) fn handle(name: &str, request: &Request, shared: &Shared) -> (u16, Vec<u8>) {
    match (name, request.post) {
        ("plan", true) => match serde_json::from_slice::<Plan>(&request.body) {
            Ok(plan) => {
                let set_at = tokio::time::Instant::now();
                shared.plan.store(Arc::new(ActivePlan {
                    table: Table::new(&plan),
                    set_at,
                }));
                (200, Vec::new())
            }
            Err(error) => (400, error.to_string().into_bytes()),
        },
        ("clear", true) => {
            shared.logs.iter().for_each(|log| *lock(log) = Vec::new());
            (200, Vec::new())
        }
        ("stats", false) => (200, serde_json::to_vec(&stats(shared)).unwrap_or_default()),
        ("log", false) => (200, dump(shared)),
        _ => (404, b"no such control".to_vec()),
    }
}

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn stats(shared: &Shared) -> Stats {
    let mut stats = Stats::default();
    for log in &shared.logs {
        let log = lock(log);
        stats.requests += log.len() as u64;
        stats.last_at_us = stats
            .last_at_us
            .max(log.last().map_or(0, |arrival| arrival.at_us));
    }
    stats.delivered = shared.delivered.load(std::sync::atomic::Ordering::Relaxed);
    stats.connections = shared
        .connections
        .load(std::sync::atomic::Ordering::Relaxed);
    stats
}

fn dump(shared: &Shared) -> Vec<u8> {
    let mut out = Vec::new();
    for log in &shared.logs {
        let log = lock(log);
        out.reserve(log.len() * ENCODED_LEN);
        log.iter().for_each(|arrival| arrival.encode(&mut out));
    }
    out
}
