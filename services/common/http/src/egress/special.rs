//! The special-purpose ranges: IANA's IPv4 and IPv6 registries (RFC 6890 and later), multicast and what is unassigned.
//!
//! IPv6 is turned round: only 2000::/3 is global unicast, so all else is refused, with or without a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix_len: u8) -> Network {
    Network::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix_len)
}

const fn v6(a: u16, b: u16, c: u16, prefix_len: u8) -> Network {
    Network::new(
        IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)),
        prefix_len,
    )
}

/// The first that contains an address names it.
const RANGES: [(Network, &str); 35] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private-use"),
    (v4(100, 64, 0, 0, 10), "shared address space"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private-use"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 31, 196, 0, 24), "AS112"),
    (v4(192, 52, 193, 0, 24), "AMT relay"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private-use"),
    (v4(192, 175, 48, 0, 24), "AS112"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
    (
        Network::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128),
        "unspecified",
    ),
    (
        Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        "loopback",
    ),
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x2620, 0x4f, 0x8000, 48), "AS112"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
    (v6(0xfc00, 0, 0, 7), "unique local"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    // What is left outside 2000::/3, one bit after the other.
    (v6(0x0000, 0, 0, 3), "reserved"),
    (v6(0x4000, 0, 0, 2), "reserved"),
    (v6(0x8000, 0, 0, 2), "reserved"),
    (v6(0xc000, 0, 0, 3), "reserved"),
    (v6(0xe000, 0, 0, 3), "reserved"),
];

/// What kind of special address it is; `None` for a public one.
pub(super) fn range_of(address: IpAddr) -> Option<&'static str> {
    let found = RANGES.iter().find(|(network, _)| network.contains(address));
    found.map(|(_, name)| *name)
}
