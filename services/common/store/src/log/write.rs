//! What `pushrail log` has read, on its way into the tables.
//!
//! How far each partition has been read is in the transaction that keeps what was read ([`advance`]): a record is in the
//! log once, whatever crashes. Who writes without being the one who read up to there is refused.

use pushrail_schemas::attempt::Attempt;
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::Micros;
use crate::{Error, Store, Tx, erasures};

/// Longest payload that is kept; of a longer one, its start.
pub const PAYLOAD_LEN_MAX: usize = 256 * 1024;
/// What sealing adds.
const SEALED_OVERHEAD: usize = 64;

/// How far a partition was read, and how far it is read now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// As [`offsets`] or the last [`advance`] said; `None` where it had not been read.
    pub from: Option<i64>,
    /// The offset of the next record.
    pub to: i64,
}

/// Where reading goes on: the next offset by partition of the topics.
pub async fn offsets(store: &Store, topics: &[String]) -> Result<Vec<(String, i32, i64)>, Error> {
    let mut tx = store.begin(crate::Scope::System).await?;
    let rows = sqlx::query_as(
        "SELECT topic, partition, next_offset FROM log_offsets WHERE topic = ANY($1)",
    )
    .bind(topics)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Says that a partition has been read. `false` when somebody else has read it meanwhile: then nothing of this transaction
/// may be committed.
pub async fn advance(tx: &mut Tx, progress: &Progress<'_>) -> Result<bool, Error> {
    let statement = match progress.from {
        Some(_) => {
            "UPDATE log_offsets SET next_offset = $3 WHERE topic = $1 AND partition = $2 AND next_offset = $4"
        }
        None => {
            "INSERT INTO log_offsets (topic, partition, next_offset) SELECT $1, $2, $3 WHERE $4::bigint IS NULL
             ON CONFLICT DO NOTHING"
        }
    };
    let done = sqlx::query(statement)
        .bind(progress.topic)
        .bind(progress.partition)
        .bind(progress.to)
        .bind(progress.from)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Lets a transaction be lost in a crash of the database: what it wrote is read again from Kafka, since its offsets are lost
/// with it.
pub async fn relaxed(tx: &mut Tx) -> Result<(), Error> {
    sqlx::query("SET LOCAL synchronous_commit = off")
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// When the event of a record was accepted, as near as the record knows.
pub fn accepted_at(attempt: &Attempt<'_>) -> Micros {
    let known = attempt.received_at_us.or(attempt.first_attempt_at_us);
    Micros(known.unwrap_or(attempt.started_at_us))
}

/// What it is about: a delivery, or the event where no destination was concerned.
pub fn delivery_id(attempt: &Attempt<'_>) -> Uuid {
    attempt.delivery_id.unwrap_or(attempt.event_id)
}

/// Columns of the rows to be written.
#[derive(Default)]
struct Columns<'a> {
    received_at: Vec<Micros>,
    started_at: Vec<Micros>,
    next_attempt_at: Vec<Option<Micros>>,
    customer_id: Vec<Uuid>,
    event_id: Vec<Uuid>,
    delivery_id: Vec<Uuid>,
    destination_id: Vec<Option<Uuid>>,
    attempt_id: Vec<Uuid>,
    replay_id: Vec<Option<Uuid>>,
    latency_us: Vec<i32>,
    attempt: Vec<i16>,
    status_code: Vec<Option<i16>>,
    latest: Vec<bool>,
    payload_len: Vec<Option<i32>>,
    payload_cut: Vec<bool>,
    tenant_id: Vec<&'a str>,
    event_type: Vec<&'a str>,
    kind: Vec<Option<&'a str>>,
    outcome: Vec<&'static str>,
    class: Vec<&'a str>,
    code: Vec<Option<&'a str>>,
    origin: Vec<&'a str>,
    payload_form: Vec<&'a str>,
    traceparent: Vec<Option<&'a str>>,
    error: Vec<Option<&'a str>>,
    response_headers: Vec<Option<&'a str>>,
    response_excerpt: Vec<Option<&'a [u8]>>,
    payload: Vec<Option<&'a [u8]>>,
    subject_id: Vec<Option<Uuid>>,
    sealing: Vec<Option<&'a [u8]>>,
}

/// Writes attempts that have passed [`without_erased`], in the order in which Kafka has them. Partitions for their days
/// must be there.
pub async fn attempts(tx: &mut Tx, attempts: &[Attempt<'_>]) -> Result<(), Error> {
    if attempts.is_empty() {
        return Ok(());
    }
    let known = retire(tx, attempts).await?;
    // The last of each delivery says how that stands; the first that has the payload keeps it.
    let mut newest = std::collections::HashMap::with_capacity(attempts.len());
    for (at, attempt) in attempts.iter().enumerate() {
        newest.insert(delivery_id(attempt), at);
    }
    let mut paid = known;
    let mut columns = Columns::default();
    for (at, attempt) in attempts.iter().enumerate() {
        let id = delivery_id(attempt);
        // The first attempt always has what was sent; a later one has the same again, unless the log missed the first.
        let wanted = attempt.attempt <= 1 || !paid.contains(&id);
        let payload = attempt.payload.filter(|_| wanted);
        if payload.is_some() {
            paid.insert(id);
        }
        columns.push(attempt, newest[&id] == at, payload);
    }
    columns.insert(tx).await
}

/// Attempts on their way in, those without content whose event has been erased. Whoever erases waits from here until the
/// transaction ends, so nothing passes that this has not seen.
pub async fn without_erased<'a>(
    tx: &mut Tx,
    attempts: Vec<Attempt<'a>>,
) -> Result<Vec<Attempt<'a>>, Error> {
    if attempts.is_empty() {
        return Ok(attempts);
    }
    erasures::writing(tx).await?;
    let of = attempts.iter().map(|attempt| erasures::Of {
        tenant_id: attempt.tenant_id,
        customer_id: attempt.customer_id,
        event_id: attempt.event_id,
        subject_id: attempt.subject_id,
        received_at: accepted_at(attempt),
    });
    let erased = erasures::covered(tx, &of.collect::<Vec<_>>()).await?;
    let attempts = attempts.into_iter().zip(erased);
    let forget = |(attempt, erased)| match erased {
        true => forgotten(&attempt),
        false => attempt,
    };
    Ok(attempts.map(forget).collect())
}

/// An attempt without what it was about, as an erasure leaves those that were there before it.
fn forgotten<'a>(attempt: &Attempt<'a>) -> Attempt<'a> {
    Attempt {
        error: None,
        response_headers: None,
        response_excerpt: None,
        payload: None,
        payload_form: "erased",
        subject_id: None,
        ..*attempt
    }
}

/// What was the newest of these deliveries no longer is. Answers with those whose payload is kept.
async fn retire(
    tx: &mut Tx,
    attempts: &[Attempt<'_>],
) -> Result<std::collections::HashSet<Uuid>, Error> {
    let ids: Vec<Uuid> = attempts.iter().map(delivery_id).collect();
    let times: Vec<Micros> = attempts.iter().map(accepted_at).collect();
    // Whatever the tables' statistics say, this is a look-up by id and never a scan of a day.
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
             set_config('enable_mergejoin', 'off', true), set_config('enable_bitmapscan', 'off', true)",
    )
    .execute(tx.connection())
    .await?;
    let rows = sqlx::query(
        "WITH theirs AS (SELECT DISTINCT d, r FROM unnest($1::uuid[], $2::timestamptz[]) AS t (d, r)),
         before AS (
             SELECT a.delivery_id, a.received_at, bool_or(a.payload_len IS NOT NULL) AS paid
             FROM theirs JOIN attempts a ON a.delivery_id = d AND a.received_at = r
             GROUP BY a.delivery_id, a.received_at
         ),
         retired AS (
             UPDATE attempts a SET latest = false FROM before b
             WHERE a.delivery_id = b.delivery_id AND a.received_at = b.received_at AND a.latest
         )
         SELECT delivery_id FROM before WHERE paid",
    )
    .bind(&ids)
    .bind(&times)
    .fetch_all(tx.connection())
    .await?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(Error::from))
        .collect()
}

impl<'a> Columns<'a> {
    fn push(&mut self, attempt: &Attempt<'a>, latest: bool, payload: Option<&'a [u8]>) {
        let max = PAYLOAD_LEN_MAX + attempt.sealing.map_or(0, |_| SEALED_OVERHEAD);
        let cut = payload.is_some_and(|payload| payload.len() > max);
        // The start of something sealed does not open.
        let kept = payload.filter(|_| !cut || attempt.sealing.is_none());
        self.received_at.push(accepted_at(attempt));
        self.started_at.push(Micros(attempt.started_at_us));
        self.next_attempt_at
            .push(attempt.next_attempt_at_us.map(Micros));
        self.customer_id.push(attempt.customer_id);
        self.event_id.push(attempt.event_id);
        self.delivery_id.push(delivery_id(attempt));
        self.destination_id.push(attempt.destination_id);
        self.attempt_id.push(attempt.attempt_id);
        self.replay_id.push(attempt.replay_id);
        self.latency_us
            .push(i32::try_from(attempt.latency_us).unwrap_or(i32::MAX));
        self.attempt
            .push(i16::try_from(attempt.attempt).unwrap_or(i16::MAX));
        let status = attempt
            .status_code
            .and_then(|code| i16::try_from(code).ok());
        self.status_code.push(status);
        self.latest.push(latest);
        let len = payload.map(|payload| i32::try_from(payload.len()).unwrap_or(i32::MAX));
        self.payload_len.push(len);
        self.payload_cut.push(cut);
        self.tenant_id.push(attempt.tenant_id);
        self.event_type.push(attempt.event_type);
        self.kind.push(attempt.kind);
        self.outcome.push(attempt.outcome.as_str());
        self.class.push(attempt.class);
        self.code.push(attempt.code);
        self.origin.push(attempt.origin);
        self.payload_form.push(attempt.payload_form);
        self.traceparent.push(attempt.traceparent);
        self.error.push(attempt.error);
        self.response_headers.push(attempt.response_headers);
        self.response_excerpt.push(attempt.response_excerpt);
        let kept = kept.map(|payload| &payload[..payload.len().min(max)]);
        self.payload.push(kept);
        self.subject_id.push(attempt.subject_id);
        self.sealing.push(attempt.sealing);
    }

    async fn insert(&self, tx: &mut Tx) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO attempts (received_at, started_at, next_attempt_at, customer_id, event_id, delivery_id,
                 destination_id, attempt_id, replay_id, latency_us, attempt, status_code, latest, payload_len, payload_cut,
                 tenant_id, event_type, kind, outcome, class, code, origin, payload_form, traceparent, error,
                 response_headers, response_excerpt, payload, subject_id, sealing)
             SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], $3::timestamptz[], $4::uuid[], $5::uuid[],
                 $6::uuid[], $7::uuid[], $8::uuid[], $9::uuid[], $10::int4[], $11::int2[], $12::int2[], $13::bool[],
                 $14::int4[], $15::bool[], $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
                 $22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::bytea[], $28::bytea[], $29::uuid[],
                 $30::bytea[])",
        )
        .bind(&self.received_at)
        .bind(&self.started_at)
        .bind(&self.next_attempt_at)
        .bind(&self.customer_id)
        .bind(&self.event_id)
        .bind(&self.delivery_id)
        .bind(&self.destination_id)
        .bind(&self.attempt_id)
        .bind(&self.replay_id)
        .bind(&self.latency_us)
        .bind(&self.attempt)
        .bind(&self.status_code)
        .bind(&self.latest)
        .bind(&self.payload_len)
        .bind(&self.payload_cut)
        .bind(&self.tenant_id)
        .bind(&self.event_type)
        .bind(&self.kind)
        .bind(&self.outcome)
        .bind(&self.class)
        .bind(&self.code)
        .bind(&self.origin)
        .bind(&self.payload_form)
        .bind(&self.traceparent)
        .bind(&self.error)
        .bind(&self.response_headers)
        .bind(&self.response_excerpt)
        .bind(&self.payload)
        .bind(&self.subject_id)
        .bind(&self.sealing)
        .execute(tx.connection())
        .await?;
        Ok(())
    }
}

/// A record of `dlq.<kind>`.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub kind: String,
    pub partition: i32,
    pub offset: i64,
    pub tenant_id: String,
    pub customer_id: Uuid,
    pub destination_id: Uuid,
    pub delivery_id: Uuid,
    pub event_id: Uuid,
    pub event_type: String,
    pub received_at: Micros,
    pub dead_at: Micros,
    pub attempts: u32,
    pub reason: String,
    pub code: String,
    pub detail: String,
    pub value_len: usize,
    pub subject_id: Option<Uuid>,
    /// Its payload is sealed.
    pub sealed: bool,
}

/// Writes dead letters; one that is there already stays as it is.
pub async fn dead_letters(tx: &mut Tx, letters: &[DeadLetter]) -> Result<(), Error> {
    if letters.is_empty() {
        return Ok(());
    }
    erasures::writing(tx).await?;
    let of = letters.iter().map(|letter| erasures::Of {
        tenant_id: &letter.tenant_id,
        customer_id: letter.customer_id,
        event_id: letter.event_id,
        subject_id: letter.subject_id,
        received_at: letter.received_at,
    });
    let erased = erasures::covered(tx, &of.collect::<Vec<_>>()).await?;
    let letters: Vec<(&DeadLetter, bool)> = letters.iter().zip(erased).collect();
    // Far below the number of parameters that a statement may have.
    for letters in letters.chunks(1_000) {
        let mut query = QueryBuilder::new(
            "INSERT INTO dead_letters (kind, partition, \"offset\", tenant_id, customer_id, destination_id, delivery_id,
                 event_id, event_type, received_at, dead_at, attempts, reason, code, detail, value_len, subject_id, sealed, state) ",
        );
        query.push_values(letters, |mut row, (letter, erased)| {
            let detail = if *erased { "" } else { &letter.detail };
            row.push_bind(&letter.kind)
                .push_bind(letter.partition)
                .push_bind(letter.offset)
                .push_bind(&letter.tenant_id)
                .push_bind(letter.customer_id)
                .push_bind(letter.destination_id)
                .push_bind(letter.delivery_id)
                .push_bind(letter.event_id)
                .push_bind(&letter.event_type)
                .push_bind(letter.received_at)
                .push_bind(letter.dead_at)
                .push_bind(i16::try_from(letter.attempts).unwrap_or(i16::MAX))
                .push_bind(&letter.reason)
                .push_bind(&letter.code)
                .push_bind(detail)
                .push_bind(i32::try_from(letter.value_len).unwrap_or(i32::MAX))
                .push_bind(letter.subject_id.filter(|_| !erased))
                .push_bind(letter.sealed)
                .push_bind(if *erased { "erased" } else { "open" });
        });
        query.push(" ON CONFLICT DO NOTHING");
        query.build().execute(tx.connection()).await?;
    }
    Ok(())
}
