//! Where on `events` a customer's records may lie.
//!
//! A customer's events share a key, and with it a partition: the one that every Kafka client of ours chooses, by murmur2 as
//! the Java clients do. Reading that one partition, and not all of them, is what makes a replay of a week's events cheap
//! enough to run beside live traffic.
//!
//! Partitions can grow, and then keys move. What was written before lies where the key belonged among as many partitions as
//! there were then. How many those were nobody wrote down; but partitions are only ever added at the end, so each
//! partition that is sure to be older than the replay's start proves the same of all before it. The records can only lie
//! where the key belongs among some number of partitions from the proven one up to today's. With traffic on all partitions
//! that is one; on a topic that is younger than the replay's start it may be all, and little to read.
//!
//! A partition is older when it has lost records to retention, or has one from before the start.

use std::collections::BTreeSet;

use pushrail_kafka::rdkafka::error::KafkaResult;
use pushrail_kafka::{Reader, partition_of};

/// The partitions of `topic` that may hold a record with `key` from `since_ms` on. `any` is for producers that choose
/// partitions in another way than ours: then all may.
pub(crate) async fn of_key(
    reader: &Reader,
    topic: &str,
    key: &[u8],
    since_ms: i64,
    any: bool,
) -> KafkaResult<BTreeSet<i32>> {
    let count = reader.partitions(topic).await?;
    if any {
        return Ok((0..count).collect());
    }
    for partition in (0..count).rev() {
        let (oldest, next) = reader.range(topic, partition).await?;
        let is_older = oldest > 0
            || next > oldest && reader.offset_at(topic, partition, since_ms).await? != Some(oldest);
        if is_older {
            return Ok(candidates(key, partition + 1, count));
        }
    }
    Ok(candidates(key, 1, count))
}

fn candidates(key: &[u8], count_min: i32, count: i32) -> BTreeSet<i32> {
    (count_min.max(1)..=count)
        .map(|count| partition_of(key, count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_never_grew_has_one_place_for_a_key() {
        assert_eq!(candidates(b"acme/c-1", 12, 12).len(), 1);
        let grown = candidates(b"acme/c-1", 12, 24);
        assert!(grown.contains(&partition_of(b"acme/c-1", 12)));
        assert!(grown.contains(&partition_of(b"acme/c-1", 24)));
        assert_eq!(candidates(b"acme/c-1", 1, 1), BTreeSet::from([0]));
    }
    #[tokio::test]
    async fn what_was_written_before_a_topic_grew_is_found() {
        use pushrail_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
        use pushrail_kafka::rdkafka::client::DefaultClientContext;
        use pushrail_kafka::rdkafka::producer::FutureRecord;
        use pushrail_kafka::rdkafka::util::Timeout;

        let cluster = pushrail_testkit::cluster().await;
        let topic = cluster.topic("grows", 2).await;
        let producer = cluster.producer();
        let keys: Vec<_> = (0..40).map(|n| format!("acme/customer-{n}")).collect();
        let write = async |producer: &pushrail_kafka::rdkafka::producer::FutureProducer| {
            let mut places = Vec::new();
            for key in &keys {
                let record = FutureRecord::to(&topic).key(key).payload("");
                let sent = producer.send(record, Timeout::Never).await.unwrap();
                places.push(sent.partition);
            }
            places
        };
        let start_ms = pushrail_clock::now_ms();
        let before = write(&producer).await;
        let reader = Reader::new(&cluster.connection(), "test").unwrap();
        let later_ms = pushrail_clock::now_ms() + 60_000;
        for (key, place) in keys.iter().zip(&before) {
            assert_eq!(partition_of(key.as_bytes(), 2), *place, "{key}");
            let found = of_key(&reader, &topic, key.as_bytes(), later_ms, false).await;
            assert_eq!(
                found.unwrap(),
                BTreeSet::from([*place]),
                "one, and the right one"
            );
        }
        let admin: AdminClient<DefaultClientContext> =
            cluster.connection().admin("test").create().unwrap();
        let grown = NewPartitions::new(&topic, 5);
        let options = AdminOptions::new();
        admin.create_partitions(&[grown], &options).await.unwrap()[0]
            .as_ref()
            .unwrap();
        pushrail_testkit::wait_for("five partitions", async || {
            (reader.partitions(&topic).await.ok()? == 5).then_some(())
        })
        .await;
        // A new client knows of them at once.
        let after = write(&cluster.producer()).await;
        assert!(after.iter().any(|place| *place >= 2));
        for ((key, before), after) in keys.iter().zip(&before).zip(&after) {
            let since = of_key(&reader, &topic, key.as_bytes(), start_ms, false);
            let since = since.await.unwrap();
            assert!(
                since.contains(before) && since.contains(after),
                "{key}: {since:?}"
            );
            let all = of_key(&reader, &topic, key.as_bytes(), start_ms, true);
            assert_eq!(all.await.unwrap().len(), 5);
        }
    }
}
