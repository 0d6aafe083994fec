//! Who has each frame of a umem: nobody, the batch, or the kernel, to be filled or to be sent. No rings and no packets: those who have them
//! hand descriptors in and out here, and a frame can be in one place only.
//!
//! ```text
//!   free stacks --> fill ring --> kernel --> receive ring --> batch --+--> free stacks (released)
//!       ^     \                                                       |
//!       |      +--> (written by its caller) --> transmit ring <-------+ (answered in place)
//!       +--- Completed <--- completion ring <----- kernel
//! ```
//! There are two free stacks, and a frame's address says which is its home: what another core has filled is not what this one
//! writes next, so the frames that are sent stay in this core's cache. Either stack helps out when the other is empty.

use crate::port::RX_BATCH;

const _: () = assert!(RX_BATCH <= u64::BITS as usize, "`Frames::held` has one bit per frame of a batch");

/// What names a frame to the kernel.
pub trait Descriptor: Copy + Default {
    fn address(&self) -> usize;
}

/// A frame that nobody else has: it may be written, and given to the kernel.
struct Free<D>(D);

/// A frame that the kernel has sent and given back. It is not free before it is home.
struct Completed<D>(D);

impl<D> Completed<D> {
    fn reclaimed(self) -> Free<D> {
        Free(self.0)
    }
}

/// Free frames. Last in, first out: the frame whose bytes are still in the cache is the next to be written.
struct Stack<D>(Vec<D>);

impl<D: Descriptor> Stack<D> {
    fn push(&mut self, Free(descriptor): Free<D>) {
        debug_assert!(self.0.len() < self.0.capacity(), "a stack grows on the order path");
        self.0.push(descriptor);
    }

    fn pop(&mut self) -> Option<Free<D>> {
        self.0.pop().map(Free)
    }
}

/// Where the frames are, by count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    pub free: u32,
    pub in_batch: u32,
    /// In the fill ring, in the kernel, or in the receive ring.
    pub receiving: u32,
    /// In the transmit ring, in the kernel, or in the completion ring.
    pub transmitting: u32,
}

impl Census {
    pub const fn total(&self) -> u32 {
        self.free + self.in_batch + self.receiving + self.transmitting
    }
}

/// What became of a frame that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handed {
    Queued,
    /// Nothing was written into it: it is where it was.
    Withdrawn,
    /// No frame was free, or the ring had no room.
    Refused,
}

/// The frames of one socket.
pub struct Frames<D> {
    free_receive: Stack<D>,
    free_transmit: Stack<D>,
    /// Frames from this address on have their home on the transmit side.
    transmit_from: usize,
    batch: [D; RX_BATCH],
    /// Bit n: frame n of the batch is here.
    held: u64,
    receiving: u32,
    transmitting: u32,
    count: u32,
    /// What the completion ring brings is passed on from here.
    sent: [D; RX_BATCH],
}

impl<D: Descriptor> Frames<D> {
    /// All of them free. Those from the address `transmit_from` on are kept for sending.
    pub fn new(frames: Vec<D>, transmit_from: usize) -> Self {
        let count = frames.len();
        let (mut transmit, mut receive): (Vec<_>, Vec<_>) =
            frames.into_iter().partition(|frame| frame.address() >= transmit_from);
        // Either may come to hold them all; none grows on the order path.
        for stack in [&mut receive, &mut transmit] {
            stack.reserve_exact(count - stack.len());
        }
        Self {
            free_receive: Stack(receive),
            free_transmit: Stack(transmit),
            transmit_from,
            batch: [D::default(); RX_BATCH],
            held: 0,
            receiving: 0,
            transmitting: 0,
            count: count as u32,
            sent: [D::default(); RX_BATCH],
        }
    }

    pub const fn count(&self) -> u32 {
        self.count
    }

    pub fn census(&self) -> Census {
        Census {
            free: (self.free_receive.0.len() + self.free_transmit.0.len()) as u32,
            in_batch: self.held.count_ones(),
            receiving: self.receiving,
            transmitting: self.transmitting,
        }
    }

    #[inline]
    pub const fn receiving(&self) -> u32 {
        self.receiving
    }

    #[inline]
    pub const fn transmitting(&self) -> u32 {
        self.transmitting
    }

    #[inline]
    pub fn has_free_to_transmit(&self) -> bool {
        !self.free_transmit.0.is_empty()
    }

    #[inline]
    fn conserved(&self) {
        debug_assert_eq!(self.census().total(), self.count, "{:?}", self.census());
    }

    /// Takes what was received as the batch: `consume` writes descriptors and says how many. The last batch is released first.
    #[inline]
    pub fn take_batch(&mut self, consume: impl FnOnce(&mut [D]) -> usize) -> usize {
        self.release_batch();
        let count = consume(&mut self.batch);
        if count > 0 {
            debug_assert!(
                count <= RX_BATCH && count as u32 <= self.receiving,
                "{count} of {}",
                self.receiving
            );
            // All ones below bit `count`; a shift by 64 would be undefined.
            self.held = u64::MAX >> (u64::BITS as usize - count);
            self.receiving -= count as u32;
        }
        self.conserved();
        count
    }

    /// Frames of the batch, whoever has them: the first `count` that were taken.
    #[inline]
    pub fn batch(&self, count: usize) -> &[D] {
        &self.batch[..count]
    }

    /// Frame `index` of the batch, if it is here.
    #[inline]
    pub fn held(&self, index: usize) -> Option<&D> {
        self.holds(index).then(|| &self.batch[index])
    }

    #[inline]
    pub fn held_mut(&mut self, index: usize) -> Option<&mut D> {
        self.holds(index).then(|| &mut self.batch[index])
    }

    #[inline]
    pub const fn holds(&self, index: usize) -> bool {
        index < RX_BATCH && self.held & (1 << index) != 0
    }

    #[inline]
    pub fn release(&mut self, index: usize) {
        if self.holds(index) {
            self.held &= !(1 << index);
            self.put_home(Free(self.batch[index]));
        }
        self.conserved();
    }

    #[inline]
    fn release_batch(&mut self) {
        while self.held != 0 {
            let index = self.held.trailing_zeros() as usize;
            self.held &= self.held - 1;
            self.put_home(Free(self.batch[index]));
        }
    }

    /// Sends frame `index` of the batch as it is. Whatever becomes of it, it is not in the batch afterwards.
    #[inline]
    pub fn transmit_held(&mut self, index: usize, produce: impl FnOnce(&D) -> bool) -> Handed {
        if !self.holds(index) {
            return Handed::Refused;
        }
        self.held &= !(1 << index);
        self.submit(Free(self.batch[index]), produce)
    }

    /// Lets `write` put a packet into a free frame, and sends it. Neither is called when no frame is free; a frame that `write`
    /// leaves empty by returning false stays where it is, as does one in which it unwinds.
    #[inline]
    pub fn transmit_free(
        &mut self,
        write: impl FnOnce(&mut D) -> bool,
        produce: impl FnOnce(&D) -> bool,
    ) -> Handed {
        let stack =
            if self.has_free_to_transmit() { &mut self.free_transmit } else { &mut self.free_receive };
        let Some(next) = stack.0.last_mut() else { return Handed::Refused };
        if !write(next) {
            return Handed::Withdrawn;
        }
        match stack.pop() {
            Some(free) => self.submit(free, produce),
            None => Handed::Refused,
        }
    }

    /// The frame goes home when the ring has no room.
    #[inline]
    fn submit(&mut self, Free(descriptor): Free<D>, produce: impl FnOnce(&D) -> bool) -> Handed {
        let handed = if produce(&descriptor) {
            self.transmitting += 1;
            Handed::Queued
        } else {
            self.put_home(Free(descriptor));
            Handed::Refused
        };
        self.conserved();
        handed
    }

    /// Takes back what was sent: `consume` writes descriptors and says how many, until it has no more.
    #[inline]
    pub fn collect_completed(&mut self, mut consume: impl FnMut(&mut [D]) -> usize) {
        while self.transmitting > 0 {
            let count = consume(&mut self.sent);
            debug_assert!(count as u32 <= self.transmitting, "{count} of {}", self.transmitting);
            self.transmitting -= count as u32;
            for index in 0..count {
                self.put_home(Completed(self.sent[index]).reclaimed());
            }
            if count < self.sent.len() {
                break;
            }
        }
        self.conserved();
    }

    /// Gives free frames to be filled until `prefill` are: `produce` takes all that it is shown, or none.
    #[inline]
    pub fn give_to_receive(&mut self, prefill: u32, mut produce: impl FnMut(&[D]) -> usize) {
        for Stack(free) in [&mut self.free_receive, &mut self.free_transmit] {
            let wanted = prefill.saturating_sub(self.receiving) as usize;
            let keep = free.len() - wanted.min(free.len());
            let count = produce(&free[keep..]);
            if count > 0 {
                debug_assert_eq!(count, free.len() - keep, "the ring takes all or none");
                free.truncate(keep);
                self.receiving += count as u32;
            }
        }
        self.conserved();
    }

    #[inline]
    fn put_home(&mut self, free: Free<D>) {
        if free.0.address() >= self.transmit_from {
            self.free_transmit.push(free);
        } else {
            self.free_receive.push(free);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, VecDeque};

    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    struct Address(usize);

    impl Descriptor for Address {
        fn address(&self) -> usize {
            self.0
        }
    }

    const COUNT: usize = 150;
    const TRANSMIT_FROM: usize = 90;
    const PREFILL: u32 = 40;

    /// The kernel's side: what is in each ring and between them.
    #[derive(Default)]
    struct Kernel {
        fill: VecDeque<Address>,
        received: VecDeque<Address>,
        transmit: VecDeque<Address>,
        completed: VecDeque<Address>,
    }

    impl Kernel {
        fn consume(ring: &mut VecDeque<Address>, out: &mut [Address]) -> usize {
            let count = ring.len().min(out.len());
            out.iter_mut().zip(ring.drain(..count)).for_each(|(slot, frame)| *slot = frame);
            count
        }

        fn has(&self) -> impl Iterator<Item = Address> {
            [&self.fill, &self.received, &self.transmit, &self.completed].into_iter().flatten().copied()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Refill,
        /// The kernel fills this many frames.
        Arrive(usize),
        TakeBatch,
        Release(usize),
        /// Answered in place, into a ring that may be full.
        Answer(usize, bool),
        Send {
            writes: bool,
            has_room: bool,
        },
        /// The kernel sends this many.
        Complete(usize),
        Collect,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Refill),
            (0..80_usize).prop_map(Step::Arrive),
            Just(Step::TakeBatch),
            (0..70_usize).prop_map(Step::Release),
            (0..70_usize, any::<bool>()).prop_map(|(index, has_room)| Step::Answer(index, has_room)),
            (any::<bool>(), any::<bool>()).prop_map(|(writes, has_room)| Step::Send { writes, has_room }),
            (0..80_usize).prop_map(Step::Complete),
            Just(Step::Collect),
        ]
    }

    fn apply(frames: &mut Frames<Address>, kernel: &mut Kernel, step: &Step) {
        let Kernel { fill, received, transmit, completed } = kernel;
        match *step {
            Step::Refill => frames.give_to_receive(PREFILL, |free| {
                fill.extend(free);
                free.len()
            }),
            Step::Arrive(count) => received.extend(fill.drain(..count.min(fill.len()))),
            Step::TakeBatch => {
                frames.take_batch(|slots| Kernel::consume(received, slots));
            }
            Step::Release(index) => frames.release(index),
            Step::Answer(index, has_room) => {
                let held = frames.held(index).copied();
                let handed = frames.transmit_held(index, |&frame| {
                    assert_eq!(Some(frame), held, "the frame of the batch, and no other");
                    transmit.extend(has_room.then_some(frame));
                    has_room
                });
                assert_eq!(handed == Handed::Queued, held.is_some() && has_room);
                assert!(!frames.holds(index), "whatever became of it");
            }
            Step::Send { writes, has_room } => {
                let written = std::cell::Cell::new(None);
                let handed = frames.transmit_free(
                    |frame| {
                        written.set(Some(*frame));
                        writes
                    },
                    |&frame| {
                        assert_eq!(Some(frame), written.get());
                        transmit.extend(has_room.then_some(frame));
                        has_room
                    },
                );
                assert_eq!(handed == Handed::Queued, written.get().is_some() && writes && has_room);
            }
            Step::Complete(count) => completed.extend(transmit.drain(..count.min(transmit.len()))),
            Step::Collect => frames.collect_completed(|slots| Kernel::consume(completed, slots)),
        }
    }

    /// Every frame once, and where the census says.
    fn each_frame_is_in_one_place(frames: &Frames<Address>, kernel: &Kernel) {
        let free = frames.free_receive.0.iter().chain(&frames.free_transmit.0).copied();
        let held = (0..RX_BATCH).filter_map(|index| frames.held(index).copied());
        let all: Vec<Address> = free.chain(held).chain(kernel.has()).collect();
        let distinct: BTreeSet<Address> = all.iter().copied().collect();
        assert_eq!((all.len(), distinct.len()), (COUNT, COUNT), "a frame is missing or in two places");
        let census = frames.census();
        assert_eq!(census.receiving as usize, kernel.fill.len() + kernel.received.len());
        assert_eq!(census.transmitting as usize, kernel.transmit.len() + kernel.completed.len());
        assert!(frames.free_transmit.0.iter().all(|frame| frame.0 >= TRANSMIT_FROM), "each at home");
        assert!(frames.free_receive.0.iter().all(|frame| frame.0 < TRANSMIT_FROM), "each at home");
    }

    fn frames() -> Frames<Address> {
        Frames::new((0..COUNT).map(Address).collect(), TRANSMIT_FROM)
    }

    proptest! {
        #[test]
        fn a_frame_is_in_one_place_whatever_is_done(steps in prop::collection::vec(step(), 1..200)) {
            let (mut frames, mut kernel) = (frames(), Kernel::default());
            for step in &steps {
                apply(&mut frames, &mut kernel, step);
                each_frame_is_in_one_place(&frames, &kernel);
            }
        }

        #[test]
        fn everything_comes_home_when_the_kernel_gives_it_back(steps in prop::collection::vec(step(), 1..200)) {
            let (mut frames, mut kernel) = (frames(), Kernel::default());
            steps.iter().for_each(|step| apply(&mut frames, &mut kernel, step));
            for _ in 0..=COUNT / RX_BATCH + 1 {
                for step in [Step::Arrive(COUNT), Step::TakeBatch, Step::Complete(COUNT), Step::Collect] {
                    apply(&mut frames, &mut kernel, &step);
                }
            }
            prop_assert_eq!(frames.census(), Census { free: COUNT as u32, in_batch: 0, receiving: 0, transmitting: 0 });
        }
    }

    #[test]
    fn a_writer_that_unwinds_loses_no_frame() {
        let mut frames = frames();
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            frames.transmit_free(|_| panic!("halfway through a packet"), |_| true)
        }));
        assert!(unwound.is_err());
        assert_eq!(frames.census().free as usize, COUNT);
    }

    #[test]
    fn either_side_lends_to_the_other_and_gets_its_own_back() {
        let (mut frames, mut kernel) = (frames(), Kernel::default());
        // More than the transmit side has, so the last come from the receive side.
        for _ in 0..COUNT - 10 {
            apply(&mut frames, &mut kernel, &Step::Send { writes: true, has_room: true });
        }
        assert!(!frames.has_free_to_transmit());
        assert_eq!(frames.census().free, 10);
        for step in [Step::Complete(COUNT), Step::Collect] {
            apply(&mut frames, &mut kernel, &step);
        }
        each_frame_is_in_one_place(&frames, &kernel);
    }
}
