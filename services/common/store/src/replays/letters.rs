//! Dead letters, as far as they are inspected, replayed and discarded. `pushrail log` writes the rows.

use uuid::Uuid;

use super::{Of, Selection};
use crate::log::dead_letters::{DeadLetter, columns};
use crate::{Error, Tx};

/// What of a destination's open letters a selection names. Parameters 1 to 12.
macro_rules! selected {
    () => {
        " tenant_id = $1 AND customer_id = $2 AND destination_id = $3 AND state = 'open'
         AND ($4::timestamptz IS NULL OR dead_at >= $4::timestamptz)
         AND ($5::timestamptz IS NULL OR dead_at < $5::timestamptz)
         AND (NOT $6 OR event_type = ANY ($7::text[])
             OR EXISTS (SELECT FROM unnest($8::text[]) AS above WHERE starts_with(event_type, above)))
         AND (cardinality($9::uuid[]) = 0 OR event_id = ANY ($9))
         AND (cardinality($10::uuid[]) = 0 OR delivery_id = ANY ($10))
         AND (cardinality($11::text[]) = 0 OR reason = ANY ($11))
         AND (cardinality($12::text[]) = 0 OR code = ANY ($12)) "
    };
}

/// Binds what [`selected`] takes.
macro_rules! bind {
    ($query:expr, $of:expr, $selection:expr, $types:expr) => {
        $query
            .bind($of.tenant_id)
            .bind($of.customer_id)
            .bind($of.destination_id)
            .bind($selection.since.as_deref())
            .bind($selection.until.as_deref())
            .bind($types.narrows)
            .bind(&$types.exact)
            .bind(&$types.above)
            .bind(&$selection.event_ids)
            .bind(&$selection.delivery_ids)
            .bind(&$selection.reasons)
            .bind(&$selection.codes)
    };
}

/// Patterns of event types, as the statements take them.
struct Types {
    narrows: bool,
    exact: Vec<String>,
    /// What a type begins with, its dot included.
    above: Vec<String>,
}

impl Types {
    fn of(selection: &Selection) -> Types {
        let patterns = &selection.event_types;
        let above = patterns.iter().filter_map(|pattern| {
            let name = pattern.strip_suffix('*')?;
            name.ends_with('.').then(|| name.to_owned())
        });
        Types {
            narrows: !patterns.is_empty() && !patterns.iter().any(|pattern| pattern == "*"),
            exact: patterns.clone(),
            above: above.collect(),
        }
    }
}

/// How many open letters a selection names.
pub async fn count(tx: &mut Tx, of: Of<'_>, selection: &Selection) -> Result<i64, Error> {
    let types = Types::of(selection);
    let query = sqlx::query_as(concat!(
        "SELECT count(*) FROM dead_letters WHERE",
        selected!()
    ));
    let (count,): (i64,) = bind!(query, of, selection, types)
        .fetch_one(tx.connection())
        .await?;
    Ok(count)
}

/// Open letters that a selection names, by partition and offset, after one.
pub async fn page(
    tx: &mut Tx,
    of: Of<'_>,
    selection: &Selection,
    after: (i32, i64),
    limit: i64,
) -> Result<Vec<DeadLetter>, Error> {
    let types = Types::of(selection);
    let query = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM dead_letters WHERE",
        selected!(),
        "AND (partition, \"offset\") > ($13, $14) ORDER BY partition, \"offset\" LIMIT $15"
    ));
    let letters = bind!(query, of, selection, types)
        .bind(after.0)
        .bind(after.1)
        .bind(limit)
        .fetch_all(tx.connection())
        .await?;
    Ok(letters)
}

/// Discards the open letters that a selection names; says how many.
pub async fn discard(tx: &mut Tx, of: Of<'_>, selection: &Selection) -> Result<u64, Error> {
    let types = Types::of(selection);
    let query = sqlx::query(concat!(
        "UPDATE dead_letters SET state = 'discarded', state_at = now() WHERE",
        selected!()
    ));
    let done = bind!(query, of, selection, types)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

/// One letter of a destination, whatever its state.
pub async fn get(
    tx: &mut Tx,
    of: Of<'_>,
    partition: i32,
    offset: i64,
) -> Result<Option<DeadLetter>, Error> {
    let letter = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM dead_letters WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3
             AND partition = $4 AND \"offset\" = $5"
    ))
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(partition)
    .bind(offset)
    .fetch_optional(tx.connection())
    .await?;
    Ok(letter)
}

/// Marks letters as replayed: those of which Kafka has a copy on its way. One that was discarded meanwhile has been
/// replayed all the same, and says so.
pub async fn replayed(
    tx: &mut Tx,
    of: Of<'_>,
    replay_id: Uuid,
    places: &[(i32, i64)],
) -> Result<u64, Error> {
    let (partitions, offsets): (Vec<_>, Vec<_>) = places.iter().copied().unzip();
    let done = sqlx::query(
        "UPDATE dead_letters SET state = 'replayed', state_at = now(), replay_id = $4
         FROM unnest($5::integer[], $6::bigint[]) AS place (partition, at)
         WHERE tenant_id = $1 AND customer_id = $2 AND destination_id = $3
             AND dead_letters.partition = place.partition AND dead_letters.\"offset\" = place.at",
    )
    .bind(of.tenant_id)
    .bind(of.customer_id)
    .bind(of.destination_id)
    .bind(replay_id)
    .bind(partitions)
    .bind(offsets)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}
