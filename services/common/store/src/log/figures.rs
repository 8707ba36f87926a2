//! Attempts of a destination by the minute, and after some days by the hour.

use pushrail_schemas::attempt::Outcome;
use sqlx::FromRow;
use uuid::Uuid;

use super::Micros;
use crate::{Error, Tx};

/// Latencies are counted in buckets, each a fifth wider than the one before it: what is read from them is right within a
/// fifth, whatever the latency.
const BUCKETS: usize = 72;
/// Upper bound of the first, in microseconds.
const FIRST_US: f64 = 250.0;

/// What happened in a minute or an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub delivered: i32,
    pub retrying: i32,
    pub dead: i32,
    pub suspended: i32,
    pub skipped: i32,
    latency: [i32; BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            delivered: 0,
            retrying: 0,
            dead: 0,
            suspended: 0,
            skipped: 0,
            latency: [0; BUCKETS],
        }
    }
}

impl Counts {
    /// Counts an attempt, or the reason why none was made.
    pub fn count(&mut self, outcome: Outcome, made: bool, latency_us: i64) {
        match outcome {
            Outcome::Delivered => self.delivered += 1,
            Outcome::Retrying => self.retrying += 1,
            Outcome::Dead => self.dead += 1,
            Outcome::Suspended => self.suspended += 1,
            Outcome::Skipped | Outcome::Duplicate => self.skipped += 1,
            Outcome::Queued => {}
        }
        if made {
            self.latency[bucket(latency_us)] += 1;
        }
    }

    pub fn add(&mut self, other: &Counts) {
        self.delivered += other.delivered;
        self.retrying += other.retrying;
        self.dead += other.dead;
        self.suspended += other.suspended;
        self.skipped += other.skipped;
        for (sum, more) in self.latency.iter_mut().zip(other.latency) {
            *sum += more;
        }
    }

    /// Attempts that were made.
    pub fn attempts(&self) -> i64 {
        self.latency.iter().map(|n| i64::from(*n)).sum()
    }

    /// The latency in microseconds that a share of the attempts stayed within; `None` without attempts.
    pub fn latency_us(&self, share: f64) -> Option<f64> {
        let all = self.attempts();
        let wanted = (all as f64 * share).max(1.0);
        let mut below = 0.0;
        for (at, count) in self.latency.iter().enumerate().filter(|(_, n)| **n > 0) {
            let within = f64::from(*count);
            if below + within >= wanted {
                let (from, to) = (lower_us(at), upper_us(at));
                return Some(from + (to - from) * (wanted - below) / within);
            }
            below += within;
        }
        None
    }
}

fn upper_us(bucket: usize) -> f64 {
    FIRST_US * 2f64.powf(bucket as f64 / 4.0)
}

fn lower_us(bucket: usize) -> f64 {
    bucket.checked_sub(1).map_or(0.0, upper_us)
}

fn bucket(latency_us: i64) -> usize {
    let ratio = latency_us as f64 / FIRST_US;
    let at = (ratio.max(1.0).log2() * 4.0).ceil() as usize;
    at.min(BUCKETS - 1)
}

/// Whose figures, and of when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    pub destination_id: Uuid,
    /// The start of the minute.
    pub at: Micros,
    pub tenant_id: String,
    pub customer_id: Uuid,
}

/// Adds to what minutes have.
pub async fn add<'a>(
    tx: &mut Tx,
    rows: impl Iterator<Item = (&'a Slot, &'a Counts)>,
) -> Result<(), Error> {
    let mut destinations = Vec::new();
    let (mut ats, mut tenants, mut customers) = (Vec::new(), Vec::new(), Vec::new());
    let mut counts: [Vec<i32>; 5] = Default::default();
    let mut latency = Vec::new();
    // In one order, so that two indexers never wait for each other in a ring.
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by_key(|(slot, _)| (slot.destination_id, slot.at));
    for (slot, row) in rows {
        destinations.push(slot.destination_id);
        ats.push(slot.at);
        tenants.push(&*slot.tenant_id);
        customers.push(slot.customer_id);
        let values = [
            row.delivered,
            row.retrying,
            row.dead,
            row.suspended,
            row.skipped,
        ];
        for (column, value) in counts.iter_mut().zip(values) {
            column.push(value);
        }
        latency.extend_from_slice(&row.latency);
    }
    if destinations.is_empty() {
        return Ok(());
    }
    let [delivered, retrying, dead, suspended, skipped] = counts;
    sqlx::query(
        "INSERT INTO destination_minutes AS m
             (destination_id, at, tenant_id, customer_id, delivered, retrying, dead, suspended, skipped, latency)
         SELECT d, t, tenant, customer, a, b, c, e, f, ($10::int4[])[(row - 1) * $11 + 1 : row * $11]
         FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::uuid[], $5::int4[], $6::int4[], $7::int4[],
             $8::int4[], $9::int4[]) WITH ORDINALITY AS t (d, t, tenant, customer, a, b, c, e, f, row)
         ON CONFLICT (destination_id, at) DO UPDATE SET
             delivered = m.delivered + excluded.delivered, retrying = m.retrying + excluded.retrying,
             dead = m.dead + excluded.dead, suspended = m.suspended + excluded.suspended,
             skipped = m.skipped + excluded.skipped, latency = log_added(m.latency, excluded.latency)",
    )
    .bind(destinations)
    .bind(ats)
    .bind(tenants)
    .bind(customers)
    .bind(delivered)
    .bind(retrying)
    .bind(dead)
    .bind(suspended)
    .bind(skipped)
    .bind(latency)
    .bind(BUCKETS as i32)
    .execute(tx.connection())
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct Stored {
    destination_id: Uuid,
    at: Micros,
    delivered: i32,
    retrying: i32,
    dead: i32,
    suspended: i32,
    skipped: i32,
    latency: Vec<i32>,
}

macro_rules! columns {
    () => {
        "destination_id, at, delivered, retrying, dead, suspended, skipped, latency"
    };
}

impl Stored {
    fn read(self) -> (Uuid, Micros, Counts) {
        let mut latency = [0; BUCKETS];
        for (to, from) in latency.iter_mut().zip(self.latency) {
            *to = from;
        }
        let counts = Counts {
            delivered: self.delivered,
            retrying: self.retrying,
            dead: self.dead,
            suspended: self.suspended,
            skipped: self.skipped,
            latency,
        };
        (self.destination_id, self.at, counts)
    }
}

/// What destinations did by the minute since then, in no order.
pub async fn recent(
    tx: &mut Tx,
    destinations: &[Uuid],
    since: Micros,
) -> Result<Vec<(Uuid, Micros, Counts)>, Error> {
    let rows: Vec<Stored> = sqlx::query_as(concat!(
        "SELECT ",
        columns!(),
        " FROM destination_minutes WHERE destination_id = ANY($1) AND at >= $2"
    ))
    .bind(destinations)
    .bind(since)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(Stored::read).collect())
}

/// What one destination did in a window, oldest first: by the minute, and by the hour where minutes are no longer kept.
pub async fn series(
    tx: &mut Tx,
    destination_id: Uuid,
    since: Micros,
    until: Micros,
) -> Result<Vec<(Micros, Counts)>, Error> {
    let rows: Vec<Stored> = sqlx::query_as(
        concat!(
            "SELECT ",
            columns!(),
            " FROM destination_hours WHERE destination_id = $1 AND at >= $2 AND at < $3 UNION ALL SELECT ",
            columns!(),
            " FROM destination_minutes WHERE destination_id = $1 AND at >= $2 AND at < $3 ORDER BY at"
        ),
    )
    .bind(destination_id)
    .bind(since)
    .bind(until)
    .fetch_all(tx.connection())
    .await?;
    let read = |row: Stored| {
        let (_, at, counts) = row.read();
        (at, counts)
    };
    Ok(rows.into_iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_latencies_is_read_back_within_a_fifth() {
        for typical_us in [300.0, 2_000.0, 47_000.0, 900_000.0, 28_000_000.0] {
            let mut counts = Counts::default();
            for n in 0..1_000 {
                let us = typical_us * (0.5 + n as f64 / 1_000.0);
                counts.count(Outcome::Delivered, true, us as i64);
            }
            for (share, exact) in [(0.5, 1.0), (0.95, 1.45), (0.99, 1.49)] {
                let read = counts.latency_us(share).unwrap() / (typical_us * exact);
                assert!((0.8..1.2).contains(&read), "{typical_us} {share}: {read}");
            }
        }
    }

    #[test]
    fn what_was_not_tried_has_no_latency() {
        let mut counts = Counts::default();
        counts.count(Outcome::Skipped, false, 0);
        counts.count(Outcome::Queued, false, 0);
        assert_eq!((counts.attempts(), counts.skipped), (0, 1));
        assert_eq!(counts.latency_us(0.5), None);
        // Nothing is too long to be counted.
        counts.count(Outcome::Retrying, true, i64::MAX);
        assert_eq!(counts.attempts(), 1);
    }
}
