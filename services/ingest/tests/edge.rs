//! What the HTTP edge promises, against a publisher that answers as it is told.

mod support;

use std::io::Write as _;
use std::sync::atomic::Ordering;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use pushrail_schemas::identity;
use support::{Edge, KEY, TENANT, event, post, settings};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[tokio::test]
async fn an_accepted_event_is_what_was_sent_and_its_tenant_is_the_keys() {
    let edge = Edge::new();
    let body = r#"{"payload":{ "total" : 12.50 },"eventType":"order.completed","customerExternalId":"c-1",
        "occurredAt":"2026-07-01T12:00:00+02:00","source":"shop","metadata":{"a":"b"}}"#;
    let answer = edge.post("/v1/events", body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/json");
    let events = edge.recorder.events.lock().unwrap();
    let event = &events[0];
    assert_eq!(answer.json["eventId"], event.event_id().to_string());
    assert_eq!(event.event_id().get_version_num(), 7);
    assert_eq!(event.payload(), br#"{ "total" : 12.50 }"#);
    assert_eq!(event.metadata(), br#"{"a":"b"}"#);
    let received = pushrail_clock::rfc3339(event.received_at_us()).unwrap();
    assert_eq!(answer.json["receivedAt"], received);
    let headers = &edge.recorder.headers.lock().unwrap()[0];
    assert!(headers.contains(&("tenant_id".into(), TENANT.into())));
    assert!(
        headers
            .iter()
            .all(|(name, _)| name != "deduplicate" && name != "traceparent")
    );
}

#[tokio::test]
async fn a_repeat_with_the_same_key_has_the_same_id_however_the_key_is_sent() {
    let edge = Edge::new();
    let id = identity::event_id(TENANT, "order.completed", "k-1").to_string();
    let body = event("c-1").replace("\"payload\"", "\"idempotencyKey\":\"k-1\",\"payload\"");
    let in_body = edge.post("/v1/events", body.clone()).await;
    for quoted in ["k-1", "\"k-1\""] {
        let mut request = post("/v1/events", event("c-1"));
        let key = quoted.parse().unwrap();
        request.headers_mut().insert("idempotency-key", key);
        let in_head = edge.send(request).await;
        assert_eq!(in_head.json["eventId"], id, "{}", in_head.text);
    }
    let in_batch = edge.post("/v1/events/batch", format!("[{body}]")).await;
    assert_eq!(in_body.json["eventId"], id);
    assert_eq!(in_batch.json["results"][0]["eventId"], id);
    for headers in &*edge.recorder.headers.lock().unwrap() {
        assert!(headers.contains(&("deduplicate".into(), "1".into())));
    }
}

#[tokio::test]
async fn a_batch_is_taken_in_every_form_and_its_results_are_in_order() {
    let lines: Vec<String> = (0..5).map(|n| event(&format!("c-{n}"))).collect();
    let array = format!("[{}]", lines.join(","));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(array.as_bytes()).unwrap();
    for (kind, coding, body) in [
        ("application/json", None, array.clone().into_bytes()),
        (
            "application/json",
            None,
            format!("{{\"events\" : {array} }}").into_bytes(),
        ),
        (
            "application/x-ndjson",
            None,
            lines.join("\r\n").into_bytes(),
        ),
        (
            "application/x-ndjson",
            None,
            (lines.join("\n\n") + "\n").into_bytes(),
        ),
        (
            "application/json; charset=UTF-8",
            Some("gzip"),
            gzip.finish().unwrap(),
        ),
    ] {
        let edge = Edge::new();
        let mut request = post("/v1/events/batch", body);
        let headers = request.headers_mut();
        headers.insert("content-type", kind.parse().unwrap());
        if let Some(coding) = coding {
            headers.insert("content-encoding", coding.parse().unwrap());
        }
        let answer = edge.send(request).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(answer.json["accepted"], 5);
        assert_eq!(answer.json["rejected"], 0);
        let events = edge.recorder.events.lock().unwrap();
        for (n, event) in events.iter().enumerate() {
            assert_eq!(event.customer_external_id(), format!("c-{n}"));
            let result = &answer.json["results"][n];
            assert_eq!(result["index"], n);
            assert_eq!(result["status"], "accepted");
            assert_eq!(result["eventId"], event.event_id().to_string());
        }
    }
}

#[tokio::test]
async fn events_that_kafka_did_not_confirm_are_never_called_accepted() {
    let edge = Edge::new();
    *edge.recorder.unconfirmed.lock().unwrap() = vec![0];
    let answer = edge.post("/v1/events", event("c-1")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json["type"], "urn:pushrail:problem:not-confirmed");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(
        answer.json["detail"]
            .as_str()
            .unwrap()
            .contains("may or may not be accepted")
    );

    // The second of two good ones, around a bad one.
    *edge.recorder.unconfirmed.lock().unwrap() = vec![1];
    let body = format!("[{},7,{}]", event("c-1"), event("c-2"));
    let answer = edge.post("/v1/events/batch", body).await;
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        answer.text
    );
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let json = &answer.json;
    assert_eq!(
        (&json["accepted"], &json["rejected"], &json["unconfirmed"]),
        (&1.into(), &1.into(), &1.into())
    );
    let statuses: Vec<_> = (0..3)
        .map(|n| json["results"][n]["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["accepted", "rejected", "unconfirmed"]);
    assert_eq!(json["status"], 503);
}

#[tokio::test]
async fn a_publisher_that_goes_away_leaves_nobody_with_an_accepted_event() {
    let edge = Edge::new();
    *edge.recorder.held.lock().unwrap() = Some(Vec::new());
    let posting = edge.post("/v1/events", event("c-1"));
    let dropping = async {
        loop {
            let held = edge.recorder.held.lock().unwrap().as_mut().unwrap().pop();
            match held {
                Some(answer) => break drop(answer),
                None => tokio::task::yield_now().await,
            }
        }
    };
    let (answer, ()) = tokio::join!(posting, dropping);
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_never_comes_is_not_waited_for_for_ever() {
    let edge = Edge::new();
    *edge.recorder.held.lock().unwrap() = Some(Vec::new());
    let started = tokio::time::Instant::now();
    let answer = edge.post("/v1/events", event("c-1")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(started.elapsed() <= settings().ack_timeout * 2);
    // What is queued keeps its share until Kafka has answered, though nobody waits for it.
    assert!(
        !edge
            .metrics
            .encode()
            .contains("pushrail_ingest_in_flight_records 0")
    );
    edge.recorder.held.lock().unwrap().as_mut().unwrap().clear();
    assert!(
        edge.metrics
            .encode()
            .contains("pushrail_ingest_in_flight_records 0")
    );
}

/// A body that must not be read.
fn untouchable(len: u64) -> Request<Body> {
    let body = Body::from_stream(futures::stream::once(async {
        panic!("the body was read");
        #[allow(unreachable_code, reason = "gives the stream its type")]
        Ok::<Bytes, std::io::Error>(Bytes::new())
    }));
    let mut request = post("/v1/events", body);
    let headers = request.headers_mut();
    headers.insert("content-length", len.into());
    headers.insert("expect", "100-continue".parse().unwrap());
    request
}

#[tokio::test]
async fn what_does_not_fit_is_sent_away_before_its_body_is_read() {
    let mut small = settings();
    small.in_flight_events_max = 1_000;
    small.in_flight_bytes_max = small.batch_body_len_max * 4;
    let edge = Edge::with(small);
    *edge.recorder.held.lock().unwrap() = Some(Vec::new());
    let full = format!("[{}]", vec![event("c-1"); 1_000].join(","));
    let first = edge.post("/v1/events/batch", full);
    let second = async {
        while edge
            .recorder
            .held
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
        let answer = edge.post("/v1/events", event("c-2")).await;
        edge.recorder.held.lock().unwrap().take();
        answer
    };
    let (_, answer) = tokio::join!(first, second);
    assert_eq!(
        answer.status,
        StatusCode::TOO_MANY_REQUESTS,
        "{}",
        answer.text
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(edge.published(), 1_000);
    assert_eq!(
        edge.post("/v1/events", event("c-2")).await.status,
        202,
        "there is room again"
    );
    assert!(
        edge.metrics
            .encode()
            .contains("pushrail_ingest_throttled_total 1")
    );

    let edge = Edge::new();
    assert_eq!(
        edge.send(untouchable(10 << 20)).await.status,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    edge.recorder.stalled.store(true, Ordering::Relaxed);
    let answer = edge.send(untouchable(100)).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.json["type"],
        "urn:pushrail:problem:kafka-unavailable"
    );
}

#[tokio::test]
async fn chunks_are_held_to_the_budget_and_to_the_limit_as_they_come() {
    let edge = Edge::new();
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    let answer = edge.post("/v1/events", Body::from_stream(endless)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        edge.metrics
            .encode()
            .contains("pushrail_ingest_in_flight_bytes 0")
    );
    let broken = futures::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))]);
    let answer = edge.post("/v1/events", Body::from_stream(broken)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let pieces: Vec<_> = event("c-1")
        .bytes()
        .map(|byte| Ok::<_, std::io::Error>(Bytes::from(vec![byte])))
        .collect();
    let answer = edge
        .post(
            "/v1/events",
            Body::from_stream(futures::stream::iter(pieces)),
        )
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up() {
    let edge = Edge::new();
    let answer = edge
        .post(
            "/v1/events",
            Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>()),
        )
        .await;
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(answer.json["errors"][0]["field"], "body");
}

#[tokio::test]
async fn a_publishers_trace_goes_on_with_the_event() {
    let edge = Edge::new();
    let mut request = post("/v1/events", event("c-1"));
    request
        .headers_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    assert_eq!(edge.send(request).await.status, 202);
    let headers = &edge.recorder.headers.lock().unwrap()[0];
    assert!(headers.contains(&("traceparent".into(), TRACEPARENT.into())));
}

#[tokio::test]
async fn a_newcomer_is_told_where_to_post() {
    let edge = Edge::new();
    let answer = edge
        .send(Request::get("/").body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.json["endpoints"][0]
            .as_str()
            .unwrap()
            .contains("/v1/events")
    );
    let wrong = Request::get("/v1/events").body(Body::empty()).unwrap();
    let answer = edge.send(wrong).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "POST");
    assert!(!answer.text.contains(KEY));
}
