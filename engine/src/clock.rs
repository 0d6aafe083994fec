//! The shard thread's clock: one reading a turn of the loop serves timers and timestamps alike. Nothing below the
//! runner reads a clock.

use netio::clock::monotonic_ns;
use std::time::{SystemTime, UNIX_EPOCH};

/// How often the offset to wall time is read again: NTP moves it by less than a microsecond in that time.
const RESYNC_NS: u64 = 1_000_000_000;

pub struct Clock {
    /// The machine's monotonic time when the clock was made.
    origin_ns: u64,
    /// Wall time of the origin, nanoseconds since the Unix epoch.
    wall_offset_ns: u64,
    last_resync_ns: u64,
    last_timestamp_ns: u64,
}

/// A reading: monotonic for timers, wall time for the journal and the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds since the clock was made.
    pub monotonic_ns: u64,
    /// Nanoseconds since the Unix epoch; never runs backwards.
    pub timestamp_ns: u64,
}

impl Clock {
    /// `not_before_ns`: timestamps continue from here, as after a recovery from a journal written by a faster clock.
    pub fn new(not_before_ns: u64) -> Self {
        Self {
            origin_ns: monotonic_ns(),
            wall_offset_ns: wall_ns(),
            last_resync_ns: 0,
            last_timestamp_ns: not_before_ns,
        }
    }

    #[inline]
    pub fn now(&mut self) -> Now {
        let monotonic_ns = monotonic_ns() - self.origin_ns;
        if monotonic_ns - self.last_resync_ns > RESYNC_NS {
            self.last_resync_ns = monotonic_ns;
            self.wall_offset_ns = wall_ns().saturating_sub(monotonic_ns);
        }
        self.last_timestamp_ns = self.last_timestamp_ns.max(self.wall_offset_ns + monotonic_ns);
        Now { monotonic_ns, timestamp_ns: self.last_timestamp_ns }
    }
}

fn wall_ns() -> u64 {
    // A clock set before 1970 gives zero; timestamps then start at `not_before_ns` and stand still until it is set right.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}
