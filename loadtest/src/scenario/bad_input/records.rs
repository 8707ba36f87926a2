//! Records on the tenant's direct topic: each becomes a dead letter with its bytes and a reason, and stops nobody.

use std::time::Duration;

use anyhow::ensure;
use hashbrown::HashMap;
use pushrail_schemas::{headers, wire};
use pushrail_topology::topics;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, OwnedHeaders};
use tokio::time::Instant;

use super::Row;
use crate::bed::Bed;
use crate::generator::direct;
use crate::kafka::{self, Filler, Record};
use crate::sample::TENANT;

const WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(bed: &Bed) -> anyhow::Result<Vec<Row>> {
    let schema = bed.event_input_id().await?;
    let cases = cases(schema, bed.ids.attempt);
    let (bootstrap, sent) = (bed.bootstrap(), cases.clone());
    let dead = tokio::task::spawn_blocking(move || bury(&bootstrap, &sent)).await??;
    let row = |(what, value, reason): (&str, Vec<u8>, &str)| {
        let letter = dead.get(what).cloned().unwrap_or_default();
        Row {
            what: what.to_owned(),
            is_clear: letter.reason == reason && !letter.detail.is_empty() && letter.value == value,
            outcome: letter.reason,
            error: letter.detail,
        }
    };
    Ok(cases.into_iter().map(row).collect())
}

type Case = (&'static str, Vec<u8>, &'static str);

fn cases(schema: u32, other_schema: u32) -> Vec<Case> {
    let event = |kind: &str, customer: &str, payload: &[u8]| {
        direct::event_input(schema, kind, customer, payload)
    };
    let good = || event("order.completed", "customer-1", b"{}");
    let with_schema = |schema: u32| {
        let mut value = Vec::new();
        wire::start(schema, &mut value);
        value.extend_from_slice(&good()[5..]);
        value
    };
    let long = "x".repeat(300);
    vec![
        ("an empty value", Vec::new(), "undecodable"),
        ("text", b"order.completed".to_vec(), "undecodable"),
        (
            "JSON",
            br#"{"eventType":"order.completed"}"#.to_vec(),
            "undecodable",
        ),
        ("only a magic byte", vec![0], "undecodable"),
        (
            "another magic byte",
            [&[1], &good()[1..]].concat(),
            "undecodable",
        ),
        (
            "a schema id that nobody registered",
            with_schema(987_654),
            "undecodable",
        ),
        (
            "the schema of something else",
            with_schema(other_schema),
            "undecodable",
        ),
        (
            "a value that breaks off",
            good()[..12].to_vec(),
            "undecodable",
        ),
        (
            "bytes behind the value",
            [good(), vec![0; 3]].concat(),
            "undecodable",
        ),
        ("no event type", event("", "customer-1", b"{}"), "invalid"),
        (
            "an event type with a space",
            event("order completed", "customer-1", b"{}"),
            "invalid",
        ),
        (
            "an event type that is too long",
            event(&long, "customer-1", b"{}"),
            "invalid",
        ),
        (
            "no customer",
            event("order.completed", "", b"{}"),
            "invalid",
        ),
        (
            "a customer that is too long",
            event("order.completed", &long, b"{}"),
            "invalid",
        ),
        (
            "a payload that is not JSON",
            event("order.completed", "customer-1", b"{oops"),
            "invalid",
        ),
        (
            "a payload that is no object",
            event("order.completed", "customer-1", b"[1]"),
            "invalid",
        ),
        (
            "a payload that is not UTF-8",
            event("order.completed", "customer-1", b"{\"a\":\"\xff\"}"),
            "invalid",
        ),
    ]
}

#[derive(Clone, Default)]
struct Letter {
    reason: String,
    detail: String,
    value: Vec<u8>,
}

/// Publishes all, and waits until each is a dead letter. They are told apart by their keys.
fn bury(bootstrap: &str, cases: &[Case]) -> anyhow::Result<HashMap<String, Letter>> {
    let filler = Filler::new(bootstrap)?;
    for (what, value, _) in cases {
        filler.send(Record {
            topic: &topics::direct(TENANT),
            key: what,
            headers: OwnedHeaders::new(),
            value,
        })?;
    }
    filler.finish()?;
    let until = Instant::now() + WITHIN;
    loop {
        let mut dead = HashMap::new();
        kafka::read_all(bootstrap, topics::DLQ_DIRECT, |message| {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            dead.insert(key, letter(message));
        })?;
        if dead.len() >= cases.len() {
            return Ok(dead);
        }
        ensure!(
            Instant::now() < until,
            "only {} of {} malformed records are dead letters after {WITHIN:?}",
            dead.len(),
            cases.len()
        );
    }
}

fn letter(message: &BorrowedMessage<'_>) -> Letter {
    let header = |name: &str| {
        let headers = message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        Some(String::from_utf8_lossy(found.value?).into_owned())
    };
    Letter {
        reason: header(headers::FAILURE_REASON).unwrap_or_default(),
        detail: header(headers::FAILURE_DETAIL).unwrap_or_default(),
        value: message.payload().unwrap_or_default().to_vec(),
    }
}
