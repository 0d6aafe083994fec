//! The matching rules one by one, each as the smallest story that shows it; among them the mistakes other engines made.
//! Not auctions (`auctions.rs`), not whole flows (`agrees_with_model.rs`).

use book::{
    CancelReason, Event, InstrumentSpec, Limits, Market, MassCancel, NewOrder, OrderKey, Reject,
    ReplaceOrder, ReplaceOutcome, SelfMatch, SelfMatchStrategy, Side, TimeInForce, TradingState,
};

/// A market with one instrument, and a short way to speak to it. Orders are named by small numbers; prices are cents.
struct Desk {
    market: Market,
    events: Vec<Event>,
}

fn key(name: u32) -> OrderKey {
    OrderKey::new(name % 4, 0, name)
}

fn order(name: u32, side: Side, quantity: u32, cents: u64) -> NewOrder {
    NewOrder::limit(key(name), 0, side, quantity, cents * 100)
}

fn buy(name: u32, quantity: u32, cents: u64) -> NewOrder {
    order(name, Side::Buy, quantity, cents)
}

fn sell(name: u32, quantity: u32, cents: u64) -> NewOrder {
    order(name, Side::Sell, quantity, cents)
}

fn immediate(order: NewOrder) -> NewOrder {
    NewOrder { time_in_force: TimeInForce::Immediate, ..order }
}

fn fill_or_kill(order: NewOrder) -> NewOrder {
    NewOrder { min_quantity: order.quantity, ..immediate(order) }
}

fn grouped(order: NewOrder, strategy: SelfMatchStrategy) -> NewOrder {
    NewOrder { self_match: SelfMatch { group: 7, strategy }, ..order }
}

impl Desk {
    fn new() -> Self {
        let mut market = Market::new(Limits::new(1, 4, 100));
        market.add_instrument(InstrumentSpec::default()).expect("room");
        Self { market, events: Vec::new() }
    }

    fn with(orders: &[NewOrder]) -> Self {
        let mut desk = Self::new();
        for order in orders {
            desk.enter(*order);
        }
        desk.events.clear();
        desk
    }

    fn enter(&mut self, order: NewOrder) -> u64 {
        self.market.enter(&order, &mut self.events).expect("a valid order")
    }

    /// (maker, quantity, cents) of all trades so far.
    fn trades(&self) -> Vec<(u32, u32, u64)> {
        let trades = self.events.iter().filter_map(|event| match event {
            Event::Executed(trade) => Some((trade.maker.key.user_ref, trade.quantity, trade.price / 100)),
            _ => None,
        });
        trades.collect()
    }

    /// (order, quantity, reason) of all cancellations so far.
    fn cancels(&self) -> Vec<(u32, u32, CancelReason)> {
        let cancels = self.events.iter().filter_map(|event| match event {
            Event::Cancelled(it) => Some((it.order.key.user_ref, it.quantity, it.reason)),
            _ => None,
        });
        cancels.collect()
    }

    /// (order, shares lost, shares kept from trading) of all self-match preventions so far.
    fn prevented(&self) -> Vec<(u32, u32, u32)> {
        let prevented = self.events.iter().filter_map(|event| match event {
            Event::SelfMatchPrevented(it) => Some((it.order.key.user_ref, it.quantity, it.prevented)),
            _ => None,
        });
        prevented.collect()
    }

    /// (order, open) of one side, in the order in which they would trade.
    fn book(&self, side: Side) -> Vec<(u32, u32)> {
        self.market.resting(0, side).map(|order| (order.key.user_ref, order.open)).collect()
    }
}

#[test]
fn fills_happen_at_the_makers_price() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 1001)]);
    desk.enter(buy(3, 20, 1005));
    assert_eq!(desk.trades(), [(1, 10, 1000), (2, 10, 1001)]);
    let mut desk = Desk::with(&[buy(1, 10, 1000), buy(2, 10, 999)]);
    desk.enter(sell(3, 20, 990));
    assert_eq!(desk.trades(), [(1, 10, 1000), (2, 10, 999)]);
}

#[test]
fn a_partial_fill_keeps_its_place() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 1000)]);
    desk.enter(buy(3, 4, 1000));
    assert_eq!(desk.book(Side::Sell), [(1, 6), (2, 10)]);
    desk.enter(buy(4, 8, 1000));
    assert_eq!(desk.trades(), [(1, 4, 1000), (1, 6, 1000), (2, 2, 1000)]);
}

#[test]
fn the_rest_of_an_immediate_order_never_rests() {
    let mut desk = Desk::with(&[sell(1, 10, 1000)]);
    desk.enter(immediate(buy(2, 30, 1000)));
    assert_eq!(desk.cancels(), [(2, 20, CancelReason::Immediate)]);
    assert_eq!((desk.book(Side::Buy), desk.market.live_orders()), (vec![], 0));
    desk.enter(immediate(buy(3, 5, 1000)));
    assert_eq!(desk.cancels()[1], (3, 5, CancelReason::Immediate));
}

#[test]
fn a_market_order_takes_any_price_and_never_rests() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 19_999_900)]);
    desk.enter(NewOrder { time_in_force: TimeInForce::Day, ..NewOrder::market(key(3), 0, Side::Buy, 25) });
    assert_eq!(desk.trades(), [(1, 10, 1000), (2, 10, 19_999_900)]);
    assert_eq!(desk.cancels(), [(3, 5, CancelReason::Immediate)]);
}

#[test]
fn fill_or_kill_fills_all_or_nothing() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 1001), sell(3, 10, 1002)]);
    desk.enter(fill_or_kill(buy(4, 21, 1001)));
    assert_eq!((desk.trades(), desk.cancels()), (vec![], vec![(4, 21, CancelReason::MinQuantity)]));
    desk.enter(fill_or_kill(buy(5, 20, 1001)));
    assert_eq!(desk.trades(), [(1, 10, 1000), (2, 10, 1001)]);
}

#[test]
fn a_minimum_quantity_is_met_by_several_orders_together() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 1001)]);
    desk.enter(NewOrder { min_quantity: 15, ..immediate(buy(3, 40, 1001)) });
    assert_eq!(desk.trades().len(), 2);
    assert_eq!(desk.cancels(), [(3, 20, CancelReason::Immediate)]);
    desk.enter(NewOrder { min_quantity: 1, ..immediate(buy(4, 40, 1001)) });
    assert_eq!(desk.cancels()[1], (4, 40, CancelReason::MinQuantity));
}

#[test]
fn fill_or_kill_counts_hidden_shares_and_reserves() {
    let mut desk = Desk::with(&[
        NewOrder { max_floor: 10, ..sell(1, 50, 1000) },
        NewOrder { hidden: true, ..sell(2, 50, 1000) },
    ]);
    desk.enter(fill_or_kill(buy(3, 101, 1000)));
    assert_eq!(desk.trades(), []);
    desk.enter(fill_or_kill(buy(4, 100, 1000)));
    assert_eq!(desk.trades().iter().map(|trade| trade.1).sum::<u32>(), 100);
}

#[test]
fn self_match_prevention_does_not_let_fill_or_kill_fill_in_part() {
    use SelfMatchStrategy::*;
    for strategy in [CancelNewest, CancelOldest, CancelBoth, Decrement] {
        // 30 shares are for sale, 10 of them are the buyer's own.
        let own = [sell(1, 10, 1000), grouped(sell(2, 10, 1000), strategy), sell(3, 10, 1000)];
        let mut desk = Desk::with(&own);
        desk.enter(fill_or_kill(grouped(buy(4, 30, 1000), strategy)));
        assert_eq!((desk.trades(), desk.prevented()), (vec![], vec![]), "{strategy:?}");
        assert_eq!(desk.cancels(), [(4, 30, CancelReason::MinQuantity)], "{strategy:?}");
        assert_eq!(desk.book(Side::Sell).len(), 3, "an order that is killed leaves everything as it was");
        // 20 can be had: past its own order only if that is what is cancelled.
        desk.enter(fill_or_kill(grouped(buy(5, 20, 1000), strategy)));
        let expected = if strategy == CancelOldest { 20 } else { 0 };
        assert_eq!(desk.trades().iter().map(|trade| trade.1).sum::<u32>(), expected, "{strategy:?}");
    }
}

#[test]
fn post_only_is_decided_by_what_would_trade() {
    let post_only = |order| NewOrder { post_only: true, ..order };
    let mut desk = Desk::with(&[sell(1, 10, 1000)]);
    desk.enter(post_only(buy(2, 10, 1000)));
    assert_eq!((desk.trades(), desk.cancels()), (vec![], vec![(2, 10, CancelReason::PostOnlyDisplayed)]));
    desk.enter(post_only(buy(3, 10, 999)));
    assert_eq!(desk.book(Side::Buy), [(3, 10)]);

    let mut desk = Desk::with(&[NewOrder { hidden: true, ..sell(1, 10, 1000) }]);
    desk.enter(post_only(buy(2, 10, 1000)));
    assert_eq!(desk.cancels(), [(2, 10, CancelReason::PostOnlyHidden)]);

    // Only its own order is in the way, and that gives way: nothing would trade, so it may rest.
    let mut desk = Desk::with(&[grouped(sell(1, 10, 1000), SelfMatchStrategy::CancelOldest)]);
    desk.enter(post_only(grouped(buy(2, 10, 1000), SelfMatchStrategy::CancelOldest)));
    assert_eq!((desk.prevented(), desk.book(Side::Buy)), (vec![(1, 10, 10)], vec![(2, 10)]));

    // Somebody else's order is behind its own: it would trade, so it goes and its own order stays.
    let mut desk =
        Desk::with(&[grouped(sell(1, 10, 999), SelfMatchStrategy::CancelOldest), sell(2, 10, 1000)]);
    desk.enter(post_only(grouped(buy(3, 10, 1000), SelfMatchStrategy::CancelOldest)));
    assert_eq!((desk.prevented(), desk.cancels().len(), desk.book(Side::Sell).len()), (vec![], 1, 2));
}

#[test]
fn self_match_prevention_in_all_strategies() {
    use SelfMatchStrategy::*;
    // Own order of 10 first, then somebody else's of 10; a buy of 15 comes in.
    let after = |strategy| {
        let mut desk = Desk::with(&[grouped(sell(1, 10, 1000), CancelNewest), sell(2, 10, 1000)]);
        desk.enter(grouped(buy(3, 15, 1000), strategy));
        (desk.prevented(), desk.trades(), desk.book(Side::Sell), desk.book(Side::Buy))
    };
    assert_eq!(after(CancelNewest), (vec![(3, 15, 10)], vec![], vec![(1, 10), (2, 10)], vec![]));
    assert_eq!(after(CancelOldest), (vec![(1, 10, 10)], vec![(2, 10, 1000)], vec![], vec![(3, 5)]));
    assert_eq!(after(CancelBoth), (vec![(1, 10, 10), (3, 15, 10)], vec![], vec![(2, 10)], vec![]));
    assert_eq!(after(Decrement), (vec![(1, 10, 10), (3, 10, 10)], vec![(2, 5, 1000)], vec![(2, 5)], vec![]));
    let mut desk = Desk::with(&[grouped(sell(1, 100, 1000), CancelNewest)]);
    desk.enter(grouped(buy(2, 30, 1000), Decrement));
    assert_eq!((desk.prevented(), desk.book(Side::Sell)), (vec![(1, 30, 30), (2, 30, 30)], vec![(1, 70)]));
}

#[test]
fn an_expired_order_no_longer_matches() {
    let good_till = |second, order| NewOrder { time_in_force: TimeInForce::GoodTill(second), ..order };
    let mut desk = Desk::new();
    desk.market.expire(100, &mut ());
    desk.enter(good_till(105, sell(1, 10, 1000)));
    desk.enter(good_till(104, sell(2, 10, 1000)));
    assert_eq!(desk.market.expire(103, &mut desk.events), 0);
    assert_eq!(desk.market.expire(104, &mut desk.events), 1);
    assert_eq!(desk.cancels(), [(2, 10, CancelReason::Timeout)]);
    assert_eq!(desk.market.expire(200, &mut desk.events), 1);
    desk.enter(buy(3, 10, 1000));
    assert_eq!((desk.trades(), desk.book(Side::Buy)), (vec![], vec![(3, 10)]));
    desk.enter(good_till(200, sell(4, 10, 1000)));
    assert_eq!((desk.trades(), desk.cancels()[2]), (vec![], (4, 10, CancelReason::Timeout)));
}

#[test]
fn orders_expire_second_by_second_even_if_time_jumps() {
    let mut desk = Desk::new();
    desk.market.expire(1_000, &mut ());
    for (name, second) in [(1, 1_003), (2, 1_002), (3, 87_400), (4, 1_002)] {
        desk.enter(NewOrder { time_in_force: TimeInForce::GoodTill(second), ..sell(name, 10, 1000) });
    }
    desk.events.clear();
    assert_eq!(desk.market.expire(4_000_000_000, &mut desk.events), 4);
    assert_eq!(desk.cancels().iter().map(|it| it.0).collect::<Vec<_>>(), [2, 4, 1, 3]);
}

#[test]
fn a_replacement_that_crosses_trades() {
    let mut desk = Desk::with(&[sell(1, 10, 1002), buy(4, 30, 1000)]);
    let outcome = desk.market.replace(&ReplaceOrder::limit(key(4), 8, 30, 100_200), &mut desk.events);
    assert_eq!(outcome, ReplaceOutcome::Replaced);
    assert_eq!((desk.trades(), desk.book(Side::Buy)), (vec![(1, 10, 1002)], vec![(8, 20)]));
    assert!(
        matches!(desk.events[1], Event::Withdrawn { order_ref: 2, .. }),
        "before it trades: {:?}",
        desk.events
    );
    assert!(matches!(desk.events.last(), Some(Event::Booked { replaces: None, .. })));
    assert!(!desk.market.is_crossed(0));
}

#[test]
fn a_replacement_queues_anew_and_the_chain_counts_executed_shares() {
    let mut desk = Desk::with(&[sell(1, 500, 1000), sell(2, 10, 1000)]);
    desk.enter(buy(3, 100, 1000));
    desk.market.replace(&ReplaceOrder::limit(key(1), 5, 500, 100_000), &mut desk.events);
    assert_eq!(desk.book(Side::Sell), [(2, 10), (5, 400)]);
    desk.enter(buy(7, 60, 1000));
    let outcome = desk.market.replace(&ReplaceOrder::limit(key(5), 9, 150, 100_000), &mut desk.events);
    assert_eq!(outcome, ReplaceOutcome::OriginalCancelled(None), "100 + 50 have been executed");
    assert_eq!(desk.market.live_orders(), 0);
}

#[test]
fn an_invalid_replacement_cancels_the_original() {
    let mut desk = Desk::with(&[sell(1, 500, 1000)]);
    let outcome = desk.market.replace(&ReplaceOrder::limit(key(1), 5, 500, 100_001), &mut desk.events);
    assert_eq!(outcome, ReplaceOutcome::OriginalCancelled(Some(Reject::InvalidPrice(100_001))));
    assert_eq!(desk.cancels(), [(1, 500, CancelReason::InvalidReplace)]);
    let outcome = desk.market.replace(&ReplaceOrder::limit(key(1), 9, 500, 100_000), &mut desk.events);
    assert_eq!((outcome, desk.events.len()), (ReplaceOutcome::Ignored, 1));
}

#[test]
fn the_best_price_is_right_after_every_cancel() {
    let mut desk = Desk::with(&[buy(1, 10, 1000), buy(2, 10, 998), buy(3, 10, 995), buy(4, 10, 100)]);
    for (cancelled, best) in [(1, 998), (2, 995), (3, 100)] {
        assert!(desk.market.cancel(key(cancelled), 0, &mut ()));
        assert_eq!(desk.market.best(0, Side::Buy, true).map(|level| level.price), Some(best * 100));
    }
    desk.enter(sell(5, 10, 101));
    assert_eq!(desk.trades(), []);
    assert!(desk.market.cancel(key(4), 0, &mut ()));
    assert_eq!(desk.market.best(0, Side::Buy, true), None);
}

#[test]
fn references_are_never_reused() {
    let mut desk = Desk::new();
    let mut references = Vec::new();
    for name in 1..=200 {
        references.push(desk.enter(buy(name, 10, 1000)));
        assert!(desk.market.cancel(key(name), 0, &mut ()));
    }
    assert_eq!(references, (1..=200).collect::<Vec<u64>>(), "though the same slot was used 200 times");
}

#[test]
fn a_key_is_free_again_once_its_order_ended() {
    let mut desk = Desk::with(&[buy(1, 10, 1000)]);
    assert_eq!(desk.market.enter(&buy(1, 5, 1000), &mut ()), Err(Reject::DuplicateKey(key(1))));
    desk.enter(sell(2, 10, 1000));
    desk.enter(buy(1, 5, 1000));
    assert_eq!(desk.book(Side::Buy), [(1, 5)]);
}

#[test]
fn hidden_orders_trade_after_displayed_ones_at_the_same_price_only() {
    let hidden = |order| NewOrder { hidden: true, ..order };
    let mut desk = Desk::with(&[hidden(sell(1, 10, 1000)), sell(2, 10, 1000), hidden(sell(3, 10, 999))]);
    assert_eq!(desk.market.best(0, Side::Sell, false).map(|level| level.price), Some(100_000));
    desk.enter(buy(4, 30, 1000));
    assert_eq!(desk.trades(), [(3, 10, 999), (2, 10, 1000), (1, 10, 1000)]);
    let shown: Vec<bool> = desk
        .events
        .iter()
        .filter_map(
            |event| if let Event::Executed(trade) = event { Some(trade.maker_displayed) } else { None },
        )
        .collect();
    assert_eq!(shown, [false, true, false]);
}

#[test]
fn a_refreshed_reserve_goes_to_the_back_under_a_new_reference() {
    let mut desk = Desk::with(&[NewOrder { max_floor: 10, ..sell(1, 25, 1000) }, sell(2, 10, 1000)]);
    let depth = desk.market.best(0, Side::Sell, true).expect("a level");
    assert_eq!((depth.displayed, depth.open), (20, 35));
    desk.enter(buy(3, 12, 1000));
    assert_eq!(desk.trades(), [(1, 10, 1000), (2, 2, 1000)], "the refreshed part waits behind order 2");
    let Event::Refreshed { order, old_ref } = desk.events[2] else { panic!("{:?}", desk.events) };
    assert_eq!((order.displayed, order.open, old_ref, order.order_ref), (10, 15, 1, 4));
    desk.enter(buy(5, 23, 1000));
    assert_eq!(desk.trades()[2..], [(2, 8, 1000), (1, 10, 1000), (1, 5, 1000)]);
    assert_eq!(desk.market.live_orders(), 0);
}

#[test]
fn a_partly_filled_reserve_does_not_refresh() {
    let mut desk = Desk::with(&[NewOrder { max_floor: 10, ..sell(1, 25, 1000) }]);
    desk.enter(buy(3, 4, 1000));
    let order = desk.market.order(key(1)).expect("live");
    assert_eq!((order.displayed, order.open, order.order_ref), (6, 21, 1));
    assert!(desk.market.cancel(key(1), 14, &mut desk.events), "to 14, 4 of them executed");
    let order = desk.market.order(key(1)).expect("live");
    assert_eq!((order.displayed, order.open), (6, 10), "taken from the reserve first");
    assert!(desk.market.cancel(key(1), 8, &mut desk.events));
    let Some(Event::Cancelled(last)) = desk.events.last() else { panic!() };
    assert_eq!((last.quantity, last.displayed_quantity, last.order.displayed), (6, 2, 4));
}

#[test]
fn decreasing_the_quantity_keeps_the_place() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), sell(2, 10, 1000), sell(3, 10, 1000)]);
    assert!(desk.market.cancel(key(1), 7, &mut desk.events));
    assert!(desk.market.modify(key(2), Side::Sell, 5, &mut desk.events));
    assert_eq!(desk.book(Side::Sell), [(1, 7), (2, 5), (3, 10)]);
}

#[test]
fn modify_ignores_increases_and_changes_sides_among_sales_only() {
    let mut desk = Desk::with(&[sell(1, 10, 1000), buy(2, 10, 900)]);
    assert!(desk.market.modify(key(1), Side::SellShort, 50, &mut desk.events));
    let Event::Modified(modified) = desk.events[0] else { panic!() };
    assert_eq!((modified.order.open, modified.quantity), (10, 0));
    assert_eq!((modified.order.side, modified.old_side), (Side::SellShort, Side::Sell));
    assert!(!desk.market.modify(key(1), Side::Buy, 5, &mut desk.events));
    assert!(!desk.market.modify(key(2), Side::Sell, 5, &mut desk.events));
    assert_eq!((desk.events.len(), desk.book(Side::Sell)), (1, vec![(1, 10)]));
}

#[test]
fn a_mass_cancel_takes_what_its_filter_names_in_the_order_of_entry() {
    let mut desk = Desk::with(&[
        NewOrder { firm: 1, ..buy(4, 10, 1000) },
        NewOrder { firm: 2, ..buy(8, 10, 1001) },
        NewOrder { firm: 1, group_id: 5, ..sell(12, 10, 1010) },
        NewOrder { firm: 1, ..buy(1, 10, 990) },
        NewOrder { firm: 1, ..buy(16, 10, 1002) },
    ]);
    let reason = CancelReason::Disconnected;
    let filter = MassCancel { firm: Some(1), side: Some(Side::Buy), ..MassCancel::default() };
    assert_eq!(desk.market.cancel_owner(0, &filter, reason, &mut desk.events), 2);
    assert_eq!(desk.cancels(), [(4, 10, reason), (16, 10, reason)]);
    let filter = MassCancel { group_id: Some(5), ..MassCancel::default() };
    assert_eq!(desk.market.cancel_owner(0, &filter, reason, &mut desk.events), 1);
    assert_eq!(desk.market.cancel_owner(0, &MassCancel::default(), reason, &mut desk.events), 1);
    assert_eq!(desk.book(Side::Buy), [(1, 10)], "another owner's");
}

#[test]
fn what_is_not_open_collects_without_matching() {
    let mut desk = Desk::with(&[sell(1, 10, 1000)]);
    desk.market.set_state(0, TradingState::Halted).expect("exists");
    desk.enter(buy(2, 10, 1005));
    desk.enter(immediate(buy(3, 10, 1005)));
    assert_eq!((desk.trades(), desk.cancels()), (vec![], vec![(3, 10, CancelReason::NotTrading)]));
    assert!(desk.market.is_crossed(0));
    assert!(desk.market.set_state(0, TradingState::Open).is_err(), "a crossed book opens by an auction only");
    desk.market.set_state(0, TradingState::Closed).expect("exists");
    assert_eq!(desk.market.enter(&buy(5, 1, 900), &mut ()), Err(Reject::Closed));
    assert_eq!(
        desk.market.replace(&ReplaceOrder::limit(key(2), 6, 10, 90_000), &mut ()),
        ReplaceOutcome::Refused(Reject::Closed)
    );
    assert!(desk.market.cancel(key(2), 0, &mut ()), "cancels always work");
}
