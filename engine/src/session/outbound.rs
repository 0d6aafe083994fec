//! The way out: everything that leaves a shard for a client passes here, and here alone it is decided which way: by the
//! session's route. What may leave was decided before, by `release`.

use super::{Reception, Route, datagrams};
use crate::clock::Now;
use crate::core::Core;
use crate::history::replay::Answer;
use crate::inputs::SessionId;
use crate::log::writer::Log;
use crate::session::Release;
use netio::Port;

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
    pub fn send_replies<P: Port>(&mut self, release: &Release, port: &mut P) {
        while let Some(reply) = self.replies().front().copied() {
            if !release.allows(reply.lsn) {
                break;
            }
            let sent = match reply.to {
                Route::Datagrams(peer) => port.send(&peer, |out| reply.write(out)).is_ok(),
                Route::Connection(connection) => match &mut self.connections {
                    Some(connections) => connections.tell(connection, &reply.body),
                    None => true,
                },
                Route::None => true,
            };
            if !sent {
                break;
            }
            self.replies().pop_front();
        }
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
