//! When the next order is due in an open loop: intended send times at a fixed or Poisson rate. It sends nothing.
//!
//! A closed loop needs no schedule: there the window decides, and the intended time is the moment of sending.

use crate::random::{self, Random, open_unit};

const NANOSECONDS_PER_SECOND: f64 = 1e9;

/// How orders are spaced.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Pace {
    /// Each client keeps at most this many orders unanswered and sends whenever it may.
    Closed { window: u32 },
    /// Orders come whatever the engine does.
    Open(Arrivals),
}

/// When orders come in an open loop.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Arrivals {
    /// Orders per second over all clients.
    pub rate: f64,
    /// Orders that come at the same moment, from one client.
    pub burst: u32,
    /// Exponentially distributed gaps instead of equal ones.
    pub poisson: bool,
}

impl Pace {
    pub fn is_open(&self) -> bool {
        matches!(self, Pace::Open(_))
    }

    pub fn describe(&self) -> String {
        match self {
            Pace::Closed { window } => format!("closed loop, window {window} per client"),
            Pace::Open(Arrivals { rate, burst, poisson }) => {
                let spacing = if *poisson { "Poisson" } else { "equally spaced" };
                let bursts = if *burst > 1 { format!(" in bursts of {burst}") } else { String::new() };
                format!("open loop, {rate:.0} orders/s{bursts}, {spacing}")
            }
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
    /// Between bursts; on average, if they are drawn.
    interval_ns: f64,
    burst: u32,
    /// Orders of the present burst that were handed out.
    taken_of_burst: u32,
    /// Poisson only: gaps are drawn from here.
    random: Option<Random>,
    /// Offset of the next burst, or of the rest of the present one, from the start.
    next_offset_ns: f64,
    /// How many bursts were handed out.
    bursts: u64,
    /// Shifts the fixed spacing of the workers against each other, so that they do not send in step.
    phase: f64,
}

impl Schedule {
    /// `worker` of `workers` has an even share of the arrivals.
    pub fn new(arrivals: Arrivals, seed: u64, worker: usize, workers: usize, start_ns: u64) -> Self {
        let Arrivals { rate, burst, poisson } = arrivals;
        let workers = workers.max(1) as f64;
        let interval_ns = NANOSECONDS_PER_SECOND * f64::from(burst) * workers / rate.max(f64::MIN_POSITIVE);
        let random = poisson.then(|| random::stream(seed ^ 0x5CED, worker as u64));
        let mut schedule = Schedule {
            start_ns,
            interval_ns,
            burst,
            taken_of_burst: 0,
            random,
            next_offset_ns: 0.0,
            bursts: 0,
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

    /// Whether the next order belongs to the burst of the one before.
    pub fn is_in_burst(&self) -> bool {
        self.taken_of_burst > 0
    }

    /// Takes the next order if it was due by `now_ns`, and returns its intended time.
    pub fn take_due(&mut self, now_ns: u64) -> Option<u64> {
        let intended_ns = self.next_ns();
        if intended_ns > now_ns {
            return None;
        }
        self.taken_of_burst += 1;
        if self.taken_of_burst < self.burst {
            return Some(intended_ns);
        }
        self.taken_of_burst = 0;
        self.bursts += 1;
        self.next_offset_ns = match self.random.as_mut() {
            Some(random) => self.next_offset_ns - open_unit(random).ln() * self.interval_ns,
            // Multiplied, not added up: the rate is met exactly however long the run.
            None => (self.bursts as f64 + self.phase) * self.interval_ns,
        };
        Some(intended_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn arrivals(rate: f64, poisson: bool) -> Arrivals {
        Arrivals { rate, burst: 1, poisson }
    }

    fn drain(schedule: &mut Schedule, until_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(until_ns)).collect()
    }

    #[test]
    fn a_fixed_rate_is_met_exactly() {
        let mut schedule = Schedule::new(arrivals(1_000_000.0, false), 0, 0, 1, 500);
        let times = drain(&mut schedule, 500 + 1_000_000_000 - 1);
        assert_eq!(times.len(), 1_000_000);
        assert_eq!((times[0], times[1], times[999_999]), (500, 1500, 500 + 999_999_000));
    }

    #[test]
    fn workers_share_the_rate_out_of_step() {
        let mut all: Vec<u64> = (0..4)
            .flat_map(|worker| {
                drain(&mut Schedule::new(arrivals(4000.0, false), 0, worker, 4, 0), 999_999_999)
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all.len(), 4000);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == 250_000));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let mut schedule = Schedule::new(arrivals(100_000.0, true), 9, 0, 1, 0);
        let times = drain(&mut schedule, 2_000_000_000);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 10_000.0).abs() < 100.0, "mean gap {mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "spread {}", variance.sqrt());
        let again = drain(&mut Schedule::new(arrivals(100_000.0, true), 9, 0, 1, 0), 2_000_000_000);
        assert_eq!(times, again);
    }

    #[test]
    fn a_burst_comes_at_one_moment_and_keeps_the_rate() {
        let mut schedule = Schedule::new(Arrivals { burst: 4, ..arrivals(1000.0, false) }, 0, 0, 1, 0);
        let mut times = Vec::new();
        let mut continued = Vec::new();
        while let Some(time) = {
            continued.push(schedule.is_in_burst());
            schedule.take_due(11_999_999)
        } {
            times.push(time);
        }
        assert_eq!(times, [[0; 4], [4_000_000; 4], [8_000_000; 4]].concat());
        assert_eq!(continued[..5], [false, true, true, true, false]);
    }

    #[test]
    fn a_stall_leaves_the_intended_times_where_they_were() {
        let mut schedule = Schedule::new(arrivals(1000.0, false), 0, 0, 1, 0);
        assert_eq!(drain(&mut schedule, 9_999_999).len(), 10);
        // Nobody asks for 50 ms: the orders of that time come out late, each with the time it was meant for.
        let late = drain(&mut schedule, 59_999_999);
        assert_eq!(late.len(), 50);
        assert_eq!((late[0], late[49]), (10_000_000, 59_000_000));
    }
}
