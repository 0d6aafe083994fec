//! `CLOCK_MONOTONIC` as plain nanoseconds. Not wall time, and not a source of time for what must be replayed.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine started, the same on every thread. `Instant` reads the same clock, but its subtraction
/// of seconds and nanoseconds apart adds a quarter to the 25 ns of a reading.
#[inline]
pub fn monotonic_ns() -> u64 {
    // This clock always exists, so the call cannot fail.
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
