//! Kills services at random and starts them again; and Kafka with them.
//!
//! The order and the gaps follow from a seed, so that a run that finds something can be made again.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::bed::Bed;
use crate::oracle::Kill;
use crate::services::{Kind, Service};

/// How much is killed, and how often.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Plan {
    pub seed: u64,
    /// SIGKILLs of each service.
    pub kills_each: usize,
    /// SIGKILLs of Kafka.
    pub kafka_kills: usize,
    /// Time over which all of it is spread.
    pub over_s: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Chaos {
    pub kills: Vec<Kill>,
    /// Services that were found to have ended without being killed.
    pub unprompted: usize,
}

/// Carries the plan out. Services are left running, but perhaps not ready yet.
pub async fn run(plan: Plan, bed: &mut Bed, services: &mut [Service]) -> anyhow::Result<Chaos> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut targets: Vec<Option<Kind>> = Kind::ALL
        .into_iter()
        .map(Some)
        .collect::<Vec<_>>()
        .repeat(plan.kills_each);
    targets.shuffle(&mut random);
    // Kafka goes down in the middle of things, not before anything runs nor after.
    for n in 1..=plan.kafka_kills {
        targets.insert(n * targets.len() / (plan.kafka_kills + 1), None);
    }
    let gap_ms = plan.over_s * 1_000 / targets.len().max(1) as u64;
    let mut chaos = Chaos::default();
    for (n, target) in targets.iter().enumerate() {
        let gap = random.random_range(gap_ms / 4..=gap_ms * 7 / 4);
        tokio::time::sleep(Duration::from_millis(gap)).await;
        for service in services.iter_mut() {
            chaos.unprompted += usize::from(service.revive()?);
        }
        let name = target.map_or("Kafka", Kind::name);
        eprintln!("  chaos: SIGKILL {} of {}: {name}", n + 1, targets.len());
        chaos.kills.push(Kill {
            at_us: pushrail_clock::now_us(),
            what: *target,
        });
        match target {
            None => {
                bed.kafka.kill().await;
                bed.kafka.restart().await?;
            }
            Some(kind) => {
                let mine: Vec<usize> = (0..services.len())
                    .filter(|i| services[*i].kind == *kind)
                    .collect();
                let Some(chosen) = mine.get(random.random_range(0..mine.len().max(1))) else {
                    continue;
                };
                services[*chosen].kill().await?;
                // Sometimes it is back at once, sometimes somebody has to notice first.
                let pause = random.random_range(0..400);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                services[*chosen].start_again()?;
            }
        }
    }
    Ok(chaos)
}
