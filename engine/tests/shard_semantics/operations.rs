//! What random flow does: orders and requests as the reference understands them and as bytes. Not when or how often: `random`.

use book::{CrossType, MARKET_PRICE, SelfMatch, SelfMatchStrategy, Side, TimeInForce, TradingState};

use crate::ask::{
    Order, Request, TEN, account_query, buy, cancel_in, disable, enable, mass_cancel, modify_in,
};

pub const SESSIONS: u32 = 4;
/// Channels in use.
pub const CHANNELS: usize = 2;
/// Symbol, lot, largest quantity, first state.
pub const INSTRUMENTS: [(&str, u32, u32, TradingState); 3] = [
    ("AAA", 1, 2_000, TradingState::Open),
    ("BBB", 10, 500, TradingState::Open),
    ("CCC", 1, 2_000, TradingState::PreOpen),
];
/// Limits of every session.
pub const OPEN_ORDERS_MAX: u32 = 20;
pub const GROSS_MAX: u64 = 300 * TEN;

/// Two sessions per firm.
pub fn firm_of(session: u32) -> &'static str {
    ["FRMA", "FRMB"][session as usize / 2]
}

/// Session 1 stays in the market when it disconnects.
pub fn cancels_on_disconnect(session: u32) -> bool {
    session != 1
}

/// An Enter or Replace, as words the model understands and bytes can be made of.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub original: Option<u32>,
    pub channel: u8,
    pub user_ref: u32,
    /// Index of the instrument; beyond the list = a symbol that does not exist.
    pub instrument: usize,
    pub side: Side,
    pub quantity: u32,
    /// Four decimals or [`MARKET_PRICE`].
    pub price: u64,
    pub time_in_force: u8,
    pub expire_time: u32,
    pub display: u8,
    pub cross: u8,
    pub max_floor: u32,
    pub min_quantity: u32,
    pub post_only: bool,
    pub group: u16,
    pub aiq: Option<(u8, u8)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Order(Terms),
    Cancel {
        channel: u8,
        user_ref: u32,
        total: u32,
    },
    Modify {
        channel: u8,
        user_ref: u32,
        side: Side,
        total: u32,
    },
    MassCancel {
        channel: Option<u8>,
        user_ref: u32,
        instrument: Option<usize>,
        side: Option<Side>,
        group: u16,
    },
    SetOrderEntry {
        channel: u8,
        user_ref: u32,
        enabled: bool,
    },
    Query {
        channel: u8,
    },
}

pub fn letter(side: Side) -> u8 {
    match side {
        Side::Buy => b'B',
        Side::Sell => b'S',
        Side::SellShort => b'T',
        Side::SellShortExempt => b'E',
    }
}

impl Terms {
    pub fn to_order(self) -> Order {
        let price = if self.price == MARKET_PRICE { wire::ouch::MARKET_PRICE } else { self.price };
        let symbol = INSTRUMENTS.get(self.instrument).map_or("ZZZ", |known| known.0);
        let mut order = buy(self.user_ref, self.quantity, price).of(symbol).cross(self.cross).with(|it| {
            it.side = letter(self.side);
            it.time_in_force = self.time_in_force;
            it.display = self.display;
        });
        order.original = self.original;
        if self.channel != 0 {
            order = order.channel(self.channel);
        }
        if self.time_in_force == b'6' {
            order = order.until(self.expire_time);
        }
        if self.max_floor > 0 {
            order = order.shows(self.max_floor);
        }
        if self.min_quantity > 0 {
            order = order.minimum(self.min_quantity);
        }
        if self.post_only {
            order = order.post_only();
        }
        if self.group > 0 && self.original.is_none() {
            order = order.group(self.group);
        }
        if let Some((group, strategy)) = self.aiq {
            order = order.aiq([b'G', group], strategy);
        }
        order
    }

    pub fn time_in_force(&self, second: u32, cross: CrossType) -> TimeInForce {
        match self.time_in_force {
            b'3' => TimeInForce::Immediate,
            b'6' => TimeInForce::GoodTill(second + self.expire_time),
            _ if self.price == MARKET_PRICE && cross == CrossType::Continuous => TimeInForce::Immediate,
            _ => TimeInForce::Day,
        }
    }

    pub fn self_match(&self, session: u32) -> Option<SelfMatch> {
        let (group, strategy) = self.aiq?;
        let strategy = match strategy {
            b'W' => SelfMatchStrategy::CancelNewest,
            b'O' => SelfMatchStrategy::CancelOldest,
            b'B' => SelfMatchStrategy::CancelBoth,
            _ => SelfMatchStrategy::Decrement,
        };
        Some(SelfMatch { group: (session / 2) << 8 | u32::from(group), strategy })
    }
}

pub fn bytes(operation: &Operation) -> Vec<u8> {
    match *operation {
        Operation::Order(terms) => terms.to_order().bytes(),
        Operation::Cancel { channel, user_ref, total } => cancel_in(channel, user_ref, total),
        Operation::Modify { channel, user_ref, side, total } => {
            modify_in(channel, user_ref, letter(side), total)
        }
        Operation::MassCancel { channel, user_ref, instrument, side, group } => {
            let symbol = instrument.map_or("", |number| INSTRUMENTS[number].0);
            mass_cancel(user_ref, symbol, |tags| {
                if group > 0 {
                    tags.u16(wire::ouch::tag::GROUP_ID, group);
                }
                if let Some(side) = side {
                    tags.u8(wire::ouch::tag::SIDE, letter(side));
                }
                if let Some(channel) = channel {
                    tags.u8(wire::ouch::tag::USER_REF_IDX, channel);
                }
            })
        }
        Operation::SetOrderEntry { channel, user_ref, enabled: true } => enable(user_ref, "", channel),
        Operation::SetOrderEntry { channel, user_ref, .. } => disable(user_ref, "", channel),
        Operation::Query { channel } => account_query(channel),
    }
}
