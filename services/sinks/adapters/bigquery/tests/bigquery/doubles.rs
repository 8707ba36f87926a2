//! A double of the Storage Write API: it says what it is told to, over real HTTP/2.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use futures::stream;
use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use googleapis_tonic_google_rpc::google::rpc;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_types::Any;
use storage::append_rows_response::{AppendResult, Response as Appended};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(crate) enum Say {
    Message(Bytes),
    Status {
        code: i32,
        message: &'static str,
        details: Vec<Any>,
    },
}

/// It stops when it is dropped.
pub(crate) struct Grpc {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<&'static str, VecDeque<Say>>>,
    calls: Mutex<Vec<(String, HeaderMap)>>,
}

impl Drop for Grpc {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Grpc {
    /// Streams are made, and appends succeed, until it is told otherwise.
    pub(crate) async fn start() -> Grpc {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                tokio::spawn(async move {
                    let answer = service_fn(|request| answer(request, Arc::clone(&served)));
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), answer)
                        .await
                });
            }
        });
        let grpc = Grpc {
            address,
            shared,
            accepting,
        };
        let made = storage::WriteStream {
            name: "projects/p/datasets/d/tables/t/streams/s".to_owned(),
            ..Default::default()
        };
        grpc.on("CreateWriteStream", [message(&made)]);
        let done = Appended::AppendResult(AppendResult { offset: Some(0) });
        grpc.on("AppendRows", [appended(done, Vec::new())]);
        grpc
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers calls of a method with these in order, and with the last from then on.
    pub(crate) fn on(&self, method: &'static str, says: impl IntoIterator<Item = Say>) {
        let mut scripts = self.shared.scripts.lock().unwrap();
        scripts.insert(method, says.into_iter().collect());
    }

    /// Headers of the calls of a method.
    pub(crate) fn calls(&self, method: &str) -> Vec<HeaderMap> {
        let calls = self.shared.calls.lock().unwrap();
        let of = calls.iter().filter(|(called, _)| called == method);
        of.map(|(_, headers)| headers.clone()).collect()
    }
}

pub(crate) fn message(message: &impl Message) -> Say {
    Say::Message(message.encode_to_vec().into())
}

pub(crate) fn appended(response: Appended, row_errors: Vec<storage::RowError>) -> Say {
    message(&storage::AppendRowsResponse {
        response: Some(response),
        row_errors,
        ..Default::default()
    })
}

pub(crate) fn status(code: i32, message: &'static str) -> Say {
    Say::Status {
        code,
        message,
        details: Vec::new(),
    }
}

/// `RESOURCE_EXHAUSTED`, to be tried again after so many seconds.
pub(crate) fn throttled(seconds: i64) -> Say {
    Say::Status {
        code: 8,
        message: "Exceeds quota 'AppendRows throughput'",
        details: vec![retry_info(seconds)],
    }
}

pub(crate) fn retry_info(seconds: i64) -> Any {
    let delay = prost_types::Duration { seconds, nanos: 0 };
    let info = rpc::RetryInfo {
        retry_delay: Some(delay),
    };
    any("google.rpc.RetryInfo", &info)
}

/// An append that is refused as a whole.
pub(crate) fn refused(code: i32, why: Option<storage::storage_error::StorageErrorCode>) -> Say {
    let detail = why.map(|why| {
        let error = storage::StorageError {
            code: why.into(),
            ..Default::default()
        };
        any("google.cloud.bigquery.storage.v1.StorageError", &error)
    });
    let status = rpc::Status {
        code,
        message: "as it was told".to_owned(),
        details: detail.into_iter().collect(),
    };
    appended(Appended::Error(status), Vec::new())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Body>, Infallible> {
    let (head, mut body) = request.into_parts();
    let method = head.uri.path().rsplit('/').next().unwrap().to_owned();
    // The first message; what else may come is not waited for.
    let _ = body.frame().await;
    let say = {
        let mut scripts = shared.scripts.lock().unwrap();
        let script = scripts.get_mut(&*method).expect("a method with a script");
        match script.len() {
            1 => script[0].clone(),
            _ => script.pop_front().expect("an answer"),
        }
    };
    shared.calls.lock().unwrap().push((method, head.headers));
    let answer = Response::builder().header("content-type", "application/grpc");
    let (frames, trailers) = match say {
        Say::Message(message) => {
            let mut framed = vec![0];
            framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
            framed.extend_from_slice(&message);
            (
                vec![Ok(Frame::data(Bytes::from(framed)))],
                ended(0, "", Vec::new()),
            )
        }
        Say::Status {
            code,
            message,
            details,
        } => (Vec::new(), ended(code, message, details)),
    };
    let frames = frames.into_iter().chain([Ok(Frame::trailers(trailers))]);
    let body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>()));
    Ok(answer.body(BoxBody::new(body)).unwrap())
}

fn ended(code: i32, message: &str, details: Vec<Any>) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.to_string().parse().unwrap());
    trailers.insert("grpc-message", message.parse().unwrap());
    if !details.is_empty() {
        let status = rpc::Status {
            code,
            message: message.to_owned(),
            details,
        };
        let text = BASE64.encode(status.encode_to_vec());
        trailers.insert("grpc-status-details-bin", text.parse().unwrap());
    }
    trailers
}
