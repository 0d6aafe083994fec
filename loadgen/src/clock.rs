//! The time the generator lives by: nanoseconds from an origin all threads share. Not the wall clock.

use std::cell::Cell;
use std::rc::Rc;

use netio::clock::monotonic_ns;

/// A source of monotonic nanoseconds.
pub trait Clock {
    fn now_ns(&self) -> u64;
}

/// `CLOCK_MONOTONIC` since the origin: about 25 ns a reading, the same on every thread.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin_ns: u64,
}

impl SystemClock {
    pub fn start() -> Self {
        SystemClock { origin_ns: monotonic_ns() }
    }
}

impl Clock for SystemClock {
    #[inline]
    fn now_ns(&self) -> u64 {
        monotonic_ns() - self.origin_ns
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
