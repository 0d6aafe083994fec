//! What downstream systems see of a trade: subjects, payloads, and where in the journal a message comes from. Not how it gets there.
//! The contract is `docs/trade-stream.md`; a change that breaks a reader raises [`SCHEMA`].

use crate::log::Lsn;
use crate::shard::{Shard, Trade};
use book::{Cross, CrossExecution, CrossKind, Execution, MARKET_PRICE, OrderView, Side};
use serde::Serialize;
use std::fmt;

/// Version of the payloads.
pub const SCHEMA: u32 = 1;

/// Place of a message: the journal's record that caused it, and which of that record's messages it is, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub record: Lsn,
    pub index: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.record, self.index)
    }
}

/// Name of a message, the same whoever publishes it and however often: `Nats-Msg-Id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    pub journal: u64,
    pub shard: u32,
    pub position: Position,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { record, index } = self.position;
        write!(f, "{:016x}-{}-{record}-{index}", self.journal, self.shard)
    }
}

impl MessageId {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let journal = u64::from_str_radix(parts.next()?, 16).ok()?;
        let shard = parts.next()?.parse().ok()?;
        let record = Lsn(parts.next()?.parse().ok()?);
        let index = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self { journal, shard, position: Position { record, index } })
    }
}

/// Where a message comes from, as far as it takes to go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub id: MessageId,
    /// CRC of the record, chained over all before it: which history the message belongs to.
    pub chain: u32,
    pub match_number: u64,
    /// It is the last message of its record.
    pub complete: bool,
}

/// One message, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub place: Place,
    pub subject: String,
    pub payload: Vec<u8>,
}

/// What all messages of one record have in common.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub journal: u64,
    pub shard: u32,
    pub record: Lsn,
    pub timestamp_ns: u64,
    pub chain: u32,
}

#[derive(Serialize)]
struct Payload<'a> {
    schema: u32,
    r#type: &'static str,
    journal: String,
    shard: u32,
    record: u64,
    index: u32,
    /// The last message of this record.
    complete: bool,
    timestamp_ns: u64,
    match_number: u64,
    symbol: &'a str,
    price: u64,
    quantity: u64,
    cross: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aggressor: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    buy: Option<&'a Order>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sell: Option<&'a Order>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<&'a Order>,
}

/// One side: whose order it was, and how it stands after the trade.
#[derive(Serialize)]
struct Order {
    firm: String,
    user: String,
    session: u32,
    channel: u8,
    user_ref_num: u32,
    order_ref: u64,
    side: &'static str,
    limit_price: Option<u64>,
    leaves: u32,
    executed: u32,
    liquidity: char,
}

/// Turns the trades of one record into messages, in the order of things.
pub struct Encoder<'a> {
    pub prefix: &'a str,
    pub shard: &'a Shard,
    pub origin: Origin,
    pub index: u32,
}

/// A trade that outlives the input it came from.
#[derive(Debug, Clone, Copy)]
pub enum Kept {
    Continuous { execution: Execution, maker_liquidity: u8 },
    InCross { execution: CrossExecution, liquidity: u8 },
    Cross(Cross),
}

impl From<Trade<'_>> for Kept {
    fn from(trade: Trade<'_>) -> Self {
        match trade {
            Trade::Continuous { execution, maker_liquidity } => {
                Self::Continuous { execution: *execution, maker_liquidity }
            }
            Trade::InCross { execution, liquidity } => Self::InCross { execution: *execution, liquidity },
            Trade::Cross(cross) => Self::Cross(*cross),
        }
    }
}

impl Encoder<'_> {
    /// The messages of a record's trades: one for the trade, one for each side's firm; one for an auction as a whole.
    pub fn encode(&mut self, trades: &[Kept], out: &mut impl FnMut(Message)) {
        for (at, trade) in trades.iter().enumerate() {
            self.one(trade, at + 1 == trades.len(), out);
        }
    }

    fn one(&mut self, trade: &Kept, last: bool, out: &mut impl FnMut(Message)) {
        match trade {
            Kept::Continuous { execution, maker_liquidity } => {
                let Execution { maker, taker, quantity, price, match_number, .. } = execution;
                let taken = self.order(taker, wire::ouch::liquidity::REMOVED);
                let made = self.order(maker, *maker_liquidity);
                let facts = Facts {
                    instrument: maker.instrument,
                    price: *price,
                    quantity: u64::from(*quantity),
                    match_number: *match_number,
                    cross: None,
                };
                let (buy, sell) = if taker.side.is_buy() { (&taken, &made) } else { (&made, &taken) };
                let aggressor = if taker.side.is_buy() { "buy" } else { "sell" };
                self.trade(facts, Some(aggressor), buy, sell, out);
                self.execution(facts, &taken, false, out);
                self.execution(facts, &made, last, out);
            }
            Kept::InCross { execution, liquidity } => {
                let CrossExecution { kind, buy, sell, quantity, price, match_number, .. } = execution;
                let facts = Facts {
                    instrument: buy.instrument,
                    price: *price,
                    quantity: u64::from(*quantity),
                    match_number: *match_number,
                    cross: Some(*kind),
                };
                let (buy, sell) = (self.order(buy, *liquidity), self.order(sell, *liquidity));
                self.trade(facts, None, &buy, &sell, out);
                self.execution(facts, &buy, false, out);
                self.execution(facts, &sell, last, out);
            }
            Kept::Cross(Cross { kind, instrument, price, quantity, match_number }) => {
                let facts = Facts {
                    instrument: *instrument,
                    price: *price,
                    quantity: *quantity,
                    match_number: *match_number,
                    cross: Some(*kind),
                };
                let symbol = self.symbol(*instrument);
                let payload = Payload { complete: last, ..self.payload("cross", facts, &symbol) };
                self.message("trades", &symbol, &payload, out);
            }
        }
    }

    fn trade(
        &mut self,
        facts: Facts,
        aggressor: Option<&'static str>,
        buy: &Order,
        sell: &Order,
        out: &mut impl FnMut(Message),
    ) {
        let symbol = self.symbol(facts.instrument);
        let common = self.payload("trade", facts, &symbol);
        let payload = Payload { aggressor, buy: Some(buy), sell: Some(sell), ..common };
        self.message("trades", &symbol, &payload, out);
    }

    fn execution(&mut self, facts: Facts, order: &Order, complete: bool, out: &mut impl FnMut(Message)) {
        let symbol = self.symbol(facts.instrument);
        let payload = Payload { complete, order: Some(order), ..self.payload("execution", facts, &symbol) };
        self.message("executions", &order.firm, &payload, out);
    }

    fn payload<'b>(&self, r#type: &'static str, facts: Facts, symbol: &'b str) -> Payload<'b> {
        let Origin { journal, shard, record, timestamp_ns, .. } = self.origin;
        Payload {
            schema: SCHEMA,
            r#type,
            journal: format!("{journal:016x}"),
            shard,
            record: record.0,
            index: self.index,
            complete: false,
            timestamp_ns,
            match_number: facts.match_number,
            symbol,
            price: facts.price,
            quantity: facts.quantity,
            cross: facts.cross.map(cross_name),
            aggressor: None,
            buy: None,
            sell: None,
            order: None,
        }
    }

    fn message(&mut self, kind: &str, name: &str, payload: &Payload<'_>, out: &mut impl FnMut(Message)) {
        let Origin { journal, shard, record, chain, .. } = self.origin;
        let position = Position { record, index: self.index };
        let (match_number, complete) = (payload.match_number, payload.complete);
        self.index += 1;
        out(Message {
            place: Place { id: MessageId { journal, shard, position }, chain, match_number, complete },
            subject: format!("{}.{shard}.{kind}.{}", self.prefix, token(name)),
            // Plain structures of strings and integers: there is no way for this to fail.
            payload: serde_json::to_vec(payload).unwrap_or_default(),
        });
    }

    fn symbol(&self, instrument: u32) -> String {
        self.shard
            .instruments()
            .get(instrument as usize)
            .map_or_else(String::new, |found| text(&found.symbol))
    }

    fn order(&self, order: &OrderView, liquidity: u8) -> Order {
        let session = order.key.party.owner();
        Order {
            firm: text(&order.firm.to_be_bytes()),
            user: self.shard.trader(session).map_or_else(String::new, |trader| text(&trader.user)),
            session,
            channel: order.key.party.channel(),
            user_ref_num: order.key.user_ref,
            order_ref: order.order_ref,
            side: match order.side {
                Side::Buy => "buy",
                Side::Sell => "sell",
                Side::SellShort => "sell_short",
                Side::SellShortExempt => "sell_short_exempt",
            },
            limit_price: (order.price != MARKET_PRICE).then_some(order.price),
            leaves: order.open,
            executed: order.executed,
            liquidity: char::from(liquidity),
        }
    }
}

#[derive(Clone, Copy)]
struct Facts {
    instrument: u32,
    price: u64,
    quantity: u64,
    match_number: u64,
    cross: Option<CrossKind>,
}

fn cross_name(kind: CrossKind) -> &'static str {
    match kind {
        CrossKind::Opening => "opening",
        CrossKind::Closing => "closing",
        CrossKind::Resumption => "resumption",
    }
}

fn text(padded: &[u8]) -> String {
    String::from_utf8_lossy(padded).trim_end().to_owned()
}

/// A name as one token of a subject: what has a meaning there (`.`, `*`, `>`, white space), and `%`, is percent-encoded.
pub fn token(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'.' | b'*' | b'>' | b'%' => out.push_str(&format!("%{byte:02X}")),
            _ if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    // A token may not be empty.
    if out.is_empty() { "%".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_token_each() {
        assert_eq!(token("AAPL"), "AAPL");
        assert_eq!(token("BRK.A"), "BRK%2EA");
        assert_eq!(token("A*>% \u{e9}"), "A%2A%3E%25%20%C3%A9");
        assert_eq!(token(""), "%");
    }

    #[test]
    fn an_identity_reads_back_and_nothing_else_does() {
        let position = Position { record: Lsn(71), index: 3 };
        let id = MessageId { journal: 0xAB, shard: 2, position };
        assert_eq!(id.to_string(), "00000000000000ab-2-71-3");
        assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        for other in ["", "ab-2-71", "ab-2-71-3-4", "xy-2-71-3", "ab-2--3"] {
            assert_eq!(MessageId::parse(other), None, "{other}");
        }
    }
}
