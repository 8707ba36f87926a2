//! One table: its stream, and rows that are appended to it at offsets.
//!
//! One append is under way at a time, and how the stream stands is written down before it is sent: whatever becomes of the call,
//! the next one knows what is in doubt. It asks for it first (the stream is ended, and says how many rows it has), then begins a
//! stream anew. Events that turned out to be there are delivered without being sent, when they come again.

use std::collections::HashSet;

use bytes::Bytes;
use googleapis_tonic_google_cloud_bigquery_storage_v1::google::cloud::bigquery::storage::v1 as storage;
use pushrail_google::{Failure as Google, Meaning, Refusal};
use pushrail_sink_core::Record;
use storage::append_rows_request::{MissingValueInterpretation, ProtoData, Rows};
use storage::storage_error::StorageErrorCode;
use uuid::Uuid;

use crate::api::Api;
use crate::failure::Failure;
use crate::grpc::{Appended, Session};
use crate::row::Shape;

/// Bytes of rows in an append. BigQuery takes 10 MB with everything around them.
const APPEND_LEN_MAX: usize = 9_000_000;
/// How often a stream may turn out to be gone in one call.
const STREAMS_MAX: usize = 2;
/// Events that are known to be there without their being told so, at most.
const LANDED_MAX: usize = 20_000;

/// A table of a destination.
#[derive(Default)]
pub(crate) struct Table(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    stream: Option<Stream>,
    /// Events that are there, and whose call ended before that was known.
    landed: HashSet<Uuid>,
}

struct Stream {
    name: String,
    shape: Shape,
    /// Where the next rows go.
    next: i64,
    /// What was sent there without an answer, if something was.
    doubt: Option<Vec<Uuid>>,
}

/// A record, and its place among those of its table.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) at: usize,
    pub(crate) record: &'a Record,
}

impl Row<'_> {
    fn id(&self) -> Uuid {
        self.record.event.event_id()
    }
}

/// What became of each of them; `None` as long as nothing is known.
pub(crate) type Results = [Option<Result<(), Failure>>];

/// Why appending ended early.
enum Stop {
    /// The stream, or its table, is not there any more.
    Gone,
    Failed(Failure),
}

impl Table {
    /// Appends rows. An error is that of all that have no result.
    pub(crate) async fn write(
        &self,
        api: &Api<'_>,
        table: &str,
        rows: &[Row<'_>],
        results: &mut Results,
    ) -> Result<(), Failure> {
        let mut state = self.0.lock().await;
        state.resolve(api).await?;
        let mut left = rows.to_vec();
        left.retain(|row| {
            let landed = state.landed.remove(&row.id());
            if landed {
                results[row.at] = Some(Ok(()));
            }
            !landed
        });
        let mut streams = 0;
        while !left.is_empty() {
            let stream = match &mut state.stream {
                Some(stream) => stream,
                none => none.insert(open(api, table).await?),
            };
            match stream.append(api, &mut left, results).await {
                Ok(()) => {}
                Err(Stop::Failed(failure)) => return Err(failure),
                Err(Stop::Gone) => {
                    state.stream = None;
                    streams += 1;
                    if streams > STREAMS_MAX {
                        return Err(Failure::StreamLost);
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Finds out what became of what is in doubt.
    async fn resolve(&mut self, api: &Api<'_>) -> Result<(), Failure> {
        let Some(stream) = &self.stream else {
            return Ok(());
        };
        let Some(doubt) = &stream.doubt else {
            return Ok(());
        };
        match api.finalize(&stream.name).await {
            Ok(rows) if rows > stream.next => {
                if self.landed.len() + doubt.len() > LANDED_MAX {
                    self.landed.clear();
                }
                self.landed.extend(doubt);
            }
            Ok(_) => {}
            // It is not there any more, or nothing that could say.
            Err(Google::Refused(refusal))
                if matches!(refusal.meaning(), Meaning::Missing | Meaning::Particular) => {}
            Err(failure) => return Err(failure.into()),
        }
        self.stream = None;
        Ok(())
    }
}

/// A new stream, of a table that is made or mended where that is wanted.
async fn open(api: &Api<'_>, table: &str) -> Result<Stream, Failure> {
    let (mut made, mut mended) = (false, false);
    loop {
        let created = match api.create_stream(table).await {
            Ok(created) => created,
            Err(Google::Refused(refusal)) if may_be_missing(&refusal) => {
                if !api.layout.create {
                    return Err(match refusal.meaning() {
                        Meaning::Missing => Failure::TableMissing {
                            said: refusal.said().into(),
                            statement: api.layout.create_statement(table).into(),
                        },
                        _ => Google::Refused(refusal).into(),
                    });
                }
                if made {
                    // BigQuery's parts learn of a table one after the other.
                    return Err(Failure::TableNotReady);
                }
                made = true;
                make(api, table, refusal).await?;
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        let shape = Shape::of(created.table_schema.as_ref())
            .map_err(|unfit| Failure::TableUnfit(unfit.0.into()))?;
        let missing = shape.missing();
        if missing.is_empty() {
            return Ok(Stream {
                name: created.name,
                shape,
                next: 0,
                doubt: None,
            });
        }
        if !api.layout.create {
            let statement = api.layout.alter_statement(table, &missing);
            let lacks = format!("the table lacks columns; run: {statement}");
            return Err(Failure::TableUnfit(lacks.into()));
        }
        if mended {
            return Err(Failure::TableNotReady);
        }
        mended = true;
        api.append_columns(table, &missing).await?;
    }
}

/// Whether a table may be what is lacking: BigQuery does not tell everybody.
fn may_be_missing(refusal: &Refusal) -> bool {
    match refusal.meaning() {
        Meaning::Missing => true,
        Meaning::Denied => refusal.message.contains("may not exist"),
        _ => false,
    }
}

async fn make(api: &Api<'_>, table: &str, missed: Box<Refusal>) -> Result<(), Failure> {
    match api.create_table(table).await {
        Ok(()) => Ok(()),
        // Somebody else was faster; or it is there, and we may not write to it.
        Err(Google::Refused(refusal)) if refusal.status == Some(409) => match missed.meaning() {
            Meaning::Denied => Err(Google::Refused(missed).into()),
            _ => Ok(()),
        },
        Err(Google::Refused(refusal)) if refusal.meaning() == Meaning::Missing => {
            Err(Failure::DatasetMissing(refusal.said().into()))
        }
        Err(failure) => Err(failure.into()),
    }
}

impl Stream {
    /// Appends what is left.
    async fn append(
        &mut self,
        api: &Api<'_>,
        left: &mut Vec<Row<'_>>,
        results: &mut Results,
    ) -> Result<(), Stop> {
        let mut session = None;
        let appended = self.append_in(&mut session, api, left, results).await;
        if let Some(session) = session {
            session.end();
        }
        appended
    }

    /// As much at a time as an append takes. The session is left where its last answer has come.
    async fn append_in(
        &mut self,
        session: &mut Option<Session>,
        api: &Api<'_>,
        left: &mut Vec<Row<'_>>,
        results: &mut Results,
    ) -> Result<(), Stop> {
        loop {
            let encoded = self.encode(left, results);
            if encoded.is_empty() {
                return Ok(());
            }
            let count = encoded.len();
            self.doubt = Some(left[..count].iter().map(Row::id).collect());
            let request = self.request(encoded);
            let (was_open, mut appended) = api.append(session, request.clone()).await;
            let again = was_open && matches!(appended, Err(Google::Connection(_)));
            if again {
                // A connection that was idle may turn out to be dead. At the same offset the same rows are there once.
                (_, appended) = api.append(session, request).await;
            }
            if !again && let Err(Google::Refused(_) | Google::Unknown(_)) = appended {
                // Whoever is not let in has appended nothing.
                self.doubt = None;
            }
            match appended.map_err(|failure| Stop::Failed(failure.into()))? {
                Appended::Done => self.landed(left, count, results),
                Appended::Rows(bad) => {
                    self.doubt = None;
                    refuse(left, count, bad, results);
                }
                Appended::Refused(_, Some(StorageErrorCode::OffsetAlreadyExists)) if again => {
                    self.landed(left, count, results);
                }
                Appended::Refused(refusal, None) if again && &*refusal.code == "ALREADY_EXISTS" => {
                    self.landed(left, count, results);
                }
                Appended::Refused(refusal, code) => {
                    return Err(self.refused(refusal, code, again));
                }
            }
        }
    }

    /// The first rows of `left`, as many as an append takes. What no append takes has its result, and is left no more.
    fn encode(&self, left: &mut Vec<Row<'_>>, results: &mut Results) -> Vec<Bytes> {
        let (mut encoded, mut len) = (Vec::new(), 0);
        while let Some(row) = left.get(encoded.len()) {
            let failure = match self.shape.encode(&row.record.event) {
                None => Failure::NotText,
                Some(bytes) if bytes.len() > APPEND_LEN_MAX => Failure::TooLarge(bytes.len()),
                Some(bytes) if len + bytes.len() > APPEND_LEN_MAX => break,
                Some(bytes) => {
                    len += bytes.len();
                    encoded.push(bytes);
                    continue;
                }
            };
            results[row.at] = Some(Err(failure));
            left.remove(encoded.len());
        }
        encoded
    }

    fn request(&self, rows: Vec<Bytes>) -> storage::AppendRowsRequest {
        storage::AppendRowsRequest {
            write_stream: self.name.clone(),
            offset: Some(self.next),
            // Columns of the customer's own get what he wants them to have.
            default_missing_value_interpretation: MissingValueInterpretation::DefaultValue.into(),
            rows: Some(Rows::ProtoRows(ProtoData {
                writer_schema: Some(storage::ProtoSchema {
                    proto_descriptor: Some(self.shape.descriptor()),
                }),
                rows: Some(storage::ProtoRows {
                    serialized_rows: rows,
                }),
            })),
            ..Default::default()
        }
    }

    /// The first `count` of `left` are there.
    fn landed(&mut self, left: &mut Vec<Row<'_>>, count: usize, results: &mut Results) {
        self.next += count as i64;
        self.doubt = None;
        for row in left.drain(..count) {
            results[row.at] = Some(Ok(()));
        }
    }

    /// What it means that an append was refused as a whole. One that was sent `again` may be there from the first time.
    fn refused(
        &mut self,
        refusal: Box<Refusal>,
        code: Option<StorageErrorCode>,
        again: bool,
    ) -> Stop {
        if refusal.is_ambiguous() {
            return Stop::Failed(Google::Refused(refusal).into());
        }
        if !again {
            self.doubt = None;
        }
        match (code, &*refusal.code) {
            (
                Some(
                    StorageErrorCode::TableNotFound
                    | StorageErrorCode::StreamNotFound
                    | StorageErrorCode::StreamFinalized
                    | StorageErrorCode::InvalidStreamState
                    | StorageErrorCode::OffsetAlreadyExists
                    | StorageErrorCode::OffsetOutOfRange
                    // The table has changed: a new stream tells how.
                    | StorageErrorCode::SchemaMismatchExtraFields,
                ),
                _,
            )
            | (None, "NOT_FOUND" | "ALREADY_EXISTS" | "OUT_OF_RANGE") => Stop::Gone,
            (_, "INVALID_ARGUMENT" | "FAILED_PRECONDITION") => {
                Stop::Failed(Failure::TableUnfit(refusal.said().into()))
            }
            _ => Stop::Failed(Google::Refused(refusal).into()),
        }
    }
}

/// Takes the rows that were refused out of the first `count` of `left`. An answer that names none refuses them all.
fn refuse(
    left: &mut Vec<Row<'_>>,
    count: usize,
    bad: Vec<(usize, Box<str>)>,
    results: &mut Results,
) {
    let mut known = bad.iter().filter(|(place, _)| *place < count).peekable();
    if known.peek().is_none() {
        for row in left.drain(..count) {
            results[row.at] = Some(Err(Failure::Row("no row is named".into())));
        }
        return;
    }
    for (place, message) in known {
        results[left[*place].at] = Some(Err(Failure::Row(message.clone())));
    }
    left.retain(|row| results[row.at].is_none());
}
