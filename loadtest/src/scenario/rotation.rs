//! Rotation: the signing secret of a webhook is replaced twice while events flow through it, and every request verifies
//! with the secret before or the secret after, whichever a receiver knows.
//!
//! The receiver keeps requests whole. They are verified afterwards, with secrets as the API answered them: the Standard
//! Webhooks signature by that project's own library, the plain one by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hashbrown::HashSet;
use pushrail_schemas::identity;
use serde::Serialize;
use serde_json::json;
use standardwebhooks::Webhook;
use uuid::Uuid;

use super::{Options, wait};
use crate::api::{Api, text};
use crate::generator::{self, Pace, http};
use crate::keeper::{Keeper, Kept, Reply};
use crate::plane::Plane;
use crate::report::Report;
use crate::sample::{self, TENANT};
use crate::services::Kind;

/// One request of so many is answered 503, so that deliveries are also signed again, later.
const FAILS_EVERY: u64 = 97;
/// When the secret is replaced, in shares of the run.
const ROTATED_AT: [f64; 2] = [0.2, 0.6];

#[derive(Clone, Copy, Debug)]
struct Size {
    events: u64,
    per_second: f64,
    overlap_s: u64,
}

impl Size {
    fn new(options: Options) -> Self {
        if options.quick {
            return Size {
                events: 2_000,
                per_second: 125.0,
                overlap_s: 2,
            };
        }
        Size {
            events: 20_000,
            per_second: 400.0,
            overlap_s: 8,
        }
    }

    fn seconds(self) -> f64 {
        self.events as f64 / self.per_second
    }
}

/// A secret, and when it replaced the one before it.
struct Secret {
    standard: Webhook,
    plain: hmac::Key,
    /// Unix microseconds: when the rotation was asked for, and when it was answered.
    asked_us: i64,
    answered_us: i64,
}

impl Secret {
    fn new(secret: &str, asked_us: i64, answered_us: i64) -> anyhow::Result<Self> {
        let encoded = secret.strip_prefix("whsec_").context("no whsec_ secret")?;
        let key = STANDARD.decode(encoded)?;
        Ok(Secret {
            standard: Webhook::new(secret)?,
            plain: hmac::Key::new(hmac::HMAC_SHA256, &key),
            asked_us,
            answered_us,
        })
    }

    /// Whether both signatures of a request are made with it; `None` where one is and the other is not.
    fn signed(&self, kept: &Kept) -> Option<bool> {
        let standard = self.standard.verify(&kept.body, &kept.headers).is_ok();
        let timestamp = kept.header("x-pushrail-timestamp").as_bytes();
        let message = [timestamp, b".", &kept.body].concat();
        let tags = kept.header("x-pushrail-signature").split(',');
        let mut tags = tags.filter_map(|tag| hex::decode(tag.trim()).ok());
        let plain = tags.any(|tag| hmac::verify(&self.plain, &message, &tag).is_ok());
        (standard == plain).then_some(standard)
    }
}

/// What the requests were signed with.
#[derive(Debug, Default, Serialize)]
struct Judged {
    /// Requests by the secrets they verify with, such as `1+2`.
    phases: BTreeMap<String, u64>,
    /// Verified with no secret, with two that do not follow each other, or with one signature and not with the other.
    failed: u64,
    failed_examples: Vec<String>,
    /// Did not verify with the old secret although its overlap had not ended.
    dropped_early: u64,
    /// How long after each rotation was answered the last request without the new secret's signature arrived, in
    /// milliseconds; negative where that was before the answer.
    last_without_new_ms: Vec<f64>,
    /// How long each old secret signed, from the answer on, in seconds.
    old_signed_s: Vec<f64>,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = Size::new(options);
    let plane = Plane::start("rotation", &[]).await?;
    let count = AtomicU64::new(0);
    let keeper = Keeper::start(move |_| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        Reply::status(if n % FAILS_EVERY == FAILS_EVERY - 1 {
            503
        } else {
            200
        })
    })
    .await?;
    let services = plane.services(&[]).await?;
    let ingest = services.iter().find(|service| service.kind == Kind::Ingest);
    let ingest = ingest.context("an ingest")?;
    let api = plane.through(ingest)?;
    let overlap = json!({"rotationOverlapSeconds": size.overlap_s});
    api.patch("/v1/tenant", &overlap).await?.good()?;
    let path = format!("/v1/customers/{}/destinations", sample::customer(0));
    let body = json!({"kind": "webhook", "config": {"url": keeper.url("/hook")}});
    let made = api.post(&path, &body).await?.good()?;
    let first = Secret::new(&text(&made, "signingSecret")?, 0, 0)?;
    let path = format!("{path}/{}", text(&made, "destinationId")?);
    let load = http::Load {
        ingest: ingest.listen,
        api_key: plane.bed.api_key.clone(),
        connections: 32,
        first: 0,
        events: size.events,
        batch: 1,
        per_second: Some(size.per_second),
        payload_len: 400,
        customers: 1,
        keys: Some("rotation".to_owned()),
        patience: Duration::from_secs(60),
    };
    let generate = load.clone();
    let pace = Pace::start(Some(size.per_second));
    let sending = tokio::spawn(generator::on_own_thread(move || http::run(generate)));
    let mut secrets = vec![first];
    for share in ROTATED_AT {
        pace.due((size.events as f64 * share) as u64).await;
        secrets.push(rotate(&api, &path).await?);
        eprintln!("  rotated after {} requests", keeper.count());
    }
    let sent = sending.await??;
    let left = wait::settled(&plane.bed.bootstrap(), Duration::from_secs(120)).await?;
    let kept = keeper.kept(0);
    for mut service in services {
        service.stop().await?;
    }
    plane.stop().await?;
    let judged = judge(&kept, &secrets, size.overlap_s);
    let delivered: HashSet<Uuid> = kept
        .iter()
        .filter(|kept| kept.delivered())
        .filter_map(|kept| kept.event_id())
        .collect();
    let accepted = sent.accepted.iter().filter_map(|n| load.key(*n));
    let ids = accepted.map(|key| identity::event_id(TENANT, sample::EVENT_TYPE, &key));
    let lost = ids.filter(|id| !delivered.contains(id)).count();
    let mut report = report(options, size, &judged, kept.len());
    report.check(
        "events accepted and not delivered",
        lost.to_string(),
        "0",
        lost == 0 && left.total() == 0,
    );
    report.check(
        "events that were not accepted",
        sent.given_up.to_string(),
        "0",
        sent.given_up == 0,
    );
    let retried = kept.iter().filter(|kept| !kept.delivered()).count();
    report.note(format!(
        "{} events accepted, {} requests, of which {retried} were answered 503 and signed again when they were repeated.",
        sent.accepted.len(),
        kept.len()
    ));
    report.data = serde_json::to_value(&judged)?;
    Ok(report)
}

async fn rotate(api: &Api, path: &str) -> anyhow::Result<Secret> {
    let asked_us = pushrail_clock::now_us();
    let rotated = api.act(&format!("{path}/secrets/rotate")).await?.good()?;
    let answered_us = pushrail_clock::now_us();
    Secret::new(&text(&rotated, "signingSecret")?, asked_us, answered_us)
}

fn judge(kept: &[Arc<Kept>], secrets: &[Secret], overlap_s: u64) -> Judged {
    let mut judged = Judged::default();
    let mut last_without_new = vec![None::<i64>; secrets.len()];
    let mut last_with = vec![None::<i64>; secrets.len()];
    for request in kept {
        let signed: Option<Vec<bool>> = secrets.iter().map(|s| s.signed(request)).collect();
        let with: Option<Vec<usize>> =
            signed.map(|signed| (0..signed.len()).filter(|n| signed[*n]).collect());
        let name = match with.as_deref() {
            Some([one]) => (one + 1).to_string(),
            Some([old, new]) if *new == *old + 1 => format!("{}+{}", old + 1, new + 1),
            other => {
                judged.failed += 1;
                if judged.failed_examples.len() < 5 {
                    let at = request.at_us;
                    let example = format!("arrived at {at}, verified with {other:?}");
                    judged.failed_examples.push(example);
                }
                continue;
            }
        };
        let with = with.unwrap_or_default();
        *judged.phases.entry(name).or_default() += 1;
        for (n, secret) in secrets.iter().enumerate() {
            if with.contains(&n) {
                last_with[n] = last_with[n].max(Some(request.at_us));
            }
            let is_before = with.iter().all(|signed| *signed < n);
            if is_before && n > 0 {
                last_without_new[n] = last_without_new[n].max(Some(request.at_us));
            }
            // The old one may go when its overlap has ended, which begins when the rotation is decided.
            let next = secrets.get(n + 1);
            let may_go_us = next.map(|next| next.asked_us + overlap_s as i64 * 1_000_000);
            let is_current = request.at_us >= secret.answered_us
                && may_go_us.is_some_and(|may_go| request.at_us < may_go);
            // Before its own rotation was answered nobody knows it, and what is under way is the older one's.
            let knows_older = n > 0 && with.contains(&(n - 1)) && !with.contains(&n);
            if is_current && !with.contains(&n) && !knows_older {
                judged.dropped_early += 1;
            }
        }
    }
    let ms = |us: i64| us as f64 / 1e3;
    for n in 1..secrets.len() {
        let answered_us = secrets[n].answered_us;
        let last = last_without_new[n].unwrap_or(answered_us);
        judged.last_without_new_ms.push(ms(last - answered_us));
        let last = last_with[n - 1].unwrap_or(answered_us);
        judged.old_signed_s.push(ms(last - answered_us) / 1e3);
    }
    judged
}

fn report(options: Options, size: Size, judged: &Judged, requests: usize) -> Report {
    let mut report = Report::new(
        "rotation",
        "Signing secrets replaced while events flow",
        options.quick,
    );
    report.method = format!(
        "{} events at {:.0} a second over HTTP through ingest, router, sink and retry to one webhook, whose signing secret is \
         replaced through the API after {:.0} and {:.0} s; the tenant lets an old secret sign for {} s more. One request \
         of {FAILS_EVERY} is answered 503. The receiver keeps every request; each is verified with the secrets that \
         the API answered, `webhook-signature` by the library of Standard Webhooks, `x-pushrail-signature` by hand.",
        size.events,
        size.per_second,
        size.seconds() * ROTATED_AT[0],
        size.seconds() * ROTATED_AT[1],
        size.overlap_s
    );
    let failed = judged.failed;
    report.check(
        "requests that verify with neither the old nor the new secret",
        format!("{failed} {}", judged.failed_examples.join("; ")),
        "0",
        failed == 0,
    );
    let early = judged.dropped_early;
    report.check(
        "requests in an overlap without the old secret's signature",
        early.to_string(),
        "0",
        early == 0,
    );
    let phases = ["1", "1+2", "2", "2+3", "3"];
    let seen = phases.iter().filter(|p| judged.phases.contains_key(**p));
    let seen = seen.count();
    report.check(
        "phases of both rotations that were seen",
        format!("{seen}"),
        format!("{}", phases.len()),
        seen == phases.len(),
    );
    let rows = phases.iter().map(|phase| {
        let count = judged.phases.get(*phase).copied().unwrap_or(0);
        vec![(*phase).to_owned(), count.to_string()]
    });
    report.table(
        format!("{requests} requests, by the secrets that verify them"),
        &["secrets", "requests"],
        rows.collect(),
    );
    let rows = (0..judged.old_signed_s.len()).map(|n| {
        vec![
            format!("{} → {}", n + 1, n + 2),
            format!("{:.1}", judged.last_without_new_ms[n]),
            format!("{:.1}", judged.old_signed_s[n]),
        ]
    });
    report.table(
        "After each rotation was answered",
        &[
            "rotation",
            "last request without the new secret's signature, ms",
            "last request with the old secret's signature, s",
        ],
        rows.collect(),
    );
    report
}
