//! One transaction for a batch.
//!
//! Nearly every batch goes through as it is: the transaction's beginning, one statement a table and the commit are written
//! at once and answered at once. When the server refuses something of it, the transaction is made again with care: each
//! statement behind a savepoint, and one that fails because of a row is halved until the row is found. So one row that can't
//! be stored costs a few statements, and its neighbours nothing.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use futures::future::{join, join_all, join3};
use pushrail_sink_core::Record;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, accepts, to_sql_checked};
use uuid::Uuid;

use crate::failure::{About, Answer, Failure};
use crate::table::{self, Layout};

/// Tables of a batch that is tried at once.
const TABLES_MAX: usize = 16;

/// What is not there, and why, for each record of the batch; or why nothing is.
pub(crate) async fn write(
    client: &Client,
    layout: &Layout,
    batch: &[Arc<Record>],
    deadline: Instant,
) -> Result<Vec<Option<Failure>>, Failure> {
    let (mut results, tables) = split(layout, batch);
    if tables.len() <= TABLES_MAX {
        match at_once(client, &tables, deadline).await {
            Ok(()) => return Ok(results),
            Err(Failure::Server(answer)) if answer.about() != About::Call => {}
            Err(failure) => return Err(failure),
        }
    }
    let careful = Careful {
        client,
        layout,
        // The rest is for the commit.
        decide_until: Instant::now() + deadline.saturating_duration_since(Instant::now()) * 3 / 4,
    };
    careful.run(&tables, deadline, &mut results).await?;
    Ok(results)
}

/// The records of each table, by columns. What is not even text is judged here.
fn split<'a>(
    layout: &Layout,
    batch: &'a [Arc<Record>],
) -> (Vec<Option<Failure>>, Vec<Columns<'a>>) {
    let mut results = vec![None; batch.len()];
    let (mut tables, mut by_type) = (Vec::<Columns<'a>>::new(), HashMap::new());
    for (at, record) in batch.iter().enumerate() {
        let event_type = match layout.is_single() {
            true => "",
            false => record.event.event_type(),
        };
        let table = *by_type.entry(event_type).or_insert_with(|| {
            let name = layout.table(event_type);
            // Two types may have one table.
            let known = tables.iter().position(|columns| columns.table == name);
            known.unwrap_or_else(|| {
                tables.push(Columns::new(name));
                tables.len() - 1
            })
        });
        if !tables[table].push(at, record) {
            results[at] = Some(Failure::NotText);
        }
    }
    tables.retain(|columns| !columns.at.is_empty());
    (results, tables)
}

fn begin(deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let left_ms = left.as_millis().clamp(1, i32::MAX as u128);
    format!("BEGIN; SET LOCAL statement_timeout = {left_ms}")
}

async fn at_once(
    client: &Client,
    tables: &[Columns<'_>],
    deadline: Instant,
) -> Result<(), Failure> {
    let begin = begin(deadline);
    let inserts = tables
        .iter()
        .map(|columns| columns.insert(client, 0..columns.at.len()));
    let (begun, inserted, committed) = join3(
        client.batch_execute(&begin),
        join_all(inserts),
        client.batch_execute("COMMIT"),
    )
    .await;
    let results = std::iter::once(begun).chain(inserted).chain([committed]);
    results
        .into_iter()
        .collect::<Result<(), _>>()
        .map_err(|error| Failure::of(&error))
}

/// The transaction with savepoints.
struct Careful<'a> {
    client: &'a Client,
    layout: &'a Layout,
    /// What is not decided by then is tried again later.
    decide_until: Instant,
}

impl Careful<'_> {
    async fn run(
        &self,
        tables: &[Columns<'_>],
        deadline: Instant,
        results: &mut [Option<Failure>],
    ) -> Result<(), Failure> {
        // What would only be found out at the commit could be blamed on no row.
        self.execute(&format!(
            "{}; SET CONSTRAINTS ALL IMMEDIATE",
            begin(deadline)
        ))
        .await?;
        for columns in tables {
            if let Err(failure) = self.fill(columns, results).await {
                // A connection on which this fails is not used again either.
                self.execute("ROLLBACK").await?;
                return Err(failure);
            }
        }
        self.execute("COMMIT").await
    }

    /// Inserts what can be, and says of the rest why not. An error is about the whole call.
    async fn fill(
        &self,
        columns: &Columns<'_>,
        results: &mut [Option<Failure>],
    ) -> Result<(), Failure> {
        let mut created = false;
        let mut open: Vec<_> = std::iter::once(0..columns.at.len()).collect();
        while let Some(rows) = open.pop() {
            let mut fail = |failure: Failure| {
                for at in &columns.at[rows.clone()] {
                    results[*at] = Some(failure.clone());
                }
            };
            if Instant::now() >= self.decide_until {
                fail(Failure::Undecided);
                continue;
            }
            let answer = match self.attempt(columns, rows.clone()).await? {
                None => continue,
                Some(answer) => answer,
            };
            match answer.about() {
                About::Call => return Err(Failure::Server(answer)),
                About::Row if rows.len() == 1 => fail(Failure::Server(answer)),
                About::Row => {
                    let middle = rows.start + rows.len() / 2;
                    open.extend([middle..rows.end, rows.start..middle]);
                }
                About::Table => {
                    let missing = answer.is(&SqlState::UNDEFINED_TABLE);
                    if missing && self.layout.create && !created {
                        created = true;
                        match self.create(&columns.table).await? {
                            None => open.push(rows),
                            Some(answer) => fail(self.with_remedy(answer, &columns.table)),
                        }
                    } else {
                        fail(self.with_remedy(answer, &columns.table));
                    }
                }
            }
        }
        Ok(())
    }

    /// Inserts these rows behind a savepoint; says what the server has against it.
    async fn attempt(
        &self,
        columns: &Columns<'_>,
        rows: Range<usize>,
    ) -> Result<Option<Box<Answer>>, Failure> {
        let (saved, inserted) = join(
            self.client.batch_execute("SAVEPOINT rows"),
            columns.insert(self.client, rows),
        )
        .await;
        saved.map_err(|error| Failure::of(&error))?;
        self.settle("rows", inserted).await
    }

    /// Makes a table; says what the server has against it. Somebody else who was faster is nothing against it.
    async fn create(&self, table: &str) -> Result<Option<Box<Answer>>, Failure> {
        self.execute("SAVEPOINT made").await?;
        let made = self.client.batch_execute(&table::create(table)).await;
        let answer = self.settle("made", made).await?;
        // `IF NOT EXISTS` looks for the table alone. Between there and its row type, the server may meet the other's.
        let there = [
            SqlState::DUPLICATE_TABLE,
            SqlState::DUPLICATE_OBJECT,
            SqlState::UNIQUE_VIOLATION,
        ];
        Ok(answer.filter(|answer| !there.iter().any(|state| answer.is(state))))
    }

    /// Goes back to a savepoint, or forgets it.
    async fn settle(
        &self,
        savepoint: &str,
        result: Result<(), tokio_postgres::Error>,
    ) -> Result<Option<Box<Answer>>, Failure> {
        match result.map_err(|error| Failure::of(&error)) {
            Ok(()) => {
                self.execute(&format!("RELEASE SAVEPOINT {savepoint}"))
                    .await?;
                Ok(None)
            }
            Err(Failure::Server(answer)) => {
                self.execute(&format!("ROLLBACK TO SAVEPOINT {savepoint}"))
                    .await?;
                Ok(Some(answer))
            }
            Err(failure) => Err(failure),
        }
    }

    fn with_remedy(&self, mut answer: Box<Answer>, table: &str) -> Failure {
        answer.remedy = if answer.is(&SqlState::UNDEFINED_TABLE) {
            Some((table::create(table) + ";").into())
        } else if answer.is(&SqlState::INSUFFICIENT_PRIVILEGE) {
            Some(self.layout.grants(table).into())
        } else if answer.is(&SqlState::INVALID_SCHEMA_NAME) {
            Some(self.layout.create_schema().into())
        } else {
            None
        };
        Failure::Server(answer)
    }

    async fn execute(&self, sql: &str) -> Result<(), Failure> {
        let executed = self.client.batch_execute(sql).await;
        executed.map_err(|error| Failure::of(&error))
    }
}

/// The rows of one table, by columns.
struct Columns<'a> {
    table: String,
    /// Places in the batch.
    at: Vec<usize>,
    ids: Vec<Uuid>,
    types: Vec<&'a str>,
    occurred: Vec<Timestamp>,
    customers: Vec<&'a str>,
    sources: Vec<Option<&'a str>>,
    payloads: Vec<&'a str>,
    metadata: Vec<&'a str>,
    received: Vec<Timestamp>,
}

impl<'a> Columns<'a> {
    fn new(table: String) -> Self {
        Columns {
            table,
            at: Vec::new(),
            ids: Vec::new(),
            types: Vec::new(),
            occurred: Vec::new(),
            customers: Vec::new(),
            sources: Vec::new(),
            payloads: Vec::new(),
            metadata: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Says whether it could be taken.
    fn push(&mut self, at: usize, record: &'a Record) -> bool {
        let event = &record.event;
        let (Some(payload), Some(metadata)) = (json(event.payload()), json(event.metadata()))
        else {
            return false;
        };
        self.at.push(at);
        self.ids.push(event.event_id());
        self.types.push(event.event_type());
        self.occurred.push(Timestamp(event.occurred_at_us()));
        self.customers.push(event.customer_external_id());
        self.sources.push(event.source());
        self.payloads.push(payload);
        self.metadata.push(metadata);
        self.received.push(Timestamp(event.received_at_us()));
        true
    }

    /// One statement. It is not prepared: a pooler between us and the server may give each transaction another session.
    async fn insert(
        &self,
        client: &Client,
        rows: Range<usize>,
    ) -> Result<(), tokio_postgres::Error> {
        let sql = table::insert(&self.table);
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (&&self.ids[rows.clone()], Type::UUID_ARRAY),
            (&&self.types[rows.clone()], Type::TEXT_ARRAY),
            (&&self.occurred[rows.clone()], Type::TIMESTAMPTZ_ARRAY),
            (&&self.customers[rows.clone()], Type::TEXT_ARRAY),
            (&&self.sources[rows.clone()], Type::TEXT_ARRAY),
            (&&self.payloads[rows.clone()], Type::TEXT_ARRAY),
            (&&self.metadata[rows.clone()], Type::TEXT_ARRAY),
            (&&self.received[rows], Type::TIMESTAMPTZ_ARRAY),
        ];
        client.execute_typed(&sql, &parameters).await.map(|_| ())
    }
}

/// Nothing at all stands for an empty object, as in the canonical event.
fn json(bytes: &[u8]) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok("") => Some("{}"),
        text => text.ok(),
    }
}

/// Unix microseconds.
#[derive(Debug)]
struct Timestamp(i64);

/// PostgreSQL counts from 2000.
const EPOCH_US: i64 = 946_684_800_000_000;
/// 4713 BC, the first that it has.
const FIRST_US: i64 = -211_813_488_000_000_000;

impl ToSql for Timestamp {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.put_i64(self.0.saturating_sub(EPOCH_US).max(FIRST_US));
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}
