//! A tenant with its topics, and vendors with stock clients.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushrail_kafka::Connection;
use pushrail_kafka_access::{
    Access, Grant, Listener, Password, User, java_properties, librdkafka_properties,
};
use pushrail_testkit::{Cluster, WITHIN, cluster, headers, wait_for};
use pushrail_topology::topics;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{FromClientConfigAndContext as _, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::time::Instant;

/// A tenant that nobody else uses.
pub(crate) struct Bed {
    pub(crate) cluster: &'static Cluster,
    pub(crate) access: Access,
    pub(crate) tenant: String,
}

impl Bed {
    pub(crate) async fn start() -> Bed {
        let cluster = cluster().await;
        assert!(
            !cluster.sasl_bootstrap.is_empty(),
            "PUSHRAIL_TEST_KAFKA_SASL names a listener"
        );
        let bed = Bed {
            cluster,
            access: Access::connect(&cluster.connection()).unwrap(),
            tenant: cluster.unique("t"),
        };
        cluster.create(&bed.direct(), 1, &[]).await;
        cluster.create(&bed.audit(), 1, &[]).await;
        bed
    }

    pub(crate) fn direct(&self) -> String {
        topics::direct(&self.tenant)
    }

    pub(crate) fn audit(&self) -> String {
        topics::audit(&self.tenant)
    }

    pub(crate) async fn publish_audit(&self) {
        let topic = self.audit();
        self.cluster.produce(&topic, "k", b"v", headers(&[])).await;
    }

    pub(crate) async fn vendor(&self, write_direct: bool, read_audit: bool) -> Vendor {
        let user = User::draw(&self.tenant).unwrap();
        let grant = grant(&user, write_direct, read_audit);
        let password = self.access.grant(&grant).await.unwrap();
        Vendor {
            grant: Some(grant),
            ..Vendor::new(self.cluster, &user, &password)
        }
    }
}

pub(crate) fn grant(user: &User, write_direct: bool, read_audit: bool) -> Grant {
    Grant {
        user: user.clone(),
        write_direct,
        read_audit,
        producer_bytes_per_s: 10_000_000,
        consumer_bytes_per_s: 10_000_000,
    }
}

/// Whether Kafka, and not the client, said no.
pub(crate) fn refused<T>(outcome: Result<T, Code>) -> bool {
    matches!(
        outcome,
        Err(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)
    )
}

/// Somebody with a credential.
pub(crate) struct Vendor {
    pub(crate) user: User,
    pub(crate) password: String,
    pub(crate) grant: Option<Grant>,
    /// What was drawn for it, as a stand-in for whatever shows a password.
    pub(crate) drawn: String,
    /// A file for Java clients.
    pub(crate) java: String,
    config: ClientConfig,
}

impl Vendor {
    pub(crate) fn new(cluster: &Cluster, user: &User, password: &Password) -> Vendor {
        let listener = Listener {
            bootstrap: &cluster.sasl_bootstrap,
            tls: false,
        };
        let text = librdkafka_properties(listener, user, password);
        let mut config = ClientConfig::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap();
            config.set(name, value);
        }
        config
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "100");
        Vendor {
            user: user.clone(),
            password: password.expose().to_owned(),
            grant: None,
            drawn: format!("{password:?}"),
            java: java_properties(listener, user, password).to_string(),
            config,
        }
    }

    /// A group that is the vendor's.
    pub(crate) fn group(&self) -> String {
        format!("{}own", self.user.group_prefix())
    }

    pub(crate) fn connection(&self) -> Connection {
        let name = |name: &str| self.config.get(name).unwrap().to_owned();
        let mut connection = Connection::new(name("bootstrap.servers"));
        let properties = [
            "security.protocol",
            "sasl.mechanism",
            "sasl.username",
            "sasl.password",
        ];
        let properties = properties.map(|property| (property.to_owned(), name(property)));
        connection.properties.extend(properties);
        connection
    }

    fn with(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config.clone();
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config
    }

    pub(crate) fn producer(&self, properties: &[(&str, &str)]) -> Producer {
        let config = self.with(&[&[("message.timeout.ms", "60000")], properties].concat());
        let client = BaseProducer::from_config_and_context(&config, Watched::default());
        Producer(Arc::new(client.unwrap()))
    }

    pub(crate) fn consumer(&self, group: &str, properties: &[(&str, &str)]) -> Consumer {
        let ours = [
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("fetch.wait.max.ms", "100"),
        ];
        let config = self.with(&[&ours, properties].concat());
        let client = BaseConsumer::from_config_and_context(&config, Watched::default());
        Consumer(Arc::new(client.unwrap()))
    }

    /// Whether a new connection is let in.
    pub(crate) async fn logs_in(&self) -> bool {
        let producer = self.producer(&[]);
        wait_for("an answer to logging in", async || {
            producer.0.poll(Duration::ZERO);
            if producer.complaints().contains(&Code::Authentication) {
                return Some(false);
            }
            let client = producer.0.clone();
            let ask = move || {
                client
                    .client()
                    .fetch_metadata(None, Duration::from_millis(200))
            };
            let asked = tokio::task::spawn_blocking(ask).await.unwrap();
            asked.is_ok().then_some(true)
        })
        .await
    }

    /// Every topic that Kafka shows.
    pub(crate) async fn topics(&self) -> Vec<String> {
        let client = self.producer(&[]).0;
        let ask = move || client.client().fetch_metadata(None, WITHIN);
        let metadata = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
        let topics = metadata.topics().iter();
        let names: BTreeSet<String> = topics.map(|topic| topic.name().to_owned()).collect();
        names.into_iter().collect()
    }

    pub(crate) async fn create_topic(&self, topic: &str) -> Result<(), Code> {
        let admin: AdminClient<DefaultClientContext> = self.config.create().unwrap();
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        let created = admin.create_topics([&new], &AdminOptions::new()).await;
        let result = created.unwrap().remove(0);
        result.map(|_| ()).map_err(|(_, code)| code)
    }

    pub(crate) async fn begin_transaction(&self, id: &str) -> Result<(), Code> {
        let client = self.producer(&[("transactional.id", id)]).0;
        let begin = move || client.init_transactions(WITHIN);
        let begun = tokio::task::spawn_blocking(begin).await.unwrap();
        begun.map_err(|error| error.rdkafka_error_code().unwrap())
    }
}

/// Writes one record after the other.
pub(crate) struct Producer(Arc<BaseProducer<Watched>>);

impl Producer {
    pub(crate) async fn send(&self, topic: &str) -> Result<(), Code> {
        let (client, topic) = (self.0.clone(), topic.to_owned());
        let send = move || {
            let record =
                BaseRecord::<(), [u8], Box<Delivered>>::with_opaque_to(&topic, Box::default());
            let delivered = record.delivery_opaque.clone();
            client
                .send(record.payload(b"v"))
                .map_err(|(e, _)| e)
                .unwrap();
            loop {
                client.poll(Duration::from_millis(5));
                if let Some(result) = delivered.lock().unwrap().take() {
                    return result;
                }
            }
        };
        tokio::task::spawn_blocking(send).await.unwrap()
    }

    pub(crate) fn complaints(&self) -> Vec<Code> {
        self.0.poll(Duration::ZERO);
        self.0.context().0.lock().unwrap().clone()
    }
}

/// Reads one record after the other.
pub(crate) struct Consumer(Arc<BaseConsumer<Watched>>);

impl Consumer {
    pub(crate) fn subscribe(&self, topic: &str) {
        self.0.subscribe(&[topic]).unwrap();
    }

    /// Without a group.
    pub(crate) fn assign(&self, topic: &str) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning)
            .unwrap();
        self.0.assign(&list).unwrap();
    }

    /// The next record, or the first error that comes before.
    pub(crate) async fn record(&self) -> Result<(), Code> {
        let client = self.0.clone();
        let read = move || {
            let until = Instant::now() + WITHIN;
            loop {
                match client.poll(Duration::from_millis(100)) {
                    Some(Ok(_)) => return Ok(()),
                    Some(Err(error)) => return Err(error.rdkafka_error_code().unwrap()),
                    None => assert!(Instant::now() < until, "neither a record nor an error"),
                }
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// The next error; a record before it is one too many.
    pub(crate) async fn error(&self) -> Result<(), Code> {
        let next = self.record().await;
        assert!(next.is_err(), "a record was read");
        next
    }

    pub(crate) async fn commit(&self) -> Result<(), KafkaError> {
        let client = self.0.clone();
        let commit = move || client.commit_consumer_state(CommitMode::Sync);
        tokio::task::spawn_blocking(commit).await.unwrap()
    }
}

type Delivered = Arc<Mutex<Option<Result<(), Code>>>>;

/// A wrong password shows nowhere but here.
#[derive(Default)]
struct Watched(Mutex<Vec<Code>>);

impl ClientContext for Watched {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, _: &str) {
        self.0.lock().unwrap().extend(error.rdkafka_error_code());
    }
}

impl ConsumerContext for Watched {}

impl ProducerContext for Watched {
    type DeliveryOpaque = Box<Delivered>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivered: Box<Delivered>) {
        let result = result.as_ref().map(|_| ());
        let result = result.map_err(|(error, _)| error.rdkafka_error_code().unwrap());
        *delivered.lock().unwrap() = Some(result);
    }
}
