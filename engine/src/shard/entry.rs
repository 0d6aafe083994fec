//! Enter Order and Replace Order: what a request must be before the book sees it, and the reason code when it is not.
//! Checks go from the session to the request to the instrument to the limits; the first that fails answers.

use super::encoder::{Attributes, Echo};
use super::instrument::Instrument;
use super::risk::{self, Candidate, Level};
use super::trader::FirmIndex;
use super::{Outputs, Shard, Turn};
use book::{
    CrossType, MARKET_PRICE, NewOrder, OrderKey, OrderView, Reject, ReplaceOrder, ReplaceOutcome, SelfMatch,
    SelfMatchStrategy, Side, TimeInForce, TradingState,
};
use wire::ouch::inbound::{EnterOrderView, ReplaceOrderView};
use wire::ouch::outbound::OrderRejected;
use wire::ouch::{self, AiqStrategy, Appendage, RejectReason, cross_type, display, side, tag, time_in_force};

/// Good-till-time orders live less than a day (tag 15).
const SECONDS_PER_DAY: u32 = 86_400;

/// What Enter and Replace have in common, checked.
struct Terms {
    price: u64,
    time_in_force: TimeInForce,
    hidden: bool,
    post_only: bool,
    max_floor: u32,
    min_quantity: u32,
    self_match: Option<SelfMatch>,
}

/// The fields of a request that [`Terms`] come from.
struct Wording<'a> {
    price: u64,
    time_in_force: u8,
    display: u8,
    inter_market_sweep: u8,
    cross: CrossType,
    appendage: Appendage<'a>,
}

impl Shard {
    pub(super) fn enter(
        &mut self,
        session: u32,
        order: &EnterOrderView<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let channel = order.appendage().get_u8(tag::USER_REF_IDX).unwrap_or(0);
        let user_ref = order.user_ref_num();
        if !self.traders[session as usize].take_user_ref(channel, user_ref) {
            self.counters.repeated_requests += 1;
            return;
        }
        let key = OrderKey::new(session, channel, user_ref);
        let new = self
            .may_enter(session, turn.timestamp_ns)
            .and_then(|firm| self.new_order(firm, key, order, turn.timestamp_ns));
        let taken = new.and_then(|new| {
            let echo = Echo {
                time_in_force: order.time_in_force(),
                cl_ord_id: order.cl_ord_id(),
                appendage: order.appendage(),
                attribution_changed: false,
            };
            let (market, mut encoder) = self.encoder(turn);
            encoder.echo = echo;
            let entered = market.enter(&new, &mut encoder).map_err(reject_code);
            debug_assert!(market.best_is_sound(new.instrument), "after {new:?}");
            entered
        });
        if let Err(reason) = taken {
            self.reject(key, reason, order.cl_ord_id(), turn);
        }
    }

    // Out of line, the order and its answer would be copied from frame to frame: of 958 instructions an order this and
    // its like took 115 (`shard-bench`).
    #[inline(always)]
    fn new_order(
        &self,
        firm: FirmIndex,
        key: OrderKey,
        order: &EnterOrderView<'_>,
        timestamp_ns: u64,
    ) -> Result<NewOrder, RejectReason> {
        let side = parse_side(order.side())?;
        let instrument_id = self.symbols.get(&order.symbol()).ok_or(RejectReason::INVALID_SYMBOL)?;
        let instrument = &self.instruments[instrument_id as usize];
        let appendage = order.appendage();
        let cross = parse_cross(order.cross_type())?;
        if !matches!(order.capacity(), b'A' | b'P' | b'R' | b'O') {
            return Err(RejectReason::OTHER);
        }
        if !appendage.is_empty() {
            let named = appendage.get_alpha4(tag::FIRM).unwrap_or(*b"    ");
            if named != *b"    " && named != self.firms[usize::from(firm)].name {
                return Err(RejectReason::FIRM_NOT_AUTHORIZED);
            }
        }
        let wording = Wording {
            price: order.price(),
            time_in_force: order.time_in_force(),
            display: order.display(),
            inter_market_sweep: order.inter_market_sweep_eligibility(),
            cross,
            appendage,
        };
        let terms = parse_terms(&wording, firm, instrument, timestamp_ns)?;
        may_trade(instrument)?;
        let new = NewOrder {
            key,
            instrument: instrument_id,
            side,
            quantity: order.quantity(),
            price: terms.price,
            time_in_force: terms.time_in_force,
            cross,
            hidden: terms.hidden,
            post_only: terms.post_only,
            max_floor: terms.max_floor,
            min_quantity: terms.min_quantity,
            self_match: terms.self_match.unwrap_or_default(),
            group_id: appendage.get_u16(tag::GROUP_ID).unwrap_or(0),
            firm: u32::from_be_bytes(self.firms[usize::from(firm)].name),
            attributes: Attributes {
                capacity: order.capacity(),
                display: order.display(),
                inter_market_sweep: order.inter_market_sweep_eligibility(),
                cross_type: order.cross_type(),
            }
            .pack(),
        };
        self.within_limits(&new, instrument, None)?;
        Ok(new)
    }

    pub(super) fn replace(
        &mut self,
        session: u32,
        request: &ReplaceOrderView<'_>,
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        let appendage = request.appendage();
        let channel = appendage.get_u8(tag::USER_REF_IDX).unwrap_or(0);
        let user_ref = request.user_ref_num();
        let original = OrderKey::new(session, channel, request.orig_user_ref_num());
        // A dead original or a used number: silently ignored, and the new number stays free ("Types and rules").
        let (Some(resting), true) =
            (self.market.order(original), self.traders[session as usize].is_new_user_ref(channel, user_ref))
        else {
            self.counters.repeated_requests += 1;
            return;
        };
        let instrument = self.instruments[resting.instrument as usize];
        let attributes = Attributes::unpack(resting.attributes);
        let key = OrderKey::new(session, channel, user_ref);
        let cl_ord_id = request.cl_ord_id();
        // What stops the session or the instrument leaves the original alone: rejected, and the number is used up.
        let allowed =
            self.may_enter(session, turn.timestamp_ns).and_then(|firm| may_trade(&instrument).map(|()| firm));
        let firm = match allowed {
            Ok(firm) => firm,
            Err(reason) => {
                self.traders[session as usize].take_user_ref(channel, user_ref);
                return self.reject(key, reason, cl_ord_id, turn);
            }
        };
        let wording = Wording {
            price: request.price(),
            time_in_force: request.time_in_force(),
            display: request.display(),
            inter_market_sweep: request.inter_market_sweep_eligibility(),
            cross: parse_cross(attributes.cross_type).unwrap_or(CrossType::Continuous),
            appendage,
        };
        let terms = match parse_terms(&wording, firm, &instrument, turn.timestamp_ns) {
            Ok(terms) => terms,
            Err(_) => return self.cancel_original(original, turn),
        };
        // The total of the chain is one of the details; limits on what it would expose come after.
        if request.quantity() == 0 || request.quantity() > instrument.max_quantity {
            return self.cancel_original(original, turn);
        }
        // As it will meet the book, of which the original is then no part.
        let exposed = NewOrder {
            key,
            instrument: resting.instrument,
            side: resting.side,
            quantity: request.quantity().saturating_sub(resting.executed),
            price: terms.price,
            time_in_force: terms.time_in_force,
            cross: wording.cross,
            self_match: terms.self_match.unwrap_or_default(),
            ..NewOrder::limit(key, resting.instrument, resting.side, 0, terms.price)
        };
        let limits = self.within_limits(&exposed, &instrument, Some(&resting));
        if let Err(reason) = limits {
            self.traders[session as usize].take_user_ref(channel, user_ref);
            return self.reject(key, reason, cl_ord_id, turn);
        }
        let replacement = ReplaceOrder {
            original,
            user_ref,
            quantity: request.quantity(),
            price: terms.price,
            time_in_force: terms.time_in_force,
            hidden: terms.hidden,
            post_only: terms.post_only,
            max_floor: terms.max_floor,
            min_quantity: terms.min_quantity,
            self_match: terms.self_match,
            attributes: Attributes {
                display: request.display(),
                inter_market_sweep: request.inter_market_sweep_eligibility(),
                ..attributes
            }
            .pack(),
        };
        let (market, mut encoder) = self.encoder(turn);
        let attributable = |letter| letter == display::ATTRIBUTABLE;
        encoder.echo = Echo {
            time_in_force: request.time_in_force(),
            cl_ord_id,
            appendage,
            attribution_changed: attributable(attributes.display) != attributable(request.display()),
        };
        let outcome = market.replace(&replacement, &mut encoder);
        debug_assert!(market.best_is_sound(resting.instrument), "after {replacement:?}");
        match outcome {
            ReplaceOutcome::Replaced => {
                self.traders[session as usize].take_user_ref(channel, user_ref);
            }
            // The book has reported the original's end, if there was one; the number stays free.
            ReplaceOutcome::Ignored | ReplaceOutcome::OriginalCancelled(_) => {}
            ReplaceOutcome::Refused(reason) => {
                self.traders[session as usize].take_user_ref(channel, user_ref);
                self.reject(key, reject_code(reason), cl_ord_id, turn);
            }
        }
    }

    /// A replacement with invalid details: "original is cancelled, number not consumed".
    fn cancel_original(&mut self, original: OrderKey, turn: &mut Turn<'_, impl Outputs>) {
        let (market, mut encoder) = self.encoder(turn);
        market.cancel(original, 0, &mut encoder);
    }

    /// Whether the session may enter orders now; counts the message against the rates. Returns its firm.
    #[inline]
    fn may_enter(&mut self, session: u32, timestamp_ns: u64) -> Result<FirmIndex, RejectReason> {
        let trader = &mut self.traders[session as usize];
        let firm = &mut self.firms[usize::from(trader.firm)];
        let within_rate = trader.exposure.count_message(timestamp_ns, trader.risk.max_messages_per_second);
        let within_firm_rate = firm.exposure.count_message(timestamp_ns, firm.risk.max_messages_per_second);
        if !within_rate || !within_firm_rate {
            return Err(RejectReason::RISK_PORT_MESSAGE_RATE_RESTRICTION);
        }
        if trader.killed || firm.killed || self.killed || trader.drop_copy {
            return Err(RejectReason::FIRM_NOT_AUTHORIZED);
        }
        if trader.disabled {
            return Err(RejectReason::OTHER);
        }
        Ok(trader.firm)
    }

    /// Limits of the instrument, the session and the firm. `replaced` gives back what it counts for.
    #[inline(always)]
    fn within_limits(
        &self,
        order: &NewOrder,
        instrument: &Instrument,
        replaced: Option<&OrderView>,
    ) -> Result<(), RejectReason> {
        if order.quantity > instrument.max_quantity {
            return Err(RejectReason::INVALID_QUANTITY);
        }
        let trader = &self.traders[order.key.party.owner() as usize];
        let firm = &self.firms[usize::from(trader.firm)];
        if firm.is_restricted(order.instrument) {
            return Err(RejectReason::RISK_RESTRICTED_STOCK);
        }
        let market = order.price == MARKET_PRICE;
        let limit_price = if market { 0 } else { order.price };
        if instrument.collar_basis_points != 0
            && aggressive_beyond_collar(order.side, limit_price, instrument)
        {
            return Err(RejectReason::RISK_MARKET_IMPACT);
        }
        if risk::is_unlimited(&trader.risk) && risk::is_unlimited(&firm.risk) {
            return Ok(());
        }
        let candidate = Candidate {
            quantity: order.quantity,
            price: if market { instrument.reference_price } else { order.price },
            value: self.value(order, instrument),
            reference_price: instrument.reference_price,
            released: replaced.map_or(0, |it| match it.price {
                MARKET_PRICE => 0,
                price => price.saturating_mul(u64::from(it.open)),
            }),
            frees_order: replaced.is_some(),
        };
        risk::check(&trader.risk, &trader.exposure, &candidate, Level::Session)?;
        risk::check(&firm.risk, &firm.exposure, &candidate, Level::Firm)
    }

    /// What an order counts for against limits: at its limit, or at the reference price. A market order without one counts what
    /// it would pay now. For an auction nobody knows what that is: more than any limit.
    #[inline]
    fn value(&self, order: &NewOrder, instrument: &Instrument) -> u64 {
        let price = match order.price {
            MARKET_PRICE if instrument.reference_price == 0 && self.rules.version >= 2 => {
                return match order.cross {
                    CrossType::Continuous => self.market.would_pay(order),
                    CrossType::Opening | CrossType::Closing => u64::MAX,
                };
            }
            MARKET_PRICE => instrument.reference_price,
            limit => limit,
        };
        price.saturating_mul(u64::from(order.quantity))
    }

    pub(super) fn reject(
        &mut self,
        key: OrderKey,
        reason: RejectReason,
        cl_ord_id: [u8; 14],
        turn: &mut Turn<'_, impl Outputs>,
    ) {
        self.counters.rejects += 1;
        let (_, mut encoder) = self.encoder(turn);
        let message = OrderRejected {
            timestamp: encoder.time_of_day,
            user_ref_num: key.user_ref,
            reason: reason.code(),
            cl_ord_id,
        };
        let channel = super::encoder::ChannelAppendage::of(key.party);
        encoder.send(key.party.owner(), |out| message.write(channel.bytes(), out));
    }
}

/// Only the side that could trade at a bad price is collared: a low bid or a high offer harms nobody.
#[inline]
fn aggressive_beyond_collar(side: Side, price: u64, instrument: &Instrument) -> bool {
    let aggressive =
        if side.is_buy() { price > instrument.reference_price } else { price < instrument.reference_price };
    aggressive && risk::outside_collar(price, instrument.reference_price, instrument.collar_basis_points)
}

#[inline]
fn may_trade(instrument: &Instrument) -> Result<(), RejectReason> {
    match instrument.state {
        TradingState::Closed => Err(RejectReason::DESTINATION_CLOSED),
        TradingState::Halted => Err(RejectReason::HALTED),
        TradingState::PreOpen | TradingState::Open | TradingState::Auction => Ok(()),
    }
}

#[inline]
pub(super) fn parse_side(code: u8) -> Result<Side, RejectReason> {
    match code {
        side::BUY => Ok(Side::Buy),
        side::SELL => Ok(Side::Sell),
        side::SELL_SHORT => Ok(Side::SellShort),
        side::SELL_SHORT_EXEMPT => Ok(Side::SellShortExempt),
        _ => Err(RejectReason::INVALID_SIDE),
    }
}

#[inline]
fn parse_cross(code: u8) -> Result<CrossType, RejectReason> {
    match code {
        cross_type::CONTINUOUS => Ok(CrossType::Continuous),
        cross_type::OPENING => Ok(CrossType::Opening),
        cross_type::CLOSING => Ok(CrossType::Closing),
        cross_type::RETAIL => Err(RejectReason::RETAIL_NOT_ALLOWED),
        _ => Err(RejectReason::INVALID_CROSS_ORDER),
    }
}

#[inline(always)]
fn parse_terms(
    wording: &Wording<'_>,
    firm: FirmIndex,
    instrument: &Instrument,
    timestamp_ns: u64,
) -> Result<Terms, RejectReason> {
    let market = matches!(wording.price, ouch::MARKET_PRICE | ouch::MARKET_PRICE_DOLLARS);
    let price = if market {
        MARKET_PRICE
    } else if wording.price == 0
        || wording.price > ouch::MAX_PRICE
        || !wording.price.is_multiple_of(instrument.tick)
    {
        return Err(RejectReason::INVALID_PRICE);
    } else {
        wording.price
    };
    let hidden = match wording.display {
        display::VISIBLE | display::ATTRIBUTABLE => false,
        display::HIDDEN => true,
        _ => return Err(RejectReason::INVALID_DISPLAY),
    };
    // A sweep order tells other venues apart; on the only venue it is an ordinary order.
    if !matches!(wording.inter_market_sweep, b'Y' | b'N') {
        return Err(RejectReason::OTHER);
    }
    let time_in_force = match wording.time_in_force {
        // A market order takes what there is: it has no price to rest at. In an auction it waits for the cross.
        time_in_force::DAY | time_in_force::GTX if market && wording.cross == CrossType::Continuous => {
            TimeInForce::Immediate
        }
        time_in_force::DAY | time_in_force::GTX => TimeInForce::Day,
        time_in_force::IOC => TimeInForce::Immediate,
        time_in_force::GTT => {
            let seconds = wording.appendage.get_u32(tag::EXPIRE_TIME).unwrap_or(0);
            if seconds == 0 || seconds >= SECONDS_PER_DAY {
                return Err(RejectReason::OTHER);
            }
            TimeInForce::GoodTill(super::second_of(timestamp_ns).saturating_add(seconds))
        }
        time_in_force::AFTER_HOURS => return Err(RejectReason::RISK_POST_MARKET_NOT_ALLOWED),
        _ => return Err(RejectReason::OTHER),
    };
    let mut terms = Terms {
        price,
        time_in_force,
        hidden,
        post_only: false,
        max_floor: 0,
        min_quantity: 0,
        self_match: None,
    };
    if !wording.appendage.is_empty() {
        parse_instructions(wording.appendage, firm, &mut terms)?;
    }
    Ok(terms)
}

/// The elements of the appendage that change how an order matches, in one pass. Those that Pitlane does not offer are
/// rejected, as an order that did not ask for them would trade differently.
fn parse_instructions(
    appendage: Appendage<'_>,
    firm: FirmIndex,
    terms: &mut Terms,
) -> Result<(), RejectReason> {
    let (mut strategy, mut group) = (None, None);
    let mut disabled = false;
    for (tag, value) in appendage {
        let first = value.first().copied().unwrap_or(0);
        let number = value.iter().fold(0u64, |number, &byte| number << 8 | u64::from(byte));
        match tag {
            tag::MIN_QTY => terms.min_quantity = number as u32,
            tag::MAX_FLOOR => terms.max_floor = number as u32,
            tag::POST_ONLY => match first {
                b'P' => terms.post_only = true,
                b'N' => {}
                _ => return Err(RejectReason::OTHER),
            },
            tag::PRICE_TYPE => match first {
                b'L' => {}
                b'P' | b'M' | b'R' | b'Q' | b'm' => return Err(RejectReason::PEGGING_NOT_ALLOWED),
                _ => return Err(RejectReason::INVALID_PEG_TYPE),
            },
            tag::PEG_OFFSET if number != 0 => return Err(RejectReason::PEGGING_NOT_ALLOWED),
            tag::DISCRETION_PRICE | tag::DISCRETION_PEG_OFFSET if number != 0 => {
                return Err(RejectReason::PEGGING_NOT_ALLOWED);
            }
            tag::DISCRETION_PRICE_TYPE => return Err(RejectReason::PEGGING_NOT_ALLOWED),
            tag::RANDOM_RESERVES if number != 0 => return Err(RejectReason::INVALID_MAX_FLOOR),
            tag::CUSTOMER_TYPE if !matches!(first, b'R' | b'N' | b' ') => return Err(RejectReason::OTHER),
            tag::TRADE_NOW if !matches!(first, b'N' | b' ') => return Err(RejectReason::OTHER),
            tag::HANDLE_INST => match first {
                b' ' => {}
                b'I' => return Err(RejectReason::INVALID_CROSS_ORDER),
                b'O' | b'T' | b'Q' => return Err(RejectReason::RETAIL_NOT_ALLOWED),
                _ => return Err(RejectReason::OTHER),
            },
            tag::SHARES_LOCATED if !matches!(first, b'Y' | b'N') => return Err(RejectReason::OTHER),
            // Other levels need owners of firms, which Pitlane does not know.
            tag::AIQ_STRATEGY => match AiqStrategy::from_code(first) {
                Some(AiqStrategy::NONE) => disabled = true,
                Some(AiqStrategy::CANCEL_NEWEST) => strategy = Some(SelfMatchStrategy::CancelNewest),
                Some(AiqStrategy::CANCEL_OLDEST) => strategy = Some(SelfMatchStrategy::CancelOldest),
                Some(AiqStrategy::CANCEL_BOTH) => strategy = Some(SelfMatchStrategy::CancelBoth),
                Some(AiqStrategy::DECREMENT) => strategy = Some(SelfMatchStrategy::Decrement),
                _ => return Err(RejectReason::INVALID_AIQ),
            },
            tag::AIQ_GROUP_ID => group = Some(number as u32),
            _ => {}
        }
    }
    if !disabled && (strategy.is_some() || group.is_some()) {
        // Groups are the firm's own: the same two letters of two firms do not meet. Never 0, which means no group.
        terms.self_match = Some(SelfMatch {
            group: (u32::from(firm) + 1) << 16 | group.unwrap_or(0),
            strategy: strategy.unwrap_or_default(),
        });
    }
    Ok(())
}

/// OUCH appendix C for what the book refuses.
fn reject_code(reject: Reject) -> RejectReason {
    match reject {
        Reject::UnknownInstrument(_) => RejectReason::INVALID_SYMBOL,
        Reject::Closed => RejectReason::DESTINATION_CLOSED,
        Reject::InvalidQuantity(_) => RejectReason::INVALID_QUANTITY,
        Reject::InvalidPrice(_) => RejectReason::INVALID_PRICE,
        Reject::InvalidMaxFloor(_) => RejectReason::INVALID_MAX_FLOOR,
        Reject::InvalidMinQuantity(_) => RejectReason::INVALID_MIN_QUANTITY,
        Reject::InvalidCross => RejectReason::INVALID_CROSS_ORDER,
        Reject::InvalidExpiry(_) => RejectReason::OTHER,
        Reject::ShareOfOrders(_) | Reject::ShareOfLevels(_) => RejectReason::SHARES_EXCEED_THRESHOLD,
        Reject::UnknownOwner(_)
        | Reject::DuplicateKey(_)
        | Reject::OrdersExhausted
        | Reject::LevelsExhausted => RejectReason::PROCESSING_ERROR,
    }
}
