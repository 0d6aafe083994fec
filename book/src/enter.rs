//! Orders coming in: what is checked, what is reported, where they go. The trading itself is in `matching`.

use crate::ladder::HEIGHT_MAX;
use crate::market::{ANY_KEY, MARKET_KEY, Market, book_ladder, limit_key, own_key};
use crate::order::{Extra, Flags, MARKET, Order};
use crate::sink::{Cancellation, Replacement, Sink};
use crate::types::{
    CancelReason, CrossType, MARKET_PRICE, NewOrder, OrderKey, PRICE_MAX, Reject, ReplaceOrder,
    ReplaceOutcome, TimeInForce, TradingState,
};

/// An order on its way in, with what is only of interest until it rests.
struct Incoming {
    order: Order,
    extra: Extra,
    /// Where it rests, if it does.
    key: u32,
    /// How far it may trade.
    limit: u32,
    cross: CrossType,
    immediate: bool,
    post_only: bool,
    min_quantity: u32,
    /// Shown original that market data still shows.
    replaces: Option<u64>,
}

impl Incoming {
    /// It trades at once or not at all.
    #[inline]
    fn never_rests(&self) -> bool {
        self.immediate && self.cross == CrossType::Continuous
    }
}

impl Market {
    /// Takes an order and does with it what it says. Returns its reference. An error means that nothing happened.
    #[inline]
    pub fn enter<S: Sink>(&mut self, new: &NewOrder, sink: &mut S) -> Result<u64, Reject> {
        let mut incoming = self.check(new, new.quantity)?;
        if new.key.party.owner() >= self.lookup.owner_count() {
            return Err(Reject::UnknownOwner(new.key.party.owner()));
        }
        if self.lookup.contains(new.key) {
            return Err(Reject::DuplicateKey(new.key));
        }
        self.check_place(&incoming)?;
        let order_ref = self.next_order_ref();
        incoming.order.order_ref = order_ref;
        sink.accepted(&incoming.order.view());
        self.work(&mut incoming, sink);
        Ok(order_ref)
    }

    /// Cancels a live order and enters another in its place, which queues anew. See [`ReplaceOutcome`].
    pub fn replace<S: Sink>(&mut self, request: &ReplaceOrder, sink: &mut S) -> ReplaceOutcome {
        let Some((handle, place)) = self.lookup.find(request.original) else {
            return ReplaceOutcome::Ignored;
        };
        let key = OrderKey { party: request.original.party, user_ref: request.user_ref };
        if self.lookup.contains(key) {
            return ReplaceOutcome::Ignored;
        }
        let original = *self.orders.get(handle);
        let cross = original.cross();
        let new = NewOrder {
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
            self_match: request.self_match.unwrap_or(crate::types::SelfMatch {
                group: original.self_match_group,
                strategy: original.flags.strategy(),
            }),
            group_id: self.orders.extra(handle).group_id,
            firm: original.firm,
            attributes: request.attributes,
        };
        let mut incoming = match self.check(&new, request.quantity) {
            Err(reject @ Reject::Closed) => return ReplaceOutcome::Refused(reject),
            Err(reject) => {
                self.end(handle, place, CancelReason::InvalidReplace, sink);
                return ReplaceOutcome::OriginalCancelled(Some(reject));
            }
            Ok(incoming) => incoming,
        };
        if request.quantity <= original.executed {
            self.end(handle, place, CancelReason::User, sink);
            return ReplaceOutcome::OriginalCancelled(None);
        }
        if let Err(reject) = self.check_replacement(&incoming, &original) {
            return ReplaceOutcome::Refused(reject);
        }
        self.take_out(handle, place);
        incoming.order.open = request.quantity - original.executed;
        incoming.order.executed = original.executed;
        incoming.order.order_ref = self.next_order_ref();
        incoming.replaces = (original.displayed > 0).then_some(original.order_ref);
        sink.replaced(&Replacement {
            order: incoming.order.view(),
            original: request.original,
            original_ref: original.order_ref,
            original_open: original.open,
            original_price: crate::order::price_out(original.price),
        });
        self.work(&mut incoming, sink);
        ReplaceOutcome::Replaced
    }

    /// Price times quantity of what the order would trade on entry, by the rule and in the order of the match itself; 0 for one
    /// that cannot be entered, or not be traded at once.
    pub fn would_pay(&self, new: &NewOrder) -> u64 {
        let Ok(incoming) = self.check(new, new.quantity) else { return 0 };
        let order = &incoming.order;
        if incoming.cross != CrossType::Continuous
            || self.instruments[order.instrument as usize].state != TradingState::Open
        {
            return 0;
        }
        let opposite = book_ladder(order.instrument, order.flags.side()) ^ 1;
        self.outlook(order, opposite, incoming.limit, u32::MAX).value
    }

    /// Whether there is a place for the order to rest in, of the market's and of its owner's share.
    #[inline]
    fn check_place(&mut self, incoming: &Incoming) -> Result<(), Reject> {
        if self.shares.is_some() && incoming.never_rests() {
            return Ok(());
        }
        if self.orders.is_full() {
            return Err(Reject::OrdersExhausted);
        }
        self.check_room()?;
        let Some(shares) = self.shares else { return Ok(()) };
        let live = self.lookup.live(incoming.order.key().party.owner());
        if live >= shares.orders {
            return Err(Reject::ShareOfOrders(shares.orders));
        }
        if live >= shares.levels && self.needs_level(incoming) {
            return Err(Reject::ShareOfLevels(shares.levels));
        }
        Ok(())
    }

    /// As [`Market::check_place`] for an order that takes the place of `original`, and its level if it has that to itself.
    fn check_replacement(&mut self, incoming: &Incoming, original: &Order) -> Result<(), Reject> {
        if self.shares.is_some() && incoming.never_rests() {
            return Ok(());
        }
        self.check_room()?;
        let Some(shares) = self.shares else { return Ok(()) };
        let live = self.lookup.live(incoming.order.key().party.owner());
        if live > shares.levels && self.levels.get(original.level).orders > 1 && self.needs_level(incoming) {
            return Err(Reject::ShareOfLevels(shares.levels));
        }
        Ok(())
    }

    /// No order rests at its price yet.
    fn needs_level(&mut self, incoming: &Incoming) -> bool {
        let order = &incoming.order;
        let ladder = self.ladder_for(order.instrument, order.flags.side(), incoming.cross);
        self.ladders[ladder].get(&self.nodes, incoming.key).is_none()
    }

    /// Room for one more level wherever its price may be. Asked before anything happens, so that an order that has traded
    /// can always rest.
    #[inline]
    fn check_room(&self) -> Result<(), Reject> {
        if self.levels.free_count() == 0 || self.nodes.free_count() <= HEIGHT_MAX {
            return Err(Reject::LevelsExhausted);
        }
        Ok(())
    }

    /// Inlined by force: the 150 bytes of `Incoming` are then built where they stay.
    #[inline(always)]
    fn check(&self, new: &NewOrder, total: u32) -> Result<Incoming, Reject> {
        let Some(instrument) = self.instruments.get(new.instrument as usize) else {
            return Err(Reject::UnknownInstrument(new.instrument));
        };
        if instrument.state == TradingState::Closed {
            return Err(Reject::Closed);
        }
        let lot = instrument.lot;
        if total == 0 || total > instrument.quantity_max || (lot != 1 && !total.is_multiple_of(lot)) {
            return Err(Reject::InvalidQuantity(total));
        }
        let (price, key, limit) = if new.price == MARKET_PRICE {
            (MARKET, MARKET_KEY, ANY_KEY)
        } else {
            if new.price == 0 || new.price > PRICE_MAX {
                return Err(Reject::InvalidPrice(new.price));
            }
            let price = new.price as u32;
            let tick = price / instrument.tick;
            if tick * instrument.tick != price {
                return Err(Reject::InvalidPrice(new.price));
            }
            (price, own_key(new.side, tick), limit_key(new.side, tick))
        };
        let mut immediate = price == MARKET;
        let mut flags = Flags::new(new.side, new.self_match.strategy);
        let mut extra = Extra::NONE;
        match new.time_in_force {
            TimeInForce::Day => {}
            TimeInForce::Immediate => immediate = true,
            TimeInForce::GoodTill(second) => {
                if !self.wheel.reaches(second) {
                    return Err(Reject::InvalidExpiry(second));
                }
                extra.expires_at = second;
                flags.0 |= Flags::TIMED | Flags::EXTRA;
            }
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
        if new.min_quantity != 0 && (!immediate || new.min_quantity > total) {
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
        let order = Order {
            party: new.key.party.raw(),
            user_ref: new.key.user_ref,
            open: new.quantity,
            price,
            flags,
            firm: new.firm,
            self_match_group: new.self_match.group,
            instrument: new.instrument,
            attributes: new.attributes,
            ..Order::VACANT
        };
        Ok(Incoming {
            order,
            extra,
            key,
            limit,
            cross: new.cross,
            immediate,
            post_only: new.post_only,
            min_quantity: new.min_quantity,
            replaces: None,
        })
    }

    /// Trades what can trade and lets the rest do what the order says.
    #[inline(always)]
    fn work<S: Sink>(&mut self, incoming: &mut Incoming, sink: &mut S) {
        let order = &mut incoming.order;
        if order.flags.has(Flags::TIMED) && incoming.extra.expires_at <= self.wheel.now() {
            return self.drop_incoming(incoming, CancelReason::Timeout, sink);
        }
        if incoming.cross == CrossType::Continuous {
            if self.instruments[order.instrument as usize].state == TradingState::Open {
                let opposite = book_ladder(order.instrument, order.flags.side()) ^ 1;
                if self.ladders[opposite].best_key() <= incoming.limit {
                    if let Some(order_ref) = incoming.replaces.take() {
                        sink.withdrawn(order_ref, order.instrument);
                    }
                    if incoming.post_only {
                        let outlook = self.outlook(order, opposite, incoming.limit, 1);
                        if outlook.tradable > 0 {
                            let reason = if outlook.first_displayed {
                                CancelReason::PostOnlyDisplayed
                            } else {
                                CancelReason::PostOnlyHidden
                            };
                            return self.drop_incoming(incoming, reason, sink);
                        }
                    }
                    if incoming.min_quantity > 0 {
                        let outlook = self.outlook(order, opposite, incoming.limit, incoming.min_quantity);
                        if outlook.tradable < incoming.min_quantity {
                            return self.drop_incoming(incoming, CancelReason::MinQuantity, sink);
                        }
                    }
                    self.trade(order, opposite, incoming.limit, sink);
                    if order.open == 0 {
                        return;
                    }
                } else if incoming.min_quantity > 0 {
                    return self.drop_incoming(incoming, CancelReason::MinQuantity, sink);
                }
                if incoming.immediate {
                    return self.drop_incoming(incoming, CancelReason::Immediate, sink);
                }
            } else if incoming.immediate {
                return self.drop_incoming(incoming, CancelReason::NotTrading, sink);
            }
        }
        self.rest_incoming(incoming, sink);
    }

    #[inline]
    fn rest_incoming<S: Sink>(&mut self, incoming: &mut Incoming, sink: &mut S) {
        let order = &mut incoming.order;
        order.displayed = if order.flags.has(Flags::HIDDEN) {
            0
        } else if order.flags.has(Flags::RESERVE) {
            incoming.extra.max_floor.min(order.open)
        } else {
            order.open
        };
        let ladder = self.ladder_for(order.instrument, order.flags.side(), incoming.cross);
        match self.rest(ladder, incoming.key, order, &incoming.extra) {
            Ok(_) => {
                if order.displayed == 0
                    && let Some(order_ref) = incoming.replaces.take()
                {
                    sink.withdrawn(order_ref, order.instrument);
                }
                sink.booked(&order.view(), incoming.replaces);
            }
            Err(_) => {
                order.displayed = 0;
                self.drop_incoming(incoming, CancelReason::System, sink);
            }
        }
    }

    /// Ends an order that has not come to rest.
    fn drop_incoming<S: Sink>(&mut self, incoming: &mut Incoming, reason: CancelReason, sink: &mut S) {
        let order = &mut incoming.order;
        if let Some(order_ref) = incoming.replaces {
            sink.withdrawn(order_ref, order.instrument);
        }
        let quantity = order.open;
        order.open = 0;
        sink.cancelled(&Cancellation { order: order.view(), quantity, displayed_quantity: 0, reason });
    }
}
