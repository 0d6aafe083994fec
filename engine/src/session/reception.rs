//! The shard's reception: whose is it, is it in order, is it new, and who has left. What passes goes to `Core`; what does not
//! changes nothing and is counted. How datagrams, logins and connections come in is in the files beside this.

use super::connections::Connections;
use super::desk::LoginDesk;
use super::{IngressCounters, NameSource, Route, Session};
use crate::accounts::Accounts;
use crate::accounts::verify::VerifierHandle;
use crate::clock::Now;
use crate::config::SessionConfig;
use crate::core::Core;
use crate::gateway::GatewayLink;
use crate::inputs::{CloseReason, Input, SessionId};
use crate::log::writer::Log;
use std::collections::VecDeque;
use streams::ParkingPool;
use wire::moldudp64::HEADER_LENGTH;

/// Block bytes of the longest datagram: jumbo frames are not taken.
const SLOT_BYTES: usize = 1472 - HEADER_LENGTH;
/// Deep replays that may wait; clients ask again.
const MAX_REPLAYS: usize = 1024;
/// A turn that took longer than this was not spent listening: the process was stopped, or its core taken away. No client is
/// to blame for what could not be heard in that time.
const LISTENING_GAP_MAX_NS: u64 = 100_000_000;
/// One session may hold this part of the places for early datagrams: a client that withholds one cannot take all of them.
const PARKED_SHARE: u32 = 4;

/// What the client of a silent session is given more while logins wait to be verified, in portions and in all: a thousand hashes
/// take half a minute of one core. No more, as who keeps logins waiting must not keep dead clients' orders alive.
const EXCUSE_NS: u64 = 1_000_000_000;
const EXCUSES_MAX: u64 = 60;

pub struct Reception {
    pub(super) login: LoginDesk,
    /// Present when a gateway serves TCP clients.
    pub(super) connections: Option<Connections>,
    pub(super) pool: ParkingPool,
    /// Sessions that want what only the log has, and which sequences.
    replays: VecDeque<(SessionId, u64, u64)>,
    /// A log has what resend windows no longer hold.
    pub(super) can_replay: bool,
    timeout_ns: u64,
    /// Time spent listening: what clients' silence is measured by.
    pub(super) listened_ns: u64,
    turned_ns: u64,
    pub counters: IngressCounters,
}

impl Reception {
    pub fn new(config: &SessionConfig, accounts: Accounts, verifier: VerifierHandle) -> Self {
        let parked = config.parked_datagrams as u32;
        Self {
            login: LoginDesk::new(config, accounts, verifier),
            connections: None,
            pool: ParkingPool::new(parked, SLOT_BYTES).with_share(parked / PARKED_SHARE),
            replays: VecDeque::with_capacity(MAX_REPLAYS),
            can_replay: false,
            timeout_ns: config.timeout_seconds * 1_000_000_000,
            listened_ns: 0,
            turned_ns: 0,
            counters: IngressCounters::default(),
        }
    }

    /// Names of new sessions come from here instead of the system's random numbers, so that a run can be repeated.
    pub fn set_names(&mut self, names: NameSource) {
        self.login.names = names;
    }

    /// Serves a gateway from now on.
    pub fn set_gateway(&mut self, link: GatewayLink, max_connections: usize) {
        self.connections = Some(Connections::new(link, max_connections));
    }

    /// What resend windows no longer hold can be had from the log.
    pub fn set_can_replay(&mut self, can_replay: bool) {
        self.can_replay = can_replay;
    }

    /// Takes over the sessions of a recovered shard. Their clients have as long to come back as a silent one has.
    pub fn adopt<L: Log>(&mut self, core: &mut Core<L>) {
        for id in 0..core.shard.sessions() as SessionId {
            if let Some(trader) = core.shard.trader(id) {
                self.login.adopt(&trader.user, id);
                core.sessions.adopt_upstream(id, trader.next_upstream);
            }
        }
    }

    /// A round begins at this time of the monotonic clock.
    #[inline]
    pub fn turn(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.turned_ns);
        self.turned_ns = now_ns;
        self.listened_ns += passed.min(LISTENING_GAP_MAX_NS);
    }

    /// When the session next needs attention here, nanoseconds of the monotonic clock.
    #[inline]
    pub fn next_deadline<L: Log>(&self, id: SessionId, core: &Core<L>) -> u64 {
        if core.shard.trader(id).is_none_or(|trader| !trader.connected) {
            return u64::MAX;
        }
        let upstream = &core.sessions[id].upstream;
        let silent_at = upstream.heard_ns.saturating_add(self.timeout_ns);
        let left = silent_at.saturating_sub(self.listened_ns);
        upstream.receive.next_deadline().min(upstream.greet_at_ns).min(self.turned_ns.saturating_add(left))
    }

    /// Does what is due for the session: acknowledgements, requests, and the end of one that has fallen silent.
    pub fn on_timer<L: Log>(&mut self, id: SessionId, now: Now, core: &mut Core<L>) {
        let connected = core.shard.trader(id).is_some_and(|trader| trader.connected);
        let session = &mut core.sessions[id];
        // The gateway sees to its own connections.
        if !connected || matches!(session.route, Route::Connection(_)) {
            return;
        }
        if self.listened_ns >= session.upstream.heard_ns.saturating_add(self.timeout_ns)
            && !self.excuses(id, now, core)
        {
            self.counters.timeouts += 1;
            return self.close(id, CloseReason::Timeout, now, core);
        }
        let session = &mut core.sessions[id];
        if now.monotonic_ns >= session.upstream.greet_at_ns {
            self.greet_again(id, session);
        }
        session.upstream.receive.on_timer(now.monotonic_ns);
        if session.upstream.receive.wants_to_send() {
            core.sessions.mark(id);
        }
    }

    /// A session is silent whose client may be waiting to be let in: it is given more time.
    fn excuses<L: Log>(&mut self, id: SessionId, now: Now, core: &mut Core<L>) -> bool {
        let Some(user) = core.shard.trader(id).map(|trader| trader.user) else { return false };
        let upstream = &mut core.sessions[id].upstream;
        if upstream.postponed >= EXCUSES_MAX || !self.login.may_be_at_the_door(id, user, now.monotonic_ns) {
            return false;
        }
        upstream.postponed += 1;
        upstream.heard_ns = upstream.heard_ns.saturating_add(EXCUSE_NS);
        true
    }

    /// The client has not shown that it has the answer to its login, or has by now.
    fn greet_again(&mut self, id: SessionId, session: &mut Session) {
        session.upstream.greet_at_ns = u64::MAX;
        let told = self.login.binding(id).map(|binding| binding.heard_ns);
        if told.is_some_and(|told_ns| session.upstream.heard_ns <= told_ns) {
            self.login.greet(id, session, session.upstream.heard_ns);
        }
    }

    /// Ends a session's binding and says so to its client; what it has open is cancelled if it is set so.
    pub fn close<L: Log>(&mut self, id: SessionId, reason: CloseReason, now: Now, core: &mut Core<L>) {
        let route = core.sessions.unbind(id);
        if route != Route::None {
            self.login.reply_end(route, core.last, *core.sessions[id].downstream.name());
        }
        core.sessions[id].upstream.greet_at_ns = u64::MAX;
        core.sessions[id].upstream.receive.clear(&mut self.pool);
        // The session exists, so the input follows from the state.
        if let Err(error) = core.input(&Input::SessionClosed { session: id, reason }, now.timestamp_ns) {
            tracing::error!(session = id, %error, "cannot close");
        }
    }

    /// Logins whose passwords are being checked.
    pub fn logins_waiting(&self) -> usize {
        self.login.waiting.len()
    }

    /// The session wants messages that only the log has. A client that is not heard asks again.
    pub(super) fn request_replay(&mut self, session: SessionId, from: u64, until: u64) {
        let waiting = self.replays.iter().any(|&(waiting, ..)| waiting == session);
        if !waiting && self.replays.len() < MAX_REPLAYS {
            self.replays.push_back((session, from, until));
        }
    }

    /// A session and the sequences that it wants from the log.
    pub fn take_replay(&mut self) -> Option<(SessionId, u64, u64)> {
        self.replays.pop_front()
    }
}
