//! What the gateway thread and the shard's thread tell each other, over two bounded rings. No sockets here.

use rtrb::{Consumer, Producer, RingBuffer};
use wire::moldudp64::{BLOCK_HEADER_LENGTH, MAX_PAYLOAD};
use wire::ouch::MAX_MESSAGE_LENGTH;
use wire::soupbintcp::{LoginAccepted, LoginRequest};

/// Messages of clients on their way to the shard.
const UPSTREAM: usize = 4096;
/// Datagrams of messages on their way to clients: 1.5 MB.
const DOWNSTREAM: usize = 1024;

pub const MAX_BLOCK: usize = BLOCK_HEADER_LENGTH + MAX_MESSAGE_LENGTH;

/// Number of a connection, never used twice.
pub type ConnectionId = u32;

// Every slot of the ring has the size of the largest: a box for it would be an allocation on the order path.
#[allow(clippy::large_enum_variant)]
pub enum ToShard {
    Login {
        connection: ConnectionId,
        source: [u8; 16],
        request: LoginRequest,
        /// It came to the drop copy port: for accounts of that kind only.
        drop_copy: bool,
    },
    /// One message as a MoldUDP64 block.
    Message {
        connection: ConnectionId,
        length: u16,
        block: [u8; MAX_BLOCK],
    },
    Logout {
        connection: ConnectionId,
    },
    /// The connection is gone, or its client has fallen silent.
    Lost {
        connection: ConnectionId,
    },
}

// As `ToShard`.
#[allow(clippy::large_enum_variant)]
pub enum FromShard {
    Accepted {
        connection: ConnectionId,
        accepted: LoginAccepted,
    },
    Rejected {
        connection: ConnectionId,
        reason: u8,
    },
    /// The session is no longer this connection's.
    Ended {
        connection: ConnectionId,
    },
    /// A MoldUDP64 datagram of the session's downstream.
    Datagram {
        connection: ConnectionId,
        length: u16,
        bytes: [u8; MAX_PAYLOAD],
    },
}

/// The shard's ends.
pub struct GatewayLink {
    pub from: Consumer<ToShard>,
    pub to: Producer<FromShard>,
}

/// The gateway's ends.
pub struct ShardLink {
    pub from: Consumer<FromShard>,
    pub to: Producer<ToShard>,
}

pub fn rings() -> (GatewayLink, ShardLink) {
    let (to_shard, from_gateway) = RingBuffer::new(UPSTREAM);
    let (to_gateway, from_shard) = RingBuffer::new(DOWNSTREAM);
    (GatewayLink { from: from_gateway, to: to_gateway }, ShardLink { from: from_shard, to: to_shard })
}
