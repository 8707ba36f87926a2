//! Kinds of destinations beside webhooks, each with the server that it is for: [`crash`], [`speed`], [`idle`],
//! [`rotation`] and [`isolation`].

pub(super) mod crash;
pub(super) mod idle;
pub(super) mod isolation;
mod load;
pub(super) mod rotation;
pub(super) mod speed;

use std::marker::PhantomData;
use std::time::Duration;

use pushrail_schemas::config::{self, BatchPolicy};
use pushrail_topology::topics;
use serde_json::Value;
use uuid::Uuid;

use crate::bed::Bed;
use crate::destinations::{self, Who};
use crate::kafka::{self, Prefill};
use crate::place::Place;
use crate::sample::{self, TENANT};

use load::Load;

/// How long a sink may take for what a scenario gives it.
const PATIENCE: Duration = Duration::from_secs(300);

/// Records of a batch, and how long one waits to be full: the same for every kind, so that they can be told apart by
/// something else.
const BATCH: BatchPolicy = BatchPolicy {
    records: Some(500),
    bytes: None,
    age_ms: Some(1_000),
};

/// What destinations have beside their configuration.
#[derive(Clone, Copy)]
struct Terms {
    batch: BatchPolicy,
    timeout_ms: Option<u32>,
}

/// Destinations of a place, configured on a bed.
struct Stage<'a, P> {
    _place: PhantomData<P>,
    bed: &'a Bed,
    ids: Vec<Uuid>,
}

impl<'a, P: Place> Stage<'a, P> {
    /// Configures `count` destinations.
    fn new(bed: &'a Bed, place: &P, count: u32) -> anyhow::Result<Self> {
        let terms = Terms {
            batch: BATCH,
            timeout_ms: None,
        };
        Stage::configure(bed, place, count, terms, |_, _| ())
    }

    /// The same on other terms, and each configuration changed as `change` does.
    fn configure(
        bed: &'a Bed,
        place: &P,
        count: u32,
        terms: Terms,
        change: impl Fn(u32, &mut Value),
    ) -> anyhow::Result<Self> {
        let ids: Vec<Uuid> = (0..count)
            .map(|n| sample::destination_id(0, n.into()))
            .collect();
        let mut records = Vec::with_capacity(ids.len());
        for (n, id) in (0..).zip(&ids) {
            let customer = sample::customer(n);
            let who = Who {
                tenant_id: TENANT,
                customer: &customer,
                id: *id,
            };
            let (mut config, secrets) = place.destination(n);
            change(n, &mut config);
            let name = format!("{} {n}", P::NAME);
            let destination =
                destinations::destination(&bed.ring, who, P::KIND, &name, &config, &secrets);
            let mut destination = destination?;
            destination.batch = Some(terms.batch);
            destination.timeout_ms = terms.timeout_ms;
            let key = config::key::destination(*id);
            records.push((key, serde_json::to_vec(&destination)?));
        }
        bed.configure(records)?;
        Ok(Stage {
            _place: PhantomData,
            bed,
            ids,
        })
    }

    /// Puts `count` events on the kind's topic, round robin over the first `active` destinations.
    async fn prefill(&self, active: usize, count: u64) -> anyhow::Result<()> {
        let (bootstrap, schema_id) = (self.bed.bootstrap(), self.bed.ids.event);
        let ids = self.ids[..active].to_vec();
        tokio::task::spawn_blocking(move || {
            kafka::prefill(&Prefill {
                bootstrap: &bootstrap,
                topic: &topics::deliver(P::KIND),
                schema_id,
                destinations: &ids,
                first: 0,
                count,
                value_len: sample::VALUE_LEN,
            })
        })
        .await?
    }
}

/// Runs `$what::<P>(…)` for each place, one after the other, and collects what they return.
macro_rules! each_place {
    ($what:ident ( $($argument:expr),* )) => {{
        let mut rows = Vec::new();
        rows.push($what::<crate::place::S3>($($argument),*).await?);
        rows.push($what::<crate::place::Sqs>($($argument),*).await?);
        rows.push($what::<crate::place::Fifo>($($argument),*).await?);
        rows.push($what::<crate::place::Postgres>($($argument),*).await?);
        rows.push($what::<crate::place::Kafka>($($argument),*).await?);
        rows.push($what::<crate::place::BigQuery>($($argument),*).await?);
        rows
    }};
}
use each_place;
