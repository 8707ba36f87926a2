//! Which addresses a delivery may connect to.
//!
//! A customer chooses where events go, so a customer could choose the operator's metadata service, database or admin
//! port. The guard judges *addresses*, never names: the caller resolves a name, asks about every address, and connects
//! to exactly the one that was vetted, so that a second look-up cannot give another answer. Everything that is not
//! public unicast is refused (RFC 6890 and its registries), in whatever dress it comes: IPv4 inside IPv6 is judged as
//! the IPv4 address that it would reach. Networks on the operator's allow list win over all of it.

mod network;
mod special;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use network::{Network, NetworkError};

/// Judges addresses. Cheap to clone is not needed: make one per process and share it.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<Network>,
}

/// An address that must not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{address} is {range}, not a public address; the operator can allow it with an allowed network"
)]
pub struct Refused {
    pub address: IpAddr,
    /// What the address is: `loopback`, `private-use`, `link-local` ...
    pub range: &'static str,
}

impl Guard {
    /// `allowed` are networks in CIDR notation (or single addresses) that may be called although they are not public.
    pub fn new<S: AsRef<str>>(allowed: impl IntoIterator<Item = S>) -> Result<Self, NetworkError> {
        let allowed = allowed.into_iter().map(|text| text.as_ref().parse());
        Ok(Guard {
            allowed: allowed.collect::<Result<_, _>>()?,
        })
    }

    /// Whether `address` may be called.
    pub fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let reached = reached(address);
        let allowed = |network: &Network| network.contains(address) || network.contains(reached);
        if self.allowed.iter().any(allowed) {
            return Ok(());
        }
        match special::range_of(reached) {
            None => Ok(()),
            Some(range) => Err(Refused { address, range }),
        }
    }
}

/// The address that a packet ends up at: IPv4 that is mapped into IPv6 or translated by NAT64 is unwrapped.
fn reached(address: IpAddr) -> IpAddr {
    const NAT64: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    if v6.segments()[..6] == NAT64 {
        return IpAddr::V4(last_32_bits(v6));
    }
    address
}

fn last_32_bits(v6: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from(v6.to_bits() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allowed: &[&str]) -> Guard {
        Guard::new(allowed).unwrap()
    }

    #[test]
    fn nothing_but_public_unicast_is_called() {
        let table = [
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("10.0.0.1", "private-use"),
            ("100.64.0.1", "shared address space"),
            ("100.127.255.255", "shared address space"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("169.254.169.254", "link-local"),
            ("172.16.0.1", "private-use"),
            ("172.31.255.255", "private-use"),
            ("192.0.0.9", "protocol assignments"),
            ("192.0.2.1", "documentation"),
            ("192.31.196.1", "AS112"),
            ("192.52.193.1", "AMT relay"),
            ("192.88.99.1", "6to4 relay"),
            ("192.168.1.1", "private-use"),
            ("192.175.48.1", "AS112"),
            ("198.18.0.1", "benchmarking"),
            ("198.19.255.255", "benchmarking"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.9", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::10.0.0.1", "reserved"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:169.254.169.254", "link-local"),
            ("64:ff9b::a00:1", "private-use"),
            ("64:ff9b::7f00:1", "loopback"),
            ("64:ff9b:1::1", "reserved"),
            ("100::1", "reserved"),
            ("2001::1", "protocol assignments"),
            (
                "2001:0:4136:e378:8000:63bf:3fff:fdd2",
                "protocol assignments",
            ),
            ("2001:20::1", "protocol assignments"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::1", "6to4"),
            ("2620:4f:8000::1", "AS112"),
            ("3fff::1", "documentation"),
            ("4000::1", "reserved"),
            ("5f00::1", "reserved"),
            ("fc00::1", "unique local"),
            ("fd00:ec2::254", "unique local"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ];
        for (address, range) in table {
            let refused = guard(&[])
                .check(address.parse().unwrap())
                .expect_err(address);
            assert_eq!(refused.range, range, "{address}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81b::200e",
        ] {
            guard(&[])
                .check(address.parse().unwrap())
                .unwrap_or_else(|e| panic!("{e}"));
        }
    }

    #[test]
    fn an_allowed_network_wins_and_reaches_no_further() {
        let guard = guard(&["127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "192.168.7.7"]);
        for address in [
            "127.0.0.1",
            "::ffff:127.0.0.1",
            "10.1.255.255",
            "fd12::1",
            "192.168.7.7",
        ] {
            guard
                .check(address.parse().unwrap())
                .unwrap_or_else(|e| panic!("{e}"));
        }
        for address in [
            "10.2.0.0",
            "::1",
            "fc00::1",
            "192.168.7.8",
            "169.254.169.254",
        ] {
            assert!(guard.check(address.parse().unwrap()).is_err(), "{address}");
        }
    }

    #[test]
    fn a_bad_network_is_named() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "example.org",
            "10.0.0.1/8",
            "1.2.3.4/x",
        ] {
            let error = Guard::new([bad]).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
