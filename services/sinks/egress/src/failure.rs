//! Why there is no connection any more, or none yet: what it is called, and what it means for a delivery.

use std::io;

use pushrail_sink_core::{Class, FailureClass, Fault, Verdict};

/// Longest text of somebody else's that gets into a detail, in bytes.
const FOREIGN_LEN_MAX: usize = 300;

/// Says nothing secret, and never which address a name resolved to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}", code = self.code())]
pub enum Failure {
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
    /// What came back is not in the protocol that was expected.
    InvalidResponse,
    /// We ran out of something.
    Local(&'static str),
}

impl Failure {
    /// Of a connection that did not open.
    pub fn from_connect(error: &io::Error) -> Self {
        if let Some(local) = local(error) {
            return local;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Failure::ConnectionFailed("the network or host cannot be reached")
            }
            io::ErrorKind::TimedOut => Failure::ConnectionFailed("the host did not answer"),
            _ => Failure::ConnectionFailed("the connection could not be opened"),
        }
    }

    pub(crate) fn from_handshake(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => Failure::from_tls(error),
            None => Failure::Tls("the server closed the connection".into()),
        }
    }

    fn from_tls(error: &rustls::Error) -> Self {
        use rustls::AlertDescription as Alert;
        let text = bounded(error.to_string());
        match error {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Failure::Certificate(text)
            }
            rustls::Error::AlertReceived(
                Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::NoCertificate,
            ) => Failure::ClientCertificate(text),
            _ => Failure::Tls(text),
        }
    }

    /// A failure on a connection that was open. With TLS 1.3 the server judges our certificate only then.
    pub fn from_io(error: &io::Error) -> Self {
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Failure::from_tls(error);
        }
        if error.kind() == io::ErrorKind::InvalidData {
            return Failure::InvalidResponse;
        }
        local(error).unwrap_or(Failure::ConnectionLost)
    }

    /// The code under which [`FAILURES`] declares it.
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Dns(_) => "dns_failed",
            Failure::AddressBlocked => "address_blocked",
            Failure::ConnectionRefused => "connection_refused",
            Failure::ConnectionFailed(_) => "connection_failed",
            Failure::Certificate(_) => "tls_certificate",
            Failure::ClientCertificate(_) => "tls_client_certificate",
            Failure::Tls(_) => "tls_failed",
            Failure::ConnectionLost => "connection_lost",
            Failure::InvalidResponse => "invalid_response",
            Failure::Local(_) => "internal",
        }
    }

    /// What it means for each record of the call. Everything may pass but an address that must not be called.
    pub fn verdict(&self) -> Verdict {
        let retry = |fault| Verdict::Retry { fault, after: None };
        match self {
            Failure::AddressBlocked => Verdict::Suspend {
                fault: Fault::destination(
                    self.code(),
                    "the host has only addresses that must not be called",
                ),
            },
            Failure::Local(detail) => retry(Fault::us(self.code(), *detail)),
            Failure::Dns(detail) | Failure::ConnectionFailed(detail) => {
                retry(Fault::destination(self.code(), *detail))
            }
            Failure::ConnectionRefused => retry(Fault::destination(
                self.code(),
                "the host refused the connection",
            )),
            Failure::Certificate(detail)
            | Failure::ClientCertificate(detail)
            | Failure::Tls(detail) => retry(Fault::destination(self.code(), detail.to_string())),
            Failure::ConnectionLost => retry(Fault::destination(
                self.code(),
                "the connection broke before the answer was complete",
            )),
            Failure::InvalidResponse => retry(Fault::destination(
                self.code(),
                "what came back is not in the service's protocol",
            )),
        }
    }
}

/// Errors that say something about this machine, not about the destination (Linux numbers).
fn local(error: &io::Error) -> Option<Failure> {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const EADDRNOTAVAIL: i32 = 99;
    const ENOBUFS: i32 = 105;
    match error.raw_os_error()? {
        EMFILE | ENFILE => Some(Failure::Local("no file descriptor was free")),
        EADDRNOTAVAIL => Some(Failure::Local("no local port was free")),
        ENOMEM | ENOBUFS => Some(Failure::Local("no memory was free")),
        _ => None,
    }
}

/// Text of somebody else's, cut to what a detail may have of it.
pub fn bounded(mut text: String) -> Box<str> {
    if text.len() > FOREIGN_LEN_MAX {
        text.truncate(text.floor_char_boundary(FOREIGN_LEN_MAX));
    }
    text.into()
}

/// What an adapter declares of these, in the words that fit any service.
#[rustfmt::skip]
pub const FAILURES: [FailureClass; 10] = {
    use Class::{Suspended, Transient};
    [
        FailureClass::new("dns_failed", Transient, "The service's host name did not resolve.", "Check the host name, the region and the DNS records."),
        FailureClass::new("connection_refused", Transient, "The host refused the connection.", "Check that the service runs and listens on this port."),
        FailureClass::new("connection_failed", Transient, "The host could not be reached.", "Check the host, its firewall and the port."),
        FailureClass::new("connection_lost", Transient, "The connection broke before the answer was complete.", "Nothing to do, unless it repeats: then look for a proxy that cuts connections."),
        FailureClass::new("invalid_response", Transient, "What came back is not in the service's protocol.", "Check that the address is that of the service and not of something else."),
        FailureClass::new("tls_failed", Transient, "The TLS handshake failed.", "Check that the server offers TLS 1.2 or 1.3 on this port."),
        FailureClass::new("tls_certificate", Transient, "The server's certificate is not trusted, has expired or is for another name.", "Renew or complete the server's certificate chain."),
        FailureClass::new("tls_client_certificate", Transient, "The server wants a client certificate, or did not accept ours.", "Check what the server asks of its clients."),
        FailureClass::new("address_blocked", Suspended, "The host has only addresses that Pushrail must not call (private, loopback, link-local or reserved).", "Use a public address, or ask the operator to allow the network."),
        FailureClass::new("internal", Transient, "Pushrail itself ran out of something.", "Nothing to do: it is retried."),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_declared_with_its_class() {
        let all = [
            Failure::Dns("x"),
            Failure::AddressBlocked,
            Failure::ConnectionRefused,
            Failure::ConnectionFailed("x"),
            Failure::Certificate("x".into()),
            Failure::ClientCertificate("x".into()),
            Failure::Tls("x".into()),
            Failure::ConnectionLost,
            Failure::InvalidResponse,
            Failure::Local("x"),
        ];
        assert_eq!(all.len(), FAILURES.len());
        for failure in all {
            let declared = FAILURES.iter().find(|f| f.code == failure.code()).unwrap();
            let suspends = matches!(failure.verdict(), Verdict::Suspend { .. });
            assert_eq!(declared.class == Class::Suspended, suspends, "{failure:?}");
        }
    }
}
