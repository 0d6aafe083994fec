//! The processor's time stamp counter: reading the system's clock takes longer than many a message takes the book.

use std::time::{Duration, Instant};

/// A counter and what one of its steps is in nanoseconds.
pub struct Clock {
    ns_per_step: f64,
}

impl Clock {
    /// Compares the counter with the system's clock for some milliseconds.
    pub fn new() -> Self {
        let (start, first) = (Instant::now(), steps());
        while start.elapsed() < Duration::from_millis(20) {}
        Self { ns_per_step: start.elapsed().as_nanos() as f64 / (steps() - first).max(1) as f64 }
    }

    pub fn steps_of(&self, ns: f64) -> u64 {
        (ns / self.ns_per_step) as u64
    }

    pub fn ns_of(&self, steps: f64) -> f64 {
        steps * self.ns_per_step
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "the intrinsic is an unsafe function")]
#[inline]
pub fn steps() -> u64 {
    // SAFETY: reads a register; nothing is required of the caller.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn steps() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
