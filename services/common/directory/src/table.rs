//! What the `config` topic says, as far as this process wants to know.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use pushrail_schemas::config::{
    self, API_KEY_PREFIX, ApiKey, CUSTOMER_PREFIX, Customer, DESTINATION_PREFIX, Destination,
    EVENT_TYPE_PREFIX, Encryption, PAYLOAD_KEY_PREFIX, PayloadKey, TENANT_PREFIX, Tenant,
};
use pushrail_schemas::{identity, problem};
use pushrail_topology::topics;
use serde::Deserialize;
use uuid::Uuid;

use crate::packed::{Texts, pack, unpack};

/// What a process wants to know of the configuration; it keeps nothing else in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    destinations: Wanted,
    keys: bool,
    event_types: bool,
    customers: bool,
    payload_keys: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    Kind(Box<str>),
    None,
}

impl Interest {
    /// Everything: the command line, `pushrail dev`.
    pub fn everything() -> Self {
        Interest {
            destinations: Wanted::All,
            keys: true,
            event_types: true,
            customers: true,
            payload_keys: true,
        }
    }

    /// All destinations, and the keys of payloads: the router.
    pub fn destinations() -> Self {
        Interest {
            destinations: Wanted::All,
            keys: false,
            event_types: false,
            customers: false,
            payload_keys: true,
        }
    }

    /// Destinations of one kind, and the keys of payloads: its sinks.
    pub fn kind(kind: &str) -> Self {
        Interest {
            destinations: Wanted::Kind(kind.into()),
            keys: false,
            event_types: false,
            customers: false,
            payload_keys: true,
        }
    }

    /// API keys and tenants: the audit feed.
    pub fn keys() -> Self {
        Interest {
            destinations: Wanted::None,
            keys: true,
            event_types: false,
            customers: false,
            payload_keys: false,
        }
    }

    /// The keys of payloads alone: replays.
    pub fn payload_keys() -> Self {
        Interest {
            destinations: Wanted::None,
            keys: false,
            event_types: false,
            customers: false,
            payload_keys: true,
        }
    }

    /// API keys and tenants, and what events are judged and sealed by: ingest.
    pub fn keys_and_event_types() -> Self {
        Interest {
            event_types: true,
            customers: true,
            payload_keys: true,
            ..Interest::keys()
        }
    }
}

/// What has changed. Ask the directory for what it is now.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Added or changed.
    Destination(Uuid),
    Removed(Uuid),
    /// Added, changed or removed.
    Tenant(Box<str>),
    /// Added, changed or removed; the id, not the key.
    ApiKey(Box<str>),
    /// Added, changed or removed.
    EventType {
        tenant_id: Box<str>,
        name: Box<str>,
    },
}

/// An event type as a process keeps it: under its tenant and name, so without them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EventType {
    /// JSON Schema of the payload as JSON text, where the type has one.
    pub schema: Option<Box<str>>,
}

/// What the keys of a tenant's payloads are computed from, sealed, in no order.
#[derive(Debug, Default)]
pub struct PayloadKeys(pub Vec<Arc<PayloadKey>>);

/// Why a record of the `config` topic is passed over. Never shows a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it has no key")]
    NoKey,
    #[error("its key is not UTF-8")]
    Key,
    #[error(
        "its key starts with none of tenant/, api_key/, destination/, event_type/, customer/ and payload_key/"
    )]
    Unknown,
    #[error("its key does not end in a UUID")]
    Id,
    #[error("its key does not end in a tenant and an event type")]
    EventType,
    #[error("its key does not end in a tenant and a customer")]
    Customer,
    #[error("its key does not end in a tenant, an epoch and a shard")]
    PayloadKey,
    #[error("its value is not what its key promises: {0}")]
    Value(String),
    #[error("its key and its value name different things")]
    Mismatch,
}

/// The state that the records so far add up to.
#[derive(Debug)]
pub(crate) struct Table {
    interest: Interest,
    texts: Texts,
    packed: HashMap<Uuid, Box<[u8]>>,
    /// Unpacked destinations that somebody holds.
    live: HashMap<Uuid, Weak<Destination>>,
    /// SHA-256 of an API key to its record.
    keys: HashMap<[u8; 32], ApiKey>,
    key_ids: HashMap<Box<str>, [u8; 32]>,
    tenants: HashMap<Box<str>, Arc<Tenant>>,
    /// By tenant and name.
    event_types: HashMap<Box<str>, HashMap<Box<str>, Arc<EventType>>>,
    /// All types without a schema are one.
    bare: Arc<EventType>,
    /// By tenant and customer; of few customers.
    customers: HashMap<Box<str>, HashMap<Uuid, Encryption>>,
    /// By tenant; each change makes a new list.
    payload_keys: HashMap<Box<str>, Arc<PayloadKeys>>,
    /// Destinations whose version went down: two writers who did not know of each other.
    pub(crate) rewound: u64,
}

impl Table {
    pub(crate) fn new(interest: Interest) -> Self {
        Table {
            interest,
            texts: Texts::default(),
            packed: HashMap::new(),
            live: HashMap::new(),
            keys: HashMap::new(),
            key_ids: HashMap::new(),
            tenants: HashMap::new(),
            event_types: HashMap::new(),
            bare: Arc::default(),
            customers: HashMap::new(),
            payload_keys: HashMap::new(),
            rewound: 0,
        }
    }

    /// Takes in one record, the newest of its key; `value` is `None` in a tombstone. `None` when nothing changed for us.
    pub(crate) fn apply(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        let key = std::str::from_utf8(key.ok_or(Malformed::NoKey)?).map_err(|_| Malformed::Key)?;
        if let Some(id) = key.strip_prefix(DESTINATION_PREFIX) {
            let id = Uuid::try_parse(id).map_err(|_| Malformed::Id)?;
            return self.destination_record(id, value);
        }
        if let Some(id) = key.strip_prefix(TENANT_PREFIX) {
            return self.tenant_record(id, value);
        }
        if let Some(id) = key.strip_prefix(EVENT_TYPE_PREFIX) {
            let (tenant, name) = id.split_once('/').ok_or(Malformed::EventType)?;
            return self.event_type_record(tenant, name, value);
        }
        if let Some(id) = key.strip_prefix(CUSTOMER_PREFIX) {
            let (tenant, id) = id.split_once('/').ok_or(Malformed::Customer)?;
            let id = Uuid::try_parse(id).map_err(|_| Malformed::Customer)?;
            return self.customer_record(tenant, id, value);
        }
        if let Some(id) = key.strip_prefix(PAYLOAD_KEY_PREFIX) {
            let mut parts = id.split('/');
            let (tenant, epoch, shard) = (parts.next(), parts.next(), parts.next());
            let (Some(tenant), Some(epoch), Some(shard), None) =
                (tenant, epoch, shard, parts.next())
            else {
                return Err(Malformed::PayloadKey);
            };
            let (Ok(epoch), Ok(shard)) = (epoch.parse(), shard.parse()) else {
                return Err(Malformed::PayloadKey);
            };
            return self.payload_key_record(tenant, epoch, shard, value);
        }
        match key.strip_prefix(API_KEY_PREFIX) {
            Some(id) => self.key_record(id, value),
            None => Err(Malformed::Unknown),
        }
    }

    fn destination_record(
        &mut self,
        id: Uuid,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        let Some(value) = value else {
            return Ok(self.remove_destination(id));
        };
        // Most records are of no interest to a sink; their kind is all that is read of them.
        let kind = parse::<Peek<'_>>(value)?.kind;
        match &self.interest.destinations {
            Wanted::All => {}
            Wanted::Kind(wanted) if **wanted == *kind => {}
            // What it was before, it is not any more.
            _ => return Ok(self.remove_destination(id)),
        }
        let destination: Destination = parse(value)?;
        if destination.destination_id != id {
            return Err(Malformed::Mismatch);
        }
        if !topics::is_kind(&destination.kind) {
            return Err(Malformed::Value("/kind: must be a-z, 0-9 and _".into()));
        }
        let problems = destination.problems();
        if !problems.is_empty() {
            return Err(Malformed::Value(problem::join(&problems)));
        }
        // The newest record wins even if its version is lower: a process that starts after compaction sees no other, and
        // all processes must agree.
        if self
            .destination(id)
            .is_some_and(|known| known.version > destination.version)
        {
            self.rewound += 1;
            tracing::warn!(%id, version = destination.version, "config.version_went_down");
        }
        self.packed.insert(id, pack(&destination, &mut self.texts));
        self.live.remove(&id);
        Ok(Some(Change::Destination(id)))
    }

    fn remove_destination(&mut self, id: Uuid) -> Option<Change> {
        self.live.remove(&id);
        self.packed.remove(&id).map(|_| Change::Removed(id))
    }

    fn tenant_record(
        &mut self,
        id: &str,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        if !self.interest.keys {
            return Ok(None);
        }
        match value {
            None => {
                self.tenants.remove(id);
            }
            Some(value) => {
                let tenant: Tenant = parse(value)?;
                if &*tenant.tenant_id != id {
                    return Err(Malformed::Mismatch);
                }
                if !identity::is_tenant_id(id) {
                    return Err(Malformed::Value(
                        "/tenantId: must be a-z, 0-9 and inner -".into(),
                    ));
                }
                self.tenants.insert(id.into(), Arc::new(tenant));
            }
        }
        Ok(Some(Change::Tenant(id.into())))
    }

    fn key_record(&mut self, id: &str, value: Option<&[u8]>) -> Result<Option<Change>, Malformed> {
        if !self.interest.keys {
            return Ok(None);
        }
        let new = match value {
            None => None,
            Some(value) => {
                let key: ApiKey = parse(value)?;
                let mut digest = [0; 32];
                hex::decode_to_slice(&*key.sha256, &mut digest).map_err(|_| {
                    Malformed::Value("/sha256: must be 64 hexadecimal digits".into())
                })?;
                if &*key.key_id != id {
                    return Err(Malformed::Mismatch);
                }
                Some((digest, key))
            }
        };
        if let Some(old) = self.key_ids.remove(id) {
            self.keys.remove(&old);
        }
        if let Some((digest, key)) = new {
            self.key_ids.insert(id.into(), digest);
            self.keys.insert(digest, key);
        }
        Ok(Some(Change::ApiKey(id.into())))
    }

    fn customer_record(
        &mut self,
        tenant: &str,
        id: Uuid,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        if !self.interest.customers {
            return Ok(None);
        }
        match value {
            None => {
                if let Some(customers) = self.customers.get_mut(tenant) {
                    customers.remove(&id);
                }
            }
            Some(value) => {
                let customer: Customer = parse(value)?;
                if &*customer.tenant_id != tenant || customer.customer_id != id {
                    return Err(Malformed::Mismatch);
                }
                let customers = self.customers.entry(tenant.into()).or_default();
                customers.insert(id, customer.encryption);
            }
        }
        // Asked for with each event: nobody waits for a change.
        Ok(None)
    }

    fn payload_key_record(
        &mut self,
        tenant: &str,
        epoch: u32,
        shard: u8,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        if !self.interest.payload_keys {
            return Ok(None);
        }
        let key = value.map(parse::<PayloadKey>).transpose()?;
        if let Some(key) = &key
            && (&*key.tenant_id, key.epoch, key.shard) != (tenant, epoch, shard)
        {
            return Err(Malformed::Mismatch);
        }
        let known = self.payload_keys.entry(tenant.into()).or_default();
        let others = known.0.iter();
        let others = others.filter(|known| (known.epoch, known.shard) != (epoch, shard));
        let keys = others.cloned().chain(key.map(Arc::new)).collect();
        *known = Arc::new(PayloadKeys(keys));
        Ok(None)
    }

    fn event_type_record(
        &mut self,
        tenant: &str,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<Option<Change>, Malformed> {
        if !self.interest.event_types {
            return Ok(None);
        }
        match value {
            None => {
                if let Some(types) = self.event_types.get_mut(tenant) {
                    types.remove(name);
                    if types.is_empty() {
                        self.event_types.remove(tenant);
                    }
                }
            }
            Some(value) => {
                let known: config::EventType = parse(value)?;
                if (&*known.tenant_id, &*known.name) != (tenant, name) {
                    return Err(Malformed::Mismatch);
                }
                if !identity::is_tenant_id(tenant) || identity::event_type_problem(name).is_some() {
                    return Err(Malformed::EventType);
                }
                let known = match known.schema {
                    None => Arc::clone(&self.bare),
                    Some(schema) => Arc::new(EventType {
                        schema: Some(schema.get().into()),
                    }),
                };
                let types = self.event_types.entry(tenant.into()).or_default();
                types.insert(name.into(), known);
            }
        }
        Ok(Some(Change::EventType {
            tenant_id: tenant.into(),
            name: name.into(),
        }))
    }

    /// A destination that somebody holds already; needs no change of the table.
    pub(crate) fn live(&self, id: Uuid) -> Option<Arc<Destination>> {
        self.live.get(&id)?.upgrade()
    }

    /// Unpacks a destination and shares it as long as somebody holds it.
    pub(crate) fn destination(&mut self, id: Uuid) -> Option<Arc<Destination>> {
        if let Some(live) = self.live(id) {
            return Some(live);
        }
        let destination = unpack(id, self.packed.get(&id)?, &self.texts)?;
        let destination = Arc::new(destination);
        // Keeps the map within a small factor of what is held, at a constant cost a call.
        if self.live.len() == self.live.capacity() {
            self.live.retain(|_, weak| weak.strong_count() > 0);
        }
        self.live.insert(id, Arc::downgrade(&destination));
        Some(destination)
    }

    pub(crate) fn has_destination(&self, id: Uuid) -> bool {
        self.packed.contains_key(&id)
    }

    pub(crate) fn destination_ids(&self) -> Vec<Uuid> {
        self.packed.keys().copied().collect()
    }

    pub(crate) fn destinations(&self) -> usize {
        self.packed.len()
    }

    pub(crate) fn tenant(&self, id: &str) -> Option<Arc<Tenant>> {
        self.tenants.get(id).cloned()
    }

    pub(crate) fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.tenants.values().cloned().collect()
    }

    /// The tenant of a key that is known and whose tenant exists.
    pub(crate) fn tenant_of_digest(&self, digest: &[u8; 32]) -> Option<Arc<Tenant>> {
        self.tenant(&self.keys.get(digest)?.tenant_id)
    }

    pub(crate) fn event_type(&self, tenant: &str, name: &str) -> Option<Arc<EventType>> {
        self.event_types.get(tenant)?.get(name).cloned()
    }

    pub(crate) fn encryption(&self, tenant: &str, customer: Uuid) -> Option<Encryption> {
        self.customers.get(tenant)?.get(&customer).copied()
    }

    pub(crate) fn payload_keys(&self, tenant: &str) -> Option<Arc<PayloadKeys>> {
        self.payload_keys.get(tenant).cloned()
    }

    pub(crate) fn event_types(&self) -> usize {
        self.event_types.values().map(HashMap::len).sum()
    }

    pub(crate) fn api_keys(&self) -> Vec<ApiKey> {
        self.keys.values().cloned().collect()
    }
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// Errors name the field and never its value: a record may hold what must not be logged.
fn parse<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(value).map_err(|error| {
        // Only a broken record pays for knowing where it is broken.
        let mut reader = serde_json::Deserializer::from_slice(value);
        let field = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Err(error) => error.path().to_string(),
            Ok(_) => ".".into(),
        };
        let class = match error.classify() {
            serde_json::error::Category::Data => "missing, of a wrong type or not allowed",
            _ => "no JSON",
        };
        Malformed::Value(format!("{class} at {field}, column {}", error.column()))
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
