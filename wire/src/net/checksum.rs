//! The Internet checksum (RFC 1071), of a whole and of a change (RFC 1624); not where it stands in a header.
//!
//! A sum is the ones' complement sum of big-endian 16-bit words, not complemented; a checksum is its complement.

use super::addresses::{Addresses, PROTOCOL_UDP};

/// The sum of `bytes`, an odd last byte padded with 0, added to `initial`.
#[inline]
pub fn sum(bytes: &[u8], initial: u16) -> u16 {
    // Ones' complement sums do not depend on byte order (RFC 1071, 2(B)): wide native words are summed and swapped once.
    let (words, rest) = bytes.as_chunks::<4>();
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    let total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    u16::from_be(fold(total + u64::from(u32::from_ne_bytes(last)) + u64::from(initial.to_be())))
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
    fold(wide(addresses) + u64::from(PROTOCOL_UDP) + u64::from(udp_length))
}

/// The words of both addresses, not yet folded; at most 8 x (2^32 - 1).
#[inline]
pub(super) fn wide(addresses: &Addresses) -> u64 {
    match addresses {
        Addresses::V4 { source, destination } => wide_word(*source) + wide_word(*destination),
        Addresses::V6 { source, destination } => wide_words(source) + wide_words(destination),
    }
}

#[inline]
fn wide_word(bytes: [u8; 4]) -> u64 {
    u64::from(u32::from_be_bytes(bytes))
}

#[inline]
fn wide_words(address: &[u8; 16]) -> u64 {
    let (words, _) = address.as_chunks::<4>();
    words.iter().map(|word| wide_word(*word)).sum()
}

/// The checksum after one 16-bit word under it changed from `old` to `new` (RFC 1624, equation 3).
#[inline]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// The ones' complement sum of the four 16-bit words of `total`: what a wide sum of words amounts to.
#[inline]
pub(super) fn fold(total: u64) -> u16 {
    let total = (total & 0xFFFF_FFFF) + (total >> 32);
    let total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32);
    let total = (total & 0xFFFF) + (total >> 16);
    ((total & 0xFFFF) + (total >> 16)) as u16
}
