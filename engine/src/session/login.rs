//! Logins and logouts, of clients over datagrams and over connections: who may come in, and what follows. A datagram proves
//! little of who sent it, so that it changes a session only if it names it, or has the password.
//!
//! ```text
//!  login --> repeated? --> attempts left? --> remembered? -----------------------> admit
//!                |               | no             | no                               ^
//!                v               v                v                    right         |
//!        the same answer     challenge <---- is there a place? --> verifier ---------+
//!                           or nothing   no                            |  wrong
//!                                                                      +--> refuse
//! ```

use super::desk::{Binding, is_same};
use super::waiting::Login;
use super::{Reception, Route};
use crate::accounts::attempts::{Proof, Source};
use crate::accounts::verify::{Answer, Question};
use crate::clock::Now;
use crate::core::Core;
use crate::inputs::{CloseReason, Input, SessionId, SessionOpened};
use crate::log::writer::Log;
use netio::Peer;
use streams::SessionName;
use wire::control::{Cookie, Reply, Request};
use wire::moldudp64::{CONTROL_SESSION, Header, Packet};
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest, login_reject_reason};

/// What became of a login at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is answered, or will be.
    Yes,
    /// Too many attempts were wrong, or too many logins wait.
    No,
}

impl Reception {
    pub(super) fn on_control<L: Log>(&mut self, peer: &Peer, payload: &[u8], now: Now, core: &mut Core<L>) {
        let request = match Packet::parse(payload) {
            Ok(packet) if packet.header == (Header { session: CONTROL_SESSION, sequence: 0, count: 1 }) => {
                packet.blocks().next().and_then(|body| Request::decode(body).ok())
            }
            _ => None,
        };
        match request {
            Some(Request::Login { request, cookie }) => {
                let origin = Route::Datagrams(*peer);
                // A client that gets no answer asks again.
                let _taken = self.on_login(origin, &peer.remote.address, &request, cookie, false, now, core);
            }
            Some(Request::Logout { session: Some(name) }) => self.on_logout(peer, &name, now, core),
            Some(Request::Ride { session }) => core.sessions.set_rides(&session, peer),
            Some(Request::Logout { session: None }) => self.counters.logouts_unnamed += 1,
            None => self.counters.control_malformed += 1,
        }
    }

    /// Who names the session from its own address may end it.
    fn on_logout<L: Log>(&mut self, peer: &Peer, name: &SessionName, now: Now, core: &mut Core<L>) {
        let named =
            core.sessions.by_token(name).filter(|&id| is_same(core.sessions[id].downstream.name(), name));
        let Some(id) = named else {
            self.counters.unknown_token += 1;
            return;
        };
        match core.sessions[id].route {
            Route::Datagrams(bound) if bound.remote == peer.remote => {
                self.counters.logouts += 1;
                self.close(id, CloseReason::Logout, now, core);
            }
            // The session is gone, and our answer was lost: say so again.
            Route::None => self.login.reply_end(Route::Datagrams(*peer), core.last, *name),
            _ => self.counters.foreign_source += 1,
        }
    }

    /// Takes a login: it is answered at once, or has its password checked.
    pub(super) fn on_login<L: Log>(
        &mut self,
        origin: Route,
        source: &[u8; 16],
        request: &LoginRequest,
        cookie: Option<Cookie>,
        drop_copy: bool,
        now: Now,
        core: &mut Core<L>,
    ) -> Taken {
        let desk = &mut self.login;
        let fingerprint = desk.fingerprint(&origin, request);
        let account = desk.accounts.find(request.username);
        let session = account.and_then(|account| desk.session_of(account));
        if let Some(id) = session
            && is_from(&core.sessions[id].route, &origin)
            && let Some(binding) = desk.binding(id).copied().filter(|found| found.fingerprint == fingerprint)
        {
            self.counters.logins_repeated += 1;
            let accepted = self.repeated(id, binding, request, core);
            self.accept(origin, id, accepted, core);
            return Taken::Yes;
        }
        if desk.waiting.has(fingerprint) {
            self.counters.logins_repeated += 1;
            return Taken::Yes;
        }
        let name = session.map(|id| *core.sessions[id].downstream.name());
        let proof = desk.proof(&origin, request, cookie.as_ref(), name.as_ref(), now.monotonic_ns);
        let source = Source::new(source);
        let login = Login { origin, drop_copy, request: *request, account, proof, source, fingerprint };
        self.ask(login, now, core)
    }

    /// The answer to a login like the one before. A client that has shown that it has the answer does not ask again: this may be a
    /// program that was started in its place. What the former one sent ahead is not the new one's, and "most recent" is now.
    fn repeated<L: Log>(
        &mut self,
        id: SessionId,
        binding: Binding,
        request: &LoginRequest,
        core: &mut Core<L>,
    ) -> LoginAccepted {
        let session = &mut core.sessions[id];
        if session.upstream.heard_ns <= binding.heard_ns {
            return binding.accepted;
        }
        let next_upstream = session.upstream.receive.next();
        session.upstream.receive.clear(&mut self.pool);
        // It has yet to say that it understands acknowledgements behind messages.
        session.set_rides(false);
        core.sessions.restart_upstream(id, next_upstream);
        let mut accepted = binding.accepted;
        if request.requested_sequence == 0 {
            accepted.sequence = core.sessions[id].downstream.stream.next();
            self.login.set_binding(id, Binding { accepted, lsn: core.last, ..binding });
        }
        accepted
    }

    /// Has the password checked, or asks for a better proof, or turns the login away.
    fn ask<L: Log>(&mut self, login: Login, now: Now, core: &mut Core<L>) -> Taken {
        let Login { request, account, proof, source, .. } = login;
        let desk = &mut self.login;
        let is_unproven = proof == Proof::Nothing;
        if is_unproven && desk.demands_cookies() {
            return self.turn_away(&login, now);
        }
        if !desk.verifier.attempts.take(proof, source, request.username) {
            return self.turn_away(&login, now);
        }
        if account.is_some_and(|account| desk.verifier.remembers(account, &request.password)) {
            self.counters.logins_remembered += 1;
            self.on_verified(&login, true, now, core);
            return Taken::Yes;
        }
        let password = request.password;
        let ticket = desk.waiting.enter(login.clone());
        let asked = ticket.is_some_and(|ticket| {
            let asked = desk.verifier.ask(proof, Question { ticket, account, password });
            if !asked {
                let _unasked = desk.waiting.leave(ticket);
            }
            asked
        });
        if asked {
            return Taken::Yes;
        }
        desk.verifier.attempts.give_back(proof, source, request.username);
        desk.note_crowd(now.monotonic_ns);
        self.turn_away(&login, now)
    }

    /// There is no place for the login. If it may prove more, it is asked to.
    fn turn_away(&mut self, login: &Login, now: Now) -> Taken {
        if login.proof == Proof::Nothing {
            self.counters.logins_challenged += 1;
            self.login.challenge(login.origin, login.request.username, now.monotonic_ns);
            return Taken::Yes;
        }
        self.counters.logins_limited += 1;
        Taken::No
    }

    /// Takes the verifier's answers; returns whether there were any.
    pub fn poll_logins<L: Log>(&mut self, now: Now, core: &mut Core<L>) -> bool {
        let mut any = false;
        while let Ok(Answer { ticket, correct }) = self.login.verifier.answers.pop() {
            any = true;
            if let Some(login) = self.login.waiting.leave(ticket) {
                self.on_verified(&login, correct, now, core);
            }
        }
        any
    }

    fn on_verified<L: Log>(&mut self, login: &Login, correct: bool, now: Now, core: &mut Core<L>) {
        if correct {
            self.login.verifier.attempts.give_back(login.proof, login.source, login.request.username);
        }
        match login.account {
            Some(account) if correct && self.belongs(login, account) => self.admit(login, account, now, core),
            _ => self.refuse(login.origin, login_reject_reason::NOT_AUTHORIZED),
        }
    }

    /// The drop copy port is for drop copy accounts.
    fn belongs(&self, login: &Login, account: u32) -> bool {
        !login.drop_copy || self.login.accounts.list[account as usize].drop_copy
    }

    pub(super) fn refuse(&mut self, to: Route, reason: u8) {
        self.counters.logins_rejected += 1;
        self.login.answer(to, Reply::Rejected { reason });
    }

    /// The password was right: finds or makes the session, and the place in its stream that the client wants.
    fn admit<L: Log>(&mut self, login: &Login, account: u32, now: Now, core: &mut Core<L>) {
        const NOT_AVAILABLE: u8 = login_reject_reason::SESSION_NOT_AVAILABLE;
        let request = &login.request;
        let known = self.login.session_of(account);
        let name = match known.and_then(|session| core.shard.trader(session)) {
            Some(trader) => trader.name,
            None => match (self.login.names)(b'D') {
                Ok(name) => name,
                Err(error) => {
                    tracing::error!(%error, "no random token for a session");
                    return self.refuse(login.origin, NOT_AVAILABLE);
                }
            },
        };
        let wants_other = request.requested_session != ANY_SESSION
            && (known.is_none() || request.requested_session != name);
        let beyond = |next: u64| request.requested_sequence > next;
        if wants_other || beyond(known.map_or(1, |session| core.sessions[session].downstream.stream.next())) {
            return self.refuse(login.origin, NOT_AVAILABLE);
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
            // Not recorded if the state would refuse it: a table that is full.
            if let Err(error) = core.operate(&Input::SessionOpened(opened), now.timestamp_ns) {
                tracing::error!(%error, "cannot open a session");
                return self.refuse(login.origin, NOT_AVAILABLE);
            }
            if core.failure.is_some() {
                return;
            }
        }
        if known.is_none() {
            self.login.assign(account, session);
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
        if next < first && !self.can_replay && matches!(login.origin, Route::Connection(_)) {
            return self.refuse(login.origin, NOT_AVAILABLE);
        }
        if stream.resume_from(next.max(first), now.monotonic_ns).is_err() {
            return self.refuse(login.origin, NOT_AVAILABLE);
        }
        let accepted = LoginAccepted { session: name, sequence: next };
        self.bind(session, login.origin, core);
        let next_upstream = core.shard.trader(session).map_or(1, |trader| trader.next_upstream);
        core.sessions[session].upstream.receive.clear(&mut self.pool);
        core.sessions.restart_upstream(session, next_upstream);
        self.counters.logins += 1;
        self.login.set_binding(
            session,
            Binding { fingerprint: login.fingerprint, accepted, lsn: core.last, heard_ns: 0 },
        );
        self.accept(login.origin, session, accepted, core);
    }

    /// The session takes this route from now on, whoever had it. Other sessions of the same address keep it: that a login came
    /// from there does not prove that their client has gone.
    fn bind<L: Log>(&mut self, session: SessionId, route: Route, core: &mut Core<L>) {
        let former = core.sessions.unbind(session);
        if matches!(former, Route::Connection(_)) && former != route {
            self.login.reply_end(former, core.last, *core.sessions[session].downstream.name());
        }
        core.sessions.bind(session, route);
    }

    /// Answers with Accepted, and then with an acknowledgement that tells the next upstream sequence expected.
    fn accept<L: Log>(&mut self, to: Route, id: SessionId, accepted: LoginAccepted, core: &mut Core<L>) {
        if let Route::Connection(connection) = to {
            self.login.reply(to, core.last, Reply::Accepted(accepted));
            return self.bind_connection(connection, id, accepted.sequence, core);
        }
        let session = &mut core.sessions[id];
        session.upstream.heard_ns = self.listened_ns;
        session.upstream.postponed = 0;
        self.login.greet(id, session, self.listened_ns);
    }
}

/// Whether a session of this route has its client where a login came from.
fn is_from(route: &Route, origin: &Route) -> bool {
    match (route, origin) {
        (Route::Datagrams(bound), Route::Datagrams(peer)) => bound.remote == peer.remote,
        _ => false,
    }
}
