//! The Internet checksum (RFC 1071), of a whole and of a change (RFC 1624); not where it stands in a header.
//!
//! A sum is the ones' complement sum of big-endian 16-bit words, not complemented; a checksum is its complement.

use super::ip::Addresses;

/// The sum of `bytes`, an odd last byte padded with 0, added to `initial`.
#[inline]
pub fn sum(bytes: &[u8], initial: u16) -> u16 {
    // Ones' complement sums do not depend on byte order (RFC 1071, 2(B)): wide native words are summed and swapped once.
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    let mut total: u64 = words
        .map(|word| {
            let mut value = [0; 4];
            value.copy_from_slice(word);
            u64::from(u32::from_ne_bytes(value))
        })
        .sum();
    total += u64::from(u32::from_ne_bytes(last)) + u64::from(initial.to_be());
    u16::from_be(fold(total))
}

/// The sum of two sums.
#[inline]
pub fn add(a: u16, b: u16) -> u16 {
    let (total, carry) = a.overflowing_add(b);
    total + u16::from(carry)
}

/// The checksum field for `bytes` in which that field is 0; 0 for bytes that contain their right checksum.
#[inline]
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    !sum(bytes, 0)
}

/// The sum of the pseudo-header of a UDP datagram (RFC 768, RFC 8200 section 8.1); `udp_length` counts header and payload.
#[inline]
pub fn pseudo_header_sum(addresses: &Addresses, udp_length: u16) -> u16 {
    let protocol = u16::from(super::ip::PROTOCOL_UDP);
    let initial = add(protocol, udp_length);
    match addresses {
        Addresses::V4 { source, destination } => sum(destination, sum(source, initial)),
        Addresses::V6 { source, destination } => sum(destination, sum(source, initial)),
    }
}

/// The checksum after one 16-bit word under it changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

#[inline]
fn fold(total: u64) -> u16 {
    let total = (total & 0xFFFF_FFFF) + (total >> 32);
    let total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32);
    let total = (total & 0xFFFF) + (total >> 16);
    ((total & 0xFFFF) + (total >> 16)) as u16
}
