//! Propagation: how soon a change of configuration is in force, from its request and from its answer, and whether an event
//! that is posted right after the answer meets what was decided.
//!
//! Each kind of change is made again and again by a client of its own, on destinations of its own, through ingest. What is
//! in force is what a receiver sees: the first delivery by the new configuration, the last by the old one.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, TryStreamExt as _};
use hashbrown::HashSet;
use pushrail_schemas::identity;
use serde::Serialize;
use serde_json::json;
use standardwebhooks::Webhook;
use tokio::process::{Child, Command};
use uuid::Uuid;

use super::Options;
use crate::api::{Api, text};
use crate::keeper::{Keeper, Kept, Reply};
use crate::plane::Plane;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::sample::{self, TENANT};
use crate::services::{Kind, Service};
use crate::stats::Latency;

/// An event that has not arrived by then never will, or is not worth having.
const ARRIVES_WITHIN: Duration = Duration::from_secs(15);
/// How long is looked for deliveries that should not be.
const LOOKED_FOR: Duration = Duration::from_millis(500);
/// Events that are posted after the answer where none should be delivered.
const PROBES: u32 = 3;
/// Requests at once while the background's destinations are made.
const AT_ONCE: usize = 8;
/// How long what is owed to resumed destinations may take: it comes back through the retry tiers.
const OWED_WITHIN: Duration = Duration::from_secs(120);
const IN_FORCE_MS_MAX: f64 = 1_000.0;

#[derive(Clone, Copy, Debug)]
struct Size {
    destinations: u32,
    per_second: u32,
    /// Changes of each kind.
    changes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Create,
    Retype,
    Rotate,
    Pause,
    Resume,
    Delete,
}

impl Change {
    const ALL: [Change; 6] = [
        Change::Create,
        Change::Retype,
        Change::Rotate,
        Change::Pause,
        Change::Resume,
        Change::Delete,
    ];

    fn describe(self) -> &'static str {
        match self {
            Change::Create => "a destination for a new event type is made; the event is delivered",
            Change::Retype => "a destination gets a new event type; the event is delivered",
            Change::Rotate => "a secret is replaced without overlap; the new one signs",
            Change::Pause => "a destination is paused; nothing is delivered",
            Change::Resume => "it is resumed; a new event is delivered",
            Change::Delete => "a destination is removed; nothing is delivered",
        }
    }
}

/// One change.
#[derive(Clone, Copy, Debug, Serialize)]
struct Sample {
    change: Change,
    answer_us: i64,
    /// Until it was in force; 0 where it was before the answer.
    from_start_us: i64,
    from_answer_us: i64,
    /// Events that were posted after the answer and met what was before it.
    stale: u32,
    /// An event that was posted after the answer was never delivered although it should have been.
    is_missed: bool,
}

/// When a change was asked for and answered, in Unix microseconds.
#[derive(Clone, Copy)]
struct Asked {
    start_us: i64,
    answer_us: i64,
}

impl Asked {
    fn sample(self, change: Change, in_force_us: Option<i64>, stale: u32) -> Sample {
        Sample {
            change,
            answer_us: self.answer_us - self.start_us,
            from_start_us: in_force_us.map_or(0, |at| at - self.start_us),
            from_answer_us: in_force_us.map_or(0, |at| (at - self.answer_us).max(0)),
            stale,
            is_missed: false,
        }
    }

    /// Where an event should have arrived and may not have.
    fn arrived(self, change: Change, arrived: Option<&Kept>) -> Sample {
        Sample {
            is_missed: arrived.is_none(),
            ..self.sample(
                change,
                arrived.map(|kept| kept.at_us),
                arrived.is_none().into(),
            )
        }
    }
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = match options.quick {
        true => Size {
            destinations: 100,
            per_second: 100,
            changes: 5,
        },
        false => Size {
            destinations: 1_000,
            per_second: 500,
            changes: 60,
        },
    };
    let plane = Plane::start("propagation", &[]).await?;
    let receiver = Receiver::start(1).await?;
    let services = plane.services(&[]).await?;
    let ingest = services.iter().find(|service| service.kind == Kind::Ingest);
    let ingest = ingest.context("an ingest")?;
    let api = plane.through(ingest)?;
    background_destinations(&api, &receiver, size).await?;
    let mut background = background(&plane, ingest, size)?;
    let keeper = Arc::new(Keeper::start(|_| Reply::status(200)).await?);
    let client = |name: &'static str| Client {
        name,
        api: api.clone(),
        keeper: Arc::clone(&keeper),
        posted: 0,
    };
    let count = size.changes;
    let (creates, retypes, rotates, (pauses, owed), deletes) = tokio::try_join!(
        client("create").creates(count),
        client("retype").retypes(count),
        client("rotate").rotates(count),
        client("pause").pauses(count),
        client("delete").deletes(count),
    )?;
    anyhow::ensure!(
        background.try_wait()?.is_none(),
        "the background load ended before the changes did"
    );
    background.kill().await?;
    let delivered = receiver.stats().await?.delivered;
    for mut service in services {
        service.stop().await?;
    }
    plane.stop().await?;
    let samples = [creates, retypes, rotates, pauses, deletes].concat();
    let mut report = report(options, size, &samples);
    report.check(
        "events of paused destinations that were not delivered after they were resumed",
        owed.to_string(),
        "0",
        owed == 0,
    );
    report.note(format!(
        "{delivered} deliveries went to the other destinations meanwhile."
    ));
    report.data = json!({"samples": samples});
    Ok(report)
}

async fn background_destinations(api: &Api, receiver: &Receiver, size: Size) -> anyhow::Result<()> {
    let make = |n: u32| {
        let path = format!("/v1/customers/{}/destinations", sample::customer(n));
        let body = json!({"kind": "webhook", "config": {"url": receiver.url(n)}});
        async move { api.post(&path, &body).await?.good() }
    };
    eprintln!("  making {} destinations", size.destinations);
    let made = futures::stream::iter((0..size.destinations).map(make));
    made.buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(())
}

/// Posts until it is killed.
fn background(plane: &Plane, ingest: &Service, size: Size) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["post", "--events", "100000000"])
        .args(["--ingest", &ingest.listen.to_string()])
        .args(["--rate", &size.per_second.to_string()])
        .args(["--customers", &size.destinations.to_string()])
        .env("PUSHRAIL_API_KEY", &plane.bed.api_key)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command.spawn().context("cannot start the background load")
}

/// Makes changes of one kind, as a customer of its own.
struct Client {
    name: &'static str,
    api: Api,
    keeper: Arc<Keeper>,
    posted: u32,
}

impl Client {
    fn path(&self) -> String {
        format!("/v1/customers/{}/destinations", self.name)
    }

    /// Posts an event, and returns its id when it was accepted.
    async fn post(&mut self, event_type: &str) -> anyhow::Result<Uuid> {
        self.posted += 1;
        let key = format!("{}-{}", self.name, self.posted);
        let body = json!({"eventType": event_type, "customerExternalId": self.name, "idempotencyKey": key, "payload": {}});
        self.api.post("/v1/events", &body).await?.good()?;
        Ok(identity::event_id(TENANT, event_type, &key))
    }

    /// Waits for an event's delivery.
    async fn arrival(&self, from: usize, id: Uuid) -> Option<Arc<Kept>> {
        let wanted = |kept: &Kept| kept.event_id() == Some(id);
        self.keeper.wait(from, ARRIVES_WITHIN, wanted).await
    }

    /// Makes a destination; returns its path and its signing secret.
    async fn destination(&self, event_type: &str) -> anyhow::Result<(String, String)> {
        let body = json!({
            "kind": "webhook",
            "config": {"url": self.keeper.url("/probe")},
            "eventTypes": [event_type],
        });
        let made = self.api.post(&self.path(), &body).await?.good()?;
        let path = format!("{}/{}", self.path(), text(&made, "destinationId")?);
        Ok((path, text(&made, "signingSecret")?))
    }

    async fn creates(mut self, count: u32) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for n in 0..count {
            let event_type = format!("made.n{n}");
            let (from, start_us) = (self.keeper.count(), pushrail_clock::now_us());
            self.destination(&event_type).await?;
            let asked = answered(start_us);
            let id = self.post(&event_type).await?;
            let arrived = self.arrival(from, id).await;
            samples.push(asked.arrived(Change::Create, arrived.as_deref()));
        }
        Ok(samples)
    }

    async fn retypes(mut self, count: u32) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let (path, _) = self.destination("retyped.first").await?;
        for n in 0..count {
            let event_type = format!("retyped.n{n}");
            let (from, start_us) = (self.keeper.count(), pushrail_clock::now_us());
            let body = json!({"eventTypes": [event_type]});
            self.api.patch(&path, &body).await?.good()?;
            let asked = answered(start_us);
            let id = self.post(&event_type).await?;
            let arrived = self.arrival(from, id).await;
            samples.push(asked.arrived(Change::Retype, arrived.as_deref()));
        }
        Ok(samples)
    }

    async fn rotates(mut self, count: u32) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let (mut path, _) = self.destination("rotated").await?;
        for n in 0..count {
            // Old secrets go a moment after their overlap of 0 s, and at most four may wait for that.
            if n % 4 == 3 {
                self.api.delete(&path).await?.good()?;
                (path, _) = self.destination("rotated").await?;
            }
            let (from, start_us) = (self.keeper.count(), pushrail_clock::now_us());
            let body = json!({"overlapSeconds": 0});
            let rotate = format!("{path}/secrets/rotate");
            let rotated = self.api.post(&rotate, &body).await?.good()?;
            let asked = answered(start_us);
            let encoded = text(&rotated, "signingSecret")?;
            let encoded = encoded.strip_prefix("whsec_").context("no whsec_ secret")?;
            let secret = Webhook::from_bytes(STANDARD.decode(encoded)?)?;
            let mut stale = 0;
            let arrived = loop {
                let id = self.post("rotated").await?;
                match self.arrival(from, id).await {
                    Some(kept) if secret.verify(&kept.body, &kept.headers).is_err() => stale += 1,
                    arrived => break arrived,
                }
            };
            samples.push(Sample {
                stale,
                ..asked.arrived(Change::Rotate, arrived.as_deref())
            });
        }
        Ok(samples)
    }

    /// Pauses and resumes; also returns how many events were still owed in the end.
    async fn pauses(mut self, count: u32) -> anyhow::Result<(Vec<Sample>, usize)> {
        let mut samples = Vec::new();
        let mut owed = HashSet::new();
        for n in 0..count {
            // One of its own each: what is owed to a resumed one comes slowly at first, and would be in the way.
            let event_type = format!("paused.n{n}");
            let (path, _) = self.destination(&event_type).await?;
            let id = self.post(&event_type).await?;
            self.arrival(0, id)
                .await
                .context("nothing arrived before the pause")?;
            let start_us = pushrail_clock::now_us();
            self.api.act(&format!("{path}/pause")).await?.good()?;
            let asked = answered(start_us);
            let (sample, ids) = self.silence(Change::Pause, asked, &event_type).await?;
            samples.push(sample);
            owed.extend(ids);
            let (from, start_us) = (self.keeper.count(), pushrail_clock::now_us());
            self.api.act(&format!("{path}/resume")).await?.good()?;
            let asked = answered(start_us);
            let id = self.post(&event_type).await?;
            let arrived = self.arrival(from, id).await;
            samples.push(asked.arrived(Change::Resume, arrived.as_deref()));
        }
        let all_came = |kept: &Kept| {
            if let Some(id) = kept.event_id() {
                owed.remove(&id);
            }
            owed.is_empty()
        };
        self.keeper.wait(0, OWED_WITHIN, all_came).await;
        Ok((samples, owed.len()))
    }

    async fn deletes(mut self, count: u32) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for n in 0..count {
            let event_type = format!("removed.n{n}");
            let (path, _) = self.destination(&event_type).await?;
            let id = self.post(&event_type).await?;
            self.arrival(0, id)
                .await
                .context("nothing arrived before the removal")?;
            let start_us = pushrail_clock::now_us();
            self.api.delete(&path).await?.good()?;
            let asked = answered(start_us);
            let (sample, _) = self.silence(Change::Delete, asked, &event_type).await?;
            samples.push(sample);
        }
        Ok(samples)
    }

    /// Posts events of which none should be delivered now; returns their ids too.
    async fn silence(
        &mut self,
        change: Change,
        asked: Asked,
        event_type: &str,
    ) -> anyhow::Result<(Sample, HashSet<Uuid>)> {
        let from = self.keeper.count();
        let mut ids = HashSet::new();
        for _ in 0..PROBES {
            ids.insert(self.post(event_type).await?);
        }
        tokio::time::sleep(LOOKED_FOR).await;
        let kept = self.keeper.kept(from);
        let stale = kept.iter().filter(|kept| {
            let id = kept.event_id();
            id.is_some_and(|id| ids.contains(&id))
        });
        let last_us = stale.clone().map(|kept| kept.at_us).max();
        let sample = asked.sample(change, last_us, stale.count() as u32);
        // Nothing came after the answer: by then it was in force.
        let from_start_us = last_us.map_or(sample.answer_us, |_| sample.from_start_us);
        let sample = Sample {
            from_start_us,
            ..sample
        };
        Ok((sample, ids))
    }
}

fn answered(start_us: i64) -> Asked {
    Asked {
        start_us,
        answer_us: pushrail_clock::now_us(),
    }
}

fn report(options: Options, size: Size, samples: &[Sample]) -> Report {
    let mut report = Report::new(
        "propagation",
        "How soon a change of configuration is in force",
        options.quick,
    );
    report.method = format!(
        "{} destinations get {} events a second while five clients change others through ingest and the API, {} changes of \
         each kind one after the other. Right after an answer the client posts events that the change is about. In force \
         is when the first of them is delivered by the new configuration, the way of the event included; where nothing \
         should be delivered any more ({PROBES} events, looked for {} ms), when the last by the old one was, or the answer if there was none.",
        size.destinations,
        size.per_second,
        size.changes,
        LOOKED_FOR.as_millis()
    );
    let missed = samples.iter().filter(|sample| sample.is_missed).count();
    report.check(
        "events posted after the answer and never delivered",
        missed.to_string(),
        "0",
        missed == 0,
    );
    let least = f64::from(size.changes) * Change::ALL.len() as f64;
    report.at_least("changes", samples.len() as f64, least, "");
    let mut rows = Vec::new();
    for change in Change::ALL {
        let mine = || samples.iter().filter(move |sample| sample.change == change);
        let of = |figure: fn(&Sample) -> i64| Latency::of(mine().map(figure));
        let answer = of(|sample| sample.answer_us);
        let start = of(|sample| sample.from_start_us);
        let after = of(|sample| sample.from_answer_us);
        let stale: u32 = mine().map(|sample| sample.stale).sum();
        rows.push(vec![
            change.describe().to_owned(),
            mine().count().to_string(),
            format!("{:.1} / {:.1}", answer.p50_ms, answer.p99_ms),
            format!("{:.1} / {:.1}", start.p50_ms, start.p99_ms),
            format!("{:.1} / {:.1}", after.p50_ms, after.p99_ms),
            stale.to_string(),
        ]);
    }
    let head = [
        "change",
        "changes",
        "answered, ms p50 / p99",
        "in force from the request, ms p50 / p99",
        "in force from the answer, ms p50 / p99",
        "events posted after the answer that met the old configuration",
    ];
    let all = Latency::of(samples.iter().map(|sample| sample.from_answer_us));
    report.at_most(
        "in force after the answer, p99 of all",
        all.p99_ms,
        // Of a quick run the slowest of a few changes is all there is.
        if options.quick {
            10_000.0
        } else {
            IN_FORCE_MS_MAX
        },
        " ms",
    );
    report.table("Changes", &head, rows);
    report
}
