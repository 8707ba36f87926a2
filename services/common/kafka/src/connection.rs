//! From settings to client configurations.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::property::spelling;

/// How to reach a Kafka cluster.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// `host:port`, comma separated.
    pub bootstrap: String,
    /// Any librdkafka property; wins over what Pushrail sets.
    pub properties: BTreeMap<String, String>,
}

impl Connection {
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Connection {
            bootstrap: bootstrap.into(),
            properties: BTreeMap::new(),
        }
    }

    /// A producer whose acknowledgement means durable, and which repeats nothing and reorders nothing by itself.
    pub fn producer(&self, client_id: &str) -> ClientConfig {
        self.configured(client_id, |config| {
            config
                .set("acks", "all")
                .set("enable.idempotence", "true")
                // The same partitions as the Java clients choose, so that vendors and tools can find a key.
                .set("partitioner", "murmur2_random")
                // What topics.toml allows a record to have; librdkafka alone would refuse more than 1,000,000 bytes.
                .set("message.max.bytes", "2097152")
                .set("linger.ms", "2")
                // A broker pays more for writing, replicating and reading a kilobyte than lz4 costs, and a fan-out writes the
                // same payload many times into one batch.
                .set("compression.type", "lz4")
                .set("batch.num.messages", "10000")
                .set("queue.buffering.max.messages", "100000")
                .set("queue.buffering.max.kbytes", "131072")
                // For ever: whoever sends decides when to give up, and most must not.
                .set("message.timeout.ms", "0")
                .set("topic.metadata.refresh.interval.ms", "30000");
        })
    }

    /// As [`Connection::producer`], for records that nobody waits for: each may wait `linger` for others of its batch, since
    /// a batch costs the broker as much as one record. The operator's `linger.ms` wins.
    pub fn batching_producer(&self, client_id: &str, linger: Duration) -> ClientConfig {
        let mut config = self.producer(client_id);
        if !self
            .properties
            .keys()
            .any(|name| spelling(name) == "linger.ms")
        {
            config.set("linger.ms", linger.as_millis().to_string());
        }
        config
    }

    /// A member of a consumer group that commits by itself. The figures keep its memory bounded and its takeover fast:
    /// measured at 100 partitions, 14 MiB prefetched and 200 MiB drained in 0.4 s.
    pub fn consumer(&self, group: &str, client_id: &str) -> ClientConfig {
        self.configured(client_id, |config| {
            config
                .set("group.id", group)
                .set("group.protocol", "consumer")
                .set("auto.offset.reset", "earliest")
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false");
            Self::bounded_fetch(config);
            // The classic protocol, where an operator asks for it, hands partitions over one by one too.
            if self
                .properties
                .get("group.protocol")
                .is_some_and(|p| p == "classic")
            {
                config.set("partition.assignment.strategy", "cooperative-sticky");
            }
        })
    }

    /// A reader without a group: it assigns itself what it wants to read.
    pub fn reader(&self, client_id: &str) -> ClientConfig {
        self.configured(client_id, |config| {
            // librdkafka wants a group id for a consumer, even for one that never joins or commits.
            config
                .set("group.id", format!("{client_id}-unused"))
                .set("enable.auto.commit", "false")
                .set("auto.offset.reset", "earliest")
                .set("enable.partition.eof", "true");
            Self::bounded_fetch(config);
            config.remove("group.protocol");
        })
    }

    /// A client for administration.
    pub fn admin(&self, client_id: &str) -> ClientConfig {
        self.configured(client_id, |_| {})
    }

    fn bounded_fetch(config: &mut ClientConfig) {
        config
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.max.bytes", "4194304")
            .set("receive.message.max.bytes", "5000000")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.wait.max.ms", "500")
            .set("topic.metadata.refresh.interval.ms", "5000");
    }

    fn configured(&self, client_id: &str, set: impl FnOnce(&mut ClientConfig)) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", client_id);
        config
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000");
        set(&mut config);
        for (name, value) in &self.properties {
            config.set(spelling(name), value);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_says_wins() {
        let mut connection = Connection::new("127.0.0.1:9092");
        let linger = Duration::from_millis(50);
        let ours = connection.batching_producer("x", linger);
        assert_eq!(ours.get("linger.ms"), Some("50"));
        assert_eq!(ours.get("compression.type"), Some("lz4"));
        for (name, value) in [
            ("queue.buffering.max.ms", "1"),
            ("compression.codec", "none"),
        ] {
            connection.properties.insert(name.into(), value.into());
        }
        let theirs = connection.batching_producer("x", linger);
        assert_eq!(theirs.get("linger.ms"), Some("1"));
        assert_eq!(theirs.get("compression.type"), Some("none"));
    }
}
