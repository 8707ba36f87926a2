//! A replay of many deliveries beside live traffic: who is live does not notice, and a worker that is killed in the middle
//! repeats no more than what it had not saved.

use std::time::Duration;

use anyhow::Context as _;
use hashbrown::HashMap;
use pushrail_schemas::headers::{Delivery, Origin};
use pushrail_topology::topics;
use rdkafka::message::{Headers, Message};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::caught_up;
use crate::api::{Api, text};
use crate::generator::{self, http};
use crate::kafka;
use crate::plane::Plane;
use crate::receiver::{Behaviour, Plan, Receiver, Rule};
use crate::report::Report;
use crate::sample;
use crate::scenario::{Options, wait};
use crate::services::Kind;
use crate::stats::Latency;

const DESTINATIONS: u32 = 100;
/// The destination that replays.
const REPLAYED: u32 = 0;
const PER_SECOND: f64 = 1_000.0;
const RATE: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
const INDEXED_WITHIN: Duration = Duration::from_secs(300);
/// Jobs save where they are every second, and a worker that dies may have copied a little more by then.
const UNSAVED_S: u64 = 2;

/// Live traffic of some seconds, as it arrived.
struct Live {
    all: Latency,
    replayed: Latency,
}

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let (letters, alone_s): (u64, u64) = match options.quick {
        true => (5_000, 5),
        false => (100_000, 60),
    };
    // The job is killed in its middle, and another goes on when the lease has run out.
    let (beside_s, lease) = (letters / RATE + 25, "15s");
    let plane = Plane::start("replay", &[]).await?;
    let receiver = Receiver::start(1).await?;
    let services = plane.services(&[]).await?;
    let url = plane.postgres.url();
    let mut log = plane.service(Kind::Log, &["--database", &url]).await?;
    let arguments = ["--database", &url, "--lease", lease];
    let mut replay = plane.service(Kind::Replay, &arguments).await?;
    let mut ids = Vec::new();
    for n in 0..DESTINATIONS {
        let path = format!("/v1/customers/{}/destinations", sample::customer(n));
        let body = json!({"kind": "webhook", "config": {"url": receiver.url(n)}});
        let made = plane.tenant.post(&path, &body).await?.good()?;
        ids.push(text(&made, "destinationId")?);
    }
    plane.told().await?;
    let traffic = Traffic {
        plane: &plane,
        receiver: &receiver,
        ingest: services[0].listen,
    };
    // Whoever comes first pays for connections and compilers.
    traffic.live(0, alone_s.min(15)).await?;

    let refuses = Rule::always(REPLAYED, REPLAYED + 1, Behaviour::status(400));
    receiver
        .set_plan(&Plan {
            rules: vec![refuses],
        })
        .await?;
    receiver.clear().await?;
    let refused = http::Load {
        first: 10_000_000,
        events: letters,
        batch: 100,
        per_second: None,
        customers: REPLAYED + 1,
        ..traffic.load()
    };
    let sent = generator::on_own_thread(move || http::run(refused)).await?;
    anyhow::ensure!(sent.given_up == 0, "{:?}", sent.last_error);
    let left = wait::settled(&plane.bed.bootstrap(), PATIENCE).await?;
    anyhow::ensure!(left.total() == 0, "the backlog was not worked off");
    caught_up(&plane, &log, INDEXED_WITHIN).await?;
    receiver.set_plan(&Plan::default()).await?;

    let alone = traffic.live(20_000_000, alone_s).await?;
    let path = format!(
        "/v1/customers/{}/destinations/{}/replays",
        sample::customer(REPLAYED),
        ids[REPLAYED as usize]
    );
    let body = json!({"source": "deadLetters", "ratePerSecond": RATE, "start": true});
    receiver.clear().await?;
    let began = Instant::now();
    let made = plane.tenant.post(&path, &body).await?.good()?;
    let path = format!("{path}/{}", text(&made, "replayId")?);
    let job = async {
        until(&plane.tenant, &path, |job| {
            job["sent"].as_u64() >= Some(letters / 2)
        })
        .await?;
        replay.kill().await?;
        let at_kill = plane.tenant.get(&path).await?.good()?;
        replay.start_again()?;
        replay.ready().await?;
        let ended = until(&plane.tenant, &path, |job| job["state"] == "finished").await?;
        anyhow::Ok((at_kill, ended, began.elapsed()))
    };
    let (beside, job) = tokio::join!(traffic.live_kept(30_000_000, beside_s), job);
    let (beside, (at_kill, ended, took)) = (beside?, job?);
    wait::settled(&plane.bed.bootstrap(), PATIENCE).await?;

    let bootstrap = plane.bed.bootstrap();
    let replay_id: Uuid = text(&made, "replayId")?.parse()?;
    let copies = tokio::task::spawn_blocking(move || copies(&bootstrap, replay_id)).await??;
    let mut arrived: HashMap<u128, u64> = copies.keys().map(|id| (*id, 0)).collect();
    for arrival in receiver.arrivals().await? {
        if arrival.delivered() && arrival.destination == REPLAYED {
            arrived
                .entry(arrival.event_id)
                .and_modify(|count| *count += 1);
        }
    }
    caught_up(&plane, &log, INDEXED_WITHIN).await?;
    let open = format!(
        "/v1/customers/{}/destinations/{}/dead-letters?limit=1",
        sample::customer(REPLAYED),
        ids[REPLAYED as usize]
    );
    let open = plane.tenant.get(&open).await?.good()?;
    log.stop().await?;
    replay.stop().await?;
    drop(services);
    plane.stop().await?;

    let written: u64 = copies.values().sum();
    let twice = written - copies.len() as u64;
    let missing = arrived.values().filter(|count| **count == 0).count();
    let requests: u64 = arrived.values().sum();
    let mut report = Report::new(
        "replay",
        "A replay beside live traffic, killed in its middle",
        options.quick,
    );
    report.method = format!(
        "{letters} deliveries to one of {DESTINATIONS} destinations are refused with 400 and become dead letters. Then \
         {PER_SECOND:.0} events a second over HTTP to all of them, that one included, for {alone_s} s alone, and for \
         {beside_s} s beside the replay of all letters at {RATE} a second, made through the API. The worker is killed with \
         SIGKILL when half is sent, and started again.",
    );
    report.check(
        "dead letters that arrived",
        format!("{} of {letters}", copies.len() - missing),
        "all",
        missing == 0 && copies.len() as u64 == letters,
    );
    report.check(
        "copies beyond one a letter",
        format!("{twice}"),
        format!(
            "at most {}: what was not saved when it was killed",
            RATE * UNSAVED_S
        ),
        twice <= RATE * UNSAVED_S,
    );
    report.check(
        "requests beyond one a copy",
        format!("{}", requests.saturating_sub(written)),
        "0",
        requests <= written,
    );
    report.check(
        "what the job says it sent",
        format!("{}, and {}", ended["sent"], ended["skipped"]),
        format!("{letters}"),
        ended["sent"].as_u64() == Some(letters),
    );
    report.check(
        "dead letters that are still open",
        open["items"].as_array().map_or(0, Vec::len).to_string(),
        "0",
        open["items"].as_array().is_some_and(Vec::is_empty),
    );
    report.at_most(
        "live p99 from accepted to delivered, beside the replay against alone",
        beside.all.p99_ms / alone.all.p99_ms.max(0.001),
        1.2,
        " ×",
    );
    let head = ["", "p50, ms", "p99, ms"];
    let lines = [
        ("all live events, alone", &alone.all),
        ("all live events, beside the replay", &beside.all),
        (
            "those of the destination that replays, alone",
            &alone.replayed,
        ),
        (
            "those of the destination that replays, beside it",
            &beside.replayed,
        ),
    ];
    let lines = lines.map(|(name, latency)| {
        let ms = |ms: f64| format!("{ms:.1}");
        vec![name.to_owned(), ms(latency.p50_ms), ms(latency.p99_ms)]
    });
    report.table("Live, from accepted to delivered", &head, lines.to_vec());
    report.note(format!(
        "Killed when {} were saved as sent; {written} copies were written, {twice} of them a second time. The job took {:.0} s, \
         the wait for the lease of the dead worker ({lease}) included.",
        at_kill["sent"],
        took.as_secs_f64()
    ));
    report.data = json!({
        "alone": alone.all, "beside": beside.all, "alone_replayed": alone.replayed, "beside_replayed": beside.replayed,
        "letters": letters, "copies": written, "twice": twice, "requests": requests, "job": ended,
    });
    Ok(report)
}

/// Events over HTTP, to all destinations.
struct Traffic<'a> {
    plane: &'a Plane,
    receiver: &'a Receiver,
    ingest: std::net::SocketAddr,
}

impl Traffic<'_> {
    fn load(&self) -> http::Load {
        http::Load {
            ingest: self.ingest,
            api_key: self.plane.bed.api_key.clone(),
            connections: 16,
            first: 0,
            events: 0,
            batch: 1,
            per_second: Some(PER_SECOND),
            payload_len: sample::PAYLOAD_LEN,
            customers: DESTINATIONS,
            keys: None,
            patience: Duration::from_secs(30),
        }
    }

    async fn live(&self, first: u64, seconds: u64) -> anyhow::Result<Live> {
        self.receiver.clear().await?;
        self.live_kept(first, seconds).await
    }

    /// Live traffic; what the receiver has kept stays.
    async fn live_kept(&self, first: u64, seconds: u64) -> anyhow::Result<Live> {
        let events = (PER_SECOND * seconds as f64) as u64;
        let load = http::Load {
            first,
            events,
            ..self.load()
        };
        let began_us = pushrail_clock::now_us();
        let sent = generator::on_own_thread(move || http::run(load)).await?;
        anyhow::ensure!(sent.given_up == 0, "{:?}", sent.last_error);
        wait::settled(&self.plane.bed.bootstrap(), PATIENCE).await?;
        // A replayed event was accepted long ago.
        let arrivals = self.receiver.arrivals().await?;
        let live = arrivals.iter().filter(|a| a.accepted_us >= began_us);
        let live: Vec<_> = live.collect();
        anyhow::ensure!(
            live.len() as u64 >= events,
            "{} of {events} arrived",
            live.len()
        );
        let latency = |of: Option<u32>| {
            let live = live
                .iter()
                .filter(|a| of.is_none_or(|n| a.destination == n));
            Latency::of(live.map(|a| a.at_us - a.accepted_us))
        };
        let live = Live {
            all: latency(None),
            replayed: latency(Some(REPLAYED)),
        };
        eprintln!(
            "  {seconds} s: p50 {:.1} ms, p99 {:.1} ms",
            live.all.p50_ms, live.all.p99_ms
        );
        Ok(live)
    }
}

/// Asks a job until it is as wanted.
async fn until(api: &Api, path: &str, wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    const WITHIN: Duration = Duration::from_secs(600);
    let started = Instant::now();
    loop {
        let job = api.get(path).await?.good()?;
        if wanted(&job) {
            return Ok(job);
        }
        anyhow::ensure!(started.elapsed() < WITHIN, "the job stands at {job}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// How often each event of a replay was copied.
fn copies(bootstrap: &str, replay_id: Uuid) -> anyhow::Result<HashMap<u128, u64>> {
    let mut copies: HashMap<u128, u64> = HashMap::new();
    kafka::read_all(bootstrap, &topics::deliver("webhook"), |message| {
        let Some(headers) = message.headers() else {
            return;
        };
        let pairs = headers.iter();
        let pairs = pairs.filter_map(|header| Some((header.key, header.value?)));
        if let Ok(delivery) = Delivery::parse(pairs)
            && delivery.replay_id == Some(replay_id)
            && delivery.origin == Origin::Replay
            && delivery.attempt == 0
            && delivery.deferrals == 0
        {
            *copies.entry(delivery.event_id.as_u128()).or_default() += 1;
        }
    })
    .context("the copies")?;
    Ok(copies)
}
