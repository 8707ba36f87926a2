//! Ports on loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// `port` if nobody listens there, or a free one for 0. Nothing holds it until the server listens: whoever asks for a
/// free one must be ready to ask again.
pub fn claim(server: &'static str, port: u16) -> Result<u16, Error> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|listener| listener.local_addr())
    {
        Ok(address) => Ok(address.port()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(Error::PortTaken { server, port })
        }
        Err(source) => Err(Error::Io {
            what: "listen on",
            path: format!("127.0.0.1:{port}").into(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = claim("Kafka", port).unwrap_err().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("Kafka"),
            "{error}"
        );
        assert_ne!(claim("Kafka", 0).unwrap(), 0);
    }
}
