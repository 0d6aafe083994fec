//! What the program is told: ports, allow-list, rate. Not how it is told (that is `steering`).
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Receive queues of one interface that can have a socket; `QUEUES_MAX` in bpf/steer.c.
pub const QUEUES_MAX: u32 = 256;
/// Networks in each of the two allow-lists; `ALLOW_LIST_MAX` in bpf/steer.c.
pub const ALLOW_LIST_MAX: usize = 4096;

/// Addresses that can be listened on; `ADDRESSES_MAX` in bpf/steer.c.
pub const ADDRESSES_MAX: usize = 256;

const ANY_QUEUE: u32 = u32::MAX;

/// The receive queue on which a port's datagrams are expected. On another queue they are left to the kernel: an AF_XDP
/// socket can only be given packets of the queue it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    Index(u32),
    Any,
}

impl Queue {
    pub(crate) const fn to_map(self) -> u32 {
        match self {
            Self::Index(index) => index + 1,
            Self::Any => ANY_QUEUE,
        }
    }
}

/// Token bucket of one source address: `per_second` datagrams sustained, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub per_second: u32,
    pub burst: u32,
}

/// A network in CIDR notation; host bits are cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    address: IpAddr,
    prefix_length: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("{0:?} is not a network: expected an IPv4 or IPv6 address, optionally with /prefix-length")]
    Syntax(String),
    #[error("/{prefix_length} is too long for {address}: at most /{max}")]
    PrefixTooLong { address: IpAddr, prefix_length: u8, max: u8 },
}

impl Network {
    pub fn new(address: IpAddr, prefix_length: u8) -> Result<Self, NetworkError> {
        let max = if address.is_ipv4() { 32 } else { 128 };
        if prefix_length > max {
            return Err(NetworkError::PrefixTooLong { address, prefix_length, max });
        }
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(u32::from(32 - prefix_length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(u32::from(128 - prefix_length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Ok(Self { address, prefix_length })
    }

    pub const fn address(&self) -> IpAddr {
        self.address
    }

    pub const fn prefix_length(&self) -> u8 {
        self.prefix_length
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let syntax = || NetworkError::Syntax(text.to_owned());
        let (address, prefix_length) = match text.split_once('/') {
            Some((address, prefix_length)) => (address, Some(prefix_length.parse().map_err(|_| syntax())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        Self::new(address, prefix_length.unwrap_or(if address.is_ipv4() { 32 } else { 128 }))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

/// Everything about the program that can change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) ports: BTreeMap<u16, Queue>,
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) allowed: BTreeSet<Network>,
    pub(crate) rate: Option<Rate>,
    pub(crate) check_mold: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new()
    }
}

impl Settings {
    /// No ports and no addresses (nothing is steered), any source, no rate limit, MoldUDP64 checks on.
    pub const fn new() -> Self {
        Self {
            ports: BTreeMap::new(),
            addresses: BTreeSet::new(),
            allowed: BTreeSet::new(),
            rate: None,
            check_mold: true,
        }
    }

    /// Datagrams to this UDP port go to the socket of this queue.
    #[must_use]
    pub fn port(mut self, port: u16, queue: Queue) -> Self {
        self.ports.insert(port, queue);
        self
    }

    /// The ports that are steered, in order.
    pub fn ports(&self) -> impl Iterator<Item = (u16, Queue)> + '_ {
        self.ports.iter().map(|(port, queue)| (*port, *queue))
    }

    /// Datagrams to this address, and to no other, are looked at: the program knows no wildcard.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        self.addresses.insert(address);
        self
    }

    /// The addresses that are listened on, in order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied()
    }

    /// Adds a network to the allow-list. While the list is empty every source may send; once it has an entry of either
    /// family, sources outside it are dropped.
    #[must_use]
    pub fn allow(mut self, network: Network) -> Self {
        self.allowed.insert(network);
        self
    }

    #[must_use]
    pub const fn rate(mut self, rate: Option<Rate>) -> Self {
        self.rate = rate;
        self
    }

    /// Off for ports that carry something other than MoldUDP64 (the echo programs).
    #[must_use]
    pub const fn check_mold(mut self, check: bool) -> Self {
        self.check_mold = check;
        self
    }

    /// `struct settings` of bpf/steer.c.
    pub(crate) fn to_map(&self) -> [u64; 4] {
        const NANOSECONDS: u64 = 1_000_000_000;
        let (interval_ns, burst_ns) = match self.rate {
            Some(Rate { per_second, burst }) => {
                let interval_ns = (NANOSECONDS / u64::from(per_second.max(1))).max(1);
                // The datagram that opens a burst is allowed at no debt, so a burst of n is a debt of n - 1 intervals.
                (interval_ns, interval_ns * u64::from(burst.max(1) - 1))
            }
            None => (0, 0),
        };
        [u64::from(self.check_mold), u64::from(!self.allowed.is_empty()), interval_ns, burst_ns]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_parses_clears_host_bits_and_prints() {
        for (text, printed) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("fe80::1/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_is_not_a_network_is_refused_with_the_text() {
        for text in ["", "10.1.2", "10.1.2.3/", "10.1.2.3/x", "10.1.2.3/-1", "host/8"] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Syntax(text.to_owned())));
        }
        assert!(matches!("10.1.2.3/33".parse::<Network>(), Err(NetworkError::PrefixTooLong { max: 32, .. })));
        assert!(matches!("::1/129".parse::<Network>(), Err(NetworkError::PrefixTooLong { max: 128, .. })));
    }

    #[test]
    fn a_rate_becomes_an_interval_and_a_debt() {
        let settings = Settings::new().rate(Some(Rate { per_second: 1000, burst: 5 }));
        assert_eq!(settings.to_map(), [1, 0, 1_000_000, 4_000_000]);
        let settings = Settings::new().rate(Some(Rate { per_second: 0, burst: 0 })).check_mold(false);
        assert_eq!(settings.to_map(), [0, 0, 1_000_000_000, 0]);
    }
}
