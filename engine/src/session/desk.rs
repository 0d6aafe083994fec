//! The login desk: who belongs to which session, which logins wait, which answers have not left. Not what a login leads to:
//! that is `login`.

use super::tokens::{NameSource, random_name};
use super::waiting::Waiting;
use super::{Route, Session};
use crate::accounts::Accounts;
use crate::accounts::attempts::Proof;
use crate::accounts::verify::VerifierHandle;
use crate::config::{LoginCookies, SessionConfig};
use crate::inputs::SessionId;
use crate::log::Lsn;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use streams::SessionName;
use wire::control::{Cookie, Reply};
use wire::moldudp64::{CONTROL_SESSION, PacketWriter};
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest};

/// Answers that may wait for the port or the disk; older ones are dropped first, as clients ask again.
const MAX_REPLIES: usize = 1024;
/// A login that was turned away for want of a place shows that logins queue up, for as long as its client takes to try again.
const CROWDED_NS: u64 = 1_000_000_000;

/// An answer on its way to a client.
#[derive(Debug, Clone, Copy)]
pub struct ControlReply {
    pub to: Route,
    /// It leaves once this record is as durable as configured.
    pub lsn: Lsn,
    pub body: Reply,
}

/// Writes the datagram around a control body; `out` takes at least one of MAX_PAYLOAD.
pub(super) fn write_reply(reply: &Reply, out: &mut [u8]) -> usize {
    let mut body = [0; wire::control::MAX_LENGTH];
    let length = reply.write(&mut body);
    let Some(mut writer) = PacketWriter::new(out, CONTROL_SESSION, 0) else { return 0 };
    writer.push(&body[..length]);
    writer.finish()
}

/// How a session's present binding came about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    /// Of the login and where it came from, to answer a repetition alike.
    pub fingerprint: u64,
    pub accepted: LoginAccepted,
    pub lsn: Lsn,
    /// When the client was last heard as the answer was made: later means that it has the answer.
    pub heard_ns: u64,
}

pub(super) struct LoginDesk {
    pub accounts: Accounts,
    /// Session of each account that has logged in.
    sessions: Vec<Option<SessionId>>,
    /// Binding of each session; none has been made since the start for those that are yet to come back.
    bindings: Vec<Option<Binding>>,
    pub waiting: Waiting,
    pub verifier: VerifierHandle,
    pub names: NameSource,
    cookies: LoginCookies,
    hasher: RandomState,
    /// Answers that promise nothing: they wait for the port only.
    pub prompt: VecDeque<ControlReply>,
    /// Answers that wait for their records.
    pub replies: VecDeque<ControlReply>,
    /// Sessions whose clients are to be told that their login was accepted, each once: they are `held` until then.
    pub greetings: VecDeque<SessionId>,
    crowded_until_ns: u64,
}

impl LoginDesk {
    pub fn new(config: &SessionConfig, accounts: Accounts, verifier: VerifierHandle) -> Self {
        Self {
            sessions: vec![None; accounts.list.len()],
            bindings: Vec::new(),
            waiting: Waiting::new(),
            verifier,
            accounts,
            names: Box::new(random_name),
            cookies: config.login_cookies,
            hasher: RandomState::new(),
            prompt: VecDeque::with_capacity(MAX_REPLIES),
            replies: VecDeque::with_capacity(MAX_REPLIES),
            greetings: VecDeque::with_capacity(config.max_sessions),
            crowded_until_ns: 0,
        }
    }

    /// The session belonged to this user before the restart.
    pub fn adopt(&mut self, user: &[u8; 6], session: SessionId) {
        if let Some(account) = self.accounts.find(*user) {
            self.sessions[account as usize] = Some(session);
        }
    }

    pub fn session_of(&self, account: u32) -> Option<SessionId> {
        self.sessions[account as usize]
    }

    /// The account has its session.
    pub fn assign(&mut self, account: u32, session: SessionId) {
        self.sessions[account as usize] = Some(session);
    }

    pub fn binding(&self, session: SessionId) -> Option<&Binding> {
        self.bindings.get(session as usize)?.as_ref()
    }

    pub fn set_binding(&mut self, session: SessionId, binding: Binding) {
        if self.bindings.len() <= session as usize {
            self.bindings.resize(session as usize + 1, None);
        }
        self.bindings[session as usize] = Some(binding);
    }

    /// The client of this session is to be told, before anything else, that its login was accepted.
    pub fn greet(&mut self, id: SessionId, session: &mut Session, heard_ns: u64) {
        if let Some(binding) = self.bindings.get_mut(id as usize).and_then(Option::as_mut) {
            binding.heard_ns = heard_ns;
        }
        session.upstream.greet_at_ns = u64::MAX;
        if !std::mem::replace(&mut session.held, true) {
            self.greetings.push_back(id);
        }
    }

    /// Of a login and where it came from. Keyed: nobody can make another with the same.
    pub fn fingerprint(&self, origin: &Route, request: &LoginRequest) -> u64 {
        let mut bytes = [0; LoginRequest::LENGTH];
        request.write(&mut bytes);
        match origin {
            Route::None => self.hasher.hash_one(bytes),
            Route::Datagrams(peer) => self.hasher.hash_one((peer.remote.address, peer.remote.port, bytes)),
            Route::Connection(connection) => self.hasher.hash_one((connection, bytes)),
        }
    }

    /// What the login proves of who sent it, besides the password.
    pub fn proof(
        &mut self,
        origin: &Route,
        request: &LoginRequest,
        cookie: Option<&Cookie>,
        session: Option<&SessionName>,
        now_ns: u64,
    ) -> Proof {
        let names = |name: &SessionName| {
            request.requested_session != ANY_SESSION && is_same(name, &request.requested_session)
        };
        if session.is_some_and(names) {
            return Proof::Session;
        }
        let Route::Datagrams(peer) = origin else { return Proof::ReturnPath };
        let cookies = &mut self.verifier.cookies;
        match cookie {
            Some(cookie) if cookies.is_valid(cookie, &peer.remote, request.username, now_ns) => {
                Proof::ReturnPath
            }
            _ => Proof::Nothing,
        }
    }

    /// Whether a login that proves nothing is not even looked at.
    pub fn demands_cookies(&self) -> bool {
        self.cookies == LoginCookies::Always
    }

    /// Asks the source to show that it receives.
    pub fn challenge(&mut self, origin: Route, user: [u8; 6], now_ns: u64) {
        if let Route::Datagrams(peer) = origin {
            let cookie = self.verifier.cookies.make(&peer.remote, user, now_ns);
            self.answer(origin, Reply::Challenge { cookie });
        }
    }

    /// An answer that promises nothing.
    pub fn answer(&mut self, to: Route, body: Reply) {
        push(&mut self.prompt, ControlReply { to, lsn: Lsn(0), body });
    }

    pub fn reply(&mut self, to: Route, lsn: Lsn, body: Reply) {
        push(&mut self.replies, ControlReply { to, lsn, body });
    }

    pub fn reply_end(&mut self, to: Route, lsn: Lsn, session: SessionName) {
        self.reply(to, lsn, Reply::EndOfSession { session });
    }

    /// Whether an answer to this client has not left yet.
    pub fn has_reply_for(&self, to: Route) -> bool {
        self.replies.iter().any(|reply| reply.to == to)
    }

    /// A login had to be turned away, as others wait.
    pub fn note_crowd(&mut self, now_ns: u64) {
        self.crowded_until_ns = now_ns + CROWDED_NS;
    }

    /// Whether the client of a silent session may be one of those who wait to be let in: its login does, or it has not been
    /// back since the start and logins are turned away.
    pub fn may_be_at_the_door(&self, session: SessionId, user: [u8; 6], now_ns: u64) -> bool {
        self.waiting.has_user(user) || (self.binding(session).is_none() && now_ns < self.crowded_until_ns)
    }
}

fn push(queue: &mut VecDeque<ControlReply>, reply: ControlReply) {
    if queue.len() == MAX_REPLIES {
        queue.pop_front();
    }
    queue.push_back(reply);
}

/// Compares without telling by the time it takes how much was right.
pub(super) fn is_same(one: &SessionName, other: &SessionName) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}
