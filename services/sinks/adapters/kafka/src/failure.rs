//! How a call can go wrong, and the table of everything that a customer may read about it.
//!
//! Brokers answer with numbers, and so does librdkafka for its own troubles. Its texts name addresses that a name resolved to
//! and repeat what a broker says, so none is shown. A few of its troubles share a number; those are told apart by words of
//! librdkafka and OpenSSL, and what is not recognised is the general case.

use pushrail_egress as egress;
use pushrail_sink_core::{Class, FailureClass};
use rdkafka_sys::rd_kafka_resp_err_t as Native;

/// Why a call, or a record, came to nothing. Says nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline came first.
    Timeout,
    /// No connection, or none any more.
    Network(egress::Failure),
    /// The broker closes connections before they are let in.
    Closed,
    /// The brokers refuse who we are.
    Authentication,
    /// The token endpoint refuses us, or fails; a sentence of ours.
    TokenRefused(Box<str>),
    TokenUnavailable(Box<str>),
    TokenInvalid(&'static str),
    /// A record's error: Kafka's number, or librdkafka's.
    Record(i32),
    /// A batch was refused for one of its records, and time ran out before it was clear for which.
    Undecided,
    /// The producer has lost the thread of its numbers.
    Fatal,
    /// We ran out of something.
    Local(&'static str),
}

/// What librdkafka says when it is not about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No broker is connected.
    AllDown,
    /// It will not pass by itself.
    Final(Failure),
    /// Something that may explain why nothing comes back.
    Perhaps(Failure),
}

impl Trouble {
    /// `text` is librdkafka's.
    pub(crate) fn of(code: i32, text: &str) -> Trouble {
        const UNSUPPORTED_SASL_MECHANISM: i32 = 33;
        const ILLEGAL_SASL_STATE: i32 = 34;
        const SASL_AUTHENTICATION_FAILED: i32 = 58;
        let is = |native: Native| code == native as i32;
        if is(Native::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
            return Trouble::AllDown;
        }
        if is(Native::RD_KAFKA_RESP_ERR__AUTHENTICATION)
            || [
                UNSUPPORTED_SASL_MECHANISM,
                ILLEGAL_SASL_STATE,
                SASL_AUTHENTICATION_FAILED,
            ]
            .contains(&code)
        {
            return Trouble::Final(Failure::Authentication);
        }
        if is(Native::RD_KAFKA_RESP_ERR__FATAL) {
            return Trouble::Final(Failure::Fatal);
        }
        Trouble::Perhaps(if is(Native::RD_KAFKA_RESP_ERR__RESOLVE) {
            Failure::Network(egress::Failure::Dns("the host name did not resolve"))
        } else if is(Native::RD_KAFKA_RESP_ERR__BAD_MSG) {
            Failure::Network(egress::Failure::InvalidResponse)
        } else if is(Native::RD_KAFKA_RESP_ERR__SSL) {
            of_tls(text)
        } else {
            of_connection(text)
        })
    }
}

fn of_tls(text: &str) -> Failure {
    let failure = if of_client_certificate(text) {
        egress::Failure::ClientCertificate(
            "the broker does not take the client certificate, or wants one".into(),
        )
    } else if text.contains("certificate verify failed") {
        egress::Failure::Certificate("the broker's certificate is not trusted".into())
    } else if text.contains("wrong version number") {
        egress::Failure::Tls("the broker speaks no TLS on this port".into())
    } else if text.contains("Disconnected") {
        egress::Failure::Tls(
            "the broker closed the connection during the TLS handshake; perhaps it speaks no TLS on this port".into(),
        )
    } else {
        egress::Failure::Tls("the TLS handshake failed".into())
    };
    Failure::Network(failure)
}

/// The alerts with which a server refuses a client's certificate, as OpenSSL names them. With TLS 1.3 they come on a connection
/// that is open already.
fn of_client_certificate(text: &str) -> bool {
    [
        "alert certificate required",
        "alert bad certificate",
        "alert certificate unknown",
        "alert certificate expired",
        "alert certificate revoked",
        "alert unsupported certificate",
        "alert unknown ca",
        "alert access denied",
    ]
    .iter()
    .any(|alert| text.contains(alert))
}

/// A connection that ends while TLS is being agreed on. Which of the two librdkafka says depends on whether it reads the end
/// before its poll reports it. One that runs out of time is not among them.
fn is_of_handshake(text: &str) -> bool {
    text.contains("SSL handshake failed") || text.contains("during SSL connection handshake")
}

fn of_connection(text: &str) -> Failure {
    if of_client_certificate(text) || is_of_handshake(text) {
        return of_tls(text);
    }
    // librdkafka's guess when a connection ends before the first answer.
    if text.contains("security.protocol") {
        return Failure::Closed;
    }
    Failure::Network(if text.contains("Connection refused") {
        egress::Failure::ConnectionRefused
    } else if text.contains("timed out") {
        egress::Failure::ConnectionFailed("the host did not answer")
    } else if text.contains("unreachable") || text.contains("No route to host") {
        egress::Failure::ConnectionFailed("the network or host cannot be reached")
    } else if text.contains("Connect to") || text.contains("Failed to connect") {
        egress::Failure::ConnectionFailed("the connection could not be opened")
    } else {
        egress::Failure::ConnectionLost
    })
}

/// Why OpenSSL does not take a certificate, by its number (`X509_V_ERR_…`).
pub(crate) fn of_certificate(code: i32) -> Failure {
    let why = match code {
        9 => "the broker's certificate is not valid yet",
        10 => "the broker's certificate has expired",
        18 | 19 => {
            "the broker's certificate is signed by itself or by an authority that is not trusted"
        }
        2 | 20 | 21 => {
            "the authority of the broker's certificate is not trusted, or a certificate of its chain is missing"
        }
        62..=64 => {
            "the broker's certificate is for another name than the one that the broker is known by"
        }
        _ => "the broker's certificate does not hold",
    };
    Failure::Network(egress::Failure::Certificate(why.into()))
}

/// Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.
pub const FAILURES: &[FailureClass] =
    &FailureClass::concat::<{ OWN.len() + egress::FAILURES.len() }>(&[OWN, &egress::FAILURES]);

#[rustfmt::skip]
const OWN: &[FailureClass] = {
    use Class::{Permanent, Suspended, Transient};
    const fn entry(code: &'static str, class: Class, meaning: &'static str, advice: &'static str) -> FailureClass {
        FailureClass::new(code, class, meaning, advice)
    }
    &[
        entry("timeout", Transient, "The brokers did not acknowledge the record before the deadline.", "Look for load and quotas on the brokers, or raise the timeout."),
        entry("connection_closed", Transient, "The broker closed the connection before it was let in.", "Check the port, `tls` and `authentication`: a listener that wants TLS or SASL closes connections without."),
        entry("authentication_rejected", Suspended, "The brokers refuse this user, password, token or mechanism.", "Correct `authentication` and its secret, then resume the destination."),
        entry("token_refused", Suspended, "The token endpoint refuses this client.", "Check client id, client secret, scope and audience, then resume the destination."),
        entry("token_unavailable", Transient, "The token endpoint could not be reached or failed.", "Check `authentication.tokenUrl` and the authorization server."),
        entry("token_invalid", Transient, "The token endpoint answered with something that is not a bearer token.", "Check that `authentication.tokenUrl` is the token endpoint."),
        entry("topic_denied", Suspended, "The user may not write to the topic.", "Run the command in the message, then resume the destination."),
        entry("idempotence_denied", Suspended, "The user may not write idempotently, which brokers before 2.8 want a right of its own for.", "Run the command in the message, then resume the destination."),
        entry("topic_missing", Suspended, "The topic does not exist, or the user may not see it.", "Create the topic or correct `topic`, and allow Describe on it; then resume the destination."),
        entry("topic_refused", Suspended, "The brokers take nothing for this topic.", "Check that `topic` is not one of Kafka's own, then resume the destination."),
        entry("too_large", Permanent, "The record is larger than the topic takes (`max.message.bytes`).", "Raise the topic's limit, or drop a field with a transform; then replay."),
        entry("record_refused", Permanent, "The brokers refuse this record; its neighbours were not affected.", "A compacted topic wants a key, and a validating one its schema: mend that, then replay."),
        entry("not_enough_replicas", Transient, "Fewer replicas are in sync than the topic's `min.insync.replicas`.", "Bring the brokers back, or lower the topic's setting."),
        entry("throttled", Transient, "The brokers ask for less.", "Raise the user's quota, or set a rate limit on this destination."),
        entry("broker_unavailable", Transient, "The partition has no leader, or its broker cannot write.", "Nothing to do, unless it repeats: then see the brokers' log."),
        entry("producer_lost", Transient, "The brokers have forgotten this producer or mixed up its numbers; a new one is made.", "Nothing to do, unless it repeats: then look at the retention of the topic and the brokers' log."),
        entry("undecided", Transient, "The call ended before it was clear what became of this record: it may arrive twice, with the same headers.", "Nothing to do, unless it repeats."),
        entry("kafka_error", Transient, "The brokers answered with another error.", "See the message and the brokers' log."),
        entry("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_with_one_number_are_told_apart() {
        let tls = Native::RD_KAFKA_RESP_ERR__SSL as i32;
        let transport = Native::RD_KAFKA_RESP_ERR__TRANSPORT as i32;
        let table = [
            (
                transport,
                "sasl_ssl://b:1/1: Connect to ipv4#203.0.113.7:1 failed: Connection refused (after 0ms in state CONNECT)",
                "connection_refused",
            ),
            (
                transport,
                "b: Connection setup timed out in state CONNECT",
                "connection_failed",
            ),
            (
                transport,
                "b: Connect to ipv4#203.0.113.7:1 failed: No route to host",
                "connection_failed",
            ),
            (
                transport,
                "b: Disconnected: connection closed by peer",
                "connection_lost",
            ),
            (
                transport,
                "b: Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration",
                "connection_closed",
            ),
            (
                transport,
                "b: SSL handshake failed: Disconnected: connection closed by peer: connecting to a PLAINTEXT broker listener? (after 1ms in state SSL_HANDSHAKE)",
                "tls_failed",
            ),
            (
                transport,
                "b: Disconnected: during SSL connection handshake (after 3ms in state SSL_HANDSHAKE)",
                "tls_failed",
            ),
            (
                transport,
                "b: Connection setup timed out in state SSL_HANDSHAKE (after 30000ms in state SSL_HANDSHAKE)",
                "connection_failed",
            ),
            (
                transport,
                "b: SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                "tls_client_certificate",
            ),
            (
                tls,
                "b: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
                "tls_certificate",
            ),
            (
                tls,
                "b: SSL handshake failed: sslv3 alert bad certificate",
                "tls_client_certificate",
            ),
            (
                tls,
                "b: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener? (after 1ms)",
                "tls_failed",
            ),
            (
                Native::RD_KAFKA_RESP_ERR__RESOLVE as i32,
                "b: Failed to resolve",
                "dns_failed",
            ),
            (
                Native::RD_KAFKA_RESP_ERR__BAD_MSG as i32,
                "Invalid response size",
                "invalid_response",
            ),
        ];
        for (code, text, expected) in table {
            let Trouble::Perhaps(failure) = Trouble::of(code, text) else {
                panic!("{text}");
            };
            let (said, _) = crate::classify::said(&failure);
            assert_eq!(said, expected, "{text}");
        }
        for code in [33, 34, 58, -169] {
            assert_eq!(
                Trouble::of(code, ""),
                Trouble::Final(Failure::Authentication)
            );
        }
        assert_eq!(Trouble::of(-187, ""), Trouble::AllDown);
        assert_eq!(Trouble::of(-150, ""), Trouble::Final(Failure::Fatal));
    }
}
