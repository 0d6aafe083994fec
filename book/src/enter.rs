//! Orders coming in: what is checked, what is reported, where they go. The trading itself is in `matching`.
//!
//! Nearly all orders are plain: a limit, shown, good for the day or immediate, no conditions. For them everything here exists
//! a second time, compiled without the conditions: `PLAIN` says which it is. Together with an order's values not being copied
//! about it saves 170 of 480 instructions a message (`book-bench --count calm`).

use crate::ladder::{INSERT_NODES, NIL};
use crate::lookup::Vacancy;
use crate::market::{ANY_KEY, MARKET_KEY, Market, book_ladder, limit_key, own_key};
use crate::order::{Extra, Flags, MARKET, Order, price_out};
use crate::sink::{Cancellation, OrderView, Replacement, Sink};
use crate::types::{
    CancelReason, CrossType, MARKET_PRICE, NewOrder, OrderKey, PRICE_MAX, Reject, ReplaceOrder,
    ReplaceOutcome, SelfMatch, TimeInForce, TradingState,
};

/// What the checks find out about an order.
struct Terms {
    price: u32,
    /// Where it rests, if it does.
    key: u32,
    /// How far it may trade.
    limit: u32,
    flags: Flags,
    extra: Extra,
    immediate: bool,
    /// The instrument trades continuously.
    trading: bool,
}

/// Nothing about the order needs more than a price and a size.
#[inline(always)]
fn is_plain(new: &NewOrder) -> bool {
    !matches!(new.time_in_force, TimeInForce::GoodTill(_))
        && new.cross == CrossType::Continuous
        && !(new.hidden | new.post_only)
        && (new.max_floor | new.min_quantity | u32::from(new.group_id)) == 0
        && new.price != MARKET_PRICE
}

impl Market {
    /// Takes an order and does with it what it says. Returns its reference. An error means that nothing happened.
    #[inline(always)]
    pub fn enter<S: Sink>(&mut self, new: &NewOrder, sink: &mut S) -> Result<u64, Reject> {
        if is_plain(new) { self.enter_as::<true, S>(new, sink) } else { self.enter_conditional(new, sink) }
    }

    #[inline(never)]
    fn enter_conditional<S: Sink>(&mut self, new: &NewOrder, sink: &mut S) -> Result<u64, Reject> {
        self.enter_as::<false, S>(new, sink)
    }

    #[inline(always)]
    fn enter_as<const PLAIN: bool, S: Sink>(&mut self, new: &NewOrder, sink: &mut S) -> Result<u64, Reject> {
        let terms = self.check::<PLAIN>(new)?;
        let vacancy = self.lookup.vacancy(new.key)?;
        self.check_place(new, &terms, None)?;
        let order = incoming(new, self.next_order_ref());
        sink.accepted(&order);
        self.work::<PLAIN, S>(new, &terms, order, vacancy, None, sink);
        Ok(order.order_ref)
    }

    /// Cancels a live order and enters another in its place, which queues anew. See [`ReplaceOutcome`].
    #[inline(always)]
    pub fn replace<S: Sink>(&mut self, request: &ReplaceOrder, sink: &mut S) -> ReplaceOutcome {
        if matches!(request.time_in_force, TimeInForce::GoodTill(_))
            || request.hidden | request.post_only
            || (request.max_floor | request.min_quantity) != 0
            || request.price == MARKET_PRICE
        {
            return self.replace_conditional(request, sink);
        }
        let Some(handle) = self.lookup.find(request.original) else { return ReplaceOutcome::Ignored };
        // What stays the original's makes the new order one that is not plain.
        if self.orders.get(handle).flags.has(Flags::EXTRA | Flags::ON_OPEN | Flags::ON_CLOSE) {
            return self.replace_conditional(request, sink);
        }
        self.replace_as::<true, S>(handle, request, CrossType::Continuous, 0, sink)
    }

    #[cold]
    fn replace_conditional<S: Sink>(&mut self, request: &ReplaceOrder, sink: &mut S) -> ReplaceOutcome {
        let Some(handle) = self.lookup.find(request.original) else { return ReplaceOutcome::Ignored };
        let (cross, group_id) = (self.orders.get(handle).cross(), self.orders.extra(handle).group_id);
        self.replace_as::<false, S>(handle, request, cross, group_id, sink)
    }

    #[inline(always)]
    fn replace_as<const PLAIN: bool, S: Sink>(
        &mut self,
        handle: u32,
        request: &ReplaceOrder,
        cross: CrossType,
        group_id: u16,
        sink: &mut S,
    ) -> ReplaceOutcome {
        let key = OrderKey { party: request.original.party, user_ref: request.user_ref };
        let Ok(vacancy) = self.lookup.vacancy(key) else { return ReplaceOutcome::Ignored };
        let original = self.orders.get(handle);
        let new = &NewOrder {
            key,
            instrument: original.instrument,
            side: original.flags.side(),
            quantity: request.quantity,
            price: request.price,
            time_in_force: request.time_in_force,
            cross,
            hidden: request.hidden,
            post_only: request.post_only,
            max_floor: request.max_floor,
            min_quantity: request.min_quantity,
            self_match: request.self_match.unwrap_or(SelfMatch {
                group: original.self_match_group,
                strategy: original.flags.strategy(),
            }),
            group_id,
            firm: original.firm,
            attributes: request.attributes,
        };
        let terms = match self.check::<PLAIN>(new) {
            Err(reject @ Reject::Closed) => return ReplaceOutcome::Refused(reject),
            Err(reject) => {
                self.end(handle, CancelReason::InvalidReplace, sink);
                return ReplaceOutcome::OriginalCancelled(Some(reject));
            }
            Ok(terms) => terms,
        };
        let &Order { order_ref, open, displayed, executed, price, .. } = self.orders.get(handle);
        if new.quantity <= executed {
            self.end(handle, CancelReason::User, sink);
            return ReplaceOutcome::OriginalCancelled(None);
        }
        if let Err(reject) = self.check_place(new, &terms, Some(handle)) {
            return ReplaceOutcome::Refused(reject);
        }
        self.take_out(handle);
        let mut order = incoming(new, self.next_order_ref());
        (order.open, order.executed) = (new.quantity - executed, executed);
        sink.replaced(&Replacement {
            order,
            original: request.original,
            original_ref: order_ref,
            original_open: open,
            original_price: price_out(price),
        });
        let replaces = (displayed > 0).then_some(order_ref);
        self.work::<PLAIN, S>(new, &terms, order, vacancy, replaces, sink);
        ReplaceOutcome::Replaced
    }

    /// Price times quantity of what the order would trade on entry, by the rule and in the order of the match itself; 0 for one
    /// that cannot be entered, or not be traded at once.
    pub fn would_pay(&self, new: &NewOrder) -> u64 {
        let Ok(terms) = self.check::<false>(new) else { return 0 };
        if new.cross != CrossType::Continuous || !terms.trading {
            return 0;
        }
        let opposite = book_ladder(new.instrument, new.side) ^ 1;
        self.outlook(&incoming(new, 0), new.self_match, opposite, terms.limit, u32::MAX).value
    }

    /// Whether there is a place for the order to rest in, of the market's and of its owner's share; asked before anything
    /// happens, so that an order that has traded can always rest. `original`: the order whose place it takes. What the
    /// closer look is given are values: by reference the request would have to lie in memory.
    #[inline(always)]
    fn check_place(&mut self, new: &NewOrder, terms: &Terms, original: Option<u32>) -> Result<(), Reject> {
        let owner = new.key.party.owner();
        let scarce = (original.is_none() && self.orders.is_full())
            || !self.has_room()
            || self.shares.is_some_and(|it| self.lookup.live(owner) >= it.orders.min(it.levels));
        if !scarce {
            return Ok(());
        }
        let never_rests = terms.immediate && new.cross == CrossType::Continuous;
        let ladder = self.ladder_for(new.instrument, new.side, new.cross);
        self.check_scarce(owner, ladder, terms.key, never_rests, original)
    }

    #[cold]
    fn check_scarce(
        &mut self,
        owner: u32,
        ladder: usize,
        key: u32,
        never_rests: bool,
        original: Option<u32>,
    ) -> Result<(), Reject> {
        if self.shares.is_some() && never_rests {
            return Ok(());
        }
        if original.is_none() && self.orders.is_full() {
            return Err(Reject::OrdersExhausted);
        }
        if !self.has_room() {
            return Err(Reject::LevelsExhausted);
        }
        let Some(shares) = self.shares else { return Ok(()) };
        // An order that is replaced is not one of the others, and leaves its level to the new one if it is alone there.
        let others = self.lookup.live(owner) - u32::from(original.is_some());
        if original.is_none() && others >= shares.orders {
            return Err(Reject::ShareOfOrders(shares.orders));
        }
        let frees = original.is_some_and(|it| self.levels.get(self.orders.get(it).level).orders == 1);
        if others >= shares.levels && !frees && self.needs_level(ladder, key) {
            return Err(Reject::ShareOfLevels(shares.levels));
        }
        Ok(())
    }

    /// No order rests at this price yet.
    fn needs_level(&mut self, ladder: usize, key: u32) -> bool {
        let (own, nodes) = self.ladder_mut(ladder);
        own.seat(nodes, key).level == NIL
    }

    /// Room for one more level wherever its price may be.
    #[inline]
    fn has_room(&self) -> bool {
        !self.levels.is_full() && self.nodes.free_count() >= INSERT_NODES
    }

    /// Inlined by force: what a plain order cannot ask for costs it nothing.
    #[inline(always)]
    fn check<const PLAIN: bool>(&self, new: &NewOrder) -> Result<Terms, Reject> {
        let Some(instrument) = self.instruments.get(new.instrument as usize) else {
            return Err(Reject::UnknownInstrument(new.instrument));
        };
        if instrument.state == TradingState::Closed {
            return Err(Reject::Closed);
        }
        let (lot, total) = (instrument.lot, new.quantity);
        // Zero wraps around to more than any maximum.
        if total.wrapping_sub(1) >= instrument.quantity_max || (lot > 1 && total % lot != 0) {
            return Err(Reject::InvalidQuantity(total));
        }
        let (price, key, limit) = if !PLAIN && new.price == MARKET_PRICE {
            (MARKET, MARKET_KEY, ANY_KEY)
        } else {
            if new.price == 0 || new.price > PRICE_MAX {
                return Err(Reject::InvalidPrice(new.price));
            }
            let price = new.price as u32;
            let tick = instrument.tick_of(price);
            if tick * instrument.tick != price {
                return Err(Reject::InvalidPrice(new.price));
            }
            (price, own_key(new.side, tick), limit_key(new.side, tick))
        };
        let mut terms = Terms {
            price,
            key,
            limit,
            flags: Flags::new(new.side, new.self_match.strategy),
            extra: Extra::NONE,
            immediate: price == MARKET || new.time_in_force == TimeInForce::Immediate,
            trading: instrument.state == TradingState::Open,
        };
        if PLAIN {
            return Ok(terms);
        }
        let (flags, extra) = (&mut terms.flags, &mut terms.extra);
        if let TimeInForce::GoodTill(second) = new.time_in_force {
            if !self.wheel.reaches(second) {
                return Err(Reject::InvalidExpiry(second));
            }
            extra.expires_at = second;
            flags.0 |= Flags::TIMED | Flags::EXTRA;
        }
        if new.hidden {
            flags.0 |= Flags::HIDDEN;
        }
        if new.group_id != 0 {
            extra.group_id = new.group_id;
            flags.0 |= Flags::EXTRA;
        }
        if new.max_floor != 0 {
            if new.hidden || new.max_floor > total || !new.max_floor.is_multiple_of(lot) {
                return Err(Reject::InvalidMaxFloor(new.max_floor));
            }
            extra.max_floor = new.max_floor;
            flags.0 |= Flags::RESERVE | Flags::EXTRA;
        }
        if new.min_quantity != 0 && (!terms.immediate || new.min_quantity > total) {
            return Err(Reject::InvalidMinQuantity(new.min_quantity));
        }
        if new.cross != CrossType::Continuous {
            let over = if new.cross == CrossType::Opening { instrument.opened } else { instrument.closed };
            if over || new.post_only || new.max_floor != 0 || new.min_quantity != 0 {
                return Err(Reject::InvalidCross);
            }
            // Orders for an auction are never shown.
            flags.0 |= Flags::HIDDEN;
            flags.0 |= if new.cross == CrossType::Opening { Flags::ON_OPEN } else { Flags::ON_CLOSE };
        }
        Ok(terms)
    }

    /// Trades what can trade and lets the rest do what the order says. `replaces`: the shown original that market data still
    /// shows.
    #[inline(always)]
    fn work<const PLAIN: bool, S: Sink>(
        &mut self,
        new: &NewOrder,
        terms: &Terms,
        mut order: OrderView,
        vacancy: Vacancy,
        mut replaces: Option<u64>,
        sink: &mut S,
    ) {
        let flags = terms.flags;
        if !PLAIN && flags.has(Flags::TIMED) && terms.extra.expires_at <= self.wheel.now() {
            return drop_incoming(&order, replaces, CancelReason::Timeout, sink);
        }
        if PLAIN || new.cross == CrossType::Continuous {
            let opposite = book_ladder(new.instrument, new.side) ^ 1;
            let best_key = self.instruments[new.instrument as usize].sides[opposite % 2].best_key();
            if terms.trading && best_key <= terms.limit {
                if let Some(order_ref) = replaces.take() {
                    sink.withdrawn(order_ref, new.instrument);
                }
                if !PLAIN && let Some(reason) = self.condition_unmet(new, &order, opposite, terms.limit) {
                    return drop_incoming(&order, None, reason, sink);
                }
                // A copy: what does not trade need not lie in memory.
                let mut taker = order;
                self.trade(&mut taker, new.self_match, opposite, terms.limit, sink);
                if taker.open == 0 {
                    return;
                }
                (order.open, order.executed) = (taker.open, taker.executed);
            } else if !PLAIN && terms.trading && new.min_quantity > 0 {
                return drop_incoming(&order, replaces, CancelReason::MinQuantity, sink);
            }
            if terms.immediate {
                let reason = if terms.trading { CancelReason::Immediate } else { CancelReason::NotTrading };
                return drop_incoming(&order, replaces, reason, sink);
            }
        }
        order.displayed = if PLAIN {
            order.open
        } else if flags.has(Flags::HIDDEN) {
            0
        } else if flags.has(Flags::RESERVE) {
            terms.extra.max_floor.min(order.open)
        } else {
            order.open
        };
        if self.rest::<PLAIN>(new, terms, &order, vacancy).is_err() {
            order.displayed = 0;
            return drop_incoming(&order, replaces, CancelReason::System, sink);
        }
        if !PLAIN
            && order.displayed == 0
            && let Some(order_ref) = replaces.take()
        {
            sink.withdrawn(order_ref, order.instrument);
        }
        sink.booked(&order, replaces);
    }

    /// Files an order and puts it to rest at the back of the queue at its key. Fails, having done nothing, if a slot is
    /// missing.
    #[inline(always)]
    fn rest<const PLAIN: bool>(
        &mut self,
        new: &NewOrder,
        terms: &Terms,
        order: &OrderView,
        vacancy: Vacancy,
    ) -> Result<(), Reject> {
        let level = if PLAIN {
            // As `level_for` does it: there is a slot for the order, and the side is known.
            let side = &mut self.instruments[new.instrument as usize].sides[new.side.book_index()];
            let found = side.seat(&self.nodes, terms.key);
            if found.level != NIL {
                found.level
            } else {
                let ladder = book_ladder(new.instrument, new.side);
                self.new_level(ladder, terms.key, terms.price, found)?
            }
        } else {
            let ladder = self.ladder_for(new.instrument, new.side, new.cross);
            self.level_for(ladder, terms.key, terms.price)?
        };
        let bucket = self.lookup.insert(new.key, vacancy, self.orders.next_free());
        let resting = Order {
            order_ref: order.order_ref,
            party: new.key.party.raw(),
            user_ref: new.key.user_ref,
            open: order.open,
            displayed: order.displayed,
            executed: order.executed,
            price: terms.price,
            level,
            bucket,
            flags: terms.flags,
            firm: new.firm,
            self_match_group: new.self_match.group,
            instrument: new.instrument,
            attributes: new.attributes,
        };
        let handle = self.queue_up::<PLAIN>(level, resting, &terms.extra);
        if !PLAIN && terms.flags.has(Flags::TIMED) {
            self.wheel.insert(&mut self.orders, handle, terms.extra.expires_at);
        }
        Ok(())
    }

    /// Why an order that could trade at once may not: it is post-only, or its minimum is not there.
    fn condition_unmet(
        &self,
        new: &NewOrder,
        order: &OrderView,
        opposite: usize,
        limit: u32,
    ) -> Option<CancelReason> {
        if new.post_only {
            let outlook = self.outlook(order, new.self_match, opposite, limit, 1);
            if outlook.tradable > 0 {
                return Some(if outlook.first_displayed {
                    CancelReason::PostOnlyDisplayed
                } else {
                    CancelReason::PostOnlyHidden
                });
            }
        }
        let minimum = new.min_quantity;
        let unmet =
            minimum > 0 && self.outlook(order, new.self_match, opposite, limit, minimum).tradable < minimum;
        unmet.then_some(CancelReason::MinQuantity)
    }
}

/// The order as it comes in: nothing shown, nothing executed.
#[inline(always)]
fn incoming(new: &NewOrder, order_ref: u64) -> OrderView {
    OrderView {
        key: new.key,
        order_ref,
        instrument: new.instrument,
        side: new.side,
        price: new.price,
        open: new.quantity,
        displayed: 0,
        executed: 0,
        firm: new.firm,
        attributes: new.attributes,
    }
}

/// Ends an order that has not come to rest.
#[inline]
fn drop_incoming<S: Sink>(order: &OrderView, replaces: Option<u64>, reason: CancelReason, sink: &mut S) {
    if let Some(order_ref) = replaces {
        sink.withdrawn(order_ref, order.instrument);
    }
    let gone = OrderView { open: 0, ..*order };
    sink.cancelled(&Cancellation { order: gone, quantity: order.open, displayed_quantity: 0, reason });
}
