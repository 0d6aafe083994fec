//! The time the generator lives by: nanoseconds from an origin all threads share. Not the wall clock.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

/// A source of monotonic nanoseconds.
pub trait Clock {
    fn now_ns(&self) -> u64;
}

/// `CLOCK_MONOTONIC` since the origin: about 25 ns a reading, the same on every thread.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    pub fn start() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

/// A clock that stands still until it is moved: time as tests and simulations want it.
#[derive(Debug, Clone, Default)]
pub struct VirtualClock {
    now_ns: Rc<Cell<u64>>,
}

impl VirtualClock {
    pub fn advance(&self, by_ns: u64) {
        self.now_ns.set(self.now_ns.get() + by_ns);
    }
}

impl Clock for VirtualClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }
}
