//! What librdkafka is told. Only what a customer may choose comes from a configuration, and none of it is a property's name.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

use crate::check::{Plan, Proof};
use crate::config::Compression;

/// Most bytes that librdkafka keeps of a destination: twice what its calls may carry at the same time.
const QUEUE_KIB_MAX: usize = 2 * crate::CALLS_MAX * crate::BATCH_LEN_MAX / 1024;
const QUEUE_RECORDS_MAX: usize = 2 * crate::CALLS_MAX * crate::BATCH_RECORDS_MAX;
/// Most bytes of an answer. The largest is the metadata of one topic: some 50 bytes a partition and a broker.
const ANSWER_LEN_MAX: usize = 256 * 1024;
/// A record may be this large as far as we are concerned: the topic's own limit is what counts.
const RECORD_LEN_MAX: usize = 16 * 1024 * 1024;

/// All properties of a producer whose batches have `batch_len` bytes. They hold secrets.
pub(crate) fn properties(plan: &Plan, batch_len: usize) -> Vec<(&'static str, String)> {
    let fixed = [
        ("client.id", "pushrail"),
        // What an acknowledgement means, and that librdkafka's own repeats are written once and in order.
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("allow.auto.create.topics", "false"),
        // The same partitions as the Java clients choose.
        ("partitioner", "murmur2_random"),
        // The engine's batch is complete when it comes; this only lets the loop that hands it over get ahead.
        ("linger.ms", "5"),
        // Calls have deadlines of their own, and this is never the first.
        ("message.timeout.ms", "120000"),
        // Enough for a leader to move; then the error is said, and the engine decides when to try again.
        ("retries", "5"),
        ("retry.backoff.ms", "100"),
        ("retry.backoff.max.ms", "1000"),
        ("request.timeout.ms", "30000"),
        ("socket.timeout.ms", "30000"),
        ("socket.connection.setup.timeout.ms", "10000"),
        ("socket.keepalive.enable", "true"),
        ("socket.nagle.disable", "true"),
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "1000"),
        // A topic that is not there is said at once, and not after half a minute.
        ("topic.metadata.propagation.max.ms", "2000"),
        // Nothing is told to brokers that nobody asked us to tell.
        ("enable.metrics.push", "false"),
        ("security.protocol", protocol(plan)),
        ("compression.type", compression(plan.compression)),
    ];
    let mut all: Vec<_> = fixed
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    all.push(("bootstrap.servers", plan.bootstrap.clone()));
    for (name, number) in [
        ("batch.size", batch_len),
        ("batch.num.messages", crate::BATCH_RECORDS_MAX),
        ("message.max.bytes", RECORD_LEN_MAX),
        ("receive.message.max.bytes", ANSWER_LEN_MAX),
        ("queue.buffering.max.kbytes", QUEUE_KIB_MAX),
        ("queue.buffering.max.messages", QUEUE_RECORDS_MAX),
    ] {
        all.push((name, number.to_string()));
    }
    match &plan.proof {
        Proof::None => {}
        Proof::Password {
            mechanism,
            username,
            password,
        } => {
            all.push(("sasl.mechanism", (*mechanism).to_owned()));
            all.push(("sasl.username", username.to_string()));
            all.push(("sasl.password", password.expose().to_owned()));
        }
        // The token itself comes from us.
        Proof::Token { .. } => all.push(("sasl.mechanism", "OAUTHBEARER".to_owned())),
    }
    if let Some(tls) = &plan.tls {
        let mut authorities = PUBLIC_AUTHORITIES.clone();
        authorities.push_str(tls.authorities.as_deref().unwrap_or_default());
        all.push(("ssl.ca.pem", authorities));
        all.push(("enable.ssl.certificate.verification", "true".to_owned()));
        all.push(("ssl.endpoint.identification.algorithm", "https".to_owned()));
        if let Some((certificate, key)) = &tls.own {
            all.push(("ssl.certificate.pem", certificate.to_string()));
            all.push(("ssl.key.pem", key.expose().to_owned()));
        }
    }
    all
}

fn protocol(plan: &Plan) -> &'static str {
    match (plan.tls.is_some(), matches!(plan.proof, Proof::None)) {
        (true, true) => "ssl",
        (true, false) => "sasl_ssl",
        (false, true) => "plaintext",
        (false, false) => "sasl_plaintext",
    }
}

fn compression(of: Compression) -> &'static str {
    match of {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// Mozilla's list, as all other destination types trust it, and not whatever the machine has.
static PUBLIC_AUTHORITIES: LazyLock<String> = LazyLock::new(|| {
    let mut pem = String::new();
    for certificate in TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
});
