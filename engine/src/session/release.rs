//! What may leave: messages, acknowledgements, answers to logins, replays from the log and the feed leave once the record
//! that they follow from is as durable as configured. Decided here and nowhere else; matching goes on meanwhile.

use super::Sessions;
use crate::inputs::SessionId;
use crate::log::{Durability, Lsn};
use std::collections::VecDeque;

/// Steps that may wait. When they are all taken the shard stops receiving until the disk has caught up.
const MAX_WAITING: usize = 65_536;

/// Once `lsn` has been released, the stream may leave below `downstream` and be acknowledged below `upstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiting {
    lsn: Lsn,
    /// A session, or `FEED`.
    session: SessionId,
    downstream: u64,
    upstream: u64,
}

/// Stands for the feed, which no session has as its number.
const FEED: SessionId = SessionId::MAX;

/// A shard's releases, in the order of their records.
pub struct Release {
    /// Nothing waits: what is appended may leave.
    immediate: bool,
    waiting: VecDeque<Waiting>,
    /// Last record whose consequences may leave.
    released: Lsn,
}

impl Release {
    /// For a shard whose log keeps records as `durability` says.
    pub fn new(durability: Durability) -> Self {
        let immediate = !durability.waits();
        Self {
            immediate,
            waiting: VecDeque::with_capacity(if immediate { 0 } else { MAX_WAITING }),
            released: Lsn(0),
        }
    }

    /// Room for what the next batch leads to. One turn adds at most one step for each session it concerns.
    #[inline]
    pub fn has_room(&self, sessions: usize) -> bool {
        self.waiting.len() + sessions < MAX_WAITING
    }

    /// Whether what follows from this record may leave.
    #[inline]
    pub fn allows(&self, lsn: Lsn) -> bool {
        self.immediate || lsn <= self.released
    }

    /// Steps that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Notes how far the marked sessions and the feed have come with record `last`, and lets go what `releasable` allows: the
    /// last record that is as durable as configured.
    #[inline]
    pub fn advance(&mut self, sessions: &mut Sessions, last: Lsn, releasable: Lsn) {
        if self.immediate {
            return;
        }
        for place in 0..sessions.marked().len() {
            let id = sessions.marked()[place];
            let session = &mut sessions[id];
            let (downstream, upstream) = (session.downstream.stream.next(), session.upstream.receive.next());
            if (session.downstream.noted, session.upstream.noted) != (downstream, upstream) {
                (session.downstream.noted, session.upstream.noted) = (downstream, upstream);
                self.push(Waiting { lsn: last, session: id, downstream, upstream });
            }
        }
        if let Some(feed) = &mut sessions.feed
            && feed.noted != feed.stream.next()
        {
            feed.noted = feed.stream.next();
            self.push(Waiting { lsn: last, session: FEED, downstream: feed.noted, upstream: 0 });
        }
        self.released = self.released.max(releasable);
        while let Some(step) = self.waiting.pop_front_if(|step| step.lsn <= releasable) {
            let_go(sessions, &step);
        }
    }

    fn push(&mut self, step: Waiting) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.lsn <= step.lsn));
        self.waiting.push_back(step);
    }
}

fn let_go(sessions: &mut Sessions, step: &Waiting) {
    if step.session == FEED {
        if let Some(feed) = &mut sessions.feed {
            feed.released = feed.released.max(step.downstream);
        }
        return;
    }
    let session = &mut sessions[step.session];
    debug_assert!(session.downstream.released <= session.downstream.stream.next(), "released, then unmade");
    session.downstream.released = session.downstream.released.max(step.downstream);
    session.upstream.released = session.upstream.released.max(step.upstream);
    if std::mem::take(&mut session.upstream.ack_owed) {
        session.upstream.receive.request_ack();
    }
    sessions.mark(step.session);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::Outputs;

    const NAME: [u8; 10] = *b"D123456789";

    fn sessions(durability: Durability) -> Sessions {
        let mut sessions = Sessions::new(4096, durability);
        sessions.add(NAME, 1, 1);
        sessions
    }

    fn message(sessions: &mut Sessions) {
        sessions.session(0, |out| {
            out[0] = b'x';
            1
        });
    }

    #[test]
    fn messages_leave_in_order_and_only_when_their_record_is_durable() {
        let mut release = Release::new(Durability::Disk);
        let mut sessions = sessions(Durability::Disk);
        for lsn in 1..=3 {
            message(&mut sessions);
            release.advance(&mut sessions, Lsn(lsn), Lsn(0));
        }
        assert_eq!((sessions[0].downstream.released(), release.len()), (1, 3));
        release.advance(&mut sessions, Lsn(3), Lsn(2));
        assert_eq!((sessions[0].downstream.released(), release.len()), (3, 1));
        assert!(release.allows(Lsn(2)) && !release.allows(Lsn(3)));
        release.advance(&mut sessions, Lsn(3), Lsn(3));
        assert_eq!((sessions[0].downstream.released(), release.len()), (4, 0));
    }

    #[test]
    fn the_feed_waits_as_replies_do() {
        let mut release = Release::new(Durability::Disk);
        let mut sessions = sessions(Durability::Disk);
        sessions.set_feed(streams::SendStream::new(streams::SendConfig::engine(), *b"F123456789", 0));
        sessions.feed(|_| 1);
        release.advance(&mut sessions, Lsn(7), Lsn(6));
        assert!(!sessions.feed.as_ref().unwrap().waits_for_port());
        release.advance(&mut sessions, Lsn(7), Lsn(7));
        assert!(sessions.feed.as_ref().unwrap().waits_for_port());
    }

    #[test]
    fn without_a_disk_to_wait_for_everything_may_leave_at_once() {
        let mut release = Release::new(Durability::Process);
        let mut sessions = sessions(Durability::Process);
        message(&mut sessions);
        release.advance(&mut sessions, Lsn(1), Lsn(0));
        assert!(sessions[0].downstream.waits_for_port() && release.is_empty() && release.allows(Lsn(9)));
    }
}
