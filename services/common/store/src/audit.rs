//! The audit trail: append-only, and chained by hash.
//!
//! Each row's hash covers its content and the hash of the row before it; the head of a chain is kept apart. A row that is
//! changed, removed or put in between shows when the chain is read again ([`Verdict`]).

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{Error, Tx};

/// The operator's chain.
pub const OPERATOR: &str = "";
const FIRST: [u8; 32] = [0; 32];

/// What somebody did.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// Whose trail it is on: a tenant's, or [`OPERATOR`].
    pub chain: &'a str,
    /// `operator`, `api_key`, `session` or `system`.
    pub actor_kind: &'a str,
    pub actor_id: &'a str,
    /// `destination.create` and the like.
    pub action: &'a str,
    pub target_kind: &'a str,
    pub target_id: &'a str,
    pub customer_id: Option<Uuid>,
    /// JSON texts without secrets.
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
    /// The caller's address.
    pub source: &'a str,
}

/// A row of the trail.
#[derive(Clone, Debug, PartialEq, Eq, FromRow, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    #[serde(skip)]
    pub chain: String,
    pub seq: i64,
    pub at: String,
    pub actor_kind: String,
    pub actor_id: String,
    pub action: String,
    pub target_kind: String,
    pub target_id: String,
    pub customer_id: Option<Uuid>,
    pub before: Option<String>,
    pub after: Option<String>,
    pub source: String,
    /// Hex.
    pub previous_hash: String,
    /// Hex.
    pub hash: String,
}

/// Adds an entry to the end of its chain. Others who add to the same chain wait until this transaction ends.
pub async fn append(tx: &mut Tx, entry: &Entry<'_>) -> Result<Row, Error> {
    sqlx::query(
        "INSERT INTO audit_heads (chain, seq, hash) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
    )
    .bind(entry.chain)
    .bind(&FIRST[..])
    .execute(tx.connection())
    .await?;
    let (seq, previous, at): (i64, Vec<u8>, String) = sqlx::query_as(
        "SELECT seq, hash, rfc3339(clock_timestamp()) FROM audit_heads WHERE chain = $1 FOR UPDATE",
    )
    .bind(entry.chain)
    .fetch_one(tx.connection())
    .await?;
    let mut row = Row {
        chain: entry.chain.to_owned(),
        seq: seq + 1,
        at,
        actor_kind: entry.actor_kind.to_owned(),
        actor_id: entry.actor_id.to_owned(),
        action: entry.action.to_owned(),
        target_kind: entry.target_kind.to_owned(),
        target_id: entry.target_id.to_owned(),
        customer_id: entry.customer_id,
        before: entry.before.map(str::to_owned),
        after: entry.after.map(str::to_owned),
        source: entry.source.to_owned(),
        previous_hash: hex::encode(&previous),
        hash: String::new(),
    };
    let hash = hash(&row, &previous);
    row.hash = hex::encode(hash);
    sqlx::query(
        "INSERT INTO audit_trail (chain, seq, at, actor_kind, actor_id, action, target_kind, target_id, customer_id,
             before, after, source, previous_hash, hash)
         VALUES ($1, $2, $3::timestamptz, $4, $5, $6, $7, $8, $9, $10::json, $11::json, $12, $13, $14)",
    )
    .bind(&row.chain)
    .bind(row.seq)
    .bind(&row.at)
    .bind(&row.actor_kind)
    .bind(&row.actor_id)
    .bind(&row.action)
    .bind(&row.target_kind)
    .bind(&row.target_id)
    .bind(row.customer_id)
    .bind(&row.before)
    .bind(&row.after)
    .bind(&row.source)
    .bind(previous)
    .bind(&hash[..])
    .execute(tx.connection())
    .await?;
    sqlx::query("UPDATE audit_heads SET seq = $2, hash = $3 WHERE chain = $1")
        .bind(&row.chain)
        .bind(row.seq)
        .bind(&hash[..])
        .execute(tx.connection())
        .await?;
    Ok(row)
}

/// Of every column, each after its length, so that no two rows share their bytes. Never changes: it would break every chain.
fn hash(row: &Row, previous: &[u8]) -> [u8; 32] {
    let customer = row.customer_id.map(|id| id.to_string());
    let parts: [Option<&[u8]>; 13] = [
        Some(b"pushrail.audit.v1"),
        Some(previous),
        Some(row.chain.as_bytes()),
        Some(row.at.as_bytes()),
        Some(row.actor_kind.as_bytes()),
        Some(row.actor_id.as_bytes()),
        Some(row.action.as_bytes()),
        Some(row.target_kind.as_bytes()),
        Some(row.target_id.as_bytes()),
        customer.as_deref().map(str::as_bytes),
        row.before.as_deref().map(str::as_bytes),
        row.after.as_deref().map(str::as_bytes),
        Some(row.source.as_bytes()),
    ];
    let mut context = Context::new(&SHA256);
    context.update(&row.seq.to_be_bytes());
    for part in parts {
        // Absent and empty are told apart.
        let len = part.map_or(u64::MAX, |part| part.len() as u64);
        context.update(&len.to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What part of a chain is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// Rows after this one; from the start when `None`.
    pub after: Option<i64>,
    /// Newest first, from before this one.
    pub before: Option<i64>,
    pub customer_id: Option<Uuid>,
    /// RFC 3339.
    pub since: Option<&'a str>,
    pub until: Option<&'a str>,
    pub action: Option<&'a str>,
    pub target_id: Option<&'a str>,
}

/// Rows of a chain, oldest first.
pub async fn rows(
    tx: &mut Tx,
    chain: &str,
    wanted: &Wanted<'_>,
    limit: u32,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as(
        "SELECT chain, seq, rfc3339(at) AS at, actor_kind, actor_id, action, target_kind, target_id, customer_id,
             before::text AS before, after::text AS after, source, encode(previous_hash, 'hex') AS previous_hash,
             encode(hash, 'hex') AS hash
         FROM audit_trail
         WHERE chain = $1 AND seq > coalesce($2, 0) AND ($3::uuid IS NULL OR customer_id = $3)
             AND ($4::timestamptz IS NULL OR audit_trail.at >= $4::timestamptz)
             AND ($5::timestamptz IS NULL OR audit_trail.at < $5::timestamptz)
             AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR target_id = $7)
         ORDER BY seq LIMIT $8",
    )
    .bind(chain)
    .bind(wanted.after)
    .bind(wanted.customer_id)
    .bind(wanted.since)
    .bind(wanted.until)
    .bind(wanted.action)
    .bind(wanted.target_id)
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// Rows of a chain, newest first.
pub async fn newest(
    tx: &mut Tx,
    chain: &str,
    wanted: &Wanted<'_>,
    limit: u32,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query_as(
        "SELECT chain, seq, rfc3339(at) AS at, actor_kind, actor_id, action, target_kind, target_id, customer_id,
             before::text AS before, after::text AS after, source, encode(previous_hash, 'hex') AS previous_hash,
             encode(hash, 'hex') AS hash
         FROM audit_trail
         WHERE chain = $1 AND ($2::bigint IS NULL OR seq < $2) AND ($3::uuid IS NULL OR customer_id = $3)
             AND ($4::timestamptz IS NULL OR audit_trail.at >= $4::timestamptz)
             AND ($5::timestamptz IS NULL OR audit_trail.at < $5::timestamptz)
             AND ($6::text IS NULL OR action = $6) AND ($7::text IS NULL OR target_id = $7)
         ORDER BY seq DESC LIMIT $8",
    )
    .bind(chain)
    .bind(wanted.before)
    .bind(wanted.customer_id)
    .bind(wanted.since)
    .bind(wanted.until)
    .bind(wanted.action)
    .bind(wanted.target_id)
    .bind(i64::from(limit))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// What reading a chain from end to end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole {
        rows: i64,
        head: String,
    },
    /// The first row that is not what was written, or is not there.
    Broken {
        seq: i64,
        problem: &'static str,
    },
}

/// Reads a whole chain and checks every hash.
pub async fn verify(tx: &mut Tx, chain: &str) -> Result<Verdict, Error> {
    let head: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM audit_heads WHERE chain = $1")
            .bind(chain)
            .fetch_optional(tx.connection())
            .await?;
    let (end, head) = head.unwrap_or((0, FIRST.to_vec()));
    let (mut seq, mut previous) = (0, FIRST.to_vec());
    loop {
        let wanted = Wanted {
            after: Some(seq),
            ..Wanted::default()
        };
        let rows = rows(tx, chain, &wanted, 1_000).await?;
        // Rows beyond the end that was read have been added since.
        let rows: Vec<_> = rows.into_iter().take_while(|row| row.seq <= end).collect();
        if rows.is_empty() {
            break;
        }
        for row in rows {
            let broken = |problem| Verdict::Broken {
                seq: seq + 1,
                problem,
            };
            if row.seq != seq + 1 {
                return Ok(broken("the row is missing"));
            }
            if row.previous_hash != hex::encode(&previous) {
                return Ok(broken("it does not follow from the row before it"));
            }
            let expected = hash(&row, &previous);
            if row.hash != hex::encode(expected) {
                return Ok(broken("its content is not what was written"));
            }
            (seq, previous) = (row.seq, expected.to_vec());
        }
    }
    Ok(match (seq == end, previous == head) {
        (true, true) => Verdict::Whole {
            rows: seq,
            head: hex::encode(head),
        },
        (true, false) => Verdict::Broken {
            seq,
            problem: "it is not the end that was written",
        },
        (false, _) => Verdict::Broken {
            seq: seq + 1,
            problem: "the row is missing",
        },
    })
}
