//! Scaling out: 1, 2 and 4 sink processes share 12 partitions; and a rolling restart under load re-sends nothing.

use std::time::Duration;

use anyhow::Context as _;
use hashbrown::HashMap;
use pushrail_topology::topics;
use tokio::time::Instant;

use super::{Options, wait};
use crate::bed::Bed;
use crate::destinations::Family;
use crate::generator::{self, direct};
use crate::receiver::{Arrival, Receiver};
use crate::report::Report;
use crate::sample;
use crate::services::{Kind, Service, total_of};

const DESTINATIONS: u32 = 240;
/// What the rolling restart happens under.
const PER_SECOND: f64 = 2_000.0;

/// One group size.
#[derive(Clone, Debug, serde::Serialize)]
struct Split {
    processes: usize,
    /// Partitions of each process.
    partitions: Vec<u64>,
    deliveries: u64,
    per_second: f64,
    repeated: u64,
    lost: u64,
}

struct Stage {
    bed: Bed,
    receiver: Receiver,
    family: Family,
    next: u64,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let bed = Bed::start("scaling").await?;
    let receiver = Receiver::start(1).await?;
    let family = Family::new(40, DESTINATIONS);
    bed.configure(family.records(&bed.ring, |n| receiver.url(n))?)?;
    let mut stage = Stage {
        bed,
        receiver,
        family,
        next: 0,
    };
    let backlog = if options.quick { 10_000 } else { 200_000 };
    let mut splits = Vec::new();
    for processes in [1, 2, 4] {
        let split = stage.split(processes, backlog).await?;
        eprintln!(
            "  {processes} processes: partitions {:?}, {:.0}/s",
            split.partitions, split.per_second
        );
        splits.push(split);
    }
    let rounds = if options.quick { 1 } else { 3 };
    let restart = stage.rolling_restart(rounds).await?;
    stage.bed.stop().await;
    Ok(report(options, &splits, &restart))
}

/// What a rolling restart came to.
#[derive(Clone, Debug, serde::Serialize)]
struct Restart {
    restarts: usize,
    deliveries: u64,
    repeated: u64,
    lost: u64,
    /// Longest time from SIGTERM to the end.
    drain_max_ms: u64,
    /// Longest time that a delivery took.
    latency_max_ms: f64,
}

impl Stage {
    fn load(&mut self, events: u64, per_second: Option<f64>) -> direct::Load {
        let first = self.next;
        self.next += events;
        direct::Load {
            bootstrap: self.bed.bootstrap(),
            schema_id: self.bed.ids.event,
            first,
            events,
            per_second,
        }
    }

    async fn start(&self, processes: usize) -> anyhow::Result<Vec<Service>> {
        let mut sinks = Vec::new();
        for n in 0..processes {
            sinks.push(
                Service::start(
                    &self.bed,
                    Kind::Sink,
                    &format!("sink-{n}"),
                    &["--workers", "1"],
                )
                .await?,
            );
        }
        Ok(sinks)
    }

    /// Waits until the sinks hold all partitions between them, none of them none. Returns how many each holds.
    async fn balanced(&self, sinks: &[Service]) -> anyhow::Result<Vec<u64>> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let mut held = Vec::new();
            for sink in sinks {
                held.push(total_of(&sink.metrics().await?, "pushrail_sink_partitions"));
            }
            if held.iter().sum::<u64>() == 12 && held.iter().all(|n| *n > 0) {
                return Ok(held);
            }
            anyhow::ensure!(
                Instant::now() < until,
                "the sinks hold {held:?} partitions after 60 s"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn split(&mut self, processes: usize, backlog: u64) -> anyhow::Result<Split> {
        self.receiver.clear().await?;
        let before = self.receiver.stats().await?.delivered;
        let mut sinks = self.start(processes).await?;
        let partitions = self.balanced(&sinks).await?;
        let (load, ids) = (self.load(backlog, None), self.family.ids.clone());
        let first = load.first;
        let words = || {
            sinks
                .iter()
                .map(Service::last_words)
                .collect::<Vec<_>>()
                .join("\n")
        };
        generator::on_own_thread(move || direct::deliveries(load, ids)).await?;
        let what = format!("{processes} processes");
        let patience = Duration::from_secs(20);
        wait::delivered(&self.receiver, before, backlog, patience, &what)
            .await
            .with_context(words)?;
        wait::sink_settled(&self.bed.bootstrap(), "webhook", Duration::from_secs(20)).await?;
        for sink in &mut sinks {
            sink.stop().await?;
        }
        let arrivals = self.receiver.arrivals().await?;
        let (repeated, lost) = self.count(&arrivals, first, backlog);
        let times = || arrivals.iter().map(|arrival| arrival.at_us);
        let took_us = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        let per_second = backlog as f64 / (took_us.max(1) as f64 / 1e6);
        Ok(Split {
            processes,
            partitions,
            deliveries: backlog,
            per_second,
            repeated,
            lost,
        })
    }

    async fn rolling_restart(&mut self, rounds: usize) -> anyhow::Result<Restart> {
        self.receiver.clear().await?;
        let before = self.receiver.stats().await?.delivered;
        let mut sinks = self.start(3).await?;
        self.balanced(&sinks).await?;
        let seconds = 4 + 6 * rounds as u64 * sinks.len() as u64;
        let events = (PER_SECOND * seconds as f64) as u64;
        let (load, ids) = (self.load(events, Some(PER_SECOND)), self.family.ids.clone());
        let first = load.first;
        let generating = generator::on_own_thread(move || direct::deliveries(load, ids));
        let generating = tokio::task::spawn(generating);
        let (mut drains, mut restarts) = (Vec::new(), 0);
        for n in 0..rounds * sinks.len() {
            tokio::time::sleep(Duration::from_secs(3)).await;
            let index = n % sinks.len();
            eprintln!("  rolling restart {} of {}", n + 1, rounds * sinks.len());
            drains.push(sinks[index].stop().await?);
            sinks[index].start_again()?;
            sinks[index].ready().await?;
            restarts += 1;
        }
        generating.await??;
        let patience = Duration::from_secs(20);
        wait::delivered(&self.receiver, before, events, patience, "restart").await?;
        wait::sink_settled(&self.bed.bootstrap(), "webhook", Duration::from_secs(20)).await?;
        for sink in &mut sinks {
            drains.push(sink.stop().await?);
        }
        let arrivals = self.receiver.arrivals().await?;
        let (repeated, lost) = self.count(&arrivals, first, events);
        let slowest = arrivals
            .iter()
            .map(|arrival| arrival.at_us - arrival.sent_us)
            .max()
            .unwrap_or(0);
        let drain_max_ms = drains.iter().map(Duration::as_millis).max().unwrap_or(0) as u64;
        let latency_max_ms = slowest as f64 / 1e3;
        Ok(Restart {
            restarts,
            deliveries: events,
            repeated,
            lost,
            drain_max_ms,
            latency_max_ms,
        })
    }

    /// Deliveries beyond the first, and events `first..first + count` that never arrived.
    fn count(&self, arrivals: &[Arrival], first: u64, count: u64) -> (u64, u64) {
        let mut seen: HashMap<u128, u64> = HashMap::with_capacity(arrivals.len());
        for arrival in arrivals.iter().filter(|arrival| arrival.delivered()) {
            *seen.entry(arrival.event_id).or_default() += 1;
        }
        let times = (first..first + count).map(|n| {
            seen.get(&sample::event_id(n).as_u128())
                .copied()
                .unwrap_or(0)
        });
        times.fold((0, 0), |(repeated, lost), n| {
            (repeated + n.saturating_sub(1), lost + u64::from(n == 0))
        })
    }
}

fn report(options: Options, splits: &[Split], restart: &Restart) -> Report {
    let mut report = Report::new("scaling", "Scaling out", options.quick);
    report.method = format!(
        "Sink processes of one worker each share the 12 partitions of deliver.webhook ({DESTINATIONS} destinations) and \
         deliver {} events published flat out ({} topic); then three of them are restarted one after the other with \
         SIGTERM, again and again, under {PER_SECOND:.0} deliveries a second.",
        splits.first().map_or(0, |split| split.deliveries),
        topics::deliver("webhook")
    );
    for split in splits {
        let what = format!("{} processes: repeated and lost", split.processes);
        let none = split.repeated == 0 && split.lost == 0;
        report.check(
            what,
            format!("{} and {}", split.repeated, split.lost),
            "0 and 0",
            none,
        );
        let (least, most) = (split.partitions.iter().min(), split.partitions.iter().max());
        let even = least
            .zip(most)
            .is_some_and(|(least, most)| most - least <= 1);
        let what = format!("{} processes: partitions split evenly", split.processes);
        report.check(
            what,
            format!("{:?}", split.partitions),
            "differ by 1 at most",
            even,
        );
    }
    let restarts = format!("{} restarts under load: re-sent", restart.restarts);
    report.check(
        restarts,
        restart.repeated.to_string(),
        "0",
        restart.repeated == 0,
    );
    report.check(
        "the same: lost",
        restart.lost.to_string(),
        "0",
        restart.lost == 0,
    );
    let rows = splits.iter().map(|split| {
        let partitions = format!("{:?}", split.partitions);
        vec![
            split.processes.to_string(),
            partitions,
            format!("{:.0}", split.per_second),
        ]
    });
    let caption = "Group size (all processes share the machine's cores with broker and receiver)";
    report.table(
        caption,
        &["processes", "partitions of each", "deliveries/s"],
        rows.collect(),
    );
    report.note(format!(
        "Rolling restart: {} deliveries, longest drain {} ms, slowest delivery {:.0} ms.",
        restart.deliveries, restart.drain_max_ms, restart.latency_max_ms
    ));
    report.data = serde_json::json!({ "splits": splits, "restart": restart });
    report
}
