//! Answers to compare: OUCH outbound and ITCH as values without what is only an echo or a time, and in words. Not requests:
//! `ask`.

use std::fmt;

use wire::itch::Message;
use wire::ouch::{Appendage, Outbound, tag};

use crate::ask::CENT;

fn trimmed(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// An answer to a session: everything of it that is not the time or an echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    System(u8),
    Accepted {
        user_ref: u32,
        side: u8,
        quantity: u32,
        price: u64,
        order_ref: u64,
        channel: u8,
    },
    Replaced {
        original: u32,
        user_ref: u32,
        side: u8,
        quantity: u32,
        price: u64,
        order_ref: u64,
        channel: u8,
    },
    Canceled {
        user_ref: u32,
        quantity: u32,
        reason: u8,
        channel: u8,
    },
    SelfMatch {
        user_ref: u32,
        quantity: u32,
        prevented: u32,
        price: u64,
        liquidity: u8,
        strategy: u8,
        channel: u8,
    },
    Executed {
        user_ref: u32,
        quantity: u32,
        price: u64,
        liquidity: u8,
        match_number: u64,
        channel: u8,
    },
    Rejected {
        user_ref: u32,
        reason: u16,
        channel: u8,
    },
    Modified {
        user_ref: u32,
        side: u8,
        quantity: u32,
        channel: u8,
    },
    Restated {
        user_ref: u32,
        order_ref: u64,
        displayed: u32,
        channel: u8,
    },
    MassCanceled {
        user_ref: u32,
        channel: u8,
    },
    Disabled {
        user_ref: u32,
        channel: u8,
    },
    Enabled {
        user_ref: u32,
        channel: u8,
    },
    Query {
        next: u32,
        channel: u8,
    },
    /// A drop copy of an execution.
    Copy {
        user: [u8; 6],
        user_ref: u32,
        quantity: u32,
        price: u64,
        liquidity: u8,
    },
}

fn channel_of(appendage: Appendage<'_>) -> u8 {
    appendage.get_u8(tag::USER_REF_IDX).unwrap_or(0)
}

impl Answer {
    /// Reads a message and its timestamp.
    pub fn decode(bytes: &[u8]) -> (Self, u64) {
        let decoded = Outbound::decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        match decoded {
            Outbound::SystemEvent(it) => (Self::System(it.event_code()), it.timestamp()),
            Outbound::OrderAccepted(it) => (
                Self::Accepted {
                    user_ref: it.user_ref_num(),
                    side: it.side(),
                    quantity: it.quantity(),
                    price: it.price(),
                    order_ref: it.order_reference_number(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::OrderReplaced(it) => (
                Self::Replaced {
                    original: it.orig_user_ref_num(),
                    user_ref: it.user_ref_num(),
                    side: it.side(),
                    quantity: it.quantity(),
                    price: it.price(),
                    order_ref: it.order_reference_number(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::OrderCanceled(it) => (
                Self::Canceled {
                    user_ref: it.user_ref_num(),
                    quantity: it.quantity(),
                    reason: it.reason(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::AiqCanceled(it) => {
                assert_eq!(it.reason(), b'Q');
                let answer = Self::SelfMatch {
                    user_ref: it.user_ref_num(),
                    quantity: it.decrement_shares(),
                    prevented: it.quantity_prevented_from_trading(),
                    price: it.execution_price(),
                    liquidity: it.liquidity_flag(),
                    strategy: it.aiq_strategy(),
                    channel: channel_of(it.appendage()),
                };
                (answer, it.timestamp())
            }
            Outbound::OrderExecuted(it) => (
                Self::Executed {
                    user_ref: it.user_ref_num(),
                    quantity: it.quantity(),
                    price: it.price(),
                    liquidity: it.liquidity_flag(),
                    match_number: it.match_number(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::OrderRejected(it) => (
                Self::Rejected {
                    user_ref: it.user_ref_num(),
                    reason: it.reason(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::OrderModified(it) => (
                Self::Modified {
                    user_ref: it.user_ref_num(),
                    side: it.side(),
                    quantity: it.quantity(),
                    channel: channel_of(it.appendage()),
                },
                it.timestamp(),
            ),
            Outbound::OrderRestated(it) => {
                assert_eq!(it.reason(), b'R');
                let appendage = it.appendage();
                let answer = Self::Restated {
                    user_ref: it.user_ref_num(),
                    order_ref: appendage.get_u64(tag::SECONDARY_ORD_REF_NUM).expect("tag 1"),
                    displayed: appendage.get_u32(tag::DISPLAY_QUANTITY).expect("tag 22"),
                    channel: channel_of(appendage),
                };
                (answer, it.timestamp())
            }
            Outbound::MassCancelResponse(it) => (
                Self::MassCanceled { user_ref: it.user_ref_num(), channel: channel_of(it.appendage()) },
                it.timestamp(),
            ),
            Outbound::DisableOrderEntryResponse(it) => (
                Self::Disabled { user_ref: it.user_ref_num(), channel: channel_of(it.appendage()) },
                it.timestamp(),
            ),
            Outbound::EnableOrderEntryResponse(it) => (
                Self::Enabled { user_ref: it.user_ref_num(), channel: channel_of(it.appendage()) },
                it.timestamp(),
            ),
            Outbound::AccountQueryResponse(it) => (
                Self::Query { next: it.next_user_ref_num(), channel: channel_of(it.appendage()) },
                it.timestamp(),
            ),
            other => panic!("never sent: {other:?}"),
        }
    }

    /// Reads a message of a drop-copy session.
    pub fn decode_copy(bytes: &[u8]) -> (Self, u64) {
        let (user, rest) = bytes.split_first_chunk().expect("a user name");
        match Self::decode(rest) {
            (Self::Executed { user_ref, quantity, price, liquidity, .. }, time) => {
                (Self::Copy { user: *user, user_ref, quantity, price, liquidity }, time)
            }
            other => panic!("not a drop copy: {other:?}"),
        }
    }
}

/// "10.00"; market orders say so.
pub fn money(price: u64) -> String {
    match price {
        wire::ouch::MARKET_PRICE => "market".to_owned(),
        _ if price.is_multiple_of(CENT) => format!("{}.{:02}", price / 10_000, price / 100 % 100),
        _ => format!("{}.{:04}", price / 10_000, price % 10_000),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let channel = match *self {
            Self::Accepted { user_ref, side, quantity, price, order_ref, channel } => {
                let side = side as char;
                write!(f, "accepted {user_ref} {side}{quantity}@{} as #{order_ref}", money(price))?;
                channel
            }
            Self::Replaced { original, user_ref, side, quantity, price, order_ref, channel } => {
                let side = side as char;
                write!(
                    f,
                    "replaced {original} by {user_ref} {side}{quantity}@{} as #{order_ref}",
                    money(price)
                )?;
                channel
            }
            Self::Canceled { user_ref, quantity, reason, channel } => {
                write!(f, "canceled {user_ref} -{quantity} {}", reason as char)?;
                channel
            }
            Self::SelfMatch { user_ref, quantity, prevented, price, liquidity, strategy, channel } => {
                let (liquidity, strategy) = (liquidity as char, strategy as char);
                write!(
                    f,
                    "self-match {user_ref} -{quantity} prevented {prevented}@{} {liquidity}{strategy}",
                    money(price)
                )?;
                channel
            }
            Self::Executed { user_ref, quantity, price, liquidity, match_number, channel } => {
                let liquidity = liquidity as char;
                write!(f, "executed {user_ref} {quantity}@{} {liquidity} !{match_number}", money(price))?;
                channel
            }
            Self::Rejected { user_ref, reason, channel } => {
                write!(f, "rejected {user_ref} 0x{reason:04X}")?;
                channel
            }
            Self::Modified { user_ref, side, quantity, channel } => {
                write!(f, "modified {user_ref} {}{quantity}", side as char)?;
                channel
            }
            Self::Restated { user_ref, order_ref, displayed, channel } => {
                write!(f, "restated {user_ref} shows {displayed} as #{order_ref}")?;
                channel
            }
            Self::MassCanceled { user_ref, channel } => {
                write!(f, "mass-canceled {user_ref}")?;
                channel
            }
            Self::Disabled { user_ref, channel } => {
                write!(f, "disabled {user_ref}")?;
                channel
            }
            Self::Enabled { user_ref, channel } => {
                write!(f, "enabled {user_ref}")?;
                channel
            }
            Self::Query { next, channel } => {
                write!(f, "next {next}")?;
                channel
            }
            Self::Copy { user, user_ref, quantity, price, liquidity } => {
                let liquidity = liquidity as char;
                write!(f, "copy {} {user_ref} {quantity}@{} {liquidity}", trimmed(&user), money(price))?;
                0
            }
            Self::System(code) => {
                write!(f, "system {}", code as char)?;
                0
            }
        };
        if channel == 0 { Ok(()) } else { write!(f, " in {channel}") }
    }
}

/// A message of the feed; `locate` is the instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    pub locate: u16,
    pub what: Feed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    System(u8),
    Directory,
    State(u8),
    Position {
        firm: [u8; 4],
        primary: u8,
        state: u8,
    },
    Add {
        order_ref: u64,
        side: u8,
        quantity: u32,
        price: u32,
        firm: Option<[u8; 4]>,
    },
    Executed {
        order_ref: u64,
        quantity: u32,
        match_number: u64,
    },
    ExecutedWithPrice {
        order_ref: u64,
        quantity: u32,
        price: u32,
        match_number: u64,
        printable: u8,
    },
    Reduced {
        order_ref: u64,
        quantity: u32,
    },
    Deleted {
        order_ref: u64,
    },
    Replaced {
        original: u64,
        order_ref: u64,
        quantity: u32,
        price: u32,
    },
    Trade {
        order_ref: u64,
        side: u8,
        quantity: u32,
        price: u32,
        match_number: u64,
    },
    Cross {
        quantity: u64,
        price: u32,
        match_number: u64,
        kind: u8,
    },
    Imbalance {
        paired: u64,
        imbalance: u64,
        direction: u8,
        far: u32,
        near: u32,
        reference: u32,
        kind: u8,
        variation: u8,
    },
}

impl Tick {
    pub fn decode(bytes: &[u8]) -> (Self, u64) {
        let decoded = Message::decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"));
        macro_rules! tick {
            ($it:ident, $what:expr) => {
                (Tick { locate: $it.stock_locate(), what: $what }, $it.timestamp())
            };
        }
        match decoded {
            Message::SystemEvent(it) => tick!(it, Feed::System(it.event_code())),
            Message::StockDirectory(it) => tick!(it, Feed::Directory),
            Message::StockTradingAction(it) => tick!(it, Feed::State(it.trading_state())),
            Message::MarketParticipantPosition(it) => tick!(
                it,
                Feed::Position { firm: it.mpid(), primary: it.primary_market_maker(), state: it.state() }
            ),
            Message::AddOrder(it) => tick!(
                it,
                Feed::Add {
                    order_ref: it.order_ref(),
                    side: it.side(),
                    quantity: it.shares(),
                    price: it.price(),
                    firm: None
                }
            ),
            Message::AddOrderMpid(it) => tick!(
                it,
                Feed::Add {
                    order_ref: it.order_ref(),
                    side: it.side(),
                    quantity: it.shares(),
                    price: it.price(),
                    firm: Some(it.attribution())
                }
            ),
            Message::OrderExecuted(it) => tick!(
                it,
                Feed::Executed {
                    order_ref: it.order_ref(),
                    quantity: it.executed_shares(),
                    match_number: it.match_number()
                }
            ),
            Message::OrderExecutedWithPrice(it) => tick!(
                it,
                Feed::ExecutedWithPrice {
                    order_ref: it.order_ref(),
                    quantity: it.executed_shares(),
                    price: it.execution_price(),
                    match_number: it.match_number(),
                    printable: it.printable()
                }
            ),
            Message::OrderCancel(it) => {
                tick!(it, Feed::Reduced { order_ref: it.order_ref(), quantity: it.cancelled_shares() })
            }
            Message::OrderDelete(it) => tick!(it, Feed::Deleted { order_ref: it.order_ref() }),
            Message::OrderReplace(it) => tick!(
                it,
                Feed::Replaced {
                    original: it.original_order_ref(),
                    order_ref: it.new_order_ref(),
                    quantity: it.shares(),
                    price: it.price()
                }
            ),
            Message::Trade(it) => tick!(
                it,
                Feed::Trade {
                    order_ref: it.order_ref(),
                    side: it.side(),
                    quantity: it.shares(),
                    price: it.price(),
                    match_number: it.match_number()
                }
            ),
            Message::CrossTrade(it) => tick!(
                it,
                Feed::Cross {
                    quantity: it.shares(),
                    price: it.cross_price(),
                    match_number: it.match_number(),
                    kind: it.cross_type()
                }
            ),
            Message::NetOrderImbalance(it) => tick!(
                it,
                Feed::Imbalance {
                    paired: it.paired_shares(),
                    imbalance: it.imbalance_shares(),
                    direction: it.imbalance_direction(),
                    far: it.far_price(),
                    near: it.near_price(),
                    reference: it.current_reference_price(),
                    kind: it.cross_type(),
                    variation: it.price_variation()
                }
            ),
            other => panic!("never published: {other:?}"),
        }
    }
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let money = |price: u32| money(u64::from(price));
        match self.what {
            Feed::System(code) => write!(f, "system {}", code as char),
            Feed::Directory => write!(f, "directory"),
            Feed::State(state) => write!(f, "state {}", state as char),
            Feed::Position { firm, primary, state } => {
                write!(f, "maker {} {} {}", trimmed(&firm), primary as char, state as char)
            }
            Feed::Add { order_ref, side, quantity, price, firm } => {
                write!(f, "add #{order_ref} {}{quantity}@{}", side as char, money(price))?;
                firm.map_or(Ok(()), |firm| write!(f, " by {}", trimmed(&firm)))
            }
            Feed::Executed { order_ref, quantity, match_number } => {
                write!(f, "executed #{order_ref} {quantity} !{match_number}")
            }
            Feed::ExecutedWithPrice { order_ref, quantity, price, match_number, printable } => {
                let printable = printable as char;
                write!(f, "executed #{order_ref} {quantity}@{} {printable} !{match_number}", money(price))
            }
            Feed::Reduced { order_ref, quantity } => write!(f, "reduced #{order_ref} -{quantity}"),
            Feed::Deleted { order_ref } => write!(f, "deleted #{order_ref}"),
            Feed::Replaced { original, order_ref, quantity, price } => {
                write!(f, "replaced #{original} by #{order_ref} {quantity}@{}", money(price))
            }
            Feed::Trade { order_ref, side, quantity, price, match_number } => {
                write!(f, "trade #{order_ref} {}{quantity}@{} !{match_number}", side as char, money(price))
            }
            Feed::Cross { quantity, price, match_number, kind } => {
                write!(f, "cross {} {quantity}@{} !{match_number}", kind as char, money(price))
            }
            Feed::Imbalance { paired, imbalance, direction, far, near, kind, variation, .. } => write!(
                f,
                "imbalance {} paired {paired} left {imbalance}{} near {} far {} {}",
                kind as char,
                direction as char,
                money(near),
                money(far),
                variation as char
            ),
        }
    }
}
