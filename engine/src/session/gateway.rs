//! The shard's end of the TCP gateway: its logins, messages and endings become the same inputs as a datagram's, and the
//! sessions' streams go back to it in datagrams. Not sockets: `crate::gateway` has those, on a thread of its own.

use super::Ingress;
use crate::clock::Now;
use crate::core::Core;
use crate::gateway::GatewayLink;
use crate::gateway::rings::{ConnectionId, FromShard, ToShard};
use crate::history::replica::Messages;
use crate::inputs::{CloseReason, SessionId};
use crate::log::writer::Log;
use crate::session::downstream::Route;
use std::collections::HashMap;
use streams::Run;
use wire::moldudp64::{HEADER_LENGTH, Header, MAX_PAYLOAD};
use wire::soupbintcp::{Packet, login_reject_reason};

/// Items taken from the gateway before datagrams are looked at again.
const ITEMS_PER_TURN: usize = 64;

/// What the shard knows of the gateway.
pub(super) struct GatewayDesk {
    link: GatewayLink,
    /// Session of each connection that has logged in. Looked up only.
    sessions: HashMap<ConnectionId, SessionId>,
    /// Sessions that had more to send than the ring had room for.
    stalled: Vec<SessionId>,
    /// Sessions that are being given what only the journal has, and the next sequence of that. Looked up only.
    replaying: HashMap<SessionId, u64>,
}

impl Ingress {
    /// Serves a gateway from now on.
    pub fn set_gateway(&mut self, link: GatewayLink, max_connections: usize) {
        self.gateway = Some(GatewayDesk {
            link,
            sessions: HashMap::with_capacity(max_connections),
            stalled: Vec::with_capacity(max_connections),
            replaying: HashMap::with_capacity(max_connections),
        });
    }

    /// Takes what the gateway has brought; returns whether there was anything.
    pub fn poll_gateway<L: Log>(&mut self, now: Now, core: &mut Core<L>) -> bool {
        let Some(gateway) = &mut self.gateway else { return false };
        for session in gateway.stalled.drain(..) {
            core.egress.mark(session);
        }
        for taken in 0..ITEMS_PER_TURN {
            let Some(Ok(item)) = self.gateway.as_mut().map(|gateway| gateway.link.from.pop()) else {
                return taken > 0;
            };
            match item {
                ToShard::Login { connection, source, request, drop_copy } => {
                    let origin = Route::Gateway(connection);
                    if !self.ask(origin, &source, &request, drop_copy, now, core) {
                        self.refuse(origin, login_reject_reason::NOT_AUTHORIZED, core);
                    }
                }
                ToShard::Message { connection, length, block } => {
                    self.on_gateway_message(connection, &block[..usize::from(length)], now, core);
                }
                ToShard::Logout { connection } => {
                    self.counters.logouts += 1;
                    self.on_gateway_end(connection, CloseReason::Logout, now, core);
                }
                ToShard::Lost { connection } => {
                    self.on_gateway_end(connection, CloseReason::Timeout, now, core);
                }
            }
        }
        true
    }

    fn gateway_session<L: Log>(&self, connection: ConnectionId, core: &Core<L>) -> Option<SessionId> {
        let session = self.gateway.as_ref()?.sessions.get(&connection).copied()?;
        (core.egress.route(session) == Route::Gateway(connection)).then_some(session)
    }

    fn on_gateway_message<L: Log>(
        &mut self,
        connection: ConnectionId,
        block: &[u8],
        now: Now,
        core: &mut Core<L>,
    ) {
        let Some(session) = self.gateway_session(connection, core) else {
            self.counters.foreign_source += 1;
            return;
        };
        // TCP has put the messages in order; their numbers are the session's own.
        let next = core.shard.trader(session).map_or(1, |trader| trader.next_upstream);
        match Run::parse(next, 1, block) {
            Ok(run) => core.messages(session, &run, now.timestamp_ns),
            Err(_) => self.counters.malformed += 1,
        }
        core.egress.mark(session);
    }

    fn on_gateway_end<L: Log>(
        &mut self,
        connection: ConnectionId,
        reason: CloseReason,
        now: Now,
        core: &mut Core<L>,
    ) {
        self.login.forget(Route::Gateway(connection));
        let session = self.gateway_session(connection, core);
        if let Some(gateway) = &mut self.gateway {
            gateway.sessions.remove(&connection);
        }
        if let Some(session) = session {
            if reason == CloseReason::Timeout {
                self.counters.timeouts += 1;
            }
            // The connection is gone: there is nobody to tell.
            core.egress.session(session).route = Route::None;
            self.close(session, reason, now, core);
        }
    }

    /// The connection is the session's from now on. From `next` to `window` its messages have to come from the journal.
    pub(super) fn bind_gateway(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        next: u64,
        window: u64,
    ) {
        if let Some(gateway) = &mut self.gateway {
            gateway.sessions.insert(connection, session);
            gateway.replaying.remove(&session);
            if next < window {
                gateway.replaying.insert(session, next);
                self.counters.replays += 1;
                self.login.request_replay(session, next, window);
            }
        }
        // Silence is the gateway's business.
        self.sessions[session as usize].last_heard_ns = u64::MAX;
    }

    /// Hands a control packet to the gateway; false when the ring is full.
    pub fn tell_gateway(&mut self, connection: ConnectionId, body: &Packet<'static>) -> bool {
        let Some(gateway) = &mut self.gateway else { return true };
        let item = match *body {
            Packet::LoginAccepted(accepted) => FromShard::Accepted { connection, accepted },
            Packet::LoginRejected { reason } => FromShard::Rejected { connection, reason },
            _ => {
                gateway.sessions.remove(&connection);
                FromShard::Ended { connection }
            }
        };
        gateway.link.to.push(item).is_ok()
    }

    /// Hands the session's new messages to the gateway, as far as the ring has room.
    pub fn send_to_gateway<L: Log>(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        now: Now,
        core: &mut Core<L>,
    ) {
        // The answer to the login leaves first; it may have to wait for the disk.
        let answered = !self.login.has_reply_for(Route::Gateway(connection));
        let Some(gateway) = &mut self.gateway else { return };
        let downstream = core.egress.session(session);
        // Heartbeats are the gateway's; the stream's own would only ask to be sent for ever.
        let mut unused = [0; HEADER_LENGTH];
        let _heartbeat = downstream.stream.pack_heartbeat(now.monotonic_ns, downstream.limit, &mut unused);
        if gateway.replaying.contains_key(&session) {
            return;
        }
        while downstream.stream.sent() < downstream.stream.next().min(downstream.limit) {
            if !answered || gateway.link.to.is_full() {
                if gateway.stalled.len() < gateway.stalled.capacity() {
                    gateway.stalled.push(session);
                }
                return;
            }
            let mut bytes = [0; MAX_PAYLOAD];
            let Some(length) = downstream.stream.pack_new(now.monotonic_ns, downstream.limit, &mut bytes)
            else {
                return;
            };
            // TCP delivers or the connection ends: nothing is in doubt after this.
            downstream.stream.on_ack(downstream.stream.sent(), now.monotonic_ns);
            let item = FromShard::Datagram { connection, length: length as u16, bytes };
            // Fits: a full ring was ruled out above, and this is the only producer.
            let _ = gateway.link.to.push(item);
        }
    }

    /// Passes on messages from the journal, and asks for more of them until the session's window goes on. The ring's
    /// room decides how many at a time.
    pub fn replay_to_gateway<L: Log>(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        messages: &Messages,
        core: &mut Core<L>,
    ) {
        let answered = !self.login.has_reply_for(Route::Gateway(connection));
        let Self { gateway: Some(gateway), login, .. } = self else { return };
        let Some(next) = gateway.replaying.get_mut(&session) else { return };
        let downstream = core.egress.session(session);
        let name = *downstream.stream.session();
        let until = downstream.stream.sent();
        while answered && *next < messages.end().min(until) && !gateway.link.to.is_full() {
            let (blocks, count) = messages.blocks_from(*next, MAX_PAYLOAD - HEADER_LENGTH);
            if count == 0 {
                break;
            }
            let mut bytes = [0; MAX_PAYLOAD];
            Header { session: name, sequence: *next, count }.write(&mut bytes);
            bytes[HEADER_LENGTH..HEADER_LENGTH + blocks.len()].copy_from_slice(blocks);
            let length = (HEADER_LENGTH + blocks.len()) as u16;
            // Fits: a full ring was ruled out above, and this is the only producer.
            let _ = gateway.link.to.push(FromShard::Datagram { connection, length, bytes });
            *next += u64::from(count);
        }
        if *next < until {
            login.request_replay(session, *next, until);
        } else {
            gateway.replaying.remove(&session);
            core.egress.mark(session);
        }
    }
}
