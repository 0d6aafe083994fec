//! The UDP header (RFC 768); its checksum is judged in `datagram`, which knows the addresses.

use crate::DecodeError;
use crate::message_macro::{read, write};

/// Bytes of the header.
pub const UDP_LENGTH: usize = 8;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    pub source_port: u16,
    pub destination_port: u16,
    /// Header and payload.
    pub length: u16,
    /// As it stands in the header; 0 = none.
    pub checksum: u16,
}

impl Udp {
    /// Takes exactly the payload of an IP packet; the header's length must be the length of that.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<(Udp, &[u8]), DecodeError> {
        const WHAT: &str = "UDP datagram";
        let Some((header, payload)) = bytes.split_first_chunk::<UDP_LENGTH>() else {
            return Err(DecodeError::TooShort { what: WHAT, need: UDP_LENGTH, got: bytes.len() });
        };
        let udp = Udp {
            source_port: u16::from_be_bytes(read::<0, 2, _>(header)),
            destination_port: u16::from_be_bytes(read::<2, 2, _>(header)),
            length: u16::from_be_bytes(read::<4, 2, _>(header)),
            checksum: u16::from_be_bytes(read::<6, 2, _>(header)),
        };
        if usize::from(udp.length) != bytes.len() {
            return Err(DecodeError::BadLength {
                what: WHAT,
                need: usize::from(udp.length),
                got: bytes.len(),
            });
        }
        Ok((udp, payload))
    }

    /// Returns [`UDP_LENGTH`], or 0 when `out` is shorter.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(header) = out.first_chunk_mut::<UDP_LENGTH>() else { return 0 };
        write::<0, 2, _>(header, self.source_port.to_be_bytes());
        write::<2, 2, _>(header, self.destination_port.to_be_bytes());
        write::<4, 2, _>(header, self.length.to_be_bytes());
        write::<6, 2, _>(header, self.checksum.to_be_bytes());
        UDP_LENGTH
    }
}
