//! What the program is told: ports, allow-list, rate. Not how it is told (that is `steering`).
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;

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

/// What one source address may send: each datagram costs `interval_ns`, and it may owe `debt_ns_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    pub interval_ns: u64,
    pub debt_ns_max: u64,
}

/// Everything about the program that can change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeringSettings {
    pub(crate) ports: BTreeMap<u16, Queue>,
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) allowed: BTreeSet<IpNet>,
    pub(crate) rate: Option<TokenBucket>,
    pub(crate) check_mold: bool,
}

impl Default for SteeringSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl SteeringSettings {
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
    pub fn allow(mut self, network: IpNet) -> Self {
        self.allowed.insert(network.trunc());
        self
    }

    #[must_use]
    pub const fn rate(mut self, rate: Option<TokenBucket>) -> Self {
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
        let (interval_ns, debt_ns) =
            self.rate.map_or((0, 0), |bucket| (bucket.interval_ns, bucket.debt_ns_max));
        [u64::from(self.check_mold), u64::from(!self.allowed.is_empty()), interval_ns, debt_ns]
    }
}
