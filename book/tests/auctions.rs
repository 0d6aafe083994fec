//! Auctions on small books whose result can be seen by eye. Random ones are in `agrees_with_model.rs`.

use book::{
    AuctionError, CancelReason, Cross, CrossKind, CrossType, Event, InstrumentSpec, Limits, MARKET_PRICE,
    Market, NewOrder, OrderKey, Reject, Side, TradingState,
};

fn before_the_open(orders: &[NewOrder]) -> Market {
    let mut market = Market::new(Limits::new(1, 4, 100));
    let spec = InstrumentSpec { state: TradingState::PreOpen, ..InstrumentSpec::default() };
    market.add_instrument(spec).expect("room");
    for order in orders {
        market.enter(order, &mut ()).expect("a valid order");
    }
    market
}

fn order(name: u32, side: Side, quantity: u32, cents: u64) -> NewOrder {
    let price = if cents == 0 { MARKET_PRICE } else { cents * 100 };
    let cross = if cents == 0 { CrossType::Opening } else { CrossType::Continuous };
    NewOrder { cross, ..NewOrder::limit(OrderKey::new(0, 0, name), 0, side, quantity, price) }
}

fn buy(name: u32, quantity: u32, cents: u64) -> NewOrder {
    order(name, Side::Buy, quantity, cents)
}

fn sell(name: u32, quantity: u32, cents: u64) -> NewOrder {
    order(name, Side::Sell, quantity, cents)
}

fn on(cross: CrossType, order: NewOrder) -> NewOrder {
    NewOrder { cross, ..order }
}

/// Price in cents and volume of the opening auction.
fn opening(orders: &[NewOrder], reference_cents: u64) -> (u64, u64) {
    opening_near(orders, Some(reference_cents * 100))
}

/// The same without a reference price.
fn opening_unreferenced(orders: &[NewOrder]) -> (u64, u64) {
    opening_near(orders, None)
}

fn opening_near(orders: &[NewOrder], reference: Option<u64>) -> (u64, u64) {
    let mut market = before_the_open(orders);
    let shown = market.indicative(0, CrossKind::Opening, reference).expect("exists");
    let cross =
        market.uncross(0, CrossKind::Opening, reference, TradingState::Open, &mut ()).expect("not held yet");
    assert_eq!((shown.price.unwrap_or(0), shown.paired), (cross.price, cross.quantity));
    assert!(!market.is_crossed(0));
    (cross.price / 100, cross.quantity)
}

#[test]
fn the_price_maximises_volume() {
    // At 1000: min(300, 100); at 1001: min(200, 250); at 1002: min(100, 250).
    let orders =
        [buy(1, 100, 1002), buy(2, 100, 1001), buy(3, 100, 1000), sell(4, 100, 1000), sell(5, 150, 1001)];
    assert_eq!(opening(&orders, 1002), (1001, 200));
}

#[test]
fn among_equal_volumes_the_price_minimises_the_imbalance() {
    // 100 trade anywhere from 1000 to 1004; at 1003 and above only 100 are wanted, below 150.
    let orders = [buy(1, 100, 1004), buy(2, 50, 1002), sell(3, 100, 1000)];
    assert_eq!(opening(&orders, 1000), (1003, 100));
}

#[test]
fn among_equal_imbalances_the_price_is_nearest_to_the_reference() {
    let orders = [buy(1, 100, 1010), sell(2, 100, 1000)];
    assert_eq!(opening(&orders, 1007), (1007, 100));
    assert_eq!(opening(&orders, 900), (1000, 100));
    assert_eq!(opening(&orders, 2000), (1010, 100));
}

#[test]
fn market_orders_alone_trade_at_the_reference() {
    assert_eq!(opening(&[buy(1, 100, 0), sell(2, 60, 0)], 1234), (1234, 60));
    assert_eq!(opening(&[buy(1, 100, 0)], 1234), (0, 0));
    assert_eq!(opening(&[], 1234), (0, 0));
}

#[test]
fn market_orders_go_first_then_price_then_time_with_hidden_orders_last() {
    let orders = [
        NewOrder { hidden: true, ..buy(1, 10, 1000) },
        buy(2, 10, 1000),
        on(CrossType::Opening, buy(3, 10, 1000)),
        buy(4, 10, 1000),
        buy(5, 10, 1001),
        buy(6, 10, 0),
        sell(7, 60, 1000),
    ];
    let mut market = before_the_open(&orders);
    let mut events = Vec::new();
    market
        .uncross(0, CrossKind::Opening, Some(100_000), TradingState::Open, &mut events)
        .expect("not held yet");
    let buyers: Vec<u32> = events
        .iter()
        .filter_map(|event| match event {
            Event::ExecutedInCross(trade) => {
                assert_eq!(trade.price, 100_000, "one price for all");
                Some(trade.buy.key.user_ref)
            }
            _ => None,
        })
        .collect();
    assert_eq!(buyers, [6, 5, 2, 3, 4, 1]);
    let Some(Event::Crossed(Cross { quantity: 60, price: 100_000, .. })) = events.last() else {
        panic!("{events:?}")
    };
}

#[test]
fn what_is_left_of_orders_for_the_auction_is_cancelled_and_the_rest_trades_on() {
    let orders =
        [buy(1, 100, 0), on(CrossType::Opening, buy(2, 50, 1000)), buy(3, 50, 1000), sell(4, 70, 1000)];
    let mut market = before_the_open(&orders);
    let mut events = Vec::new();
    market
        .uncross(0, CrossKind::Opening, Some(100_000), TradingState::Open, &mut events)
        .expect("not held yet");
    let cancelled: Vec<(u32, u32)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Cancelled(it) => {
                assert_eq!((it.reason, it.displayed_quantity), (CancelReason::CrossRemainder, 0));
                Some((it.order.key.user_ref, it.quantity))
            }
            _ => None,
        })
        .collect();
    assert_eq!(cancelled, [(1, 30), (2, 50)]);
    assert_eq!(market.resting(0, Side::Buy).map(|order| order.open).collect::<Vec<_>>(), [50]);
    assert_eq!(market.state(0), Some(TradingState::Open));
    assert_eq!(market.enter(&buy(9, 10, 0), &mut ()), Err(Reject::InvalidCross), "the opening is over");
    assert_eq!(
        market.uncross(0, CrossKind::Opening, Some(1), TradingState::Open, &mut ()),
        Err(AuctionError::Over(CrossKind::Opening))
    );
}

#[test]
fn orders_for_the_close_wait_unseen_through_the_day() {
    let mut market = before_the_open(&[on(CrossType::Closing, buy(1, 100, 1010)), sell(2, 30, 1000)]);
    market.uncross(0, CrossKind::Opening, Some(100_000), TradingState::Open, &mut ()).expect("not held yet");
    assert_eq!(market.best(0, Side::Buy, true), None);
    let mut events = Vec::new();
    market.enter(&sell(3, 30, 1000), &mut events).expect("valid");
    assert!(
        matches!(events.last(), Some(Event::Booked { .. })),
        "does not trade with an order for the close"
    );
    let shown = market.indicative(0, CrossKind::Closing, Some(100_000)).expect("exists");
    assert_eq!((shown.paired, shown.imbalance, shown.imbalance_side), (60, 40, Some(Side::Buy)));
    assert_eq!(shown.far_price, None, "nobody else is there for the close only");
    let cross =
        market.uncross(0, CrossKind::Closing, Some(100_000), TradingState::Closed, &mut ()).expect("open");
    assert_eq!((cross.quantity, market.live_orders(), market.state(0)), (60, 0, Some(TradingState::Closed)));
}

#[test]
fn a_halt_ends_with_an_auction() {
    let mut market = before_the_open(&[]);
    market.set_state(0, TradingState::Open).expect("exists");
    market.set_state(0, TradingState::Halted).expect("exists");
    market.enter(&buy(1, 100, 1005), &mut ()).expect("collected");
    market.enter(&sell(2, 60, 1000), &mut ()).expect("collected");
    let cross =
        market.uncross(0, CrossKind::Resumption, Some(100_300), TradingState::Open, &mut ()).expect("halted");
    assert_eq!((cross.price, cross.quantity), (100_300, 60), "60 trade and 40 are left from 1000 to 1005");
    market.enter(&sell(3, 40, 1005), &mut ()).expect("trades");
    assert_eq!(market.live_orders(), 0);
}

#[test]
fn without_a_reference_price_the_price_is_a_limit_that_trades() {
    // A market order on one side: the limit on the other, however good the market order would be.
    assert_eq!(opening_unreferenced(&[buy(1, 100, 1000), sell(2, 100, 0)]), (1000, 100));
    assert_eq!(opening_unreferenced(&[buy(1, 100, 0), sell(2, 100, 1000)]), (1000, 100));
    // The last limit that trades, not the best and not one behind it.
    let down = [sell(1, 150, 0), buy(2, 100, 1005), buy(3, 50, 1001), buy(4, 50, 900)];
    assert_eq!(opening_unreferenced(&down), (1001, 150));
    let up = [buy(1, 150, 0), sell(2, 100, 1000), sell(3, 50, 1004), sell(4, 50, 2000)];
    assert_eq!(opening_unreferenced(&up), (1004, 150));
    // Limits on both sides: the lower of the last two, unless the other leaves less over.
    assert_eq!(opening_unreferenced(&[buy(1, 100, 1005), sell(2, 100, 1000)]), (1000, 100));
    assert_eq!(opening_unreferenced(&[buy(1, 100, 1004), buy(2, 50, 1002), sell(3, 100, 1000)]), (1004, 100));
}

#[test]
fn without_a_reference_price_orders_at_any_price_do_not_trade_alone() {
    assert_eq!(opening_unreferenced(&[buy(1, 100, 0), sell(2, 100, 0)]), (0, 0));
    // A limit that does not trade says nothing: one share at one cent would set the price of a thousand.
    assert_eq!(opening_unreferenced(&[buy(1, 100, 0), sell(2, 100, 0), buy(3, 1, 1)]), (0, 0));
    assert_eq!(opening_unreferenced(&[buy(1, 100, 0), sell(2, 100, 0), sell(3, 1, 9999)]), (0, 0));
    // One that does says it for all.
    assert_eq!(opening_unreferenced(&[buy(1, 101, 0), sell(2, 100, 0), sell(3, 1, 9999)]), (9999, 101));
    let market = before_the_open(&[buy(1, 100, 0), sell(2, 70, 0)]);
    let shown = market.indicative(0, CrossKind::Opening, None).expect("exists");
    assert_eq!((shown.price, shown.paired, shown.unpriced, shown.imbalance), (None, 0, 70, 30));
    let shown = market.indicative(0, CrossKind::Opening, Some(100_000)).expect("exists");
    assert_eq!((shown.price, shown.paired, shown.unpriced, shown.imbalance), (Some(100_000), 70, 0, 30));
}
