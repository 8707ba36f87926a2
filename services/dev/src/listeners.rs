//! The eight ports.
//!
//! Those that we listen on ourselves are bound first, so that a taken one is found before anything is started. With
//! `--port 0` the ports of the last time are tried first: destinations that point at the echo receiver stay right.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

const REMEMBERED: &str = "ports.json";

/// Ports on 127.0.0.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// What an older version remembered lacks what came later.
#[serde(default)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) echo: u16,
    pub(crate) registry: u16,
    pub(crate) kafka: u16,
    pub(crate) ops: u16,
    pub(crate) postgres: u16,
    pub(crate) kafka_sasl: u16,
    pub(crate) control: u16,
}

/// What we listen on ourselves; the servers' ports are only known to be free.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) ports: Ports,
    /// Released when ingest binds it.
    pub(crate) http: TcpListener,
    pub(crate) echo: TcpListener,
    pub(crate) ops: TcpListener,
    /// Released when the control plane binds it.
    pub(crate) control: TcpListener,
}

impl Listeners {
    /// Binds the ports from `first` on, or free ones for 0. `servers` says which of ours are to be started at all.
    pub(crate) fn bind(first: u16, folder: &Path, servers: Servers) -> anyhow::Result<Listeners> {
        if first > u16::MAX - 7 {
            anyhow::bail!(
                "--port {first}: eight ports from there on are needed, so {} at most",
                u16::MAX - 7
            );
        }
        let last: Ports = match first {
            0 => std::fs::read(folder.join(REMEMBERED))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok()),
            _ => None,
        }
        .unwrap_or_default();
        let pick = |offset: u16, last: u16| match first {
            0 => Choice::Free { last },
            _ => Choice::This(first + offset),
        };
        let http = pick(0, last.http).bind("the HTTP API")?;
        let echo = pick(1, last.echo).bind("the echo receiver")?;
        let ops = pick(4, last.ops).bind("metrics")?;
        let control = pick(7, last.control).bind("the control plane")?;
        let registry = match servers.registry {
            true => pick(2, last.registry).probe("the schema registry")?,
            false => 0,
        };
        let kafka = match servers.kafka {
            true => pick(3, last.kafka).probe("Kafka")?,
            false => 0,
        };
        let postgres = match servers.postgres {
            true => pick(5, last.postgres).probe("PostgreSQL")?,
            false => 0,
        };
        let kafka_sasl = match servers.kafka {
            true => pick(6, last.kafka_sasl).probe("Kafka with SASL")?,
            false => 0,
        };
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let ports = Ports {
            http: port(&http)?,
            echo: port(&echo)?,
            registry,
            kafka,
            ops: port(&ops)?,
            postgres,
            kafka_sasl,
            control: port(&control)?,
        };
        Ok(Listeners {
            ports,
            http,
            echo,
            ops,
            control,
        })
    }
}

impl Ports {
    /// For the next `--port 0` on this folder.
    pub(crate) fn remember(&self, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join(REMEMBERED);
        std::fs::write(&path, serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Which servers are started, not given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Servers {
    pub(crate) kafka: bool,
    pub(crate) registry: bool,
    pub(crate) postgres: bool,
}

#[derive(Clone, Copy)]
enum Choice {
    This(u16),
    /// `last` where it is free, else any.
    Free {
        last: u16,
    },
}

impl Choice {
    fn bind(self, what: &str) -> anyhow::Result<TcpListener> {
        let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let listener = match self {
            Choice::This(port) => bind(port).map_err(|error| match error.kind() {
                std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
                    "port {port}, for {what}, is taken by another process: choose other ports with --port, or \
                     --port 0 for free ones"
                ),
                _ => anyhow::Error::new(error).context(format!("cannot listen on port {port} for {what}")),
            })?,
            Choice::Free { last } => bind(last).or_else(|_| bind(0)).context("no free port on 127.0.0.1")?,
        };
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    fn probe(self, what: &str) -> anyhow::Result<u16> {
        Ok(self.bind(what)?.local_addr()?.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Servers = Servers {
        kafka: true,
        registry: true,
        postgres: true,
    };

    #[test]
    fn free_ports_are_the_same_ones_again() {
        let folder = tempfile::tempdir().unwrap();
        let first = Listeners::bind(0, folder.path(), ALL).unwrap();
        first.ports.remember(folder.path()).unwrap();
        let ports = first.ports;
        drop(first);
        assert_eq!(Listeners::bind(0, folder.path(), ALL).unwrap().ports, ports);
    }

    #[test]
    fn ports_that_an_older_version_remembered_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let first = Listeners::bind(0, folder.path(), ALL).unwrap().ports;
        let mut old = serde_json::to_value(first).unwrap();
        for newer in ["postgres", "kafka_sasl", "control"] {
            old.as_object_mut().unwrap().remove(newer);
        }
        std::fs::write(folder.path().join(REMEMBERED), old.to_string()).unwrap();
        let again = Listeners::bind(0, folder.path(), ALL).unwrap().ports;
        assert_eq!((again.http, again.kafka), (first.http, first.kafka));
        assert_ne!(again.postgres, 0);
    }

    #[test]
    fn a_taken_port_names_its_use_and_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port().min(u16::MAX - 7);
        let error = Listeners::bind(port, folder.path(), ALL)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--port 0"),
            "{error}"
        );
        let error = Listeners::bind(u16::MAX, folder.path(), ALL)
            .unwrap_err()
            .to_string();
        assert!(error.contains("65528"), "{error}");
    }
}
