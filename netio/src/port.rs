//! The packet port: one trait with a room for each way to move datagrams, and the addresses they are exchanged with. No I/O here.
//!
//! A port is owned by one thread. Its owner's loop is always the same:
//! ```
//! # use netio::{Port, PortError};
//! fn echo_once(port: &mut impl Port) -> Result<(), PortError> {
//!     let count = port.receive()?;
//!     for index in 0..count {
//!         let (peer, payload) = port.datagram(index);
//!         let peer = *peer;
//!         let mut copy = [0; 2048];
//!         let length = payload.len();
//!         copy[..length].copy_from_slice(payload);
//!         // A full transmit queue is the caller's to answer: here the datagram is dropped, and the port has counted it.
//!         let _ = port.send(&peer, |out| {
//!             out[..length].copy_from_slice(&copy[..length]);
//!             length
//!         });
//!     }
//!     port.flush()
//! }
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Most datagrams one [`Port::receive`] hands over.
pub const RX_BATCH: usize = 64;

/// An IP address and UDP port. IPv4 is held as the v4-mapped IPv6 address, so that one type, one compare and one hash do.
///
/// The interface of a link-local IPv6 address (its scope) is embedded in the second 16-bit group, which is zero on the
/// wire: an answer then finds its way back without a field that no other address needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Endpoint {
    pub address: [u8; 16],
    pub port: u16,
}

impl Endpoint {
    /// True for an IPv4 address in its v4-mapped form.
    pub fn is_ipv4(&self) -> bool {
        self.address[..10] == [0; 10] && self.address[10] == 0xff && self.address[11] == 0xff
    }

    /// True if the address names no host (`0.0.0.0` or `::`), as a wildcard bind reports itself.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_unspecified()
    }

    /// The address as the standard library's type: v4-mapped addresses come out as IPv4.
    pub fn ip(&self) -> IpAddr {
        self.to_socket_address().ip()
    }

    pub fn to_socket_address(self) -> SocketAddr {
        if self.is_ipv4() {
            let octets: [u8; 4] = [self.address[12], self.address[13], self.address[14], self.address[15]];
            return SocketAddr::from((octets, self.port));
        }
        let mut address = self.address;
        let scope = if is_link_local(&address) {
            let scope = u16::from_be_bytes([address[2], address[3]]);
            address[2..4].fill(0);
            u32::from(scope)
        } else {
            0
        };
        SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(address), self.port, 0, scope))
    }
}

pub(crate) fn is_link_local(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

impl From<SocketAddr> for Endpoint {
    fn from(socket: SocketAddr) -> Self {
        match socket {
            SocketAddr::V4(v4) => Endpoint { address: v4.ip().to_ipv6_mapped().octets(), port: v4.port() },
            SocketAddr::V6(v6) => {
                let mut address = v6.ip().octets();
                if is_link_local(&address) {
                    // Interface indices beyond 16 bits do not occur outside of long-lived container hosts; such a
                    // peer is then unreachable rather than mistaken for another.
                    let scope = u16::try_from(v6.scope_id()).unwrap_or(0);
                    address[2..4].copy_from_slice(&scope.to_be_bytes());
                }
                Endpoint { address, port: v6.port() }
            }
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_socket_address()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_socket_address().fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One VLAN tag as it stands on the wire: the EtherType that announced it (0x8100 or 0x88a8) and its control information.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct VlanTag {
    pub protocol: u16,
    pub control: u16,
}

/// The VLAN tags a frame carried, outermost first; `count` of them are meaningful, the others are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Vlan {
    pub tags: [VlanTag; 2],
    pub count: u8,
}

/// Link-layer addresses of a peer. All zero on sockets, where the kernel does that work.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Link {
    pub remote: [u8; 6],
    pub local: [u8; 6],
    pub vlan: Vlan,
}

/// Everything needed to answer a datagram: who sent it, which of our addresses it came to, and by which link.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Peer {
    pub remote: Endpoint,
    pub local: Endpoint,
    pub link: Link,
}

impl Peer {
    /// A peer known by its address only, as sockets need it.
    pub fn remote(remote: impl Into<Endpoint>) -> Self {
        Peer { remote: remote.into(), ..Peer::default() }
    }
}

/// A port that cannot go on. Losing datagrams is never an error: it is counted in [`PortStatistics`].
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// A system call failed in a way that retrying does not mend.
    #[error("{operation} on {local}: {source}")]
    System { operation: &'static str, local: Endpoint, source: io::Error },
    /// The port could not be set up as asked.
    #[error("cannot open port {local}: {reason}")]
    Setup { local: Endpoint, reason: String },
    /// The device or the simulated network behind the port is gone.
    #[error("port {local} is gone: {reason}")]
    Gone { local: Endpoint, reason: String },
}

/// The transmit queue has no room: nothing was written, and `fill` was not called. Counted by the port as `tx_full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("transmit queue is full")]
pub struct TransmitFull;

/// Datagrams that arrived and were not handed over, by reason. A room fills in those that it can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RxDrops {
    /// The receive queue (socket buffer, ring, simulated queue) overflowed.
    pub queue_full: u64,
    /// Longer than the receive buffer.
    pub truncated: u64,
    /// Not a whole, well-formed datagram of a kind the port takes.
    pub malformed: u64,
    /// Wrong checksum.
    pub checksum: u64,
    /// From outside the allow-list. AF_XDP's program drops them before they arrive, and counts them itself.
    pub not_allowed: u64,
    /// Beyond the source's rate; over AF_XDP as above.
    pub over_rate: u64,
}

impl RxDrops {
    pub fn total(&self) -> u64 {
        self.queue_full + self.truncated + self.malformed + self.checksum + self.not_allowed + self.over_rate
    }
}

/// What a port has done since it was opened. Counters only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortStatistics {
    pub rx_datagrams: u64,
    pub rx_bytes: u64,
    pub rx_dropped: RxDrops,
    /// Polls that brought at least one datagram, and polls that brought none.
    pub rx_polls_full: u64,
    pub rx_polls_empty: u64,
    pub tx_datagrams: u64,
    pub tx_bytes: u64,
    /// `send` refused for want of room.
    pub tx_full: u64,
    /// Datagrams taken from the caller that then could not leave (unreachable, not permitted, out of buffers).
    pub tx_dropped: u64,
    /// System calls that handed datagrams to the kernel or device.
    pub kicks: u64,
    /// Transient errors survived (ICMP refusals, out of buffers, interrupted calls); `tx_dropped` has what they cost.
    pub transient_errors: u64,
    /// What only this kind of port counts.
    pub device: DeviceCounters,
}

/// Most counters that one kind of port has for itself.
const DEVICE_COUNTERS_MAX: usize = 16;

/// A counter that one kind of port has and others do not: its name in metrics, and what it counts.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceCounter {
    pub name: &'static str,
    pub help: &'static str,
}

/// What a port counts beyond what every port does. Empty for those that have nothing to add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCounters {
    counters: &'static [DeviceCounter],
    values: [u64; DEVICE_COUNTERS_MAX],
}

impl DeviceCounters {
    /// The value of each counter, in their order.
    pub fn new<const N: usize>(counters: &'static [DeviceCounter; N], values: [u64; N]) -> Self {
        const { assert!(N <= DEVICE_COUNTERS_MAX) };
        let mut all = [0; DEVICE_COUNTERS_MAX];
        all[..N].copy_from_slice(&values);
        DeviceCounters { counters, values: all }
    }

    /// A counter by its name; 0 for one that this port does not have.
    pub fn get(&self, name: &str) -> u64 {
        let found = self.counters.iter().position(|counter| counter.name == name);
        found.map_or(0, |at| self.values[at])
    }
}

/// A way to exchange UDP datagrams, polled by the one thread that owns it.
pub trait Port {
    /// Polls once without blocking and replaces the current batch. Returns how many datagrams it holds, at most [`RX_BATCH`].
    fn receive(&mut self) -> Result<usize, PortError>;

    /// The `index`-th datagram of the current batch: its peer and its UDP payload. `index` is below what [`Port::receive`] returned.
    fn datagram(&self, index: usize) -> (&Peer, &[u8]);

    /// Queues one datagram. `fill` is given [`Port::max_payload`] bytes of unspecified content and returns how many it used;
    /// 0 withdraws the datagram. Fails before `fill` is called, or not at all.
    fn send(&mut self, peer: &Peer, fill: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull>;

    /// Hands everything queued to the kernel or device: the kick. Cheap when nothing is queued.
    fn flush(&mut self) -> Result<(), PortError>;

    /// So many peers may send at the same moment: what is kept ready to receive into follows that. To be said again now and then, as
    /// bursts that were seen are remembered from one time to the next.
    fn expect(&mut self, _peers: usize) {}

    /// The longest payload a datagram may have: 1472 on an MTU of 1500.
    fn max_payload(&self) -> usize;

    /// Blocks until something is readable, or until `timeout` has passed.
    fn wait(&mut self, timeout: Duration) -> Result<(), PortError>;

    fn statistics(&self) -> PortStatistics;

    /// The address the port is bound to.
    fn local(&self) -> Endpoint;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_survive_the_way_through_socket_addresses() {
        for text in ["10.1.2.3:9000", "[2001:db8::1]:1", "[fe80::7%3]:26400", "[::]:0", "0.0.0.0:65535"] {
            let socket: SocketAddr = text.parse().expect(text);
            let endpoint = Endpoint::from(socket);
            assert_eq!(SocketAddr::from(endpoint), socket);
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(endpoint.is_ipv4(), socket.is_ipv4());
        }
    }

    #[test]
    fn link_local_peers_on_two_interfaces_differ() {
        let one = Endpoint::from("[fe80::7%3]:1".parse::<SocketAddr>().unwrap());
        let two = Endpoint::from("[fe80::7%4]:1".parse::<SocketAddr>().unwrap());
        assert_ne!(one, two);
    }
}
