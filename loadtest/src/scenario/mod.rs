//! The scenarios: each proves one promise, by itself, on servers of its own.

mod bad_input;
mod conservation;
mod database;
mod destinations;
mod drain;
mod end_to_end;
mod isolation;
mod kinds;
mod log;
mod memory;
mod propagation;
mod rotation;
mod scaling;
mod secrets;
mod speed;
mod wait;

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::machine::Processors;
use crate::report::Report;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Conservation,
    Isolation,
    Speed,
    EndToEnd,
    Memory,
    Scaling,
    BadInput,
    Rotation,
    Database,
    Propagation,
    Destinations,
    Secrets,
    LogIndexing,
    LogOutage,
    LogSearch,
    Replay,
    KindCrash,
    KindSpeed,
    KindIdle,
    KindRotation,
    KindIsolation,
}

/// How a scenario is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A size that takes a minute at most: whether it works, not how well.
    pub quick: bool,
    /// Seed of everything that is random.
    pub seed: u64,
}

impl Scenario {
    pub const ALL: [Scenario; 21] = [
        Scenario::Speed,
        Scenario::EndToEnd,
        Scenario::Isolation,
        Scenario::Memory,
        Scenario::Scaling,
        Scenario::Conservation,
        Scenario::BadInput,
        Scenario::Rotation,
        Scenario::Database,
        Scenario::Propagation,
        Scenario::Destinations,
        Scenario::Secrets,
        Scenario::LogIndexing,
        Scenario::LogOutage,
        Scenario::LogSearch,
        Scenario::Replay,
        Scenario::KindCrash,
        Scenario::KindSpeed,
        Scenario::KindIdle,
        Scenario::KindRotation,
        Scenario::KindIsolation,
    ];

    /// Longest that it may take.
    fn limit(self, quick: bool) -> Duration {
        Duration::from_secs(match (self, quick) {
            (_, true) => 180,
            (Scenario::Speed | Scenario::Isolation | Scenario::LogOutage, false) => 1_500,
            (Scenario::LogSearch | Scenario::KindIsolation, false) => 1_800,
            (_, false) => 900,
        })
    }

    /// Runs it, and writes its report into `folder`.
    pub async fn run(self, options: Options, folder: &Path) -> anyhow::Result<Report> {
        let (started, processors) = (Instant::now(), Processors::now());
        let limit = self.limit(options.quick);
        let ended = tokio::time::timeout(limit, self.start(options)).await;
        let mut report =
            ended.map_err(|_| anyhow::anyhow!("{self:?} did not end within {limit:?}"))??;
        report.took_s = started.elapsed().as_secs_f64();
        report.stolen = Processors::now().stolen_since(processors);
        report.write(folder)?;
        println!("{}", report.markdown());
        Ok(report)
    }

    async fn start(self, options: Options) -> anyhow::Result<Report> {
        match self {
            Scenario::Conservation => conservation::run(options).await,
            Scenario::Isolation => isolation::run(options).await,
            Scenario::Speed => speed::run(options).await,
            Scenario::EndToEnd => end_to_end::run(options).await,
            Scenario::Memory => memory::run(options).await,
            Scenario::Scaling => scaling::run(options).await,
            Scenario::BadInput => bad_input::run(options).await,
            Scenario::Rotation => rotation::run(options).await,
            Scenario::Database => database::run(options).await,
            Scenario::Propagation => propagation::run(options).await,
            Scenario::Destinations => destinations::run(options).await,
            Scenario::Secrets => secrets::run(options).await,
            Scenario::LogIndexing => log::indexing::run(options).await,
            Scenario::LogOutage => log::outage::run(options).await,
            Scenario::LogSearch => log::search::run(options).await,
            Scenario::Replay => log::replay::run(options).await,
            Scenario::KindCrash => kinds::crash::run(options).await,
            Scenario::KindSpeed => kinds::speed::run(options).await,
            Scenario::KindIdle => kinds::idle::run(options).await,
            Scenario::KindRotation => kinds::rotation::run(options).await,
            Scenario::KindIsolation => kinds::isolation::run(options).await,
        }
    }
}

/// Runs all scenarios and writes `report.md` into `folder`. A scenario that fails does not keep the others from running.
pub async fn run_all(options: Options, folder: &Path) -> anyhow::Result<()> {
    let (mut index, mut broken) = (String::from("# Load test report\n\n"), 0);
    let mut bodies = String::new();
    for scenario in Scenario::ALL {
        match scenario.run(options, folder).await {
            Ok(report) => {
                let missed = report.checks.iter().filter(|check| !check.holds).count();
                let verdict = if missed == 0 {
                    "all hold".to_owned()
                } else {
                    format!("**{missed} missed**")
                };
                index.push_str(&format!(
                    "- {}: {} checks, {verdict}\n",
                    report.title,
                    report.checks.len()
                ));
                bodies.push_str(&format!(
                    "\n{}",
                    report
                        .markdown()
                        .replace("\n## ", "\n### ")
                        .replacen("# ", "## ", 1)
                ));
                broken += usize::from(missed > 0);
            }
            Err(error) => {
                eprintln!("{scenario:?} failed: {error:?}");
                index.push_str(&format!("- {scenario:?}: **failed**: {error:#}\n"));
                broken += 1;
            }
        }
    }
    let name = if options.quick {
        "report-quick.md"
    } else {
        "report.md"
    };
    std::fs::write(folder.join(name), index + &bodies)?;
    anyhow::ensure!(
        broken == 0,
        "{broken} of {} scenarios missed a bar or failed",
        Scenario::ALL.len()
    );
    Ok(())
}
