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

/// As [`claim`]; but a server that was killed a moment ago may still hold the port until all of its processes have gone.
pub async fn claim_after_a_kill(server: &'static str, port: u16) -> Result<u16, Error> {
    let until = tokio::time::Instant::now() + GONE_WITHIN;
    loop {
        match claim(server, port) {
            Err(Error::PortTaken { .. }) if tokio::time::Instant::now() < until => {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            claimed => return claimed,
        }
    }
}

/// How long the processes of a killed server may take to go.
const GONE_WITHIN: std::time::Duration = std::time::Duration::from_secs(3);

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
