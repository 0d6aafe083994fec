//! Who sent a datagram to whom, in either family of addresses; not the headers that say so.

/// Bytes of an IPv4 header without options.
pub const IPV4_LENGTH: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub const IPV6_LENGTH: usize = 40;
/// UDP as a protocol (IPv4) and as a next header (IPv6).
pub const PROTOCOL_UDP: u8 = 17;

/// Who sent a datagram to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addresses {
    V4 { source: [u8; 4], destination: [u8; 4] },
    V6 { source: [u8; 16], destination: [u8; 16] },
}

impl Addresses {
    /// The source; IPv4 mapped into IPv6 (`::ffff:a.b.c.d`).
    #[inline]
    pub fn source(&self) -> [u8; 16] {
        match *self {
            Self::V4 { source, .. } => mapped(source),
            Self::V6 { source, .. } => source,
        }
    }

    /// The destination; IPv4 mapped into IPv6 (`::ffff:a.b.c.d`).
    #[inline]
    pub fn destination(&self) -> [u8; 16] {
        match *self {
            Self::V4 { destination, .. } => mapped(destination),
            Self::V6 { destination, .. } => destination,
        }
    }

    /// The counterpart of [`source`](Self::source) and [`destination`](Self::destination): IPv4 when both are mapped.
    #[inline]
    pub fn from_mapped(source: [u8; 16], destination: [u8; 16]) -> Addresses {
        match (unmapped(source), unmapped(destination)) {
            (Some(source), Some(destination)) => Self::V4 { source, destination },
            _ => Self::V6 { source, destination },
        }
    }

    /// The way back.
    #[inline]
    pub fn swapped(&self) -> Addresses {
        match *self {
            Self::V4 { source, destination } => Self::V4 { source: destination, destination: source },
            Self::V6 { source, destination } => Self::V6 { source: destination, destination: source },
        }
    }

    /// Bytes of the IP header.
    #[inline]
    pub fn header_length(&self) -> usize {
        match self {
            Self::V4 { .. } => IPV4_LENGTH,
            Self::V6 { .. } => IPV6_LENGTH,
        }
    }
}

#[inline]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d]
}

#[inline]
fn unmapped(address: [u8; 16]) -> Option<[u8; 4]> {
    match address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}
