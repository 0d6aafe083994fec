//! What is sent for an event, and what the engine must say to it. Data only.

use crate::mix::Side;

/// The two sessions of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Owns every resting order.
    Maker,
    /// Sends the aggressive orders that execute them.
    Taker,
}

impl Party {
    pub fn index(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        match self {
            Party::Maker => "session 1 (resting)",
            Party::Taker => "session 2 (aggressive)",
        }
    }
}

/// Why something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Submission,
    PartialCancel,
    Delete,
    Replacement,
    Execution,
    /// A Replace that sends an order to the back, so that the file's maker comes first.
    Requeue,
    /// A cancel in place of an execution that price priority would give to another order.
    ExecutionAsCancel,
    /// A cancel of an order that must have left the market unseen: the file goes on to cross it.
    Retirement,
    /// The clean-up at the end, which asks what rests.
    FinalCancel,
}

impl Purpose {
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Submission => "submission",
            Purpose::PartialCancel => "partial cancel",
            Purpose::Delete => "delete",
            Purpose::Replacement => "replace",
            Purpose::Execution => "execution",
            Purpose::Requeue => "re-queue",
            Purpose::ExecutionAsCancel => "execution applied as a cancel",
            Purpose::Retirement => "retirement of a crossed order",
            Purpose::FinalCancel => "final cancel",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    Enter {
        urn: u32,
        symbol: [u8; 8],
        side: Side,
        quantity: u32,
        price: u64,
        immediate: bool,
    },
    /// `total` is the new size of the order, what was executed included.
    Cancel {
        urn: u32,
        total: u32,
    },
    /// `total` is for the whole chain, what was executed included.
    Replace {
        original: u32,
        urn: u32,
        total: u32,
        price: u64,
    },
}

/// One message from the engine, reduced to what a file can imply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Accepted { urn: u32, quantity: u32, price: u64 },
    Replaced { original: u32, urn: u32, quantity: u32, price: u64 },
    Canceled { urn: u32, quantity: u32 },
    Executed { urn: u32, quantity: u32, price: u64 },
}

impl Answer {
    /// The order that the message is about.
    pub fn urn(&self) -> u32 {
        match *self {
            Answer::Accepted { urn, .. }
            | Answer::Replaced { urn, .. }
            | Answer::Canceled { urn, .. }
            | Answer::Executed { urn, .. } => urn,
        }
    }

    /// Same kind of message about the same order: the rest may still differ.
    pub fn is_about_the_same(&self, other: &Answer) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.urn() == other.urn()
    }
}

/// A request, where it comes from, and everything that must follow from it, in sequence for each party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    pub party: Party,
    pub request: Request,
    pub row: u64,
    pub purpose: Purpose,
    pub expected: Vec<(Party, Answer)>,
}
