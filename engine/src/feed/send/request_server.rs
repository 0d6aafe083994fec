//! MoldUDP64 retransmission over UDP: one datagram for each request, from the window or, for what is older, from the
//! journal. Requests that make no sense are not answered, as the protocol says.

use super::journal_source::JournalSource;
use super::state::Feed;
use super::window::window;
use crate::history::recovery::RecoveryError;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use streams::{SendStream, SessionName};
use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, Header, MAX_PAYLOAD};

/// Requests answered before the feed is followed again.
const REQUESTS_PER_ROUND: usize = 256;
/// Requests that may wait for the journal; a receiver repeats what stays unanswered.
const MAX_DEEP: usize = 64;
/// Feed bytes that one pass over the journal fetches: the following requests of the same receiver find theirs here.
const DEEP_WINDOW_BYTES: usize = 4 << 20;

struct DeepRequest {
    from: u64,
    until: u64,
    source: SocketAddr,
}

pub struct RequestServer {
    socket: UdpSocket,
    session: SessionName,
    deep: Option<SyncSender<DeepRequest>>,
}

impl RequestServer {
    pub fn bind(
        address: SocketAddr,
        session: SessionName,
        journal: Option<JournalSource>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let deep = match journal {
            None => None,
            Some(journal) => {
                let (sender, requests) = sync_channel(MAX_DEEP);
                let socket = socket.try_clone()?;
                // Ends when the sender is dropped with the feed thread.
                std::thread::Builder::new()
                    .name("feed-deep".to_owned())
                    .spawn(move || answer_deep(&socket, &requests, &journal, session))?;
                Some(sender)
            }
        };
        Ok(Self { socket, session, deep })
    }

    /// Answers what has been asked; waits up to `wait` for the first request. Returns whether there was any.
    pub fn serve(&mut self, feed: &Feed, wait: Duration) -> bool {
        let mut request = [0; MAX_PAYLOAD];
        for answered in 0..REQUESTS_PER_ROUND {
            let blocks = answered == 0 && !wait.is_zero();
            let ready = if blocks {
                self.socket.set_nonblocking(false).and_then(|()| self.socket.set_read_timeout(Some(wait)))
            } else {
                self.socket.set_nonblocking(true)
            };
            // Both can fail only on a socket that is gone, and then receiving says so.
            let received = ready.and_then(|()| self.socket.recv_from(&mut request));
            let Ok((length, source)) = received else { return answered > 0 };
            self.answer(&request[..length], source, feed);
        }
        true
    }

    fn answer(&self, request: &[u8], source: SocketAddr, feed: &Feed) {
        if request.len() != HEADER_LENGTH {
            return;
        }
        let Ok(Header { session, sequence, count }) = Header::read(request) else { return };
        if session != self.session || sequence == 0 || count == 0 || count == END_OF_SESSION {
            return;
        }
        let mut datagram = [0; MAX_PAYLOAD];
        let state = feed.lock();
        let until = sequence.saturating_add(u64::from(count)).min(state.next());
        if sequence >= until {
            return;
        }
        if sequence >= state.history.first() {
            let packed = state.history.pack_range(sequence, until, &mut datagram);
            drop(state);
            if let Some((length, _)) = packed {
                send(&self.socket, &datagram[..length], source);
            }
            return;
        }
        drop(state);
        if let Some(deep) = &self.deep
            && let Err(TrySendError::Disconnected(_)) =
                deep.try_send(DeepRequest { from: sequence, until, source })
        {
            tracing::error!("the thread that reads feed messages from the journal is gone");
        }
    }
}

/// A datagram that cannot leave is one more that is lost: the receiver asks again.
fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(datagram, to) {
        tracing::debug!(%to, %error, "a retransmission could not leave");
    }
}

fn answer_deep(
    socket: &UdpSocket,
    requests: &Receiver<DeepRequest>,
    journal: &JournalSource,
    session: SessionName,
) {
    let mut window = window(DEEP_WINDOW_BYTES, session, 1);
    while let Ok(DeepRequest { from, until, source }) = requests.recv() {
        if from < window.first() || from >= window.next() {
            match fetch(journal, session, from) {
                Ok(fetched) => window = fetched,
                Err(error) => {
                    tracing::warn!(from, %error, "feed messages cannot be fetched from the journal");
                    continue;
                }
            }
        }
        let mut datagram = [0; MAX_PAYLOAD];
        if let Some((length, _)) = window.pack_range(from, until.min(window.next()), &mut datagram) {
            send(socket, &datagram[..length], source);
        }
    }
}

/// Messages from `from` on, as many as a window takes.
fn fetch(journal: &JournalSource, session: SessionName, from: u64) -> Result<SendStream, RecoveryError> {
    let mut window = window(DEEP_WINDOW_BYTES, session, from);
    let mut bytes = 0;
    super::deep::replay(journal, from, |_, message| {
        bytes += message.len() + 2;
        // A block never lies across the end of the ring, which may cost one longest block.
        if bytes + 2 * MAX_PAYLOAD > DEEP_WINDOW_BYTES {
            return ControlFlow::Break(());
        }
        let pushed = window.push(message.len(), |out| {
            out.copy_from_slice(message);
            message.len()
        });
        if pushed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(window)
}
