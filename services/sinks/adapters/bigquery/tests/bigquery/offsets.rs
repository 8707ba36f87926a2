//! Answers that are lost: what was appended is there once, whoever asks again and in which company.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pushrail_conformance::proxy::{Fault, Proxy};
use pushrail_conformance::records;
use pushrail_sink_core::Record;
use pushrail_testkit::bigquery;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::support::{Place, send, send_within, verdicts};

/// Requests pass, and answers do not in the time of a test.
const ANSWERS_LOST: Fault = Fault::Drip(Duration::from_secs(3600));

#[tokio::test]
async fn an_append_whose_answer_was_lost_adds_nothing_when_its_events_come_again() {
    let place = Place::new().await;
    let proxy = Proxy::start(bigquery().await.grpc()).await;
    let through = format!("http://{}", proxy.address());
    let client = place
        .client(|config| config["storageEndpoint"] = json!(through))
        .await;
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    // They get there, and nobody learns of it.
    let lost = records(5);
    proxy.set(ANSWERS_LOST);
    let outcome = send_within(&client, &lost, Duration::from_secs(1)).await;
    assert_eq!(verdicts(&outcome), ["retry timeout"; 5]);
    proxy.set(Fault::None);
    pushrail_testkit::wait_for("what was sent is there", async || {
        (place.ids("order_completed").await.len() == 7).then_some(())
    })
    .await;
    // They come again one by one, as from the tiers of retries, and beside others.
    let others = records(3);
    let batches: [Vec<Arc<Record>>; 3] = [
        vec![lost[3].clone(), others[0].clone()],
        vec![others[1].clone(), lost[0].clone(), lost[4].clone()],
        vec![lost[1].clone(), lost[2].clone(), others[2].clone()],
    ];
    for batch in batches {
        let outcome = send(&client, &batch).await;
        assert!(
            verdicts(&outcome).iter().all(|v| v == "delivered"),
            "{outcome:?}"
        );
    }
    let mut there = place.ids("order_completed").await;
    there.sort();
    there.dedup();
    assert_eq!(there.len(), 10, "each event once");
    assert_eq!(place.ids("order_completed").await.len(), 10);
}

#[tokio::test]
async fn an_append_that_never_arrived_is_sent_again() {
    let place = Place::new().await;
    let proxy = Proxy::start(bigquery().await.grpc()).await;
    let through = format!("http://{}", proxy.address());
    let client = place
        .client(|config| config["storageEndpoint"] = json!(through))
        .await;
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    let lost = records(5);
    proxy.set(Fault::Hang);
    let outcome = send_within(&client, &lost, Duration::from_secs(1)).await;
    assert_eq!(verdicts(&outcome), ["retry timeout"; 5]);
    proxy.set(Fault::None);
    assert_eq!(verdicts(&send(&client, &lost).await), ["delivered"; 5]);
    assert_eq!(place.ids("order_completed").await.len(), 7);
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_no_event_twice() {
    let place = Place::new().await;
    let proxy = Proxy::start(bigquery().await.grpc()).await;
    let through = format!("http://{}", proxy.address());
    let client = place
        .client(|config| config["storageEndpoint"] = json!(through))
        .await;
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    let lost = records(4);
    proxy.set(ANSWERS_LOST);
    tokio::select! {
        _ = send(&client, &lost) => unreachable!("nobody answers"),
        () = pushrail_testkit::wait_for("it is there", async || {
            (place.ids("order_completed").await.len() == 5).then_some(())
        }) => {}
    }
    proxy.set(Fault::None);
    assert_eq!(verdicts(&send(&client, &lost).await), ["delivered"; 4]);
    assert_eq!(place.ids("order_completed").await.len(), 5);
}

/// What [`network`] does.
#[derive(Clone, Copy, Default)]
struct Told {
    swallows_answers: bool,
    /// Connections that were opened before it went up are cut.
    cuts: u32,
}

/// A network between us and `server` that swallows answers, and cuts connections.
async fn network(server: SocketAddr) -> (SocketAddr, watch::Sender<Told>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = watch::channel(Told::default());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let mut told = told.clone();
            let cuts = told.borrow().cuts;
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let heard = told.clone();
                let answers = async {
                    let mut buffer = vec![0; 16 * 1024];
                    loop {
                        let read = from_server.read(&mut buffer).await?;
                        if read == 0 {
                            return Ok::<_, std::io::Error>(());
                        }
                        if !heard.borrow().swallows_answers {
                            to_client.write_all(&buffer[..read]).await?;
                        }
                    }
                };
                tokio::select! {
                    _ = answers => {}
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    _ = told.wait_for(|told| told.cuts > cuts) => {}
                }
            });
        }
    });
    (address, tell)
}

#[tokio::test]
async fn an_append_on_a_connection_that_broke_is_sent_again_at_its_offset_and_is_there_once() {
    let place = Place::new().await;
    let (at, tell) = network(bigquery().await.grpc()).await;
    let client = place
        .client(|config| config["storageEndpoint"] = json!(format!("http://{at}")))
        .await;
    assert_eq!(
        verdicts(&send(&client, &records(2)).await),
        ["delivered"; 2]
    );
    tell.send_modify(|told| told.swallows_answers = true);
    let lost = records(5);
    let breaks = async {
        pushrail_testkit::wait_for("it is there", async || {
            (place.ids("order_completed").await.len() == 7).then_some(())
        })
        .await;
        tell.send_modify(|told| {
            *told = Told {
                swallows_answers: false,
                cuts: told.cuts + 1,
            };
        });
    };
    let (outcome, ()) = tokio::join!(send(&client, &lost), breaks);
    assert_eq!(verdicts(&outcome), ["delivered"; 5], "{outcome:?}");
    assert_eq!(place.ids("order_completed").await.len(), 7);
    // And it goes on from there.
    assert_eq!(verdicts(&send(&client, &records(1)).await), ["delivered"]);
    assert_eq!(place.ids("order_completed").await.len(), 8);
}
