//! The mover between real topics.

use std::time::Duration;

use pushrail_clock::Clock;
use pushrail_obs::{Health, Metrics};
use pushrail_retry::{Settings, hop};
use pushrail_testkit::{Cluster, Record, headers, wait_until};
use pushrail_topology::{TIERS, topics};
use tokio_util::sync::CancellationToken;

struct Mover {
    metrics: Metrics,
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Mover {
    fn start(cluster: &Cluster) -> Mover {
        let mut settings = Settings::new(cluster.connection());
        // Or librdkafka alone would wait half a minute for a topic that does not exist.
        let patience = ("topic.metadata.propagation.max.ms".into(), "200".into());
        settings.connection.properties.extend([patience]);
        let (metrics, health, shutdown) = (Metrics::new(), Health::new(), CancellationToken::new());
        let running = tokio::spawn({
            let (metrics, shutdown) = (metrics.clone(), shutdown.clone());
            async move { pushrail_retry::run(settings, &metrics, &health, shutdown).await }
        });
        Mover {
            metrics,
            shutdown,
            running,
        }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.expect("it drains");
    }

    /// The value of the first metric line that starts so.
    fn metric(&self, start: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find(|line| line.starts_with(start));
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
        value.unwrap_or(-1.0)
    }
}

/// A cluster with the tiers and the topics of one kind.
async fn cluster() -> Cluster {
    let cluster = Cluster::private().await;
    let fixed = TIERS.iter().map(|tier| tier.topic.to_owned());
    let of_kind = [
        topics::deliver("webhook"),
        topics::dlq("webhook"),
        topics::DLQ_EVENTS.into(),
    ];
    for topic in fixed.chain(of_kind) {
        cluster.create(&topic, 4, &[]).await;
    }
    cluster
}

fn now_ms() -> i64 {
    Clock::process().now_ms()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.value.clone().unwrap_or_default()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_comes_back_as_it_went_and_not_before_its_time() {
    let cluster = cluster().await;
    let mover = Mover::start(&cluster);
    let began = now_ms();
    let mut expected = Vec::new();
    // Due with the tier, between two tiers, after several hops; and one that should never have been here.
    for wait_ms in [0, 900, 1_700, 3_000, 5_600] {
        let not_before = (began + wait_ms).to_string();
        let pairs = [
            ("delivery_id", "b6f7"),
            ("kind", "webhook"),
            ("attempt", "2"),
            ("not_before", &not_before),
            ("unknown", "kept"),
            ("empty", ""),
        ];
        let value = format!("\0\u{1f980} {wait_ms}");
        let key = format!("destination-{wait_ms}");
        let tier = hop::next_hop(began, began + wait_ms);
        let topic = match tier {
            hop::Hop::Deliver => TIERS[0].topic,
            hop::Hop::Tier(tier) => tier.topic,
        };
        cluster
            .produce(topic, &key, value.as_bytes(), headers(&pairs))
            .await;
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        expected.push((key, value, pairs, began + wait_ms));
    }
    let records = cluster
        .read(&topics::deliver("webhook"), expected.len())
        .await;
    for (key, value, pairs, not_before) in &expected {
        let record = records
            .iter()
            .find(|record| text(record) == *value)
            .expect(value);
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(record.headers, pairs.to_vec());
        let late_ms = record.timestamp_ms - not_before;
        assert!(
            late_ms >= -hop::SLACK_MS,
            "{value}: {} ms too early",
            -late_ms
        );
        assert!(late_ms < 10_000, "{value}: {late_ms} ms too late");
    }
    assert_eq!(
        mover.metric("pushrail_retry_moved_records_total{tier=\"5s\",hop=\"deliver\"}"),
        1.0
    );
    mover.stop().await;
    for tier in &TIERS[..2] {
        let bytes = cluster.read_all(tier.topic).await;
        assert!(
            bytes
                .iter()
                .all(|r| expected.iter().any(|(_, value, ..)| *value == text(r)))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_placed_is_a_dead_letter_and_stops_nobody() {
    let cluster = cluster().await;
    let mover = Mover::start(&cluster);
    let bad: [(&str, &[(&str, &str)]); 4] = [
        ("no kind", &[("not_before", "0")]),
        ("no topic's name", &[("kind", "Web/Hook")]),
        ("no time", &[("kind", "webhook"), ("not_before", "soon")]),
        ("nobody's kind", &[("kind", "nosuch"), ("not_before", "0")]),
    ];
    for (value, pairs) in bad {
        cluster
            .produce(TIERS[0].topic, value, value.as_bytes(), headers(pairs))
            .await;
    }
    let good = headers(&[("kind", "webhook"), ("not_before", "0")]);
    for at in 0..40 {
        let key = format!("key-{at}");
        cluster
            .produce(TIERS[0].topic, &key, b"good", good.clone())
            .await;
    }
    let delivered = cluster.read(&topics::deliver("webhook"), 40).await;
    assert!(delivered.iter().all(|record| text(record) == "good"));
    let of_kind = cluster.read(&topics::dlq("webhook"), 1).await;
    assert_eq!(text(&of_kind[0]), "no time");
    let mut of_none = cluster.read(topics::DLQ_EVENTS, 3).await;
    of_none.sort_by_key(text);
    let shown = |record: &Record, name| record.header(name).unwrap_or("absent").to_owned();
    let codes: Vec<_> = of_none
        .iter()
        .map(|r| (text(r), shown(r, "failure_code")))
        .collect();
    let expected = [
        ("no kind", "kind_unreadable"),
        ("no topic's name", "kind_unreadable"),
        ("nobody's kind", "topic_missing"),
    ];
    assert_eq!(codes, expected.map(|(v, c)| (v.to_owned(), c.to_owned())));
    for record in of_none.iter().chain(&of_kind) {
        assert!(shown(record, "failure_source").starts_with("retry.1s/"));
        assert!(shown(record, "failed_at").parse::<i64>().is_ok());
        assert!(["undecodable", "permanent"].contains(&shown(record, "failure_reason").as_str()));
    }
    assert_eq!(
        of_none[2].header("kind"),
        Some("nosuch"),
        "its own headers are kept"
    );
    wait_until("the metric", || {
        mover.metric("pushrail_retry_moved_records_total{tier=\"1s\",hop=\"dead\"}") >= 4.0
    })
    .await;
    mover.stop().await;
    assert_eq!(
        cluster.read_all(&topics::deliver("webhook")).await.len(),
        40
    );
}

/// `PUSHRAIL_TEST_RATE` (records a second) and `PUSHRAIL_TEST_SECONDS` make a measurement of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_steady_stream_through_the_shortest_tier_is_moved_in_time() {
    let setting = |name: &str, default| {
        let value = std::env::var(name).ok();
        value.map_or(default, |value| value.parse().expect("a number"))
    };
    let rate: usize = setting("PUSHRAIL_TEST_RATE", 1_000);
    let count = rate * setting("PUSHRAIL_TEST_SECONDS", 5);
    let keys = setting("PUSHRAIL_TEST_KEYS", 100);
    let cluster = cluster().await;
    let mover = Mover::start(&cluster);
    wait_until("the mover to have partitions", || {
        mover.metric("pushrail_retry_partitions") >= 28.0
    })
    .await;
    let producer = cluster.producer();
    let value = vec![b'x'; 1_024];
    let mut timer = tokio::time::interval(Duration::from_millis(10));
    let (began, mut sent) = (tokio::time::Instant::now(), Vec::with_capacity(count));
    while sent.len() < count {
        timer.tick().await;
        let due = (began.elapsed().as_secs_f64() * rate as f64) as usize;
        while sent.len() < due.min(count) {
            let key = (sent.len() % keys).to_string();
            let not_before = (now_ms() + 1_000).to_string();
            let record = pushrail_kafka::rdkafka::producer::FutureRecord::to(TIERS[0].topic)
                .key(&key)
                .payload(&value)
                .headers(headers(&[("kind", "webhook"), ("not_before", &not_before)]));
            sent.push(
                producer
                    .send_result(record)
                    .unwrap_or_else(|(error, _)| panic!("{error}")),
            );
        }
    }
    for delivery in sent {
        delivery.await.expect("answered").expect("acknowledged");
    }
    let records = cluster.read(&topics::deliver("webhook"), count).await;
    let mut late: Vec<i64> = records
        .iter()
        .map(|r| {
            r.timestamp_ms
                - r.header("not_before")
                    .expect("a time")
                    .parse::<i64>()
                    .expect("a number")
        })
        .collect();
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize];
    println!(
        "paused {} times",
        mover.metric("pushrail_retry_pauses_total")
    );
    println!(
        "{rate}/s: late by p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    mover.stop().await;
    assert_eq!(
        cluster.read_all(&topics::deliver("webhook")).await.len(),
        count,
        "nothing twice"
    );
    assert!(
        at(0.5) < 2_000,
        "half of them are late by more than {} ms",
        at(0.5)
    );
}
