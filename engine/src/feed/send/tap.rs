//! The bounded ring by which the shard thread hands feed datagrams to the feed thread. Bytes, so that short datagrams take
//! little room. Neither side ever waits for the other.

use rtrb::{Consumer, Producer, RingBuffer};
use wire::moldudp64::MAX_PAYLOAD;

/// Bytes in front of each datagram: its length.
const PREFIX: usize = 2;

/// The shard's end.
pub struct TapWriter {
    bytes: Producer<u8>,
}

/// The feed thread's end.
pub struct TapReader {
    bytes: Consumer<u8>,
    datagram: Box<[u8; MAX_PAYLOAD]>,
}

/// Both ends of a ring of `capacity` bytes.
pub fn tap(capacity: usize) -> (TapWriter, TapReader) {
    let (producer, consumer) = RingBuffer::new(capacity.max(PREFIX + MAX_PAYLOAD));
    (TapWriter { bytes: producer }, TapReader { bytes: consumer, datagram: Box::new([0; MAX_PAYLOAD]) })
}

impl TapWriter {
    /// False, with nothing written, when there is no room.
    #[inline]
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        if self.bytes.slots() < PREFIX + datagram.len() {
            return false;
        }
        // Cannot fail: there is room for both, and this is the only producer.
        let whole = self.bytes.push_entire_slice(&length.to_be_bytes()).is_ok();
        whole && self.bytes.push_entire_slice(datagram).is_ok()
    }
}

impl TapReader {
    /// The next datagram, once all of it is there.
    pub fn pop(&mut self) -> Option<&[u8]> {
        let length = {
            let chunk = self.bytes.read_chunk(PREFIX).ok()?;
            let (first, second) = chunk.as_slices();
            let mut bytes = first.iter().chain(second);
            // Not committed: the prefix stays until the datagram is whole.
            u16::from_be_bytes([*bytes.next()?, *bytes.next()?])
        };
        let length = usize::from(length).min(MAX_PAYLOAD);
        let chunk = self.bytes.read_chunk(PREFIX + length).ok()?;
        let (first, second) = chunk.as_slices();
        let skipped = PREFIX.min(first.len());
        let head = &first[skipped..];
        let tail = &second[PREFIX - skipped..];
        self.datagram[..head.len()].copy_from_slice(head);
        self.datagram[head.len()..length].copy_from_slice(tail);
        chunk.commit_all();
        Some(&self.datagram[..length])
    }

    /// Whether the shard's end is gone.
    pub fn is_abandoned(&self) -> bool {
        self.bytes.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_out_as_they_went_in_wherever_the_ring_wraps() {
        let (mut writer, mut reader) = tap(4000);
        let (mut pushed, mut popped) = (0usize, 0usize);
        let datagram = |number: usize| vec![number as u8; 20 + number * 37 % 1400];
        for _ in 0..5000 {
            while writer.push(&datagram(pushed)) {
                pushed += 1;
            }
            assert!(pushed > popped, "a full ring has something to give");
            for _ in 0..2 {
                if let Some(found) = reader.pop() {
                    assert_eq!(found, datagram(popped));
                    popped += 1;
                }
            }
        }
        while reader.pop().is_some() {
            popped += 1;
        }
        assert_eq!(pushed, popped);
    }
}
