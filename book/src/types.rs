//! The words a caller uses to talk to a [`Market`](crate::Market): orders, states, reasons. No behaviour of the book itself.

/// Price that means "at any price". Only immediate orders and orders for an auction may carry it.
pub const MARKET_PRICE: u64 = u64::MAX;

/// Largest price: $199,999.99 with 4 decimals, where OUCH 5.0's limits end. What is above it on the wire means "market".
pub const PRICE_MAX: u64 = 1_999_999_900;

/// Owners are numbered below this, so that an owner and its channel share one `u32`.
pub const OWNERS_MAX: u32 = 1 << 24;

/// Longest time to live of a good-till-time order, in seconds (OUCH 5.0 tag 15: below 86,400).
pub const TIME_TO_LIVE_MAX: u32 = 86_400;

/// Whoever enters orders: an owner (a session) and one of its order-flow channels (OUCH `UserRefIdx`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(u32);

impl Party {
    /// `owner` must be below [`OWNERS_MAX`]; higher bits are cut off.
    pub const fn new(owner: u32, channel: u8) -> Self {
        Self((owner & (OWNERS_MAX - 1)) << 8 | channel as u32)
    }

    pub const fn owner(self) -> u32 {
        self.0 >> 8
    }

    pub const fn channel(self) -> u8 {
        self.0 as u8
    }

    pub(crate) const fn raw(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }
}

/// The name of a live order. At most one live order has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    pub party: Party,
    pub user_ref: u32,
}

impl OrderKey {
    pub const fn new(owner: u32, channel: u8, user_ref: u32) -> Self {
        Self { party: Party::new(owner, channel), user_ref }
    }
}

/// Side as the owner states it. All kinds of sale rest on the same side of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    Buy = 0,
    Sell = 1,
    SellShort = 2,
    SellShortExempt = 3,
}

impl Side {
    pub const ALL: [Side; 4] = [Side::Buy, Side::Sell, Side::SellShort, Side::SellShortExempt];

    #[inline]
    pub const fn is_buy(self) -> bool {
        matches!(self, Side::Buy)
    }

    /// 0 for buys, 1 for all kinds of sale.
    #[inline]
    pub(crate) const fn book_index(self) -> usize {
        !self.is_buy() as usize
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Buy,
            1 => Self::Sell,
            2 => Self::SellShort,
            _ => Self::SellShortExempt,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeInForce {
    Day,
    /// Trades what it can at once; the rest is cancelled.
    Immediate,
    /// Ends when [`Market::expire`](crate::Market::expire) is told a second not before this one.
    GoodTill(u32),
}

/// Which matching an order takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CrossType {
    /// The continuous book, and every auction with what rests there.
    Continuous = 0,
    /// The opening auction only. What it leaves is cancelled.
    Opening = 1,
    /// The closing auction only. What it leaves is cancelled.
    Closing = 2,
}

/// What happens when an order meets one of its own group. The incoming order's strategy counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SelfMatchStrategy {
    #[default]
    CancelNewest = 0,
    CancelOldest = 1,
    CancelBoth = 2,
    /// Both shrink by the smaller of the two sizes; neither trades.
    Decrement = 3,
}

impl SelfMatchStrategy {
    #[inline]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::CancelNewest,
            1 => Self::CancelOldest,
            2 => Self::CancelBoth,
            _ => Self::Decrement,
        }
    }
}

/// Orders with the same group never trade with each other in continuous matching. Group 0 trades with everyone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SelfMatch {
    pub group: u32,
    pub strategy: SelfMatchStrategy,
}

/// An order to enter. Build it with [`NewOrder::limit`] or [`NewOrder::market`] and change what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    pub key: OrderKey,
    pub instrument: u32,
    pub side: Side,
    /// Shares, a multiple of the instrument's lot.
    pub quantity: u32,
    /// Four decimals, or [`MARKET_PRICE`].
    pub price: u64,
    pub time_in_force: TimeInForce,
    pub cross: CrossType,
    /// Not shown in market data; ranks after displayed orders at its price.
    pub hidden: bool,
    /// Removed rather than taking liquidity.
    pub post_only: bool,
    /// Shares shown at a time, the rest in reserve; 0 = all. The shown part goes to the back each time it is renewed.
    pub max_floor: u32,
    /// Immediate orders: fewer shares than this are not traded; 0 = any. Equal to the quantity = fill or kill.
    pub min_quantity: u32,
    pub self_match: SelfMatch,
    /// Group that mass cancels name (OUCH `GroupID`); 0 = none.
    pub group_id: u16,
    /// Firm on whose behalf it is; opaque, compared in mass cancels.
    pub firm: u32,
    /// The caller's own 32 bits (capacity, display letter, ...), given back in every event.
    pub attributes: u32,
}

impl NewOrder {
    /// A plain displayed day order.
    pub const fn limit(key: OrderKey, instrument: u32, side: Side, quantity: u32, price: u64) -> Self {
        Self {
            key,
            instrument,
            side,
            quantity,
            price,
            time_in_force: TimeInForce::Day,
            cross: CrossType::Continuous,
            hidden: false,
            post_only: false,
            max_floor: 0,
            min_quantity: 0,
            self_match: SelfMatch { group: 0, strategy: SelfMatchStrategy::CancelNewest },
            group_id: 0,
            firm: 0,
            attributes: 0,
        }
    }

    /// An immediate order at any price.
    pub const fn market(key: OrderKey, instrument: u32, side: Side, quantity: u32) -> Self {
        let mut order = Self::limit(key, instrument, side, quantity, MARKET_PRICE);
        order.time_in_force = TimeInForce::Immediate;
        order
    }
}

/// Takes the place of a live order of the same party. Instrument, side, auction, firm and group stay the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplaceOrder {
    pub original: OrderKey,
    pub user_ref: u32,
    /// Total for the whole chain, executed shares included.
    pub quantity: u32,
    pub price: u64,
    pub time_in_force: TimeInForce,
    pub hidden: bool,
    pub post_only: bool,
    pub max_floor: u32,
    pub min_quantity: u32,
    /// `None` keeps the original's.
    pub self_match: Option<SelfMatch>,
    pub attributes: u32,
}

impl ReplaceOrder {
    /// A plain displayed day order in the place of `original`.
    pub const fn limit(original: OrderKey, user_ref: u32, quantity: u32, price: u64) -> Self {
        Self {
            original,
            user_ref,
            quantity,
            price,
            time_in_force: TimeInForce::Day,
            hidden: false,
            post_only: false,
            max_floor: 0,
            min_quantity: 0,
            self_match: None,
            attributes: 0,
        }
    }
}

/// What became of a replace request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceOutcome {
    /// `replaced` was reported; what followed it says how the new order fared.
    Replaced,
    /// No such live order, or the new number names a live one. Nothing happened.
    Ignored,
    /// The details were invalid: the original was cancelled (reported, with [`CancelReason::InvalidReplace`] or, when
    /// the new total had all been executed already, [`CancelReason::User`]); the new number is not used.
    OriginalCancelled(Option<Reject>),
    /// Not now. The original is untouched.
    Refused(Reject),
}

/// Why an order was not taken. Nothing was reported and nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    UnknownInstrument(u32),
    UnknownOwner(u32),
    Closed,
    /// The key names a live order.
    DuplicateKey(OrderKey),
    /// Zero, above the instrument's maximum, or not a multiple of its lot.
    InvalidQuantity(u32),
    /// Zero, above [`PRICE_MAX`], or not a multiple of the instrument's tick.
    InvalidPrice(u64),
    /// On a hidden order, above the quantity, or not a multiple of the lot.
    InvalidMaxFloor(u32),
    /// Above the quantity, or on an order that is not immediate.
    InvalidMinQuantity(u32),
    /// Its auction is over, or it asks for what an auction order cannot have.
    InvalidCross,
    /// More than [`TIME_TO_LIVE_MAX`] seconds ahead.
    InvalidExpiry(u32),
    /// The owner has this many live orders, as many as it may.
    ShareOfOrders(u32),
    /// The owner has this many live orders, which could be at as many price levels, and this one would need another level.
    ShareOfLevels(u32),
    /// Every order slot is in use.
    OrdersExhausted,
    /// Every price level, or every node of the price index, is in use.
    LevelsExhausted,
}

impl core::fmt::Display for Reject {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Reject::UnknownInstrument(instrument) => write!(f, "instrument {instrument} does not exist"),
            Reject::UnknownOwner(owner) => {
                write!(f, "owner {owner} is beyond the limit given at construction")
            }
            Reject::Closed => write!(f, "the instrument is closed"),
            Reject::DuplicateKey(key) => {
                write!(f, "owner {} already has a live order {}", key.party.owner(), key.user_ref)
            }
            Reject::InvalidQuantity(quantity) => {
                write!(f, "quantity {quantity} is not valid for the instrument")
            }
            Reject::InvalidPrice(price) => write!(f, "price {price} is not valid for the instrument"),
            Reject::InvalidMaxFloor(floor) => write!(f, "displayed part {floor} is not valid for the order"),
            Reject::InvalidMinQuantity(quantity) => {
                write!(f, "minimum {quantity} is not valid for the order")
            }
            Reject::InvalidCross => write!(f, "the order cannot take part in that auction"),
            Reject::InvalidExpiry(second) => write!(f, "expiry at second {second} is too far ahead"),
            Reject::ShareOfOrders(share) => {
                write!(f, "its owner has {share} live orders, which is its share")
            }
            Reject::ShareOfLevels(share) => {
                write!(f, "its owner has {share} live orders and may only join price levels that exist")
            }
            Reject::OrdersExhausted => write!(f, "all order slots are in use"),
            Reject::LevelsExhausted => write!(f, "all price levels are in use"),
        }
    }
}

impl core::error::Error for Reject {}

/// Why shares left an order without trading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CancelReason {
    /// Its owner asked.
    User,
    /// The rest of an immediate or market order.
    Immediate,
    /// An immediate order whose minimum could not be met.
    MinQuantity,
    /// A post-only order that would have traded with a displayed order.
    PostOnlyDisplayed,
    /// A post-only order that would have traded with a hidden order.
    PostOnlyHidden,
    /// Its time to live is over.
    Timeout,
    /// The instrument does not trade continuously and the order may not wait.
    NotTrading,
    /// Left over by the auction it was for.
    CrossRemainder,
    /// Its replacement was invalid.
    InvalidReplace,
    /// Its owner disconnected.
    Disconnected,
    /// The venue took it away.
    Supervisory,
    /// The instrument closed.
    Closed,
    /// The instrument was halted.
    Halted,
    /// No slot was left to let it rest.
    System,
}

/// Trading state of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TradingState {
    /// Collects without matching, before the opening auction.
    PreOpen = 0,
    /// Matches continuously.
    Open = 1,
    /// Collects without matching. Whether orders may still come is the caller's to decide.
    Halted = 2,
    /// Collects without matching, before an auction during the day.
    Auction = 3,
    /// Takes no orders; cancels still work.
    Closed = 4,
}

impl TradingState {
    pub(crate) const ALL: [Self; 5] = [Self::PreOpen, Self::Open, Self::Halted, Self::Auction, Self::Closed];
}

/// Which auction an uncross is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum CrossKind {
    /// On-open orders take part; those left are cancelled.
    Opening = 0,
    /// On-close orders take part; those left are cancelled.
    Closing = 1,
    /// After a halt, or within the day: only what rests in the book.
    Resumption = 2,
}

/// What an instrument accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstrumentSpec {
    /// Prices are multiples of this (4 decimals).
    pub tick: u32,
    /// Quantities are multiples of this.
    pub lot: u32,
    /// Largest quantity of one order, and total of one replace chain.
    pub quantity_max: u32,
    pub state: TradingState,
}

impl Default for InstrumentSpec {
    fn default() -> Self {
        Self { tick: 100, lot: 1, quantity_max: 999_999, state: TradingState::Open }
    }
}

/// How much a market can hold. Everything is allocated, and touched, at construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub instruments: u32,
    pub owners: u32,
    /// Live orders.
    pub orders: u32,
    /// Price levels in use at once, all instruments together.
    pub levels: u32,
    /// Nodes of the price index: one covers 64 neighbouring ticks, one more 64 of those. A level far from
    /// all others can take up to nine.
    pub nodes: u32,
    /// Secret of the order lookup, so that nobody can choose references that collide. Does not influence any output.
    pub hash_seed: u64,
}

impl Limits {
    /// Room for `orders` live orders of `owners` sessions in `instruments`.
    pub const fn new(instruments: u32, owners: u32, orders: u32) -> Self {
        let levels = orders / 2 + 4 * instruments + 16;
        Self {
            instruments,
            owners,
            orders,
            levels,
            nodes: levels / 4 + 4 * instruments + 64,
            hash_seed: 0x9E37_79B9_7F4A_7C15,
        }
    }
}

/// What one owner may use of what [`Limits`] gives to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Live orders.
    pub orders: u32,
    /// Price levels. An order is at one level, so an owner with this many live orders may join levels but not make any.
    pub levels: u32,
}

/// Which of an owner's orders a mass cancel takes. `None` takes all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MassCancel {
    pub firm: Option<u32>,
    pub instrument: Option<u32>,
    pub side: Option<Side>,
    pub group_id: Option<u16>,
    pub channel: Option<u8>,
}
