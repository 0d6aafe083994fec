//! A run of consecutive messages as they stand in a datagram: checked blocks and the sequence of the first. It borrows, and copies nothing.

use wire::moldudp64::{BLOCK_HEADER_LENGTH, END_OF_SESSION};

/// Consecutive messages of one stream. Every block has been checked: `blocks` holds exactly `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// Sequence of the first message.
    pub first: u64,
    /// How many messages there are; at least 1 in a delivered run.
    pub count: u16,
    /// The messages as mold blocks: `count` x { length u16, bytes }.
    pub blocks: &'a [u8],
}

/// Bytes of an acknowledgement that rides behind the blocks of a datagram: the next sequence expected, big-endian.
pub const RIDER_LENGTH: usize = 8;

/// How long an acknowledgement waits for a message to ride behind: 1,000 clients that share 350,000 orders/s have one each 3 ms. At 1 ms
/// each of their lone orders took 1.7 datagrams. At 40 ms those of 5,000 clients were spared as well, but what was lost was found out so
/// late that a network that loses 10% let through half.
pub(crate) const RIDING_ACK_DELAY_NS: u64 = 5_000_000;

/// The bytes were not the claimed number of whole blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {count} whole message blocks in {length} bytes from sequence {first}")]
pub struct BadBlocks {
    pub first: u64,
    pub count: u16,
    pub length: usize,
}

impl<'a> Run<'a> {
    /// Checks that `blocks` is exactly `count` message blocks and that their sequences fit into a u64.
    #[inline]
    pub fn parse(first: u64, count: u16, blocks: &'a [u8]) -> Result<Self, BadBlocks> {
        match Self::parse_ridden(first, count, blocks) {
            Ok((run, None)) => Ok(run),
            Ok((_, Some(_))) => Err(BadBlocks { first, count, length: blocks.len() }),
            Err(bad) => Err(bad),
        }
    }

    /// As [`Run::parse`], where [`RIDER_LENGTH`] bytes may follow the blocks: an acknowledgement of the other stream.
    #[inline]
    pub fn parse_ridden(first: u64, count: u16, bytes: &'a [u8]) -> Result<(Self, Option<u64>), BadBlocks> {
        let bad = BadBlocks { first, count, length: bytes.len() };
        if count == END_OF_SESSION || first.checked_add(u64::from(count)).is_none() {
            return Err(bad);
        }
        let mut rest = bytes;
        for _ in 0..count {
            rest = split_block(rest).ok_or(bad)?.1;
        }
        let blocks = &bytes[..bytes.len() - rest.len()];
        let rider = match <[u8; RIDER_LENGTH]>::try_from(rest) {
            Ok(rider) if count > 0 => Some(u64::from_be_bytes(rider)),
            _ if rest.is_empty() => None,
            _ => return Err(bad),
        };
        Ok((Run { first, count, blocks }, rider))
    }

    /// Sequence after the last message.
    #[inline]
    pub fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// The part of the run from `sequence` on: all of it if `sequence` is not beyond its first, nothing if it is beyond its last.
    #[inline]
    pub fn skip_to(&self, sequence: u64) -> Run<'a> {
        let mut run = *self;
        while run.first < sequence && run.count > 0 {
            // Blocks were checked by `parse`; should one be short all the same, the rest of the run is empty.
            run.blocks = split_block(run.blocks).map_or(&[], |(_, rest)| rest);
            run.first += 1;
            run.count -= 1;
        }
        run
    }

    /// The messages with their sequences.
    #[inline]
    pub fn messages(&self) -> Messages<'a> {
        Messages { next: self.first, rest: self.blocks }
    }
}

/// Iterator over the messages of a [`Run`]: (sequence, bytes).
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    next: u64,
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = (u64, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (message, rest) = split_block(self.rest)?;
        let sequence = self.next;
        self.rest = rest;
        self.next += 1;
        Some((sequence, message))
    }
}

#[inline]
fn split_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<BLOCK_HEADER_LENGTH>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_walked_message_by_message_and_skipped_from_the_front() {
        let blocks = [0, 1, b'a', 0, 0, 0, 2, b'b', b'c'];
        let run = Run::parse(7, 3, &blocks).unwrap();
        let messages: Vec<_> = run.messages().collect();
        assert_eq!(messages, [(7, &b"a"[..]), (8, &b""[..]), (9, &b"bc"[..])]);
        assert_eq!(run.skip_to(7), run);
        assert_eq!(run.skip_to(8), Run { first: 8, count: 2, blocks: &blocks[3..] });
        assert_eq!(run.skip_to(99).count, 0);
    }

    #[test]
    fn wrong_counts_lengths_and_sequences_are_refused() {
        let blocks = [0, 1, b'a', 0, 0];
        assert!(Run::parse(1, 2, &blocks).is_ok());
        assert!(Run::parse(1, 1, &blocks).is_err(), "bytes left over");
        assert!(Run::parse(1, 3, &blocks).is_err(), "a block missing");
        assert!(Run::parse(1, 1, &[0, 5, 1]).is_err(), "a block longer than the datagram");
        assert!(Run::parse(1, 1, &[0]).is_err(), "half a length");
        assert!(Run::parse(u64::MAX - 1, 2, &blocks).is_err(), "sequence overflow");
        assert!(Run::parse(1, END_OF_SESSION, &[]).is_err());
    }
}
