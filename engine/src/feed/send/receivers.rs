//! Where a shard's feed goes: the configured receivers as peers of its port. Multicast needs no neighbour: its MAC follows
//! from the address. Not the sending: `publisher` does that.

use netio::{Endpoint, Link, Peer};
use std::net::{IpAddr, SocketAddr};

/// A receiver of shard `shard`: the configured address, its port raised by the shard's number.
pub fn address_of(configured: SocketAddr, shard: usize) -> SocketAddr {
    SocketAddr::new(configured.ip(), configured.port().saturating_add(shard as u16))
}

/// The receiver as a socket's peer, or as any port's when it is a group: the port fills in its own side.
pub fn peer(receiver: SocketAddr) -> Peer {
    let link = Link { remote: multicast_mac(receiver.ip()).unwrap_or_default(), ..Link::default() };
    Peer { remote: Endpoint::from(receiver), local: Endpoint::default(), link }
}

/// The group's MAC (RFC 1112 section 6.4, RFC 2464 section 7); `None` for a single host's address.
pub fn multicast_mac(address: IpAddr) -> Option<[u8; 6]> {
    match address {
        IpAddr::V4(group) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            Some([0x01, 0x00, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) if group.is_multicast() => {
            let octets = group.octets();
            Some([0x33, 0x33, octets[12], octets[13], octets[14], octets[15]])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_addresses_map_to_their_macs() {
        let mac = |text: &str| multicast_mac(text.parse().unwrap());
        // The example of RFC 1112, and the highest bit of the second octet that the mapping drops.
        assert_eq!(mac("224.0.0.1"), Some([0x01, 0x00, 0x5e, 0, 0, 1]));
        assert_eq!(mac("239.255.1.2"), Some([0x01, 0x00, 0x5e, 0x7f, 1, 2]));
        assert_eq!(mac("ff02::1:ff00:42"), Some([0x33, 0x33, 0xff, 0x00, 0x00, 0x42]));
        assert_eq!(mac("10.0.0.1"), None);
        assert_eq!(mac("fe80::1"), None);
    }

    #[test]
    fn each_shard_has_its_own_port() {
        let configured = "239.1.1.1:26600".parse().unwrap();
        assert_eq!(address_of(configured, 3), "239.1.1.1:26603".parse().unwrap());
    }
}
