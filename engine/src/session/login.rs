//! Control datagrams: login, logout, and their answers (design of the session: SoupBinTCP packet bodies in MoldUDP64
//! datagrams of a session of ten spaces). Passwords are checked elsewhere, by `verify`; this keeps who is waiting.

use super::tokens::{NameSource, random_name};
use super::{Reception, Route};
use crate::accounts::Accounts;
use crate::accounts::attempts::{Proof, Source};
use crate::accounts::verify::{Answer, Question, TICKETS_MAX, VerifierHandle};
use crate::clock::Now;
use crate::core::Core;
use crate::inputs::{CloseReason, Input, SessionId, SessionOpened};
use crate::log::Lsn;
use crate::log::writer::Log;
use netio::Peer;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use wire::moldudp64::{CONTROL_SESSION, HEADER_LENGTH, Header, Packet, PacketWriter};
use wire::soupbintcp::{self, ANY_SESSION, LoginAccepted, LoginRequest, login_reject_reason};

/// Control replies that may wait for the port; older ones are dropped first, as clients ask again.
const MAX_REPLIES: usize = 1024;

/// A SoupBinTCP body on its way to a client, once `lsn` is as durable as configured.
#[derive(Debug, Clone, Copy)]
pub struct ControlReply {
    pub to: Route,
    pub lsn: Lsn,
    pub body: soupbintcp::Packet<'static>,
}

impl ControlReply {
    /// Writes the datagram; `out` takes at least one of MAX_PAYLOAD.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let mut body = [0; soupbintcp::LoginRequest::LENGTH];
        let length = self.body.write(&mut body);
        let Some(mut writer) = PacketWriter::new(out, CONTROL_SESSION, 0) else { return 0 };
        writer.push(&body[..length]);
        writer.finish()
    }
}

/// A login that waits for its password to be checked.
struct Pending {
    /// Where it came from and the answer goes.
    origin: Route,
    /// It came to the drop copy port.
    drop_copy: bool,
    request: LoginRequest,
    account: Option<u32>,
    proof: Proof,
    source: Source,
}

/// How a session's present binding came about, to answer a repetition alike.
#[derive(Clone, Copy)]
struct Binding {
    session: SessionId,
    /// Keyed hash of the login request.
    request: u64,
    accepted: LoginAccepted,
}

pub(super) struct LoginDesk {
    accounts: Accounts,
    /// Session of each account that has logged in.
    sessions: Vec<Option<SessionId>>,
    /// Binding of each session.
    bindings: Vec<Option<Binding>>,
    pending: Vec<Option<Pending>>,
    verifier: VerifierHandle,
    pub(super) names: NameSource,
    hasher: RandomState,
    replies: VecDeque<ControlReply>,
}

impl LoginDesk {
    pub fn new(accounts: Accounts, verifier: VerifierHandle) -> Self {
        let hasher = RandomState::new();
        Self {
            sessions: vec![None; accounts.list.len()],
            bindings: Vec::new(),
            pending: (0..TICKETS_MAX).map(|_| None).collect(),
            verifier,
            accounts,
            names: Box::new(random_name),
            hasher,
            replies: VecDeque::with_capacity(MAX_REPLIES),
        }
    }

    /// The session belonged to this user before the restart.
    pub fn adopt(&mut self, user: &[u8; 6], session: SessionId) {
        if let Some(account) = self.accounts.find(*user) {
            self.sessions[account as usize] = Some(session);
        }
    }

    pub fn replies(&mut self) -> &mut VecDeque<ControlReply> {
        &mut self.replies
    }

    fn reply(&mut self, to: Route, lsn: Lsn, body: soupbintcp::Packet<'static>) {
        if self.replies.len() == MAX_REPLIES {
            self.replies.pop_front();
        }
        self.replies.push_back(ControlReply { to, lsn, body });
    }

    pub fn reply_end(&mut self, to: Route, lsn: Lsn) {
        self.reply(to, lsn, soupbintcp::Packet::EndOfSession);
    }

    /// Whether an answer to this client has not left yet.
    pub fn has_reply_for(&self, to: Route) -> bool {
        self.replies.iter().any(|reply| reply.to == to)
    }

    /// The client is gone: nobody waits for its login any more.
    pub fn forget(&mut self, origin: Route) {
        for pending in &mut self.pending {
            if pending.as_ref().is_some_and(|waiting| waiting.origin == origin) {
                *pending = None;
            }
        }
    }

    fn fingerprint(&self, request: &LoginRequest) -> u64 {
        let mut bytes = [0; LoginRequest::LENGTH];
        request.write(&mut bytes);
        self.hasher.hash_one(bytes)
    }
}

impl Reception {
    pub(super) fn on_control<L: Log>(&mut self, peer: &Peer, payload: &[u8], now: Now, core: &mut Core<L>) {
        let body = match Packet::parse(payload) {
            Ok(packet) if packet.header == (Header { session: CONTROL_SESSION, sequence: 0, count: 1 }) => {
                packet.blocks().next().and_then(|body| soupbintcp::Packet::decode(body).ok())
            }
            _ => None,
        };
        match body {
            Some(soupbintcp::Packet::LoginRequest(request)) => self.on_login(peer, &request, now, core),
            Some(soupbintcp::Packet::LogoutRequest) => match core.sessions.by_address(&peer.remote) {
                Some(session) => {
                    self.counters.logouts += 1;
                    self.close(session, CloseReason::Logout, now, core);
                }
                // The session is gone, or our answer was: say so again.
                None => self.login.reply_end(Route::Datagrams(*peer), core.last),
            },
            _ => self.counters.control_malformed += 1,
        }
    }

    fn on_login<L: Log>(&mut self, peer: &Peer, request: &LoginRequest, now: Now, core: &mut Core<L>) {
        let fingerprint = self.login.fingerprint(request);
        if let Some(session) = core.sessions.by_address(&peer.remote)
            && let Some(binding) = self.login.bindings.get(session as usize).copied().flatten()
            && binding.request == fingerprint
        {
            self.counters.logins_repeated += 1;
            self.accept(Route::Datagrams(*peer), binding.session, binding.accepted, core);
            return;
        }
        let same = |origin| matches!(origin, Route::Datagrams(other) if other.remote == peer.remote);
        if self.login.pending.iter().flatten().any(|waiting| same(waiting.origin)) {
            self.counters.logins_repeated += 1;
            return;
        }
        // A client that gets no answer asks again.
        let _asked = self.ask(Route::Datagrams(*peer), &peer.remote.address, request, false, now, core);
    }

    /// Has the password checked; false when too many are being checked, or were wrong.
    pub(super) fn ask<L: Log>(
        &mut self,
        origin: Route,
        source: &[u8; 16],
        request: &LoginRequest,
        drop_copy: bool,
        now: Now,
        core: &mut Core<L>,
    ) -> bool {
        let proof = if matches!(origin, Route::Connection(_)) { Proof::ReturnPath } else { Proof::Nothing };
        let source = Source::new(source);
        let desk = &mut self.login;
        let account = desk.accounts.find(request.username);
        let free = desk.pending.iter().position(Option::is_none);
        let (Some(ticket), true) = (free, desk.verifier.attempts.take(proof, source, request.username))
        else {
            self.counters.logins_limited += 1;
            return false;
        };
        let pending = Pending { origin, drop_copy, request: *request, account, proof, source };
        if account.is_some_and(|account| desk.verifier.remembers(account, &request.password)) {
            self.on_verified(&pending, true, now, core);
            return true;
        }
        let question = Question { ticket: ticket as u32, account, password: request.password };
        if !desk.verifier.ask(proof, question) {
            desk.verifier.attempts.give_back(proof, source, request.username);
            self.counters.logins_limited += 1;
            return false;
        }
        desk.pending[ticket] = Some(pending);
        true
    }

    /// Takes the verifier's answers; returns whether there were any.
    pub fn poll_logins<L: Log>(&mut self, now: Now, core: &mut Core<L>) -> bool {
        let mut any = false;
        while let Ok(Answer { ticket, correct }) = self.login.verifier.answers.pop() {
            any = true;
            if let Some(pending) = self.login.pending.get_mut(ticket as usize).and_then(Option::take) {
                self.on_verified(&pending, correct, now, core);
            }
        }
        any
    }

    fn on_verified<L: Log>(&mut self, pending: &Pending, correct: bool, now: Now, core: &mut Core<L>) {
        if correct {
            let Pending { proof, source, request, .. } = pending;
            self.login.verifier.attempts.give_back(*proof, *source, request.username);
        }
        match pending.account {
            Some(account) if correct && self.belongs(pending, account) => {
                self.admit(pending, account, now, core);
            }
            _ => self.refuse(pending.origin, login_reject_reason::NOT_AUTHORIZED, core),
        }
    }

    /// The drop copy port is for drop copy accounts.
    fn belongs(&self, pending: &Pending, account: u32) -> bool {
        !pending.drop_copy || self.login.accounts.list[account as usize].drop_copy
    }

    pub(super) fn refuse<L: Log>(&mut self, to: Route, reason: u8, core: &Core<L>) {
        self.counters.logins_rejected += 1;
        self.login.reply(to, core.last, soupbintcp::Packet::LoginRejected { reason });
    }

    /// The password was right: finds or makes the session, and the place in its stream that the client wants.
    fn admit<L: Log>(&mut self, pending: &Pending, account: u32, now: Now, core: &mut Core<L>) {
        const NOT_AVAILABLE: u8 = login_reject_reason::SESSION_NOT_AVAILABLE;
        let request = &pending.request;
        let known = self.login.sessions[account as usize];
        let name = match known.and_then(|session| core.shard.trader(session)) {
            Some(trader) => trader.name,
            None => match (self.login.names)(b'D') {
                Ok(name) => name,
                Err(error) => {
                    tracing::error!(%error, "no random token for a session");
                    return self.refuse(pending.origin, NOT_AVAILABLE, core);
                }
            },
        };
        let wants_other = request.requested_session != ANY_SESSION
            && (known.is_none() || request.requested_session != name);
        let beyond = |next: u64| request.requested_sequence > next;
        if wants_other || beyond(known.map_or(1, |session| core.sessions[session].downstream.stream.next())) {
            return self.refuse(pending.origin, NOT_AVAILABLE, core);
        }
        let session = known.unwrap_or(core.shard.sessions() as SessionId);
        if core.shard.trader(session).is_none_or(|trader| !trader.connected) {
            let entry = &self.login.accounts.list[account as usize];
            let opened = SessionOpened {
                session,
                user: entry.user,
                firm: entry.firm,
                name,
                cancel_on_disconnect: entry.cancel_on_disconnect,
                drop_copy: entry.drop_copy,
                risk: entry.risk,
            };
            if let Err(error) = core.input(&Input::SessionOpened(opened), now.timestamp_ns) {
                tracing::error!(%error, "cannot open a session");
                return self.refuse(pending.origin, NOT_AVAILABLE, core);
            }
            if core.failure.is_some() {
                return;
            }
        }
        if known.is_none() {
            self.login.sessions[account as usize] = Some(session);
        }
        let stream = &mut core.sessions[session].downstream.stream;
        let next = match request.requested_sequence {
            // "0 = start at most recent": for a session that has just begun, that is its beginning.
            0 if known.is_none() => 1,
            0 => stream.next(),
            wanted => wanted,
        };
        // What the window no longer holds is asked for as a gap, and then replayed from the journal; over TCP, where
        // there are no gaps, it is replayed at once or not to be had.
        let first = stream.first();
        if next < first && !self.can_replay && matches!(pending.origin, Route::Connection(_)) {
            return self.refuse(pending.origin, NOT_AVAILABLE, core);
        }
        if stream.resume_from(next.max(first), now.monotonic_ns).is_err() {
            return self.refuse(pending.origin, NOT_AVAILABLE, core);
        }
        let accepted = LoginAccepted { session: name, sequence: next };
        if self.login.bindings.len() <= session as usize {
            self.login.bindings.resize(session as usize + 1, None);
        }
        self.login.bindings[session as usize] =
            Some(Binding { session, request: self.login.fingerprint(request), accepted });
        self.bind(session, pending.origin, now, core);
        let next_upstream = core.shard.trader(session).map_or(1, |trader| trader.next_upstream);
        core.sessions[session].upstream.receive.clear(&mut self.pool);
        core.sessions.restart_upstream(session, next_upstream);
        self.counters.logins += 1;
        self.accept(pending.origin, session, accepted, core);
    }

    /// The session takes this route from now on, whoever had it or had the address before.
    fn bind<L: Log>(&mut self, session: SessionId, route: Route, now: Now, core: &mut Core<L>) {
        let former = core.sessions.unbind(session);
        if matches!(former, Route::Connection(_)) && former != route {
            self.login.reply_end(former, core.last);
        }
        // Another session may have been bound to this address and never logged out: it loses its binding.
        if let Route::Datagrams(peer) = route
            && let Some(other) = core.sessions.by_address(&peer.remote)
        {
            core.sessions.unbind(other);
            self.close(other, CloseReason::Administrative, now, core);
        }
        core.sessions.bind(session, route);
    }

    /// Answers with Accepted, and with an acknowledgement that tells the next upstream sequence expected.
    fn accept<L: Log>(&mut self, to: Route, session: SessionId, accepted: LoginAccepted, core: &mut Core<L>) {
        self.login.reply(to, core.last, soupbintcp::Packet::LoginAccepted(accepted));
        if let Route::Connection(connection) = to {
            return self.bind_connection(connection, session, accepted.sequence, core);
        }
        let upstream = &mut core.sessions[session].upstream;
        upstream.heard_ns = self.listened_ns;
        upstream.receive.request_ack();
        core.sessions.mark(session);
    }
}

// The longest reply fits the buffer it is written through.
const _: () = assert!(LoginAccepted::LENGTH <= LoginRequest::LENGTH && HEADER_LENGTH == 20);
