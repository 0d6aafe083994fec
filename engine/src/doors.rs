//! What all TCP doors (gateway, market-data services, admin) have in common: how many connections there may be, in all and from one source,
//! and what a listener does that cannot accept. Not what is said on a connection.

use crate::accounts::attempts::Source;
use crate::counter::Counter;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A connection has this long from its start to log in, or to send its first request, whatever it sends meanwhile (SoupBinTCP: "a reasonable
/// amount of time", 30 s).
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause of a listener that cannot accept for lack of descriptors or memory: the client waits in the kernel's queue.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Refusals and failures of a door are logged this often at most: whoever causes them must not fill the disk.
const SAY_AGAIN: Duration = Duration::from_secs(10);

pub static REFUSED: Counter =
    Counter::new("connections_refused", "TCP connections closed at once, as there was no place for them");
pub static LATE: Counter =
    Counter::new("connections_late", "TCP connections closed before they had logged in");
pub static ACCEPT_FAILURES: Counter =
    Counter::new("accept_failures", "Times a listener had to wait for descriptors or memory");

/// One listener's places.
#[derive(Debug)]
pub struct Places {
    name: String,
    /// What an operator raises when honest clients are refused.
    limits: &'static str,
    most: usize,
    most_per_source: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    by_source: HashMap<Source, usize>,
    said: Seldom,
}

/// Lets one line in ten seconds into the log, and counts those that are left out.
#[derive(Debug, Default)]
pub struct Seldom {
    said: Option<Instant>,
    unsaid: u64,
}

/// A connection's place, given back on drop.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    source: Source,
}

impl Places {
    /// `limits` names the settings or constants behind both numbers.
    pub fn new(name: String, limits: &'static str, most: usize, most_per_source: usize) -> Arc<Self> {
        Arc::new(Self { name, limits, most, most_per_source, state: Mutex::default() })
    }

    /// A place for a new connection; `None` when there is none, which is logged: the connection is to be closed.
    pub fn admit(self: &Arc<Self>, from: SocketAddr) -> Option<Place> {
        let source = Source::from(from);
        let mut state = self.lock();
        let of_source = state.by_source.get(&source).copied().unwrap_or(0);
        if state.taken >= self.most || of_source >= self.most_per_source {
            REFUSED.count();
            let why =
                if state.taken >= self.most { "all places are taken" } else { "its source has its share" };
            if let Some(unsaid) = state.said.may_say() {
                let Self { name, limits, .. } = self.as_ref();
                tracing::warn!(%from, unsaid, "{name}: a connection is closed: {why} ({limits})");
            }
            return None;
        }
        state.taken += 1;
        state.by_source.insert(source, of_source + 1);
        Some(Place { places: Arc::clone(self), source })
    }

    /// How long to wait before the next try to accept. Nothing for a connection that was gone before it was taken.
    pub fn after_failure(&self, error: &io::Error) -> Duration {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock) {
            return Duration::ZERO;
        }
        ACCEPT_FAILURES.count();
        if let Some(unsaid) = self.lock().said.may_say() {
            tracing::warn!(%error, unsaid, "{}: cannot accept a connection; clients wait (ulimit -n, LimitNOFILE)", self.name);
        }
        ACCEPT_PAUSE
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seldom {
    /// Whether it is time for a line in the log, and how many have been left out since the last.
    pub fn may_say(&mut self) -> Option<u64> {
        if self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        state.taken -= 1;
        if let Some(of_source) = state.by_source.get_mut(&self.source) {
            *of_source -= 1;
            if *of_source == 0 {
                state.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect("an address"), 7)
    }

    #[test]
    fn a_source_has_its_share_and_gets_it_back() {
        let places = Places::new("door".to_owned(), "", 3, 2);
        let first = places.admit(address("10.0.0.1"));
        let second = places.admit(address("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some() && places.admit(address("10.0.0.1")).is_none());
        let other = places.admit(address("10.0.0.2"));
        assert!(other.is_some() && places.admit(address("10.0.0.3")).is_none(), "three places");
        drop(first);
        assert!(places.admit(address("10.0.0.1")).is_some(), "given back at once");
        drop((second, other));
        assert!(places.lock().by_source.is_empty());
    }

    #[test]
    fn only_a_lack_of_resources_is_waited_for() {
        let places = Places::new("door".to_owned(), "", 1, 1);
        let pause = |code: i32| places.after_failure(&io::Error::from_raw_os_error(code));
        assert_eq!(pause(nix::libc::EMFILE), ACCEPT_PAUSE);
        assert_eq!(pause(nix::libc::ENFILE), ACCEPT_PAUSE);
        assert_eq!(pause(nix::libc::ECONNABORTED), Duration::ZERO);
        assert_eq!(places.lock().said.unsaid, 1, "said once");
    }
}
