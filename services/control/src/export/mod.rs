//! Lists of any length as NDJSON, CSV or Parquet, made while they are read.
//!
//! What can be exported says once what its columns are ([`Line`]); how it gets into each format is here. A page at a time is
//! read, in a transaction of its own, for as long as the caller's credential counts: neither the database nor our memory
//! is held by a reader that is slow.

mod csv;
mod parquet;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream;
use pushrail_http::Problem;
use pushrail_store::{Error, Store, Tx};
use serde::Serialize;

use crate::api::Api;
use crate::call::Call;
use crate::caller::Caller;
use crate::operation::{Query, QueryKind};
use crate::reply::Reply;

pub(crate) const FORMAT: Query = Query {
    name: "format",
    about: "ndjson when it is not given.",
    kind: QueryKind::One(&["ndjson", "csv", "parquet"]),
};
pub(crate) const MEDIA: &[&str] = &[NDJSON, CSV, PARQUET];
const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";
const PARQUET: &str = "application/vnd.apache.parquet";

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    /// Microseconds since the Unix epoch.
    Time,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Nothing,
    Text(String),
    Number(i64),
    Time(i64),
}

impl Cell {
    pub(crate) fn number(number: impl Into<i64>) -> Self {
        Cell::Number(number.into())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Nothing, Into::into)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<uuid::Uuid> for Cell {
    fn from(id: uuid::Uuid) -> Self {
        Cell::Text(id.to_string())
    }
}

/// A line of an export: what it is in JSON, and in columns.
pub(crate) trait Line: Serialize + Send + Sync + 'static {
    const COLUMNS: &'static [(&'static str, Kind)];

    /// One for each column.
    fn cells(self) -> Vec<Cell>;
}

/// Where lines come from: pages, until one is empty.
pub(crate) trait Pages: Send + Sync + 'static {
    type Line: Line;

    fn next<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<Vec<Self::Line>, Error>>;
}

/// Answers with all lines, in the format that the query asks for.
pub(crate) fn export<P: Pages>(api: &Api, call: &Call, pages: P) -> Result<Reply, Problem> {
    let (media, encoder) = match call.query.get("format").map(String::as_str) {
        Some("csv") => (CSV, Encoder::Csv),
        Some("parquet") => (
            PARQUET,
            Encoder::Parquet(Box::new(parquet::File::new(P::Line::COLUMNS))),
        ),
        _ => (NDJSON, Encoder::Ndjson),
    };
    let export = Export {
        store: api.store.clone(),
        caller: call.caller.clone(),
        pages,
        encoder,
        state: State::Begins,
    };
    let pieces = stream::try_unfold(export, |mut export| async {
        let piece = export.next().await;
        let piece = piece.inspect_err(|error| tracing::warn!(%error, "control.export_ended"))?;
        Ok::<_, Failure>(piece.map(|piece| (piece, export)))
    });
    Ok(Reply::stream(media, pieces))
}

/// The answer ends early: its reader sees that something is missing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("the credential counts no longer")]
    Revoked,
    #[error("a line can't be written: {0}")]
    Line(#[from] serde_json::Error),
    #[error("a file can't be written: {0}")]
    File(#[from] ::parquet::errors::ParquetError),
}

enum Encoder {
    Ndjson,
    Csv,
    Parquet(Box<parquet::File>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Begins,
    GoesOn,
    Done,
}

struct Export<P> {
    store: Store,
    caller: Caller,
    pages: P,
    encoder: Encoder,
    state: State,
}

impl<P: Pages> Export<P> {
    /// The next piece of the answer; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let mut out = Vec::new();
        if self.state == State::Begins {
            self.state = State::GoesOn;
            self.encoder.begin::<P::Line>(&mut out)?;
        }
        while self.state == State::GoesOn {
            if !self.caller.is_still_welcome(&self.store).await {
                return Err(Failure::Revoked);
            }
            let mut tx = self.store.begin(self.caller.scope()).await?;
            let lines = self.pages.next(&mut tx).await?;
            drop(tx);
            match lines.is_empty() {
                true => {
                    self.state = State::Done;
                    self.encoder.end(&mut out)?;
                }
                false => self.encoder.lines(lines, &mut out)?,
            }
            if !out.is_empty() {
                return Ok(Some(out.into()));
            }
        }
        Ok(None)
    }
}

impl Encoder {
    fn begin<L: Line>(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        match self {
            Encoder::Ndjson => {}
            Encoder::Csv => csv::head(L::COLUMNS, out),
            Encoder::Parquet(file) => file.begin(out)?,
        }
        Ok(())
    }

    fn lines<L: Line>(&mut self, lines: Vec<L>, out: &mut Vec<u8>) -> Result<(), Failure> {
        for line in lines {
            match self {
                Encoder::Ndjson => {
                    serde_json::to_writer(&mut *out, &line)?;
                    out.push(b'\n');
                }
                Encoder::Csv => csv::line(&line.cells(), out),
                Encoder::Parquet(file) => file.line(line.cells(), out)?,
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Encoder::Parquet(file) = self {
            file.end(out)?;
        }
        Ok(())
    }
}
