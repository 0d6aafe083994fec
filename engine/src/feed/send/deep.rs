//! Feed messages that no window has any more, made again by a replica of the shard that follows its journal. Slow (it
//! begins with a snapshot at best) and never on the shard's thread.

use crate::history::recovery::RecoveryError;
use crate::history::replica::Replica;
use crate::history::source::LogFiles;
use crate::inputs::SessionId;
use crate::shard::{Outputs, Shard};
use std::ops::ControlFlow;
use wire::ouch::MAX_MESSAGE_LENGTH;

/// Gives the feed's messages from sequence `from` on to `sink`, until it breaks off or the journal's present end.
///
/// # Errors
/// The journal or a snapshot cannot be read, or does not go back that far.
pub fn replay(
    journal: &LogFiles,
    from: u64,
    sink: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> Result<(), RecoveryError> {
    let limit = journal.limit();
    let suits = |shard: &Shard| shard.next_feed() <= from;
    let mut replica = Replica::open(journal.storage.clone(), journal.shard, limit, suits)?;
    let next = replica.shard.as_ref().map_or(1, Shard::next_feed);
    let mut outputs = FeedFrom { from, next, sink, broken: false };
    replica.advance(limit, &mut outputs, |outputs| outputs.broken)
}

struct FeedFrom<F> {
    from: u64,
    next: u64,
    sink: F,
    broken: bool,
}

impl<F: FnMut(u64, &[u8]) -> ControlFlow<()>> Outputs for FeedFrom<F> {
    fn session(&mut self, _: SessionId, _: impl FnOnce(&mut [u8]) -> usize) {}

    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        let sequence = self.next;
        self.next += 1;
        if sequence < self.from || self.broken {
            return;
        }
        let mut message = [0; MAX_MESSAGE_LENGTH];
        let length = fill(&mut message).min(message.len());
        self.broken = (self.sink)(sequence, &message[..length]).is_break();
    }
}
