//! Dead letters, as they are shown, listed and counted. Their bytes are in Kafka; `replays::letters` says what becomes of them.

use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::Micros;
use crate::{Error, Tx};

/// A dead letter.
#[derive(Clone, Debug, FromRow)]
pub struct DeadLetter {
    pub kind: String,
    pub partition: i32,
    pub offset: i64,
    pub destination_id: Uuid,
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub event_type: String,
    pub received_at: Micros,
    pub dead_at: Micros,
    pub attempts: i16,
    pub reason: String,
    pub code: String,
    pub detail: String,
    pub value_len: i32,
    pub state: String,
    pub state_at: Option<Micros>,
    pub replay_id: Option<Uuid>,
}

/// What a [`DeadLetter`] is read from.
macro_rules! columns {
    () => {
        "kind, partition, \"offset\", destination_id, delivery_id, event_id, event_type, received_at, dead_at, attempts,
         reason, code, detail, value_len, state, state_at, replay_id"
    };
}
pub(crate) use columns;

/// Which are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub destination_id: Uuid,
    pub state: Option<String>,
    pub reason: Option<String>,
    pub code: Option<String>,
    pub event_type: Option<String>,
    pub event_id: Option<Uuid>,
    /// Died in this window.
    pub since: Option<Micros>,
    pub until: Option<Micros>,
}

impl Wanted {
    fn conditions(&self, query: &mut QueryBuilder<Postgres>) {
        query
            .push(" WHERE destination_id = ")
            .push_bind(self.destination_id);
        let texts = [
            (" AND state = ", &self.state),
            (" AND reason = ", &self.reason),
            (" AND code = ", &self.code),
            (" AND event_type = ", &self.event_type),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                query.push(condition).push_bind(text.clone());
            }
        }
        if let Some(id) = self.event_id {
            query.push(" AND event_id = ").push_bind(id);
        }
        if let Some(since) = self.since {
            query.push(" AND dead_at >= ").push_bind(since);
        }
        if let Some(until) = self.until {
            query.push(" AND dead_at < ").push_bind(until);
        }
    }
}

/// Where a page begins: after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub dead_at: Micros,
    pub partition: i32,
    pub offset: i64,
}

/// Newest first.
pub async fn list(
    tx: &mut Tx,
    wanted: &Wanted,
    after: Option<After>,
    limit: u32,
) -> Result<Vec<DeadLetter>, Error> {
    let mut query = QueryBuilder::new(concat!("SELECT ", columns!(), " FROM dead_letters"));
    wanted.conditions(&mut query);
    if let Some(after) = after {
        query
            .push(" AND (dead_at, partition, \"offset\") < (")
            .push_bind(after.dead_at)
            .push(", ")
            .push_bind(after.partition)
            .push(", ")
            .push_bind(after.offset)
            .push(")");
    }
    query
        .push(" ORDER BY dead_at DESC, partition DESC, \"offset\" DESC LIMIT ")
        .push_bind(i64::from(limit));
    let rows = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows)
}

/// How many there are by state, reason and code.
pub async fn counts(
    tx: &mut Tx,
    wanted: &Wanted,
) -> Result<Vec<(String, String, String, i64)>, Error> {
    let mut query =
        QueryBuilder::new("SELECT state, reason, code, count(*) AS letters FROM dead_letters");
    wanted.conditions(&mut query);
    query
        .push(" GROUP BY state, reason, code ORDER BY letters DESC, state, reason, code LIMIT 200");
    let rows = query.build_query_as().fetch_all(tx.connection()).await?;
    Ok(rows)
}
