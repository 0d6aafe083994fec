//! The memory of a sending stream: messages as ready-made mold blocks in a byte ring, found by sequence. It decides nothing about sending.
//!
//! Positions count bytes ever written and wrap around; a block starts at its position modulo the capacity and lies in one piece,
//! running over the end into a slop of one longest block if need be. The next block then starts as far from the front as
//! that one ran over, so positions stay plain sums of lengths, and a stretch of blocks is at most two pieces.

use wire::moldudp64::{BLOCK_HEADER_LENGTH, END_OF_SESSION};

/// Most blocks in a datagram: one more would mean end of session.
const BLOCKS_MAX: u64 = END_OF_SESSION as u64 - 1;

/// Largest ring, so that positions modulo 2^32 keep their order.
const CAPACITY_MAX: usize = 1 << 30;

pub(super) struct BlockRing {
    bytes: Box<[u8]>,
    /// Position of each retained message's block.
    positions: Box<[u32]>,
    capacity: u32,
    first: u64,
    next: u64,
    first_position: u32,
    next_position: u32,
}

impl BlockRing {
    pub(super) fn new(bytes: usize, messages: usize, message_bytes_max: usize, next: u64) -> Self {
        let slop = BLOCK_HEADER_LENGTH + message_bytes_max;
        let capacity = bytes.max(slop).min(CAPACITY_MAX).next_power_of_two();
        let messages = messages.clamp(1, CAPACITY_MAX).next_power_of_two();
        BlockRing {
            bytes: vec![0; capacity + slop].into_boxed_slice(),
            positions: vec![0; messages].into_boxed_slice(),
            capacity: capacity as u32,
            first: next,
            next,
            first_position: 0,
            next_position: 0,
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn used(&self) -> u32 {
        self.next_position.wrapping_sub(self.first_position)
    }

    /// Where a position lies in `bytes`.
    fn offset(&self, position: u32) -> usize {
        (position & (self.capacity - 1)) as usize
    }

    /// Position of the block of a retained message, or of the end for `next`.
    fn position(&self, sequence: u64) -> u32 {
        if sequence == self.next {
            self.next_position
        } else {
            self.positions[sequence as usize & (self.positions.len() - 1)]
        }
    }

    /// Whether a message of `length` bytes fits without evicting one.
    #[inline]
    pub(super) fn has_room(&self, length: usize) -> bool {
        let free = (self.capacity - self.used()) as usize;
        free >= BLOCK_HEADER_LENGTH + length && self.next - self.first < self.positions.len() as u64
    }

    /// Bytes of the messages from `from` on, which must be retained.
    pub(super) fn bytes_from(&self, from: u64) -> u32 {
        self.next_position.wrapping_sub(self.position(from))
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Drops the oldest message.
    pub(super) fn evict(&mut self) {
        if self.first < self.next {
            self.first += 1;
            self.first_position = self.position(self.first);
        }
    }

    /// Appends a message of at most `max_length` bytes, for which the caller made sure that there is room.
    #[inline]
    pub(super) fn push(&mut self, max_length: usize, fill: impl FnOnce(&mut [u8]) -> usize) -> u64 {
        debug_assert!(self.has_room(max_length));
        let start = self.offset(self.next_position);
        let block = &mut self.bytes[start..start + BLOCK_HEADER_LENGTH + max_length];
        let (header, body) = block.split_at_mut(BLOCK_HEADER_LENGTH);
        let length = fill(body).min(max_length);
        header.copy_from_slice(&(length as u16).to_be_bytes());
        let sequence = self.next;
        self.positions[sequence as usize & (self.positions.len() - 1)] = self.next_position;
        self.next_position = self.next_position.wrapping_add((BLOCK_HEADER_LENGTH + length) as u32);
        self.next += 1;
        sequence
    }

    /// A retained message's block, header included.
    pub(super) fn block(&self, sequence: u64) -> Option<&[u8]> {
        if sequence < self.first || sequence >= self.next {
            return None;
        }
        let start = self.offset(self.position(sequence));
        let length = self.position(sequence + 1).wrapping_sub(self.position(sequence)) as usize;
        Some(&self.bytes[start..start + length])
    }

    /// How many whole blocks from `from` on fit into `space` bytes and one datagram's count. `from` must be retained.
    #[inline]
    fn fitting(&self, from: u64, until: u64, space: usize) -> u64 {
        let start = self.position(from);
        let fits = |sequence: u64| self.position(sequence).wrapping_sub(start) as usize <= space;
        let until = until.min(from + BLOCKS_MAX);
        if fits(until) {
            return until - from;
        }
        // Greatest sequence whose position fits: positions ascend.
        let (mut low, mut high) = (from, until);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        low - from
    }

    /// Copies whole blocks `from..until` to `out`, as many as fit: (bytes, blocks). `None` if not even one is retained and fits.
    #[inline]
    pub(super) fn copy_blocks(&self, from: u64, until: u64, out: &mut [u8]) -> Option<(usize, u16)> {
        let until = until.min(self.next);
        if from < self.first || from >= until {
            return None;
        }
        let count = self.fitting(from, until, out.len());
        if count == 0 {
            return None;
        }
        let position = self.position(from);
        let length = self.position(from + count).wrapping_sub(position) as usize;
        let to_last = self.position(from + count - 1).wrapping_sub(position) as usize;
        let start = self.offset(position);
        let out = &mut out[..length];
        if start + to_last < self.capacity as usize {
            out.copy_from_slice(&self.bytes[start..start + length]);
        } else {
            self.copy_in_two(from, from + count, out);
        }
        Some((length, count as u16))
    }

    /// Copies blocks across the end of the ring one by one: rare enough not to look for the cut.
    #[cold]
    fn copy_in_two(&self, from: u64, until: u64, out: &mut [u8]) {
        let mut at = 0;
        for sequence in from..until {
            if let Some(block) = self.block(sequence) {
                out[at..at + block.len()].copy_from_slice(block);
                at += block.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(ring: &mut BlockRing, message: &[u8]) -> u64 {
        while !ring.has_room(message.len()) {
            ring.evict();
        }
        ring.push(message.len(), |out| {
            out.copy_from_slice(message);
            message.len()
        })
    }

    /// Message `sequence` of a stream of changing lengths.
    fn message(sequence: u64) -> Vec<u8> {
        vec![sequence as u8; (sequence * 7 % 24) as usize]
    }

    #[test]
    fn what_is_retained_is_what_was_pushed_round_after_round() {
        let mut ring = BlockRing::new(128, 16, 24, 1);
        for sequence in 1..2000 {
            assert_eq!(push(&mut ring, &message(sequence)), sequence);
            assert!(ring.used() <= 128);
            assert!(
                ring.next() - ring.first() >= sequence.min(4),
                "the ring holds at least four of the longest"
            );
            for retained in ring.first()..ring.next() {
                assert_eq!(ring.block(retained).unwrap()[2..], message(retained));
            }
            assert_eq!(ring.block(ring.first() - 1), None);
            assert_eq!(ring.block(ring.next()), None);
        }
    }

    #[test]
    fn copies_are_whole_blocks_and_as_many_as_fit_wherever_the_ring_wraps() {
        let mut ring = BlockRing::new(128, 16, 24, 1);
        for sequence in 1..500 {
            push(&mut ring, &message(sequence));
            for from in ring.first()..ring.next() {
                for space in [1, 2, 30, 77, 200] {
                    let mut expected = vec![];
                    let mut expected_count = 0;
                    for block in (from..ring.next()).map(|sequence| ring.block(sequence).unwrap()) {
                        if expected.len() + block.len() > space {
                            break;
                        }
                        expected.extend_from_slice(block);
                        expected_count += 1;
                    }
                    let mut out = vec![0; space];
                    match ring.copy_blocks(from, u64::MAX, &mut out) {
                        Some((length, count)) => {
                            assert_eq!((count, &out[..length]), (expected_count, &expected[..]));
                        }
                        None => assert_eq!(expected_count, 0),
                    }
                }
            }
        }
    }
}
