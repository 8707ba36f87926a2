//! Puts records on the `config` topic, each acknowledged before the call returns.

use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka::rdkafka::error::KafkaError;
use pushrail_kafka::rdkafka::producer::{FutureProducer, FutureRecord};
use pushrail_schemas::config::{ApiKey, Customer, Destination, EventType, PayloadKey, Tenant, key};
use pushrail_schemas::problem::{self, Problem};
use pushrail_topology::topics::{self, CONFIG};
use uuid::Uuid;

/// How long a record may take to be acknowledged.
const WITHIN: Duration = Duration::from_secs(30);

/// What may be put.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    Tenant(&'a Tenant),
    ApiKey(&'a ApiKey),
    Destination(&'a Destination),
    EventType(&'a EventType),
    Customer(&'a Customer),
    PayloadKey(&'a PayloadKey),
}

/// What may be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Tenant(Box<str>),
    ApiKey(Box<str>),
    Destination(Uuid),
    EventType {
        tenant_id: Box<str>,
        name: Box<str>,
    },
    Customer {
        tenant_id: Box<str>,
        customer_id: Uuid,
    },
    PayloadKey {
        tenant_id: Box<str>,
        epoch: u32,
        shard: u8,
    },
}

/// Why a record is not there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{}", problem::join(.0))]
    Invalid(Vec<Problem>),
    #[error("Kafka did not take the record: {0}")]
    Kafka(#[from] KafkaError),
}

/// See the module. Needs a tokio runtime.
pub struct Writer {
    producer: FutureProducer,
}

impl Writer {
    /// Connects on first use.
    pub fn connect(connection: &Connection) -> Result<Self, WriteError> {
        let mut config = connection.producer("pushrail-directory-writer");
        // A person waits for this: better an error than an hour.
        config.set("message.timeout.ms", WITHIN.as_millis().to_string());
        config.set("linger.ms", "0");
        Ok(Writer {
            producer: config.create()?,
        })
    }

    /// Puts a record and returns its offset, for [`crate::Directory::seen`]. What no reader would take is refused.
    pub async fn put(&self, record: Record<'_>) -> Result<i64, WriteError> {
        let problems = record.problems();
        if !problems.is_empty() {
            return Err(WriteError::Invalid(problems));
        }
        self.send(&record.key(), Some(&record.value())).await
    }

    /// Removes what there is under `key`, if anything.
    pub async fn remove(&self, key: &Key) -> Result<i64, WriteError> {
        self.send(key, None).await
    }

    async fn send(&self, key: &Key, value: Option<&[u8]>) -> Result<i64, WriteError> {
        let key = key.to_string();
        let record = FutureRecord {
            topic: CONFIG,
            partition: Some(0),
            payload: value,
            key: Some(&key),
            timestamp: None,
            headers: None,
        };
        match self.producer.send(record, WITHIN).await {
            Ok(delivery) => Ok(delivery.offset),
            Err((error, _)) => Err(error.into()),
        }
    }
}

impl Record<'_> {
    pub fn key(&self) -> Key {
        match self {
            Record::Tenant(tenant) => Key::Tenant(tenant.tenant_id.clone()),
            Record::ApiKey(key) => Key::ApiKey(key.key_id.clone()),
            Record::Destination(destination) => Key::Destination(destination.destination_id),
            Record::EventType(known) => Key::EventType {
                tenant_id: known.tenant_id.clone(),
                name: known.name.clone(),
            },
            Record::Customer(customer) => Key::Customer {
                tenant_id: customer.tenant_id.clone(),
                customer_id: customer.customer_id,
            },
            Record::PayloadKey(known) => Key::PayloadKey {
                tenant_id: known.tenant_id.clone(),
                epoch: known.epoch,
                shard: known.shard,
            },
        }
    }

    fn value(&self) -> Vec<u8> {
        let value = match self {
            Record::Tenant(tenant) => serde_json::to_vec(tenant),
            Record::ApiKey(key) => serde_json::to_vec(key),
            Record::Destination(destination) => serde_json::to_vec(destination),
            Record::EventType(known) => serde_json::to_vec(known),
            Record::Customer(customer) => serde_json::to_vec(customer),
            Record::PayloadKey(known) => serde_json::to_vec(known),
        };
        value.expect("configuration is plain JSON")
    }

    fn problems(&self) -> Vec<Problem> {
        let tenant_problem = |id: &str| {
            let valid = pushrail_schemas::identity::is_tenant_id(id);
            (!valid).then(|| {
                Problem::new(
                    "/tenantId",
                    "must be a-z, 0-9 and inner -, at most 63 characters",
                )
            })
        };
        match self {
            Record::Tenant(tenant) => tenant_problem(&tenant.tenant_id).into_iter().collect(),
            Record::ApiKey(key) => {
                let mut problems: Vec<_> = tenant_problem(&key.tenant_id).into_iter().collect();
                if key.key_id.is_empty() {
                    problems.push(Problem::new("/keyId", "must not be empty"));
                }
                if hex::decode(&*key.sha256).map_or(0, |digest| digest.len()) != 32 {
                    problems.push(Problem::new("/sha256", "must be 64 hexadecimal digits"));
                }
                problems
            }
            Record::Customer(customer) => tenant_problem(&customer.tenant_id).into_iter().collect(),
            Record::PayloadKey(known) => tenant_problem(&known.tenant_id).into_iter().collect(),
            Record::Destination(destination) => {
                let mut problems = destination.problems();
                if !topics::is_kind(&destination.kind) {
                    problems.push(Problem::new(
                        "/kind",
                        "must be a-z, 0-9 and _, at most 63 characters",
                    ));
                }
                problems
            }
            Record::EventType(known) => {
                let mut problems: Vec<_> = tenant_problem(&known.tenant_id).into_iter().collect();
                if let Some(problem) = pushrail_schemas::identity::event_type_problem(&known.name) {
                    problems.push(Problem::new("/name", problem));
                }
                problems
            }
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Tenant(id) => f.write_str(&key::tenant(id)),
            Key::ApiKey(id) => f.write_str(&key::api_key(id)),
            Key::Destination(id) => f.write_str(&key::destination(*id)),
            Key::EventType { tenant_id, name } => f.write_str(&key::event_type(tenant_id, name)),
            Key::Customer {
                tenant_id,
                customer_id,
            } => f.write_str(&key::customer(tenant_id, *customer_id)),
            Key::PayloadKey {
                tenant_id,
                epoch,
                shard,
            } => f.write_str(&key::payload_key(tenant_id, *epoch, *shard)),
        }
    }
}
