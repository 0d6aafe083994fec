//! The shard's end of the TCP gateway: its logins, messages and endings become the same inputs as a datagram's, and the
//! sessions' streams go back to it in datagrams. Not sockets: `crate::gateway` has those, on a thread of its own.

use super::login::Taken;
use super::{Reception, Route, Session};
use crate::clock::Now;
use crate::core::Core;
use crate::gateway::GatewayLink;
use crate::gateway::rings::{ConnectionId, FromShard, ToShard};
use crate::history::replica::ReplayedMessages;
use crate::inputs::{CloseReason, SessionId};
use crate::log::writer::Log;
use std::collections::HashMap;
use streams::Run;
use wire::control::Reply;
use wire::moldudp64::{HEADER_LENGTH, Header, MAX_PAYLOAD};
use wire::soupbintcp::login_reject_reason;

/// Items taken from the gateway before datagrams are looked at again.
const ITEMS_PER_TURN: usize = 64;

/// What the shard knows of the gateway's connections.
pub(super) struct Connections {
    link: GatewayLink,
    /// Session of each connection that has logged in. Looked up only.
    sessions: HashMap<ConnectionId, SessionId>,
    /// Sessions that had more to send than the ring had room for.
    stalled: Vec<SessionId>,
    /// Sessions that are being given what only the log has, and the next sequence of that. Looked up only.
    replaying: HashMap<SessionId, u64>,
}

impl Connections {
    pub fn new(link: GatewayLink, max_connections: usize) -> Self {
        Self {
            link,
            sessions: HashMap::with_capacity(max_connections),
            stalled: Vec::with_capacity(max_connections),
            replaying: HashMap::with_capacity(max_connections),
        }
    }

    /// The connection is the session's from now on. From `next` to `window` its messages have to come from the log; true when
    /// there are any.
    fn bind(&mut self, connection: ConnectionId, session: SessionId, next: u64, window: u64) -> bool {
        self.sessions.insert(connection, session);
        self.replaying.remove(&session);
        if next < window {
            self.replaying.insert(session, next);
        }
        next < window
    }

    /// Hands a control packet to the gateway; false when the ring is full.
    pub fn tell(&mut self, connection: ConnectionId, body: &Reply) -> bool {
        let item = match *body {
            Reply::Accepted(accepted) => FromShard::Accepted { connection, accepted },
            Reply::Rejected { reason } => FromShard::Rejected { connection, reason },
            Reply::Challenge { .. } | Reply::EndOfSession { .. } => {
                self.sessions.remove(&connection);
                FromShard::Ended { connection }
            }
        };
        self.link.to.push(item).is_ok()
    }

    /// Hands the session's new messages to the gateway, as far as they were released and the ring has room. `answered`: the
    /// answer to its login has left. Returns messages that the session's window lost before the ring had room for them: TCP has no
    /// gaps, so they have to come from the log first.
    pub fn send(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        session: &mut Session,
        now: Now,
        answered: bool,
    ) -> Option<(u64, u64)> {
        let released = session.downstream.released;
        let stream = &mut session.downstream.stream;
        // Heartbeats are the gateway's; the stream's own would only ask to be sent for ever.
        let mut unused = [0; HEADER_LENGTH];
        let _heartbeat = stream.pack_heartbeat(now.monotonic_ns, released, &mut unused);
        if self.replaying.contains_key(&id) {
            return None;
        }
        let (sent, first) = (stream.sent(), stream.first());
        if sent < first && stream.resume_from(first, now.monotonic_ns).is_ok() {
            self.replaying.insert(id, sent);
            return Some((sent, first));
        }
        while stream.sent() < stream.next().min(released) {
            if !answered || self.link.to.is_full() {
                if self.stalled.len() < self.stalled.capacity() {
                    self.stalled.push(id);
                }
                return None;
            }
            let mut bytes = [0; MAX_PAYLOAD];
            let length = stream.pack_new(now.monotonic_ns, released, &mut bytes)?;
            // TCP delivers or the connection ends: nothing is in doubt after this.
            stream.on_ack(stream.sent(), now.monotonic_ns);
            let item = FromShard::Datagram { connection, length: length as u16, bytes };
            // Fits: a full ring was ruled out above, and this is the only producer.
            let _ = self.link.to.push(item);
        }
        None
    }

    /// Passes on messages from the log, as far as they were released and the ring has room. Returns what is still wanted before
    /// the session's window goes on.
    pub fn send_replayed(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        session: &Session,
        messages: &ReplayedMessages,
        answered: bool,
    ) -> Option<(u64, u64)> {
        let next = self.replaying.get_mut(&id)?;
        let (name, until) = (*session.downstream.name(), session.downstream.stream.sent());
        let limit = until.min(session.downstream.released);
        while answered
            && !self.link.to.is_full()
            && let Some((blocks, count)) = messages.blocks_between(*next, limit, MAX_PAYLOAD - HEADER_LENGTH)
        {
            let mut bytes = [0; MAX_PAYLOAD];
            Header { session: name, sequence: *next, count }.write(&mut bytes);
            bytes[HEADER_LENGTH..HEADER_LENGTH + blocks.len()].copy_from_slice(blocks);
            let length = (HEADER_LENGTH + blocks.len()) as u16;
            // Fits: a full ring was ruled out above, and this is the only producer.
            let _ = self.link.to.push(FromShard::Datagram { connection, length, bytes });
            *next += u64::from(count);
        }
        let wanted = (*next < until).then_some((*next, until));
        if wanted.is_none() {
            self.replaying.remove(&id);
        }
        wanted
    }
}

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
