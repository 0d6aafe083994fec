//! The headers under a UDP datagram: Ethernet II, VLAN tags, IPv4, IPv6, UDP; not sockets, routes or neighbours.

mod addresses;
pub mod checksum;
mod datagram;
mod ethernet;
mod ip;
mod udp;

pub use addresses::{Addresses, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_UDP};
pub use checksum::internet_checksum;
pub use datagram::{ChecksumMode, ChecksumState, Datagram, Headers};
pub use ethernet::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, ETHERNET_LENGTH, Ethernet,
    MAX_VLAN_TAGS, Mac, VLAN_TAG_LENGTH, Vlan, VlanTag,
};
pub use ip::{Ipv4, Ipv6};
pub use udp::{UDP_LENGTH, Udp};

/// Bytes of the longest headers that this module reads or writes: two VLAN tags, IPv6, UDP.
pub const MAX_HEADERS_LENGTH: usize =
    ETHERNET_LENGTH + MAX_VLAN_TAGS * VLAN_TAG_LENGTH + IPV6_LENGTH + UDP_LENGTH;
