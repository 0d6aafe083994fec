//! IPv4 without options and fragments, IPv6 without extension headers; what else there is, is refused by name.

use super::addresses::{Addresses, IPV4_LENGTH, IPV6_LENGTH, PROTOCOL_UDP};
use super::checksum;
use crate::DecodeError;
use crate::message_macro::{read, write};

/// Time to live and hop limit of what is written here: the usual default of hosts.
const HOPS: u8 = 64;
/// IPv4, five words of header, default type of service.
const VERSION_AND_LENGTH: u16 = 0x4500;
/// "Don't fragment"; with it the identification has no meaning and stays 0 (RFC 6864).
const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the fragment's offset.
const FRAGMENT_MASK: u16 = 0x3FFF;

/// Hop-by-hop, routing, fragment, ESP, AH, no next header, destination, mobility, HIP, shim6 (IANA registry).
const IPV6_EXTENSIONS: [u8; 10] = [0, 43, 44, 50, 51, 59, 60, 135, 139, 140];

/// An IPv4 header that carries UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    pub source: [u8; 4],
    pub destination: [u8; 4],
    /// Bytes after the header.
    pub payload_length: u16,
}

impl Ipv4 {
    /// The header at the front of `packet`, and exactly its payload (`packet` may have Ethernet padding after it).
    #[inline]
    pub fn read(packet: &[u8]) -> Result<(Ipv4, &[u8]), DecodeError> {
        const WHAT: &str = "IPv4 packet";
        let Some((header, rest)) = packet.split_first_chunk::<IPV4_LENGTH>() else {
            return Err(DecodeError::TooShort { what: WHAT, need: IPV4_LENGTH, got: packet.len() });
        };
        match header[0] {
            0x45 => {}
            0x46..=0x4F => {
                return Err(DecodeError::Unsupported { what: "IPv4 options", found: u16::from(header[0]) });
            }
            _ => return Err(DecodeError::BadField { what: WHAT, field: "version and header length" }),
        }
        if checksum::internet_checksum(header) != 0 {
            return Err(DecodeError::BadField { what: WHAT, field: "header checksum" });
        }
        let fragment = u16::from_be_bytes(read::<6, 2, _>(header));
        if fragment & FRAGMENT_MASK != 0 {
            return Err(DecodeError::Unsupported { what: "IPv4 fragment", found: fragment });
        }
        if header[9] != PROTOCOL_UDP {
            return Err(DecodeError::Unsupported { what: "IP protocol", found: u16::from(header[9]) });
        }
        let total_length = u16::from_be_bytes(read::<2, 2, _>(header));
        let payload_length = total_length.checked_sub(IPV4_LENGTH as u16);
        let Some((length, payload)) =
            payload_length.and_then(|length| Some((length, rest.get(..usize::from(length))?)))
        else {
            let need = usize::from(total_length).max(IPV4_LENGTH);
            return Err(DecodeError::BadLength { what: WHAT, need, got: packet.len() });
        };
        let (source, destination) = (read::<12, 4, _>(header), read::<16, 4, _>(header));
        Ok((Ipv4 { source, destination, payload_length: length }, payload))
    }

    /// Returns [`IPV4_LENGTH`], or 0 when `out` is shorter or the payload longer than an IPv4 packet can carry.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(header) = out.first_chunk_mut::<IPV4_LENGTH>() else { return 0 };
        let Some(total_length) = self.payload_length.checked_add(IPV4_LENGTH as u16) else { return 0 };
        // Summed from the values: reading back bytes that were just written would wait for the store buffer.
        let addresses = Addresses::V4 { source: self.source, destination: self.destination };
        let fields =
            [VERSION_AND_LENGTH, total_length, DONT_FRAGMENT, u16::from_be_bytes([HOPS, PROTOCOL_UDP])];
        let total = checksum::wide(&addresses) + fields.into_iter().map(u64::from).sum::<u64>();
        write::<0, 2, _>(header, VERSION_AND_LENGTH.to_be_bytes());
        write::<2, 2, _>(header, total_length.to_be_bytes());
        write::<4, 2, _>(header, [0; 2]);
        write::<6, 2, _>(header, DONT_FRAGMENT.to_be_bytes());
        write::<8, 2, _>(header, [HOPS, PROTOCOL_UDP]);
        write::<10, 2, _>(header, (!checksum::fold(total)).to_be_bytes());
        write::<12, 4, _>(header, self.source);
        write::<16, 4, _>(header, self.destination);
        IPV4_LENGTH
    }
}

/// An IPv6 header that carries UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    pub source: [u8; 16],
    pub destination: [u8; 16],
    /// Bytes after the header.
    pub payload_length: u16,
}

impl Ipv6 {
    /// The header at the front of `packet`, and exactly its payload (`packet` may have Ethernet padding after it).
    #[inline]
    pub fn read(packet: &[u8]) -> Result<(Ipv6, &[u8]), DecodeError> {
        const WHAT: &str = "IPv6 packet";
        let Some((header, rest)) = packet.split_first_chunk::<IPV6_LENGTH>() else {
            return Err(DecodeError::TooShort { what: WHAT, need: IPV6_LENGTH, got: packet.len() });
        };
        if header[0] >> 4 != 6 {
            return Err(DecodeError::BadField { what: WHAT, field: "version" });
        }
        let next_header = header[6];
        if next_header != PROTOCOL_UDP {
            let what =
                if IPV6_EXTENSIONS.contains(&next_header) { "IPv6 extension header" } else { "IP protocol" };
            return Err(DecodeError::Unsupported { what, found: u16::from(next_header) });
        }
        let payload_length = u16::from_be_bytes(read::<4, 2, _>(header));
        let Some(payload) = rest.get(..usize::from(payload_length)) else {
            let need = IPV6_LENGTH + usize::from(payload_length);
            return Err(DecodeError::BadLength { what: WHAT, need, got: packet.len() });
        };
        let (source, destination) = (read::<8, 16, _>(header), read::<24, 16, _>(header));
        Ok((Ipv6 { source, destination, payload_length }, payload))
    }

    /// Returns [`IPV6_LENGTH`], or 0 when `out` is shorter.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(header) = out.first_chunk_mut::<IPV6_LENGTH>() else { return 0 };
        write::<0, 4, _>(header, [0x60, 0, 0, 0]);
        write::<4, 2, _>(header, self.payload_length.to_be_bytes());
        header[6] = PROTOCOL_UDP;
        header[7] = HOPS;
        write::<8, 16, _>(header, self.source);
        write::<24, 16, _>(header, self.destination);
        IPV6_LENGTH
    }
}
