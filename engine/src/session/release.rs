//! What waits for the disk: which sequences become free to leave when the journal has reached which record. Used with
//! durability `disk` only; matching goes on, replies wait.

use crate::inputs::SessionId;
use crate::log::Lsn;
use std::collections::VecDeque;

/// Batches of replies that may wait. When they are all taken the shard stops receiving until the disk has caught up.
pub const MAX_WAITING: usize = 65_536;

/// Once `lsn` is durable, the session's downstream may leave below `downstream` and be acknowledged below `upstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub lsn: Lsn,
    pub session: SessionId,
    pub downstream: u64,
    pub upstream: u64,
}

pub struct Gate {
    waiting: VecDeque<Waiting>,
}

impl Gate {
    pub fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(MAX_WAITING) }
    }

    /// Room for the replies of a batch that concerns `sessions` sessions.
    pub fn has_room(&self, sessions: usize) -> bool {
        self.waiting.len() + sessions <= MAX_WAITING
    }

    pub fn push(&mut self, waiting: Waiting) {
        debug_assert!(self.waiting.back().is_none_or(|last| last.lsn <= waiting.lsn));
        self.waiting.push_back(waiting);
    }

    /// The next entry whose record is durable.
    pub fn pop(&mut self, durable: Lsn) -> Option<Waiting> {
        if self.waiting.front()?.lsn > durable {
            return None;
        }
        self.waiting.pop_front()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_order_and_only_when_durable() {
        let mut gate = Gate::new();
        for number in 1..=3 {
            gate.push(Waiting { lsn: Lsn(number), session: 0, downstream: number, upstream: number });
        }
        assert_eq!(gate.pop(Lsn(0)), None);
        assert_eq!(gate.pop(Lsn(2)).map(|entry| entry.downstream), Some(1));
        assert_eq!(gate.pop(Lsn(2)).map(|entry| entry.downstream), Some(2));
        assert_eq!(gate.pop(Lsn(2)), None);
        assert_eq!(gate.len(), 1);
    }
}
