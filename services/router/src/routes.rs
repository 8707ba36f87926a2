//! Keeping the index equal to the directory.

use std::sync::{Arc, PoisonError, RwLock};

use pushrail_directory::{Change, Changes, Directory};
use uuid::Uuid;

use crate::index::Index;
use crate::metrics::Metrics;

/// Destinations put in at once: long enough to be worth a lock, short enough that no event waits for a millisecond.
const BATCH: usize = 64;

/// Puts all destinations into the index that the directory knows now.
pub(crate) fn load(index: &RwLock<Index>, directory: &Directory, metrics: &Metrics) {
    for ids in directory.destination_ids().chunks(BATCH) {
        for id in ids {
            apply(index, directory, *id);
        }
    }
    show(index, metrics);
}

/// Applies changes as they come, until the directory ends.
pub(crate) async fn follow(
    index: Arc<RwLock<Index>>,
    directory: Directory,
    mut changes: Changes,
    metrics: Metrics,
) {
    while let Some(change) = changes.recv().await {
        match change {
            Change::Destination(id) | Change::Removed(id) => {
                apply(&index, &directory, id);
                metrics.changes.inc();
                show(&index, &metrics);
            }
            _ => {}
        }
    }
}

/// Brings one destination up to date, whatever happened to it.
fn apply(index: &RwLock<Index>, directory: &Directory, id: Uuid) {
    let destination = directory.destination(id);
    let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
    match destination {
        Some(destination) => index.put(&destination),
        None => {
            index.remove(id);
        }
    }
}

fn show(index: &RwLock<Index>, metrics: &Metrics) {
    let routes = index.read().unwrap_or_else(PoisonError::into_inner).len();
    metrics.routes.set(routes as i64);
}
