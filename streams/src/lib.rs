//! Reliable streams over datagrams: a session is two MoldUDP64 streams, one each way. Pure state machines, without I/O or clock.
//!
//! ```text
//!  owner                 SendStream  ---- data, heartbeat ---->  ReceiveStream          peer
//!  push(message)  ---->  ring        <--- ack, gap request ----  parking       ---->  deliver(run)
//! ```
//! Both ends hold one of each ([`Duplex`] is the pair), so the code is the same for an engine's session and for a client.
//!
//! What a datagram means follows from whose stream its header names, its count, and its length ([`classify`]):
//!
//! | names | count | length | meaning |
//! |---|---|---|---|
//! | sender's stream | 0 | 20 | heartbeat; sequence = the next one |
//! | sender's stream | 0xFFFF | 20 | end of session |
//! | sender's stream | other | more | messages |
//! | receiver's stream | 0 | 20 | acknowledgement; sequence = next expected |
//! | receiver's stream | other | 20 | request; sequence = first missing, count = how many |
//!
//! Where both ends have agreed on it, eight bytes may follow the blocks of messages: an acknowledgement of the other stream that rides along
//! instead of taking a datagram of its own.

mod duplex;
mod parking;
mod receive;
mod ring;
mod rtt;
mod run;
mod send;
#[cfg(test)]
mod tests;

use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header, SESSION_LENGTH};

pub use duplex::{Duplex, Event};
pub use parking::ParkingPool;
pub use receive::{ReceiveConfig, ReceiveStatistics, ReceiveStream, Received};
pub use rtt::RoundTrip;
pub use run::{BadBlocks, Messages, RIDER_LENGTH, Run};
pub use send::{NotRetained, PushError, RequestOutcome, Retention, SendConfig, SendStatistics, SendStream};

/// A MoldUDP64 session name.
pub type SessionName = [u8; SESSION_LENGTH];

/// Default window: messages in flight from a client, and messages ahead that a receiver looks at.
pub const WINDOW_MESSAGES: u64 = 1024;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// What a datagram is, seen from its receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages, heartbeat or end of the peer's stream: for [`ReceiveStream::on_datagram`].
    Stream,
    /// The peer has everything of ours below the header's sequence: for [`SendStream::on_ack`].
    Acknowledgement,
    /// The peer lacks messages of ours: for [`SendStream::on_request`].
    Request,
    /// It names neither stream.
    Foreign,
    /// It names our stream, but is neither acknowledgement nor request.
    Malformed,
}

/// Tells what a datagram of `length` bytes is to the end that sends `own` and receives `peer`.
#[inline]
pub fn classify(header: &Header, length: usize, own: &SessionName, peer: &SessionName) -> Kind {
    if header.session == *peer {
        Kind::Stream
    } else if header.session != *own {
        Kind::Foreign
    } else if length != HEADER_LENGTH {
        Kind::Malformed
    } else if header.count == HEARTBEAT {
        Kind::Acknowledgement
    } else if header.count == END_OF_SESSION {
        Kind::Malformed
    } else {
        Kind::Request
    }
}
