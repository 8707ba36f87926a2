//! A router that is killed, for real: a process of its own, and SIGKILL.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_obs::{Health, Metrics};
use pushrail_testkit::{Record, wait_until};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, Sent, delivered, settings};

const BOOTSTRAP: &str = "PUSHRAIL_TEST_ROUTER_BOOTSTRAP";

/// Not a test: the body of the process that is killed, which is this binary again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let Ok(bootstrap) = std::env::var(BOOTSTRAP) else {
        return;
    };
    let mut settings = settings(Connection::new(bootstrap));
    // So that much is always finished and not committed.
    settings.commit_interval = Duration::from_millis(700);
    let directory = Directory::start(&settings.connection, Interest::destinations()).unwrap();
    let (metrics, health) = (Metrics::new(), Health::new());
    pushrail_router::run(
        settings,
        directory,
        &metrics,
        &health,
        CancellationToken::new(),
    )
    .await;
}

fn spawn(bed: &Bed) -> Killed {
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this)
        .args(["--exact", "crash::child", "--nocapture"])
        .env(BOOTSTRAP, &bed.cluster.bootstrap)
        .stdout(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

/// Killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_killed_at_any_moment_loses_nothing_and_passes_no_repeat() {
    const EVENTS: u128 = 600;
    let bed = Bed::new().await;
    let customers = ["c-1", "c-2", "c-3", "c-4", "c-5", "c-6"];
    for (id, customer) in customers.into_iter().enumerate() {
        bed.destination(id as u128, customer, json!({"eventTypes": ["*"]}))
            .await;
    }
    // Each event at once again, and once more among those that follow.
    let mut sent = 0;
    for id in 0..EVENTS {
        let copies = [(id, 1), (id, 2), (id.saturating_sub(100), 3)];
        for (id, copy) in copies {
            let payload = format!("{{\"copy\":{copy}}}");
            let customer = customers[id as usize % customers.len()];
            bed.event(&Sent::new(id, customer, &payload).keyed()).await;
            sent += 1;
        }
        if id % 200 == 199 {
            let router = spawn(&bed);
            bed.cluster
                .read("deliver.webhook", id as usize / 2 + 50)
                .await;
            drop(router);
        }
    }
    let router = bed.start(bed.settings()).await;
    let all = |records: &[Record]| delivered(records).len() == EVENTS as usize;
    bed.cluster
        .read_until("deliver.webhook", "every event", all)
        .await;
    let repeats = bed.audit(sent - EVENTS as usize).await;
    assert!(repeats.iter().all(|audit| audit.class == "duplicate"));
    wait_until("the commits", || {
        router.metric("pushrail_router_lag_records") == 0
    })
    .await;
    router.stop().await;

    let delivered = delivered(&bed.cluster.read_all("deliver.webhook").await);
    assert_eq!(delivered.len(), EVENTS as usize, "nothing is lost");
    let mut again = 0;
    for (id, payloads) in &delivered {
        assert!(
            payloads.iter().all(|p| p == "{\"copy\":1}"),
            "event {id}: a repeat passed: {payloads:?}"
        );
        again += payloads.len() - 1;
    }
    println!("{again} of {EVENTS} deliveries were written again after a kill");
}
