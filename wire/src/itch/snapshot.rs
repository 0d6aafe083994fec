//! The message that ends a GLIMPSE 5.0 snapshot; not the snapshot, which is ITCH messages.

use crate::DecodeError;
use crate::message_macro::{read, write};
use crate::soupbintcp::{SEQUENCE_LENGTH, format_number, parse_number};

/// Snapshot `G`: type, then the sequence number in ASCII, padded left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlimpseSnapshot {
    /// Sequence of the first real-time ITCH message that the snapshot does not contain.
    pub sequence: u64,
}

impl GlimpseSnapshot {
    pub const TYPE: u8 = b'G';
    /// Bytes of the message.
    pub const LENGTH: usize = 1 + SEQUENCE_LENGTH;

    /// Takes exactly one message.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "GlimpseSnapshot";
        let message: &[u8; Self::LENGTH] = bytes.try_into().map_err(|_| DecodeError::BadLength {
            what: WHAT,
            need: Self::LENGTH,
            got: bytes.len(),
        })?;
        if message[0] != Self::TYPE {
            return Err(DecodeError::UnknownType(message[0]));
        }
        let sequence = parse_number(&read::<1, SEQUENCE_LENGTH, _>(message))
            .ok_or(DecodeError::BadField { what: WHAT, field: "sequence number" })?;
        Ok(Self { sequence })
    }

    /// Returns [`LENGTH`](Self::LENGTH), or 0 with nothing written when `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(message) = out.first_chunk_mut::<{ Self::LENGTH }>() else { return 0 };
        message[0] = Self::TYPE;
        write::<1, SEQUENCE_LENGTH, _>(message, format_number(self.sequence));
        Self::LENGTH
    }
}
