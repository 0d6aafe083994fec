//! Who talks to a shard, and what may leave: sessions, their two streams, and the way to their clients. Not what messages
//! mean, and not the ports.
//!
//! ```text
//! in:   datagrams ─┐                       ┌─ upstream ── run of messages ──> Core
//!       tcp ───────┼─ login, token, order ─┤ Session
//! out:  outbound <─┴──── release <─────────┴─ downstream <── messages ────── Core
//! ```
//! A [`Session`] is an upstream, a downstream and a route; [`Sessions`] is the one table of them, which the shard's messages
//! go into. [`Reception`] takes what arrives, [`release`] says how far it may leave, [`outbound`] sends it over its route.

mod connections;
mod counters;
mod datagrams;
mod desk;
mod login;
pub mod outbound;
mod reception;
pub mod release;
mod table;
mod tcp;
mod tokens;
mod waiting;

pub use counters::IngressCounters;
pub use reception::Reception;
pub use release::Release;
pub use table::Sessions;
pub use tokens::{NameSource, random_name};

use crate::gateway::rings::ConnectionId;
use netio::Peer;
use streams::{ReceiveStream, SendStream, SessionName};

/// One client's conversation with the shard. It outlives connections and restarts.
pub struct Session {
    pub route: Route,
    marked: bool,
    /// The answer to its login has not left: nothing else may before it.
    held: bool,
    /// The client understands acknowledgements that ride behind messages. It says so after each login.
    rides: bool,
    pub upstream: Upstream,
    pub downstream: Downstream,
}

/// Where a session's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Logged out: messages wait in the stream.
    None,
    /// The address of the latest datagram that was accepted.
    Datagrams(Peer),
    /// A connection of the SoupBinTCP gateway.
    Connection(ConnectionId),
}

/// What the client sends.
pub struct Upstream {
    pub receive: ReceiveStream,
    /// When the client was last heard, by [`Reception`]'s clock of listening.
    heard_ns: u64,
    /// Messages below this may be acknowledged.
    released: u64,
    /// The last sequence that [`Release`] was told of.
    noted: u64,
    /// An acknowledgement was cut to `released`; the rest is owed when that moves.
    ack_owed: bool,
    /// When to tell the client again that its login was accepted, unless it is heard before; `u64::MAX`: it was.
    greet_at_ns: u64,
    /// Messages below this were held back: once there is room for their answers they are asked for. 0: none.
    held_to: u64,
    /// How often its silence was excused by a login that waits.
    postponed: u64,
}

/// What the shard sends: a session's messages, or the feed's.
pub struct Downstream {
    pub stream: SendStream,
    /// Messages below this may leave.
    released: u64,
    /// The last sequence that [`Release`] was told of.
    noted: u64,
}

impl Upstream {
    fn new(receive: ReceiveStream, waits: bool) -> Self {
        let next = receive.next();
        Self {
            receive,
            heard_ns: 0,
            released: if waits { next } else { u64::MAX },
            noted: next,
            ack_owed: false,
            greet_at_ns: u64::MAX,
            held_to: 0,
            postponed: 0,
        }
    }
}

impl Downstream {
    /// A stream whose messages leave at once, or, if it `waits`, once [`Release`] says so.
    pub fn new(stream: SendStream, waits: bool) -> Self {
        let next = stream.next();
        Self { stream, released: if waits { next } else { u64::MAX }, noted: next }
    }

    /// Messages below this sequence may leave.
    #[inline]
    pub fn released(&self) -> u64 {
        self.released
    }

    /// Whether something that may leave has not left yet.
    #[inline]
    pub fn waits_for_port(&self) -> bool {
        self.stream.sent() < self.stream.next().min(self.released)
    }

    pub fn name(&self) -> &SessionName {
        self.stream.session()
    }
}
