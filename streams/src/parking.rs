//! Where early datagrams wait for the ones before them: a pool of fixed buffers shared by every session of a thread. It knows nothing of gaps or time.

use super::run::Run;

/// Stands for "no slot" in links, so that a link is 4 bytes.
const NONE: u32 = u32::MAX;

/// A pool of `slots` buffers of `slot_bytes` each, allocated once. A session holds only the head of its chain.
pub struct ParkingPool {
    bytes: Box<[u8]>,
    slots: Box<[Slot]>,
    slot_bytes: usize,
    free_head: u32,
    free_count: u32,
    /// Buffers that one session may hold.
    share: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    first: u64,
    length: u32,
    count: u16,
    next: u32,
}

/// One session's parked datagrams, chained by ascending sequence. Must be emptied into its pool before it is dropped.
#[derive(Debug)]
pub(super) struct Parked {
    head: u32,
    tail: u32,
    count: u32,
}

impl ParkingPool {
    /// `slot_bytes` is the longest block area of a datagram: its payload without the header.
    pub fn new(slots: u32, slot_bytes: usize) -> Self {
        let slots = slots.min(NONE - 1);
        let chain = (0..slots).map(|index| Slot {
            first: 0,
            length: 0,
            count: 0,
            next: if index + 1 < slots { index + 1 } else { NONE },
        });
        ParkingPool {
            bytes: vec![0; slots as usize * slot_bytes].into_boxed_slice(),
            slots: chain.collect(),
            slot_bytes,
            free_head: if slots == 0 { NONE } else { 0 },
            free_count: slots,
            share: slots,
        }
    }

    /// The same pool, of which one session may hold `share` buffers at most, whatever it withholds; at least one.
    pub fn with_share(self, share: u32) -> Self {
        ParkingPool { share: share.max(1), ..self }
    }

    /// Buffers not in use.
    pub fn free(&self) -> u32 {
        self.free_count
    }

    /// Buffers altogether.
    pub fn capacity(&self) -> u32 {
        self.slots.len() as u32
    }

    fn take(&mut self) -> Option<u32> {
        let index = self.free_head;
        let slot = self.slots.get(index as usize)?;
        self.free_head = slot.next;
        self.free_count -= 1;
        Some(index)
    }

    fn give_back(&mut self, index: u32) {
        self.slots[index as usize].next = self.free_head;
        self.free_head = index;
        self.free_count += 1;
    }

    pub(super) fn run(&self, index: u32) -> Run<'_> {
        let slot = &self.slots[index as usize];
        let start = index as usize * self.slot_bytes;
        Run { first: slot.first, count: slot.count, blocks: &self.bytes[start..start + slot.length as usize] }
    }
}

/// What became of a datagram offered to [`Parked::insert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Insert {
    Parked,
    /// Everything in it is parked already.
    Duplicate,
    /// No slot is free, the session has its share of them, or it is longer than a slot.
    NoRoom,
}

impl Parked {
    pub(super) const fn new() -> Self {
        Parked { head: NONE, tail: NONE, count: 0 }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Parks a copy of the run in its place. The walk is bounded by the session's own limit on parked datagrams.
    pub(super) fn insert(&mut self, pool: &mut ParkingPool, run: &Run<'_>) -> Insert {
        let mut previous = NONE;
        let mut at = self.head;
        if self.tail != NONE {
            // The usual case, behind a single loss: each datagram follows the last one.
            let last = &pool.slots[self.tail as usize];
            if last.first + u64::from(last.count) <= run.first {
                (previous, at) = (self.tail, NONE);
            }
        }
        let mut covered_to = run.first;
        while at != NONE {
            let slot = pool.slots[at as usize];
            if slot.first <= covered_to {
                covered_to = covered_to.max(slot.first + u64::from(slot.count));
                if covered_to >= run.end() {
                    return Insert::Duplicate;
                }
            }
            if slot.first > run.first {
                break;
            }
            previous = at;
            at = slot.next;
        }
        if run.blocks.len() > pool.slot_bytes || self.count >= pool.share {
            return Insert::NoRoom;
        }
        let Some(index) = pool.take() else { return Insert::NoRoom };
        let start = index as usize * pool.slot_bytes;
        pool.bytes[start..start + run.blocks.len()].copy_from_slice(run.blocks);
        pool.slots[index as usize] =
            Slot { first: run.first, length: run.blocks.len() as u32, count: run.count, next: at };
        match previous {
            NONE => self.head = index,
            previous => pool.slots[previous as usize].next = index,
        }
        if at == NONE {
            self.tail = index;
        }
        self.count += 1;
        Insert::Parked
    }

    /// Whether the first parked run starts at or before `next`: it is due, or stale.
    #[inline]
    pub(super) fn is_due(&self, pool: &ParkingPool, next: u64) -> bool {
        self.head != NONE && pool.slots[self.head as usize].first <= next
    }

    /// Frees the first parked run and returns its place: what stood there can be read until the next insertion.
    pub(super) fn pop(&mut self, pool: &mut ParkingPool) -> Option<u32> {
        if self.head == NONE {
            return None;
        }
        let index = self.head;
        self.head = pool.slots[index as usize].next;
        if self.head == NONE {
            self.tail = NONE;
        }
        self.count -= 1;
        pool.give_back(index);
        Some(index)
    }

    /// Frees every parked run.
    pub(super) fn clear(&mut self, pool: &mut ParkingPool) {
        while self.pop(pool).is_some() {}
    }

    /// The first range of missing messages at or after `from`, below `highest`: (first missing, end).
    pub(super) fn hole(&self, pool: &ParkingPool, from: u64, highest: u64) -> Option<(u64, u64)> {
        let mut start = from;
        let mut at = self.head;
        while at != NONE {
            let slot = &pool.slots[at as usize];
            if slot.first > start {
                return (start < highest).then_some((start, slot.first.min(highest)));
            }
            start = start.max(slot.first + u64::from(slot.count));
            at = slot.next;
        }
        (start < highest).then_some((start, highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, count: u16) -> Run<'static> {
        const ZEROES: [u8; 64] = [0; 64];
        Run { first, count, blocks: &ZEROES[..usize::from(count) * 2] }
    }

    #[test]
    fn runs_come_back_in_order_whatever_order_they_came_in() {
        let mut pool = ParkingPool::new(4, 64);
        let mut parked = Parked::new();
        for first in [9, 3, 6] {
            assert_eq!(parked.insert(&mut pool, &run(first, 2)), Insert::Parked);
        }
        assert_eq!(parked.insert(&mut pool, &run(6, 2)), Insert::Duplicate);
        assert_eq!(parked.insert(&mut pool, &run(7, 1)), Insert::Duplicate);
        assert!(!parked.is_due(&pool, 2));
        let mut firsts = vec![];
        while let Some(place) = parked.pop(&mut pool) {
            firsts.push(pool.run(place).first);
        }
        assert_eq!(firsts, [3, 6, 9]);
        assert_eq!(pool.free(), 4);
    }

    #[test]
    fn holes_are_found_between_parked_runs_and_after_the_last() {
        let mut pool = ParkingPool::new(4, 64);
        let mut parked = Parked::new();
        parked.insert(&mut pool, &run(3, 2));
        parked.insert(&mut pool, &run(8, 2));
        assert_eq!(parked.hole(&pool, 1, 12), Some((1, 3)));
        assert_eq!(parked.hole(&pool, 3, 12), Some((5, 8)));
        assert_eq!(parked.hole(&pool, 8, 12), Some((10, 12)));
        assert_eq!(parked.hole(&pool, 8, 10), None);
        assert_eq!(parked.hole(&pool, 1, 2), Some((1, 2)));
    }

    #[test]
    fn a_run_covered_by_several_parked_ones_is_a_duplicate() {
        let mut pool = ParkingPool::new(4, 64);
        let mut parked = Parked::new();
        parked.insert(&mut pool, &run(3, 2));
        parked.insert(&mut pool, &run(5, 2));
        assert_eq!(parked.insert(&mut pool, &run(3, 4)), Insert::Duplicate);
        assert_eq!(parked.insert(&mut pool, &run(4, 4)), Insert::Parked, "7 is new");
    }

    #[test]
    fn one_session_takes_no_more_than_its_share() {
        let mut pool = ParkingPool::new(8, 64).with_share(2);
        let (mut greedy, mut other) = (Parked::new(), Parked::new());
        for first in [3, 5] {
            assert_eq!(greedy.insert(&mut pool, &run(first, 1)), Insert::Parked);
        }
        assert_eq!(greedy.insert(&mut pool, &run(7, 1)), Insert::NoRoom);
        assert_eq!(other.insert(&mut pool, &run(7, 1)), Insert::Parked);
        greedy.pop(&mut pool);
        assert_eq!(greedy.insert(&mut pool, &run(7, 1)), Insert::Parked);
    }

    #[test]
    fn an_exhausted_pool_and_an_overlong_run_are_refused() {
        let mut pool = ParkingPool::new(1, 4);
        let mut parked = Parked::new();
        assert_eq!(parked.insert(&mut pool, &run(3, 3)), Insert::NoRoom);
        assert_eq!(parked.insert(&mut pool, &run(3, 2)), Insert::Parked);
        assert_eq!(parked.insert(&mut pool, &run(9, 1)), Insert::NoRoom);
        parked.clear(&mut pool);
        assert_eq!((pool.free(), parked.count()), (1, 0));
    }
}
