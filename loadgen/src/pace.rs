//! When the next order is due in an open loop: intended send times at a fixed or Poisson rate. It sends nothing.
//!
//! A closed loop needs no schedule: there the window decides, and the intended time is the moment of sending.

use crate::random::{self, Random, open_unit};

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// How orders are spaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client keeps at most this many orders unanswered and sends whenever it may.
    Closed { window: u32 },
    /// This many orders a second over all clients, equally spaced.
    Fixed { rate: f64 },
    /// The same on average, with exponentially distributed gaps.
    Poisson { rate: f64 },
}

impl Pace {
    pub fn describe(&self) -> String {
        match self {
            Pace::Closed { window } => format!("closed loop, window {window} per client"),
            Pace::Fixed { rate } => format!("open loop, {rate:.0} orders/s, equally spaced"),
            Pace::Poisson { rate } => format!("open loop, {rate:.0} orders/s, Poisson"),
        }
    }
}

/// The intended send times of one worker's share of the rate.
///
/// The schedule never looks at how the sending went. An order that could not be sent in time keeps its intended time, and its
/// latency is counted from there: that is what keeps a stall from hiding the orders it delayed.
#[derive(Debug, Clone)]
pub struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    /// Poisson only: gaps are drawn from here.
    random: Option<Random>,
    /// Offset of the next order from the start.
    next_offset_ns: f64,
    /// How many orders were handed out.
    taken: u64,
    /// Shifts the fixed spacing of the workers against each other, so that they do not send in step.
    phase: f64,
}

impl Schedule {
    /// `worker` of `workers` shares `rate` orders per second evenly.
    pub fn new(rate: f64, poisson: bool, seed: u64, worker: usize, workers: usize, start_ns: u64) -> Self {
        let workers = workers.max(1) as f64;
        let interval_ns = NANOSECONDS_PER_SECOND * workers / rate.max(f64::MIN_POSITIVE);
        let random = poisson.then(|| random::stream(seed ^ 0x5CED, worker as u64));
        let mut schedule = Schedule {
            start_ns,
            interval_ns,
            random,
            next_offset_ns: 0.0,
            taken: 0,
            phase: worker as f64 / workers,
        };
        schedule.next_offset_ns = match schedule.random.as_mut() {
            Some(random) => -open_unit(random).ln() * interval_ns,
            None => schedule.phase * interval_ns,
        };
        schedule
    }

    /// The intended time of the next order, whether it is due or not.
    pub fn next_ns(&self) -> u64 {
        self.start_ns + self.next_offset_ns as u64
    }

    /// Takes the next order if it was due by `now_ns`, and returns its intended time.
    pub fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let intended_ns = self.next_ns();
        if intended_ns > now_ns {
            return None;
        }
        self.taken += 1;
        self.next_offset_ns = match self.random.as_mut() {
            Some(random) => self.next_offset_ns - open_unit(random).ln() * self.interval_ns,
            // Multiplied, not added up: the rate is met exactly however long the run.
            None => (self.taken as f64 + self.phase) * self.interval_ns,
        };
        Some(intended_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(schedule: &mut Schedule, until_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(until_ns)).collect()
    }

    #[test]
    fn a_fixed_rate_is_met_exactly() {
        let mut schedule = Schedule::new(1_000_000.0, false, 0, 0, 1, 500);
        let times = drain(&mut schedule, 500 + 1_000_000_000 - 1);
        assert_eq!(times.len(), 1_000_000);
        assert_eq!((times[0], times[1], times[999_999]), (500, 1500, 500 + 999_999_000));
    }

    #[test]
    fn workers_share_the_rate_out_of_step() {
        let mut all: Vec<u64> = (0..4)
            .flat_map(|worker| drain(&mut Schedule::new(4000.0, false, 0, worker, 4, 0), 999_999_999))
            .collect();
        all.sort_unstable();
        assert_eq!(all.len(), 4000);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == 250_000));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let mut schedule = Schedule::new(100_000.0, true, 9, 0, 1, 0);
        let times = drain(&mut schedule, 2_000_000_000);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 10_000.0).abs() < 100.0, "mean gap {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "spread {}", variance.sqrt());
        let again = drain(&mut Schedule::new(100_000.0, true, 9, 0, 1, 0), 2_000_000_000);
        assert_eq!(times, again);
    }

    #[test]
    fn a_stall_leaves_the_intended_times_where_they_were() {
        let mut schedule = Schedule::new(1000.0, false, 0, 0, 1, 0);
        assert_eq!(drain(&mut schedule, 9_999_999).len(), 10);
        // Nobody asks for 50 ms: the orders of that time come out late, each with the time it was meant for.
        let late = drain(&mut schedule, 59_999_999);
        assert_eq!(late.len(), 50);
        assert_eq!((late[0], late[49]), (10_000_000, 59_000_000));
    }
}
