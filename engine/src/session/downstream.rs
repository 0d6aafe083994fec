//! From the shard's messages to datagrams: each session's downstream stream, where it goes, and how far it may go yet.
//! Not the port: `runner` asks here what to send and hands it to one.

use crate::inputs::SessionId;
use crate::shard::Outputs;
use netio::Peer;
use streams::{SendConfig, SendStream, SessionName};
use wire::ouch::MAX_MESSAGE_LENGTH;

/// Where a session's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Logged out: messages wait in the stream.
    None,
    /// The address and port of its login.
    Datagrams(Peer),
    /// A connection of the SoupBinTCP gateway.
    Gateway(u32),
}

/// One session's way out.
pub struct Downstream {
    pub stream: SendStream,
    pub route: Route,
    /// Messages below this sequence may leave: their inputs are as durable as configured.
    pub limit: u64,
    /// Downstream and upstream sequences up to which the gate has been told.
    pub gated: (u64, u64),
    marked: bool,
}

pub struct Egress {
    sessions: Vec<Downstream>,
    /// Sessions that may have something to send, each once.
    marked: Vec<SessionId>,
    config: SendConfig,
    /// True when replies wait for the disk.
    gated: bool,
    /// The shard's market data; `None` when nobody is configured to receive it.
    pub feed: Option<SendStream>,
    now_ns: u64,
}

impl Egress {
    /// Windows of `window_bytes` for each session. `gated`: messages leave only up to each session's limit.
    pub fn new(window_bytes: usize, gated: bool, feed: Option<SendStream>) -> Self {
        let mut config = SendConfig::engine();
        config.ring_bytes = window_bytes;
        // The shortest messages are 13 bytes, but a stream of nothing else does not occur: 32 is the mean of the mix
        // Accepted, Canceled, Executed at its shortest.
        config.ring_messages = (window_bytes / 32).max(64);
        config.message_bytes_max = MAX_MESSAGE_LENGTH;
        Self { sessions: Vec::new(), marked: Vec::new(), config, gated, feed, now_ns: 0 }
    }

    /// Makes room for the next session, whose first message will have sequence `next`.
    pub fn add_session(&mut self, name: SessionName, next: u64) {
        self.sessions.push(Downstream {
            stream: SendStream::restore(self.config.clone(), name, next, self.now_ns),
            route: Route::None,
            limit: if self.gated { next } else { u64::MAX },
            gated: (next, next),
            marked: false,
        });
        // As many marks as sessions: pushing a mark never allocates on the order path.
        self.marked.reserve(self.sessions.len() - self.marked.len());
    }

    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The time that streams made or pushed to from now on take as their own.
    #[inline]
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    #[inline]
    pub fn session(&mut self, session: SessionId) -> &mut Downstream {
        &mut self.sessions[session as usize]
    }

    #[inline]
    pub fn route(&self, session: SessionId) -> Route {
        self.sessions[session as usize].route
    }

    /// Notes that the session may have something to send.
    #[inline]
    pub fn mark(&mut self, session: SessionId) {
        let downstream = &mut self.sessions[session as usize];
        if !downstream.marked {
            downstream.marked = true;
            self.marked.push(session);
        }
    }

    /// Sessions marked and not yet unmarked.
    #[inline]
    pub fn marked(&self) -> &[SessionId] {
        &self.marked
    }

    /// Takes the last mark off.
    #[inline]
    pub fn unmark(&mut self) -> Option<SessionId> {
        let session = self.marked.pop()?;
        self.sessions[session as usize].marked = false;
        Some(session)
    }
}

impl Outputs for Egress {
    #[inline]
    fn session(&mut self, session: SessionId, fill: impl FnOnce(&mut [u8]) -> usize) {
        let downstream = &mut self.sessions[session as usize];
        // Cannot be refused: the stream overwrites its oldest, takes messages of this length, and is never ended.
        let pushed = downstream.stream.push(MAX_MESSAGE_LENGTH, fill);
        debug_assert!(pushed.is_ok(), "{pushed:?}");
        if !downstream.marked {
            downstream.marked = true;
            self.marked.push(session);
        }
    }

    #[inline]
    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        if let Some(stream) = &mut self.feed {
            let pushed = stream.push(MAX_MESSAGE_LENGTH, fill);
            debug_assert!(pushed.is_ok(), "{pushed:?}");
        }
    }
}
