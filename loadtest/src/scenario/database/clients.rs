//! Clients of the API that change things all the time, and remember what each change was answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::{Answer, Api};

/// How long a client waits after a 503. It is asked to wait longer; the more there is for the database to lose.
const BREATH: Duration = Duration::from_millis(100);
/// How long a client insists on a request that it repeats with its idempotency key.
const INSIST: Duration = Duration::from_secs(90);
/// Destinations of one client: it makes more below the first number, and none above the second.
const OWNED: (usize, usize) = (3, 30);
/// A destination's secret is left alone for so long: at most four old ones may sign beside the newest.
const ROTATED_EVERY: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Create,
    Rename,
    Rotate,
    Delete,
}

/// One change that a client wanted.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    /// Absent of one that was to be made and has not been answered.
    pub(super) destination: Option<Uuid>,
    /// The name that the change gives, which no other change gives; empty where it gives none.
    pub(super) name: String,
    /// Answered 2xx. What was not may have been done or not.
    pub(super) is_done: bool,
    /// Whether it was repeated under one idempotency key until it was answered.
    pub(super) is_insisted: bool,
    /// The signing secret that was answered.
    pub(super) secret: Option<String>,
}

/// What the clients have seen.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Seen {
    /// Answers by status; what had none is under `none`.
    pub(super) answers: BTreeMap<String, u64>,
    /// 503s without a `Retry-After`.
    pub(super) without_retry_after: u64,
    /// Neither 2xx nor 503.
    pub(super) other_examples: Vec<String>,
    pub(super) slowest_ms: f64,
    #[serde(skip)]
    pub(super) latencies_us: Vec<i64>,
    #[serde(skip)]
    pub(super) changes: Vec<Change>,
}

impl Seen {
    pub(super) fn others(&self) -> u64 {
        let good = |status: &str| status.starts_with('2') || status == "503";
        let others = self.answers.iter().filter(|(status, _)| !good(status));
        others.map(|(_, count)| count).sum()
    }

    pub(super) fn absorb(&mut self, other: Seen) {
        for (status, count) in other.answers {
            *self.answers.entry(status).or_default() += count;
        }
        self.without_retry_after += other.without_retry_after;
        self.other_examples.extend(other.other_examples);
        self.slowest_ms = self.slowest_ms.max(other.slowest_ms);
        self.latencies_us.extend(other.latencies_us);
        self.changes.extend(other.changes);
    }
}

/// One client with a customer of its own.
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) api: Api,
    pub(super) seed: u64,
    pub(super) stop: Arc<AtomicBool>,
}

struct Busy {
    client: Client,
    seen: Seen,
    owned: Vec<Owned>,
    made: u32,
}

/// A destination, and when its secret was last replaced.
struct Owned {
    id: Uuid,
    rotated: Option<Instant>,
}

impl Client {
    /// Changes one thing after the other until it is told to stop.
    pub(super) async fn run(self) -> Seen {
        let mut random = StdRng::seed_from_u64(self.seed ^ u64::from(self.number) << 32);
        let mut busy = Busy {
            client: self,
            seen: Seen::default(),
            owned: Vec::new(),
            made: 0,
        };
        while !busy.client.stop.load(Ordering::Relaxed) {
            let draw = random.random_range(0..100);
            let at = random.random_range(0..busy.owned.len().max(1));
            let done = match (busy.owned.len(), draw) {
                (owned, _) if owned < OWNED.0 => busy.create().await,
                (owned, 0..20) if owned < OWNED.1 => busy.create().await,
                (_, 20..35) => busy.delete(at).await,
                (_, 35..60) if busy.may_rotate(at) => busy.rotate(at).await,
                _ => busy.rename(at).await,
            };
            if !done {
                tokio::time::sleep(BREATH).await;
            }
        }
        busy.seen
    }

    fn path(&self) -> String {
        format!("/v1/customers/client-{}/destinations", self.number)
    }
}

impl Busy {
    /// A name that nothing else ever has.
    fn name(&mut self) -> String {
        self.made += 1;
        format!("client-{}-{}", self.client.number, self.made)
    }

    /// Half of the clients repeat it under an idempotency key until it is answered.
    async fn create(&mut self) -> bool {
        let name = self.name();
        let body = json!({
            "kind": "webhook",
            "name": name,
            "config": {"url": "http://127.0.0.1:9/nobody"},
            "eventTypes": ["nothing.happened"],
        });
        let is_insisted = self.client.number.is_multiple_of(2);
        let until = Instant::now() + INSIST;
        let path = self.client.path();
        let answer = loop {
            let headers = [("idempotency-key", name.as_str())];
            let headers = if is_insisted { &headers[..] } else { &[] };
            let answer = self.send(Method::POST, &path, headers, Some(&body)).await;
            if answer.is_some() || !is_insisted || Instant::now() > until {
                break answer;
            }
            tokio::time::sleep(BREATH).await;
        };
        let value = answer.as_ref().and_then(|answer| answer.good().ok());
        let id = value.as_ref().and_then(|value| {
            let id = value["destinationId"].as_str()?;
            id.parse().ok()
        });
        self.owned.extend(id.map(|id| Owned { id, rotated: None }));
        self.push(Kind::Create, id, name, value.as_ref(), is_insisted)
    }

    async fn rename(&mut self, at: usize) -> bool {
        let (id, name) = (self.owned[at].id, self.name());
        let path = format!("{}/{id}", self.client.path());
        let body = json!({"name": name});
        let answer = self.send(Method::PATCH, &path, &[], Some(&body)).await;
        let value = answer.and_then(|answer| answer.good().ok());
        self.push(Kind::Rename, Some(id), name, value.as_ref(), false)
    }

    fn may_rotate(&self, at: usize) -> bool {
        let rotated = self.owned[at].rotated;
        rotated.is_none_or(|rotated| rotated.elapsed() > ROTATED_EVERY)
    }

    async fn rotate(&mut self, at: usize) -> bool {
        let owned = &mut self.owned[at];
        owned.rotated = Some(Instant::now());
        let id = owned.id;
        let path = format!("{}/{id}/secrets/rotate", self.client.path());
        let answer = self.send(Method::POST, &path, &[], None).await;
        let value = answer.and_then(|answer| answer.good().ok());
        let name = String::new();
        self.push(Kind::Rotate, Some(id), name, value.as_ref(), false)
    }

    /// Whatever came of it, nothing more is done to that one.
    async fn delete(&mut self, at: usize) -> bool {
        let id = self.owned.swap_remove(at).id;
        let path = format!("{}/{id}", self.client.path());
        let answer = self.send(Method::DELETE, &path, &[], None).await;
        let value = answer.and_then(|answer| answer.good().ok());
        let name = String::new();
        self.push(Kind::Delete, Some(id), name, value.as_ref(), false)
    }

    fn push(
        &mut self,
        kind: Kind,
        destination: Option<Uuid>,
        name: String,
        answered: Option<&Value>,
        is_insisted: bool,
    ) -> bool {
        let secret = answered.and_then(|value| value["signingSecret"].as_str());
        self.seen.changes.push(Change {
            kind,
            destination,
            name,
            is_done: answered.is_some(),
            is_insisted,
            secret: secret.map(str::to_owned),
        });
        answered.is_some()
    }

    /// The answer if it is 2xx; counts it in any case.
    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Option<Answer> {
        let started = Instant::now();
        let sent = self
            .client
            .api
            .send(method.clone(), path, headers, body)
            .await;
        let latency_us = started.elapsed().as_micros() as i64;
        let seen = &mut self.seen;
        seen.slowest_ms = seen.slowest_ms.max(latency_us as f64 / 1e3);
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                *seen.answers.entry("none".into()).or_default() += 1;
                seen.other_examples
                    .push(format!("{method} {path}: {error:#}"));
                return None;
            }
        };
        let status = answer.status.as_u16();
        *seen.answers.entry(status.to_string()).or_default() += 1;
        match status {
            200..300 => {
                seen.latencies_us.push(latency_us);
                return Some(answer);
            }
            503 => seen.without_retry_after += u64::from(answer.retry_after_s().is_none()),
            _ => {
                let text = &answer.text;
                let example = format!("{method} {path}: {status} {text}");
                seen.other_examples.push(example);
            }
        }
        None
    }
}
