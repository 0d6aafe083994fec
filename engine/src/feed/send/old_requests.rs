//! Retransmission of what the feed thread's window no longer has: a thread that fetches it from the journal, a few windows of what it has
//! fetched, and requests that wait for it, those of proven sources first. Not the requests that the window answers.

use super::allowance::Standing;
use super::deep;
use super::window::window;
use crate::accounts::attempts::Source;
use crate::counter::Counter;
use crate::doors::Seldom;
use crate::history::recovery::RecoveryError;
use crate::history::source::LogFiles;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use streams::{SendStream, SessionName};
use wire::moldudp64::MAX_PAYLOAD;

/// Requests that may wait for the journal, of each standing; a receiver repeats what stays unanswered.
const WAITING_MAX: usize = 64;
/// Of those, from one source: it cannot make the others wait for more passes over the journal than these.
const WAITING_PER_SOURCE_MAX: usize = 4;
/// Windows kept: as many receivers can catch up at the same time without a pass over the journal for each of their requests.
const WINDOWS: usize = 8;
/// Feed bytes that one pass over the journal fetches: the following requests of the same receiver find theirs here.
const WINDOW_BYTES: usize = 2 << 20;

pub static SENT: Counter = Counter::new("retransmissions", "Retransmitted datagrams of market data");
pub static FETCHED: Counter =
    Counter::new("retransmissions_fetched", "Passes over the journal for messages that no window had");

/// Messages `from..until`, asked for by `source`.
#[derive(Debug, Clone, Copy)]
pub struct OldRequest {
    pub from: u64,
    pub until: u64,
    pub source: SocketAddr,
}

/// The requesting end. The thread ends when it is dropped.
pub struct OldRequests(Arc<Shared>);

#[derive(Default)]
struct Shared {
    work: Mutex<Work>,
    more: Condvar,
}

#[derive(Default)]
struct Work {
    /// What was fetched, the one used last at the end.
    windows: Vec<SendStream>,
    proven: VecDeque<OldRequest>,
    unproven: VecDeque<OldRequest>,
    closed: bool,
}

impl OldRequests {
    /// Starts the thread, which answers over `socket`.
    pub fn start(socket: UdpSocket, journal: LogFiles, session: SessionName) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let requests = Self(Arc::clone(&shared));
        std::thread::Builder::new()
            .name("feed-deep".to_owned())
            .spawn(move || shared.serve(&socket, &journal, session))?;
        Ok(requests)
    }

    /// Packs the answer if its messages have been fetched already; otherwise the request waits for the thread, if there is room.
    pub fn answer(&self, request: OldRequest, standing: Standing, out: &mut [u8]) -> Option<usize> {
        let mut work = self.0.lock();
        let packed = work.pack(&request, out);
        if packed.is_none() && work.wait_for_fetch(request, standing) {
            self.0.more.notify_one();
        }
        packed
    }
}

impl Drop for OldRequests {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_one();
    }
}

impl Work {
    fn pack(&mut self, request: &OldRequest, out: &mut [u8]) -> Option<usize> {
        let holds = |window: &SendStream| (window.first()..window.next()).contains(&request.from);
        let place = self.windows.iter().position(holds)?;
        let used = self.windows.remove(place);
        let packed = used.pack_range(request.from, request.until.min(used.next()), out);
        self.windows.push(used);
        packed.map(|(length, _)| length)
    }

    fn keep(&mut self, window: SendStream) {
        if self.windows.len() == WINDOWS {
            self.windows.remove(0);
        }
        self.windows.push(window);
    }

    fn wait_for_fetch(&mut self, request: OldRequest, standing: Standing) -> bool {
        let waiting = match standing {
            Standing::Proven => &mut self.proven,
            Standing::Unproven => &mut self.unproven,
        };
        let source = Source::from(request.source);
        let of_source = waiting.iter().filter(|other| Source::from(other.source) == source).count();
        let has_room = waiting.len() < WAITING_MAX && of_source < WAITING_PER_SOURCE_MAX;
        if has_room {
            waiting.push_back(request);
        }
        has_room
    }

    fn next(&mut self) -> Option<OldRequest> {
        self.proven.pop_front().or_else(|| self.unproven.pop_front())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Work> {
        // Nothing under this lock can be left half done.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, socket: &UdpSocket, journal: &LogFiles, session: SessionName) {
        let mut failures = Seldom::default();
        let mut datagram = [0; MAX_PAYLOAD];
        while let Some(request) = self.await_request() {
            let mut packed = self.lock().pack(&request, &mut datagram);
            if packed.is_none() {
                FETCHED.count();
                match fetch(journal, session, request.from) {
                    Ok(fetched) => {
                        let mut work = self.lock();
                        work.keep(fetched);
                        packed = work.pack(&request, &mut datagram);
                    }
                    Err(error) => {
                        if let Some(unsaid) = failures.may_say() {
                            let from = request.from;
                            tracing::warn!(from, %error, unsaid, "feed messages cannot be fetched from the journal");
                        }
                    }
                }
            }
            if let Some(length) = packed {
                send(socket, &datagram[..length], request.source);
            }
        }
    }

    /// `None` when the requesting end is gone.
    fn await_request(&self) -> Option<OldRequest> {
        let mut work = self.lock();
        loop {
            if work.closed {
                return None;
            }
            if let Some(request) = work.next() {
                return Some(request);
            }
            work = self.more.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A datagram that cannot leave is one more that is lost: the receiver asks again.
pub fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    SENT.count();
    if let Err(error) = socket.send_to(datagram, to) {
        tracing::debug!(%to, %error, "a retransmission could not leave");
    }
}

/// Messages from `from` on, as many as a window takes.
fn fetch(journal: &LogFiles, session: SessionName, from: u64) -> Result<SendStream, RecoveryError> {
    let mut fetched = window(WINDOW_BYTES, session, from);
    let mut bytes = 0;
    deep::replay(journal, from, |_, message| {
        bytes += message.len() + 2;
        // A block never lies across the end of the ring, which may cost one longest block.
        if bytes + 2 * MAX_PAYLOAD > WINDOW_BYTES {
            return ControlFlow::Break(());
        }
        let pushed = fetched.push(message.len(), |out| {
            out.copy_from_slice(message);
            message.len()
        });
        if pushed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(fetched)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: SessionName = *b"F123456789";

    fn request(from: u64, port: u16, host: u8) -> OldRequest {
        OldRequest { from, until: from + 5, source: SocketAddr::from(([10, 0, 0, host], port)) }
    }

    fn fetched(from: u64, count: u64) -> SendStream {
        let mut stream = window(1 << 16, NAME, from);
        for number in 0..count {
            let pushed = stream.push(8, |out| {
                out.copy_from_slice(&(from + number).to_be_bytes());
                8
            });
            assert!(pushed.is_ok());
        }
        stream
    }

    #[test]
    fn what_was_fetched_answers_until_newer_windows_take_its_place() {
        let mut work = Work::default();
        let mut out = [0; MAX_PAYLOAD];
        assert_eq!(work.pack(&request(100, 1, 1), &mut out), None);
        for place in 0..WINDOWS as u64 {
            work.keep(fetched(100 * place + 1, 50));
        }
        assert!(work.pack(&request(1, 1, 1), &mut out).is_some());
        assert_eq!(work.pack(&request(51, 1, 1), &mut out), None, "between two windows");
        // The first was used last: the second goes.
        work.keep(fetched(5001, 50));
        assert!(work.pack(&request(1, 1, 1), &mut out).is_some());
        assert_eq!(work.pack(&request(101, 1, 1), &mut out), None);
        assert_eq!(work.windows.len(), WINDOWS);
    }

    #[test]
    fn a_source_fills_its_share_and_proven_ones_go_first() {
        let mut work = Work::default();
        let taken =
            (0..20).filter(|&port| work.wait_for_fetch(request(1, port, 1), Standing::Unproven)).count();
        assert_eq!(taken, WAITING_PER_SOURCE_MAX, "whatever its ports");
        assert!(work.wait_for_fetch(request(2, 1, 2), Standing::Unproven));
        assert!(work.wait_for_fetch(request(3, 1, 3), Standing::Proven));
        let order: Vec<u64> = std::iter::from_fn(|| work.next()).map(|request| request.from).collect();
        assert_eq!(order, [3, 1, 1, 1, 1, 2]);
        let taken =
            (0..200).filter(|&host| work.wait_for_fetch(request(1, 1, host), Standing::Unproven)).count();
        assert_eq!(taken, WAITING_MAX);
    }
}
