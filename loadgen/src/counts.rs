//! What is counted of requests and of what came back. Times are elsewhere.

/// Reject codes are counted one by one up to the highest that OUCH 5.0 lists; stranger ones share the last place.
pub const REJECT_CODES: usize = 0x42;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Enter,
    Cancel,
    Replace,
}

impl RequestKind {
    pub const ALL: [RequestKind; 3] = [RequestKind::Enter, RequestKind::Cancel, RequestKind::Replace];

    pub fn name(self) -> &'static str {
        match self {
            RequestKind::Enter => "enter",
            RequestKind::Cancel => "cancel",
            RequestKind::Replace => "replace",
        }
    }
}

/// Counters of one part of a run (warm-up or measured).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// By [`RequestKind`].
    pub sent: [u64; 3],
    pub answered: [u64; 3],
    /// Cancels and replaces of orders that were gone before they arrived: the protocol leaves them unanswered.
    pub overtaken: u64,
    /// Requests that were never answered, although they had to be.
    pub lost: u64,
    pub rejected: [u64; REJECT_CODES],
}

impl Default for Counts {
    fn default() -> Self {
        Counts { sent: [0; 3], answered: [0; 3], overtaken: 0, lost: 0, rejected: [0; REJECT_CODES] }
    }
}

impl Counts {
    pub fn sent_total(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Requests that had their answer: the message itself, or the execution that made it superfluous.
    pub fn answered_total(&self) -> u64 {
        self.answered.iter().sum::<u64>() + self.overtaken
    }

    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    pub fn add(&mut self, other: &Counts) {
        for kind in 0..3 {
            self.sent[kind] += other.sent[kind];
            self.answered[kind] += other.answered[kind];
        }
        self.overtaken += other.overtaken;
        self.lost += other.lost;
        for (mine, theirs) in self.rejected.iter_mut().zip(&other.rejected) {
            *mine += theirs;
        }
    }
}

/// What came downstream that is no answer, over the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    pub executions: u64,
    pub executed_quantity: u64,
    /// Orders taken off by someone else than their owner's cancel: the rest of an immediate order, a timeout, a supervisor.
    pub cancels_unrequested: u64,
    /// A second answer to one request, or more executed or cancelled than the order had.
    pub duplicated: u64,
    /// Messages about orders that were never sent.
    pub unknown: u64,
    /// Message types that this generator has no use for (system events, restatements, ...).
    pub other: u64,
    /// Undecodable messages.
    pub malformed: u64,
}

impl Events {
    pub fn add(&mut self, other: &Events) {
        self.executions += other.executions;
        self.executed_quantity += other.executed_quantity;
        self.cancels_unrequested += other.cancels_unrequested;
        self.duplicated += other.duplicated;
        self.unknown += other.unknown;
        self.other += other.other;
        self.malformed += other.malformed;
    }
}
