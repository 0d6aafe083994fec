//! A stream of feed messages that keeps the last of them: the shard's own, the feed thread's, and those fetched from the journal.

use streams::{SendConfig, SendStream, SessionName};
use wire::itch::MAX_MESSAGE_LENGTH;

/// The shortest ITCH message of a busy feed (Order Delete) with its block's length.
const SHORTEST_USUAL_BLOCK: usize = 21;

/// Keeps `window_bytes` of messages and goes on with sequence `next`.
pub fn window(window_bytes: usize, session: SessionName, next: u64) -> SendStream {
    let mut config = SendConfig::engine();
    config.ring_bytes = window_bytes;
    config.ring_messages = (window_bytes / SHORTEST_USUAL_BLOCK).max(64);
    // What the encoders are given room for, not what an ITCH message needs.
    config.message_bytes_max = wire::ouch::MAX_MESSAGE_LENGTH;
    SendStream::restore(config, session, next, 0)
}

const _: () = assert!(MAX_MESSAGE_LENGTH <= wire::ouch::MAX_MESSAGE_LENGTH);
