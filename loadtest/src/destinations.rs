//! Families of webhook destinations: ids, customers, and their records on the `config` topic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pushrail_schemas::config::{self, Destination, PayloadMode, RetryPolicy, State};
use pushrail_schemas::identity;
use pushrail_vault::{Aad, KeyRing};
use serde_json::value::RawValue;
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
    let config = RawValue::from_string(serde_json::json!({ "url": url }).to_string())?;
    let mut destination = Destination {
        destination_id: who.id,
        tenant_id: who.tenant_id.into(),
        customer_id: identity::customer_id(who.tenant_id, who.customer),
        customer_external_id: who.customer.into(),
        kind: "webhook".into(),
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
        payload_mode: PayloadMode::Full,
        payload_mode_inherited: false,
        timeout_ms: None,
    };
    let secret = format!("whsec_{}", STANDARD.encode(SIGNING_KEY));
    let secrets = serde_json::json!({ "signingSecret": secret }).to_string();
    destination.secrets = Some(ring.seal(&Aad::of(&destination), secrets.as_bytes())?);
    Ok(destination)
}

/// The partition that `partitioner=murmur2_random` and Java's clients choose for a key.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) % partitions as u32) as i32
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |rest, byte| rest << 8 | u32::from(*byte));
        hash = (hash ^ rest).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_kafkas() {
        // From Kafka's own UtilsTest.testMurmur2.
        for (text, hash) in [
            ("21", -973_932_308i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

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
