//! MoldUDP64 retransmission over UDP: one datagram for each request, from the window or, for what is older, from the journal. Requests that
//! make no sense are not answered, as the protocol says, nor are those beyond what their source may have.

use super::allowance::{Allowances, ProvenSources};
use super::old_requests::{OldRequest, OldRequests, send};
use super::state::Feed;
use crate::config::FeedConfig;
use crate::counter::Counter;
use crate::history::source::LogFiles;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use streams::SessionName;
use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, Header, MAX_PAYLOAD};

/// Requests answered before the feed is followed again.
const REQUESTS_PER_ROUND: usize = 256;

pub static LIMITED: Counter =
    Counter::new("retransmissions_limited", "Requests for retransmission beyond what their source may have");

pub struct RequestServer {
    socket: UdpSocket,
    session: SessionName,
    allowances: Allowances,
    /// Absent without a journal.
    old: Option<OldRequests>,
}

impl RequestServer {
    pub fn bind(
        address: SocketAddr,
        session: SessionName,
        config: &FeedConfig,
        proven: ProvenSources,
        journal: Option<LogFiles>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        let (many, few) = (config.requests_per_source, config.requests_per_unproven_source);
        let old =
            journal.map(|journal| OldRequests::start(socket.try_clone()?, journal, session)).transpose()?;
        Ok(Self { socket, session, allowances: Allowances::new(proven, many, few), old })
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

    fn answer(&mut self, request: &[u8], source: SocketAddr, feed: &Feed) {
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
        let Some(standing) = self.allowances.take(source.into()) else { return LIMITED.count() };
        let packed = if sequence >= state.history.first() {
            state.history.pack_range(sequence, until, &mut datagram).map(|(length, _)| length)
        } else {
            drop(state);
            let request = OldRequest { from: sequence, until, source };
            self.old.as_ref().and_then(|old| old.answer(request, standing, &mut datagram))
        };
        if let Some(length) = packed {
            send(&self.socket, &datagram[..length], source);
        }
    }
}
