//! What the keys of payloads are computed from, on the control plane's side: made, renewed, destroyed, and opened for people
//! who look at a payload.
//!
//! An epoch is sixteen trees; a new one begins every month, so that what erasures leave of the old ones goes with them. Each
//! change is in the database and in the outbox in one transaction. Whoever seals takes the newest epoch that it knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::rand;
use pushrail_clock as clock;
use pushrail_http::Problem;
use pushrail_schemas::config::{self, PayloadKey};
use pushrail_shred::{Erased, Keyset, Lookup, Owner, SHARDS, Sealing, Tree};
use pushrail_store::erasures::What;
use pushrail_store::{Scope, Store, Tx, erasures, outbox, payload_keys as kept};
use pushrail_topology::topics;
use pushrail_vault::KeyRing;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::reply::{self, internal};

/// Days after which a new epoch begins.
pub(crate) const EPOCH_DAYS: u32 = 30;
/// Days that an epoch is kept after the next one began. Longer than any record with a payload is kept: what a topic keeps
/// for a month may have been replayed at the end of it, and the log keeps what its operator says, a month by itself.
pub(crate) const KEPT_DAYS: u32 = 90;
/// For so long after an erasure something is written to the topic now and then: twice what it takes to close a segment, and
/// what the cleaner takes.
const SHREDDING_MINUTES: i32 = 180;
/// Tenants of one round.
const ROUND: u32 = 500;

/// Writes a key and tells Kafka; gives back the letter.
async fn put(tx: &mut Tx, key: &PayloadKey) -> Result<i64, Problem> {
    kept::put(tx, key).await.map_err(reply::store)?;
    let name = config::key::payload_key(&key.tenant_id, key.epoch, key.shard);
    let value = serde_json::to_vec(key).map_err(|_| internal())?;
    outbox::put(tx, topics::CONFIG, &name, Some(&value))
        .await
        .map_err(reply::store)
}

fn sealed(
    ring: &KeyRing,
    tenant_id: &str,
    place: (u32, u8),
    bytes: &[u8],
) -> Result<PayloadKey, Problem> {
    let sealed = ring.seal_payload_key(tenant_id, place.0, place.1, bytes);
    sealed.map_err(|error| {
        tracing::error!(%error, "control.payload_key_not_sealed");
        internal()
    })
}

fn opened(ring: &KeyRing, key: &PayloadKey) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let (epoch, shard) = (key.epoch, key.shard);
    ring.open_payload_key(key).map_err(|error| {
        tracing::error!(epoch, shard, %error, "control.payload_key_not_opened");
        internal()
    })
}

/// Makes what a tenant's subjects are hashed with, where it is not there.
pub(crate) async fn ensure_subjects(
    tx: &mut Tx,
    ring: &KeyRing,
    tenant_id: &str,
) -> Result<Vec<i64>, Problem> {
    let there = kept::lock(tx, tenant_id).await.map_err(reply::store)?;
    if there.iter().any(|key| key.epoch == PayloadKey::SUBJECTS) {
        return Ok(Vec::new());
    }
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut bytes[..]).map_err(|_| internal())?;
    let key = sealed(ring, tenant_id, (PayloadKey::SUBJECTS, 0), &bytes[..])?;
    Ok(vec![put(tx, &key).await?])
}

/// Begins the first epoch of a tenant, where there is none.
pub(crate) async fn ensure_epoch(
    tx: &mut Tx,
    ring: &KeyRing,
    tenant_id: &str,
) -> Result<Vec<i64>, Problem> {
    let there = kept::lock(tx, tenant_id).await.map_err(reply::store)?;
    match there.iter().any(|key| key.epoch > PayloadKey::SUBJECTS) {
        true => Ok(Vec::new()),
        false => begin_epoch(tx, ring, tenant_id, next_epoch(0)).await,
    }
}

/// Epochs are numbered by the hour of their beginning: a database that was lost begins none again that Kafka has records of.
fn next_epoch(newest: u32) -> u32 {
    let hours = clock::now_ms().div_euclid(3_600_000);
    u32::try_from(hours).unwrap_or_default().max(newest + 1)
}

async fn begin_epoch(
    tx: &mut Tx,
    ring: &KeyRing,
    tenant_id: &str,
    epoch: u32,
) -> Result<Vec<i64>, Problem> {
    let mut letters = Vec::new();
    for shard in 0..SHARDS {
        let tree = Tree::generate().map_err(|_| internal())?;
        let key = sealed(ring, tenant_id, (epoch, shard), &tree.to_bytes())?;
        letters.push(put(tx, &key).await?);
    }
    Ok(letters)
}

/// The epochs of a tenant.
fn keysets(ring: &KeyRing, keys: &[PayloadKey]) -> Result<BTreeMap<u32, Keyset>, Problem> {
    let mut epochs: BTreeMap<u32, Keyset> = BTreeMap::new();
    for key in keys.iter().filter(|key| key.epoch > PayloadKey::SUBJECTS) {
        let tree = Tree::from_bytes(&opened(ring, key)?).ok_or_else(internal)?;
        let keyset = epochs.entry(key.epoch).or_default();
        keyset.put(key.shard, Arc::new(tree));
    }
    Ok(epochs)
}

/// Destroys the keys of what is erased, in every epoch; says whether that was done. It is not where nothing was ever sealed,
/// or where so much was erased that a tree would grow too large.
pub(crate) async fn shred(
    tx: &mut Tx,
    ring: &KeyRing,
    tenant_id: &str,
    what: What,
) -> Result<bool, Problem> {
    let keys = kept::lock(tx, tenant_id).await.map_err(reply::store)?;
    let mut epochs = keysets(ring, &keys)?;
    let erased = match what {
        What::Event { event_id, .. } => Erased::Event(event_id),
        What::Customer(customer_id) => Erased::Customer(customer_id),
        What::Subject {
            customer_id,
            subject_id,
        } => Erased::Subject {
            customer_id,
            subject_id,
        },
    };
    let mut all = !epochs.is_empty();
    for (epoch, keyset) in &mut epochs {
        let Some((shard, tree)) = keyset.erase(erased) else {
            tracing::error!(epoch, "control.payload_key_full");
            all = false;
            continue;
        };
        let key = sealed(ring, tenant_id, (*epoch, shard), &tree.to_bytes())?;
        put(tx, &key).await?;
    }
    Ok(all)
}

/// The name that a subject has inside.
pub(crate) async fn subject_id(
    store: &Store,
    ring: &KeyRing,
    tenant_id: &str,
    customer_id: Uuid,
    subject: &str,
) -> Result<Uuid, Problem> {
    // Of the tenant's, which a customer's scope does not show.
    let mut tx = store.begin(Scope::System).await.map_err(reply::store)?;
    let mut key = kept::of_subjects(&mut tx, tenant_id).await;
    if let Ok(None) = key {
        ensure_subjects(&mut tx, ring, tenant_id).await?;
        key = kept::of_subjects(&mut tx, tenant_id).await;
        tx.commit().await.map_err(reply::store)?;
    }
    let key = key.map_err(reply::store)?.ok_or_else(internal)?;
    let bytes = opened(ring, &key)?;
    let bytes = bytes.as_slice().try_into().map_err(|_| internal())?;
    Ok(pushrail_shred::subject_id(bytes, customer_id, subject))
}

/// What is due: keys of subjects for tenants without one, new epochs, the end of old ones, and new seals after the ring has
/// changed.
pub(crate) async fn chores(store: &Store, ring: &KeyRing, all: bool) -> Result<(), Problem> {
    let mut tx = store.begin(Scope::System).await.map_err(reply::store)?;
    let bare = kept::without_subjects(&mut tx, ROUND).await;
    for tenant_id in bare.map_err(reply::store)? {
        ensure_subjects(&mut tx, ring, &tenant_id).await?;
    }
    tx.commit().await.map_err(reply::store)?;
    if !all {
        return Ok(());
    }
    let mut tx = store.begin(Scope::System).await.map_err(reply::store)?;
    let overdue = kept::overdue(&mut tx, EPOCH_DAYS).await;
    for tenant_id in overdue.map_err(reply::store)? {
        let keys = kept::lock(&mut tx, &tenant_id)
            .await
            .map_err(reply::store)?;
        // Another instance may have been quicker.
        let still = kept::overdue(&mut tx, EPOCH_DAYS).await;
        if !still.map_err(reply::store)?.contains(&tenant_id) {
            continue;
        }
        let newest = keys.iter().map(|key| key.epoch).max().unwrap_or_default();
        begin_epoch(&mut tx, ring, &tenant_id, next_epoch(newest)).await?;
    }
    let ended = kept::remove_ended(&mut tx, KEPT_DAYS).await;
    for (tenant_id, epoch, shard) in ended.map_err(reply::store)? {
        let name = config::key::payload_key(&tenant_id, epoch, shard);
        outbox::put(&mut tx, topics::CONFIG, &name, None)
            .await
            .map_err(reply::store)?;
    }
    // Kafka closes a segment when something is written behind it, and removes what was overwritten from closed ones alone.
    let shredding = erasures::shredding(&mut tx, SHREDDING_MINUTES).await;
    for tenant_id in shredding.map_err(reply::store)? {
        let key = kept::of_subjects(&mut tx, &tenant_id).await;
        if let Some(key) = key.map_err(reply::store)? {
            put(&mut tx, &key).await?;
        }
    }
    for key in kept::all(&mut tx).await.map_err(reply::store)? {
        if !ring.is_current(&key.sealed) {
            let bytes = opened(ring, &key)?;
            let key = sealed(ring, &key.tenant_id, (key.epoch, key.shard), &bytes)?;
            put(&mut tx, &key).await?;
        }
    }
    tx.commit().await.map_err(reply::store)
}

/// Opens what is shown of a tenant's sealed payloads.
#[derive(Default)]
pub(crate) struct Opener(BTreeMap<u32, Keyset>);

impl Opener {
    /// As the keys are now; who asks must be allowed to see the rows that it opens.
    pub(crate) async fn of(
        store: &Store,
        ring: &KeyRing,
        tenant_id: &str,
    ) -> Result<Self, Problem> {
        let mut tx = store.begin(Scope::System).await.map_err(reply::store)?;
        let keys = kept::of(&mut tx, tenant_id).await.map_err(reply::store)?;
        Ok(Opener(keysets(ring, &keys)?))
    }

    pub(crate) fn key(&self, owner: &Owner, sealing: &[u8]) -> Lookup {
        let sealing = Sealing::from_bytes(sealing);
        let keyset = sealing.and_then(|sealing| Some((sealing, self.0.get(&sealing.epoch)?)));
        keyset.map_or(Lookup::Unknown, |(sealing, keyset)| {
            keyset.key(owner, sealing.generations)
        })
    }
}
