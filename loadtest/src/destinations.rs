//! Families of webhook destinations: ids, customers, and their records on the `config` topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pushrail_kafka::partition_of;
use pushrail_schemas::config::{self, Destination, PayloadMode, RetryPolicy, State};
use pushrail_schemas::identity;
use pushrail_vault::{Aad, KeyRing};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::sample::{self, TENANT};

/// The key of every destination's signing secret: nobody here keeps secrets from anybody.
pub const SIGNING_KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// Destinations numbered from 0. Number `n` is path `/d/<n>` on its receiver.
#[derive(Clone, Debug)]
pub struct Family {
    pub ids: Vec<Uuid>,
    /// Number of the customer of each destination.
    pub customers: Vec<u32>,
    pub retry: RetryPolicy,
    pub timeout_ms: u32,
}

impl Family {
    /// `count` destinations of as many customers. `salt` tells families apart.
    pub fn new(salt: u64, count: u32) -> Self {
        Family {
            ids: (0..count)
                .map(|n| sample::destination_id(salt, n.into()))
                .collect(),
            customers: (0..count).collect(),
            retry: RetryPolicy::default(),
            timeout_ms: 5_000,
        }
    }

    /// `count` destinations whose ids all hash to `partition` of `partitions`, as Kafka's clients hash keys.
    pub fn in_partition(salt: u64, count: u32, partition: i32, partitions: i32) -> Self {
        let all = (0u64..).map(|n| sample::destination_id(salt, n));
        let here =
            all.filter(|id| partition_of(id.to_string().as_bytes(), partitions) == partition);
        Family {
            ids: here.take(count as usize).collect(),
            ..Family::new(salt, count)
        }
    }

    pub fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The numbers of a customer's destinations.
    pub fn of_customer(&self, customer: u32) -> impl Iterator<Item = u32> {
        let numbers = self
            .customers
            .iter()
            .enumerate()
            .filter(move |(_, c)| **c == customer);
        numbers.map(|(n, _)| n as u32)
    }

    /// Records for the `config` topic. `url` gives the address of each number.
    pub fn records(
        &self,
        ring: &KeyRing,
        url: impl Fn(u32) -> String,
    ) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        (0..self.len())
            .map(|n| self.record(ring, n, &url(n)))
            .collect()
    }

    fn record(&self, ring: &KeyRing, number: u32, url: &str) -> anyhow::Result<(String, Vec<u8>)> {
        let customer = sample::customer(self.customers[number as usize]);
        let name = format!("receiver {number}");
        let who = Who {
            tenant_id: TENANT,
            customer: &customer,
            id: self.ids[number as usize],
        };
        let mut destination = webhook(ring, who, &name, url)?;
        destination.retry = self.retry.clone();
        destination.timeout_ms = Some(self.timeout_ms);
        Ok((
            config::key::destination(destination.destination_id),
            serde_json::to_vec(&destination)?,
        ))
    }
}

/// Whose a destination is.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub tenant_id: &'a str,
    /// The vendor's name of its customer.
    pub customer: &'a str,
    pub id: Uuid,
}

/// A webhook that wants [`sample::EVENT_TYPE`], its secret sealed.
pub fn webhook(ring: &KeyRing, who: Who<'_>, name: &str, url: &str) -> anyhow::Result<Destination> {
    let secret = format!("whsec_{}", STANDARD.encode(SIGNING_KEY));
    let secrets = json!({ "signingSecret": secret });
    destination(ring, who, "webhook", name, &json!({ "url": url }), &secrets)
}

/// A destination of any kind that wants [`sample::EVENT_TYPE`], its secrets sealed.
pub fn destination(
    ring: &KeyRing,
    who: Who<'_>,
    kind: &str,
    name: &str,
    config: &Value,
    secrets: &Value,
) -> anyhow::Result<Destination> {
    let config = RawValue::from_string(config.to_string())?;
    let mut destination = Destination {
        destination_id: who.id,
        tenant_id: who.tenant_id.into(),
        customer_id: identity::customer_id(who.tenant_id, who.customer),
        customer_external_id: who.customer.into(),
        kind: kind.into(),
        name: name.into(),
        state: State::Active,
        version: 1,
        config,
        secrets: None,
        event_types: vec![sample::EVENT_TYPE.into()],
        filter: None,
        transform: Vec::new(),
        retry: RetryPolicy::default(),
        rate_limit: None,
        batch: None,
        payload_mode: PayloadMode::Full,
        payload_mode_inherited: false,
        timeout_ms: None,
    };
    destination.secrets = Some(ring.seal(&Aad::of(&destination), secrets.to_string().as_bytes())?);
    Ok(destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_of_one_partition_is_in_it() {
        let family = Family::in_partition(1, 20, 3, 12);
        assert_eq!(family.len(), 20);
        assert!(
            family
                .ids
                .iter()
                .all(|id| partition_of(id.to_string().as_bytes(), 12) == 3)
        );
    }

    #[test]
    fn a_record_holds_no_plain_secret() {
        let records = Family::new(0, 1)
            .records(&KeyRing::generate().unwrap(), |_| "http://x/d/0".into())
            .unwrap();
        let text = String::from_utf8(records[0].1.clone()).unwrap();
        assert!(text.contains("ciphertext") && !text.contains("whsec_"));
    }
}
