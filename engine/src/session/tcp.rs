//! The shard's end of the TCP gateway: its logins, messages and endings become the same inputs as a datagram's, and the
//! sessions' streams go back to it in datagrams. Not sockets: `crate::gateway` has those, on a thread of its own.

use super::login::Taken;
use super::{Reception, Route};
use crate::clock::Now;
use crate::core::Core;
use crate::gateway::rings::{ConnectionId, ToShard};
use crate::inputs::{CloseReason, SessionId};
use crate::log::writer::Log;
use streams::Run;
use wire::soupbintcp::login_reject_reason;

/// Items taken from the gateway before datagrams are looked at again.
const ITEMS_PER_TURN: usize = 64;

impl Reception {
    /// Takes what the gateway has brought; returns whether there was anything.
    pub fn poll_gateway<L: Log>(&mut self, now: Now, core: &mut Core<L>) -> bool {
        let Some(connections) = &mut self.connections else { return false };
        for session in connections.stalled.drain(..) {
            core.sessions.mark(session);
        }
        for taken in 0..ITEMS_PER_TURN {
            let Some(Ok(item)) = self.connections.as_mut().map(|connections| connections.link.from.pop())
            else {
                return taken > 0;
            };
            match item {
                ToShard::Login { connection, source, request, drop_copy } => {
                    let origin = Route::Connection(connection);
                    let taken = self.on_login(origin, &source, &request, None, drop_copy, now, core);
                    if taken == Taken::No {
                        self.refuse(origin, login_reject_reason::NOT_AUTHORIZED);
                    }
                }
                ToShard::Message { connection, length, block } => {
                    self.on_block(connection, &block[..usize::from(length)], now, core);
                }
                ToShard::Logout { connection } => {
                    self.counters.logouts += 1;
                    self.on_connection_end(connection, CloseReason::Logout, now, core);
                }
                ToShard::Lost { connection } => {
                    self.on_connection_end(connection, CloseReason::Timeout, now, core);
                }
            }
        }
        true
    }

    fn session_of<L: Log>(&self, connection: ConnectionId, core: &Core<L>) -> Option<SessionId> {
        let session = self.connections.as_ref()?.sessions.get(&connection).copied()?;
        (core.sessions[session].route == Route::Connection(connection)).then_some(session)
    }

    fn on_block<L: Log>(&mut self, connection: ConnectionId, block: &[u8], now: Now, core: &mut Core<L>) {
        let Some(session) = self.session_of(connection, core) else {
            self.counters.foreign_source += 1;
            return;
        };
        // TCP has put the messages in order; their numbers are the session's own.
        let next = core.shard.trader(session).map_or(1, |trader| trader.next_upstream);
        match Run::parse(next, 1, block) {
            Ok(run) => core.messages(session, &run, now.timestamp_ns),
            Err(_) => self.counters.malformed += 1,
        }
        core.sessions.mark(session);
    }

    fn on_connection_end<L: Log>(
        &mut self,
        connection: ConnectionId,
        reason: CloseReason,
        now: Now,
        core: &mut Core<L>,
    ) {
        self.login.waiting.abandon(Route::Connection(connection));
        let session = self.session_of(connection, core);
        if let Some(connections) = &mut self.connections {
            connections.sessions.remove(&connection);
        }
        if let Some(session) = session {
            if reason == CloseReason::Timeout {
                self.counters.timeouts += 1;
            }
            // The connection is gone: there is nobody to tell.
            core.sessions.unbind(session);
            self.close(session, reason, now, core);
        }
    }

    /// The session was accepted over this connection; its messages go there from `next` on.
    pub(super) fn bind_connection<L: Log>(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        next: u64,
        core: &mut Core<L>,
    ) {
        let window = core.sessions[session].downstream.stream.sent();
        if let Some(connections) = &mut self.connections
            && connections.bind(connection, session, next, window)
        {
            self.counters.replays += 1;
            self.request_replay(session, next, window);
        }
        // Silence is the gateway's business.
        core.sessions[session].upstream.heard_ns = u64::MAX;
        core.sessions.mark(session);
    }
}
