//! bpf/steer.c once more, in Rust: for a port that has the device to itself, where no program in the kernel could look first. Not the
//! rules about sources: the caller has those, and asks them last, as the program does.
//!
//! The same packets come to the same verdicts: tests/verdicts runs every fixture through both.
use crate::{Queue, SteeringSettings, Verdict};

const ETHERNET_LENGTH: usize = 14;
const ETHERTYPE_OFFSET: usize = 12;
const VLAN_TAG_LENGTH: usize = 4;
const VLAN_TAGS_MAX: usize = 2;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const PROTOCOL_UDP: u8 = 17;
const IPV4_LENGTH: usize = 20;
const IPV6_LENGTH: usize = 40;
const IPV4_VERSION_AND_LENGTH_PLAIN: u8 = 0x45;
/// MF and the offset; DF and the reserved bit do not matter.
const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
const UDP_LENGTH: usize = 8;
const MOLD_LENGTH: usize = 20;
const MOLD_COUNT_OFFSET: usize = 18;
const MOLD_HEARTBEAT: usize = 0;
const MOLD_END_OF_SESSION: usize = 0xffff;
/// `BLOCKS_WALKED_MAX` in bpf/steer.c.
const BLOCKS_WALKED_MAX: usize = 32;
const PORTS: usize = 65_536;
/// Extension headers whose lengths are theirs to say: hop-by-hop, routing, fragment, security, destination options, mobility, identity,
/// shim6.
const EXTENSION_HEADERS: [u8; 9] = [0, 43, 44, 50, 51, 60, 135, 139, 140];

/// The program's maps, as far as they concern one packet by itself.
#[derive(Debug)]
pub struct SoftwareSteering {
    /// By UDP port, as the map has it: queue + 1, all ones for any queue, 0 for none.
    ports: Box<[u32]>,
    /// IPv4 as v4-mapped.
    addresses: Box<[[u8; 16]]>,
    check_mold: bool,
}

/// An IP packet that carries UDP: what the rules ask about it.
struct Found<'a> {
    source: [u8; 16],
    destination: [u8; 16],
    /// From the UDP header to the frame's end.
    udp: &'a [u8],
    /// What the IP header leaves for UDP.
    room: usize,
}

impl SoftwareSteering {
    /// The ports, addresses and MoldUDP64 checks of `settings`; its allow-list and rate are the caller's.
    pub fn new(settings: &SteeringSettings) -> Self {
        let mut ports = vec![0; PORTS].into_boxed_slice();
        for (port, queue) in settings.ports() {
            ports[usize::from(port)] = queue.to_map();
        }
        let mapped = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(address) => address.octets(),
        };
        Self { ports, addresses: settings.addresses().map(mapped).collect(), check_mold: settings.check_mold }
    }

    /// The source (IPv4 as v4-mapped) of a datagram that is for the socket of `queue`, or what becomes of the frame instead.
    ///
    /// # Errors
    /// Every verdict but `Redirected`, `PassedNoSocket`, `DroppedNotAllowed` and `DroppedOverRate`.
    #[inline]
    pub fn judge(&self, frame: &[u8], queue: u32) -> Result<[u8; 16], Verdict> {
        let found = find_udp(frame)?;
        let wanted = self.ports[usize::from(u16_at(found.udp, 2))];
        if wanted == 0 {
            return Err(Verdict::PassedOtherPort);
        }
        if !self.addresses.contains(&found.destination) {
            return Err(Verdict::PassedOtherAddress);
        }
        if wanted != Queue::Any.to_map() && wanted != queue + 1 {
            return Err(Verdict::PassedOtherQueue);
        }
        let length = usize::from(u16_at(found.udp, 4));
        if length < UDP_LENGTH || length > found.room || length > found.udp.len() {
            return Err(Verdict::DroppedBadLength);
        }
        if self.check_mold {
            if length < UDP_LENGTH + MOLD_LENGTH {
                return Err(Verdict::DroppedShort);
            }
            if !mold_fits(&found.udp[UDP_LENGTH..length]) {
                return Err(Verdict::DroppedMoldLength);
            }
        }
        Ok(found.source)
    }
}

#[inline]
fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

#[inline]
fn find_udp(frame: &[u8]) -> Result<Found<'_>, Verdict> {
    if frame.len() < ETHERNET_LENGTH {
        return Err(Verdict::PassedNotUdp);
    }
    let mut ethertype = u16_at(frame, ETHERTYPE_OFFSET);
    let mut packet = &frame[ETHERNET_LENGTH..];
    for _ in 0..VLAN_TAGS_MAX {
        if matches!(ethertype, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
            if packet.len() < VLAN_TAG_LENGTH {
                return Err(Verdict::PassedNotUdp);
            }
            ethertype = u16_at(packet, 2);
            packet = &packet[VLAN_TAG_LENGTH..];
        }
    }
    let found = match ethertype {
        ETHERTYPE_IPV4 => in_ipv4(packet)?,
        ETHERTYPE_IPV6 => in_ipv6(packet)?,
        _ => return Err(Verdict::PassedNotUdp),
    };
    if found.udp.len() < UDP_LENGTH { Err(Verdict::PassedNotUdp) } else { Ok(found) }
}

#[inline]
fn in_ipv4(packet: &[u8]) -> Result<Found<'_>, Verdict> {
    let Some((header, udp)) = packet.split_first_chunk::<IPV4_LENGTH>() else {
        return Err(Verdict::PassedNotUdp);
    };
    if header[9] != PROTOCOL_UDP {
        return Err(Verdict::PassedNotUdp);
    }
    if header[0] != IPV4_VERSION_AND_LENGTH_PLAIN {
        return Err(Verdict::PassedIpOptions);
    }
    if u16_at(header, 6) & IPV4_FRAGMENT_MASK != 0 {
        return Err(Verdict::PassedFragment);
    }
    let mapped = |at: usize| {
        let mut address = [0; 16];
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&header[at..at + 4]);
        address
    };
    let room = usize::from(u16_at(header, 2)).saturating_sub(IPV4_LENGTH);
    Ok(Found { source: mapped(12), destination: mapped(16), udp, room })
}

#[inline]
fn in_ipv6(packet: &[u8]) -> Result<Found<'_>, Verdict> {
    let Some((header, udp)) = packet.split_first_chunk::<IPV6_LENGTH>() else {
        return Err(Verdict::PassedNotUdp);
    };
    if EXTENSION_HEADERS.contains(&header[6]) {
        return Err(Verdict::PassedExtensionHeader);
    }
    if header[6] != PROTOCOL_UDP {
        return Err(Verdict::PassedNotUdp);
    }
    let address = |at: usize| {
        let mut address = [0; 16];
        address.copy_from_slice(&header[at..at + 16]);
        address
    };
    Ok(Found { source: address(8), destination: address(24), udp, room: usize::from(u16_at(header, 4)) })
}

/// True when the datagram can hold what its MoldUDP64 header claims; `mold_fits` in bpf/steer.c says why so.
#[inline]
fn mold_fits(payload: &[u8]) -> bool {
    if payload.len() == MOLD_LENGTH {
        return true;
    }
    let count = usize::from(u16_at(payload, MOLD_COUNT_OFFSET));
    if count == MOLD_HEARTBEAT || count == MOLD_END_OF_SESSION || MOLD_LENGTH + 2 * count > payload.len() {
        return false;
    }
    let walked = count.min(BLOCKS_WALKED_MAX);
    let mut offset = MOLD_LENGTH;
    for _ in 0..walked {
        if offset + 2 > payload.len() {
            return false;
        }
        offset += 2 + usize::from(u16_at(payload, offset));
    }
    offset + 2 * (count - walked) <= payload.len()
}
