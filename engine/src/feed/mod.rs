//! Market data on its way out: ITCH 5.0 in MoldUDP64 from the shard's own port, and everything that helps a receiver who
//! missed some of it. Not the messages: `shard::feed` encodes them.
//!
//! ```text
//! shard thread:  shard -> Sessions.feed -> publisher -> port (receivers)
//!                                            | tap (bounded ring)
//! feed thread:                           follower -> history + visible books
//!                                            |            |
//!                            request_server (UDP)     services (TCP: replay, GLIMPSE)
//! ```
//! The shard never waits for the feed thread: a full tap is tried again while the shard's own window still has the
//! messages, and what is lost all the same is fetched from the journal.

pub mod books;
pub mod client;
pub mod deep;
pub mod follower;
pub mod publisher;
pub mod receivers;
mod request_server;
mod services;
pub mod tap;

pub use follower::{Feed, FeedThreads, JournalSource, start};
pub use publisher::{FeedCounters, Publisher};

use crate::config::FeedConfig;
use streams::{SendConfig, SendStream, SessionName};
use wire::itch::MAX_MESSAGE_LENGTH;

/// The shortest ITCH message of a busy feed (Order Delete) with its block's length.
const SHORTEST_USUAL_BLOCK: usize = 21;

/// Whether anyone can receive the feed at all.
pub fn is_wanted(config: &FeedConfig) -> bool {
    !config.receivers.is_empty() || is_followed(config)
}

/// Whether anything needs the feed thread.
pub fn is_followed(config: &FeedConfig) -> bool {
    config.retransmit_listen.is_some() || config.replay_listen.is_some() || config.glimpse_listen.is_some()
}

/// A stream of feed messages that retains `window_bytes` of them and goes on with sequence `next`.
pub fn stream(window_bytes: usize, session: SessionName, next: u64) -> SendStream {
    let mut config = SendConfig::engine();
    config.ring_bytes = window_bytes;
    config.ring_messages = (window_bytes / SHORTEST_USUAL_BLOCK).max(64);
    // What the encoders are given room for, not what an ITCH message needs.
    config.message_bytes_max = wire::ouch::MAX_MESSAGE_LENGTH;
    SendStream::restore(config, session, next, 0)
}

const _: () = assert!(MAX_MESSAGE_LENGTH <= wire::ouch::MAX_MESSAGE_LENGTH);
