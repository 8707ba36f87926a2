//! The keys of payloads as this process has them: trees from the `config` topic, opened with the key ring.
//!
//! Whoever seals or opens an event asks here; nobody waits for anything. A tree is opened when an event first needs it, and
//! kept until its record changes: the directory gives out the same value until then. What does not open (a key that is not
//! on the ring) is logged once and counts as not known, so that nothing is sealed with half of an epoch and nothing is taken
//! for erased that is not.
//!
//! It owns no key: they come and go with the topic. It does not decide what is erased.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hashbrown::HashMap;
use pushrail_directory::{Directory, PayloadKeys as Records};
use pushrail_schemas::Event;
use pushrail_schemas::config::{self, Encryption, Tenant};
use pushrail_schemas::event::Parts;
use pushrail_shred::{Keyset, Lookup, Owner, PayloadKey, Sealing, Tree, part};
use pushrail_vault::KeyRing;
use uuid::Uuid;
use zeroize::Zeroizing;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct PayloadKeys {
    directory: Directory,
    ring: Option<Arc<KeyRing>>,
    opened: Arc<RwLock<HashMap<Box<str>, Arc<Opened>>>>,
}

/// Those of one tenant.
struct Opened {
    /// What they were opened from.
    records: Arc<Records>,
    trees: BTreeMap<(u32, u8), (Arc<config::PayloadKey>, Arc<Tree>)>,
    epochs: BTreeMap<u32, Keyset>,
    subjects: Option<Zeroizing<[u8; 32]>>,
}

impl PayloadKeys {
    /// Without a ring nothing opens, and nothing can be sealed.
    pub fn new(directory: Directory, ring: Option<Arc<KeyRing>>) -> Self {
        PayloadKeys {
            directory,
            ring,
            opened: Arc::default(),
        }
    }

    /// Whether the events of a customer are to be sealed.
    pub fn wanted(&self, tenant: &Tenant, customer_id: Uuid) -> bool {
        let own = self.directory.encryption(&tenant.tenant_id, customer_id);
        own.unwrap_or(tenant.encryption) == Encryption::On
    }

    /// What stands for a subject; `None` while the tenant's key of subjects is not known here.
    pub fn subject_id(&self, tenant_id: &str, customer_id: Uuid, subject: &str) -> Option<Uuid> {
        let opened = self.of(tenant_id)?;
        let key = opened.subjects.as_ref()?;
        Some(pushrail_shred::subject_id(key, customer_id, subject))
    }

    /// What a new event is sealed with; `None` while no epoch of its tenant is known here.
    pub fn fresh(&self, tenant_id: &str, owner: &Owner) -> Option<(Sealing, PayloadKey)> {
        let opened = self.of(tenant_id)?;
        let mut newest = opened.epochs.iter().rev();
        let (epoch, keyset) = newest.find(|(_, keyset)| keyset.is_whole())?;
        let (generations, key) = keyset.fresh(owner)?;
        let sealing = Sealing {
            epoch: *epoch,
            generations,
        };
        Some((sealing, key))
    }

    /// Whether there is anything here that events which say that they are sealed so can be opened with.
    pub fn knows(&self, tenant_id: &str, sealing: &[u8]) -> bool {
        let sealing = Sealing::from_bytes(sealing);
        let opened = self.of(tenant_id);
        sealing
            .zip(opened)
            .and_then(|(sealing, opened)| Some(opened.epochs.get(&sealing.epoch)?.is_whole()))
            .unwrap_or(false)
    }

    /// The key of an event that says how it is sealed.
    pub fn key(&self, tenant_id: &str, owner: &Owner, sealing: &[u8]) -> Lookup {
        let Some(sealing) = Sealing::from_bytes(sealing) else {
            return Lookup::Unknown;
        };
        let opened = self.of(tenant_id);
        let keyset = opened
            .as_ref()
            .and_then(|opened| opened.epochs.get(&sealing.epoch));
        keyset.map_or(Lookup::Unknown, |keyset| {
            keyset.key(owner, sealing.generations)
        })
    }

    fn of(&self, tenant_id: &str) -> Option<Arc<Opened>> {
        let records = self.directory.payload_keys(tenant_id)?;
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner);
        let known = opened.get(tenant_id).cloned();
        drop(opened);
        if let Some(known) = &known
            && Arc::ptr_eq(&known.records, &records)
        {
            return Some(Arc::clone(known));
        }
        let fresh = Arc::new(Opened::of(records, self.ring.as_deref()?, known.as_deref()));
        let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        opened.insert(tenant_id.into(), Arc::clone(&fresh));
        Some(fresh)
    }
}

impl Opened {
    /// Opens what has changed since `before`.
    fn of(records: Arc<Records>, ring: &KeyRing, before: Option<&Opened>) -> Self {
        let mut opened = Opened {
            records: Arc::clone(&records),
            trees: BTreeMap::new(),
            epochs: BTreeMap::new(),
            subjects: None,
        };
        for record in &records.0 {
            let place = (record.epoch, record.shard);
            if record.epoch == config::PayloadKey::SUBJECTS {
                opened.subjects = open(ring, record, |bytes| {
                    let bytes: [u8; 32] = bytes.try_into().ok()?;
                    Some(Zeroizing::new(bytes))
                });
                continue;
            }
            let known = before.and_then(|before| before.trees.get(&place));
            let known = known.filter(|(known, _)| Arc::ptr_eq(known, record));
            let tree = match known {
                Some((_, tree)) => Some(Arc::clone(tree)),
                None => open(ring, record, Tree::from_bytes).map(Arc::new),
            };
            let Some(tree) = tree else { continue };
            let keyset = opened.epochs.entry(record.epoch).or_default();
            keyset.put(record.shard, Arc::clone(&tree));
            opened.trees.insert(place, (Arc::clone(record), tree));
        }
        opened
    }
}

fn open<T>(
    ring: &KeyRing,
    record: &config::PayloadKey,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    let (epoch, shard) = (record.epoch, record.shard);
    match ring.open_payload_key(record) {
        Ok(bytes) => {
            let read = read(&bytes);
            if read.is_none() {
                tracing::error!(epoch, shard, "payload_key.garbled");
            }
            read
        }
        Err(error) => {
            tracing::error!(epoch, shard, %error, "payload_key.unreadable");
            None
        }
    }
}

/// Whose an event is, for its key.
pub fn owner(event: &Event, customer_id: Uuid) -> Owner {
    Owner {
        customer_id,
        event_id: event.event_id(),
        subject_id: event.subject_id(),
    }
}

/// The same event in clear. `None` where it does not open with the key.
pub fn opened(event: &Event, key: &PayloadKey) -> Option<Event> {
    event.opened(|part, sealed| key.open(part, sealed).ok())
}

/// The content of `clear` sealed as `event` is, as the value of a record.
pub fn resealed(event: &Event, clear: &Event, key: &PayloadKey) -> Option<Vec<u8>> {
    let payload = key.sealed(part::PAYLOAD, clear.payload()).ok()?;
    let metadata = key.sealed(part::METADATA, clear.metadata()).ok()?;
    let parts = Parts {
        payload: &payload,
        metadata: &metadata,
        sealing: event.sealing(),
        ..clear.parts()
    };
    let mut value = Vec::new();
    parts.encode(event.schema_id(), &mut value);
    Some(value)
}

#[cfg(test)]
mod tests {
    use pushrail_shred::{Erased, Generations, SHARDS};

    use super::*;

    const EPOCH: u32 = 7;

    fn record(ring: &KeyRing, shard: u8, tree: &Tree) -> Arc<config::PayloadKey> {
        let sealed = ring.seal_payload_key("acme", EPOCH, shard, &tree.to_bytes());
        Arc::new(sealed.unwrap())
    }

    fn owner(event: u128) -> Owner {
        Owner {
            customer_id: Uuid::from_u128(1),
            event_id: Uuid::from_u128(event),
            subject_id: None,
        }
    }

    /// An epoch as it is told, and its trees.
    fn epoch(ring: &KeyRing) -> (Vec<Arc<config::PayloadKey>>, Keyset) {
        let (mut records, mut keyset) = (Vec::new(), Keyset::default());
        for shard in 0..SHARDS {
            let tree = Tree::generate().unwrap();
            records.push(record(ring, shard, &tree));
            keyset.put(shard, Arc::new(tree));
        }
        (records, keyset)
    }

    fn lookup(opened: &Opened, event: u128) -> Lookup {
        opened.epochs[&EPOCH].key(&owner(event), Generations::default())
    }

    #[test]
    fn what_was_destroyed_is_gone_here_when_its_record_comes_and_the_rest_is_kept() {
        let ring = KeyRing::generate().unwrap();
        let (mut records, mut keyset) = epoch(&ring);
        let before = Opened::of(Arc::new(Records(records.clone())), &ring, None);
        assert!(matches!(lookup(&before, 5), Lookup::Key(_)));
        let gone = Erased::Event(Uuid::from_u128(5));
        let (shard, tree) = keyset.erase(gone).unwrap();
        records[usize::from(shard)] = record(&ring, shard, tree);
        let after = Opened::of(Arc::new(Records(records)), &ring, Some(&before));
        assert!(matches!(lookup(&after, 5), Lookup::Erased));
        assert!(matches!(lookup(&after, 6), Lookup::Key(_)));
        // What has not changed was not opened again.
        for (place, (_, tree)) in &after.trees {
            let same = Arc::ptr_eq(tree, &before.trees[place].1);
            assert_eq!(same, place.1 != shard, "{place:?}");
        }
    }

    #[test]
    fn what_does_not_open_is_not_known_and_is_not_taken_for_erased() {
        let (ring, other) = (KeyRing::generate().unwrap(), KeyRing::generate().unwrap());
        let (records, _) = epoch(&ring);
        let opened = Opened::of(Arc::new(Records(records.clone())), &other, None);
        assert!(opened.epochs.is_empty());
        // Half of an epoch opens what it can, and seals nothing.
        let half = Arc::new(Records(records[..8].to_vec()));
        let opened = Opened::of(half, &ring, None);
        let keyset = &opened.epochs[&EPOCH];
        assert!(!keyset.is_whole());
        let all = (0..64).map(|event| lookup(&opened, event));
        assert!(
            all.into_iter()
                .all(|found| !matches!(found, Lookup::Erased))
        );
    }
}
