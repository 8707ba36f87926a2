//! Every way to get a request wrong, as a table: `malformed.json` says what is sent, what is answered, and so what the
//! documentation may promise. `accepted` counts the neighbours that must pass; without it, nothing may be produced.

mod support;

use axum::body::Body;
use base64::Engine as _;
use http::Request;
use serde_json::Value;
use std::io::Write as _;
use support::{Edge, KEY};

fn body(case: &Value) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(text) = case["body"].as_str() {
        body.extend_from_slice(text.as_bytes());
    }
    if let Some(text) = case["base64"].as_str() {
        body = base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap();
    }
    for part in case["parts"].as_array().into_iter().flatten() {
        let times = part[1].as_u64().unwrap() as usize;
        body.extend_from_slice(part[0].as_str().unwrap().repeat(times).as_bytes());
    }
    if case["gzip"] == true {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&body).unwrap();
        body = gzip.finish().unwrap();
    }
    body
}

fn request(case: &Value) -> Request<Body> {
    let (method, path) = case["request"].as_str().unwrap().split_once(' ').unwrap();
    let body = body(case);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-length", body.len())
        .body(Body::from(body))
        .unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    headers.insert("content-type", "application/json".parse().unwrap());
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        let name: http::HeaderName = name.parse().unwrap();
        match value.as_str() {
            Some(value) => drop(headers.insert(name, value.parse().unwrap())),
            None => drop(headers.remove(name)),
        }
    }
    request
}

#[tokio::test]
async fn every_malformed_request_is_told_what_is_wrong_and_changes_nothing() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("malformed.json")).unwrap();
    assert!(cases.len() >= 30);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let edge = Edge::new();
        let answer = edge.send(request(case)).await;
        let text = &answer.text;
        assert_eq!(answer.status.as_u16(), case["status"], "{name}: {text}");
        if let Some(kind) = case["type"].as_str() {
            assert_eq!(
                answer.headers["content-type"], "application/problem+json",
                "{name}"
            );
            assert_eq!(
                answer.json["type"],
                format!("urn:pushrail:problem:{kind}"),
                "{name}"
            );
            assert_eq!(answer.json["status"], case["status"], "{name}");
        }
        let errors = match case["index"].as_u64() {
            Some(index) => &answer.json["results"][index as usize]["errors"],
            None => &answer.json["errors"],
        };
        if let Some(field) = case["field"].as_str() {
            assert_eq!(errors[0]["field"], field, "{name}: {text}");
            let message = errors[0]["message"].as_str().unwrap();
            assert!(
                message.contains(case["message"].as_str().unwrap()),
                "{name}: {message}"
            );
        }
        assert_eq!(
            edge.published() as u64,
            case["accepted"].as_u64().unwrap_or(0),
            "{name}"
        );
        assert!(!text.contains(KEY), "{name}: repeats the API key");
        let in_flight = edge.metrics.encode();
        assert!(
            in_flight.contains("pushrail_ingest_in_flight_bytes 0"),
            "{name}"
        );
    }
}
