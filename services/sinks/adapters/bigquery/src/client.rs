//! One call: a token, and the rows of each table of the batch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt as _;
use futures::stream;
use http::Uri;
use pushrail_egress::Http2;
use pushrail_google::{Failure as Google, Local, Source};
use pushrail_sink_core::{Outcome, Record};
use tokio::time::{Instant, timeout_at};

use crate::api::Api;
use crate::check::{CUSTOMER, Plan};
use crate::classify::{Reply, classify};
use crate::failure::Failure;
use crate::grpc::Storage;
use crate::stream::{Row, Table};
use crate::table::Layout;

/// What tokens are good for: tables and their rows, over both APIs.
const SCOPE: &str = "https://www.googleapis.com/auth/bigquery";
/// Tables whose streams are kept. More have theirs made anew.
const TABLES_MAX: usize = 1_024;
/// Tables of one batch that are written to at the same time.
const TABLES_AT_ONCE_MAX: usize = 16;

/// A destination. Connections are opened when they are needed, and shared with the other destinations of the worker.
pub struct Client {
    layout: Layout,
    rest_url: Box<str>,
    storage: Storage,
    source: Source,
    local: Arc<Local>,
    needs: Arc<str>,
    tables: Mutex<HashMap<Box<str>, Arc<Table>>>,
}

/// The rows of a batch that go to one table.
struct Part<'a> {
    table: Box<str>,
    rows: Vec<Row<'a>>,
    /// Where they are in the batch.
    places: Vec<usize>,
}

impl Client {
    pub(crate) fn new(
        plan: Plan,
        local: Arc<Local>,
        connections: Arc<Http2<tonic::body::Body>>,
    ) -> Self {
        let origin = Uri::try_from(&*plan.storage_url).unwrap_or_default();
        Client {
            needs: plan.layout.grants().into(),
            layout: plan.layout,
            rest_url: plan.rest_url,
            storage: Storage {
                target: plan.storage,
                origin,
                connections,
            },
            source: Source::new(plan.access, SCOPE, &local),
            local,
            tables: Mutex::default(),
        }
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(name) {
            return Arc::clone(table);
        }
        if tables.len() >= TABLES_MAX {
            tables.clear();
        }
        Arc::clone(tables.entry(name.into()).or_default())
    }

    /// The records of each table.
    fn split<'a>(&self, batch: &'a [Arc<Record>]) -> Vec<Part<'a>> {
        let (mut parts, mut by_name) = (Vec::<Part<'a>>::new(), HashMap::new());
        for (place, record) in batch.iter().enumerate() {
            // Two types may have one table.
            let name = self.layout.table(record.event.event_type());
            let part = *by_name.entry(name).or_insert_with_key(|name| {
                parts.push(Part {
                    table: name.clone(),
                    rows: Vec::new(),
                    places: Vec::new(),
                });
                parts.len() - 1
            });
            let Part { rows, places, .. } = &mut parts[part];
            rows.push(Row {
                at: rows.len(),
                record,
            });
            places.push(place);
        }
        parts
    }

    /// Why each row of a table is not there.
    async fn write(
        &self,
        api: &Api<'_>,
        part: &Part<'_>,
        deadline: Instant,
    ) -> Vec<Option<Failure>> {
        let mut results = vec![None; part.rows.len()];
        let table = self.table(&part.table);
        let writing = table.write(api, &part.table, &part.rows, &mut results);
        let of_the_rest = match timeout_at(deadline, writing).await {
            Err(_) => Google::Timeout.into(),
            Ok(Err(failure)) => failure,
            // There is none: all have a result.
            Ok(Ok(())) => Failure::StreamLost,
        };
        let why = |result: Option<Result<(), Failure>>| match result {
            Some(result) => result.err(),
            None => Some(of_the_rest.clone()),
        };
        results.into_iter().map(why).collect()
    }
}

impl pushrail_sink_core::Client for Client {
    type Reply = Reply;

    async fn send(&self, batch: &[Arc<Record>], deadline: Instant) -> Reply {
        let mut reply = Reply {
            records: vec![None; batch.len()],
            needs: Arc::clone(&self.needs),
        };
        let Some(first) = batch.first() else {
            return reply;
        };
        if reply.needs.contains(CUSTOMER) {
            let id = first.delivery.customer_id.to_string();
            reply.needs = reply.needs.replace(CUSTOMER, &id).into();
        }
        let token = timeout_at(deadline, self.source.token(&first.delivery)).await;
        let token = match token.unwrap_or(Err(Google::Timeout)) {
            Ok(token) => token,
            Err(failure) => {
                reply.records.fill(Some(failure.into()));
                return reply;
            }
        };
        let api = Api {
            layout: &self.layout,
            rest_url: &self.rest_url,
            local: &self.local,
            storage: &self.storage,
            source: &self.source,
            token,
        };
        let parts = self.split(batch);
        let writing: Vec<_> = parts
            .iter()
            .map(|part| self.write(&api, part, deadline))
            .collect();
        let writing = stream::iter(writing).buffered(TABLES_AT_ONCE_MAX);
        let written: Vec<_> = writing.collect().await;
        for (part, results) in parts.iter().zip(written) {
            for (place, failure) in part.places.iter().zip(results) {
                reply.records[*place] = failure;
            }
        }
        reply
    }

    fn classify(reply: Reply, sent: usize) -> Outcome {
        classify(&reply, sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_idle_destinations_fit_in_memory() {
        assert!(size_of::<Client>() <= 768, "{}", size_of::<Client>());
    }
}
