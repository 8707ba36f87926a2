//! Erasures: what is to be forgotten, and how far that is done.
//!
//! Each is a rule from the moment that it is committed: whatever is written later of what was accepted before it is written
//! without what it said ([`covered`]). Who writes the log holds a lock in shared mode from before it asks for rules until it
//! commits ([`writing`]); so when a rule is there and that lock was had alone once ([`barrier`]), all that was written
//! without knowing of the rule can be seen, and is removed then. A crash leaves an erasure running, and every step can be
//! done again.

use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::log::Micros;
use crate::page::bounds;
use crate::{Cursor, Error, Page, Tx};

/// Of the advisory lock between who writes the log and who erases from it.
const WRITERS: i64 = 0x5075_7368_6572_6173;

/// What is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Of one customer alone where one is named.
    Event {
        event_id: Uuid,
        customer_id: Option<Uuid>,
    },
    Subject {
        customer_id: Uuid,
        subject_id: Uuid,
    },
    Customer(Uuid),
}

impl What {
    pub fn as_str(self) -> &'static str {
        match self {
            What::Event { .. } => "event",
            What::Subject { .. } => "subject",
            What::Customer(_) => "customer",
        }
    }

    fn ids(self) -> (Option<Uuid>, Option<Uuid>, Option<Uuid>) {
        match self {
            What::Event {
                event_id,
                customer_id,
            } => (Some(event_id), customer_id, None),
            What::Subject {
                customer_id,
                subject_id,
            } => (None, Some(customer_id), Some(subject_id)),
            What::Customer(customer_id) => (None, Some(customer_id), None),
        }
    }

    /// Rows of a table that has these ids, of what was accepted until then.
    fn conditions(self, tenant_id: &str, until: Micros, query: &mut QueryBuilder<Postgres>) {
        query.push(" tenant_id = ").push_bind(tenant_id.to_owned());
        let (event, customer, subject) = self.ids();
        let ids = [
            (" AND event_id = ", event),
            (" AND customer_id = ", customer),
            (" AND subject_id = ", subject),
        ];
        for (condition, id) in ids {
            if let Some(id) = id {
                query.push(condition).push_bind(id);
            }
        }
        query.push(" AND received_at <= ").push_bind(until);
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    pub erasure_id: Uuid,
    pub tenant_id: String,
    pub what: What,
    /// It is about what was accepted until then.
    pub until: Micros,
    pub is_finished: bool,
    /// Whether keys were destroyed; `None` until that is done.
    pub shredded: Option<bool>,
    pub removed: Removed,
    /// When the last topic has dropped what was in clear.
    pub kept_until: Option<String>,
    pub created_at: String,
    pub finished_at: Option<String>,
}

/// What was removed from the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub deliveries: i64,
    pub attempts: i64,
    pub dead_letters: i64,
    /// Of attempts and dead letters: those whose payload was in clear on topics.
    pub clear: i64,
}

#[derive(FromRow)]
struct Row {
    erasure_id: Uuid,
    tenant_id: String,
    what: String,
    event_id: Option<Uuid>,
    customer_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    until: Micros,
    state: String,
    shredded: Option<bool>,
    deliveries: i64,
    attempts: i64,
    dead_letters: i64,
    clear: i64,
    kept_until: Option<String>,
    created_at: String,
    finished_at: Option<String>,
}

/// The columns of a [`Row`].
macro_rules! row {
    () => {
        "erasure_id, tenant_id, what, event_id, customer_id, subject_id, until, state, shredded, deliveries, attempts,
         dead_letters, clear, rfc3339(kept_until) AS kept_until, rfc3339(created_at) AS created_at,
         rfc3339(finished_at) AS finished_at"
    };
}

impl Row {
    fn read(self) -> Result<Erasure, Error> {
        let ids = (self.event_id, self.customer_id, self.subject_id);
        let what = match (&*self.what, ids) {
            ("event", (Some(event_id), customer_id, _)) => What::Event {
                event_id,
                customer_id,
            },
            ("subject", (_, Some(customer_id), Some(subject_id))) => What::Subject {
                customer_id,
                subject_id,
            },
            ("customer", (_, Some(customer_id), _)) => What::Customer(customer_id),
            _ => return Err(Error::garbled("an erasure of nothing".to_owned())),
        };
        Ok(Erasure {
            erasure_id: self.erasure_id,
            tenant_id: self.tenant_id,
            what,
            until: self.until,
            is_finished: self.state == "finished",
            shredded: self.shredded,
            removed: Removed {
                deliveries: self.deliveries,
                attempts: self.attempts,
                dead_letters: self.dead_letters,
                clear: self.clear,
            },
            kept_until: self.kept_until,
            created_at: self.created_at,
            finished_at: self.finished_at,
        })
    }
}

pub async fn insert(
    tx: &mut Tx,
    erasure_id: Uuid,
    tenant_id: &str,
    what: What,
    until: Micros,
) -> Result<Erasure, Error> {
    let (event_id, customer_id, subject_id) = what.ids();
    let row: Row = sqlx::query_as(concat!(
        "INSERT INTO erasures (erasure_id, tenant_id, what, event_id, customer_id, subject_id, until)
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING ",
        row!()
    ))
    .bind(erasure_id)
    .bind(tenant_id)
    .bind(what.as_str())
    .bind(event_id)
    .bind(customer_id)
    .bind(subject_id)
    .bind(until)
    .fetch_one(tx.connection())
    .await?;
    row.read()
}

pub async fn get(tx: &mut Tx, tenant_id: &str, erasure_id: Uuid) -> Result<Option<Erasure>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM erasures WHERE tenant_id = $1 AND erasure_id = $2"
    ))
    .bind(tenant_id)
    .bind(erasure_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// Oldest first.
pub async fn list(
    tx: &mut Tx,
    tenant_id: &str,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Page<Erasure>, Error> {
    let (at, id) = bounds(after);
    let rows: Vec<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM erasures WHERE tenant_id = $1
             AND ($2::timestamptz IS NULL OR (erasures.created_at, erasure_id) > ($2::timestamptz, $3::uuid))
         ORDER BY erasures.created_at, erasure_id LIMIT $4"
    ))
    .bind(tenant_id)
    .bind(at)
    .bind(id)
    .bind(i64::from(limit) + 1)
    .fetch_all(tx.connection())
    .await?;
    let rows = rows.into_iter().map(Row::read).collect::<Result<_, _>>()?;
    Ok(Page::of(rows, limit, |row: &Erasure| Cursor {
        at: row.created_at.clone(),
        id: row.erasure_id.to_string(),
    }))
}

/// Those that are not finished, oldest first.
pub async fn running(tx: &mut Tx, limit: u32) -> Result<Vec<Uuid>, Error> {
    let rows: Vec<(Uuid,)> = sqlx::query_as(
        "SELECT erasure_id FROM erasures WHERE state = 'running' ORDER BY created_at LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// One that is running, for a step of it; `None` when it is over, or somebody else is at it.
pub async fn claim(tx: &mut Tx, erasure_id: Uuid) -> Result<Option<Erasure>, Error> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "SELECT ",
        row!(),
        " FROM erasures WHERE erasure_id = $1 AND state = 'running' FOR UPDATE SKIP LOCKED"
    ))
    .bind(erasure_id)
    .fetch_optional(tx.connection())
    .await?;
    row.map(Row::read).transpose()
}

/// Says whether its keys were destroyed, in the transaction that did it: that happens once.
pub async fn shredded(tx: &mut Tx, erasure_id: Uuid, any: bool) -> Result<(), Error> {
    sqlx::query("UPDATE erasures SET shredded = $2 WHERE erasure_id = $1")
        .bind(erasure_id)
        .bind(any)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Ends one that is claimed: `kept_days` from now the topics have dropped what was in clear; `None` where nothing was.
pub async fn finish(
    tx: &mut Tx,
    erasure_id: Uuid,
    kept_days: Option<u32>,
) -> Result<Erasure, Error> {
    let row: Row = sqlx::query_as(concat!(
        "UPDATE erasures SET state = 'finished', finished_at = now(),
             kept_until = now() + make_interval(days => $2) WHERE erasure_id = $1 RETURNING ",
        row!()
    ))
    .bind(erasure_id)
    .bind(kept_days.and_then(|days| i32::try_from(days).ok()))
    .fetch_one(tx.connection())
    .await?;
    row.read()
}

/// Days (since the Unix epoch) that the log has, oldest first.
pub async fn days(tx: &mut Tx) -> Result<Vec<i32>, Error> {
    let rows: Vec<(i32,)> = sqlx::query_as(
        "SELECT to_date(right(child.relname, 8), 'YYYYMMDD') - date '1970-01-01' AS day
         FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
         WHERE inhparent = 'attempts'::regclass ORDER BY day",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Removes what attempts say, of events of one day, and counts it. What remains says that there was something.
pub async fn remove_attempts(tx: &mut Tx, erasure: &Erasure, day: i32) -> Result<(), Error> {
    let Erasure {
        tenant_id,
        what,
        until,
        ..
    } = erasure;
    let in_day = |query: &mut QueryBuilder<Postgres>| {
        what.conditions(tenant_id, *until, query);
        let day = Micros(i64::from(day) * crate::log::DAY_US);
        query
            .push(" AND received_at >= ")
            .push_bind(day)
            .push(" AND received_at < ")
            .push_bind(Micros(day.0 + crate::log::DAY_US))
            .push(" AND payload_form <> 'erased'");
    };
    // What went wrong last may be something that is erased.
    let mut health = QueryBuilder::new(
        "WITH said AS (SELECT DISTINCT destination_id, error FROM attempts WHERE",
    );
    in_day(&mut health);
    health.push(
        " AND error IS NOT NULL)
         UPDATE destination_health AS h SET last_failure = NULL FROM said
         WHERE h.destination_id = said.destination_id AND h.last_failure = said.error",
    );
    let health = health.build().persistent(false);
    health.execute(tx.connection()).await?;
    let mut gone = QueryBuilder::new(
        "WITH gone AS (
             UPDATE attempts SET payload = NULL, payload_len = NULL, payload_cut = false, payload_form = 'erased',
                 error = NULL, response_headers = NULL, response_excerpt = NULL, subject_id = NULL
             WHERE",
    );
    in_day(&mut gone);
    gone.push(
        " RETURNING delivery_id, sealing)
         UPDATE erasures SET attempts = erasures.attempts + counted.attempts,
             deliveries = erasures.deliveries + counted.deliveries, clear = erasures.clear + counted.clear
         FROM (SELECT count(*) AS attempts, count(DISTINCT delivery_id) AS deliveries,
                   count(*) FILTER (WHERE sealing IS NULL) AS clear FROM gone) AS counted
         WHERE erasure_id = ",
    )
    .push_bind(erasure.erasure_id);
    let gone = gone.build().persistent(false);
    gone.execute(tx.connection()).await?;
    Ok(())
}

/// Removes what dead letters say, and counts them. They can't be replayed any more.
pub async fn remove_dead_letters(tx: &mut Tx, erasure: &Erasure) -> Result<(), Error> {
    let mut gone = QueryBuilder::new(
        "WITH gone AS (
             UPDATE dead_letters SET state = 'erased', state_at = now(), detail = '', subject_id = NULL WHERE",
    );
    let Erasure {
        tenant_id,
        what,
        until,
        ..
    } = erasure;
    what.conditions(tenant_id, *until, &mut gone);
    gone.push(
        " AND state <> 'erased' RETURNING sealed)
         UPDATE erasures SET dead_letters = erasures.dead_letters + counted.letters, clear = erasures.clear + counted.clear
         FROM (SELECT count(*) AS letters, count(*) FILTER (WHERE NOT sealed) AS clear FROM gone) AS counted
         WHERE erasure_id = ",
    )
    .push_bind(erasure.erasure_id);
    let gone = gone.build().persistent(false);
    gone.execute(tx.connection()).await?;
    Ok(())
}

/// See the module: holds erasures up until this transaction ends.
pub async fn writing(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
        .bind(WRITERS)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Waits for whoever was writing. Whoever begins to write meanwhile waits for this transaction, which is to end at once.
pub async fn barrier(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(WRITERS)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Something of an event that may have been erased.
#[derive(Clone, Copy, Debug)]
pub struct Of<'a> {
    pub tenant_id: &'a str,
    pub customer_id: Uuid,
    pub event_id: Uuid,
    pub subject_id: Option<Uuid>,
    /// When the event was accepted.
    pub received_at: Micros,
}

/// Which of these have been erased, by their place.
pub async fn covered(tx: &mut Tx, of: &[Of<'_>]) -> Result<Vec<bool>, Error> {
    let mut covered = vec![false; of.len()];
    let mut tenants: Vec<&str> = of.iter().map(|of| of.tenant_id).collect();
    tenants.sort_unstable();
    tenants.dedup();
    // Most tenants have erased nothing, and cost no more than this.
    let erasing: Vec<(String,)> = sqlx::query_as(
        "SELECT tenant FROM unnest($1::text[]) AS tenant
         WHERE EXISTS (SELECT FROM erasures WHERE tenant_id = tenant)",
    )
    .bind(&tenants)
    .fetch_all(tx.connection())
    .await?;
    if erasing.is_empty() {
        return Ok(covered);
    }
    let concerned = |of: &&Of<'_>| erasing.iter().any(|(tenant,)| tenant == of.tenant_id);
    let places: Vec<usize> = (0..of.len()).filter(|at| concerned(&&of[*at])).collect();
    let column = |at: &usize| of[*at];
    let of = || places.iter().map(column);
    let found: Vec<(i64,)> = sqlx::query_as(
        "SELECT n FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[])
             WITH ORDINALITY AS t (tenant_id, customer_id, event_id, subject_id, received_at, n)
         WHERE EXISTS (SELECT FROM erasures e WHERE e.what = 'event' AND e.event_id = t.event_id
                 AND e.tenant_id = t.tenant_id AND (e.customer_id IS NULL OR e.customer_id = t.customer_id)
                 AND t.received_at <= e.until)
             OR EXISTS (SELECT FROM erasures e WHERE e.what <> 'event' AND e.customer_id = t.customer_id
                 AND e.tenant_id = t.tenant_id AND (e.what = 'customer' OR e.subject_id = t.subject_id)
                 AND t.received_at <= e.until)",
    )
    .bind(of().map(|of| of.tenant_id).collect::<Vec<_>>())
    .bind(of().map(|of| of.customer_id).collect::<Vec<_>>())
    .bind(of().map(|of| of.event_id).collect::<Vec<_>>())
    .bind(of().map(|of| of.subject_id).collect::<Vec<_>>())
    .bind(of().map(|of| of.received_at).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    for (n,) in found {
        let place = usize::try_from(n - 1).ok().and_then(|n| places.get(n));
        if let Some(covered) = place.and_then(|at| covered.get_mut(*at)) {
            *covered = true;
        }
    }
    Ok(covered)
}

/// Tenants that had keys destroyed so lately that Kafka may still have what they were computed from.
pub async fn shredding(tx: &mut Tx, minutes: i32) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT DISTINCT tenant_id FROM erasures WHERE shredded AND created_at > now() - make_interval(mins => $1)",
    )
    .bind(minutes)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|row| row.0).collect())
}

/// Whether a tenant has erased anything.
pub async fn any(tx: &mut Tx, tenant_id: &str) -> Result<bool, Error> {
    let (any,): (bool,) =
        sqlx::query_as("SELECT EXISTS (SELECT FROM erasures WHERE tenant_id = $1)")
            .bind(tenant_id)
            .fetch_one(tx.connection())
            .await?;
    Ok(any)
}

/// The customer of an event that the log knows, of those that may be seen.
pub async fn customer_of_event(
    tx: &mut Tx,
    tenant_id: &str,
    event_id: Uuid,
) -> Result<Option<Uuid>, Error> {
    let row: Option<(Uuid,)> = sqlx::query_as(
        "SELECT customer_id FROM attempts WHERE tenant_id = $1 AND event_id = $2 LIMIT 1",
    )
    .bind(tenant_id)
    .bind(event_id)
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| row.0))
}
