//! The Storage Write API over gRPC: a call is a stream on a connection that the destinations of a worker share.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use googleapis_tonic_google_rpc::google::rpc;
use http::Uri;
use prost::Message as _;
use prost_types::Any;
use pushrail_egress::{Http2, Lease, Service, Target, why};
use pushrail_google::{Failure, Refusal, Token};
use storage::big_query_write_client::BigQueryWriteClient;
use storage::storage_error::StorageErrorCode;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

/// Longest answer that is taken; ten thousand rows that are refused have less.
const ANSWER_LEN_MAX: usize = 4 * 1024 * 1024;
/// Longest request, which is ours.
const REQUEST_LEN_MAX: usize = 32 * 1024 * 1024;
/// Who sends, for whoever looks at it at Google.
const TRACE: &str = concat!("Pushrail:", env!("CARGO_PKG_VERSION"));
const AGENT: &str = concat!("Pushrail/", env!("CARGO_PKG_VERSION"));

/// The service at one place.
pub(crate) struct Storage {
    pub(crate) target: Target,
    pub(crate) origin: Uri,
    pub(crate) connections: Arc<Http2<Body>>,
}

type Client = BigQueryWriteClient<Service<Body>>;

/// Appends to one stream, while it lasts.
pub(crate) struct Session {
    lease: Lease<Body>,
    requests: mpsc::Sender<storage::AppendRowsRequest>,
    answers: Streaming<storage::AppendRowsResponse>,
}

/// What became of rows that were appended.
#[derive(Debug)]
pub(crate) enum Appended {
    Done,
    /// None is there, because of these, by their place.
    Rows(Vec<(usize, Box<str>)>),
    /// None is there, or nothing is known.
    Refused(Box<Refusal>, Option<StorageErrorCode>),
}

impl Storage {
    async fn client(&self) -> Result<(Lease<Body>, Client), Failure> {
        let lease = self.connections.lease(&self.target).await;
        let lease = lease.map_err(Failure::Connection)?;
        let client = BigQueryWriteClient::with_origin(lease.service(), self.origin.clone());
        let client = client
            .max_decoding_message_size(ANSWER_LEN_MAX)
            .max_encoding_message_size(REQUEST_LEN_MAX);
        Ok((lease, client))
    }

    /// A new committed stream of the table `parent`.
    pub(crate) async fn create(
        &self,
        parent: &str,
        token: &Token,
    ) -> Result<storage::WriteStream, Failure> {
        let (lease, mut client) = self.client().await?;
        let request = storage::CreateWriteStreamRequest {
            parent: parent.to_owned(),
            write_stream: Some(storage::WriteStream {
                r#type: storage::write_stream::Type::Committed.into(),
                ..Default::default()
            }),
        };
        let request = with(request, token, "parent", parent)?;
        settle(lease, client.create_write_stream(request).await, token)
    }

    /// How many rows the stream has, and ends it: nothing that is still under way gets into it any more.
    pub(crate) async fn finalize(&self, name: &str, token: &Token) -> Result<i64, Failure> {
        let (lease, mut client) = self.client().await?;
        let request = storage::FinalizeWriteStreamRequest {
            name: name.to_owned(),
        };
        let request = with(request, token, "name", name)?;
        let ended = settle(lease, client.finalize_write_stream(request).await, token)?;
        Ok(ended.row_count)
    }

    /// Appends to the stream at `offset`, in the session where there is one. Whether the connection had been used before is told
    /// beside the answer.
    pub(crate) async fn append(
        &self,
        session: &mut Option<Session>,
        mut request: storage::AppendRowsRequest,
        token: &Token,
    ) -> (bool, Result<Appended, Failure>) {
        let begun = match session {
            Some(begun) => {
                // What the first one said holds for the session.
                request.write_stream.clear();
                request.trace_id.clear();
                if let Some(storage::append_rows_request::Rows::ProtoRows(data)) = &mut request.rows
                {
                    data.writer_schema = None;
                }
                if begun.requests.try_send(request).is_err() {
                    *session = None;
                    let lost = pushrail_egress::Failure::ConnectionLost;
                    return (true, Err(Failure::Connection(lost)));
                }
                begun
            }
            None => match self.begin(request, token).await {
                (_, Ok(begun)) => session.insert(begun),
                (was_open, Err(ended)) => return (was_open, ended),
            },
        };
        let answer = begun.answers.message().await;
        let was_open = begun.lease.was_open();
        let ended = match answer {
            Ok(Some(answer)) => return (was_open, read(answer, token)),
            Ok(None) => Err(Failure::Connection(
                pushrail_egress::Failure::ConnectionLost,
            )),
            Err(status) => refused(&status, token),
        };
        if let (Some(session), Ok(_)) = (session.take(), &ended) {
            session.end();
        }
        (was_open, ended)
    }

    async fn begin(
        &self,
        mut request: storage::AppendRowsRequest,
        token: &Token,
    ) -> (bool, Result<Session, Result<Appended, Failure>>) {
        let (lease, mut client) = match self.client().await {
            Ok(made) => made,
            Err(failure) => return (false, Err(Err(failure))),
        };
        let was_open = lease.was_open();
        let name = request.write_stream.clone();
        TRACE.clone_into(&mut request.trace_id);
        let (mut requests, stream) = mpsc::channel(1);
        // There is room for one.
        let _ = requests.try_send(request);
        let stream = match with(stream, token, "write_stream", &name) {
            Ok(stream) => stream,
            Err(failure) => return (was_open, Err(Err(failure))),
        };
        let begun = match client.append_rows(stream).await {
            Ok(answers) => Ok(Session {
                lease,
                requests,
                answers: answers.into_inner(),
            }),
            Err(status) => {
                let refused = refused(&status, token);
                if refused.is_ok() {
                    lease.settled();
                }
                Err(refused)
            }
        };
        (was_open, begun)
    }
}

impl Session {
    /// The last answer has come.
    pub(crate) fn end(self) {
        self.lease.settled();
    }
}

/// A request as the owner of `token`, with what Google routes it by.
fn with<T>(message: T, token: &Token, key: &str, value: &str) -> Result<Request<T>, Failure> {
    let wrong = || Failure::Internal("the request could not be made");
    let mut request = Request::new(message);
    let header = token.header();
    let header = header.to_str().map_err(|_| wrong())?;
    let mut authorization = MetadataValue::try_from(header).map_err(|_| wrong())?;
    authorization.set_sensitive(true);
    let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let params = MetadataValue::try_from(format!("{key}={value}")).map_err(|_| wrong())?;
    let metadata = request.metadata_mut();
    metadata.insert("authorization", authorization);
    metadata.insert("x-goog-request-params", params);
    metadata.insert("user-agent", MetadataValue::from_static(AGENT));
    Ok(request)
}

/// The answer of a call; the connection of one that has any is kept.
fn settle<T>(
    lease: Lease<Body>,
    answer: Result<tonic::Response<T>, Status>,
    token: &Token,
) -> Result<T, Failure> {
    match answer {
        Ok(answer) => {
            lease.settled();
            Ok(answer.into_inner())
        }
        Err(status) => {
            let (refusal, _) = said(&status, token)?;
            lease.settled();
            Err(Failure::Refused(refusal))
        }
    }
}

/// What the service said, or why it said nothing.
fn said(status: &Status, token: &Token) -> Result<(Box<Refusal>, Vec<Any>), Failure> {
    if let Some(source) = status.source() {
        return Err(Failure::Connection(why(source)));
    }
    // Its own details are one `google.rpc.Status` more.
    let details = rpc::Status::decode(Bytes::copy_from_slice(status.details()));
    let details = details.unwrap_or_default().details;
    let refusal = Refusal::from_grpc(
        status.code().into(),
        status.message(),
        retry_after(&details),
        &[token.text()],
    );
    Ok((Box::new(refusal), details))
}

/// As [`said`], of an append.
fn refused(status: &Status, token: &Token) -> Result<Appended, Failure> {
    let (refusal, details) = said(status, token)?;
    Ok(Appended::Refused(refusal, storage_code(&details)))
}

fn read(answer: storage::AppendRowsResponse, token: &Token) -> Result<Appended, Failure> {
    use storage::append_rows_response::Response;
    match answer.response {
        Some(Response::AppendResult(_)) => Ok(Appended::Done),
        Some(Response::Error(_)) if !answer.row_errors.is_empty() => {
            let bad = answer.row_errors.into_iter().filter_map(|error| {
                let place = usize::try_from(error.index).ok()?;
                let message = error.message.replace(token.text(), "***");
                Some((place, pushrail_egress::bounded(message)))
            });
            Ok(Appended::Rows(bad.collect()))
        }
        Some(Response::Error(error)) => {
            let after = retry_after(&error.details);
            let refusal = Refusal::from_grpc(error.code, &error.message, after, &[token.text()]);
            Ok(Appended::Refused(
                Box::new(refusal),
                storage_code(&error.details),
            ))
        }
        None => Err(Failure::Unreadable { status: 200 }),
    }
}

fn retry_after(details: &[Any]) -> Option<Duration> {
    let info: rpc::RetryInfo = detail(details, "google.rpc.RetryInfo")?;
    info.retry_delay?.try_into().ok()
}

fn storage_code(details: &[Any]) -> Option<StorageErrorCode> {
    let error: storage::StorageError =
        detail(details, "google.cloud.bigquery.storage.v1.StorageError")?;
    Some(error.code())
}

fn detail<T: prost::Message + Default>(details: &[Any], name: &str) -> Option<T> {
    let named = |any: &&Any| any.type_url.rsplit('/').next() == Some(name);
    let found = details.iter().find(named)?;
    T::decode(found.value.as_slice()).ok()
}
