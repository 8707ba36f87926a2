//! Whether a librdkafka property that an operator gives can be passed on.
//!
//! Nearly all can, and win over what Pushrail sets. Refused are those that librdkafka does not know, which would fail much
//! later and further away, and the few on which a promise rests.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

/// Says in one sentence why `name=value` can't be passed on. Never repeats the value, which may be a credential.
pub fn check(name: &str, value: &str) -> Result<(), String> {
    if let Some(reason) = promised(name, value) {
        return Err(reason.to_owned());
    }
    let mut config = ClientConfig::new();
    match config.set(name, value).create_native_config() {
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(format!("librdkafka has no property {name}"))
        }
        Err(KafkaError::ClientConfig(_, text, ..)) if !text.contains(value) => {
            Err(format!("{name} does not take this value: {text}"))
        }
        Err(_) => Err(format!("{name} does not take this value")),
        Ok(_) => Ok(()),
    }
}

/// librdkafka has two names for some properties that we set. Given both it takes one of them, so there must not be two.
pub(crate) fn spelling(name: &str) -> &str {
    match name {
        "metadata.broker.list" => "bootstrap.servers",
        "compression.codec" => "compression.type",
        "delivery.timeout.ms" => "message.timeout.ms",
        "queue.buffering.max.ms" => "linger.ms",
        "request.required.acks" => "acks",
        name => name,
    }
}

/// The promise that a property would break.
fn promised(name: &str, value: &str) -> Option<&'static str> {
    let is = |values: &[&str]| values.iter().any(|v| value.eq_ignore_ascii_case(v));
    let (yes, no) = (["true", "t", "1"], ["false", "f", "0"]);
    match spelling(name) {
        "acks" if !is(&["all", "-1"]) => {
            Some("acks stays all: what is acknowledged must be on every in-sync replica")
        }
        "enable.idempotence" if is(&no) => Some(
            "enable.idempotence stays true: without it a retry of the client reorders or repeats records",
        ),
        "enable.auto.commit" | "enable.auto.offset.store" if is(&yes) => {
            Some("offsets are committed when a record is finished, never by a timer")
        }
        "auto.offset.reset" if !is(&["earliest", "smallest", "beginning", "error"]) => {
            Some("auto.offset.reset stays earliest: a partition without a commit would be skipped")
        }
        "bootstrap.servers" => Some("brokers are named by --kafka"),
        "group.id" | "transactional.id" => Some("groups and transactions are Pushrail's own"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn what_librdkafka_knows_passes() {
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.password", "hunter2"),
            ("linger.ms", "5"),
            ("acks", "all"),
            ("acks", "-1"),
            ("enable.auto.commit", "false"),
            ("group.protocol", "classic"),
            ("debug", "broker,topic"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
    }

    #[test]
    fn what_is_unknown_wrong_or_breaks_a_promise_is_refused_without_its_value() {
        for (name, value, part) in [
            ("linger.mss", "5", "no property linger.mss"),
            ("sasl.passwrd", "hunter2", "no property sasl.passwrd"),
            ("linger.ms", "hunter2", "linger.ms"),
            ("security.protocol", "hunter2", "security.protocol"),
            ("acks", "1", "in-sync replica"),
            ("request.required.acks", "0", "in-sync replica"),
            ("enable.idempotence", "False", "reorders"),
            ("enable.auto.commit", "true", "never by a timer"),
            ("enable.auto.offset.store", "1", "never by a timer"),
            ("auto.offset.reset", "latest", "skipped"),
            ("bootstrap.servers", "hunter2", "--kafka"),
            ("group.id", "mine", "own"),
        ] {
            let error = check(name, value).unwrap_err();
            assert!(error.contains(part), "{name}={value}: {error}");
            assert!(!error.contains("hunter2"), "{name}: {error}");
        }
    }
}
