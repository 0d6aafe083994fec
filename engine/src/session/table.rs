//! The table of sessions: found by number or by token, and marked when they may have
//! something to send. The shard's messages go into it. Not what arrives, and not what may leave.

use super::tokens::{Tokens, upstream_name};
use super::{Downstream, Route, Session, Upstream};
use crate::inputs::SessionId;
use crate::log::Durability;
use crate::shard::Outputs;
use netio::Peer;
use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use streams::{ReceiveConfig, ReceiveStream, SendConfig, SendStream, SessionName};
use wire::ouch::MAX_MESSAGE_LENGTH;

pub struct Sessions {
    table: Vec<Session>,
    tokens: Tokens,
    /// How many are bound to an address.
    bound: usize,
    /// Sessions that may have something to send, each once.
    marked: VecDeque<SessionId>,
    receive: ReceiveConfig,
    send: SendConfig,
    /// Messages and acknowledgements wait for [`super::Release`].
    waits: bool,
    /// The shard's market data; `None` when nobody is configured to receive it.
    pub feed: Option<Downstream>,
    now_ns: u64,
}

impl Sessions {
    /// An empty table. Each session's downstream retains `window_bytes`. Where `durability`
    /// waits, messages leave and are acknowledged only as far as [`super::Release`] lets them.
    pub fn new(window_bytes: usize, durability: Durability) -> Self {
        let mut send = SendConfig::engine();
        send.ring_bytes = window_bytes;
        // The shortest messages are 13 bytes, but a stream of nothing else does not occur: 32 is the mean of the mix
        // Accepted, Canceled, Executed at its shortest.
        send.ring_messages = (window_bytes / 32).max(64);
        send.message_bytes_max = MAX_MESSAGE_LENGTH;
        Self {
            table: Vec::new(),
            tokens: Tokens::with_capacity(64),
            bound: 0,
            marked: VecDeque::new(),
            receive: ReceiveConfig::default(),
            send,
            waits: durability.waits(),
            feed: None,
            now_ns: 0,
        }
    }

    /// Makes room for so many sessions, so that adding one up to there allocates its streams only.
    pub fn reserve(&mut self, sessions: usize) {
        self.table.reserve(sessions.saturating_sub(self.table.len()));
        self.tokens.reserve(sessions);
    }

    /// The shard's feed goes out from here on.
    pub fn set_feed(&mut self, stream: SendStream) {
        self.feed = Some(Downstream::new(stream, self.waits));
    }

    /// Adds the next session: its first message out will have sequence `next_downstream`, the first one in `next_upstream`.
    pub fn add(&mut self, name: SessionName, next_downstream: u64, next_upstream: u64) {
        let stream = SendStream::restore(self.send.clone(), name, next_downstream, self.now_ns);
        self.tokens.insert(&name, self.table.len() as SessionId);
        self.table.push(Session {
            route: Route::None,
            marked: false,
            held: false,
            rides: false,
            upstream: Upstream::new(self.receive_stream(&name, next_upstream), self.waits),
            downstream: Downstream::new(stream, self.waits),
        });
        // As many marks as sessions: pushing a mark never allocates on the order path.
        self.marked.reserve(self.table.len() - self.marked.len());
    }

    /// The session was recovered: it goes on with the upstream sequence `next`, and all before is in the log to stay.
    pub fn adopt_upstream(&mut self, session: SessionId, next: u64) {
        let receive = self.receive_stream(self[session].downstream.name(), next);
        let upstream = Upstream::new(receive, self.waits);
        self[session].upstream = upstream;
    }

    /// The client has logged in anew and sends from `next` on. How far it may be told so has not changed.
    pub fn restart_upstream(&mut self, session: SessionId, next: u64) {
        let receive = self.receive_stream(self[session].downstream.name(), next);
        let upstream = &mut self[session].upstream;
        upstream.receive = receive;
        upstream.held_to = 0;
    }

    fn receive_stream(&self, name: &SessionName, next: u64) -> ReceiveStream {
        ReceiveStream::new(self.receive.clone(), upstream_name(name), next)
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The session that one of whose streams has this name.
    #[inline]
    pub fn by_token(&self, name: &SessionName) -> Option<SessionId> {
        self.tokens.get(name)
    }

    /// Sessions bound to an address.
    pub fn bound(&self) -> usize {
        self.bound
    }

    /// The session's messages take this route from now on; its former one is forgotten.
    pub fn bind(&mut self, session: SessionId, route: Route) {
        self.unbind(session);
        if let Route::Datagrams(_) = route {
            self.bound += 1;
        }
        self[session].route = route;
        self[session].set_rides(false);
    }

    /// The client of this session, who is bound to this address, understands acknowledgements behind messages.
    pub fn set_rides(&mut self, name: &SessionName, peer: &Peer) {
        if let Some(id) = self.by_token(name)
            && matches!(self[id].route, Route::Datagrams(bound) if bound.remote == peer.remote)
            && self[id].downstream.name() == name
        {
            self[id].set_rides(true);
        }
    }

    /// Forgets the session's route, and returns what it was.
    pub fn unbind(&mut self, session: SessionId) -> Route {
        let former = std::mem::replace(&mut self[session].route, Route::None);
        if let Route::Datagrams(_) = former {
            self.bound -= 1;
        }
        former
    }

    /// The time that streams made or pushed to from now on take as their own.
    #[inline]
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Notes that the session may have something to send.
    #[inline]
    pub fn mark(&mut self, session: SessionId) {
        mark(&mut self.table[session as usize], &mut self.marked, session);
    }

    /// As [`Sessions::mark`], for one that was interrupted: it is the next.
    pub fn mark_first(&mut self, session: SessionId) {
        if !std::mem::replace(&mut self[session].marked, true) {
            self.marked.push_front(session);
        }
    }

    /// Sessions marked and not yet unmarked, in the order of their marks.
    #[inline]
    pub fn marked(&self) -> &VecDeque<SessionId> {
        &self.marked
    }

    /// Takes the first mark off.
    #[inline]
    pub fn unmark(&mut self) -> Option<SessionId> {
        let session = self.marked.pop_front()?;
        self.table[session as usize].marked = false;
        Some(session)
    }
}

#[inline]
fn mark(session: &mut Session, marked: &mut VecDeque<SessionId>, id: SessionId) {
    if !session.marked {
        session.marked = true;
        marked.push_back(id);
    }
}

impl Index<SessionId> for Sessions {
    type Output = Session;

    #[inline]
    fn index(&self, session: SessionId) -> &Session {
        &self.table[session as usize]
    }
}

impl IndexMut<SessionId> for Sessions {
    #[inline]
    fn index_mut(&mut self, session: SessionId) -> &mut Session {
        &mut self.table[session as usize]
    }
}

impl Outputs for Sessions {
    #[inline]
    fn session(&mut self, id: SessionId, fill: impl FnOnce(&mut [u8]) -> usize) {
        let session = &mut self.table[id as usize];
        // Cannot be refused: the stream overwrites its oldest, takes messages of this length, and is never ended.
        let pushed = session.downstream.stream.push(MAX_MESSAGE_LENGTH, fill);
        debug_assert!(pushed.is_ok(), "{pushed:?}");
        mark(session, &mut self.marked, id);
    }

    #[inline]
    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        if let Some(feed) = &mut self.feed {
            let pushed = feed.stream.push(MAX_MESSAGE_LENGTH, fill);
            debug_assert!(pushed.is_ok(), "{pushed:?}");
        }
    }
}
