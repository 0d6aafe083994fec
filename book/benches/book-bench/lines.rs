//! What could be pathological, each a line: long queues, long sweeps, prices from one end to the other, many idle instruments.

use book::random::Random;
use book::{CancelReason, Market, MassCancel, NewOrder, OrderKey, PRICE_MAX, Side};

use crate::drive::new_market;
use crate::flow::{Cancels, Popularity, Shape};
use crate::measure::{Delivery, Run, processor_time_ns};
use crate::message::TICK;
use crate::report::{Budget, Report};

/// Orders of a long queue, and of a long sweep.
const MANY: u32 = 100_000;

pub fn lines(report: &mut Report, rounds: usize) {
    let mut line = |name: &str, unit, work: &mut dyn FnMut() -> f64| {
        let costs: Vec<f64> = (0..rounds).map(|_| work()).collect();
        report.add(&format!("book.line.{name}"), unit, Budget::None, &costs);
    };
    line("sweep", "ns/execution", &mut || sweep(1));
    line("sweep_1000_levels", "ns/execution", &mut || sweep(1_000));
    line("long_level", "ns/message", &mut long_level);
    line("any_price", "ns/message", &mut || prices(1, PRICE_MAX / u64::from(TICK)));
    line("page_boundary", "ns/message", &mut || prices(4_094, 4_098));
    line("one_price", "ns/message", &mut || prices(5_000, 5_000));
    line("mass_cancel", "ns/order", &mut mass_cancel);
    line("10_of_16384_instruments", "ns/message", &mut || few_of_many(16_384));
    line("10_of_10_instruments", "ns/message", &mut || few_of_many(10));
}

fn key(reference: u32) -> OrderKey {
    OrderKey::new(reference % 100, 0, reference / 100)
}

fn full_level(levels: u32) -> Market {
    let mut market = new_market(1, 100, MANY + 1_000);
    for reference in 0..MANY {
        let tick = 10_000 + reference % levels;
        let order = NewOrder::limit(key(reference), 0, Side::Sell, 100, u64::from(tick * TICK));
        assert!(market.enter(&order, &mut ()).is_ok());
    }
    market
}

/// Orders that each take a thousand others.
fn sweep(levels: u32) -> f64 {
    let mut market = full_level(levels);
    let start = processor_time_ns();
    for reference in 0..MANY / 1_000 {
        let taker = NewOrder::limit(key(MANY + reference), 0, Side::Buy, 100_000, PRICE_MAX / 100 * 100);
        assert!(market.enter(&taker, &mut ()).is_ok());
    }
    assert_eq!(market.live_orders(), 0);
    (processor_time_ns() - start) as f64 / f64::from(MANY)
}

/// Cancels anywhere in a queue of 100,000, and new orders at its end.
fn long_level() -> f64 {
    let mut market = full_level(1);
    let mut random = Random::new(1);
    let mut live: Vec<u32> = (0..MANY).collect();
    const MESSAGES: u32 = 100_000;
    let start = processor_time_ns();
    for step in 0..MESSAGES / 2 {
        let at = random.below(live.len() as u64) as usize;
        assert!(market.cancel(key(live[at]), 0, &mut ()));
        live[at] = MANY + step;
        let order = NewOrder::limit(key(MANY + step), 0, Side::Sell, 100, u64::from(10_000 * TICK));
        assert!(market.enter(&order, &mut ()).is_ok());
    }
    (processor_time_ns() - start) as f64 / f64::from(MESSAGES)
}

/// Buys and cancels of the order before the last hundred, at prices from `first` to `last` ticks.
fn prices(first: u64, last: u64) -> f64 {
    let mut market = new_market(1, 100, 10_000);
    let mut random = Random::new(1);
    const MESSAGES: u32 = 200_000;
    let start = processor_time_ns();
    for step in 0..MESSAGES / 2 {
        let tick = first + random.below(last - first + 1);
        let order = NewOrder::limit(key(step), 0, Side::Buy, 100, tick * u64::from(TICK));
        assert!(market.enter(&order, &mut ()).is_ok());
        if step >= 100 {
            assert!(market.cancel(key(step - 100), 0, &mut ()));
        }
    }
    (processor_time_ns() - start) as f64 / f64::from(MESSAGES)
}

fn mass_cancel() -> f64 {
    let mut market = full_level(300);
    let start = processor_time_ns();
    for owner in 0..100 {
        market.cancel_owner(owner, &MassCancel::default(), CancelReason::Disconnected, &mut ());
    }
    assert_eq!(market.live_orders(), 0);
    (processor_time_ns() - start) as f64 / f64::from(MANY)
}

/// Ten busy instruments in a market of many, all with resting orders.
fn few_of_many(instruments: u32) -> f64 {
    let shape = Shape {
        instruments,
        resting: 40,
        active: 30,
        owners: 100,
        messages: 200_000,
        cancels: Cancels::Near,
        popularity: Popularity::First(10),
        seed: 1,
    };
    let flow = shape.generate();
    Run::new(&flow, 1, Delivery::OneByOne).piece().processor
}
