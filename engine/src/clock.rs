//! The shard thread's clock: one reading a turn of the loop serves timers and timestamps alike. Nothing below the
//! runner reads a clock.
//!
//! Time that passes is the monotonic clock's; wall time only says where it stands. Timestamps never go back and never stand still:
//! - Wall time ahead of them (set forward, or the machine slept): they follow at once, as that time has passed.
//! - Wall time behind them (set back, or a journal written by a faster clock): they go on from where they are, a little slower ([`SLEW`]), until
//!   wall time has caught up.

use netio::clock::monotonic_ns;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often wall time is looked at: NTP moves it by less than a microsecond in that time.
const RESYNC_NS: u64 = 1_000_000_000;
/// While they are ahead, timestamps lose one nanosecond in this many: 8.3%, the most that chrony slews a clock by. An hour is made up for in
/// twelve, and limits per second are as much stricter meanwhile.
const SLEW: u64 = 12;
/// A difference that people are told of: no clock that is kept in order is changed by so much.
pub const NOTABLE_NS: u64 = 1_000_000_000;
/// Between two looks at the port, what is longer counts as a pause: twice the longest wait of an idle thread.
const PAUSE_NS: u64 = 1_000_000;

/// A reading: monotonic for timers, wall time for the journal and the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since the clock was made.
    pub monotonic_ns: u64,
    /// Nanoseconds since the Unix epoch; never runs backwards, and passes whenever `monotonic_ns` does.
    pub timestamp_ns: u64,
}

/// What the clock has noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClockFigures {
    /// Timestamps are ahead of wall time by this much.
    pub ahead_ns: u64,
    /// Times that wall time was set by more than [`NOTABLE_NS`], and by how much the last time; negative: back.
    pub steps: u64,
    pub last_step_ns: i64,
    /// Times that the thread did not look for more than a millisecond, how long that was in all, and at the longest.
    pub pauses: u64,
    pub paused_ns: u64,
    pub pause_longest_ns: u64,
}

/// The timestamps that belong to readings of both clocks. Reads none itself: a simulation has its own.
#[derive(Debug)]
pub struct Timeline {
    /// The last look at wall time, and the timestamp that belongs to it.
    resync_ns: u64,
    resync_timestamp_ns: u64,
    /// Wall time minus monotonic time, then.
    wall_offset_ns: i128,
    figures: ClockFigures,
}

impl Timeline {
    /// At monotonic time 0. `not_before_ns`: timestamps continue from here, as after a recovery.
    pub fn new(not_before_ns: u64, wall_ns: u64) -> Self {
        let figures =
            ClockFigures { ahead_ns: not_before_ns.saturating_sub(wall_ns), ..ClockFigures::default() };
        Self {
            resync_ns: 0,
            resync_timestamp_ns: not_before_ns.max(wall_ns),
            wall_offset_ns: wall_ns.into(),
            figures,
        }
    }

    /// The timestamp at a monotonic time not before the last one. `wall_ns` is asked for once a second.
    #[inline]
    pub fn at(&mut self, monotonic_ns: u64, wall_ns: impl FnOnce() -> u64) -> u64 {
        if monotonic_ns - self.resync_ns > RESYNC_NS {
            self.resync(monotonic_ns, wall_ns());
        }
        self.timestamp_ns(monotonic_ns)
    }

    #[inline]
    fn timestamp_ns(&self, monotonic_ns: u64) -> u64 {
        let elapsed_ns = monotonic_ns - self.resync_ns;
        self.resync_timestamp_ns + elapsed_ns - (elapsed_ns / SLEW).min(self.figures.ahead_ns)
    }

    #[cold]
    fn resync(&mut self, monotonic_ns: u64, wall_ns: u64) {
        let offset_ns = i128::from(wall_ns) - i128::from(monotonic_ns);
        let step_ns = offset_ns - self.wall_offset_ns;
        if step_ns.unsigned_abs() > NOTABLE_NS.into() {
            self.figures.steps += 1;
            self.figures.last_step_ns = step_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        }
        self.wall_offset_ns = offset_ns;
        let timestamp_ns = self.timestamp_ns(monotonic_ns);
        self.figures.ahead_ns = timestamp_ns.saturating_sub(wall_ns);
        self.resync_timestamp_ns = timestamp_ns.max(wall_ns);
        self.resync_ns = monotonic_ns;
    }

    pub fn figures(&self) -> ClockFigures {
        self.figures
    }
}

pub struct Clock {
    /// The machine's monotonic time when the clock was made.
    origin_ns: u64,
    timeline: Timeline,
    last_ns: u64,
}

impl Clock {
    /// `not_before_ns`: timestamps continue from here, as after a recovery from a journal written by a faster clock. Says so if they are
    /// far ahead.
    pub fn new(not_before_ns: u64) -> Self {
        let timeline = Timeline::new(not_before_ns, wall_ns());
        let ahead_ns = timeline.figures().ahead_ns;
        if ahead_ns > NOTABLE_NS {
            tracing::warn!(
                ahead_seconds = ahead_ns / 1_000_000_000,
                "the journal's last timestamp is ahead of the machine's clock: timestamps go on from it, a twelfth slower, until the clock has caught up"
            );
        }
        Self { origin_ns: monotonic_ns(), timeline, last_ns: 0 }
    }

    #[inline]
    pub fn now(&mut self) -> Now {
        let monotonic_ns = monotonic_ns() - self.origin_ns;
        let gap_ns = monotonic_ns - self.last_ns;
        self.last_ns = monotonic_ns;
        if gap_ns > PAUSE_NS {
            self.pause(gap_ns);
        }
        Now { monotonic_ns, timestamp_ns: self.timeline.at(monotonic_ns, wall_ns) }
    }

    #[cold]
    fn pause(&mut self, gap_ns: u64) {
        let figures = &mut self.timeline.figures;
        figures.pauses += 1;
        figures.paused_ns += gap_ns;
        figures.pause_longest_ns = figures.pause_longest_ns.max(gap_ns);
    }

    pub fn figures(&self) -> ClockFigures {
        self.timeline.figures()
    }
}

fn wall_ns() -> u64 {
    // A clock set before 1970 counts as 1970.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netio::random::{Random, fresh_seed, seed_from_environment};

    const SECOND_NS: u64 = 1_000_000_000;
    const NOON_NS: u64 = 1_767_787_200 * SECOND_NS;

    /// Timestamps at the given pace, with the wall clock this far from the monotonic one.
    fn run(timeline: &mut Timeline, from_ns: u64, to_ns: u64, wall_at_zero_ns: u64) -> u64 {
        let mut last_ns = timeline.at(from_ns, || wall_at_zero_ns + from_ns);
        for monotonic_ns in (from_ns..=to_ns).step_by(100_000_000) {
            let timestamp_ns = timeline.at(monotonic_ns, || wall_at_zero_ns + monotonic_ns);
            assert!(timestamp_ns >= last_ns);
            last_ns = timestamp_ns;
        }
        last_ns
    }

    #[test]
    fn a_clock_set_back_slows_time_a_little_until_it_has_caught_up() {
        let mut timeline = Timeline::new(0, NOON_NS);
        assert_eq!(run(&mut timeline, 0, 10 * SECOND_NS, NOON_NS), NOON_NS + 10 * SECOND_NS);
        let back_ns = NOON_NS - 60 * SECOND_NS;
        let hour = run(&mut timeline, 10 * SECOND_NS, 130 * SECOND_NS, back_ns);
        let passed_ns = hour - (NOON_NS + 10 * SECOND_NS);
        assert!((110 * SECOND_NS..112 * SECOND_NS).contains(&passed_ns), "{passed_ns}");
        let ClockFigures { steps, last_step_ns, ahead_ns, .. } = timeline.figures();
        assert_eq!((steps, last_step_ns), (1, -60 * SECOND_NS as i64));
        assert!(ahead_ns > 49 * SECOND_NS && ahead_ns < 51 * SECOND_NS, "{ahead_ns}");
        // A minute is made up for in twelve.
        let met = run(&mut timeline, 130 * SECOND_NS, 740 * SECOND_NS, back_ns);
        assert_eq!((met, timeline.figures().ahead_ns), (back_ns + 740 * SECOND_NS, 0));
    }

    #[test]
    fn a_clock_set_forward_is_followed_at_once() {
        let mut timeline = Timeline::new(0, NOON_NS);
        run(&mut timeline, 0, 5 * SECOND_NS, NOON_NS);
        let forward_ns = NOON_NS + 3600 * SECOND_NS;
        assert_eq!(run(&mut timeline, 5 * SECOND_NS, 7 * SECOND_NS, forward_ns), forward_ns + 7 * SECOND_NS);
        assert_eq!(timeline.figures().last_step_ns, 3600 * SECOND_NS as i64);
    }

    #[test]
    fn after_a_restart_time_goes_on_from_where_the_journal_ends() {
        let mut timeline = Timeline::new(NOON_NS + 3600 * SECOND_NS, NOON_NS);
        assert_eq!(timeline.figures().ahead_ns, 3600 * SECOND_NS);
        let second = timeline.at(SECOND_NS, || NOON_NS + SECOND_NS);
        assert_eq!(second, NOON_NS + 3601 * SECOND_NS - SECOND_NS / SLEW);
    }

    #[test]
    fn whatever_the_wall_clock_does_time_passes_and_never_goes_back() {
        let seed = seed_from_environment().unwrap_or_else(fresh_seed);
        let mut random = Random::new(seed);
        let mut timeline = Timeline::new(random.below(2 * NOON_NS), random.below(2 * NOON_NS));
        let (mut monotonic_ns, mut last_ns) = (0, timeline.at(0, || 0));
        for _ in 0..100_000 {
            let passed_ns_max = 1 << random.below(34);
            let passed_ns = random.below(passed_ns_max);
            monotonic_ns += passed_ns;
            let wall_ns = random.below(2 * NOON_NS);
            let timestamp_ns = timeline.at(monotonic_ns, || wall_ns);
            assert!(timestamp_ns >= last_ns, "PITLANE_SEED={seed}");
            assert!(timestamp_ns - last_ns + passed_ns / SLEW + 1 >= passed_ns, "PITLANE_SEED={seed}");
            last_ns = timestamp_ns;
        }
    }
}
