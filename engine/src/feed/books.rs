//! The visible books as anybody can rebuild them from ITCH messages: orders, and levels on demand. Not the matching book:
//! this knows only what the feed shows.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use wire::itch::{
    AddOrder, AddOrderMpid, MarketParticipantPosition, Message, OrderExecuted, StockDirectory,
    StockTradingAction, SystemEvent,
};

/// Order references are the engine's own ascending numbers, so that one multiplication spreads them.
#[derive(Default)]
pub struct OrderRefHasher(u64);

impl Hasher for OrderRefHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A displayed order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleOrder {
    pub order_ref: u64,
    pub stock_locate: u16,
    pub side: u8,
    pub shares: u32,
    pub price: u32,
    pub attribution: Option<[u8; 4]>,
    /// When it was added, or replaced what was there: nanoseconds since midnight.
    pub timestamp: u64,
    /// Place in the order of arrival over all instruments.
    arrival: u64,
}

/// An instrument as the feed introduced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleInstrument {
    pub directory: StockDirectory,
    pub action: Option<StockTradingAction>,
}

/// All orders at one price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VisibleLevel {
    pub price: u32,
    pub shares: u64,
    pub orders: u32,
}

/// One side of a book, best price first.
pub type Ladder = Vec<VisibleLevel>;

/// A message that does not fit what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    #[error("not an ITCH 5.0 message: {0}")]
    Decode(wire::DecodeError),
    #[error("order {0} is not known")]
    UnknownOrder(u64),
    #[error("order {0} is added for the second time")]
    SecondOrder(u64),
    #[error("order {order_ref} has {shares} shares, {taken} are taken from it")]
    Overdrawn { order_ref: u64, shares: u32, taken: u32 },
}

/// Market participant state of a registration that has ended.
const DELETED: u8 = b'D';

#[derive(Debug, Clone, Default)]
pub struct Books {
    orders: HashMap<u64, VisibleOrder, BuildHasherDefault<OrderRefHasher>>,
    instruments: BTreeMap<u16, VisibleInstrument>,
    /// Registered market makers by instrument and firm.
    positions: BTreeMap<(u16, [u8; 4]), MarketParticipantPosition>,
    event: Option<SystemEvent>,
    arrivals: u64,
}

impl std::fmt::Debug for OrderRefHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OrderRefHasher")
    }
}

impl Books {
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies the next message of the feed.
    ///
    /// # Errors
    /// The message cannot follow what came before: some of the feed is missing. The books are then not to be trusted.
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), BookError> {
        match Message::decode(bytes).map_err(BookError::Decode)? {
            Message::SystemEvent(event) => self.event = Some(event.to_owned()),
            Message::StockDirectory(directory) => {
                let directory = directory.to_owned();
                let action = self.instruments.get(&directory.stock_locate).and_then(|known| known.action);
                self.instruments.insert(directory.stock_locate, VisibleInstrument { directory, action });
            }
            Message::StockTradingAction(action) => {
                let action = action.to_owned();
                if let Some(instrument) = self.instruments.get_mut(&action.stock_locate) {
                    instrument.action = Some(action);
                }
            }
            Message::MarketParticipantPosition(position) => {
                let position = position.to_owned();
                let place = (position.stock_locate, position.mpid);
                if position.state == DELETED {
                    self.positions.remove(&place);
                } else {
                    self.positions.insert(place, position);
                }
            }
            Message::AddOrder(add) => {
                let AddOrder { stock_locate, timestamp, order_ref, side, shares, price, .. } = add.to_owned();
                self.add(order_ref, stock_locate, side, shares, price, None, timestamp)?;
            }
            Message::AddOrderMpid(add) => {
                let AddOrderMpid {
                    stock_locate, timestamp, order_ref, side, shares, price, attribution, ..
                } = add.to_owned();
                self.add(order_ref, stock_locate, side, shares, price, Some(attribution), timestamp)?;
            }
            Message::OrderExecuted(executed) => {
                let OrderExecuted { order_ref, executed_shares, .. } = executed.to_owned();
                self.take(order_ref, executed_shares)?;
            }
            Message::OrderExecutedWithPrice(executed) => {
                self.take(executed.order_ref(), executed.executed_shares())?;
            }
            Message::OrderCancel(cancel) => self.take(cancel.order_ref(), cancel.cancelled_shares())?,
            Message::OrderDelete(delete) => {
                let order_ref = delete.order_ref();
                self.orders.remove(&order_ref).ok_or(BookError::UnknownOrder(order_ref))?;
            }
            Message::OrderReplace(replace) => {
                let original = replace.original_order_ref();
                let order = self.orders.remove(&original).ok_or(BookError::UnknownOrder(original))?;
                self.add(
                    replace.new_order_ref(),
                    order.stock_locate,
                    order.side,
                    replace.shares(),
                    replace.price(),
                    order.attribution,
                    replace.timestamp(),
                )?;
            }
            // Trades of hidden orders, crosses, imbalances and what other venues send change no visible book.
            _ => {}
        }
        Ok(())
    }

    fn add(
        &mut self,
        order_ref: u64,
        stock_locate: u16,
        side: u8,
        shares: u32,
        price: u32,
        attribution: Option<[u8; 4]>,
        timestamp: u64,
    ) -> Result<(), BookError> {
        self.arrivals += 1;
        let arrival = self.arrivals;
        let order =
            VisibleOrder { order_ref, stock_locate, side, shares, price, attribution, timestamp, arrival };
        match self.orders.insert(order_ref, order) {
            None => Ok(()),
            Some(_) => Err(BookError::SecondOrder(order_ref)),
        }
    }

    fn take(&mut self, order_ref: u64, taken: u32) -> Result<(), BookError> {
        let order = self.orders.get_mut(&order_ref).ok_or(BookError::UnknownOrder(order_ref))?;
        if taken > order.shares {
            return Err(BookError::Overdrawn { order_ref, shares: order.shares, taken });
        }
        order.shares -= taken;
        if order.shares == 0 {
            self.orders.remove(&order_ref);
        }
        Ok(())
    }

    /// Displayed orders over all instruments.
    pub fn len(&self) -> usize {
        self.orders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Instruments by their locate.
    pub fn instruments(&self) -> impl Iterator<Item = (u16, &VisibleInstrument)> {
        self.instruments.iter().map(|(&locate, instrument)| (locate, instrument))
    }

    /// Last system event.
    pub fn event(&self) -> Option<&SystemEvent> {
        self.event.as_ref()
    }

    /// Every order: by instrument, then by arrival, so that adding them in this order gives the same queues.
    pub fn orders(&self) -> Vec<VisibleOrder> {
        let mut orders: Vec<_> = self.orders.values().copied().collect();
        orders.sort_unstable_by_key(|order| (order.stock_locate, order.arrival));
        orders
    }

    /// Both sides of every book that has orders, (bids, offers), best first.
    pub fn ladders(&self) -> BTreeMap<u16, (Ladder, Ladder)> {
        let mut levels: BTreeMap<(u16, bool, u32), VisibleLevel> = BTreeMap::new();
        for order in self.orders.values() {
            let level = levels.entry((order.stock_locate, order.side == b'B', order.price)).or_default();
            level.price = order.price;
            level.shares += u64::from(order.shares);
            level.orders += 1;
        }
        let mut ladders: BTreeMap<u16, (Ladder, Ladder)> = BTreeMap::new();
        for ((locate, is_bid, _), level) in levels {
            let (bids, offers) = ladders.entry(locate).or_default();
            if is_bid { bids.push(level) } else { offers.push(level) }
        }
        for (bids, _) in ladders.values_mut() {
            bids.reverse();
        }
        ladders
    }

    /// Calls `emit` with the ITCH messages that rebuild these books from nothing: the body of a snapshot.
    pub fn snapshot(&self, mut emit: impl FnMut(&[u8])) {
        let mut out = [0; wire::itch::MAX_MESSAGE_LENGTH];
        if let Some(event) = &self.event {
            let length = event.write(&mut out);
            emit(&out[..length]);
        }
        for (&locate, instrument) in &self.instruments {
            let length = instrument.directory.write(&mut out);
            emit(&out[..length]);
            if let Some(action) = &instrument.action {
                let length = action.write(&mut out);
                emit(&out[..length]);
            }
            for (_, position) in self.positions.range((locate, [0; 4])..=(locate, [0xff; 4])) {
                let length = position.write(&mut out);
                emit(&out[..length]);
            }
        }
        for order in self.orders() {
            let length = order.write(self.stock(order.stock_locate), &mut out);
            emit(&out[..length]);
        }
    }

    fn stock(&self, locate: u16) -> [u8; 8] {
        self.instruments.get(&locate).map_or([b' '; 8], |instrument| instrument.directory.stock)
    }
}

impl VisibleOrder {
    /// As an Add Order of what is left of it.
    fn write(&self, stock: [u8; 8], out: &mut [u8]) -> usize {
        let VisibleOrder { order_ref, stock_locate, side, shares, price, timestamp, .. } = *self;
        let tracking_number = 0;
        match self.attribution {
            None => {
                AddOrder { stock_locate, tracking_number, timestamp, order_ref, side, shares, stock, price }
                    .write(out)
            }
            Some(attribution) => AddOrderMpid {
                stock_locate,
                tracking_number,
                timestamp,
                order_ref,
                side,
                shares,
                stock,
                price,
                attribution,
            }
            .write(out),
        }
    }

    /// Whether it is the same to anyone who reads the feed; arrival numbers are each reader's own.
    pub fn is_same(&self, other: &VisibleOrder) -> bool {
        VisibleOrder { arrival: 0, timestamp: 0, ..*self }
            == VisibleOrder { arrival: 0, timestamp: 0, ..*other }
    }
}

/// Differences between two readings of the same books, in words; empty when they agree.
pub fn differences(ours: &Books, theirs: &Books) -> Vec<String> {
    /// More would not tell more.
    const MAX_DIFFERENCES: usize = 20;
    let mut found = Vec::new();
    if ours.event != theirs.event {
        found.push(format!("here {:?}, there {:?}", ours.event, theirs.event));
    }
    found.extend(entry_differences(&ours.instruments, &theirs.instruments).take(MAX_DIFFERENCES));
    found.extend(entry_differences(&ours.positions, &theirs.positions).take(MAX_DIFFERENCES));
    let (ours, theirs) = (ours.orders(), theirs.orders());
    if ours.len() != theirs.len() {
        found.push(format!("{} orders here, {} there", ours.len(), theirs.len()));
    }
    for (one, other) in ours.iter().zip(&theirs) {
        if !one.is_same(other) && found.len() < MAX_DIFFERENCES {
            found.push(format!("here {one:?}, there {other:?}"));
        }
    }
    found
}

/// Entries that only one of two tables has, or that are not the same.
fn entry_differences<'a, K: Ord, V: PartialEq + std::fmt::Debug>(
    ours: &'a BTreeMap<K, V>,
    theirs: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = String> + 'a {
    let changed = ours.iter().map(|(key, one)| (Some(one), theirs.get(key)));
    let added =
        theirs.iter().filter(|(key, _)| !ours.contains_key(key)).map(|(_, other)| (None, Some(other)));
    changed
        .chain(added)
        .filter(|(one, other)| one != other)
        .map(|(one, other)| format!("here {one:?}, there {other:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::itch::{OrderCancel, OrderDelete, OrderReplace};

    fn add(books: &mut Books, order_ref: u64, side: u8, shares: u32, price: u32) {
        let mut out = [0; 64];
        let message = AddOrder {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: order_ref,
            order_ref,
            side,
            shares,
            stock: *b"AAPL    ",
            price,
        };
        let length = message.write(&mut out);
        books.apply(&out[..length]).expect("applies");
    }

    fn position(books: &mut Books, mpid: [u8; 4], state: u8) {
        let mut out = [0; 64];
        let message = MarketParticipantPosition {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: 9,
            mpid,
            stock: *b"AAPL    ",
            primary_market_maker: b'N',
            market_maker_mode: b'N',
            state,
        };
        let length = message.write(&mut out);
        books.apply(&out[..length]).expect("applies");
    }

    fn directory() -> StockDirectory {
        StockDirectory {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: 1,
            stock: *b"AAPL    ",
            market_category: b' ',
            financial_status: b' ',
            round_lot_size: 1,
            round_lots_only: b'Y',
            issue_classification: b'C',
            issue_sub_type: *b"Z ",
            authenticity: b'P',
            short_sale_threshold: b' ',
            ipo_flag: b' ',
            luld_tier: b' ',
            etp_flag: b' ',
            etp_leverage_factor: 0,
            inverse_indicator: b'N',
        }
    }

    #[test]
    fn levels_follow_adds_cancels_executions_and_replacements() {
        let mut books = Books::new();
        add(&mut books, 1, b'B', 100, 10_000);
        add(&mut books, 2, b'B', 50, 10_000);
        add(&mut books, 3, b'B', 70, 10_100);
        add(&mut books, 4, b'S', 30, 10_200);
        let mut out = [0; 64];
        let header = (1, 0, 9);
        let cancel = OrderCancel {
            stock_locate: header.0,
            tracking_number: header.1,
            timestamp: header.2,
            order_ref: 1,
            cancelled_shares: 40,
        };
        let length = cancel.write(&mut out);
        books.apply(&out[..length]).expect("cancel");
        let executed = OrderExecuted {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: 9,
            order_ref: 3,
            executed_shares: 70,
            match_number: 1,
        };
        let length = executed.write(&mut out);
        books.apply(&out[..length]).expect("executed");
        let replace = OrderReplace {
            stock_locate: 1,
            tracking_number: 0,
            timestamp: 9,
            original_order_ref: 1,
            new_order_ref: 5,
            shares: 60,
            price: 10_000,
        };
        let length = replace.write(&mut out);
        books.apply(&out[..length]).expect("replace");
        let ladders = books.ladders();
        let (bids, offers) = &ladders[&1];
        assert_eq!(bids, &[VisibleLevel { price: 10_000, shares: 110, orders: 2 }]);
        assert_eq!(offers, &[VisibleLevel { price: 10_200, shares: 30, orders: 1 }]);
        // The replacement went to the back of its queue.
        let refs: Vec<_> = books.orders().iter().map(|order| order.order_ref).collect();
        assert_eq!(refs, [2, 4, 5]);
    }

    #[test]
    fn a_snapshot_rebuilds_the_same_books() {
        let mut books = Books::new();
        let mut out = [0; 64];
        let length = directory().write(&mut out);
        books.apply(&out[..length]).expect("directory");
        for number in 1..200 {
            add(&mut books, number * 7 % 199 + 1, b"BS"[number as usize % 2], 10 + number as u32, 10_000);
        }
        for (mpid, state) in [(*b"DEMO", b'A'), (*b"FRMB", b'S'), (*b"GONE", b'A'), (*b"GONE", b'D')] {
            position(&mut books, mpid, state);
        }
        let mut again = Books::new();
        let mut kinds = Vec::new();
        books.snapshot(|message| {
            kinds.push(message[0]);
            again.apply(message).expect("applies");
        });
        assert_eq!(kinds[..4], *b"RLLA", "market makers follow their instrument");
        assert_eq!(differences(&books, &again), [""; 0]);
        let mut other = again.clone();
        add(&mut other, 1000, b'B', 1, 1);
        assert!(!differences(&books, &other).is_empty());
        position(&mut again, *b"DEMO", b'S');
        assert_eq!(differences(&books, &again).len(), 1);
    }

    #[test]
    fn what_cannot_follow_is_an_error() {
        let mut books = Books::new();
        let mut out = [0; 64];
        let delete = OrderDelete { stock_locate: 1, tracking_number: 0, timestamp: 0, order_ref: 7 };
        let length = delete.write(&mut out);
        assert_eq!(books.apply(&out[..length]), Err(BookError::UnknownOrder(7)));
        assert!(matches!(books.apply(b"?"), Err(BookError::Decode(_))));
    }
}
