//! The first things anyone tries with a book. Not the matching rules in depth: those are in `matching_rules.rs`.

use book::{
    CancelReason, Event, InstrumentSpec, Limits, Market, NewOrder, OrderKey, Reject, ReplaceOrder,
    ReplaceOutcome, Side, TimeInForce,
};

const A: u32 = 1;
const B: u32 = 2;

fn market() -> Market {
    let mut market = Market::new(Limits::new(2, 8, 64));
    market.add_instrument(InstrumentSpec { tick: 100, lot: 1, ..InstrumentSpec::default() }).expect("room");
    market
}

fn key(owner: u32, user_ref: u32) -> OrderKey {
    OrderKey::new(owner, 0, user_ref)
}

#[test]
fn a_resting_order_trades_at_its_own_price() {
    let mut market = market();
    let mut events = Vec::new();
    market.enter(&NewOrder::limit(key(A, 1), 0, Side::Sell, 100, 10_0000), &mut ()).expect("valid");
    market.enter(&NewOrder::limit(key(B, 1), 0, Side::Buy, 150, 10_0500), &mut events).expect("valid");
    let Event::Executed(trade) = events[1] else { panic!("{events:?}") };
    assert_eq!((trade.price, trade.quantity, trade.match_number), (10_0000, 100, 1));
    assert_eq!((trade.maker.key, trade.maker.open), (key(A, 1), 0));
    let Event::Booked { order, replaces: None } = events[2] else { panic!("{events:?}") };
    assert_eq!((order.open, order.displayed, order.executed, order.price), (50, 50, 100, 10_0500));
    assert_eq!(market.live_orders(), 1);
}

#[test]
fn cancel_counts_executed_shares_and_keeps_the_place() {
    let mut market = market();
    market.enter(&NewOrder::limit(key(A, 1), 0, Side::Sell, 100, 10_0000), &mut ()).expect("valid");
    market.enter(&NewOrder::limit(key(A, 2), 0, Side::Sell, 100, 10_0000), &mut ()).expect("valid");
    market.enter(&NewOrder::market(key(B, 1), 0, Side::Buy, 30), &mut ()).expect("valid");
    let mut events = Vec::new();
    assert!(market.cancel(key(A, 1), 80, &mut events));
    let Event::Cancelled(cancelled) = events[0] else { panic!() };
    assert_eq!((cancelled.quantity, cancelled.order.open, cancelled.reason), (20, 50, CancelReason::User));
    assert!(!market.cancel(key(A, 1), 80, &mut events), "superfluous");
    let first = market.resting(0, Side::Sell).next().expect("one");
    assert_eq!(first.key, key(A, 1));
    assert!(market.cancel(key(A, 1), 30, &mut events), "30 have been executed: nothing is left");
    assert_eq!(market.order(key(A, 1)), None);
}

#[test]
fn replace_exposes_the_total_less_what_was_executed() {
    let mut market = market();
    market.enter(&NewOrder::limit(key(A, 1), 0, Side::Sell, 500, 10_0000), &mut ()).expect("valid");
    market.enter(&NewOrder::market(key(B, 1), 0, Side::Buy, 100), &mut ()).expect("valid");
    let mut events = Vec::new();
    let outcome = market.replace(&ReplaceOrder::limit(key(A, 1), 2, 500, 10_0100), &mut events);
    assert_eq!(outcome, ReplaceOutcome::Replaced);
    let Event::Replaced(replaced) = events[0] else { panic!() };
    assert_eq!((replaced.order.open, replaced.original_open, replaced.original_ref), (400, 400, 1));
    let Event::Booked { order, replaces } = events[1] else { panic!() };
    assert_eq!((order.displayed, replaces), (400, Some(1)));
    let outcome = market.replace(&ReplaceOrder::limit(key(A, 2), 3, 100, 10_0100), &mut events);
    assert_eq!(outcome, ReplaceOutcome::OriginalCancelled(None));
    assert_eq!(market.live_orders(), 0);
}

#[test]
fn an_invalid_order_changes_nothing() {
    let mut market = market();
    let good = NewOrder::limit(key(A, 1), 0, Side::Buy, 10, 10_0000);
    let mut events: Vec<Event> = Vec::new();
    for (order, reject) in [
        (NewOrder { instrument: 1, ..good }, Reject::UnknownInstrument(1)),
        (NewOrder { price: 10_0001, ..good }, Reject::InvalidPrice(10_0001)),
        (NewOrder { price: 0, ..good }, Reject::InvalidPrice(0)),
        (NewOrder { price: u64::MAX - 1, ..good }, Reject::InvalidPrice(u64::MAX - 1)),
        (NewOrder { quantity: 0, ..good }, Reject::InvalidQuantity(0)),
        (NewOrder { quantity: 1_000_000, ..good }, Reject::InvalidQuantity(1_000_000)),
        (NewOrder { max_floor: 11, ..good }, Reject::InvalidMaxFloor(11)),
        (NewOrder { min_quantity: 1, ..good }, Reject::InvalidMinQuantity(1)),
        (NewOrder { key: key(8, 1), ..good }, Reject::UnknownOwner(8)),
        (NewOrder { time_in_force: TimeInForce::GoodTill(86_401), ..good }, Reject::InvalidExpiry(86_401)),
    ] {
        assert_eq!(market.enter(&order, &mut events), Err(reject));
    }
    assert_eq!((events.len(), market.live_orders()), (0, 0));
    assert_eq!(market.enter(&good, &mut events), Ok(1));
    assert_eq!(market.enter(&good, &mut events), Err(Reject::DuplicateKey(good.key)));
}

#[test]
fn a_full_market_refuses_and_recovers() {
    let mut market = market();
    for user_ref in 0..64 {
        let price = 10_0000 + u64::from(user_ref) * 6_400;
        let order = NewOrder::limit(key(A, user_ref), 0, Side::Sell, 10, price);
        match market.enter(&order, &mut ()) {
            Ok(_) => {}
            Err(Reject::LevelsExhausted) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let live = market.live_orders();
    assert_eq!(
        market.enter(&NewOrder::limit(key(B, 1), 0, Side::Sell, 10, 150_0000), &mut ()),
        Err(Reject::LevelsExhausted)
    );
    assert_eq!(market.live_orders(), live);
    assert!(market.cancel(key(A, 0), 0, &mut ()));
    market.enter(&NewOrder::limit(key(B, 1), 0, Side::Sell, 10, 10_0000), &mut ()).expect("room again");
}
