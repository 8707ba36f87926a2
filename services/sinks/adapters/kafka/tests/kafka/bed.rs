//! A broker with listeners of every kind, users, topics, and destinations there.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use pushrail_conformance::Given;
pub(crate) use pushrail_conformance::{send_within, verdicts};
use pushrail_kafka_destination::{Client, Kafka};
use pushrail_servers::kafka::Listener;
use pushrail_servers::{Artifacts, Java, ports};
use pushrail_sink_core::{Context, Outcome, Record};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

pub(crate) const PASSWORD: &str = "s3cret-of-a-producer";

/// The broker that the tests of this file share; whoever stops one has one of its own.
pub(crate) async fn bed() -> &'static Bed {
    static SHARED: OnceCell<Bed> = OnceCell::const_new();
    SHARED.get_or_init(Bed::start).await
}

pub(crate) struct Bed {
    pub(crate) kafka: pushrail_servers::Kafka,
    /// In clear, and told to its clients as [`Bed::proxy_port`].
    pub(crate) proxied: SocketAddr,
    pub(crate) proxy_port: u16,
    /// In clear, and told to its clients as [`Bed::lure`].
    pub(crate) astray: SocketAddr,
    pub(crate) lure: SocketAddr,
    /// TLS, by every mechanism.
    pub(crate) secure: u16,
    /// TLS, with a certificate or without.
    pub(crate) tls: u16,
    /// TLS, with a certificate.
    pub(crate) mutual: u16,
    /// TLS, with a certificate for a name that nobody uses.
    pub(crate) misnamed: u16,
    pub(crate) authority: Authority,
    pub(crate) other_authority: Authority,
    _folder: tempfile::TempDir,
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

impl Bed {
    pub(crate) async fn start() -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let (authority, other_authority) = (Authority::new("ours"), Authority::new("another"));
        let port = || ports::claim("Kafka", 0).unwrap();
        let [
            proxied,
            proxy_port,
            astray,
            lure,
            secure,
            tls,
            mutual,
            misnamed,
        ] = std::array::from_fn(|_| port());
        // Nobody may connect here; a test listens there all the same.
        let lure: SocketAddr = ([127, 0, 0, 2], lure).into();
        let listener = |name: &str, protocol, port, advertised: String| Listener {
            name: name.to_owned(),
            protocol,
            port,
            advertised,
        };
        let local = |port| format!("localhost:{port}");
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut builder = pushrail_servers::Kafka::builder(folder.path().join("kafka"))
            .heap_mib(448)
            .listener(listener(
                "PROXIED",
                "PLAINTEXT",
                proxied,
                at(proxy_port).to_string(),
            ))
            .listener(listener("ASTRAY", "PLAINTEXT", astray, lure.to_string()))
            .listener(listener("SECURE", "SASL_SSL", secure, local(secure)))
            .listener(listener("TLS", "SSL", tls, local(tls)))
            .listener(listener("MUTUAL", "SSL", mutual, local(mutual)))
            .listener(listener("MISNAMED", "SSL", misnamed, local(misnamed)));
        for (name, value) in properties(folder.path(), &authority) {
            builder = builder.property(name, value);
        }
        let bed = Bed {
            kafka: builder.start().await.expect("Kafka starts"),
            proxied: at(proxied),
            proxy_port,
            astray: at(astray),
            lure,
            secure,
            tls,
            mutual,
            misnamed,
            authority,
            other_authority,
            _folder: folder,
        };
        tokio::join!(
            bed.set_password("SCRAM-SHA-256", "scram", PASSWORD),
            bed.set_password("SCRAM-SHA-512", "scram", PASSWORD),
        );
        bed
    }

    /// Of the internal listener, on which everybody may do everything.
    pub(crate) fn bootstrap(&self) -> String {
        self.kafka.bootstrap()
    }

    pub(crate) async fn set_password(&self, mechanism: &str, user: &str, password: &str) {
        let config = format!("{mechanism}=[password={password}]");
        let arguments = [
            "--alter",
            "--entity-type",
            "users",
            "--entity-name",
            user,
            "--add-config",
            &config,
        ];
        self.tool("kafka.admin.ConfigCommand", &arguments).await;
    }

    pub(crate) async fn acls(&self, arguments: &[&str]) {
        self.tool("org.apache.kafka.tools.AclCommand", arguments)
            .await;
    }

    /// One of Kafka's own tools; what it prints.
    pub(crate) async fn tool(&self, class: &str, arguments: &[&str]) -> String {
        self.tool_fed(class, arguments, "").await
    }

    /// The same, with something to read.
    pub(crate) async fn tool_fed(&self, class: &str, arguments: &[&str], input: &str) -> String {
        let (java, artifacts) = (Java::find().unwrap(), Artifacts::find_or_fetch().unwrap());
        let mut command = java.command();
        command.args([
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
        ]);
        command.arg(artifacts.kafka_class_path());
        command.args([class, "--bootstrap-server", &self.bootstrap()]);
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            child.wait_with_output().unwrap()
        });
        let output = output.await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{class}: {out}{err}");
        out
    }

    /// Makes a topic with a name of its own.
    pub(crate) async fn topic(&self, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = format!("t-{}", Uuid::new_v4().simple());
        make(&self.bootstrap(), &name, partitions, config).await;
        name
    }

    pub(crate) async fn read(&self, topic: &str) -> Vec<Arrived> {
        read(self.bootstrap(), topic.to_owned()).await
    }

    /// A destination in clear.
    pub(crate) fn clear(&self, topic: &str) -> Given {
        Given {
            config: json!({"bootstrapServers": self.bootstrap(), "topic": topic, "tls": "off"}),
            secrets: json!({}),
        }
    }

    /// A destination with TLS.
    pub(crate) fn with_tls(&self, port: u16, topic: &str) -> Given {
        Given {
            config: json!({
                "bootstrapServers": format!("localhost:{port}"),
                "topic": topic,
                "caCertificates": self.authority.pem,
            }),
            secrets: json!({}),
        }
    }

    /// A destination with TLS and a user.
    pub(crate) fn as_user(&self, mechanism: &str, user: &str, topic: &str) -> Given {
        let mut given = self.with_tls(self.secure, topic);
        given.config["authentication"] = json!({"type": mechanism, "username": user});
        given.secrets["password"] = json!(PASSWORD);
        given
    }
}

fn properties(folder: &Path, authority: &Authority) -> BTreeMap<String, String> {
    let write = |name: &str, text: String| -> String {
        let path: PathBuf = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let store = |(certificate, key): (String, String)| format!("{key}{certificate}");
    let local = write("localhost.pem", store(authority.sign("localhost")));
    let other = write("elsewhere.pem", store(authority.sign("elsewhere.example")));
    let trusted = write("authority.pem", authority.pem.clone());
    let mut all = BTreeMap::new();
    for (listener, store, clients) in [
        ("secure", &local, "none"),
        ("tls", &local, "requested"),
        ("mutual", &local, "required"),
        ("misnamed", &other, "none"),
    ] {
        for (name, value) in [
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", store),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &trusted),
            ("ssl.client.auth", clients),
        ] {
            all.insert(format!("listener.name.{listener}.{name}"), value.to_owned());
        }
    }
    let common = "org.apache.kafka.common.security";
    let plain =
        format!("user_plain=\"{PASSWORD}\" user_poor=\"{PASSWORD}\" user_old=\"{PASSWORD}\"");
    for (name, value) in [
        (
            "sasl.enabled.mechanisms",
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        ),
        (
            "plain.sasl.jaas.config",
            format!("{common}.plain.PlainLoginModule required {plain};"),
        ),
        (
            "scram-sha-256.sasl.jaas.config",
            format!("{common}.scram.ScramLoginModule required;"),
        ),
        (
            "scram-sha-512.sasl.jaas.config",
            format!("{common}.scram.ScramLoginModule required;"),
        ),
        (
            "oauthbearer.sasl.jaas.config",
            format!(
                "{common}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
            ),
        ),
        // Tokens are not signed here, but their times are judged.
        (
            "oauthbearer.sasl.server.callback.handler.class",
            format!(
                "{common}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
            ),
        ),
    ] {
        all.insert(format!("listener.name.secure.{name}"), value);
    }
    // Who is let in by a listener may do everything, but for those that the tests give rights to.
    let users = ["ANONYMOUS", "plain", "scram", "oauth", "CN=mutual"];
    let users: Vec<_> = users.iter().map(|user| format!("User:{user}")).collect();
    all.insert("super.users".into(), users.join(";"));
    all
}

pub(crate) async fn make(bootstrap: &str, topic: &str, partitions: i32, config: &[(&str, &str)]) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", bootstrap);
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    for (name, value) in config {
        new = new.set(name, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let made = admin.create_topics(&[new], &options).await.unwrap();
    made.into_iter().for_each(|made| _ = made.unwrap());
}

/// What a stock client reads.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: Value,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Arrived {
    pub(crate) fn id(&self) -> Uuid {
        self.headers["event_id"].parse().unwrap()
    }
}

/// Everything that is in a topic, partition by partition.
pub(crate) async fn read(bootstrap: String, topic: String) -> Vec<Arrived> {
    tokio::task::spawn_blocking(move || read_now(&bootstrap, &topic))
        .await
        .unwrap()
}

fn read_now(bootstrap: &str, topic: &str) -> Vec<Arrived> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "unused");
    config.set("fetch.wait.max.ms", "10");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let (mut all, mut left) = (Vec::new(), BTreeMap::new());
    let mut assignment = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition.id(), PATIENCE)
            .unwrap();
        if end > 0 {
            left.insert(partition.id(), end);
            let offset = Offset::Beginning;
            assignment
                .add_partition_offset(topic, partition.id(), offset)
                .unwrap();
        }
    }
    consumer.assign(&assignment).unwrap();
    while !left.is_empty() {
        let message = consumer
            .poll(PATIENCE)
            .expect("the topic is read to its end")
            .unwrap();
        if left
            .get(&message.partition())
            .is_some_and(|end| message.offset() + 1 >= *end)
        {
            left.remove(&message.partition());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let headers = message.headers().map(|headers| {
            let pair = |header: rdkafka::message::Header<'_, &[u8]>| {
                (header.key.to_owned(), text(header.value.unwrap()))
            };
            headers.iter().map(pair).collect()
        });
        all.push(Arrived {
            partition: message.partition(),
            key: message.key().map(text),
            value: serde_json::from_slice(message.payload().unwrap()).unwrap_or_default(),
            headers: headers.unwrap_or_default(),
        });
    }
    all
}

pub(crate) fn loopback() -> Context {
    Context {
        allowed_networks: vec!["127.0.0.0/8".into(), "::1/128".into()],
        allow_plaintext: true,
    }
}

pub(crate) async fn connect(given: &Given) -> Client {
    connect_with(given, &loopback()).await
}

pub(crate) async fn connect_with(given: &Given, context: &Context) -> Client {
    let (config, secrets) = (given.config.clone(), given.secrets.clone());
    pushrail_conformance::connect(&Kafka::new(context), config, secrets).await
}

pub(crate) async fn send(client: &Client, records: &[Arc<Record>]) -> Outcome {
    send_within(client, records, Duration::from_secs(20)).await
}
