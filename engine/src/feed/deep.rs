//! Feed messages that no window has any more, made again: the journal's inputs applied to a shard of its own, whose feed is
//! kept and whose replies are not. Slow (it starts at the first record) and never on the shard's thread.

use crate::journal::error::JournalError;
use crate::journal::{Lsn, Reader, Storage};
use crate::shard::input::{Input, InputError, SessionId, kind};
use crate::shard::{ApplyError, Outputs, Shard};
use std::ops::ControlFlow;
use wire::ouch::MAX_MESSAGE_LENGTH;

#[derive(Debug, thiserror::Error)]
pub enum DeepReplayError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("record {lsn}: {source}")]
    Input { lsn: u64, source: InputError },
    #[error("record {lsn}: {source}")]
    Apply { lsn: u64, source: ApplyError },
    #[error("the journal does not begin with its genesis: its first segments are gone")]
    NoGenesis,
}

/// A shard that follows the journal for its feed only.
pub struct DeepReplay<S: Storage> {
    reader: Reader<S>,
    shard: Option<Shard>,
}

impl<S: Storage> DeepReplay<S> {
    /// Begins at the journal's first record.
    ///
    /// # Errors
    /// The journal cannot be read from its beginning.
    pub fn open(storage: S, shard: u32, limit: Lsn) -> Result<Self, DeepReplayError> {
        Ok(Self { reader: Reader::follow(storage, shard, Lsn::FIRST, limit)?, shard: None })
    }

    /// Sequence of the next feed message that would be made.
    pub fn next(&self) -> u64 {
        self.shard.as_ref().map_or(1, Shard::next_feed)
    }

    /// Goes on up to record `limit`, giving every feed message with its sequence to `sink` until that breaks off. What
    /// remains of the input at hand then is lost: start anew.
    ///
    /// # Errors
    /// The journal is damaged, or not this version's.
    pub fn run(
        &mut self,
        limit: Lsn,
        mut sink: impl FnMut(u64, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, DeepReplayError> {
        self.reader.set_limit(limit)?;
        while let Some(record) = self.reader.next()? {
            let lsn = record.lsn.0;
            let input = Input::decode(record.kind, record.payload)
                .map_err(|source| DeepReplayError::Input { lsn, source })?;
            let shard = match (&mut self.shard, &input) {
                (None, Input::Genesis(genesis)) => {
                    self.shard = Some(Shard::new(*genesis));
                    continue;
                }
                (None, _) => return Err(DeepReplayError::NoGenesis),
                (Some(shard), _) => shard,
            };
            let mut outputs = FeedOnly { next: shard.next_feed(), sink: &mut sink, broken: false };
            match shard.apply(&input, record.timestamp_ns, &mut outputs) {
                Ok(()) => {}
                // Recorded before the live shard refused it, as this one does.
                Err(_) if record.kind != kind::MESSAGES => {}
                Err(source) => return Err(DeepReplayError::Apply { lsn, source }),
            }
            if outputs.broken {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

struct FeedOnly<'a, F> {
    next: u64,
    sink: &'a mut F,
    broken: bool,
}

impl<F: FnMut(u64, &[u8]) -> ControlFlow<()>> Outputs for FeedOnly<'_, F> {
    fn session(&mut self, _: SessionId, _: impl FnOnce(&mut [u8]) -> usize) {}

    fn feed(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        let mut message = [0; MAX_MESSAGE_LENGTH];
        let length = fill(&mut message).min(message.len());
        let sequence = self.next;
        self.next += 1;
        if !self.broken {
            self.broken = (self.sink)(sequence, &message[..length]).is_break();
        }
    }
}
