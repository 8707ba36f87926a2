//! Members come and go.

use std::sync::atomic::Ordering;

use pushrail_kafka::relay::{Flow, Incoming, Outbox};
use pushrail_testkit::{Cluster, cluster, wait_for, wait_until};

use crate::support::{
    Each, Switch, Worker, assert_once, committed, copy, copy_to, counted, fill, settings, tight,
};

const PARTITIONS: i32 = 6;

async fn topics(cluster: &Cluster, hint: &str) -> (String, String, String) {
    let from = cluster.topic(hint, PARTITIONS).await;
    let to = cluster.topic(&format!("{hint}-copies"), PARTITIONS).await;
    let group = cluster.unique(hint);
    (from, to, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_under_load_repeat_and_lose_nothing() {
    let cluster = cluster().await;
    let (from, to, group) = topics(cluster, "handover").await;
    const COUNT: usize = 60_000;
    let load = tokio::spawn({
        let from = from.clone();
        async move {
            for start in (0..COUNT).step_by(2_000) {
                fill(cluster, &from, start..start + 2_000).await;
            }
        }
    });
    let start = || {
        let to = to.clone();
        Worker::start(&cluster.connection(), settings(&group, &from), move || {
            copy_to(&to)
        })
    };
    let mut workers = vec![start()];
    wait_until("the first to work", || workers[0].records() > 2_000).await;
    for _ in 0..3 {
        let joined = start();
        wait_until("the next to work", || {
            joined.records() > 2_000 || load.is_finished()
        })
        .await;
        workers.push(joined);
        let oldest = workers.remove(0);
        oldest.stop().await;
    }
    load.await.expect("the load is written");
    let all = cluster.read(&to, COUNT).await;
    for worker in workers {
        worker.stop().await;
    }
    let after = cluster.read_all(&to).await;
    assert_eq!(after.len(), all.len());
    assert_once(&after, COUNT);
    assert_eq!(
        committed(cluster, &group, &from, PARTITIONS).0,
        COUNT as i64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_repeats_only_what_was_under_way() {
    let cluster = cluster().await;
    let (from, to, group) = topics(cluster, "crash").await;
    let missing = cluster.unique("crash-missing");
    const COUNT: usize = 3_000;
    fill(cluster, &from, 0..COUNT).await;
    let target = to.clone();
    let worker = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            // Kafka does not answer for a topic that it does not have for a while: these stay under way.
            let stuck = record.offset == 10;
            copy(record, if stuck { &missing } else { &target }, out);
            Flow::Done
        })
    });
    wait_for("all others to be committed", async || {
        let (sum, metadata) = committed(cluster, &group, &from, PARTITIONS);
        let runs = metadata.iter().filter(|m| m.len() > "1;0;;".len()).count();
        let acked = cluster.read_all(&to).await.len() == COUNT - PARTITIONS as usize;
        (sum == 10 * i64::from(PARTITIONS) && runs == PARTITIONS as usize && acked).then_some(())
    })
    .await;
    // One more round of commits, so that the last of the others are told of too.
    let settled = worker.records();
    wait_until("everything to be begun", || settled == COUNT as u64).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    worker.crash().await;
    let target = to.clone();
    let next = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        copy_to(&target)
    });
    wait_until("the rest to be done", || {
        next.records() >= PARTITIONS as u64
    })
    .await;
    let all = cluster.read(&to, COUNT).await;
    next.stop().await;
    assert_once(&all, COUNT);
    assert_once(&cluster.read_all(&to).await, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_drains_and_commits_what_it_began() {
    let cluster = cluster().await;
    let (from, to, group) = topics(cluster, "drain").await;
    fill(cluster, &from, 0..20_000).await;
    let target = to.clone();
    let worker = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        copy_to(&target)
    });
    wait_until("work to begin", || worker.records() > 0).await;
    worker.stop().await;
    let copies = cluster.read_all(&to).await;
    assert!(counted(&copies).values().all(|times| *times == 1));
    let (sum, _) = committed(cluster, &group, &from, PARTITIONS);
    assert_eq!(sum, copies.len() as i64);
    let next = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        copy_to(&to)
    });
    let left = 20_000 - copies.len() as u64;
    wait_until("the rest", || next.records() == left).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_appear_later_are_read_when_a_pattern_means_them() {
    let cluster = cluster().await;
    let prefix = cluster.unique("pattern");
    let to = cluster.topic("pattern-copies", 1).await;
    cluster.create(&format!("{prefix}.one"), 2, &[]).await;
    fill(cluster, &format!("{prefix}.one"), 0..10).await;
    let (group, target) = (cluster.unique("pattern"), to.clone());
    let pattern = format!("^{}\\..*", prefix.replace('.', "\\."));
    let worker = Worker::start(
        &cluster.connection(),
        settings(&group, &pattern),
        move || copy_to(&target),
    );
    wait_until("the first topic", || worker.records() == 10).await;
    cluster.create(&format!("{prefix}.two"), 2, &[]).await;
    fill(cluster, &format!("{prefix}.two"), 10..20).await;
    let copies = cluster.read(&to, 20).await;
    assert_once(&copies, 20);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_went_is_read_when_it_comes_back() {
    let cluster = cluster().await;
    let from = cluster.topic("paused", 2).await;
    let to = cluster.topic("paused-copies", 1).await;
    let group = cluster.unique("paused");
    fill(cluster, &from, 0..4_000).await;
    let release = Switch::default();
    let held = |release: Switch| {
        let to = to.clone();
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            if !release.is_on() {
                return Flow::Hold(
                    tokio::time::Instant::now() + std::time::Duration::from_millis(50),
                );
            }
            copy(record, &to, out);
            Flow::Done
        })
    };
    let first = Worker::start(&cluster.connection(), tight(&group, &from), {
        let handler = held(release.clone());
        move || handler
    });
    wait_until("both buffers to be full", || first.held() >= 1_024).await;
    let second = Worker::start(&cluster.connection(), tight(&group, &from), {
        let handler = held(release.clone());
        move || handler
    });
    wait_until("the second to have one", || {
        second.partitions() == 1 && second.held() >= 512
    })
    .await;
    second.stop().await;
    wait_until("the first to have both", || first.partitions() == 2).await;
    release.on();
    let copies = cluster.read(&to, 4_000).await;
    assert_once(&copies, 4_000);
    assert_eq!(first.counters.truncated.load(Ordering::Relaxed), 0);
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_again_is_read_from_its_beginning() {
    let cluster = cluster().await;
    let (from, to, group) = topics(cluster, "again").await;
    fill(cluster, &from, 0..600).await;
    let target = to.clone();
    let worker = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        copy_to(&target)
    });
    wait_until("the first life", || worker.records() == 600).await;
    delete(cluster, &from).await;
    cluster.create(&from, PARTITIONS, &[]).await;
    fill(cluster, &from, 600..700).await;
    let copies = cluster.read(&to, 700).await;
    let counted = counted(&copies);
    assert!((0..700).all(|v| counted.contains_key(&v)));
    worker.stop().await;
}

async fn delete(cluster: &Cluster, topic: &str) {
    use pushrail_kafka::rdkafka::admin::{AdminClient, AdminOptions};
    use pushrail_kafka::rdkafka::client::DefaultClientContext;
    let admin: AdminClient<DefaultClientContext> = cluster
        .connection()
        .admin("pushrail-test")
        .create()
        .expect("a client");
    admin
        .delete_topics(&[topic], &AdminOptions::new())
        .await
        .expect("Kafka answers");
}
