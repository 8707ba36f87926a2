//! A double of PostHog's capture endpoint: takes a batch or refuses it whole, and keeps one event a `uuid`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

pub(crate) const KEY: &str = "phc_0123456789abcdefghij";
/// Bytes that it takes in one request; PostHog takes 20 MB.
const REQUEST_LEN_MAX: usize = 256 * 1024;

#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Value>>>);

impl Kept {
    pub(crate) fn ids(&self) -> Vec<Uuid> {
        let kept = self.0.lock().unwrap();
        let id = |event: &Value| event["uuid"].as_str().unwrap().parse().unwrap();
        kept.iter().map(id).collect()
    }

    fn take(&self, body: &[u8]) -> (StatusCode, Value) {
        let said = serde_json::from_slice::<Value>(body).unwrap_or_default();
        // What a service that is debugged sends back.
        let refuse = |status, code: &str| {
            let detail = &said["api_key"];
            let body = json!({"type": "validation_error", "code": code, "detail": detail});
            (status, body)
        };
        if body.len() > REQUEST_LEN_MAX {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large");
        }
        if said.is_null() {
            return refuse(StatusCode::BAD_REQUEST, "invalid_payload");
        }
        if said["api_key"] != KEY {
            return refuse(StatusCode::UNAUTHORIZED, "invalid_api_key");
        }
        let events = said["batch"].as_array().unwrap();
        for event in events {
            let complete = ["event", "distinct_id", "uuid", "timestamp"];
            let complete = complete.iter().all(|field| event[field].is_string());
            if !complete || !event["properties"]["poison"].is_null() {
                return refuse(StatusCode::BAD_REQUEST, "invalid_event");
            }
        }
        let mut kept = self.0.lock().unwrap();
        for event in events {
            if !kept.iter().any(|known| known["uuid"] == event["uuid"]) {
                kept.push(event.clone());
            }
        }
        (StatusCode::OK, json!({"status": 1}))
    }
}

pub(crate) async fn start() -> (SocketAddr, Kept) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, kept) = (listener.local_addr().unwrap(), Kept::default());
    let keep = kept.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keep = keep.clone();
            let answer = move |request: Request<Incoming>| {
                let keep = keep.clone();
                async move {
                    let is_batch = request.method() == "POST" && request.uri().path() == "/batch/";
                    let (status, body) = match request.into_body().collect().await {
                        Ok(body) if is_batch => keep.take(&body.to_bytes()),
                        _ => (StatusCode::NOT_FOUND, json!({})),
                    };
                    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
                    *answer.status_mut() = status;
                    Ok::<_, Infallible>(answer)
                }
            };
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    (address, kept)
}
