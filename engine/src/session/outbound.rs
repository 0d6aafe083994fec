//! The way out: everything that leaves a shard for a client passes here, and here alone it is decided which way: by the
//! session's route. What may leave was decided before, by `release`.

use super::desk::{ControlReply, LoginDesk, write_reply};
use super::{Reception, Release, Route, Sessions, datagrams};
use crate::clock::Now;
use crate::core::Core;
use crate::history::replay::Answer;
use crate::inputs::SessionId;
use crate::log::writer::Log;
use netio::Port;
use std::collections::VecDeque;
use wire::control::Reply;

/// Between two answers to a login whose client is not heard: longer than a round trip, and what a client waits for.
const GREETING_INTERVAL_NS: u64 = 250_000_000;

impl Reception {
    /// Sends what the session has to say. False when there is no room for more: it goes on in the next round.
    #[inline]
    pub fn send<P: Port, L: Log>(
        &mut self,
        id: SessionId,
        now: Now,
        core: &mut Core<L>,
        port: &mut P,
    ) -> bool {
        let session = &mut core.sessions[id];
        match session.route {
            // What it has to say it says after the answer to its login.
            Route::Datagrams(_) if session.held => true,
            Route::Datagrams(peer) => datagrams::send(session, &peer, &self.pool, now, port),
            Route::Connection(connection) => {
                let answered = !self.login.has_reply_for(session.route);
                let lost = self
                    .connections
                    .as_mut()
                    .and_then(|connections| connections.send(connection, id, session, now, answered));
                if let Some((from, until)) = lost {
                    self.counters.replays += 1;
                    self.request_replay(id, from, until);
                }
                true
            }
            Route::None => true,
        }
    }

    /// Answers to logins and logouts that may leave, before anything else of their sessions.
    #[inline]
    pub fn send_replies<P: Port>(
        &mut self,
        now: Now,
        release: &Release,
        sessions: &mut Sessions,
        port: &mut P,
    ) {
        if !self.login.prompt.is_empty() {
            self.send_from(|login| &mut login.prompt, release, port);
        }
        if !self.login.replies.is_empty() {
            self.send_from(|login| &mut login.replies, release, port);
        }
        while let Some(&id) = self.login.greetings.front() {
            if !self.send_greeting(id, now, release, sessions, port) {
                break;
            }
            self.login.greetings.pop_front();
        }
    }

    fn send_from<P: Port>(
        &mut self,
        queue: impl Fn(&mut LoginDesk) -> &mut VecDeque<ControlReply>,
        release: &Release,
        port: &mut P,
    ) {
        while let Some(reply) = queue(&mut self.login).front().copied() {
            if !release.allows(reply.lsn) {
                break;
            }
            let sent = match reply.to {
                Route::Datagrams(peer) => port.send(&peer, |out| write_reply(&reply.body, out)).is_ok(),
                Route::Connection(connection) => match &mut self.connections {
                    Some(connections) => connections.tell(connection, &reply.body),
                    None => true,
                },
                Route::None => true,
            };
            if !sent {
                break;
            }
            queue(&mut self.login).pop_front();
        }
    }

    /// Tells a client that its login was accepted, and right after it which of its messages is expected. False when it cannot
    /// leave yet.
    fn send_greeting<P: Port>(
        &mut self,
        id: SessionId,
        now: Now,
        release: &Release,
        sessions: &mut Sessions,
        port: &mut P,
    ) -> bool {
        let session = &mut sessions[id];
        if let (Route::Datagrams(peer), Some(binding)) = (session.route, self.login.binding(id)) {
            let accepted = Reply::Accepted(binding.accepted);
            if !release.allows(binding.lsn) || port.send(&peer, |out| write_reply(&accepted, out)).is_err() {
                return false;
            }
            session.upstream.greet_at_ns = now.monotonic_ns + GREETING_INTERVAL_NS;
            session.upstream.receive.request_ack();
            // What the port has no room for now goes with the session's turn.
            let _sent = datagrams::acknowledge(&mut session.upstream, &peer, &self.pool, port);
        }
        session.held = false;
        sessions.mark(id);
        true
    }

    /// Sends messages that came from the log.
    pub fn send_replayed<P: Port, L: Log>(&mut self, answer: &Answer, core: &mut Core<L>, port: &mut P) {
        let Answer { session: id, ref messages } = *answer;
        let session = &mut core.sessions[id];
        match session.route {
            Route::Datagrams(peer) => datagrams::send_replayed(session, &peer, messages, port),
            Route::Connection(connection) => {
                let answered = !self.login.has_reply_for(session.route);
                let Some(connections) = &mut self.connections else { return };
                match connections.send_replayed(connection, id, session, messages, answered) {
                    Some((from, until)) => self.request_replay(id, from, until),
                    None => core.sessions.mark(id),
                }
            }
            Route::None => {}
        }
    }

    /// When the session next needs attention, nanoseconds of the monotonic clock; `u64::MAX`: not before something happens.
    #[inline]
    pub fn deadline<L: Log>(&self, id: SessionId, core: &Core<L>) -> u64 {
        let deadline = self.next_deadline(id, core);
        let session = &core.sessions[id];
        match session.route {
            Route::Datagrams(_) => deadline.min(session.downstream.stream.next_deadline()),
            Route::Connection(_) | Route::None => deadline,
        }
    }
}
