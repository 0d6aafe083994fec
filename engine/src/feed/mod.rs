//! Market data on its way out: ITCH 5.0 in MoldUDP64 from the shard's own port, and everything that helps a receiver who
//! missed some of it. Not the messages: `shard::feed` encodes them.
//!
//! ```text
//! send/
//!   shard thread:  shard -> the feed's stream -> publisher -> port (receivers)
//!                                                    | tap (bounded ring)
//!   feed thread:                                 follower -> state: last messages + visible books
//!                                                    |            |
//!                                    request_server (UDP)     services (TCP: replay, GLIMPSE)
//! receive/
//!   a receiver as a participant would write one: `pitlane feed`
//! ```
//! The shard never waits for the feed thread: a full tap is tried again while the shard's own window still has the
//! messages, and what is lost all the same is fetched from the journal.

pub mod books;
pub mod receive;
pub mod send;

pub use send::{Feed, FeedCounters, FeedThreads, Publisher, start, tap, window};

use crate::config::FeedConfig;

/// Whether anyone can receive the feed at all.
pub fn is_wanted(config: &FeedConfig) -> bool {
    !config.receivers.is_empty() || is_followed(config)
}

/// Whether anything needs the feed thread.
pub fn is_followed(config: &FeedConfig) -> bool {
    config.retransmit_listen.is_some() || config.replay_listen.is_some() || config.glimpse_listen.is_some()
}
