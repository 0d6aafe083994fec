//! How well the generator itself kept up: pauses of its own loop and orders that left later than intended. Not the engine's latency.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An order that leaves this long after its intended time counts as late.
pub const LATE_NS: u64 = 100_000;

/// Pauses of the loop are counted above each of these.
pub const GAP_STEPS_NS: [u64; 3] = [100_000, 1_000_000, 10_000_000];

/// After a pause of this length what came meanwhile was answered earlier than it was seen to be.
pub const SPOILING_GAP_NS: u64 = GAP_STEPS_NS[1];

/// One worker's own delays in the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Stalls {
    /// Longest time between two rounds of the loop: the scheduler, a page fault, a system call that took long.
    pub gap_ns_max: u64,
    /// Pauses above 100 us, 1 ms and 10 ms.
    pub gaps_above: [u64; 3],
    /// Answers seen right after a pause above 1 ms: part of their latency is the generator's.
    pub spoiled_answers: u64,
    /// Open loop: orders that left more than 100 us after their intended time. Their response counts from the intended time all the same.
    pub late_orders: u64,
    /// Of those, the ones that waited for room in every client's window: for the engine's answers, not for the generator.
    pub held_orders: u64,
    pub lateness_ns_max: u64,
    /// Rounds in which the port could not take a datagram.
    pub transmit_full: u64,
    #[serde(skip)]
    last_ns: Option<u64>,
    #[serde(skip)]
    in_spoiled_round: bool,
}

impl Stalls {
    /// Call once a round.
    #[inline]
    pub fn round(&mut self, now_ns: u64) {
        self.in_spoiled_round = false;
        if let Some(last_ns) = self.last_ns.replace(now_ns) {
            let gap_ns = now_ns.saturating_sub(last_ns);
            if gap_ns > self.gap_ns_max {
                self.gap_ns_max = gap_ns;
            }
            if gap_ns >= GAP_STEPS_NS[0] {
                self.in_spoiled_round = gap_ns >= SPOILING_GAP_NS;
                for (count, step_ns) in self.gaps_above.iter_mut().zip(GAP_STEPS_NS) {
                    *count += u64::from(gap_ns >= step_ns);
                }
            }
        }
    }

    /// Measured requests were answered in this round.
    #[inline]
    pub fn answered(&mut self, count: u64) {
        if self.in_spoiled_round {
            self.spoiled_answers += count;
        }
    }

    #[inline]
    pub fn sent(&mut self, intended_ns: u64, now_ns: u64, held: bool) {
        let lateness_ns = now_ns.saturating_sub(intended_ns);
        let late = lateness_ns >= LATE_NS;
        self.late_orders += u64::from(late);
        self.held_orders += u64::from(late && held);
        self.lateness_ns_max = self.lateness_ns_max.max(lateness_ns);
    }

    pub fn add(&mut self, other: &Stalls) {
        self.gap_ns_max = self.gap_ns_max.max(other.gap_ns_max);
        for (mine, theirs) in self.gaps_above.iter_mut().zip(other.gaps_above) {
            *mine += theirs;
        }
        self.spoiled_answers += other.spoiled_answers;
        self.late_orders += other.late_orders;
        self.held_orders += other.held_orders;
        self.lateness_ns_max = self.lateness_ns_max.max(other.lateness_ns_max);
        self.transmit_full += other.transmit_full;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_late_orders_and_what_they_spoil_are_measured() {
        let mut stalls = Stalls::default();
        for now_ns in [0, 1000, 2_001_000] {
            stalls.round(now_ns);
            stalls.answered(7);
        }
        stalls.round(2_002_000);
        stalls.answered(5);
        assert_eq!((stalls.gap_ns_max, stalls.gaps_above), (2_000_000, [1, 1, 0]));
        assert_eq!(stalls.spoiled_answers, 7, "those of the round after the pause");
        stalls.sent(100, 50, false);
        stalls.sent(100, 100 + LATE_NS, false);
        stalls.sent(100, 101 + LATE_NS, true);
        assert_eq!((stalls.late_orders, stalls.held_orders, stalls.lateness_ns_max), (2, 1, LATE_NS + 1));
    }
}
