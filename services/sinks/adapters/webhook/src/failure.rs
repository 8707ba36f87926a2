//! How a call can end short of an answer, and the table of everything that a customer may read about it.

use std::io;
use std::time::Duration;

use pushrail_egress as egress;
use pushrail_sink_core::{Class, FailureClass};

/// Why there is no answer. Says nothing secret, and never which address a name resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The deadline came first, in this phase.
    Timeout(Phase),
    /// The name does not resolve now.
    Dns(&'static str),
    /// Every address of the host is one that must not be called.
    AddressBlocked,
    ConnectionRefused,
    /// Another failure to connect.
    ConnectionFailed(&'static str),
    /// The server's certificate does not hold.
    Certificate(Box<str>),
    /// The server does not take our client certificate.
    ClientCertificate(Box<str>),
    /// Another failure of the TLS handshake.
    Tls(Box<str>),
    /// The connection broke before the answer was complete.
    ConnectionLost,
    /// What came back is not HTTP/1.
    InvalidResponse,
    /// We ran out of something.
    Local(&'static str),
    /// The token endpoint could not be asked, or could not answer now.
    TokenUnavailable {
        detail: Box<str>,
        after: Option<Duration>,
    },
    /// The token endpoint answered with something that holds no token.
    TokenInvalid(&'static str),
    /// The token endpoint refuses this client.
    TokenRefused(Box<str>),
    /// A webhook takes one event a call; the engine sent another number.
    NotSingle,
}

/// What a call is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Connecting,
    /// Getting an OAuth 2.0 token.
    Authorizing,
    /// Sending, and waiting for the response's head.
    Waiting,
    /// Reading the response's body.
    Reading,
}

impl From<egress::Failure> for Failure {
    fn from(failure: egress::Failure) -> Self {
        match failure {
            egress::Failure::Dns(detail) => Failure::Dns(detail),
            egress::Failure::AddressBlocked => Failure::AddressBlocked,
            egress::Failure::ConnectionRefused => Failure::ConnectionRefused,
            egress::Failure::ConnectionFailed(detail) => Failure::ConnectionFailed(detail),
            egress::Failure::Certificate(detail) => Failure::Certificate(detail),
            egress::Failure::ClientCertificate(detail) => Failure::ClientCertificate(detail),
            egress::Failure::Tls(detail) => Failure::Tls(detail),
            egress::Failure::ConnectionLost => Failure::ConnectionLost,
            egress::Failure::InvalidResponse => Failure::InvalidResponse,
            egress::Failure::Local(detail) => Failure::Local(detail),
        }
    }
}

impl Failure {
    /// A failure on a connection that was open.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        egress::Failure::from_io(error).into()
    }
}

const fn entry(
    code: &'static str,
    class: Class,
    meaning: &'static str,
    advice: &'static str,
) -> FailureClass {
    FailureClass {
        code,
        class,
        meaning,
        advice,
    }
}

/// Everything that can be wrong with a delivery, as the portal explains it. A test holds the classifier to it.
#[rustfmt::skip]
pub const FAILURES: &[FailureClass] = {
    use Class::{Permanent, Suspended, Transient};
    &[
        entry("timeout", Transient, "No complete answer came before the deadline; it covers connecting, sending and the whole response body.", "Answer 2xx at once and do the work afterwards, or raise the timeout."),
        entry("dns_failed", Transient, "The host name did not resolve.", "Check the host name and its DNS records."),
        entry("connection_refused", Transient, "The host refused the connection.", "Check that the receiver is running and listens on this port."),
        entry("connection_failed", Transient, "The host could not be reached.", "Check the host, its firewall and the port."),
        entry("connection_lost", Transient, "The connection broke before the answer was complete.", "Look for a crash, a restart or a proxy that cuts connections."),
        entry("invalid_response", Transient, "What came back is not HTTP/1.1, or its head is larger than 64 KiB.", "Check that the port speaks HTTP and not something else."),
        entry("tls_failed", Transient, "The TLS handshake failed.", "Check that the server offers TLS 1.2 or 1.3 on this port."),
        entry("tls_certificate", Transient, "The server's certificate is not trusted, has expired or is for another name.", "Renew or complete the certificate chain, or add your own authority to `caCertificates`."),
        entry("tls_client_certificate", Transient, "The server did not accept our client certificate, or wants one.", "Check `clientCertificate` and `clientKey`, and what the server trusts."),
        entry("address_blocked", Suspended, "The host has only addresses that Pushrail must not call (private, loopback, link-local or reserved).", "Use a public address, or ask the operator to allow the network."),
        entry("invalid_configuration", Suspended, "The destination's configuration is not valid.", "Correct the field that the message names."),
        entry("oauth2_unavailable", Transient, "The token endpoint could not be reached or failed.", "Check `authentication.tokenUrl` and the authorization server."),
        entry("oauth2_invalid_response", Transient, "The token endpoint answered with something that is not a bearer token.", "Check that `authentication.tokenUrl` is the token endpoint."),
        entry("oauth2_refused", Suspended, "The token endpoint refuses this client.", "Check client id, client secret, scope and audience, then resume the destination."),
        entry("oauth2_token_rejected", Transient, "The receiver refused an access token that had worked before; the next attempt gets a new one.", "Nothing to do, unless it repeats: then check what the receiver accepts."),
        entry("redirect", Permanent, "The receiver answered with a redirect, which is never followed.", "Set `url` to the address that it redirects to."),
        entry("http_400", Permanent, "The receiver answered 400 Bad Request.", "See the response body; mend the receiver, then replay."),
        entry("http_401", Permanent, "The receiver answered 401 Unauthorized.", "Check the credentials of this destination, then replay."),
        entry("http_403", Permanent, "The receiver answered 403 Forbidden.", "Check permissions and any firewall in front of the receiver, then replay."),
        entry("http_404", Permanent, "The receiver answered 404 Not Found.", "Check the path of `url`, then replay."),
        entry("http_405", Permanent, "The receiver answered 405 Method Not Allowed.", "The receiver must accept POST."),
        entry("http_408", Transient, "The receiver answered 408 Request Timeout.", "Check the receiver's load."),
        entry("http_409", Permanent, "The receiver answered 409 Conflict.", "Answer 2xx to an event that is already known."),
        entry("http_410", Suspended, "The receiver answered 410 Gone: it wants no more events.", "Correct `url` or remove the destination."),
        entry("http_413", Permanent, "The receiver answered 413 Content Too Large.", "Raise the receiver's limit, then replay."),
        entry("http_415", Permanent, "The receiver answered 415 Unsupported Media Type.", "The receiver must accept application/json."),
        entry("http_422", Permanent, "The receiver answered 422 Unprocessable Content.", "See the response body; mend the receiver, then replay."),
        entry("http_425", Transient, "The receiver answered 425 Too Early.", "Nothing to do, unless it repeats."),
        entry("http_429", Transient, "The receiver answered 429 Too Many Requests.", "Set a rate limit on this destination, or raise the receiver's."),
        entry("http_4xx", Permanent, "The receiver answered with another status from 400 to 499.", "See the response; mend the receiver, then replay."),
        entry("http_500", Transient, "The receiver answered 500 Internal Server Error.", "See the receiver's log."),
        entry("http_502", Transient, "A gateway in front of the receiver answered 502 Bad Gateway.", "Check that the receiver behind the gateway is up."),
        entry("http_503", Transient, "The receiver answered 503 Service Unavailable.", "Check the receiver's load and health."),
        entry("http_504", Transient, "A gateway in front of the receiver answered 504 Gateway Timeout.", "Answer 2xx at once and do the work afterwards."),
        entry("http_5xx", Transient, "The receiver answered with another status from 500 to 599.", "See the response and the receiver's log."),
        entry("http_other", Permanent, "The receiver answered with a status that is none of 2xx to 5xx.", "Only 2xx counts as delivered."),
        entry("internal", Transient, "Pushrail itself ran out of something.", "Nothing to do: it is retried."),
    ]
};
