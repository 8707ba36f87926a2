//! What destinations of each kind cost the sink's memory that are configured and get nothing, beside a few that do.

use serde::Serialize;

use super::{PATIENCE, Stage, each_place};
use crate::bed::Bed;
use crate::machine;
use crate::place::Place;
use crate::report::Report;
use crate::scenario::{Options, wait};
use crate::services::Service;

const ACTIVE: u32 = 10;
/// Events that the active ones get.
const EVENTS: u64 = 10_000;
/// What one may cost: its configuration, parsed and as it was sealed, and a place in the tables.
const IDLE_KIB_MAX: f64 = 4.0;

#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    name: &'static str,
    configured: u32,
    /// Resident memory of a sink without destinations, with all of them, and after the active ones got their events; MiB.
    empty_mib: f64,
    configured_mib: f64,
    active_mib: f64,
}

impl Row {
    fn idle_kib(&self) -> f64 {
        (self.configured_mib - self.empty_mib) * 1024.0 / f64::from(self.configured)
    }
}

pub(in crate::scenario) async fn run(options: Options) -> anyhow::Result<Report> {
    let configured = if options.quick { 1_000 } else { 10_000 };
    let rows: Vec<Row> = each_place!(measure(configured));
    let mut report = Report::new(
        "kind-idle",
        "Memory of destinations that get nothing, by kind",
        options.quick,
    );
    report.method = format!(
        "Resident memory of a sink process that was just started: without a destination of its kind, with {configured}, and \
         after {ACTIVE} of those got {EVENTS} events."
    );
    for row in &rows {
        report.at_most(row.name, row.idle_kib(), IDLE_KIB_MAX, " KiB");
    }
    let lines = rows.iter().map(|row| {
        vec![
            row.name.to_owned(),
            format!("{:.1}", row.empty_mib),
            format!("{:.1}", row.configured_mib),
            format!("{:.1}", row.active_mib),
            format!("{:.2}", row.idle_kib()),
        ]
    });
    report.table(
        format!("Resident memory with {configured} destinations of which {ACTIVE} are active"),
        &[
            "kind",
            "none, MiB",
            "all idle, MiB",
            "some active, MiB",
            "each idle one, KiB",
        ],
        lines.collect(),
    );
    report.data = serde_json::json!({ "kinds": rows });
    Ok(report)
}

async fn measure<P: Place>(configured: u32) -> anyhow::Result<Row> {
    eprintln!("{}", P::NAME);
    let bed = Bed::for_kinds("kind-idle", &[P::KIND]).await?;
    let mib = |service: &Service| machine::memory(service.pid()).rss_kib as f64 / 1024.0;
    let mut sink = Service::sink(&bed, P::KIND).await?;
    let empty_mib = mib(&sink);
    sink.stop().await?;
    let place = P::start(bed.folder(), ACTIVE).await?;
    let stage = Stage::new(&bed, &place, configured)?;
    let mut sink = Service::sink(&bed, P::KIND).await?;
    let configured_mib = mib(&sink);
    stage.prefill(ACTIVE as usize, EVENTS).await?;
    wait::sink_settled(&bed.bootstrap(), P::KIND, PATIENCE).await?;
    let active_mib = mib(&sink);
    sink.stop().await?;
    bed.stop().await;
    Ok(Row {
        kind: P::KIND,
        name: P::NAME,
        configured,
        empty_mib,
        configured_mib,
        active_mib,
    })
}
