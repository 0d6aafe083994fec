//! Which session's timers to look at next: a wheel of milliseconds. Not the timers: sessions say when they are due, and
//! being looked at too early is harmless.

use crate::inputs::SessionId;

/// One slot of the wheel: finer than any timer of a session needs.
const TICK_NS: u64 = 250_000;
/// Slots; deadlines further than all of them are looked at after one turn and put off again.
const SLOTS: usize = 4096;
const NONE: u32 = u32::MAX;

/// Each session stands in one slot at most. Nothing is allocated but for new sessions.
pub struct Wheel {
    heads: Box<[u32]>,
    entries: Vec<Entry>,
    /// Tick up to which slots have been visited.
    tick: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    next: u32,
    previous: u32,
    /// Tick at which it stands; `u64::MAX` when it stands nowhere.
    tick: u64,
}

impl Wheel {
    pub fn new(sessions: usize) -> Self {
        Self { heads: vec![NONE; SLOTS].into_boxed_slice(), entries: Vec::with_capacity(sessions), tick: 0 }
    }

    /// Has the session looked at no later than `deadline_ns`. A later deadline than the one it has leaves it where it is.
    #[inline]
    pub fn schedule(&mut self, session: SessionId, deadline_ns: u64) {
        // Rounded up: a deadline is never looked at before its time by less than a tick, for ever.
        let tick = (deadline_ns / TICK_NS + 1).max(self.tick + 1).min(self.tick + SLOTS as u64 - 1);
        while self.entries.len() <= session as usize {
            self.entries.push(Entry { next: NONE, previous: NONE, tick: u64::MAX });
        }
        if self.entries[session as usize].tick <= tick {
            return;
        }
        self.unlink(session);
        let head = &mut self.heads[tick as usize % SLOTS];
        self.entries[session as usize] = Entry { next: *head, previous: NONE, tick };
        if *head != NONE {
            self.entries[*head as usize].previous = session;
        }
        *head = session;
    }

    fn unlink(&mut self, session: SessionId) {
        let Entry { next, previous, tick } = self.entries[session as usize];
        if tick == u64::MAX {
            return;
        }
        if previous == NONE {
            self.heads[tick as usize % SLOTS] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        self.entries[session as usize].tick = u64::MAX;
    }

    /// A session whose time has come by `now_ns`; it stands nowhere until it is scheduled again.
    #[inline]
    pub fn due(&mut self, now_ns: u64) -> Option<SessionId> {
        let now = now_ns / TICK_NS;
        loop {
            let head = self.heads[self.tick as usize % SLOTS];
            if head != NONE && self.entries[head as usize].tick <= now {
                self.unlink(head);
                return Some(head);
            }
            if self.tick >= now {
                return None;
            }
            // A pause longer than the wheel has nothing more to find after one turn.
            self.tick = (self.tick + 1).max(now.saturating_sub(SLOTS as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn drain(wheel: &mut Wheel, now_ns: u64) -> Vec<SessionId> {
        std::iter::from_fn(|| wheel.due(now_ns)).collect()
    }

    #[test]
    fn sessions_come_up_at_their_deadline_and_not_before() {
        let mut wheel = Wheel::new(4);
        wheel.schedule(0, 10 * MS);
        wheel.schedule(1, 20 * MS);
        assert!(drain(&mut wheel, 9 * MS).is_empty());
        assert_eq!(drain(&mut wheel, 11 * MS), [0]);
        assert!(drain(&mut wheel, 19 * MS).is_empty());
        assert_eq!(drain(&mut wheel, 21 * MS), [1]);
        assert!(drain(&mut wheel, 10_000 * MS).is_empty());
    }

    #[test]
    fn an_earlier_deadline_moves_a_session_and_a_later_one_does_not() {
        let mut wheel = Wheel::new(1);
        wheel.schedule(0, 100 * MS);
        wheel.schedule(0, 5 * MS);
        wheel.schedule(0, 50 * MS);
        assert_eq!(drain(&mut wheel, 6 * MS), [0]);
        assert!(drain(&mut wheel, 200 * MS).is_empty());
    }

    #[test]
    fn nobody_is_forgotten_over_a_long_pause_or_beyond_the_wheel() {
        let mut wheel = Wheel::new(3);
        wheel.schedule(0, MS);
        wheel.schedule(1, 900 * MS);
        wheel.schedule(2, 60_000 * MS);
        let mut seen = drain(&mut wheel, 50_000 * MS);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2], "beyond the wheel: looked at early, to be put off by its owner");
    }
}
