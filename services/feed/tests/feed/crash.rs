//! A feed that is killed, for real: a process of its own, and SIGKILL.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pushrail_directory::{Directory, Interest};
use pushrail_kafka::Connection;
use pushrail_obs::{Health, Metrics};
use pushrail_topology::topics;
use tokio_util::sync::CancellationToken;

use crate::bed::{Bed, settings};

const BOOTSTRAP: &str = "PUSHRAIL_TEST_FEED_BOOTSTRAP";

/// Not a test: the body of the process that is killed, which is this binary again.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let Ok(bootstrap) = std::env::var(BOOTSTRAP) else {
        return;
    };
    let mut settings = settings(Connection::new(bootstrap));
    // So that much is always finished and not committed.
    settings.commit_interval = Duration::from_millis(700);
    let directory = Directory::start(&settings.connection, Interest::keys()).unwrap();
    let (metrics, health) = (Metrics::new(), Health::new());
    let shutdown = CancellationToken::new();
    let run = pushrail_feed::run(settings, directory, &metrics, &health, shutdown);
    run.await.unwrap();
}

/// Killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_killed_at_any_moment_loses_no_audit_record() {
    const RECORDS: u128 = 1_200;
    let bed = Bed::new(&["acme", "globex"]).await;
    bed.tenant("quiet", false).await;
    let tenants = ["acme", "globex", "quiet"];
    for number in 0..RECORDS {
        bed.attempt(tenants[number as usize % 3], number).await;
        if number % 400 == 399 {
            let feed = spawn(&bed);
            // Somewhere in the middle.
            let some = (number / 3 - 60) as usize;
            bed.cluster.read(&topics::audit("acme"), some).await;
            drop(feed);
        }
    }
    let feed = bed.start().await;
    for (at, tenant) in (0..).zip(["acme", "globex"]) {
        bed.arrived(tenant, (at..RECORDS).step_by(3)).await;
    }
    feed.idle_after(0).await;
    for (at, tenant) in (0..).zip(["acme", "globex"]) {
        let mut copies = bed.copies(tenant).await;
        let written = copies.len();
        copies.dedup();
        let expected: Vec<u128> = (at..RECORDS).step_by(3).collect();
        assert_eq!(copies, expected, "{tenant}");
        println!(
            "{} of {written} copies were written again after a kill",
            written - copies.len()
        );
    }
    feed.stop().await;
}
