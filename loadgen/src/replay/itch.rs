//! Reads ITCH 5.0 files (BinaryFILE frames, gzipped or not) into events. It does not judge whether they make sense together.

use std::io::Read;
use std::path::Path;

use wire::itch::Message;
use wire::itch::file::Frames;

use super::event::{EventKind, EventSource, FileEvent, ReadError};
use super::lobster::open_decompressed;
use crate::mix::Side;

/// The events of one ITCH 5.0 file.
pub struct ItchReader {
    name: String,
    frames: Frames<Box<dyn Read>>,
    row: u64,
}

impl ItchReader {
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self::new(open_decompressed(path)?, path.display().to_string()))
    }

    pub fn new(reader: Box<dyn Read>, name: String) -> Self {
        ItchReader { name, frames: Frames::new(reader), row: 0 }
    }
}

fn side(wire_side: u8) -> Option<Side> {
    match wire_side {
        b'B' => Some(Side::Buy),
        b'S' => Some(Side::Sell),
        _ => None,
    }
}

impl EventSource for ItchReader {
    fn next_event(&mut self) -> Result<Option<FileEvent>, ReadError> {
        self.row += 1;
        let row = self.row;
        let file = || self.name.clone();
        let error = |reason: String| ReadError::Row { file: file(), row, reason };
        let frame = match self.frames.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(problem) => {
                return Err(ReadError::Row { file: self.name.clone(), row, reason: problem.to_string() });
            }
        };
        let message = Message::decode(frame).map_err(|problem| error(problem.to_string()))?;
        let bad_side = |found: u8| error(format!("side `{}`: expected B or S", found.escape_ascii()));
        let (time_ns, kind) = match message {
            Message::AddOrder(add) => {
                let side = side(add.side()).ok_or_else(|| bad_side(add.side()))?;
                let kind = EventKind::Submit {
                    order: add.order_ref(),
                    symbol: add.stock(),
                    side,
                    quantity: u64::from(add.shares()),
                    price: u64::from(add.price()),
                };
                (add.timestamp(), kind)
            }
            Message::AddOrderMpid(add) => {
                let side = side(add.side()).ok_or_else(|| bad_side(add.side()))?;
                let kind = EventKind::Submit {
                    order: add.order_ref(),
                    symbol: add.stock(),
                    side,
                    quantity: u64::from(add.shares()),
                    price: u64::from(add.price()),
                };
                (add.timestamp(), kind)
            }
            Message::OrderExecuted(executed) => (
                executed.timestamp(),
                EventKind::Execute {
                    order: executed.order_ref(),
                    quantity: u64::from(executed.executed_shares()),
                    price: None,
                },
            ),
            Message::OrderExecutedWithPrice(executed) => (
                executed.timestamp(),
                EventKind::Execute {
                    order: executed.order_ref(),
                    quantity: u64::from(executed.executed_shares()),
                    price: Some(u64::from(executed.execution_price())),
                },
            ),
            Message::OrderCancel(cancel) => (
                cancel.timestamp(),
                EventKind::Reduce {
                    order: cancel.order_ref(),
                    quantity: u64::from(cancel.cancelled_shares()),
                },
            ),
            Message::OrderDelete(delete) => {
                (delete.timestamp(), EventKind::Delete { order: delete.order_ref(), quantity: None })
            }
            Message::OrderReplace(replace) => (
                replace.timestamp(),
                EventKind::Replace {
                    original: replace.original_order_ref(),
                    order: replace.new_order_ref(),
                    quantity: u64::from(replace.shares()),
                    price: u64::from(replace.price()),
                },
            ),
            Message::Trade(trade) => {
                (trade.timestamp(), EventKind::HiddenExecution { quantity: u64::from(trade.shares()) })
            }
            Message::CrossTrade(cross) => (cross.timestamp(), EventKind::Cross { quantity: cross.shares() }),
            Message::StockTradingAction(action) => (action.timestamp(), EventKind::Halt),
            Message::BrokenTrade(broken) => (broken.timestamp(), EventKind::BrokenTrade),
            _ => (0, EventKind::Information),
        };
        Ok(Some(FileEvent { row, time_ns, kind }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::itch::{AddOrder, OrderDelete};

    #[test]
    fn frames_become_events_and_a_torn_file_is_named() {
        let mut bytes = vec![0; 256];
        let mut message = [0; 64];
        let add = AddOrder {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: 77,
            order_ref: 5,
            side: b'S',
            shares: 300,
            stock: *b"HDS     ",
            price: 401_000,
        };
        let length = add.write(&mut message);
        let mut end = wire::itch::file::write_frame(&message[..length], &mut bytes);
        let delete = OrderDelete { stock_locate: 1, tracking_number: 0, timestamp: 78, order_ref: 5 };
        let length = delete.write(&mut message);
        end += wire::itch::file::write_frame(&message[..length], &mut bytes[end..]);
        bytes.truncate(end - 1);
        let mut reader = ItchReader::new(Box::new(std::io::Cursor::new(bytes)), "test.itch".into());
        let event = reader.next_event().unwrap().unwrap();
        assert_eq!((event.row, event.time_ns), (1, 77));
        let expected = EventKind::Submit {
            order: 5,
            symbol: *b"HDS     ",
            side: Side::Sell,
            quantity: 300,
            price: 401_000,
        };
        assert_eq!(event.kind, expected);
        let message = reader.next_event().unwrap_err().to_string();
        assert!(message.contains("test.itch, row 2"), "{message}");
    }
}
