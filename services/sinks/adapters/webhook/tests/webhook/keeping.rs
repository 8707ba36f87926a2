//! Connections: kept, lost, found again, and never leaked.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use pushrail_sink_core::Client as _;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::support::{
    accepting, client, raw, raw_at, read_request, record, reply, scripted, send, serve, verdict,
};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_kept_for_the_next_event() {
    let server = accepting().await;
    let client = client(&server.url("/")).await;
    for _ in 0..20 {
        assert_eq!(verdict(&send(&client).await), "delivered");
    }
    assert_eq!(server.now().opened, 1);
}

#[tokio::test]
async fn a_hundred_calls_at_once_all_arrive_and_the_next_hundred_open_nothing_new() {
    let server = accepting().await;
    let client = client(&server.url("/")).await;
    let mut opened = 0;
    for round in 0..2 {
        let calls = (0..100).map(|_| send(&client));
        let outcomes = futures::future::join_all(calls).await;
        assert!(
            outcomes
                .iter()
                .all(|outcome| verdict(outcome) == "delivered")
        );
        if round == 0 {
            opened = server.now().opened;
        }
    }
    assert_eq!(server.now().requests, 200);
    assert_eq!(server.now().opened, opened);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_no_delivery() {
    // Answers once on each connection and closes it without a word.
    let server = raw(|mut stream, requests| async move {
        if read_request(&mut stream).await {
            requests.next();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    let client = client(&server.url("/")).await;
    for sent in 1..=10 {
        assert_eq!(verdict(&send(&client).await), "delivered", "{sent}");
        server.until(|counts| counts.open == 0).await;
    }
    assert_eq!(server.now().requests, 10);
}

#[tokio::test]
async fn a_request_that_was_written_is_not_sent_twice() {
    // Answers the first request of a connection and hangs up on the second.
    let server = raw(|mut stream, requests| async move {
        if read_request(&mut stream).await {
            requests.next();
            stream.write_all(OK).await.unwrap();
        }
        if read_request(&mut stream).await {
            requests.next();
        }
    })
    .await;
    let client = client(&server.url("/")).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(verdict(&send(&client).await), "retry connection_lost");
    assert_eq!(server.now().requests, 2);
    assert_eq!(
        verdict(&send(&client).await),
        "delivered",
        "and the next call gets through"
    );
}

#[tokio::test]
async fn a_restarted_receiver_is_found_again() {
    let server = accepting().await;
    let client = client(&server.url("/")).await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    let address = server.stop().await;
    assert_eq!(verdict(&send(&client).await), "retry connection_refused");
    let server = raw_at(address, |mut stream, requests| async move {
        while read_request(&mut stream).await {
            requests.next();
            stream.write_all(OK).await.unwrap();
        }
    })
    .await;
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(server.now().requests, 1);
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let server = scripted("").await;
    let client = client(&server.url("/")).await;
    let batch = [record("{}").into()];
    {
        let call = client.send(&batch, Instant::now() + Duration::from_secs(60));
        tokio::select! {
            _ = call => panic!("nobody answered"),
            counts = server.until(|counts| counts.requests == 1) => assert_eq!(counts.open, 1),
        }
    }
    server.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn the_deadline_closes_the_connection() {
    let server = scripted("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await;
    let client = client(&server.url("/")).await;
    let outcome = super::support::send_within(&client, Duration::from_millis(200)).await;
    assert_eq!(verdict(&outcome), "retry timeout");
    assert_eq!(outcome.evidence.excerpt, "ab");
    server.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_no_connection() {
    let server = accepting().await;
    let client = client(&server.url("/")).await;
    send(&client).await;
    assert_eq!(server.now().open, 1);
    drop(client);
    server.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_let_go_before_the_server_does() {
    let server = serve(|_| async {
        let reply = Response::builder().header("keep-alive", "timeout=2");
        reply.body(Full::from("ok")).unwrap()
    })
    .await;
    let client = client(&server.url("/")).await;
    send(&client).await;
    // The server would wait for ever.
    tokio::time::timeout(Duration::from_secs(60), async {
        let mut counts = server.counts.clone();
        counts.wait_for(|counts| counts.open == 0).await.unwrap();
    })
    .await
    .unwrap();
    assert_eq!(verdict(&send(&client).await), "delivered");
    assert_eq!(server.now().opened, 2);
}

#[tokio::test]
async fn a_server_that_says_close_is_believed() {
    let server = serve(|_| async {
        let reply = Response::builder().header("connection", "close");
        reply.body(Full::from("ok")).unwrap()
    })
    .await;
    let client = client(&server.url("/")).await;
    for _ in 0..5 {
        assert_eq!(verdict(&send(&client).await), "delivered");
    }
    assert_eq!(server.now().opened, 5);
}

#[tokio::test]
async fn a_slow_neighbour_does_not_hold_up_a_second_call() {
    let gate = Arc::new(Notify::new());
    let opens = gate.clone();
    let server = serve(move |seen| {
        let gate = gate.clone();
        async move {
            if seen.nth == 0 {
                gate.notified().await;
            }
            reply(200)
        }
    })
    .await;
    let client = client(&server.url("/")).await;
    let slow = send(&client);
    let quick = async {
        server.until(|counts| counts.requests == 1).await;
        assert_eq!(verdict(&send(&client).await), "delivered");
        opens.notify_one();
    };
    let (slow, ()) = tokio::join!(slow, quick);
    assert_eq!(verdict(&slow), "delivered");
}
