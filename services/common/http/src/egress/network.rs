//! A range of addresses in CIDR notation.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network. IPv4 and IPv6 networks share nothing: `0.0.0.0/0` contains no IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix_len: u8,
}

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a network: {problem}")]
pub struct NetworkError {
    pub text: String,
    pub problem: &'static str,
}

impl Network {
    /// A network of which the caller knows that it is one. `prefix_len` above the address's width means the address alone.
    pub(super) const fn new(base: IpAddr, prefix_len: u8) -> Self {
        Network { base, prefix_len }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.prefix_len.into()
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let differing = base.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= self.prefix_len.into()
            }
            _ => false,
        }
    }

    /// Whether no bit is set below the prefix: `10.0.0.1/8` is more likely a typing error than a wish.
    fn is_aligned(&self) -> bool {
        let (width, trailing) = match self.base {
            IpAddr::V4(base) => (32, base.to_bits().trailing_zeros()),
            IpAddr::V6(base) => (128, base.to_bits().trailing_zeros()),
        };
        trailing >= width - u32::from(self.prefix_len)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = |problem| NetworkError {
            text: text.to_owned(),
            problem,
        };
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len)),
            None => (text, None),
        };
        let base: IpAddr = address
            .parse()
            .map_err(|_| error("write it as 10.0.0.0/8 or fd00::/8"))?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let prefix_len = match prefix_len {
            None => width,
            Some(text) => text
                .parse()
                .ok()
                .filter(|len| *len <= width)
                .ok_or(error("the part after / must be a prefix length"))?,
        };
        let network = Network { base, prefix_len };
        if !network.is_aligned() {
            return Err(error("bits are set below the prefix"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix_len)
    }
}
