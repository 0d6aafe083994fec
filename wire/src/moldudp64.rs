//! MoldUDP64 1.00: the datagram that carries numbered messages, and its request packet; not the recovery of lost ones.
//!
//! ```text
//! 0  session   10 bytes     18 count u16
//! 10 sequence  u64          20 count x { length u16, message }
//! ```
//! The sequence is that of the first message. A request packet is a header alone: first message wanted, how many.

use crate::DecodeError;
use crate::message_macro::{read, write};

/// Bytes of the header, and of a request packet.
pub const HEADER_LENGTH: usize = 20;
/// Bytes of a session name.
pub const SESSION_LENGTH: usize = 10;
/// Bytes in front of each message.
pub const BLOCK_HEADER_LENGTH: usize = 2;
/// A count that means: nothing in here, `sequence` is the next.
pub const HEARTBEAT: u16 = 0;
/// A count that means: the stream has ended, `sequence` is the one after the last.
pub const END_OF_SESSION: u16 = 0xFFFF;
/// UDP payload that fits into an Ethernet frame of MTU 1500 over IPv4 (1500 - 20 - 8).
pub const MAX_PAYLOAD: usize = 1472;
/// Session name of a control datagram: sequence 0, one block, which is a SoupBinTCP packet body.
pub const CONTROL_SESSION: [u8; SESSION_LENGTH] = [b' '; SESSION_LENGTH];

/// The first 20 bytes of every datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub session: [u8; SESSION_LENGTH],
    /// Of the first message; of the next one when there is none; of the first one wanted in a request.
    pub sequence: u64,
    /// How many messages follow (or are wanted), or [`HEARTBEAT`], or [`END_OF_SESSION`].
    pub count: u16,
}

impl Header {
    /// The header at the front of `bytes`, whatever follows it.
    #[inline]
    pub fn read(bytes: &[u8]) -> Result<Header, DecodeError> {
        match bytes.first_chunk::<HEADER_LENGTH>() {
            Some(header) => Ok(Header {
                session: read::<0, SESSION_LENGTH, _>(header),
                sequence: u64::from_be_bytes(read::<10, 8, _>(header)),
                count: u16::from_be_bytes(read::<18, 2, _>(header)),
            }),
            None => {
                Err(DecodeError::TooShort { what: "MoldUDP64 header", need: HEADER_LENGTH, got: bytes.len() })
            }
        }
    }

    /// Returns [`HEADER_LENGTH`], or 0 with nothing written when `out` is shorter.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(header) = out.first_chunk_mut::<HEADER_LENGTH>() else { return 0 };
        write::<0, SESSION_LENGTH, _>(header, self.session);
        write::<10, 8, _>(header, self.sequence.to_be_bytes());
        write::<18, 2, _>(header, self.count.to_be_bytes());
        HEADER_LENGTH
    }

    /// How many message blocks follow the header of a downstream packet.
    #[inline]
    pub fn block_count(&self) -> u16 {
        if self.count == END_OF_SESSION { 0 } else { self.count }
    }
}

/// A downstream packet, every block of which has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    blocks: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a whole UDP payload: as many blocks as the header counts, and nothing after them.
    /// Refuses sequence numbers whose end does not fit into a u64, so that `sequence + count` cannot overflow.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "MoldUDP64 packet";
        let header = Header::read(bytes)?;
        if header.sequence.checked_add(u64::from(header.block_count())).is_none() {
            return Err(DecodeError::BadField { what: WHAT, field: "sequence" });
        }
        let blocks = &bytes[HEADER_LENGTH..];
        let mut rest = blocks;
        for _ in 0..header.block_count() {
            rest = match split_block(rest) {
                Some((_, after)) => after,
                None => {
                    let claimed =
                        rest.first_chunk().map_or(0, |&length| usize::from(u16::from_be_bytes(length)));
                    let need = bytes.len() - rest.len() + BLOCK_HEADER_LENGTH + claimed;
                    return Err(DecodeError::BadLength { what: WHAT, need, got: bytes.len() });
                }
            };
        }
        if !rest.is_empty() {
            let need = bytes.len() - rest.len();
            return Err(DecodeError::BadLength { what: WHAT, need, got: bytes.len() });
        }
        Ok(Self { header, blocks })
    }

    /// The messages, in order; the first has the header's sequence.
    #[inline]
    pub fn blocks(&self) -> Blocks<'a> {
        Blocks { rest: self.blocks, count: self.header.block_count() }
    }
}

#[inline]
fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first_chunk::<BLOCK_HEADER_LENGTH>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(length)))
}

/// Iterator over the messages of a [`Packet`].
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    rest: &'a [u8],
    count: u16,
}

impl<'a> Iterator for Blocks<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (block, rest) = split_block(self.rest)?;
        self.rest = rest;
        self.count = self.count.saturating_sub(1);
        Some(block)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.count), Some(usize::from(self.count)))
    }
}

impl ExactSizeIterator for Blocks<'_> {}

/// Writes a downstream packet block by block.
///
/// ```
/// use wire::moldudp64::{Packet, PacketWriter};
/// let mut buffer = [0; wire::moldudp64::MAX_PAYLOAD];
/// let mut writer = PacketWriter::new(&mut buffer, *b"DAAAAAAAAA", 5).unwrap();
/// assert!(writer.push(b"message"));
/// let length = writer.finish();
/// assert_eq!(Packet::parse(&buffer[..length]).unwrap().blocks().next(), Some(&b"message"[..]));
/// ```
#[derive(Debug)]
pub struct PacketWriter<'a> {
    out: &'a mut [u8],
    header: Header,
    length: usize,
}

impl<'a> PacketWriter<'a> {
    /// `None` when `out` has no room for the header.
    #[inline]
    pub fn new(out: &'a mut [u8], session: [u8; SESSION_LENGTH], sequence: u64) -> Option<Self> {
        (out.len() >= HEADER_LENGTH).then_some(Self {
            out,
            header: Header { session, sequence, count: 0 },
            length: HEADER_LENGTH,
        })
    }

    /// Appends one message; false, with nothing changed, when it does not fit.
    #[inline]
    pub fn push(&mut self, message: &[u8]) -> bool {
        self.push_with(message.len(), |block| {
            block.copy_from_slice(message);
            message.len()
        })
    }

    /// Appends one message of at most `max_length` bytes that `fill` writes in place, returning its length (more than
    /// `max_length` counts as `max_length`). False, with `fill` not called, when `max_length` bytes do not fit.
    #[inline]
    pub fn push_with(&mut self, max_length: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let start = self.length + BLOCK_HEADER_LENGTH;
        if max_length > usize::from(u16::MAX) || self.header.count == END_OF_SESSION - 1 {
            return false;
        }
        let Some(block) = self.out.get_mut(start..start + max_length) else { return false };
        let length = fill(block).min(max_length);
        self.out[self.length..start].copy_from_slice(&(length as u16).to_be_bytes());
        self.length = start + length;
        self.header.count += 1;
        true
    }

    /// Messages so far.
    #[inline]
    pub fn count(&self) -> u16 {
        self.header.count
    }

    /// Writes the header; returns the length of the packet, a heartbeat when nothing was pushed.
    #[inline]
    pub fn finish(self) -> usize {
        self.header.write(self.out);
        self.length
    }
}
