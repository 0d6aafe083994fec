//! What a polling thread does between polls that brought nothing. It decides how to wait, never what to do.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::port::{Port, PortError};

/// Empty polls before `yield` first gives up its time slice and `park` first sleeps: about 20 us of polling a socket,
/// which covers the pause between two datagrams of a busy peer.
const EMPTY_POLLS_BEFORE_GIVING_WAY: u32 = 64;

/// Polls of one round under `spin`: what else a round does (a clock, timers) then delays a datagram less often. At some 10 ns
/// a poll of an AF_XDP ring, a round stays near 100 ns.
const SPIN_POLLS_PER_ROUND: u32 = 8;

/// The longest `park` sleeps, so that timers and shutdown flags are looked at even on a silent port.
pub const PARK_TIMEOUT_MAX: Duration = Duration::from_millis(10);

/// How long [`Idle::pause`] sleeps under `park`, where there is no port to wake it.
const PAUSE_SLEEP: Duration = Duration::from_micros(200);

/// How a thread waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdleStrategy {
    /// Never gives the core away but to whom it waits for ([`Idle::give_way`]): lowest latency, needs a core of its own.
    Spin,
    /// Spins for a while, then lets other threads run between polls: for fewer cores than threads.
    #[default]
    Yield,
    /// Spins for a while, then sleeps in the kernel until a datagram arrives: for laptops and idle shards.
    Park,
}

impl IdleStrategy {
    pub const ALL: [IdleStrategy; 3] = [IdleStrategy::Spin, IdleStrategy::Yield, IdleStrategy::Park];

    pub fn name(self) -> &'static str {
        match self {
            IdleStrategy::Spin => "spin",
            IdleStrategy::Yield => "yield",
            IdleStrategy::Park => "park",
        }
    }
}

impl fmt::Display for IdleStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text named no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown idle strategy `{0}`: expected `spin`, `yield` or `park`")]
pub struct UnknownIdleStrategy(pub String);

impl FromStr for IdleStrategy {
    type Err = UnknownIdleStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        IdleStrategy::ALL
            .into_iter()
            .find(|strategy| strategy.name() == text)
            .ok_or_else(|| UnknownIdleStrategy(text.to_owned()))
    }
}

/// The strategy in action: counts empty rounds and waits accordingly.
///
/// Call [`Idle::busy`] after a round that did work, [`Idle::wait`] (or [`Idle::pause`]) after one that did not.
#[derive(Debug, Clone)]
pub struct Idle {
    strategy: IdleStrategy,
    empty_rounds: u32,
    /// The next wait lets another thread have the core, if there is one that wants it.
    gives_way: bool,
}

impl Idle {
    pub fn new(strategy: IdleStrategy) -> Self {
        Idle { strategy, empty_rounds: 0, gives_way: false }
    }

    pub fn strategy(&self) -> IdleStrategy {
        self.strategy
    }

    /// Polls the port for this round until something is there: several times under `spin`, once where others want the core.
    #[inline]
    pub fn poll(&self, port: &mut impl Port) -> Result<usize, PortError> {
        let polls = if self.strategy == IdleStrategy::Spin { SPIN_POLLS_PER_ROUND } else { 1 };
        for _ in 1..polls {
            let received = port.receive()?;
            if received > 0 {
                return Ok(received);
            }
        }
        port.receive()
    }

    /// The round did work: the next empty one polls again at once.
    #[inline]
    pub fn busy(&mut self) {
        self.empty_rounds = 0;
    }

    /// The round was empty. Waits as the strategy says, in no case beyond `until_deadline` (the owner's next timer) or [`PARK_TIMEOUT_MAX`].
    #[inline]
    pub fn wait(&mut self, port: &mut impl Port, until_deadline: Duration) -> Result<(), PortError> {
        if self.strategy == IdleStrategy::Park && self.has_waited() {
            return port.wait(until_deadline.min(PARK_TIMEOUT_MAX));
        }
        self.spin_or_yield();
        Ok(())
    }

    /// The round was empty, and what its owner waits for is another thread, who may need this core: it gets it with the next
    /// [`Idle::wait`], under `spin` too. Where nobody else wants the core that is a system call of some 200 ns, and no sleep.
    #[inline]
    pub fn give_way(&mut self) {
        self.gives_way = self.strategy != IdleStrategy::Park;
    }

    /// As [`Idle::wait`], for a thread that polls rings and has no port: under `park` it sleeps for a fixed moment.
    #[inline]
    pub fn pause(&mut self) {
        if self.strategy == IdleStrategy::Park && self.has_waited() {
            std::thread::sleep(PAUSE_SLEEP);
            return;
        }
        self.spin_or_yield();
    }

    fn has_waited(&self) -> bool {
        self.empty_rounds >= EMPTY_POLLS_BEFORE_GIVING_WAY
    }

    #[inline]
    fn spin_or_yield(&mut self) {
        // No PAUSE between polls: since Skylake it takes 140 cycles, in which a datagram would wait.
        let gives_way = std::mem::take(&mut self.gives_way);
        if gives_way || self.strategy == IdleStrategy::Yield && self.has_waited() {
            std::thread::yield_now();
        } else {
            self.empty_rounds = self.empty_rounds.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::{Endpoint, Peer, PortStatistics, TransmitFull};

    #[derive(Default)]
    struct SilentPort {
        waits: Vec<Duration>,
    }

    impl Port for SilentPort {
        fn receive(&mut self) -> Result<usize, PortError> {
            Ok(0)
        }
        fn datagram(&self, _index: usize) -> (&Peer, &[u8]) {
            unreachable!("receive never returns a datagram")
        }
        fn send(&mut self, _: &Peer, _: impl FnOnce(&mut [u8]) -> usize) -> Result<(), TransmitFull> {
            Err(TransmitFull)
        }
        fn flush(&mut self) -> Result<(), PortError> {
            Ok(())
        }
        fn max_payload(&self) -> usize {
            0
        }
        fn wait(&mut self, timeout: Duration) -> Result<(), PortError> {
            self.waits.push(timeout);
            Ok(())
        }
        fn statistics(&self) -> PortStatistics {
            PortStatistics::default()
        }
        fn local(&self) -> Endpoint {
            Endpoint::default()
        }
    }

    #[test]
    fn names_parse_back_and_others_are_refused_by_name() {
        for strategy in IdleStrategy::ALL {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        let refused = "sleep".parse::<IdleStrategy>().unwrap_err();
        assert!(refused.to_string().contains("`sleep`"));
    }

    #[test]
    fn park_sleeps_only_after_a_run_of_empty_polls_and_within_its_bounds() {
        let mut port = SilentPort::default();
        let mut idle = Idle::new(IdleStrategy::Park);
        for _ in 0..EMPTY_POLLS_BEFORE_GIVING_WAY {
            idle.wait(&mut port, Duration::from_secs(1)).unwrap();
        }
        assert!(port.waits.is_empty());
        idle.wait(&mut port, Duration::from_secs(1)).unwrap();
        idle.wait(&mut port, Duration::from_millis(1)).unwrap();
        assert_eq!(port.waits, [PARK_TIMEOUT_MAX, Duration::from_millis(1)]);
        idle.busy();
        idle.wait(&mut port, Duration::from_secs(1)).unwrap();
        assert_eq!(port.waits.len(), 2, "work resets the count");
    }

    #[test]
    fn spin_gives_the_core_away_once_for_each_time_its_owner_waits_for_another_thread() {
        let mut port = SilentPort::default();
        for strategy in [IdleStrategy::Spin, IdleStrategy::Yield] {
            let mut idle = Idle::new(strategy);
            idle.give_way();
            idle.wait(&mut port, Duration::from_secs(1)).unwrap();
            assert_eq!(idle.empty_rounds, 0, "it yielded instead of counting an empty round");
            idle.wait(&mut port, Duration::from_secs(1)).unwrap();
            assert_eq!(idle.empty_rounds, 1, "and polls again");
        }
        let mut idle = Idle::new(IdleStrategy::Park);
        idle.give_way();
        idle.wait(&mut port, Duration::from_secs(1)).unwrap();
        assert_eq!(idle.empty_rounds, 1, "a sleep would be long: a wait for the disk is short");
    }

    #[test]
    fn spin_and_yield_never_enter_the_kernel_through_the_port() {
        for strategy in [IdleStrategy::Spin, IdleStrategy::Yield] {
            let mut port = SilentPort::default();
            let mut idle = Idle::new(strategy);
            for _ in 0..3 * EMPTY_POLLS_BEFORE_GIVING_WAY {
                idle.wait(&mut port, Duration::from_secs(1)).unwrap();
            }
            assert!(port.waits.is_empty());
        }
    }
}
