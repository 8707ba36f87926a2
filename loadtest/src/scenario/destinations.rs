//! Destinations: with 100,000 of them over many tenants, what the services that know them all need to start, to hold them
//! and to find the right one, and whether deliveries notice.
//!
//! They are put into the database in bulk, secrets sealed as the API seals them; Kafka is told by the command that an
//! operator has for that, and by the running control plane.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_router::bench::{Bench, Case};
use pushrail_schemas::config::Destination;
use pushrail_schemas::identity;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use tokio::time::Instant;

use super::Options;
use crate::destinations::{Who, webhook};
use crate::generator::{self, http};
use crate::machine::{self, Memory};
use crate::plane::Plane;
use crate::receiver::Receiver;
use crate::report::Report;
use crate::sample::{self, TENANT};
use crate::services::Kind;
use crate::stats::Latency;

/// Destinations of each other tenant, and of each of their customers.
const OF_A_TENANT: u32 = 200;
const OF_A_CUSTOMER: u32 = 4;
/// Rows of one statement.
const ROWS: usize = 2_000;
const WARM_UP_US: i64 = 5_000_000;
/// Some 2 KiB a destination at most, as in the memory of the sink.
const RSS_MIB_MAX: f64 = 384.0;
const READY_S_MAX: f64 = 30.0;
const P99_MS_MAX: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
struct Size {
    destinations: u32,
    /// Of them, those of the tenant that events are posted for, one a customer.
    active: u32,
    per_second: f64,
    seconds: u64,
}

/// A service that knows all destinations.
#[derive(Clone, Debug, Serialize)]
struct Start {
    service: &'static str,
    ready_s: f64,
    at_ready: Memory,
    after_load: Memory,
}

pub(super) async fn run(options: Options) -> anyhow::Result<Report> {
    let size = match options.quick {
        true => Size {
            destinations: 5_000,
            active: 100,
            per_second: 100.0,
            seconds: 10,
        },
        false => Size {
            destinations: 100_000,
            active: 1_000,
            per_second: 500.0,
            seconds: 60,
        },
    };
    let plane = Plane::start("destinations", &[]).await?;
    let receiver = Receiver::start(1).await?;
    eprintln!(
        "  writing {} destinations into the database",
        size.destinations
    );
    let started = Instant::now();
    let mut database = plane.database().await?;
    fill(&mut database, &plane, &receiver, size).await?;
    database.close().await?;
    let filled_s = started.elapsed().as_secs_f64();
    let (records, put_s) = rebuild(&plane).await?;
    let told_s = put_s + plane.told().await?.as_secs_f64();
    eprintln!("  Kafka was told of {records} records in {told_s:.1} s");

    let mut starts = Vec::new();
    let mut services = Vec::new();
    for kind in [Kind::Router, Kind::Sink, Kind::Ingest, Kind::Retry] {
        let started = Instant::now();
        let service = plane.service(kind, &[]).await?;
        starts.push(Start {
            service: kind.name(),
            ready_s: started.elapsed().as_secs_f64(),
            at_ready: machine::memory(service.pid()),
            after_load: Memory::default(),
        });
        services.push(service);
    }
    let ingest = services.iter().find(|service| service.kind == Kind::Ingest);
    let ingest = ingest.context("an ingest")?.listen;
    let load = http::Load {
        ingest,
        api_key: plane.bed.api_key.clone(),
        connections: 32,
        first: 0,
        events: (size.per_second * size.seconds as f64) as u64,
        batch: 1,
        per_second: Some(size.per_second),
        payload_len: sample::PAYLOAD_LEN,
        customers: size.active,
        keys: None,
        patience: Duration::from_secs(30),
    };
    let (events, started_us) = (load.events, pushrail_clock::now_us());
    let sent = generator::on_own_thread(move || http::run(load)).await?;
    super::wait::delivered(
        &receiver,
        0,
        sent.accepted.len() as u64,
        Duration::from_secs(30),
        "deliveries",
    )
    .await
    .with_context(|| services[1].last_words())?;
    let arrivals = receiver.arrivals().await?;
    let measured = arrivals
        .iter()
        .filter(|a| a.sent_us >= started_us + WARM_UP_US);
    let latency = Latency::of(measured.map(|arrival| arrival.at_us - arrival.sent_us));
    for (start, service) in starts.iter_mut().zip(&mut services) {
        start.after_load = machine::memory(service.pid());
        service.stop().await?;
    }
    plane.stop().await?;
    // With nothing else running.
    let found = tokio::task::spawn_blocking(move || look_ups(size.destinations as usize)).await?;

    let mut report = report(options, size, &starts, latency);
    report.check(
        "events that were not accepted",
        (events - sent.accepted.len() as u64).to_string(),
        "0",
        events == sent.accepted.len() as u64,
    );
    let rows = found
        .iter()
        .map(|(what, find, route)| vec![what.clone(), format!("{find:.0}"), format!("{route:.0}")]);
    report.table(
        "The router's pure part on one thread, 1 KB events",
        &[
            "",
            "finding who wants an event, ns",
            "all of routing it, ns",
        ],
        rows.collect(),
    );
    report.note(format!(
        "Written into the database in {filled_s:.1} s. `pushrail admin config rebuild` put {records} records into the outbox \
         in {put_s:.1} s; Kafka had been told of all of them {told_s:.1} s after it was started."
    ));
    report.data = json!({"starts": starts, "latency": latency, "rebuild": {"records": records, "put_s": put_s, "told_s": told_s},
        "look_ups": found});
    Ok(report)
}

/// Puts tenants, customers and destinations into the tables.
async fn fill(
    database: &mut PgConnection,
    plane: &Plane,
    receiver: &Receiver,
    size: Size,
) -> anyhow::Result<()> {
    let others = size.destinations - size.active;
    let tenants: Vec<String> = (0..others.div_ceil(OF_A_TENANT)).map(tenant).collect();
    sqlx::query(
        "INSERT INTO tenants (tenant_id, name) SELECT id, id FROM unnest($1::text[]) AS id",
    )
    .bind(&tenants)
    .execute(&mut *database)
    .await?;
    let all: Vec<u32> = (0..size.destinations).collect();
    for numbers in all.chunks(ROWS) {
        let made = numbers.iter().map(|n| {
            let (tenant_id, customer) = match n.checked_sub(size.active) {
                None => (TENANT.to_owned(), sample::customer(*n)),
                Some(n) => (tenant(n / OF_A_TENANT), sample::customer(n / OF_A_CUSTOMER)),
            };
            let who = Who {
                tenant_id: &tenant_id,
                customer: &customer,
                id: sample::destination_id(60, u64::from(*n)),
            };
            webhook(
                &plane.bed.ring,
                who,
                &format!("receiver {n}"),
                &receiver.url(*n),
            )
        });
        insert(database, &made.collect::<anyhow::Result<Vec<_>>>()?).await?;
    }
    sqlx::query("ANALYZE").execute(database).await?;
    Ok(())
}

fn tenant(number: u32) -> String {
    format!("tenant-{number}")
}

async fn insert(database: &mut PgConnection, made: &[Destination]) -> anyhow::Result<()> {
    let column = |of: fn(&Destination) -> &str| made.iter().map(of).map(str::to_owned).collect();
    let tenants: Vec<String> = column(|d| &d.tenant_id);
    let externals: Vec<String> = column(|d| &d.customer_external_id);
    let customers: Vec<_> = made.iter().map(|d| d.customer_id).collect();
    let ids: Vec<_> = made.iter().map(|d| d.destination_id).collect();
    let documents: Result<Vec<String>, _> = made.iter().map(serde_json::to_string).collect();
    debug_assert!(made.iter().all(|d| {
        d.customer_id == identity::customer_id(&d.tenant_id, &d.customer_external_id)
    }));
    sqlx::query(
        "INSERT INTO customers (tenant_id, customer_id, external_id)
         SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[]) ON CONFLICT DO NOTHING",
    )
    .bind(&tenants)
    .bind(&customers)
    .bind(&externals)
    .execute(&mut *database)
    .await?;
    sqlx::query(
        "INSERT INTO destinations (destination_id, tenant_id, customer_id, kind, document)
         SELECT id, tenant, customer, 'webhook', document::json
         FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) AS row (id, tenant, customer, document)",
    )
    .bind(&ids)
    .bind(&tenants)
    .bind(&customers)
    .bind(&documents?)
    .execute(database)
    .await?;
    Ok(())
}

/// Runs the operator's command; returns how many records it put into the outbox, and how long it took.
async fn rebuild(plane: &Plane) -> anyhow::Result<(u64, f64)> {
    let started = Instant::now();
    let output = Command::new(&plane.bed.binary)
        .args(["admin", "config", "rebuild", "--json"])
        .env("PUSHRAIL_DATABASE_URL", plane.postgres.url())
        .output()
        .await?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "the rebuild failed: {error}");
    let said: Value = serde_json::from_slice(&output.stdout)?;
    let records = said["records"].as_u64().context("no count of records")?;
    Ok((records, started.elapsed().as_secs_f64()))
}

/// What the router's index needs for an event: to find who wants it, and all of routing.
fn look_ups(destinations: usize) -> Vec<(String, f64, f64)> {
    let few = (Case::OneMatch, 100);
    let many = [
        Case::NoMatch,
        Case::OneMatch,
        Case::OneMatchOfManyTenants,
        Case::OneMatchOfOneCustomer,
        Case::TenMatches,
    ];
    let cases = std::iter::once(few).chain(many.map(|case| (case, destinations)));
    cases
        .map(|(case, count)| {
            let bench = Bench::new(case, count);
            let what = format!("{count} destinations: {}", case.name());
            (what, bench.find(), bench.run())
        })
        .collect()
}

fn report(options: Options, size: Size, starts: &[Start], latency: Latency) -> Report {
    let mut report = Report::new("destinations", "Many destinations", options.quick);
    report.method = format!(
        "{} destinations: {} of one tenant, one a customer, the others of {} tenants with {OF_A_TENANT} each. They are written \
         into the control plane's tables in bulk; `pushrail admin config rebuild` and a running control plane tell \
         Kafka. Then each service is started and asked until `/readyz` says yes (20 ms apart); memory is VmRSS and \
         VmHWM. {:.0} events a second over HTTP for {} s to the {}; latency is from the time an event was due to its arrival, \
         without the first {} s.",
        size.destinations,
        size.active,
        (size.destinations - size.active).div_ceil(OF_A_TENANT),
        size.per_second,
        size.seconds,
        size.active,
        WARM_UP_US / 1_000_000
    );
    let mib = |kib: u64| kib as f64 / 1024.0;
    for start in starts.iter().filter(|start| start.service != "retry") {
        let name = start.service;
        report.at_most(
            &format!("{name}: from start to ready"),
            start.ready_s,
            READY_S_MAX,
            " s",
        );
        let peak = mib(start.after_load.peak_kib);
        report.at_most(&format!("{name}: peak memory"), peak, RSS_MIB_MAX, " MiB");
    }
    // A quick run may share its machine with a compiler.
    let bar = if options.quick { 3_000.0 } else { P99_MS_MAX };
    report.at_most("deliveries: p99", latency.p99_ms, bar, " ms");
    let rows = starts.iter().map(|start| {
        vec![
            start.service.to_owned(),
            format!("{:.2}", start.ready_s),
            format!("{:.0}", mib(start.at_ready.rss_kib)),
            format!("{:.0}", mib(start.after_load.rss_kib)),
            format!("{:.0}", mib(start.after_load.peak_kib)),
        ]
    });
    let head = [
        "service",
        "ready after, s",
        "RSS when ready, MiB",
        "RSS after the load",
        "peak",
    ];
    report.table("Services", &head, rows.collect());
    report.table(
        "Deliveries",
        &["deliveries", "p50, ms", "p90", "p99", "p99.9", "max"],
        vec![vec![
            latency.count.to_string(),
            format!("{:.1}", latency.p50_ms),
            format!("{:.1}", latency.p90_ms),
            format!("{:.1}", latency.p99_ms),
            format!("{:.1}", latency.p999_ms),
            format!("{:.1}", latency.max_ms),
        ]],
    );
    report
}
