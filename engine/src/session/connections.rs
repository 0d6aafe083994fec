//! What the shard knows of the gateway's connections: which session each has, and what they are still to be given. Not what they bring.

use super::Session;
use crate::clock::Now;
use crate::gateway::GatewayLink;
use crate::gateway::rings::{ConnectionId, FromShard};
use crate::history::replica::ReplayedMessages;
use crate::inputs::SessionId;
use std::collections::HashMap;
use wire::control::Reply;
use wire::moldudp64::{HEADER_LENGTH, Header, MAX_PAYLOAD};

/// What the shard knows of the gateway's connections.
pub(super) struct Connections {
    pub(super) link: GatewayLink,
    /// Session of each connection that has logged in. Looked up only.
    pub(super) sessions: HashMap<ConnectionId, SessionId>,
    /// Sessions that had more to send than the ring had room for.
    pub(super) stalled: Vec<SessionId>,
    /// Sessions that are being given what only the log has, and the next sequence of that. Looked up only.
    pub(super) replaying: HashMap<SessionId, u64>,
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
    pub fn bind(&mut self, connection: ConnectionId, session: SessionId, next: u64, window: u64) -> bool {
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
