//! Trading states and auctions through the wire: what is collected, what an uncross trades and publishes, which changes there
//! are. Not the choice of the price, which the book's own tests cover.

use book::TradingState::{Auction, Closed, Halted, Open, PreOpen};
use engine::inputs::{FirmRights, Input};
use engine::shard::Shard;

use crate::ask::{CENT, TEN, account_query, alpha, buy, cancel, replace, sell};
use crate::venue::{Venue, genesis, instrument, opened};

#[test]
fn the_opening_collects_and_trades_at_one_price() {
    let mut v = Venue::new();
    let on = |order: crate::ask::Order| order.of("CCC");
    v.on(0, on(buy(1, 100, 0)).market().cross(b'O'), "0: accepted 1 B100@market as #1", "");
    v.on(0, on(buy(2, 100, TEN + 2 * CENT)), "0: accepted 2 B100@10.02 as #2", "add #2 B100@10.02");
    v.on(0, on(buy(3, 100, TEN)).cross(b'O'), "0: accepted 3 B100@10.00 as #3", "");
    v.on(0, on(buy(4, 50, TEN)).immediate(), "0: accepted 4 B50@10.00 as #4; 0: canceled 4 -50 I", "");
    v.on(2, on(sell(1, 150, TEN)), "2: accepted 1 S150@10.00 as #5", "add #5 S150@10.00");
    v.on(2, on(sell(2, 100, TEN + CENT)), "2: accepted 2 S100@10.01 as #6", "add #6 S100@10.01");
    v.input(Input::ReferencePrice { symbol: alpha("CCC"), price: TEN + CENT });
    v.state(
        "CCC",
        Open,
        "0: executed 1 100@10.01 O !1; 2: executed 1 100@10.01 O !1; 0: executed 2 50@10.01 O !2; \
         2: executed 1 50@10.01 O !2; 0: executed 2 50@10.01 O !3; 2: executed 2 50@10.01 O !3; \
         0: canceled 3 -100 I",
        "imbalance O paired 200 left 50S near 10.01 far 0.00 L; executed #5 100@10.01 N !1; \
         executed #2 50@10.01 N !2; executed #5 50@10.01 N !2; executed #2 50@10.01 N !3; \
         executed #6 50@10.01 N !3; cross O 200@10.01 !4; state T",
    );
    v.exposures_agree();
    v.on(0, on(buy(5, 10, TEN)).cross(b'O'), "0: rejected 5 0x0014", "");
    v.on(0, on(buy(6, 10, TEN)), "0: accepted 6 B10@10.00 as #7", "add #7 B10@10.00");
}

#[test]
fn a_halt_keeps_orders_refuses_new_ones_and_ends_with_an_auction() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 60, TEN), &sell(2, 10, TEN + 20 * CENT)]);
    v.state("AAA", Halted, "", "state H");
    v.on(2, buy(1, 10, TEN), "2: rejected 1 0x0007", "");
    v.on(0, cancel(1, 50), "0: canceled 1 -10 U", "reduced #1 -10");
    v.state("AAA", Auction, "", "state Q");
    v.on(2, buy(2, 100, TEN + 5 * CENT), "2: accepted 2 B100@10.05 as #3", "add #3 B100@10.05");
    v.on(2, buy(3, 10, 0).market(), "2: accepted 3 B10@market as #4; 2: canceled 3 -10 I", "");
    v.on(
        0,
        replace(1, 3, 50, TEN + CENT),
        "0: replaced 1 by 3 S50@10.01 as #5",
        "replaced #1 by #5 50@10.01",
    );
    v.input(Input::ReferencePrice { symbol: alpha("AAA"), price: TEN + 3 * CENT });
    v.state(
        "AAA",
        Open,
        "2: executed 2 50@10.03 K !1; 0: executed 3 50@10.03 K !1",
        "imbalance H paired 50 left 50B near 10.03 far 0.00 L; executed #3 50@10.03 N !1; \
         executed #5 50@10.03 N !1; cross H 50@10.03 !2; state T",
    );
    v.exposures_agree();
    assert!(!v.shard.market().is_crossed(0));
}

#[test]
fn the_close_trades_with_orders_for_it_and_empties_the_book() {
    let mut v = Venue::new();
    v.on(0, buy(1, 100, TEN + 10 * CENT).cross(b'C'), "0: accepted 1 B100@10.10 as #1", "");
    v.on(2, sell(1, 60, TEN), "2: accepted 1 S60@10.00 as #2", "add #2 S60@10.00");
    v.on(2, sell(2, 10, TEN + 50 * CENT).hidden(), "2: accepted 2 S10@10.50 as #3", "");
    v.on(2, sell(3, 10, TEN + 40 * CENT), "2: accepted 3 S10@10.40 as #4", "add #4 S10@10.40");
    v.state(
        "AAA",
        Closed,
        "0: executed 1 60@10.00 C !1; 2: executed 1 60@10.00 C !1; 0: canceled 1 -40 I; 2: canceled 3 -10 E; \
         2: canceled 2 -10 E",
        "imbalance C paired 60 left 40B near 10.00 far 0.00 L; executed #2 60@10.00 N !1; cross C 60@10.00 !2; \
         deleted #4; state H",
    );
    assert_eq!(v.shard.market().live_orders(), 0);
    v.exposures_agree();
    v.on(2, sell(4, 10, TEN), "2: rejected 4 0x0002", "");
    // A new day begins with its auctions ahead.
    v.state("AAA", PreOpen, "", "state Q");
    v.on(2, sell(5, 10, TEN).cross(b'O'), "2: accepted 5 S10@10.00 as #5", "");
}

#[test]
fn a_halted_instrument_closes_without_an_auction() {
    let mut v = Venue::new();
    v.on(0, buy(1, 100, TEN + 10 * CENT).cross(b'C'), "0: accepted 1 B100@10.10 as #1", "");
    v.on(2, sell(1, 60, TEN), "2: accepted 1 S60@10.00 as #2", "add #2 S60@10.00");
    v.state("AAA", Halted, "", "state H");
    v.state("AAA", Closed, "2: canceled 1 -60 E; 0: canceled 1 -100 E", "deleted #2; state H");
    v.exposures_agree();
    // Opened again the same day, it has had its close.
    v.state("AAA", Open, "", "state T");
    v.on(0, buy(2, 1, TEN).cross(b'C'), "0: rejected 2 0x0014", "");
    // An operator who wants the auction ends the halt first.
    let mut v = Venue::new();
    v.given(0, &[&buy(1, 100, TEN).cross(b'C')]);
    v.given(2, &[&sell(1, 100, TEN)]);
    v.state("AAA", Halted, "", "state H");
    v.state("AAA", Auction, "", "state Q");
    v.input(Input::SetState { symbol: Some(alpha("AAA")), state: Closed });
    assert!(v.words().0.contains("executed 1 100@10.00 C !1"));
}

#[test]
fn by_the_first_rules_a_halted_instrument_closes_with_an_auction() {
    let mut v = Venue::of_first_rules(genesis());
    v.input(Input::Instrument(instrument("AAA", Open), FirmRights::NONE));
    v.input(Input::SessionOpened(opened(0, "FRMA")));
    v.given(0, &[&buy(1, 100, TEN).cross(b'C'), &sell(2, 100, TEN)]);
    v.state("AAA", Halted, "", "state H");
    v.input(Input::SetState { symbol: Some(alpha("AAA")), state: Closed });
    assert!(v.words().0.contains("executed 1 100@10.00 C !1"));
}

#[test]
fn numbers_begin_again_with_a_new_day() {
    let mut v = Venue::new();
    v.given(0, &[&buy(7, 1, TEN), &buy(9, 1, TEN).channel(3)]);
    let close = |symbol: &str| Input::SetState { symbol: Some(alpha(symbol)), state: Closed };
    let all = |state| Input::SetState { symbol: None, state };
    // The day ends when the last instrument closes, and not before.
    v.input(close("AAA"));
    v.input(close("BBB"));
    v.input(Input::SetState { symbol: Some(alpha("AAA")), state: PreOpen });
    assert!(!v.words().0.contains("system"));
    v.on(0, buy(7, 1, TEN), "", "");
    v.input(close("AAA"));
    assert!(!v.words().0.contains("system"));
    v.input(close("CCC"));
    assert_eq!(v.words().0, "0: system E; 1: system E; 2: system E");
    // Closed once more, it is over all the same.
    v.when(all(Closed), "", "");
    v.on(0, buy(8, 1, TEN), "0: rejected 8 0x0002", "");
    // It is opened again without a new day: the numbers go on.
    v.when(all(Halted), "", "state H; state H; state H");
    v.on(0, buy(8, 1, TEN), "", "");
    v.input(all(Closed));
    assert_eq!(v.words().0, "0: system E; 1: system E; 2: system E");
    // The next day begins with the first instrument that collects for its opening, and only then.
    v.when(
        Input::SetState { symbol: Some(alpha("BBB")), state: PreOpen },
        "0: system S; 1: system S; 2: system S",
        "state Q",
    );
    v.when(all(PreOpen), "", "state Q; state Q");
    v.on(0, account_query(0), "0: next 1", "");
    v.on(0, account_query(3), "0: next 1 in 3", "");
    v.on(0, buy(1, 1, TEN), "0: accepted 1 B1@10.00 as #3", "add #3 B1@10.00");
    v.on(0, buy(1, 1, TEN), "", "");
    // A snapshot between the days has it too.
    v.input(all(Closed));
    let mut state = Vec::new();
    v.shard.write_state(&mut state);
    v.shard = Shard::restore(&state).expect("its own state");
    v.raw = Default::default();
    v.input(all(PreOpen));
    assert_eq!(v.words().0, "0: system S; 1: system S; 2: system S");
}

#[test]
fn by_the_first_rules_numbers_are_used_up_for_good() {
    let mut v = Venue::of_first_rules(genesis());
    v.input(Input::Instrument(instrument("AAA", Open), FirmRights::NONE));
    v.input(Input::SessionOpened(opened(0, "FRMA")));
    v.given(0, &[&buy(1, 100, TEN)]);
    v.input(Input::SetState { symbol: None, state: Closed });
    v.input(Input::SetState { symbol: None, state: PreOpen });
    assert!(!v.words().0.contains("system"));
    v.on(0, buy(1, 100, TEN), "", "");
}

#[test]
fn an_instrument_may_begin_in_any_state_and_go_from_any_to_any() {
    let states = [PreOpen, Open, Halted, Auction, Closed];
    for first in states {
        for path in 0..125 {
            let mut v = Venue::empty(genesis());
            v.input(Input::Instrument(instrument("AAA", first), FirmRights::NONE));
            v.input(Input::SessionOpened(opened(0, "FRMA")));
            v.input(Input::SessionOpened(opened(1, "FRMB")));
            let steps = [path / 25, path / 5 % 5, path % 5].map(|index| states[index]);
            for (step, state) in (1..).zip(steps) {
                // Whatever is accepted crosses, so that a way into continuous trading without an auction would show.
                v.send(0, &[crate::ask::Request::bytes(&buy(step, 100, TEN + CENT))]);
                v.send(1, &[crate::ask::Request::bytes(&sell(step, 90, TEN))]);
                let before = v.shard.next_feed();
                let moved = v.try_input(Input::SetState { symbol: Some(alpha("AAA")), state });
                assert_eq!(moved, Ok(()), "{first:?} then {steps:?}, step {step}");
                assert_eq!(v.shard.market().state(0), Some(state));
                assert_eq!(v.shard.instruments()[0].state, state);
                assert!(state != Open || !v.shard.market().is_crossed(0), "{first:?} then {steps:?}");
                assert!(state != Closed || v.shard.market().live_orders() == 0);
                assert!(v.shard.next_feed() >= before);
                v.exposures_agree();
            }
        }
    }
}

#[test]
fn the_feed_begins_with_the_instruments() {
    let mut v = Venue::empty(genesis());
    v.when(
        Input::Instrument(instrument("AAA", PreOpen), FirmRights::NONE),
        "",
        "system O; system S; directory; state Q",
    );
    v.when(Input::Instrument(instrument("BBB", Open), FirmRights::NONE), "", "directory; state T");
    v.when(Input::SessionOpened(opened(0, "FRMA")), "0: system S", "");
    v.input(Input::SetState { symbol: None, state: Halted });
    let (_, feed) = v.said();
    let states: Vec<_> = feed.iter().map(|tick| (tick.locate, tick.to_string())).collect();
    assert_eq!(states, [(1, "state H".to_owned()), (2, "state H".to_owned())]);
}

#[test]
fn without_a_reference_price_an_auction_needs_a_limit_and_the_operator_is_told() {
    let mut v = Venue::new();
    let on = |order: crate::ask::Order| order.of("CCC").cross(b'O');
    v.input(Input::ReferencePrice { symbol: alpha("CCC"), price: 0 });
    v.given(0, &[&on(buy(1, 100, 0)).market()]);
    v.given(2, &[&on(sell(1, 70, 0)).market()]);
    let open = Input::SetState { symbol: Some(alpha("CCC")), state: Open };
    let remark = v.shard.remark(&open);
    assert!(remark.starts_with("CCC: 70 shares"), "{remark:?}");
    assert_eq!(v.shard.remark(&Input::SetState { symbol: None, state: Open }), remark);
    v.when(
        open,
        "0: canceled 1 -100 I; 2: canceled 1 -70 I",
        "imbalance O paired 0 left 30B near 0.00 far 0.00  ; cross O 0@0.00 !1; state T",
    );
    assert_eq!(v.shard.remark(&open), "", "it is open already");
    // With a limit that trades there is a price.
    let mut v = Venue::new();
    v.input(Input::ReferencePrice { symbol: alpha("CCC"), price: 0 });
    v.given(0, &[&on(buy(1, 100, TEN))]);
    v.given(2, &[&on(sell(1, 70, 0)).market()]);
    assert_eq!(v.shard.remark(&open), "");
    v.input(open);
    assert!(v.words().0.starts_with("0: executed 1 70@10.00 O !1; 2: executed 1 70@10.00 O !1"));
    // The first rules took the lowest tick.
    let mut v = Venue::of_first_rules(genesis()).furnished();
    v.input(Input::ReferencePrice { symbol: alpha("CCC"), price: 0 });
    v.given(0, &[&on(buy(1, 100, 0)).market()]);
    v.given(2, &[&on(sell(1, 70, 0)).market()]);
    assert_eq!(v.shard.remark(&open), "");
    v.input(open);
    assert!(v.words().0.starts_with("0: executed 1 70@0.01 O !1"));
}
