//! What do healthy destinations of a kind feel of one in trouble beside them: a bucket that throttles, a database that hangs,
//! a broker that is gone?

use std::time::Duration;

use hashbrown::HashMap;
use pushrail_schemas::attempt::{Attempt, Outcome};
use pushrail_schemas::config::BatchPolicy;
use pushrail_topology::topics;
use rdkafka::message::Message as _;
use serde::Serialize;
use uuid::Uuid;

use super::{Load, PATIENCE, Stage, Terms};
use crate::bed::Bed;
use crate::generator::Pace;
use crate::kafka;
use crate::place::{Kafka, Place, Postgres, S3, Sqs, Trouble};
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, wait};
use crate::services::{Kind, Service};
use crate::stats::{Latency, median};

/// The last one is in trouble in every other run.
const DESTINATIONS: u32 = 6;
const TERMS: Terms = Terms {
    batch: BatchPolicy {
        records: Some(100),
        bytes: None,
        age_ms: Some(200),
    },
    timeout_ms: Some(3_000),
};
/// The start of a run, which opens connections and makes tables, is not measured.
const WARM_UP_US: i64 = 3_000_000;

/// One run.
#[derive(Clone, Debug, Serialize)]
struct Run {
    kind: &'static str,
    trouble: bool,
    /// Of the healthy ones: from the time at which an event was due to the end of the call that delivered it.
    latency: Latency,
    per_second: f64,
    /// Of the healthy ones, when all was over.
    missing: usize,
    /// Attempts of the one in trouble, by what they came to.
    troubled: Vec<String>,
}

#[derive(Clone, Copy)]
struct Size {
    seconds: u64,
    pairs: usize,
}

pub(in crate::scenario) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = match options.quick {
        true => Size {
            seconds: 8,
            pairs: 1,
        },
        false => Size {
            seconds: 20,
            pairs: 3,
        },
    };
    let mut report = Report::new(
        "kind-isolation",
        "Healthy destinations beside one in trouble, by kind",
        options.quick,
    );
    report.method = format!(
        "{DESTINATIONS} destinations of a kind on one sink, deliveries open loop and round robin for {} s, batches of up to 100 \
         that wait 200 ms at most, calls that end after 3 s. In every other run one of the six is in trouble. {} pairs of runs after a pair that warms \
         up, each pair with a sink of its own. Latency is from the time at which an event was due to the end of the call that \
         delivered it, by the audit; the first {} s are left out. Medians over runs.",
        size.seconds,
        size.pairs,
        WARM_UP_US / 1_000_000
    );
    let mut rows = Vec::new();
    let mut all = Vec::new();
    all.extend(of_kind::<S3>(size, Trouble::Throttles, 300.0, &mut report, &mut rows).await?);
    all.extend(of_kind::<Sqs>(size, Trouble::Throttles, 120.0, &mut report, &mut rows).await?);
    all.extend(of_kind::<Postgres>(size, Trouble::Hangs, 300.0, &mut report, &mut rows).await?);
    all.extend(of_kind::<Kafka>(size, Trouble::Gone, 300.0, &mut report, &mut rows).await?);
    report.table(
        "The healthy ones",
        &[
            "kind",
            "",
            "p50, ms",
            "p90",
            "p99",
            "max",
            "deliveries/s",
            "missing",
            "attempts of the one in trouble",
        ],
        rows,
    );
    report.data = serde_json::json!({ "runs": all });
    Ok(report)
}

async fn of_kind<P: Place>(
    size: Size,
    trouble: Trouble,
    rate: f64,
    report: &mut Report,
    rows: &mut Vec<Vec<String>>,
) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for n in 0..=size.pairs {
        for troubled in [false, true] {
            let run = one::<P>(size, trouble, rate, troubled).await?;
            eprintln!(
                "  {}, {}: p50 {:.0} ms, p99 {:.0} ms, {:.0}/s",
                P::NAME,
                if troubled {
                    trouble.name()
                } else {
                    "all healthy"
                },
                run.latency.p50_ms,
                run.latency.p99_ms,
                run.per_second
            );
            if n > 0 {
                runs.push(run);
            }
        }
    }
    let of = |troubled, figure: fn(&Run) -> f64| {
        let runs = runs.iter().filter(|run| run.trouble == troubled);
        median(runs.map(figure))
    };
    let ratio = |figure| of(true, figure) / of(false, figure).max(1e-9);
    let what = format!("{}, {}", P::NAME, trouble.name());
    let p99 = ratio(|run| run.latency.p99_ms);
    report.at_most(&format!("{what}: p99 of the others"), p99, 1.2, " ×");
    let per_second = ratio(|run| run.per_second);
    report.at_least(
        &format!("{what}: rate of the others"),
        per_second,
        0.95,
        " ×",
    );
    let missing: usize = runs.iter().map(|run| run.missing).sum();
    report.check(
        format!("{what}: deliveries of the others that are missing"),
        missing.to_string(),
        "0",
        missing == 0,
    );
    let met = runs.iter().filter(|run| run.trouble);
    let met = met.clone().all(|run| !run.troubled.is_empty()) && met.count() > 0;
    let bar = "attempts fail in each run with trouble";
    report.check(
        format!("{what}: it is in trouble"),
        met.to_string(),
        bar,
        met,
    );
    for troubled in [false, true] {
        let ms = |figure| format!("{:.0}", of(troubled, figure));
        let last = runs.iter().rfind(|run| run.trouble == troubled);
        rows.push(vec![
            P::NAME.to_owned(),
            if troubled {
                trouble.name()
            } else {
                "all healthy"
            }
            .to_owned(),
            ms(|run| run.latency.p50_ms),
            ms(|run| run.latency.p90_ms),
            ms(|run| run.latency.p99_ms),
            ms(|run| run.latency.max_ms),
            format!("{:.1}", of(troubled, |run| run.per_second)),
            format!("{:.0}", of(troubled, |run| run.missing as f64)),
            last.map_or_else(String::new, |run| run.troubled.join(", ")),
        ]);
    }
    Ok(runs)
}

async fn one<P: Place>(
    size: Size,
    trouble: Trouble,
    rate: f64,
    troubled: bool,
) -> anyhow::Result<Run> {
    let bed = Bed::for_kinds("kind-isolation", &[P::KIND]).await?;
    let place = P::start(bed.folder(), DESTINATIONS).await?;
    let astray = trouble.start().await?;
    let last = DESTINATIONS - 1;
    let stage = Stage::configure(&bed, &place, DESTINATIONS, TERMS, |number, config| {
        if troubled && number == last {
            P::lead_astray(config, astray.address());
        }
    })?;
    let mut retry = Service::start(&bed, Kind::Retry, "retry", &[]).await?;
    let mut sink = Service::sink(&bed, P::KIND).await?;
    let load = Load {
        bootstrap: bed.bootstrap(),
        schema_id: bed.ids.event,
        topic: topics::deliver(P::KIND),
        ids: stage.ids.clone(),
    };
    let events = (rate * size.seconds as f64) as u64;
    let pace = Pace::start(Some(rate));
    load.send(events, pace).await?;
    // The one in trouble is left where it is.
    tokio::time::sleep(Duration::from_secs(3)).await;
    if !troubled {
        wait::sink_settled(&bed.bootstrap(), P::KIND, PATIENCE).await?;
    }
    sink.stop().await?;
    retry.stop().await?;
    let run = judge::<P>(&bed, &stage.ids, events, pace, troubled)?;
    bed.stop().await;
    Ok(run)
}

/// What the audit says.
fn judge<P: Place>(
    bed: &Bed,
    ids: &[Uuid],
    events: u64,
    pace: Pace,
    trouble: bool,
) -> anyhow::Result<Run> {
    let numbers: HashMap<Uuid, u64> = (0..events).map(|n| (sample::event_id(n), n)).collect();
    let last = ids.last().copied();
    let began_us = pace.wall_us(0) + WARM_UP_US;
    let (mut latencies, mut arrived) = (Vec::new(), HashMap::<u64, ()>::new());
    let mut troubled: HashMap<String, u64> = HashMap::new();
    kafka::read_all(&bed.bootstrap(), topics::AUDIT_ATTEMPTS, |message| {
        let Some(Ok(attempt)) = message.payload().map(Attempt::parse) else {
            return;
        };
        let Some(number) = numbers.get(&attempt.event_id) else {
            return;
        };
        if attempt.destination_id == last {
            if !matches!(attempt.outcome, Outcome::Delivered | Outcome::Queued) {
                let code = attempt.code.unwrap_or_default().to_owned();
                *troubled.entry(code).or_default() += 1;
            }
        } else if attempt.outcome == Outcome::Delivered {
            let due_us = pace.wall_us(*number);
            arrived.insert(*number, ());
            if due_us >= began_us {
                latencies.push(attempt.started_at_us + attempt.latency_us - due_us);
            }
        }
    })?;
    let of_others =
        (0..events).filter(|n| n % u64::from(DESTINATIONS) != u64::from(DESTINATIONS - 1));
    let missing = of_others.filter(|n| !arrived.contains_key(n)).count();
    let window_us = pace.wall_us(events) - began_us;
    let mut troubled: Vec<String> = troubled
        .into_iter()
        .map(|(code, n)| format!("{n} {code}"))
        .collect();
    troubled.sort();
    Ok(Run {
        kind: P::KIND,
        trouble,
        per_second: latencies.len() as f64 / (window_us as f64 / 1e6),
        latency: Latency::of(latencies),
        missing,
        troubled,
    })
}
