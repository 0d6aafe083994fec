//! How many frames lie in the fill ring while nothing arrives: few, as long as few are needed, since they are filled in turn and few stay
//! warm in the caches. It counts; the rings fill.

use crate::port::RX_BATCH;

/// The frames that a fill ring should hold, from what its port's owner expects and what was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    least: u32,
    most: u32,
    /// Peers that may each send a datagram at the same moment.
    expected: u32,
    /// The longest backlog seen, halved with each expectation.
    burst: u32,
    target: u32,
}

impl Demand {
    pub(super) fn new(least: u32, most: u32) -> Self {
        let most = most.max(least);
        Self { least, most, expected: 0, burst: 0, target: least }
    }

    /// Frames that the fill ring should hold now.
    #[inline]
    pub(super) const fn target(&self) -> u32 {
        self.target
    }

    /// At how many the ring is to be topped up while packets arrive: when half of the least was used. Not at each batch, as to see
    /// where the ring's consumer is takes 60 to 90 ns.
    #[inline]
    pub(super) const fn low(&self) -> u32 {
        self.target - self.least / 2
    }

    /// A batch was taken that left so many packets in the receive ring.
    #[cold]
    pub(super) fn seen(&mut self, left: u32) {
        self.burst = self.burst.max(left + RX_BATCH as u32);
        self.settle();
    }

    /// So many peers may send at once. What was seen long ago counts ever less: this is to be called now and then.
    pub(super) fn expect(&mut self, peers: usize) {
        self.expected = u32::try_from(peers).unwrap_or(u32::MAX);
        self.burst /= 2;
        self.settle();
    }

    /// Twice what comes at once, as one such burst is in work while the next arrives, and what may be gone before the ring is topped up:
    /// with 256 frames more than sessions a load of 300 lost 0.7% of its datagrams.
    fn settle(&mut self) {
        let wanted = self.expected.max(self.burst).saturating_mul(2).saturating_add(self.least / 2);
        self.target = wanted.clamp(self.least, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_peers_have_few_frames_and_many_have_two_each_as_far_as_the_ring_goes() {
        let mut demand = Demand::new(512, 2048);
        assert_eq!((demand.target(), demand.low()), (512, 256));
        for (peers, target) in [(1, 512), (128, 512), (300, 856), (800, 1856), (usize::MAX, 2048), (10, 512)]
        {
            demand.expect(peers);
            assert_eq!((demand.target(), demand.low()), (target, target - 256), "{peers} peers");
        }
    }

    #[test]
    fn a_burst_is_made_room_for_and_forgotten_in_time() {
        let mut demand = Demand::new(512, 2048);
        demand.seen(128);
        assert_eq!(demand.target(), 2 * 192 + 256);
        demand.seen(700);
        assert_eq!(demand.target(), 2 * 764 + 256);
        demand.seen(10);
        assert_eq!(demand.target(), 2 * 764 + 256);
        demand.expect(1);
        assert_eq!(demand.target(), 764 + 256);
        for _ in 0..3 {
            demand.expect(1);
        }
        assert_eq!(demand.target(), 512);
    }

    #[test]
    fn a_fixed_number_stays() {
        let mut demand = Demand::new(64, 64);
        demand.seen(1000);
        demand.expect(1000);
        assert_eq!((demand.target(), demand.low()), (64, 32));
    }
}
