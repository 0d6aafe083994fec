//! From datagrams to inputs: whose is it, is it in order, is it new. What passes goes to `Core`; what does not changes
//! nothing and is counted. Not the port, and not what messages mean.

mod counters;
pub mod downstream;
mod gateway;
mod login;
pub mod release;
mod tokens;

pub use crate::accounts::Accounts;
pub use counters::IngressCounters;
pub use login::ControlReply;

use crate::clock::Now;
use crate::config::SessionConfig;
use crate::core::Core;
use crate::inputs::{CloseReason, Input, SessionId};
use crate::log::writer::Log;
use crate::session::downstream::Route;
use gateway::GatewayDesk;
use login::LoginDesk;
use netio::{Endpoint, Peer};
use std::collections::HashMap;
use std::collections::VecDeque;
use streams::{
    Kind, ParkingPool, ReceiveConfig, ReceiveStream, Received, RequestOutcome, SessionName, classify,
};
pub use tokens::{NameSource, random_name};
use tokens::{Tokens, upstream_name};
use wire::moldudp64::{CONTROL_SESSION, HEADER_LENGTH, Header};

/// Block bytes of the longest datagram: jumbo frames are not taken.
const SLOT_BYTES: usize = 1472 - HEADER_LENGTH;

/// The receiving side of one session.
struct Upstream {
    receive: ReceiveStream,
    downstream: SessionName,
    last_heard_ns: u64,
    /// Upstream messages below this are as durable as configured: acknowledgements go no further.
    limit: u64,
    /// An acknowledgement was cut to `limit`; the rest is owed when the limit moves.
    ack_owed: bool,
}

pub struct Ingress {
    sessions: Vec<Upstream>,
    tokens: Tokens,
    pool: ParkingPool,
    receive_config: ReceiveConfig,
    /// Bound sessions by address, for the control datagrams that name no session. Looked up only.
    bound: HashMap<Endpoint, SessionId>,
    login: LoginDesk,
    gateway: Option<GatewayDesk>,
    /// A journal has what resend windows no longer hold.
    pub can_replay: bool,
    timeout_ns: u64,
    /// Acknowledgements wait for the disk.
    gated: bool,
    pub counters: IngressCounters,
}

impl Ingress {
    pub fn new(
        config: &SessionConfig,
        accounts: Accounts,
        verifier: crate::accounts::verify::VerifierHandle,
    ) -> Self {
        Self {
            sessions: Vec::with_capacity(config.max_sessions),
            tokens: Tokens::with_capacity(config.max_sessions),
            pool: ParkingPool::new(config.parked_datagrams as u32, SLOT_BYTES),
            receive_config: ReceiveConfig::default(),
            bound: HashMap::with_capacity(config.max_sessions),
            login: LoginDesk::new(accounts, verifier),
            gateway: None,
            can_replay: false,
            timeout_ns: config.timeout_seconds * 1_000_000_000,
            gated: false,
            counters: IngressCounters::default(),
        }
    }

    /// Names of new sessions come from here instead of the system's random numbers, so that a run can be repeated.
    pub fn set_names(&mut self, names: NameSource) {
        self.login.names = names;
    }

    /// Takes over the sessions of a recovered shard. Their clients have as long to come back as a silent one has.
    pub fn adopt<L: Log>(&mut self, core: &Core<L>, now_ns: u64) {
        for session in self.sessions.len()..core.shard.sessions() {
            if let Some(trader) = core.shard.trader(session as SessionId) {
                self.login.adopt(&trader.user, session as SessionId);
                self.add_session(trader.name, trader.next_upstream);
                self.sessions[session].last_heard_ns = now_ns;
            }
        }
    }

    fn add_session(&mut self, downstream: SessionName, next_upstream: u64) {
        self.tokens.insert(&downstream, self.sessions.len() as SessionId);
        self.sessions.push(Upstream {
            receive: ReceiveStream::new(
                self.receive_config.clone(),
                upstream_name(&downstream),
                next_upstream,
            ),
            downstream,
            last_heard_ns: 0,
            limit: if self.gated { next_upstream } else { u64::MAX },
            ack_owed: false,
        });
    }

    /// Takes one datagram; whatever it leads to is in the core when this returns.
    #[inline]
    pub fn on_datagram<L: Log>(&mut self, peer: &Peer, payload: &[u8], now: Now, core: &mut Core<L>) {
        self.counters.datagrams += 1;
        let Ok(header) = Header::read(payload) else {
            self.counters.short += 1;
            return;
        };
        let Some(id) = self.tokens.get(&header.session) else {
            if header.session == CONTROL_SESSION {
                return self.on_control(peer, payload, now, core);
            }
            self.counters.unknown_token += 1;
            return;
        };
        let bound = match core.egress.route(id) {
            Route::Datagrams(bound) if bound.remote == peer.remote => bound,
            _ => {
                self.counters.foreign_source += 1;
                return;
            }
        };
        let session = &mut self.sessions[id as usize];
        let kind = classify(&header, payload.len(), &session.downstream, session.receive.session());
        match kind {
            Kind::Stream => {
                let received = session.receive.on_datagram(
                    &header,
                    &payload[HEADER_LENGTH..],
                    now.monotonic_ns,
                    &mut self.pool,
                    |run| core.messages(id, &run, now.timestamp_ns),
                );
                match received {
                    Received::Delivered(_) | Received::Heartbeat | Received::Ended => {}
                    Received::Duplicate => self.counters.duplicate += 1,
                    Received::Parked => self.counters.parked += 1,
                    Received::Dropped => self.counters.parking_full += 1,
                    Received::FarAhead => {
                        self.counters.far_ahead += 1;
                        return;
                    }
                    Received::Malformed => {
                        self.counters.malformed += 1;
                        return;
                    }
                }
            }
            Kind::Acknowledgement => {
                core.egress.session(id).stream.on_ack(header.sequence, now.monotonic_ns);
            }
            Kind::Request => {
                let outcome = core.egress.session(id).stream.on_request(header.sequence, header.count);
                if let RequestOutcome::TooOld { from, until } = outcome {
                    self.counters.replays += 1;
                    self.login.request_replay(id, from, until);
                }
            }
            Kind::Foreign | Kind::Malformed => {
                self.counters.malformed += 1;
                return;
            }
        }
        session.last_heard_ns = now.monotonic_ns;
        // Past the kernel nobody else follows a client, or its router, to another MAC or VLAN.
        if bound.link != peer.link || bound.local != peer.local {
            core.egress.session(id).route = Route::Datagrams(*peer);
        }
        core.egress.mark(id);
    }

    /// When the session next needs attention, nanoseconds of the monotonic clock.
    pub fn next_deadline<L: Log>(&self, id: SessionId, core: &Core<L>) -> u64 {
        let session = &self.sessions[id as usize];
        if core.shard.trader(id).is_none_or(|trader| !trader.connected) {
            return u64::MAX;
        }
        session.receive.next_deadline().min(session.last_heard_ns.saturating_add(self.timeout_ns))
    }

    /// Does what is due for the session: acknowledgements, requests, and the end of one that has fallen silent.
    pub fn on_timer<L: Log>(&mut self, id: SessionId, now: Now, core: &mut Core<L>) {
        // The gateway sees to its own connections.
        let connected = core.shard.trader(id).is_some_and(|trader| trader.connected);
        if !connected || matches!(core.egress.route(id), Route::Gateway(_)) {
            return;
        }
        let session = &mut self.sessions[id as usize];
        if now.monotonic_ns >= session.last_heard_ns.saturating_add(self.timeout_ns) {
            self.counters.timeouts += 1;
            return self.close(id, CloseReason::Timeout, now, core);
        }
        session.receive.on_timer(now.monotonic_ns);
        if session.receive.wants_to_send() {
            core.egress.mark(id);
        }
    }

    /// Ends a session's binding; what it has open is cancelled if it is set so.
    pub fn close<L: Log>(&mut self, id: SessionId, reason: CloseReason, now: Now, core: &mut Core<L>) {
        let route = core.egress.route(id);
        if let Route::Datagrams(peer) = route {
            self.bound.remove(&peer.remote);
        }
        if route != Route::None {
            self.login.reply_end(route, core.last);
        }
        core.egress.session(id).route = Route::None;
        self.sessions[id as usize].receive.clear(&mut self.pool);
        // The session exists, so the input follows from the state.
        if let Err(error) = core.input(&Input::SessionClosed { session: id, reason }, now.timestamp_ns) {
            tracing::error!(session = id, %error, "cannot close");
        }
    }

    /// Builds the session's next acknowledgement or gap request.
    #[inline]
    pub fn pack(&mut self, id: SessionId, out: &mut [u8]) -> Option<usize> {
        let session = &mut self.sessions[id as usize];
        let length = session.receive.pack(&self.pool, out)?;
        if let Ok(header) = Header::read(out)
            && header.count == 0
            && header.sequence > session.limit
        {
            session.ack_owed = true;
            Header { sequence: session.limit, ..header }.write(out);
        }
        Some(length)
    }

    #[inline]
    pub fn wants_to_send(&self, id: SessionId) -> bool {
        self.sessions[id as usize].receive.wants_to_send()
    }

    /// Next upstream sequence expected of the session.
    #[inline]
    pub fn next_upstream(&self, id: SessionId) -> u64 {
        self.sessions[id as usize].receive.next()
    }

    /// The journal has made everything below `limit` durable. Returns whether an acknowledgement is owed.
    pub fn release(&mut self, id: SessionId, limit: u64) -> bool {
        let session = &mut self.sessions[id as usize];
        session.limit = limit;
        let owed = std::mem::take(&mut session.ack_owed);
        if owed {
            session.receive.request_ack();
        }
        owed
    }

    /// From now on acknowledgements go no further than [`Ingress::release`] says: replies wait for the disk. What has
    /// arrived so far came from the disk.
    pub fn hold_acknowledgements(&mut self) {
        self.gated = true;
        for session in &mut self.sessions {
            session.limit = session.receive.next();
        }
    }

    /// Control datagrams to send, oldest first.
    pub fn replies(&mut self) -> &mut VecDeque<ControlReply> {
        self.login.replies()
    }

    /// Gap requests that only the journal can answer: session and range.
    pub fn take_replay(&mut self) -> Option<(SessionId, u64, u64)> {
        self.login.take_replay()
    }

    /// Sessions bound to an address.
    pub fn bound(&self) -> usize {
        self.bound.len()
    }
}
