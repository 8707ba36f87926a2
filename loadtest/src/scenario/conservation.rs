//! Conservation: everything is killed at random, again and again, while destinations fail, hang and recover; nothing may
//! be lost, and what was delivered twice must have an honest reason.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_schemas::config::RetryPolicy;
use pushrail_schemas::identity;
use uuid::Uuid;

use super::{Options, wait};
use crate::bed::Bed;
use crate::chaos::{self, Chaos};
use crate::destinations::Family;
use crate::generator::{self, http};
use crate::oracle::{self, Evidence, Expected, Verdict};
use crate::receiver::{Behaviour, Plan, Receiver, Rule};
use crate::report::Report;
use crate::sample::{self, TENANT};
use crate::services::{Kind, Service};

#[derive(Clone, Copy, Debug)]
struct Size {
    events: u64,
    per_second: f64,
    destinations: u32,
    chaos: chaos::Plan,
    /// How long the pipeline may take to settle afterwards.
    settle: Duration,
}

impl Size {
    fn new(options: Options) -> Self {
        let plan = |kills_each, kafka_kills, over_s| chaos::Plan {
            seed: options.seed,
            kills_each,
            kafka_kills,
            over_s,
        };
        if options.quick {
            let settle = Duration::from_secs(45);
            return Size {
                events: 6_000,
                per_second: 400.0,
                destinations: 40,
                chaos: plan(1, 1, 12),
                settle,
            };
        }
        let settle = Duration::from_secs(300);
        Size {
            events: 200_000,
            per_second: 1_250.0,
            destinations: 200,
            chaos: plan(10, 2, 150),
            settle,
        }
    }
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = Size::new(options);
    let mut bed = Bed::start("conservation").await?;
    let receiver = Receiver::start_verifying(1).await?;
    let family = family(size.destinations);
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    let mut services = Vec::new();
    for kind in Kind::ALL {
        services.push(Service::start(&bed, kind, kind.name(), &[]).await?);
    }
    receiver.set_plan(&misbehaviour(size)).await?;
    let load = http::Load {
        ingest: services[0].listen,
        api_key: bed.api_key.clone(),
        connections: 64,
        first: 0,
        events: size.events,
        batch: 1,
        per_second: Some(size.per_second),
        payload_len: 400,
        customers: customers(size.destinations),
        keys: Some(format!("conservation-{}", options.seed)),
        patience: Duration::from_secs(120),
    };
    let generate = load.clone();
    let sending = tokio::spawn(generator::on_own_thread(move || http::run(generate)));
    let chaos = chaos::run(size.chaos, &mut bed, &mut services).await?;
    let sent = sending.await??;
    eprintln!(
        "  {} of {} events accepted, {} requests repeated",
        sent.accepted.len(),
        size.events,
        sent.repeats
    );
    // From here on nothing is killed: what is owed must come.
    for service in &mut services {
        service.revive()?;
        service.ready().await?;
    }
    let left = wait::settled(&bed.bootstrap(), size.settle).await?;
    // What moves while the evidence is gathered would be seen twice or not at all.
    for service in &mut services {
        service.stop().await.context("after the run")?;
    }
    let arrivals = receiver.arrivals().await?;
    let (bootstrap, ids) = (bed.bootstrap(), family.ids.clone());
    let gather = move || Evidence::gather(&bootstrap, &arrivals, &ids);
    let evidence = tokio::task::spawn_blocking(gather).await??;
    let expected = expected(&load, &sent, &family);
    let verdict = oracle::judge(&expected, &evidence, &family.ids, &chaos.kills);
    if verdict.lost > 0 {
        let words = services
            .iter()
            .map(Service::last_words)
            .collect::<Vec<_>>()
            .join("\n");
        eprintln!("  lost: {:#?}\n{words}", verdict.lost_examples);
    }
    bed.stop().await;
    Ok(report(
        options, size, &sent, &chaos, left, &evidence, &verdict,
    ))
}

/// One customer for four of five destinations: a fifth of the customers have two.
fn customers(destinations: u32) -> u32 {
    destinations * 4 / 5
}

fn family(destinations: u32) -> Family {
    let mut family = Family::new(50, destinations);
    let customers = customers(destinations);
    family.customers = (0..destinations).map(|n| n % customers).collect();
    family.timeout_ms = 2_000;
    // Patient enough to outlast every failure below, and quick enough that the run ends.
    family.retry = RetryPolicy {
        max_attempts: 100,
        initial_delay_ms: 500,
        max_delay_ms: 8_000,
        ..RetryPolicy::default()
    };
    family
}

/// Who misbehaves, how and when: shares of the destinations, shares of the run.
fn misbehaviour(size: Size) -> Plan {
    let run_ms = size.chaos.over_s * 1_000;
    let rule = |share: (u32, u32), behaviour| {
        Rule::always(
            size.destinations * share.0 / 200,
            size.destinations * share.1 / 200,
            behaviour,
        )
    };
    let between =
        |rule: Rule, from: u64, to: u64| rule.between(run_ms * from / 100, run_ms * to / 100);
    let slow = Behaviour::Answer {
        status: 200,
        latency_ms: 150,
        retry_after_s: None,
    };
    let busy = Behaviour::Answer {
        status: 429,
        latency_ms: 0,
        retry_after_s: Some(1),
    };
    Plan {
        rules: vec![
            between(rule((0, 20), Behaviour::status(503)), 0, 40),
            between(rule((20, 40), Behaviour::Hang), 20, 60),
            between(rule((40, 50), Behaviour::Reset), 0, 50),
            rule(
                (50, 60),
                Behaviour::Flaky {
                    fail_per_mille: 300,
                    status: 500,
                },
            ),
            rule((60, 65), Behaviour::status(400)),
            rule((65, 70), Behaviour::status(410)),
            rule((70, 80), slow),
            between(rule((80, 85), Behaviour::Drip { interval_ms: 100 }), 10, 50),
            between(rule((85, 90), busy), 30, 50),
            between(
                rule(
                    (90, 95),
                    Behaviour::Huge {
                        status: 503,
                        bytes: 1 << 28,
                    },
                ),
                10,
                60,
            ),
        ],
    }
}

fn expected(load: &http::Load, sent: &http::Sent, family: &Family) -> Expected {
    let accepted: hashbrown::HashSet<u64> = sent.accepted.iter().copied().collect();
    let by_customer: Vec<Vec<u32>> = (0..load.customers)
        .map(|c| family.of_customer(c).collect())
        .collect();
    let mut expected = Expected::default();
    for sequence in 0..load.events {
        let key = load.key(sequence).unwrap_or_default();
        let event: Uuid = identity::event_id(TENANT, sample::EVENT_TYPE, &key);
        let pairs = by_customer[load.customer(sequence) as usize]
            .iter()
            .map(|n| (event.as_u128(), *n));
        match accepted.contains(&sequence) {
            true => expected.deliveries.extend(pairs),
            false => expected.possible.extend(pairs),
        }
    }
    expected
}

fn report(
    options: Options,
    size: Size,
    sent: &http::Sent,
    chaos: &Chaos,
    left: wait::Lag,
    evidence: &Evidence,
    verdict: &Verdict,
) -> Report {
    let mut report = Report::new("conservation", "Conservation under kills", options.quick);
    let killed = |what| chaos.kills.iter().filter(|kill| kill.what == what).count();
    report.method = format!(
        "{} events at {:.0} a second, with idempotency keys, to {} destinations ({} customers, a fifth of them with two), \
         while a seeded schedule (seed {}) kills ingest, router, sink, retry and Kafka with SIGKILL and starts them again. \
         Destinations answer 503, hang, reset, drip, flap, throttle, send huge bodies, and recover; some refuse for ever \
         (400, 410). The generator repeats a request with the same key until it is accepted. The oracle then reads every \
         topic and the receivers' logs.",
        size.events,
        size.per_second,
        size.destinations,
        customers(size.destinations),
        size.chaos.seed
    );
    report.check("lost", verdict.lost.to_string(), "0", verdict.lost == 0);
    report.check(
        "delivered to whom it was not for",
        verdict.uncalled.to_string(),
        "0",
        verdict.uncalled == 0,
    );
    report.check(
        "bodies of another event, or a signature that does not verify",
        verdict.mixed_up.to_string(),
        "0",
        verdict.mixed_up == 0,
    );
    report.check(
        "duplicates without a reason",
        verdict.unexplained.to_string(),
        "0",
        verdict.unexplained == 0,
    );
    let owed = format!("{} ({left:?})", verdict.owed);
    report.check(
        "still owed when all had recovered",
        owed,
        "0",
        verdict.owed == 0,
    );
    report.check(
        "services that ended by themselves",
        chaos.unprompted.to_string(),
        "0",
        chaos.unprompted == 0,
    );
    for kind in Kind::ALL {
        let (times, bar) = (killed(Some(kind)), size.chaos.kills_each);
        report.check(
            format!("SIGKILLs of {}", kind.name()),
            times.to_string(),
            format!("{bar}"),
            times >= bar,
        );
    }
    let (times, bar) = (killed(None), size.chaos.kafka_kills);
    report.check(
        "SIGKILLs of Kafka",
        times.to_string(),
        bar.to_string(),
        times >= bar,
    );
    let row = |what: &str, n: usize| vec![what.to_owned(), n.to_string()];
    let rows = vec![
        row("events accepted", sent.accepted.len()),
        row("requests repeated until accepted", sent.repeats as usize),
        row("requests given up", sent.given_up as usize),
        row(
            "deliveries expected (event × destination)",
            verdict.expected,
        ),
        row("delivered", verdict.delivered),
        row("dead", verdict.dead),
        row("suspended", verdict.suspended),
        row("owed", verdict.owed),
        row("**lost**", verdict.lost),
        row("delivered and dead as well", verdict.delivered_and_dead),
        row("delivered again", verdict.duplicate_total),
    ];
    report.table("Where everything ended", &["", "count"], rows);
    let causes = verdict
        .duplicates
        .iter()
        .map(|(cause, n)| row(cause, *n))
        .collect();
    report.table("Duplicates by cause", &["cause", "count"], causes);
    let topics = evidence
        .topic_records
        .iter()
        .map(|(topic, n)| row(topic, *n as usize))
        .collect();
    report.table("Records on the topics", &["topic", "records"], topics);
    report.note(format!(
        "{:.2} % of the deliveries arrived more than once.",
        verdict.duplicate_share * 100.0
    ));
    if let Some(error) = &sent.last_error {
        report.note(format!(
            "Last error of a request that was given up: {error}"
        ));
    }
    report.data = serde_json::json!({
        "verdict": verdict,
        "chaos": size.chaos,
        "kills": chaos.kills,
        "audit_outcomes": evidence.outcomes,
        "dead_letter_reasons": evidence.reasons,
    });
    report
}
