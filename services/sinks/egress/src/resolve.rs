//! Names to addresses, with a cache.
//!
//! Asks the machine's name servers, after its hosts file. A resolver's background tasks live on the runtime that made
//! them, so each runtime (each worker) has one of its own, shared by all its clients and gone with the last of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};

use crate::failure::Failure;
use crate::per_runtime::PerRuntime;

/// Longest that an answer is believed, whatever its time to live says: a moved endpoint is found again.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Longest that "no such name" is believed.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(5);
/// Names whose answers a worker keeps.
const CACHE_SIZE: u64 = 8192;

/// The resolvers of a process, one a runtime.
#[derive(Default)]
pub struct Resolvers {
    /// Ask these instead of the machine's.
    servers: Vec<SocketAddr>,
    made: PerRuntime<Names>,
}

/// The resolver of one runtime. `None`: this machine has no usable DNS settings.
pub struct Names(Option<TokioResolver>);

impl Resolvers {
    pub fn with_servers(servers: Vec<SocketAddr>) -> Self {
        Resolvers {
            servers,
            made: PerRuntime::default(),
        }
    }

    /// The current runtime's resolver.
    pub fn current(&self) -> Arc<Names> {
        self.made.current(|| Names(self.build()))
    }

    fn build(&self) -> Option<TokioResolver> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()
                .inspect_err(|error| tracing::error!(%error, "dns.settings_unreadable"))
                .ok()?
        } else {
            let servers = self
                .servers
                .iter()
                .map(|server| name_server(*server))
                .collect();
            let config = ResolverConfig::from_name_servers(servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        tune(builder.options_mut());
        builder
            .build()
            .inspect_err(|error| tracing::error!(%error, "dns.unavailable"))
            .ok()
    }
}

fn tune(options: &mut ResolverOpts) {
    options.cache_size = CACHE_SIZE;
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = Duration::from_secs(2);
    options.attempts = 3;
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = address.port();
        connection
    };
    let connections = vec![
        on_port(ConnectionConfig::udp()),
        on_port(ConnectionConfig::tcp()),
    ];
    NameServerConfig::new(address.ip(), true, connections)
}

impl Names {
    /// All addresses of an absolute name (with its last dot). Nothing is vetted yet.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let Some(resolver) = &self.0 else {
            return Err(Failure::Dns("this machine has no name server"));
        };
        match resolver.lookup_ip(name).await {
            Ok(found) => {
                let found: Vec<_> = found.iter().collect();
                if found.is_empty() {
                    Err(NO_ADDRESS)
                } else {
                    Ok(found)
                }
            }
            Err(error) if error.is_nx_domain() => Err(Failure::Dns("no such host name")),
            Err(error) if error.is_no_records_found() => Err(NO_ADDRESS),
            Err(_) => Err(Failure::Dns("the name servers gave no answer")),
        }
    }
}

const NO_ADDRESS: Failure = Failure::Dns("the host name has no address");
