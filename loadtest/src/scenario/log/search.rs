//! Ten searches that people make, in an index of ten million attempts: how long each takes, and by what plan.

use std::time::Duration;

use anyhow::Context as _;
use pushrail_clock as clock;
use pushrail_schemas::attempt::Outcome;
use pushrail_schemas::identity;
use pushrail_servers::Postgres;
use pushrail_store::log::search::{self, After, Wanted};
use pushrail_store::log::{DAY_US, Micros};
use pushrail_store::{Scope, Store};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::sizes;
use crate::report::Report;
use crate::scenario::Options;

const DAYS: i64 = 30;
const TENANTS: i64 = 20;
const CUSTOMERS: i64 = 2_000;
const DESTINATIONS: i64 = 5_000;
/// Times that each search is made after the first.
const TIMES: usize = 9;
/// A search that people wait for.
const WITHIN_MS: f64 = 1_000.0;

pub(crate) async fn run(options: Options) -> anyhow::Result<Report> {
    let rows: i64 = if options.quick { 100_000 } else { 10_000_000 };
    let folder = tempfile::Builder::new()
        .prefix("pushrail-log-search-")
        .tempdir()?;
    let mut postgres = Postgres::builder(folder.path().join("postgres"))
        .start()
        .await?;
    let store = Store::new(&postgres.url(), 2)?;
    store.migrate().await?;
    let mut database = PgConnection::connect(&postgres.url()).await?;
    let started = Instant::now();
    generate(&mut database, rows).await?;
    eprintln!(
        "  {rows} attempts made in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    let (heap, indexes) = sizes(&mut database).await?;

    let mut report = Report::new("log-search", "Searching the delivery log", options.quick);
    report.method = format!(
        "{rows} attempts over {DAYS} days of {TENANTS} tenants, {CUSTOMERS} customers and {DESTINATIONS} destinations, the largest tenant with \
         a third of them; one in fifty failed. Each search in its caller's scope, under row-level security: once after the \
         server was restarted, then {TIMES} times more."
    );
    let destination_id = numbered(&mut database, 'd', 0).await?;
    // Of the first tenant.
    let event_id = numbered(&mut database, 'e', rows / 6 * 3).await?;
    drop(database);
    postgres.restart().await?;
    let mut lines = Vec::new();
    for case in cases(destination_id, event_id) {
        let figures = measure(&store, &case).await?;
        report.at_most(
            case.what,
            figures.cold_ms.max(figures.median_ms),
            WITHIN_MS,
            " ms",
        );
        report
            .notes
            .push(format!("{}: `{}`", case.what, figures.plan));
        lines.push(vec![
            case.what.to_owned(),
            figures.found.to_string(),
            format!("{:.1}", figures.cold_ms),
            format!("{:.1}", figures.median_ms),
        ]);
    }
    report.table("Searches", &["", "rows", "first, ms", "median, ms"], lines);
    let per = |bytes: i64| format!("{:.0}", bytes as f64 / rows as f64);
    let size = vec![vec![
        "bytes per attempt".to_owned(),
        per(heap),
        per(indexes),
    ]];
    report.table("On disk", &["", "rows", "indexes"], size);
    store.close().await;
    postgres.stop().await;
    Ok(report)
}

/// One search.
struct Case {
    what: &'static str,
    of_customer: bool,
    wanted: Wanted,
    ask: Ask,
}

enum Ask {
    List(Option<After>),
    Counts,
    Timeline,
}

struct Figures {
    found: usize,
    cold_ms: f64,
    median_ms: f64,
    plan: String,
}

fn tenant() -> String {
    "tenant-0".to_owned()
}

fn customer_id() -> Uuid {
    identity::customer_id("tenant-0", "customer-0")
}

fn cases(destination_id: Uuid, event_id: Uuid) -> Vec<Case> {
    let now = clock::now_us();
    let ago = |days: i64| Some(Micros(now - days * DAY_US));
    let list = |what, of_customer, wanted| Case {
        what,
        of_customer,
        wanted,
        ask: Ask::List(None),
    };
    let all = || Wanted {
        tenant_id: tenant(),
        latest: true,
        ..Wanted::default()
    };
    let of_customer = || Wanted {
        customer_id: Some(customer_id()),
        ..all()
    };
    let destination = || Wanted {
        destination_id: Some(destination_id),
        ..of_customer()
    };
    let middle = After {
        received_at: Micros(now - DAYS / 2 * DAY_US),
        started_at: Micros(now),
        attempt_id: Uuid::nil(),
    };
    vec![
        list("the newest deliveries of a tenant", false, all()),
        list("the newest deliveries of a customer", true, of_customer()),
        list(
            "the newest deliveries to a destination",
            true,
            destination(),
        ),
        Case {
            ask: Ask::List(Some(middle)),
            ..list("a page in the middle of a tenant's month", false, all())
        },
        list(
            "one event",
            false,
            Wanted {
                event_id: Some(event_id),
                ..all()
            },
        ),
        list(
            "the newest dead deliveries of a tenant",
            false,
            Wanted {
                outcome: Some(Outcome::Dead),
                ..all()
            },
        ),
        list(
            "what failed for a customer with a text in its error, of a week",
            true,
            Wanted {
                text: Some("connection reset".into()),
                since: ago(7),
                ..of_customer()
            },
        ),
        list(
            "a tenant's attempts that were answered 503, of a day",
            false,
            Wanted {
                status_code: Some(503),
                since: ago(1),
                latest: false,
                ..all()
            },
        ),
        list(
            "a tenant's slow deliveries of a day",
            false,
            Wanted {
                latency_us_min: Some(5_000_000),
                since: ago(1),
                ..all()
            },
        ),
        Case {
            ask: Ask::Counts,
            ..list(
                "a customer's deliveries by state, of a week",
                true,
                Wanted {
                    since: ago(7),
                    ..of_customer()
                },
            )
        },
        Case {
            ask: Ask::Timeline,
            ..list(
                "one delivery with its attempts and payload",
                true,
                of_customer(),
            )
        },
    ]
}

async fn measure(store: &Store, case: &Case) -> anyhow::Result<Figures> {
    let (mut found, mut taken) = (0, Vec::new());
    for _ in 0..=TIMES {
        let started = Instant::now();
        found = ask(store, case).await.with_context(|| case.what)?;
        taken.push(started.elapsed());
    }
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let cold_ms = ms(taken[0]);
    taken.remove(0);
    let plan = match &case.ask {
        Ask::Timeline => "by the index attempts_of_delivery".to_owned(),
        _ => {
            let mut tx = store.begin(scope(case)).await?;
            let lines = search::explain(&mut tx, &case.wanted, 51).await?;
            gist(&lines)
        }
    };
    Ok(Figures {
        found,
        cold_ms,
        median_ms: crate::stats::median(taken.into_iter().map(ms)),
        plan,
    })
}

fn scope(case: &Case) -> Scope<'_> {
    match case.of_customer {
        true => Scope::Customer {
            tenant_id: "tenant-0",
            customer_id: customer_id(),
        },
        false => Scope::Tenant("tenant-0"),
    }
}

async fn ask(store: &Store, case: &Case) -> anyhow::Result<usize> {
    let mut tx = store.begin(scope(case)).await?;
    Ok(match &case.ask {
        Ask::List(after) => search::list(&mut tx, &case.wanted, *after, 51).await?.len(),
        Ask::Counts => search::counts(&mut tx, &case.wanted).await?.len(),
        Ask::Timeline => {
            let newest = search::list(&mut tx, &case.wanted, None, 1).await?;
            let id = newest.first().context("a delivery")?.delivery_id;
            search::timeline(&mut tx, "tenant-0", id).await?.len()
        }
    })
}

/// The scans of a plan that were carried out, and its time.
fn gist(lines: &[String]) -> String {
    let mut scans: Vec<String> = Vec::new();
    for line in lines {
        let done = !line.contains("never executed");
        let scan = line.trim_start_matches([' ', '-', '>']);
        let named = scan.split(" on ").next().unwrap_or_default();
        if done && scan.contains(" on attempts") {
            // The index of each day's partition is called after the day.
            let kind = named.split("_20").next().unwrap_or_default();
            let short = format!("{} {}", kind, index(scan));
            if !scans.contains(&short) {
                scans.push(short);
            }
        }
    }
    scans.truncate(3);
    let time = lines.iter().find(|line| line.starts_with("Execution Time"));
    format!(
        "{}; {}",
        scans.join(", "),
        time.map_or("", |time| time.as_str())
    )
}

fn index(scan: &str) -> String {
    let after = scan.split(" using ").nth(1).unwrap_or_default();
    let name = after.split(' ').next().unwrap_or_default();
    let columns = name.split_once('_').map_or(name, |(_, rest)| rest);
    columns
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '_')
        .to_owned()
}

/// The id that [`generate`] gives what has this number.
async fn numbered(database: &mut PgConnection, kind: char, number: i64) -> anyhow::Result<Uuid> {
    let (id,) = sqlx::query_as("SELECT md5($1)::uuid")
        .bind(format!("{kind}-{number}"))
        .fetch_one(database)
        .await?;
    Ok(id)
}

/// Makes attempts where they are kept. Indexes come last, as they do for whoever fills a table.
async fn generate(database: &mut PgConnection, rows: i64) -> anyhow::Result<()> {
    let today = Micros(clock::now_us()).day();
    for day in today - DAYS..=today {
        let make = format!(
            "SELECT set_config('pushrail.scope', 'system', false), log_ensure_day(date '1970-01-01' + {day})"
        );
        sqlx::query(AssertSqlSafe(make))
            .execute(&mut *database)
            .await?;
    }
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'attempts' AND schemaname = 'public'",
    )
    .fetch_all(&mut *database)
    .await?;
    for (name, _) in &indexes {
        sqlx::query(AssertSqlSafe(format!("DROP INDEX {name}")))
            .execute(&mut *database)
            .await?;
    }
    sqlx::query("SET synchronous_commit = off")
        .execute(&mut *database)
        .await?;
    let (per_day, step_us) = (rows / DAYS, DAY_US * DAYS / rows);
    let from_us = clock::now_us() - DAYS * DAY_US;
    let namespace = identity::customer_id("tenant-0", "customer-0");
    for day in 0..DAYS {
        let (first, last) = (day * per_day, (day + 1) * per_day - 1);
        // A third is the first tenant's; a tenth of that, its first customer's.
        let statement = format!(
            "INSERT INTO attempts (received_at, started_at, customer_id, event_id, delivery_id, destination_id, attempt_id,
                 latency_us, attempt, status_code, latest, payload_len, tenant_id, event_type, kind, outcome, class, code,
                 origin, payload_form, error, response_headers, response_excerpt, payload)
             SELECT at, at + interval '3 milliseconds', customer, md5('e-' || n)::uuid, md5('y-' || n)::uuid, destination,
                 gen_random_uuid(), CASE WHEN n % 10007 = 0 THEN 9000000 ELSE 2000 + (n * 7919) % 80000 END, 1,
                 CASE WHEN failed THEN CASE n % 3 WHEN 0 THEN 503 WHEN 1 THEN 410 END ELSE 200 END, true, 420,
                 'tenant-' || tenant, 'order.' || (ARRAY['created', 'paid', 'shipped', 'completed', 'refunded'])[1 + n % 5],
                 'webhook',
                 CASE WHEN failed THEN CASE WHEN n % 4 = 0 THEN 'dead' ELSE 'retrying' END ELSE 'delivered' END,
                 CASE WHEN failed THEN 'transient' ELSE 'delivered' END,
                 CASE WHEN failed THEN CASE n % 3 WHEN 0 THEN 'http_503' WHEN 1 THEN 'http_410' ELSE 'connection_reset' END END,
                 'live', 'json',
                 CASE WHEN failed THEN CASE n % 3 WHEN 2 THEN 'The endpoint closed the connection: connection reset by peer.'
                     ELSE 'The endpoint answered with an error.' END END,
                 E'content-type: application/json\\ndate: Sat, 21 Nov 2026 10:00:00 GMT\\nserver: nginx',
                 convert_to('{{\"ok\":true}}', 'UTF8'),
                 convert_to(format('{{\"orderId\":\"%s\",\"total\":%s,\"currency\":\"EUR\",\"lines\":[{{\"sku\":\"%s\",\"quantity\":2}},{{\"sku\":\"%s\",\"quantity\":1}}],\"note\":\"%s\"}}',
                     md5(n::text), n % 100000, md5('a' || n), md5('b' || n), repeat(md5('c' || n), 5)), 'UTF8')
             FROM (
                 SELECT n, at, failed, tenant, destination_number,
                     CASE WHEN customer_number = 0 THEN '{namespace}'::uuid ELSE md5('c-' || customer_number)::uuid END AS customer,
                     md5('d-' || destination_number)::uuid AS destination
                 FROM (
                     SELECT n, to_timestamp({from_us} / 1e6) + n * interval '{step_us} microseconds' AS at, (n * 31) % 50 = 0 AS failed,
                         CASE WHEN n % 3 = 0 THEN 0 ELSE 1 + n % {tenants} END AS tenant,
                         CASE WHEN n % 30 = 0 THEN 0 WHEN n % 3 = 0 THEN 1 + n % 100 ELSE 101 + n % {customers} END AS customer_number,
                         CASE WHEN n % 60 = 0 THEN 0 ELSE 1 + n % {destinations} END AS destination_number
                     FROM generate_series({first}::bigint, {last}::bigint) AS n
                 ) AS numbered
             ) AS named",
            tenants = TENANTS - 1,
            customers = CUSTOMERS - 101,
            destinations = DESTINATIONS - 1,
        );
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *database)
            .await?;
        eprintln!("  day {} of {DAYS}", day + 1);
    }
    sqlx::query("SET maintenance_work_mem = '512MB'")
        .execute(&mut *database)
        .await?;
    for (name, definition) in indexes {
        eprintln!("  {name}");
        sqlx::query(AssertSqlSafe(definition))
            .execute(&mut *database)
            .await?;
    }
    sqlx::query("VACUUM ANALYZE attempts")
        .execute(&mut *database)
        .await?;
    Ok(())
}
