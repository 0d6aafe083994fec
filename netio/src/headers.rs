//! Between a frame and a peer: what `wire::net` reads and writes, in the addresses that ports speak in. No layouts of its own.
//!
//! What steers datagrams to a port has already refused options, fragments and extension headers; `wire::net` refuses them again,
//! because an AF_XDP socket cannot know which program feeds it.

use wire::net::{self, Addresses, ChecksumMode, ChecksumState, Datagram, checksum};

use crate::port::{Endpoint, Link, Peer, Vlan, VlanTag, is_link_local};

/// IP and UDP headers of the two families: what an MTU loses to them.
pub const OVERHEAD_V4: usize = net::IPV4_LENGTH + net::UDP_LENGTH;
pub const OVERHEAD_V6: usize = net::IPV6_LENGTH + net::UDP_LENGTH;
const MAC_LENGTH: usize = 6;
/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;

/// The state of a datagram's UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Verified, or not looked at.
    Fine,
    /// None was sent (allowed on IPv4).
    Absent,
    /// CHECKSUM_PARTIAL: the sender's kernel left the pseudo-header's sum there for hardware that never saw the packet. It never
    /// crossed a wire.
    Partial,
}

/// Why a frame is not a datagram for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Headers,
    Checksum,
}

/// A parsed frame: whom to answer, and where the payload lies.
#[derive(Clone, Copy, Debug)]
pub struct Parsed {
    pub peer: Peer,
    pub payload_offset: usize,
    pub payload_length: usize,
    pub checksum: Checksum,
}

/// Reads one frame. `interface_index` marks link-local IPv6 addresses with their link, as `Endpoint` wants it.
#[inline]
pub fn parse(frame: &[u8], interface_index: u16, verify: bool) -> Result<Parsed, Malformed> {
    let datagram = Datagram::parse(frame).map_err(|_| Malformed::Headers)?;
    let headers = &datagram.headers;
    let state = if verify { verified(&datagram, frame)? } else { Checksum::Fine };
    let mut vlan = Vlan::default();
    for (to, from) in vlan.tags.iter_mut().zip(headers.vlan.tags()) {
        *to = VlanTag { protocol: from.protocol, control: from.control };
        vlan.count += 1;
    }
    let mut remote = Endpoint { address: headers.addresses.source(), port: headers.source_port };
    let mut local = Endpoint { address: headers.addresses.destination(), port: headers.destination_port };
    mark_link(&mut remote.address, interface_index);
    mark_link(&mut local.address, interface_index);
    let link = Link { remote: headers.source_mac, local: headers.destination_mac, vlan };
    let payload = datagram.payload_range();
    Ok(Parsed {
        peer: Peer { remote, local, link },
        payload_offset: payload.start,
        payload_length: payload.len(),
        checksum: state,
    })
}

#[inline]
fn verified(datagram: &Datagram, frame: &[u8]) -> Result<Checksum, Malformed> {
    match datagram.checksum_state(frame) {
        ChecksumState::Valid => Ok(Checksum::Fine),
        ChecksumState::Zero if matches!(datagram.headers.addresses, Addresses::V4 { .. }) => {
            Ok(Checksum::Absent)
        }
        ChecksumState::Partial => Ok(Checksum::Partial),
        ChecksumState::Zero | ChecksumState::Wrong => Err(Malformed::Checksum),
    }
}

/// The headers of a datagram to `peer`. IPv4 goes without a UDP checksum, which its standard allows; IPv6 does not, so there
/// it is computed.
#[inline]
pub fn towards(peer: &Peer) -> (net::Headers, ChecksumMode) {
    let [outer, inner] = peer.link.vlan.tags;
    let vlan = net::Vlan::new([
        net::VlanTag { protocol: outer.protocol, control: outer.control },
        net::VlanTag { protocol: inner.protocol, control: inner.control },
    ]);
    let addresses = Addresses::from_mapped(unmarked(peer.local.address), unmarked(peer.remote.address));
    let mode = match addresses {
        Addresses::V4 { .. } => ChecksumMode::Zero,
        Addresses::V6 { .. } => ChecksumMode::Full,
    };
    let headers = net::Headers {
        destination_mac: peer.link.remote,
        source_mac: peer.link.local,
        vlan,
        addresses,
        source_port: peer.local.port,
        destination_port: peer.remote.port,
    };
    (headers, mode)
}

#[inline]
fn mark_link(address: &mut [u8; 16], interface_index: u16) {
    if is_link_local(address) {
        address[2..4].copy_from_slice(&interface_index.to_be_bytes());
    }
}

/// The address as it stands on the wire, without the mark of its link.
#[inline]
fn unmarked(mut address: [u8; 16]) -> [u8; 16] {
    if is_link_local(&address) {
        address[2..4].fill(0);
    }
    address
}

/// Turns a datagram into its own answer where it lies: both MACs, both IP addresses, both ports. Sums do not change when their
/// terms change places, so valid and absent checksums stay so; a partial one, which only a kernel would finish, is removed on
/// IPv4 and completed on IPv6. False when the frame is not a plain datagram.
#[inline]
pub fn swap_in_place(frame: &mut [u8]) -> bool {
    let Ok(datagram) = Datagram::parse(frame) else { return false };
    let payload = datagram.payload_range();
    let addresses = datagram.headers.addresses;
    let udp = payload.start - net::UDP_LENGTH;
    let (address_length, may_be_absent) = match addresses {
        Addresses::V4 { .. } => (4, true),
        Addresses::V6 { .. } => (16, false),
    };
    swap_fields(frame, 0, MAC_LENGTH);
    swap_fields(frame, udp - 2 * address_length, address_length);
    swap_fields(frame, udp, 2);
    let udp = &mut frame[udp..payload.end];
    let pseudo = checksum::pseudo_header_sum(&addresses, udp.len() as u16);
    if udp[UDP_CHECKSUM..UDP_CHECKSUM + 2] == pseudo.to_be_bytes() {
        udp[UDP_CHECKSUM..UDP_CHECKSUM + 2].fill(0);
        if !may_be_absent {
            let whole = match !checksum::sum(udp, pseudo) {
                0 => 0xffff,
                other => other,
            };
            udp[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&whole.to_be_bytes());
        }
    }
    true
}

/// Swaps two neighbouring fields of `length` bytes.
#[inline]
fn swap_fields(frame: &mut [u8], offset: usize, length: usize) {
    let (left, right) = frame[offset..offset + 2 * length].split_at_mut(length);
    left.swap_with_slice(right);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn peer(remote: &str, local: &str, tags: &[(u16, u16)]) -> Peer {
        let mut vlan = Vlan::default();
        for (slot, (protocol, control)) in vlan.tags.iter_mut().zip(tags) {
            *slot = VlanTag { protocol: *protocol, control: *control };
            vlan.count += 1;
        }
        let endpoint = |text: &str| Endpoint::from(text.parse::<SocketAddr>().expect("address"));
        let link = Link { remote: [2, 0, 0, 0, 0, 7], local: [2, 0, 0, 0, 0, 9], vlan };
        Peer { remote: endpoint(remote), local: endpoint(local), link }
    }

    fn frame(peer: &Peer, payload: &[u8]) -> Vec<u8> {
        let (headers, mode) = towards(peer);
        let mut frame = vec![0; headers.length()];
        frame.extend_from_slice(payload);
        assert_eq!(headers.write(&mut frame, payload.len(), mode), frame.len());
        frame
    }

    /// What the receiver of a datagram to `peer` sees.
    fn mirrored(peer: &Peer) -> Peer {
        let link = Link { remote: peer.link.local, local: peer.link.remote, vlan: peer.link.vlan };
        Peer { remote: peer.local, local: peer.remote, link }
    }

    fn peers() -> Vec<Peer> {
        let mut peers = Vec::new();
        for tags in [&[][..], &[(0x8100, 7)], &[(0x88a8, 3), (0x8100, 0x6007)]] {
            peers.push(peer("10.0.0.2:40000", "10.0.0.1:26000", tags));
            peers.push(peer("[fd00::2]:40000", "[fd00::1]:26000", tags));
            peers.push(peer("[fe80::2%5]:40000", "[fe80::1%5]:26000", tags));
        }
        peers
    }

    #[test]
    fn what_is_written_to_a_peer_is_read_as_coming_from_its_mirror() {
        for peer in peers() {
            for length in [0, 1, 2, 3, 47, 1400] {
                let payload: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
                let frame = frame(&peer, &payload);
                let parsed = parse(&frame, 5, true).expect("parses");
                assert_eq!(parsed.peer, mirrored(&peer));
                assert_eq!(&frame[parsed.payload_offset..][..parsed.payload_length], payload);
                let absent = if peer.remote.is_ipv4() { Checksum::Absent } else { Checksum::Fine };
                assert_eq!(parsed.checksum, absent);
            }
        }
    }

    #[test]
    fn a_swapped_frame_is_the_answer_the_long_way_would_build() {
        for peer in peers() {
            let mut swapped = frame(&peer, b"order");
            assert!(swap_in_place(&mut swapped));
            assert_eq!(swapped, frame(&mirrored(&peer), b"order"));
        }
    }

    #[test]
    fn a_partial_checksum_is_accepted_and_does_not_survive_the_swap() {
        for peer in peers() {
            let mut frame = frame(&peer, b"order");
            let (headers, _) = towards(&peer);
            headers.write(&mut frame, 5, ChecksumMode::Partial);
            assert_eq!(parse(&frame, 5, true).expect("parses").checksum, Checksum::Partial);
            assert!(swap_in_place(&mut frame));
            let absent = if peer.remote.is_ipv4() { Checksum::Absent } else { Checksum::Fine };
            assert_eq!(parse(&frame, 5, true).expect("parses").checksum, absent);
        }
    }

    #[test]
    fn a_damaged_payload_is_refused_only_when_verifying() {
        let peer = peer("[fd00::2]:40000", "[fd00::1]:26000", &[]);
        let mut frame = frame(&peer, b"order");
        *frame.last_mut().expect("payload") ^= 1;
        assert_eq!(parse(&frame, 5, true).expect_err("damaged"), Malformed::Checksum);
        assert_eq!(parse(&frame, 5, false).expect("not looked at").checksum, Checksum::Fine);
        let (headers, _) = towards(&peer);
        headers.write(&mut frame, 5, ChecksumMode::Zero);
        assert_eq!(parse(&frame, 5, true).expect_err("IPv6 needs one"), Malformed::Checksum);
    }

    #[test]
    fn a_cut_frame_is_malformed_and_left_alone() {
        for peer in peers() {
            let whole = frame(&peer, b"order");
            for length in 0..whole.len() {
                let mut cut = whole[..length].to_vec();
                assert_eq!(parse(&cut, 5, true).expect_err("cut"), Malformed::Headers);
                assert!(!swap_in_place(&mut cut));
                assert_eq!(cut, whole[..length]);
            }
        }
    }
}
