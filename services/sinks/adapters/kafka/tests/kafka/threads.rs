//! librdkafka has threads of its own; a worker never waits for them, and an idle destination has none.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pushrail_conformance::records;
use pushrail_sink_core::Client as _;
use pushrail_testkit::wait_until;
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};

use super::bed::{bed, connect, send, send_within, verdicts};

/// Threads of librdkafka in this process that have to do with `producer`s alone, by the names that it gives them.
fn threads() -> usize {
    let all = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.ok()?.path().join("comm")).ok()
    };
    all.filter_map(name)
        .filter(|name| name.starts_with("rdk:"))
        .count()
}

/// In a process of its own, so that nobody else's producers are counted.
#[test]
fn an_idle_destination_has_no_threads_and_one_that_is_let_go_leaves_none() {
    const NAME: &str =
        "threads::an_idle_destination_has_no_threads_and_one_that_is_let_go_leaves_none";
    const ALONE: &str = "PUSHRAIL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let program = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(program);
        let status = command.args(["--exact", NAME]).env(ALONE, "1").status();
        assert!(status.unwrap().success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let bed = bed().await;
        let topic = bed.topic(1, &[]).await;
        wait_until("what made the topic is gone", || threads() == 0).await;
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(connect(&bed.clear(&topic)).await);
        }
        assert_eq!(
            threads(),
            0,
            "nothing is made before there is something to send"
        );
        for client in &clients[..10] {
            assert_eq!(verdicts(&send(client, &records(1)).await), ["delivered"]);
        }
        // Its own two, one of a bootstrap address and one of a broker.
        let each = threads() / 10;
        assert!((1..=5).contains(&each), "{each} threads a destination");
        drop(clients);
        wait_until("no thread is left", || threads() == 0).await;
    });
}

#[test]
fn neither_making_nor_ending_a_producer_holds_up_the_worker() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Takes connections and says nothing.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = silent.local_addr().unwrap();
        let given = pushrail_conformance::Given {
            config: serde_json::json!({"bootstrapServers": at.to_string(), "topic": "any"}),
            secrets: serde_json::json!({}),
        };
        let longest = async {
            let (mut tick, mut last, mut longest) = (
                interval(Duration::from_millis(1)),
                Instant::now(),
                Duration::ZERO,
            );
            loop {
                tick.tick().await;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if longest > Duration::from_millis(250) {
                    return longest;
                }
            }
        };
        let calls = async {
            for _ in 0..10 {
                let client = connect(&given).await;
                let outcome = send_within(&client, &records(100), Duration::from_millis(100)).await;
                assert_eq!(verdicts(&outcome), ["retry timeout"; 100]);
            }
        };
        tokio::select! {
            longest = longest => panic!("the worker stood still for {longest:?}"),
            () = calls => {}
        }
    });
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_the_others_of_its_producer_alone() {
    let bed = bed().await;
    let topic = bed.topic(1, &[]).await;
    let client = Arc::new(connect(&bed.clear(&topic)).await);
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let other = records(2_000);
    let others = send(&client, &other);
    let given_up = async {
        let batch = records(10);
        let call = client.send(&batch, Instant::now() + Duration::from_secs(20));
        // Long enough to be handed over, too short to be answered, mostly.
        _ = tokio::time::timeout(Duration::from_micros(1), call).await;
    };
    let (outcome, ()) = tokio::join!(others, given_up);
    assert!(
        verdicts(&outcome).iter().all(|v| v == "delivered"),
        "{outcome:?}"
    );
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
}
