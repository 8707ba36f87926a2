//! Records that must wait.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushrail_kafka::TopicPartition;
use pushrail_kafka::relay::{Flow, Handler, Incoming, Outbox};
use pushrail_testkit::{cluster, wait_until};
use tokio::time::Instant;

use crate::support::{
    Each, Switch, Worker, assert_once, copy, counted, fill, fill_sized, settings, tight,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_held_partition_does_not_hold_the_others() {
    let cluster = cluster().await;
    let from = cluster.topic("held", 3).await;
    let to = cluster.topic("held-copies", 1).await;
    let group = cluster.unique("held");
    fill(cluster, &from, 0..9_000).await;
    let of_zero = cluster
        .read_all(&from)
        .await
        .iter()
        .filter(|r| r.partition == 0)
        .count();
    let release = Switch::default();
    let (released, target) = (release.clone(), to.clone());
    let worker = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            if record.partition == 0 && !released.is_on() {
                return Flow::Hold(Instant::now() + Duration::from_millis(20));
            }
            copy(record, &target, out);
            Flow::Done
        })
    });
    let copies = cluster.read(&to, 9_000 - of_zero).await;
    assert_eq!(counted(&copies).len(), 9_000 - of_zero);
    release.on();
    assert_once(&cluster.read(&to, 9_000).await, 9_000);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_fills_no_memory_and_keeps_the_order() {
    let cluster = cluster().await;
    let from = cluster.topic("buffer", 1).await;
    let to = cluster.topic("buffer-copies", 1).await;
    let group = cluster.unique("buffer");
    fill(cluster, &from, 0..10_000).await;
    let release = Switch::default();
    let most = Arc::new(AtomicI64::new(0));
    let (released, target) = (release.clone(), to.clone());
    let worker = Worker::start(&cluster.connection(), tight(&group, &from), move || {
        Each(move |record: &Incoming<'_>, out: &mut Outbox| {
            if !released.is_on() {
                return Flow::Hold(Instant::now() + Duration::from_millis(20));
            }
            copy(record, &target, out);
            Flow::Done
        })
    });
    wait_until("the buffer to be full", || worker.held() >= 512).await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most.fetch_max(worker.held(), Ordering::Relaxed);
    }
    assert!(most.load(Ordering::Relaxed) <= 600, "{most:?} are held");
    release.on();
    let copies = cluster.read(&to, 10_000).await;
    assert_once(&copies, 10_000);
    let values: Vec<_> = copies.iter().map(|r| r.value.clone()).collect();
    let written: Vec<_> = cluster
        .read_all(&from)
        .await
        .into_iter()
        .map(|r| r.value)
        .collect();
    assert_eq!(values, written, "in the order of the partition");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_is_not_ready_sees_no_record_and_loses_none() {
    struct Late {
        ready: Switch,
        to: String,
    }
    impl Handler for Late {
        fn ready(&mut self, _: &TopicPartition) -> bool {
            self.ready.is_on()
        }
        fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
            assert!(self.ready.is_on());
            copy(record, &self.to, out);
            Flow::Done
        }
    }
    let cluster = cluster().await;
    let from = cluster.topic("late", 4).await;
    let to = cluster.topic("late-copies", 1).await;
    let group = cluster.unique("late");
    fill(cluster, &from, 0..4_000).await;
    let ready = Switch::default();
    let (switch, target) = (ready.clone(), to.clone());
    let worker = Worker::start(&cluster.connection(), settings(&group, &from), move || {
        Late {
            ready: switch,
            to: target,
        }
    });
    wait_until("records to wait", || worker.held() > 100).await;
    assert_eq!(worker.records(), 0);
    ready.on();
    assert_once(&cluster.read(&to, 4_000).await, 4_000);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_pressure_neither_loses_nor_spins_nor_leaves_the_group() {
    let cluster = cluster().await;
    let from = cluster.topic("blocked", 3).await;
    let to = cluster.topic("blocked-copies", 1).await;
    let group = cluster.unique("blocked");
    fill_sized(cluster, &from, 0..3_000, 500).await;
    let revoked = Arc::new(Mutex::new(0));
    struct Slow {
        to: String,
        revoked: Arc<Mutex<usize>>,
    }
    impl Handler for Slow {
        fn handle(&mut self, record: &Incoming<'_>, out: &mut Outbox) -> Flow {
            copy(record, &self.to, out);
            Flow::Done
        }
        fn revoked(&mut self, _: &TopicPartition) {
            *self.revoked.lock().unwrap() += 1;
        }
    }
    let mut connection = cluster.connection();
    // Every record waits for its own request: the worker is blocked nearly always, and for longer than Kafka would
    // bear with a member that does not poll.
    for (name, value) in [
        ("linger.ms", "40"),
        ("max.poll.interval.ms", "3000"),
        ("session.timeout.ms", "3000"),
        ("heartbeat.interval.ms", "300"),
        ("group.protocol", "classic"),
    ] {
        connection
            .properties
            .insert(name.to_owned(), value.to_owned());
    }
    let mut settings = settings(&group, &from);
    settings.outstanding_max = 20;
    let (target, told) = (to.clone(), Arc::clone(&revoked));
    let worker = Worker::start(&connection, settings, move || Slow {
        to: target,
        revoked: told,
    });
    assert_once(&cluster.read(&to, 3_000).await, 3_000);
    assert_eq!(*revoked.lock().unwrap(), 0, "never left");
    worker.stop().await;
}
