//! Book events turned into messages: OUCH to the sessions concerned, ITCH to the feed, and the counting against risk
//! limits that goes with each. Decides nothing: what happens to an order is the book's, what may enter is `entry`'s.

use super::feed;
use super::instrument::Instrument;
use super::outputs::{Outputs, Trade};
use super::trader::{Firm, Trader};
use book::{
    CancelReason, Cancellation, Cross, CrossExecution, CrossKind, Execution, MARKET_PRICE, Modification,
    OrderView, Party, Replacement, SelfMatchPrevention, SelfMatchStrategy, Side, Sink,
};
use wire::ouch::outbound::{
    AiqCanceled, OrderAccepted, OrderCanceled, OrderExecuted, OrderModified, OrderReplaced, OrderRestated,
};
use wire::ouch::{
    AiqStrategy, Appendage, AppendageBuilder, MAX_MESSAGE_LENGTH, TagSet, cancel_reason, liquidity,
    order_state, restate_reason, side, tag,
};

/// What a request said that its acknowledgement repeats and the book does not keep.
#[derive(Clone, Copy)]
pub struct Echo<'a> {
    pub time_in_force: u8,
    pub cl_ord_id: [u8; 14],
    pub appendage: Appendage<'a>,
    /// A replacement shows its firm where the original did not, or the other way round.
    pub attribution_changed: bool,
}

impl Echo<'_> {
    /// For requests whose answers repeat nothing.
    pub const NONE: Echo<'static> = Echo {
        time_in_force: 0,
        cl_ord_id: [b' '; 14],
        appendage: Appendage::EMPTY,
        attribution_changed: false,
    };
}

/// The caller's 32 bits that the book keeps with each order.
#[derive(Clone, Copy)]
pub struct Attributes {
    pub capacity: u8,
    pub display: u8,
    pub inter_market_sweep: u8,
    pub cross_type: u8,
}

impl Attributes {
    #[inline]
    pub fn pack(self) -> u32 {
        u32::from_be_bytes([self.capacity, self.display, self.inter_market_sweep, self.cross_type])
    }

    #[inline]
    pub fn unpack(packed: u32) -> Self {
        let [capacity, display, inter_market_sweep, cross_type] = packed.to_be_bytes();
        Self { capacity, display, inter_market_sweep, cross_type }
    }
}

/// Everything of a shard but its book, for the time of one input.
pub struct Encoder<'a, O: Outputs> {
    pub out: &'a mut O,
    pub traders: &'a mut [Trader],
    pub firms: &'a mut [Firm],
    pub instruments: &'a [Instrument],
    pub next_feed: &'a mut u64,
    /// Nanoseconds since the venue's midnight.
    pub time_of_day: u64,
    pub echo: Echo<'a>,
}

impl<O: Outputs> Encoder<'_, O> {
    /// Appends one message to a session's downstream.
    #[inline]
    pub fn send(&mut self, session: u32, fill: impl FnOnce(&mut [u8]) -> usize) {
        self.traders[session as usize].next_downstream += 1;
        self.out.session(session, fill);
    }

    #[inline]
    pub fn publish(&mut self, fill: impl FnOnce(&mut [u8]) -> usize) {
        *self.next_feed += 1;
        self.out.feed(fill);
    }

    /// Shares at `price` left an order, which has `open` left.
    #[inline]
    fn release(&mut self, order: &OrderView, quantity: u32) {
        let trader = &mut self.traders[order.key.party.owner() as usize];
        let firm = &mut self.firms[usize::from(trader.firm)].exposure;
        if order.price != MARKET_PRICE {
            trader.exposure.reduce(order.price, quantity);
            firm.reduce(order.price, quantity);
        }
        if order.open == 0 {
            trader.exposure.remove();
            firm.remove();
        }
    }

    #[inline]
    fn count_open(&mut self, order: &OrderView) {
        let trader = &mut self.traders[order.key.party.owner() as usize];
        let price = if order.price == MARKET_PRICE { 0 } else { order.price };
        trader.exposure.add(price, order.open);
        self.firms[usize::from(trader.firm)].exposure.add(price, order.open);
    }

    fn executed_report(&mut self, order: &OrderView, report: OrderExecuted) {
        let owner = order.key.party.owner();
        let channel = ChannelAppendage::of(order.key.party);
        self.send(owner, |out| report.write(channel.bytes(), out));
        let firm = usize::from(self.traders[owner as usize].firm);
        for copy in 0..self.firms[firm].drop_copies.len() {
            let session = self.firms[firm].drop_copies[copy];
            let user = self.traders[owner as usize].user;
            // A drop copy names the session in front of the message it saw: six characters of user name.
            self.send(session, |out| match out.split_first_chunk_mut() {
                Some((name, rest)) => {
                    *name = user;
                    user.len() + report.write(channel.bytes(), rest)
                }
                None => 0,
            });
        }
    }

    /// What Accepted and Replaced say of an order that lives.
    #[inline]
    fn live_order(&self, order: &OrderView) -> OrderAccepted {
        let attributes = Attributes::unpack(order.attributes);
        OrderAccepted {
            timestamp: self.time_of_day,
            user_ref_num: order.key.user_ref,
            side: side_code(order.side),
            quantity: order.open,
            symbol: self.instrument(order).symbol,
            price: ouch_price(order.price),
            time_in_force: self.echo.time_in_force,
            display: attributes.display,
            order_reference_number: order.order_ref,
            capacity: attributes.capacity,
            inter_market_sweep_eligibility: attributes.inter_market_sweep,
            cross_type: attributes.cross_type,
            order_state: order_state::LIVE,
            cl_ord_id: self.echo.cl_ord_id,
        }
    }

    /// `quantity` shares left an order without a trade: `write` is the message about it to its owner, and is given the appendage.
    #[inline]
    fn taken_out(
        &mut self,
        order: &OrderView,
        quantity: u32,
        displayed_quantity: u32,
        write: impl FnOnce(&[u8], &mut [u8]) -> usize,
    ) {
        self.release(order, quantity);
        let channel = ChannelAppendage::of(order.key.party);
        self.send(order.key.party.owner(), |out| write(channel.bytes(), out));
        self.publish_reduced(order, displayed_quantity);
    }

    #[inline]
    fn instrument(&self, order: &OrderView) -> &Instrument {
        &self.instruments[order.instrument as usize]
    }

    fn publish_added(&mut self, order: &OrderView, order_ref: u64) {
        let (symbol, time) = (self.instrument(order).symbol, self.time_of_day);
        let firm = (Attributes::unpack(order.attributes).display == wire::ouch::display::ATTRIBUTABLE)
            .then(|| order.firm.to_be_bytes());
        self.publish(|out| feed::added(out, order, order_ref, symbol, firm, time));
    }

    /// Shown shares left the book without a trade.
    fn publish_reduced(&mut self, order: &OrderView, displayed_quantity: u32) {
        if displayed_quantity == 0 {
            return;
        }
        let time = self.time_of_day;
        let gone = order.displayed == 0;
        self.publish(|out| feed::reduced(out, order, displayed_quantity, gone, time));
    }
}

impl<O: Outputs> Sink for Encoder<'_, O> {
    #[inline]
    fn accepted(&mut self, order: &OrderView) {
        self.count_open(order);
        let message = self.live_order(order);
        let appendage = self.echo.appendage;
        self.send(order.key.party.owner(), |out| {
            echoing(appendage, OrderAccepted::ALLOWED_TAGS, |echoed| message.write(echoed, out))
        });
    }

    fn replaced(&mut self, replacement: &Replacement) {
        let order = &replacement.order;
        let original =
            OrderView { open: 0, price: replacement.original_price, key: replacement.original, ..*order };
        self.release(&original, replacement.original_open);
        self.count_open(order);
        let live = self.live_order(order);
        let message = OrderReplaced {
            timestamp: live.timestamp,
            orig_user_ref_num: replacement.original.user_ref,
            user_ref_num: live.user_ref_num,
            side: live.side,
            quantity: live.quantity,
            symbol: live.symbol,
            price: live.price,
            time_in_force: live.time_in_force,
            display: live.display,
            order_reference_number: live.order_reference_number,
            capacity: live.capacity,
            inter_market_sweep_eligibility: live.inter_market_sweep_eligibility,
            cross_type: live.cross_type,
            order_state: live.order_state,
            cl_ord_id: live.cl_ord_id,
        };
        let appendage = self.echo.appendage;
        self.send(order.key.party.owner(), |out| {
            echoing(appendage, OrderReplaced::ALLOWED_TAGS, |echoed| message.write(echoed, out))
        });
    }

    fn withdrawn(&mut self, order_ref: u64, instrument: u32) {
        let time = self.time_of_day;
        self.publish(|out| feed::deleted(out, order_ref, instrument, time));
    }

    #[inline]
    fn booked(&mut self, order: &OrderView, replaces: Option<u64>) {
        match (replaces, order.displayed) {
            (Some(original), 0) => self.withdrawn(original, order.instrument),
            (None, 0) => {}
            // ITCH: "U" keeps the attribution of the order it replaces.
            (Some(original), _) if self.echo.attribution_changed => {
                self.withdrawn(original, order.instrument);
                self.publish_added(order, order.order_ref);
            }
            (Some(original), _) => {
                let time = self.time_of_day;
                self.publish(|out| feed::replaced(out, order, original, time));
            }
            (None, _) => self.publish_added(order, order.order_ref),
        }
    }

    #[inline]
    fn executed(&mut self, execution: &Execution) {
        let Execution { maker, taker, quantity, price, match_number, maker_displayed } = execution;
        self.release(maker, *quantity);
        self.release(taker, *quantity);
        let added = if *maker_displayed { liquidity::ADDED } else { liquidity::NON_DISPLAYED_ADDED };
        for (order, flag) in [(taker, liquidity::REMOVED), (maker, added)] {
            let report = OrderExecuted {
                timestamp: self.time_of_day,
                user_ref_num: order.key.user_ref,
                quantity: *quantity,
                price: *price,
                liquidity_flag: flag,
                match_number: *match_number,
            };
            self.executed_report(order, report);
        }
        let (symbol, time) = (self.instrument(maker).symbol, self.time_of_day);
        self.publish(|out| feed::executed(out, execution, symbol, time));
        self.out.trade(Trade::Continuous { execution, maker_liquidity: added });
    }

    fn executed_in_cross(&mut self, execution: &CrossExecution) {
        let flag = match execution.kind {
            CrossKind::Opening => liquidity::OPENING_CROSS,
            CrossKind::Closing => liquidity::CLOSING_CROSS,
            CrossKind::Resumption => liquidity::HALT_CROSS,
        };
        let sides = [(&execution.buy, execution.buy_displayed), (&execution.sell, execution.sell_displayed)];
        for (order, displayed) in sides {
            self.release(order, execution.quantity);
            let report = OrderExecuted {
                timestamp: self.time_of_day,
                user_ref_num: order.key.user_ref,
                quantity: execution.quantity,
                price: execution.price,
                liquidity_flag: flag,
                match_number: execution.match_number,
            };
            self.executed_report(order, report);
            if displayed {
                let time = self.time_of_day;
                self.publish(|out| feed::executed_in_cross(out, order, execution, time));
            }
        }
        self.out.trade(Trade::InCross { execution, liquidity: flag });
    }

    fn crossed(&mut self, cross: &Cross) {
        let symbol = self.instruments[cross.instrument as usize].symbol;
        let time = self.time_of_day;
        self.publish(|out| feed::crossed(out, cross, symbol, time));
        self.out.trade(Trade::Cross(cross));
    }

    fn cancelled(&mut self, cancellation: &Cancellation) {
        let Cancellation { order, quantity, displayed_quantity, reason } = cancellation;
        let message = OrderCanceled {
            timestamp: self.time_of_day,
            user_ref_num: order.key.user_ref,
            quantity: *quantity,
            reason: reason_code(*reason),
        };
        self.taken_out(order, *quantity, *displayed_quantity, |appendage, out| message.write(appendage, out));
    }

    fn self_match_prevented(&mut self, prevention: &SelfMatchPrevention) {
        let SelfMatchPrevention { order, quantity, displayed_quantity, .. } = prevention;
        let message = AiqCanceled {
            timestamp: self.time_of_day,
            user_ref_num: order.key.user_ref,
            decrement_shares: *quantity,
            reason: cancel_reason::SELF_MATCH_PREVENTION,
            quantity_prevented_from_trading: prevention.prevented,
            execution_price: prevention.price,
            liquidity_flag: if prevention.resting { liquidity::ADDED } else { liquidity::REMOVED },
            aiq_strategy: strategy_code(prevention.strategy).code(),
        };
        self.taken_out(order, *quantity, *displayed_quantity, |appendage, out| message.write(appendage, out));
    }

    fn refreshed(&mut self, order: &OrderView, _old_ref: u64) {
        let message = OrderRestated {
            timestamp: self.time_of_day,
            user_ref_num: order.key.user_ref,
            reason: restate_reason::DISPLAY_REFRESH,
        };
        let party = order.key.party;
        self.send(party.owner(), |out| {
            let mut appendage = AppendageBuilder::new();
            appendage
                .u64(tag::SECONDARY_ORD_REF_NUM, order.order_ref)
                .u32(tag::DISPLAY_QUANTITY, order.displayed);
            if party.channel() != 0 {
                appendage.u8(tag::USER_REF_IDX, party.channel());
            }
            message.write(appendage.as_bytes(), out)
        });
        self.publish_added(order, order.order_ref);
    }

    fn modified(&mut self, modification: &Modification) {
        let order = &modification.order;
        self.release(order, modification.quantity);
        let message = OrderModified {
            timestamp: self.time_of_day,
            user_ref_num: order.key.user_ref,
            side: side_code(order.side),
            quantity: order.open,
        };
        let appendage = self.echo.appendage;
        self.send(order.key.party.owner(), |out| {
            echoing(appendage, OrderModified::ALLOWED_TAGS, |echoed| message.write(echoed, out))
        });
        self.publish_reduced(order, modification.displayed_quantity);
    }
}

/// Gives `write` those elements of a request's appendage that its answer repeats. Most have none, and need no room for them.
#[inline]
fn echoing(appendage: Appendage<'_>, tags: TagSet, write: impl FnOnce(&[u8]) -> usize) -> usize {
    if appendage.is_empty() {
        return write(&[]);
    }
    write(AppendageBuilder::new().echo(appendage, tags).as_bytes())
}

// A drop copy is the longest thing sent: a name and an Executed.
const _: () = assert!(6 + OrderExecuted::LENGTH + 3 <= MAX_MESSAGE_LENGTH);

/// The appendage of messages that have one only for orders of a channel other than 0.
#[derive(Clone, Copy)]
pub struct ChannelAppendage([u8; 3]);

impl ChannelAppendage {
    #[inline]
    pub fn of(party: Party) -> Self {
        Self::for_channel(party.channel())
    }

    #[inline]
    pub fn for_channel(channel: u8) -> Self {
        Self([2, tag::USER_REF_IDX, channel])
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        if self.0[2] == 0 { &[] } else { &self.0 }
    }
}

#[inline]
pub fn ouch_price(price: u64) -> u64 {
    if price == MARKET_PRICE { wire::ouch::MARKET_PRICE } else { price }
}

#[inline]
pub fn side_code(from: Side) -> u8 {
    match from {
        Side::Buy => side::BUY,
        Side::Sell => side::SELL,
        Side::SellShort => side::SELL_SHORT,
        Side::SellShortExempt => side::SELL_SHORT_EXEMPT,
    }
}

/// OUCH appendix B.
fn reason_code(reason: CancelReason) -> u8 {
    match reason {
        CancelReason::User | CancelReason::InvalidReplace => cancel_reason::USER,
        CancelReason::Immediate
        | CancelReason::MinQuantity
        | CancelReason::NotTrading
        | CancelReason::CrossRemainder => cancel_reason::IMMEDIATE_OR_CANCEL,
        CancelReason::PostOnlyDisplayed => cancel_reason::POST_ONLY_CONTRA,
        CancelReason::PostOnlyHidden => cancel_reason::POST_ONLY_SLIDE,
        CancelReason::Timeout => cancel_reason::TIMEOUT,
        CancelReason::Disconnected | CancelReason::Supervisory => cancel_reason::SUPERVISORY,
        CancelReason::Closed => cancel_reason::CLOSED,
        CancelReason::Halted => cancel_reason::HALTED,
        CancelReason::System => cancel_reason::SYSTEM,
    }
}

/// Letters of tag 29, as `entry` reads them.
fn strategy_code(strategy: SelfMatchStrategy) -> AiqStrategy {
    match strategy {
        SelfMatchStrategy::CancelNewest => AiqStrategy::CANCEL_NEWEST,
        SelfMatchStrategy::CancelOldest => AiqStrategy::CANCEL_OLDEST,
        SelfMatchStrategy::CancelBoth => AiqStrategy::CANCEL_BOTH,
        SelfMatchStrategy::Decrement => AiqStrategy::DECREMENT,
    }
}
