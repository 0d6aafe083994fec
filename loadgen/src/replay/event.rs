//! One event of a historical file, whatever the file's format. It knows nothing of sessions or of the engine.

use crate::mix::Side;

/// An event and where it stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileEvent {
    /// Counted from 1: the line of a LOBSTER file, the message of an ITCH file.
    pub row: u64,
    /// Nanoseconds since midnight.
    pub time_ns: u64,
    pub kind: EventKind,
}

/// `order` is the exchange's number of the order; quantities are what the event itself moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Submit {
        order: u64,
        symbol: [u8; 8],
        side: Side,
        quantity: u64,
        price: u64,
    },
    /// Part of the order is cancelled; it keeps its place.
    Reduce {
        order: u64,
        quantity: u64,
    },
    /// The rest of the order is cancelled; the file may say how much that is.
    Delete {
        order: u64,
        quantity: Option<u64>,
    },
    /// The order, resting and visible, is executed. `price` as the file prints it.
    Execute {
        order: u64,
        quantity: u64,
        price: Option<u64>,
    },
    /// ITCH only: another order takes its place, at the back of the queue.
    Replace {
        original: u64,
        order: u64,
        quantity: u64,
        price: u64,
    },
    /// An execution against an order that was never visible: the visible book does not change.
    HiddenExecution {
        quantity: u64,
    },
    /// An auction's print.
    Cross {
        quantity: u64,
    },
    /// Trading halted, resumed or quoting only.
    Halt,
    /// A trade taken back.
    BrokenTrade,
    /// Anything that is not about orders: directory, system events, imbalance indications.
    Information,
}

/// A source of events.
pub trait EventSource {
    /// The next event, `None` at the end of the file.
    fn next_event(&mut self) -> Result<Option<FileEvent>, ReadError>;
}

/// A file that cannot be read on, and where.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{file}, row {row}: {reason}")]
    Row { file: String, row: u64, reason: String },
    #[error("{file}: {source}")]
    Io { file: String, source: std::io::Error },
}
