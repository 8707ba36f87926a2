//! The consumer by itself.

use std::time::Duration;

use pushrail_kafka::rdkafka::Message as _;
use pushrail_kafka::rdkafka::consumer::CommitMode;
use pushrail_kafka::{Consumer, Polled};
use pushrail_testkit::{cluster, wait_until};
use tokio::time::Instant;

use crate::support::{committed, fill, fill_sized, partition, poll_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_goes_with_an_assignment_unanswered_does_not_hang() {
    let cluster = cluster().await;
    let topic = cluster.topic("unanswered", 3).await;
    let group = cluster.unique("unanswered");
    let began = Instant::now();
    for told in [false, true] {
        let config = cluster.connection().consumer(&group, "pushrail-test");
        let topic = topic.clone();
        let gone = tokio::task::spawn_blocking(move || {
            let consumer = Consumer::new(&config, &[&topic]).expect("a consumer");
            if told {
                poll_until(&consumer, |polled| {
                    matches!(polled, Polled::Assigned(_)).then_some(())
                });
            } else {
                // librdkafka has its assignment, and nobody has polled.
                std::thread::park_timeout(Duration::from_secs(2));
            }
            drop(consumer);
        });
        let gone = tokio::time::timeout(Duration::from_secs(30), gone).await;
        gone.expect("it ends").expect("without a panic");
    }
    println!("both took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_goes_while_it_owes_partitions_lets_the_next_one_have_them() {
    let cluster = cluster().await;
    let topic = cluster.topic("owes", 2).await;
    let group = cluster.unique("owes");
    let config = cluster.connection().consumer(&group, "pushrail-test");
    let owes = tokio::task::spawn_blocking(move || {
        let first = Consumer::new(&config, &[&topic]).expect("a consumer");
        poll_until(&first, |polled| start(&first, polled));
        let second = Consumer::new(&config, &[&topic]).expect("a consumer");
        poll_until(&first, |polled| {
            drop(second.poll());
            matches!(polled, Polled::Revoked { .. }).then_some(())
        });
        drop(first);
        let mut got = 0;
        poll_until(&second, |polled| {
            got += start(&second, polled).unwrap_or(0);
            (got == 2).then_some(())
        });
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), owes).await;
    ended.expect("it ends").expect("without a panic");
}

pub(crate) fn start(consumer: &Consumer, polled: Polled<'_>) -> Option<usize> {
    let Polled::Assigned(partitions) = polled else {
        return None;
    };
    let list: Vec<_> = partitions.into_iter().map(|p| (p, None)).collect();
    consumer.start(&list).expect("the assignment is taken");
    Some(list.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_tells_what_became_of_it() {
    let cluster = cluster().await;
    let topic = cluster.topic("outcome", 1).await;
    let group = cluster.unique("outcome");
    fill(cluster, &topic, 0..10).await;
    let config = cluster.connection().consumer(&group, "pushrail-test");
    let (name, copy) = (topic.clone(), group.clone());
    let polled = tokio::task::spawn_blocking(move || {
        let consumer = Consumer::new(&config, &[&name]).expect("a consumer");
        poll_until(&consumer, |polled| start(&consumer, polled));
        let commit = |partition_of: i32| {
            let tp = partition(&name, partition_of);
            let commits = [(&tp, 7, "1;0;;2.1".to_owned())];
            let sent = consumer.commit(commits, CommitMode::Async);
            sent.expect("it is sent");
            poll_until(&consumer, |_| consumer.outcomes().remove(&tp))
        };
        assert_eq!(commit(0), Ok(()));
        assert!(commit(99).is_err(), "there is no such partition");
        let wait = |of: i32| {
            let tp = partition(&name, of);
            consumer.commit([(&tp, 8, "1;0;;3.1".to_owned())], CommitMode::Sync)
        };
        assert_eq!(wait(0), Ok(()));
        assert!(wait(99).is_err(), "there is no such partition");
    });
    polled.await.expect("without a panic");
    assert_eq!(
        committed(cluster, &copy, &topic, 1),
        (8, vec!["1;0;;3.1".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_read_before_a_seek_is_polled_after_it() {
    let cluster = cluster().await;
    let topic = cluster.topic("seek", 1).await;
    let group = cluster.unique("seek");
    fill(cluster, &topic, 0..5_000).await;
    let config = cluster.connection().consumer(&group, "pushrail-test");
    let polled = tokio::task::spawn_blocking(move || {
        let consumer = Consumer::new(&config, &[&topic]).expect("a consumer");
        poll_until(&consumer, |polled| start(&consumer, polled));
        let tp = partition(&topic, 0);
        let next = |consumer: &Consumer| {
            poll_until(consumer, |polled| match polled {
                Polled::Record(record) => Some(pushrail_kafka::rdkafka::Message::offset(&record)),
                _ => None,
            })
        };
        for round in 0..50 {
            let from = round * 37;
            for expected in from..from + 40 {
                assert_eq!(next(&consumer), expected, "round {round}");
            }
            consumer.seek(&tp, from + 37).expect("a seek");
        }
    });
    polled.await.expect("without a panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wake_is_not_lost_when_records_come_behind_other_events() {
    let cluster = cluster().await;
    let topic = cluster.topic("wake", 1).await;
    let group = cluster.unique("wake");
    let config = cluster.connection().consumer(&group, "pushrail-test");
    let (name, waits) = (
        topic.clone(),
        std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)),
    );
    let seen = waits.clone();
    let reader = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let consumer = Consumer::new(&config, &[&name]).expect("a consumer");
            let tp = partition(&name, 0);
            let mut read = 0;
            while read < 500 {
                loop {
                    match consumer.poll() {
                        Polled::Idle => break,
                        Polled::Record(_) => {
                            read += 1;
                            seen.store(read, std::sync::atomic::Ordering::Relaxed);
                            // An answer that comes between records.
                            let commits = [(&tp, read as i64, String::new())];
                            consumer
                                .commit(commits, CommitMode::Async)
                                .expect("it is sent");
                        }
                        polled => drop(start(&consumer, polled)),
                    }
                }
                if read < 500 {
                    let woken =
                        tokio::time::timeout(Duration::from_secs(20), consumer.wait()).await;
                    assert!(woken.is_ok(), "asleep after {read} records");
                }
            }
        });
    });
    for start in (0..500).step_by(25) {
        fill(cluster, &topic, start..start + 25).await;
    }
    wait_until("all records", || {
        waits.load(std::sync::atomic::Ordering::Relaxed) == 500
    })
    .await;
    reader.await.expect("without a panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_resumed_is_read_at_once() {
    let cluster = cluster().await;
    let topic = cluster.topic("resumed", 1).await;
    let group = cluster.unique("resumed");
    // More than is prefetched: at the end of a partition a fetch would wait for the next record.
    fill_sized(cluster, &topic, 0..12_000, 1_000).await;
    let config = cluster.connection().consumer(&group, "pushrail-test");
    let read = tokio::task::spawn_blocking(move || {
        let consumer = Consumer::new(&config, &[&topic]).expect("a consumer");
        poll_until(&consumer, |polled| start(&consumer, polled));
        let next = || {
            poll_until(&consumer, |polled| match polled {
                Polled::Record(message) => Some(message.offset()),
                _ => None,
            })
        };
        let tp = partition(&topic, 0);
        let (mut last, mut took) = (next(), Duration::ZERO);
        for _ in 0..8 {
            consumer.pause(&tp).expect("it pauses");
            poll_for(&consumer, Duration::from_millis(50));
            let resumed = Instant::now();
            consumer.resume(&tp).expect("it resumes");
            let offset = next();
            took += resumed.elapsed();
            assert_eq!(offset, last + 1);
            last = offset;
        }
        took
    });
    let took = read.await.expect("without a panic");
    // Left alone, librdkafka takes half a second each time, on average.
    assert!(took < Duration::from_secs(2), "{took:?} for eight times");
}

/// Polls a consumer that has nothing to give.
fn poll_for(consumer: &Consumer, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        assert!(matches!(consumer.poll(), Polled::Idle));
        std::thread::yield_now();
    }
}
