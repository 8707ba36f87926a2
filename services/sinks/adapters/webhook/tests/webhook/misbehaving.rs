//! Receivers at their worst: each costs one call, bounded in time and memory, and never looks like success.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Response;
use http_body_util::Full;
use pushrail_sink_core::{Evidence, Verdict};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, interval};

use super::support::{
    Server, accepting, client, raw, read_request, reply, scripted, send, send_within, serve,
    verdict,
};

const SOON: Duration = Duration::from_millis(300);

/// Answers with `head` and then `drop` every 20 ms for ever.
async fn dripping(head: &'static str, drop: &'static str) -> Server {
    raw(move |mut stream, requests| async move {
        if read_request(&mut stream).await {
            requests.next();
            let _ = stream.write_all(head.as_bytes()).await;
            let mut tick = interval(Duration::from_millis(20));
            while stream.write_all(drop.as_bytes()).await.is_ok() {
                tick.tick().await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_dripping_body_is_cut_at_the_deadline() {
    let server = dripping(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "1\r\nx\r\n",
    )
    .await;
    let started = Instant::now();
    let outcome = send_within(&client(&server.url("/")).await, SOON).await;
    assert_eq!(verdict(&outcome), "retry timeout");
    assert!(started.elapsed() < SOON + Duration::from_secs(2));
    assert_eq!(outcome.evidence.status_code, Some(200));
    assert!(outcome.evidence.excerpt.starts_with(b"xx"));
    server.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_dripping_head_is_cut_at_the_deadline() {
    let server = dripping("HTTP/1.1 200 OK\r\nx-slow: ", "x").await;
    let outcome = send_within(&client(&server.url("/")).await, SOON).await;
    assert_eq!(verdict(&outcome), "retry timeout");
    server.until(|counts| counts.open == 0).await;
}

#[tokio::test]
async fn a_hanging_receiver_is_given_up_at_the_deadline() {
    let server = scripted("").await;
    let outcome = send_within(&client(&server.url("/")).await, SOON).await;
    assert_eq!(verdict(&outcome), "retry timeout");
    let detail = &outcome.verdicts[0].fault().unwrap().detail;
    assert!(detail.contains("before the receiver answered"), "{detail}");
}

#[tokio::test]
async fn a_deadline_that_has_passed_sends_nothing_that_counts() {
    let server = accepting().await;
    let outcome = send_within(&client(&server.url("/")).await, Duration::ZERO).await;
    assert_eq!(verdict(&outcome), "retry timeout");
}

/// Writes an endless body and counts what got out.
async fn endless(head: &'static str) -> (Server, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let server = raw(move |mut stream, requests| {
        let count = count.clone();
        async move {
            if !read_request(&mut stream).await {
                return;
            }
            requests.next();
            let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
            let _ = stream.write_all(head.as_bytes()).await;
            while stream.write_all(&chunk).await.is_ok() {
                count.fetch_add(chunk.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    (server, written)
}

#[tokio::test]
async fn a_huge_body_is_read_to_its_cap_and_the_connection_closed() {
    let table = [
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "delivered",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            "delivered",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "delivered"),
        (
            "HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n",
            "retry http_500",
        ),
    ];
    for (head, expected) in table {
        let (server, written) = endless(head).await;
        let outcome = send(&client(&server.url("/")).await).await;
        assert_eq!(verdict(&outcome), expected, "{head}");
        assert_eq!(outcome.evidence.excerpt.len(), Evidence::EXCERPT_LEN_MAX);
        server.until(|counts| counts.open == 0).await;
        // What the sockets' buffers held, no more.
        let written = written.load(Ordering::Relaxed);
        assert!(written < 16 << 20, "{written}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_excerpt_keeps_its_connection_while_it_is_small() {
    let server = serve(|_| async { Response::new(Full::from(vec![b'x'; 8000])) }).await;
    let client = client(&server.url("/")).await;
    for _ in 0..3 {
        let outcome = send(&client).await;
        assert_eq!(verdict(&outcome), "delivered");
        assert_eq!(outcome.evidence.excerpt.len(), Evidence::EXCERPT_LEN_MAX);
    }
    assert_eq!(server.now().opened, 1);
}

#[tokio::test]
async fn broken_answers_have_names() {
    let large_head = format!(
        "HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let many: String = (0..500).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many_heads = format!("HTTP/1.1 200 OK\r\n{many}\r\n");
    let table = [
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "retry invalid_response"),
        ("\u{15}\u{3}\u{1}\0\u{2}\u{2}F", "retry invalid_response"),
        ("HTTP/9.9 200 OK\r\n\r\n", "retry invalid_response"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "retry invalid_response",
        ),
        (&large_head, "retry invalid_response"),
        (&many_heads, "retry invalid_response"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            "delivered",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
            "retry http_500",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
            "reject http_other",
        ),
        (
            "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
            "reject http_other",
        ),
        (
            "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "delivered",
        ),
    ];
    for (response, expected) in table {
        let server = scripted(response.to_owned()).await;
        let outcome = send(&client(&server.url("/")).await).await;
        let start: String = response.chars().take(60).collect();
        assert_eq!(verdict(&outcome), expected, "{start}");
    }
}

#[tokio::test]
async fn a_reset_is_a_lost_connection() {
    let reset = raw(|mut stream, requests| async move {
        if read_request(&mut stream).await {
            requests.next();
            #[expect(deprecated, reason = "a zero linger is how a reset is made")]
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
    })
    .await;
    let client = client(&reset.url("/")).await;
    assert_eq!(verdict(&send(&client).await), "retry connection_lost");
}

#[tokio::test]
async fn a_body_that_breaks_off_after_a_2xx_was_delivered_all_the_same() {
    let server = raw(|mut stream, requests| async move {
        if read_request(&mut stream).await {
            requests.next();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc";
            stream.write_all(head).await.unwrap();
        }
    })
    .await;
    let outcome = send(&client(&server.url("/")).await).await;
    assert_eq!(verdict(&outcome), "delivered");
    assert_eq!(outcome.evidence.excerpt, "abc");
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = accepting().await;
    let location = elsewhere.url("/elsewhere");
    for status in [301, 302, 303, 307, 308] {
        let location = location.clone();
        let server = serve(move |_| {
            let reply = Response::builder()
                .status(status)
                .header("location", &location);
            let reply = reply.body(Full::default()).unwrap();
            async { reply }
        })
        .await;
        let outcome = send(&client(&server.url("/")).await).await;
        assert_eq!(verdict(&outcome), "reject redirect");
        let detail = &outcome.verdicts[0].fault().unwrap().detail;
        assert!(detail.contains("not followed"), "{detail}");
        let headers = outcome.evidence.headers.unwrap();
        assert!(headers.contains("location: "), "{headers}");
    }
    assert_eq!(elsewhere.now().requests, 0);
}

#[tokio::test]
async fn retry_after_and_evidence_come_back() {
    let server = serve(|_| async {
        let reply = Response::builder().status(503).header("retry-after", "17");
        let reply = reply
            .header("set-cookie", "s3cret")
            .header("x-request-id", "r-1");
        reply.body(Full::from("overloaded")).unwrap()
    })
    .await;
    let outcome = send(&client(&server.url("/")).await).await;
    let after = Some(Duration::from_secs(17));
    assert!(matches!(&outcome.verdicts[0], Verdict::Retry { after: found, .. } if *found == after));
    assert_eq!(outcome.evidence.status_code, Some(503));
    assert_eq!(outcome.evidence.excerpt, "overloaded");
    let headers = outcome.evidence.headers.unwrap();
    assert!(
        headers.contains("x-request-id: r-1") && !headers.contains("s3cret"),
        "{headers}"
    );
}

#[tokio::test]
async fn a_gone_receiver_suspends_the_destination() {
    let server = serve(|_| async { reply(410) }).await;
    let outcome = send(&client(&server.url("/")).await).await;
    assert_eq!(verdict(&outcome), "suspend http_410");
}
