//! What travels on the compacted `config` topic: JSON, one record per thing, the newest wins, a tombstone removes.
//!
//! JSON and not Avro, because an adapter's configuration is its own (a JSON Schema that the adapter declares), and because
//! nobody outside Pushrail reads this topic. Fields may be added with a default; none changes its meaning.
//! A destination's secrets are here only as ciphertext.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::filter::Filter;
use crate::identity;
pub use crate::payload_mode::PayloadMode;
use crate::problem::Problem;
use crate::transform::{self, Transform};

/// Key prefixes on the `config` topic.
pub const TENANT_PREFIX: &str = "tenant/";
pub const API_KEY_PREFIX: &str = "api_key/";
pub const DESTINATION_PREFIX: &str = "destination/";
pub const EVENT_TYPE_PREFIX: &str = "event_type/";
pub const CUSTOMER_PREFIX: &str = "customer/";
pub const PAYLOAD_KEY_PREFIX: &str = "payload_key/";

/// Keys on the `config` topic.
pub mod key {
    use uuid::Uuid;

    pub fn tenant(tenant_id: &str) -> String {
        format!("{}{tenant_id}", super::TENANT_PREFIX)
    }

    /// By the public part of an API key.
    pub fn api_key(key_id: &str) -> String {
        format!("{}{key_id}", super::API_KEY_PREFIX)
    }

    pub fn destination(destination_id: Uuid) -> String {
        format!("{}{destination_id}", super::DESTINATION_PREFIX)
    }

    /// Neither part has a `/`.
    pub fn event_type(tenant_id: &str, name: &str) -> String {
        format!("{}{tenant_id}/{name}", super::EVENT_TYPE_PREFIX)
    }

    pub fn customer(tenant_id: &str, customer_id: Uuid) -> String {
        format!("{}{tenant_id}/{customer_id}", super::CUSTOMER_PREFIX)
    }

    pub fn payload_key(tenant_id: &str, epoch: u32, shard: u8) -> String {
        format!("{}{tenant_id}/{epoch}/{shard}", super::PAYLOAD_KEY_PREFIX)
    }
}

/// A vendor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub tenant_id: Box<str>,
    pub name: Box<str>,
    /// Whether its audit records are copied to `audit.attempts.<tenant>`, for a reader of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub audit_feed: bool,
    /// What its events are held to when they come in.
    #[serde(default, skip_serializing_if = "EventValidation::is_off")]
    pub event_validation: EventValidation,
    /// Whether the payloads of its customers' events are sealed, where a customer does not say so itself.
    #[serde(default, skip_serializing_if = "Encryption::is_off")]
    pub encryption: Encryption,
}

/// Whether payloads are sealed when they come in, so that what was erased can be read nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    #[default]
    Off,
    /// With a key of each event, which is destroyed when the event, its subject or its customer is erased.
    On,
}

impl Encryption {
    pub fn is_off(&self) -> bool {
        *self == Encryption::Off
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Encryption::Off => "off",
            Encryption::On => "on",
        }
    }
}

impl FromStr for Encryption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Encryption::Off),
            "on" => Ok(Encryption::On),
            _ => Err("must be off or on".to_owned()),
        }
    }
}

impl TryFrom<String> for Encryption {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What a customer says otherwise than its tenant. One that says nothing has no record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Customer {
    pub tenant_id: Box<str>,
    pub customer_id: Uuid,
    pub encryption: Encryption,
}

/// What keys of a tenant's events are computed from, as `pushrail-shred` has it. In epoch 0 what subjects are hashed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadKey {
    pub tenant_id: Box<str>,
    pub epoch: u32,
    pub shard: u8,
    pub sealed: Sealed,
}

impl PayloadKey {
    /// The epoch that is none: its record hashes subjects.
    pub const SUBJECTS: u32 = 0;
}

/// How a tenant's catalogue of event types judges its events as they come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventValidation {
    /// It does not.
    #[default]
    Off,
    /// The payload of a type that has a schema must satisfy it; everything else passes.
    Schema,
    /// As `schema`, and a type that is not in the catalogue is refused.
    Catalogue,
}

impl EventValidation {
    pub const ALL: [Self; 3] = [Self::Off, Self::Schema, Self::Catalogue];

    pub fn as_str(self) -> &'static str {
        match self {
            EventValidation::Off => "off",
            EventValidation::Schema => "schema",
            EventValidation::Catalogue => "catalogue",
        }
    }

    pub fn is_off(&self) -> bool {
        *self == EventValidation::Off
    }
}

impl FromStr for EventValidation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| "must be off, schema or catalogue".to_owned())
    }
}

impl TryFrom<String> for EventValidation {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A type of a tenant's catalogue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventType {
    pub tenant_id: Box<str>,
    pub name: Box<str>,
    /// JSON Schema that payloads are to satisfy, where the type has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Box<serde_json::value::RawValue>>,
}

/// A tenant's API key: the key itself is shown once and never stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Public part, safe to list and to log.
    pub key_id: Box<str>,
    pub tenant_id: Box<str>,
    /// SHA-256 of the whole key, hex.
    pub sha256: Box<str>,
}

/// Where one customer wants events, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    pub destination_id: Uuid,
    pub tenant_id: Box<str>,
    pub customer_id: Uuid,
    pub customer_external_id: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    #[serde(default)]
    pub state: State,
    /// Rises with every change of `config` or `secrets`: a new version gets a new client.
    pub version: u64,
    /// The adapter's own configuration.
    pub config: Box<serde_json::value::RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Sealed>,
    /// Exact names, `prefix.*`, or `*`.
    pub event_types: Vec<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transform: Vec<Transform>,
    #[serde(default)]
    pub retry: RetryPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Where its type sends several records in one call: how many, how large and how old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchPolicy>,
    #[serde(default)]
    pub payload_mode: PayloadMode,
    /// `payload_mode` is its customer's and changes with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload_mode_inherited: bool,
    /// Longest time one attempt may take, in milliseconds; `None` takes the adapter's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u32>,
}

impl Destination {
    /// Event type patterns of one destination.
    pub const EVENT_TYPES_MAX: usize = 100;

    /// Longest timeout that any adapter may allow.
    pub const TIMEOUT_MAX_MS: u32 = 300_000;

    /// Takes on what its customer says of payloads, where it has nothing to say itself.
    pub fn inherit_payload_mode(&mut self, customer: Option<PayloadMode>) {
        if self.payload_mode_inherited {
            self.payload_mode = customer.unwrap_or_default();
        }
    }

    /// What is wrong with it, apart from `config` and `secrets`, which are the adapter's to judge, and `payload_mode`, which
    /// is `pushrail-privacy`'s; empty when nothing is.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |field: &str, message: String| problems.push(Problem::new(field, message));
        if !identity::is_tenant_id(&self.tenant_id) {
            report(
                "/tenantId",
                "must be a-z, 0-9 and inner -, at most 63 characters".into(),
            );
        }
        if self.customer_external_id.is_empty() {
            report("/customerExternalId", "must not be empty".into());
        } else if self.customer_id
            != identity::customer_id(&self.tenant_id, &self.customer_external_id)
        {
            report(
                "/customerId",
                "does not follow from tenantId and customerExternalId".into(),
            );
        }
        if self.name.is_empty() || self.name.len() > 200 {
            report("/name", "must have 1 to 200 bytes".into());
        }
        if self.event_types.is_empty() || self.event_types.len() > Self::EVENT_TYPES_MAX {
            report(
                "/eventTypes",
                format!("must list 1 to {} patterns", Self::EVENT_TYPES_MAX),
            );
        }
        for (index, pattern) in self
            .event_types
            .iter()
            .enumerate()
            .take(Self::EVENT_TYPES_MAX)
        {
            if let Some(problem) = pattern_problem(pattern) {
                report(&format!("/eventTypes/{index}"), problem);
            }
        }
        for (field, problem) in self.retry.problems() {
            report(&format!("/retry/{field}"), problem);
        }
        if let Some(limit) = &self.rate_limit {
            for (field, problem) in limit.problems() {
                report(&format!("/rateLimit/{field}"), problem);
            }
        }
        if let Some(batch) = &self.batch {
            for (field, problem) in batch.problems() {
                report(&format!("/batch/{field}"), problem);
            }
        }
        if self
            .timeout_ms
            .is_some_and(|ms| ms == 0 || ms > Self::TIMEOUT_MAX_MS)
        {
            report(
                "/timeoutMs",
                format!("must be between 1 and {}", Self::TIMEOUT_MAX_MS),
            );
        }
        if let Some(filter) = &self.filter {
            problems.extend(filter.problems("/filter"));
        }
        problems.extend(transform::problems(&self.transform, "/transform"));
        problems
    }
}

/// What is wrong with an event type pattern: an exact name, `prefix.*`, or `*`.
fn pattern_problem(pattern: &str) -> Option<String> {
    let name = match pattern {
        "*" => return None,
        _ => pattern.strip_suffix(".*").unwrap_or(pattern),
    };
    let problem = identity::event_type_problem(name)?;
    Some(format!(
        "{problem} (patterns are exact names, `order.*` or `*`)"
    ))
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Active,
    /// Events are kept and owed until it is resumed.
    Paused,
    /// Events are skipped, and each skip is recorded.
    Disabled,
}

/// How long and how often a delivery is tried. Delays double from `initial_delay_ms` up to `max_delay_ms`, and each is
/// drawn at random below that (full jitter).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first included. 1 never retries.
    #[schemars(range(min = 1, max = 100))]
    pub max_attempts: u32,
    #[schemars(range(min = 1, max = 3_600_000))]
    pub initial_delay_ms: u64,
    #[schemars(range(min = 1, max = 21_600_000))]
    pub max_delay_ms: u64,
    /// Age since the first attempt after which no further one is made, 24 h at most.
    #[schemars(range(min = 1, max = 86_400_000))]
    pub max_age_ms: u64,
}

impl RetryPolicy {
    pub const MAX_ATTEMPTS: u32 = 100;
    pub const MAX_DELAY_MS: u64 = 6 * 3_600_000;
    pub const MAX_AGE_MS: u64 = 24 * 3_600_000;

    /// What is wrong with it, as `(field, problem)` pairs; empty when nothing is.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut range = |field, value: u64, max: u64| {
            if value == 0 || value > max {
                problems.push((field, format!("must be between 1 and {max}, not {value}")));
            }
        };
        range(
            "maxAttempts",
            self.max_attempts.into(),
            Self::MAX_ATTEMPTS.into(),
        );
        range("initialDelayMs", self.initial_delay_ms, 3_600_000);
        range("maxDelayMs", self.max_delay_ms, Self::MAX_DELAY_MS);
        range("maxAgeMs", self.max_age_ms, Self::MAX_AGE_MS);
        if self.initial_delay_ms > self.max_delay_ms {
            problems.push((
                "initialDelayMs",
                format!("must not exceed maxDelayMs ({})", self.max_delay_ms),
            ));
        }
        problems
    }
}

impl Default for RetryPolicy {
    /// Sixteen attempts over a little under a day: 2 s doubling to 6 h, half of each on average.
    fn default() -> Self {
        RetryPolicy {
            max_attempts: 16,
            initial_delay_ms: 2_000,
            max_delay_ms: Self::MAX_DELAY_MS,
            max_age_ms: Self::MAX_AGE_MS,
        }
    }
}

/// Attempts per second to one destination, with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    #[schemars(range(min = 0.01, max = 100_000.0))]
    pub per_second: f64,
    /// Attempts that may be made at once after a pause; defaults to one second's worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl RateLimit {
    pub const PER_SECOND_MIN: f64 = 0.01;
    pub const PER_SECOND_MAX: f64 = 100_000.0;
    pub const BURST_MAX: u32 = 1_000_000;

    /// What is wrong with it, as `(field, problem)` pairs; empty when nothing is.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let (min, max) = (Self::PER_SECOND_MIN, Self::PER_SECOND_MAX);
        // Written so that NaN is refused.
        if !(min..=max).contains(&self.per_second) {
            problems.push((
                "perSecond",
                format!("must be between {min} and {max}, not {}", self.per_second),
            ));
        }
        if self
            .burst
            .is_some_and(|burst| burst == 0 || burst > Self::BURST_MAX)
        {
            problems.push((
                "burst",
                format!("must be between 1 and {}", Self::BURST_MAX),
            ));
        }
        problems
    }
}

/// When a batch is sent: as soon as one of these is reached. What is not given is the destination type's own; its `limits`
/// say the most that may be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BatchPolicy {
    /// Records in one call.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u32>,
    /// Bytes in one call. A record that is larger goes alone.
    #[schemars(range(min = 1_024, max = 1_073_741_824))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u32>,
    /// How long the first record may wait for others, in milliseconds.
    #[schemars(range(max = 3_600_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u32>,
}

impl BatchPolicy {
    pub const RECORDS_MAX: u32 = 1_000_000;
    pub const BYTES_MIN: u32 = 1_024;
    pub const BYTES_MAX: u32 = 1 << 30;
    pub const AGE_MAX_MS: u32 = 3_600_000;

    /// What is wrong with it whatever its type, as `(field, problem)` pairs; empty when nothing is.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut range = |field, value: Option<u32>, min: u32, max: u32| {
            if let Some(value) = value.filter(|value| !(min..=max).contains(value)) {
                let problem = format!("must be between {min} and {max}, not {value}");
                problems.push((field, problem));
            }
        };
        range("records", self.records, 1, Self::RECORDS_MAX);
        range("bytes", self.bytes, Self::BYTES_MIN, Self::BYTES_MAX);
        range("ageMs", self.age_ms, 0, Self::AGE_MAX_MS);
        problems
    }
}

/// Ciphertext of a destination's secrets. Opens only for the same tenant, customer, destination and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Which key of the ring sealed it.
    pub key_id: Box<str>,
    /// Nonce and ciphertext with its tag, base64.
    pub ciphertext: Box<str>,
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
