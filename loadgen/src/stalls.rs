//! How well the generator itself kept up: pauses of its own loop and orders that left later than intended. Not the engine's latency.

use serde::{Deserialize, Serialize};

/// An order that leaves this long after its intended time counts as late.
pub const LATE_NS: u64 = 100_000;

/// Pauses of the loop are counted above each of these.
pub const GAP_STEPS_NS: [u64; 3] = [100_000, 1_000_000, 10_000_000];

/// One worker's own delays, while it was to send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    /// Longest time between two rounds of the loop: the scheduler, a page fault, a system call that took long.
    pub gap_ns_max: u64,
    /// Pauses above 100 us, 1 ms and 10 ms.
    pub gaps_above: [u64; 3],
    /// Open loop: orders that left more than 100 us after their intended time. Their latency counts from the intended time all the same.
    pub late_orders: u64,
    pub lateness_ns_max: u64,
    /// Rounds in which the port could not take a datagram.
    pub transmit_full: u64,
    #[serde(skip)]
    last_ns: Option<u64>,
}

impl Stalls {
    /// Call once a round.
    #[inline]
    pub fn round(&mut self, now_ns: u64) {
        if let Some(last_ns) = self.last_ns.replace(now_ns) {
            let gap_ns = now_ns.saturating_sub(last_ns);
            if gap_ns > self.gap_ns_max {
                self.gap_ns_max = gap_ns;
            }
            if gap_ns >= GAP_STEPS_NS[0] {
                for (count, step_ns) in self.gaps_above.iter_mut().zip(GAP_STEPS_NS) {
                    *count += u64::from(gap_ns >= step_ns);
                }
            }
        }
    }

    /// The next round starts a new measurement: what lies between does not count.
    pub fn forget(&mut self) {
        self.last_ns = None;
    }

    #[inline]
    pub fn sent(&mut self, intended_ns: u64, now_ns: u64) {
        let lateness_ns = now_ns.saturating_sub(intended_ns);
        self.late_orders += u64::from(lateness_ns >= LATE_NS);
        self.lateness_ns_max = self.lateness_ns_max.max(lateness_ns);
    }

    pub fn add(&mut self, other: &Stalls) {
        self.gap_ns_max = self.gap_ns_max.max(other.gap_ns_max);
        for (mine, theirs) in self.gaps_above.iter_mut().zip(other.gaps_above) {
            *mine += theirs;
        }
        self.late_orders += other.late_orders;
        self.lateness_ns_max = self.lateness_ns_max.max(other.lateness_ns_max);
        self.transmit_full += other.transmit_full;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_and_late_orders_are_measured() {
        let mut stalls = Stalls::default();
        for now_ns in [0, 1000, 2_001_000, 2_002_000] {
            stalls.round(now_ns);
        }
        assert_eq!((stalls.gap_ns_max, stalls.gaps_above), (2_000_000, [1, 1, 0]));
        stalls.forget();
        stalls.round(90_000_000);
        assert_eq!(stalls.gap_ns_max, 2_000_000);
        stalls.sent(100, 50);
        stalls.sent(100, 100 + LATE_NS);
        assert_eq!((stalls.late_orders, stalls.lateness_ns_max), (1, LATE_NS));
    }
}
