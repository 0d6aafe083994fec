//! Each request and what it answers, on both sides of the wire: to the sessions concerned, and on the feed. Not the codes of
//! refused requests: `reject_codes`; not auctions: `trading_states`.

use book::TradingState;
use engine::config::RiskConfig;
use engine::inputs::Input;
use wire::ouch::tag;

use crate::ask::{
    CENT, Order, Request, TEN, account_query, alpha, buy, cancel, cancel_in, disable, enable, mass_cancel,
    modify, modify_in, replace, sell,
};
use crate::venue::{SECOND, Venue, genesis};

#[test]
fn trades_are_at_the_resting_price_and_a_partial_fill_keeps_its_place() {
    let mut v = Venue::new();
    v.on(0, sell(1, 100, TEN), "0: accepted 1 S100@10.00 as #1", "add #1 S100@10.00");
    v.on(0, sell(2, 100, TEN), "0: accepted 2 S100@10.00 as #2", "add #2 S100@10.00");
    v.on(
        2,
        buy(1, 30, TEN + 5 * CENT),
        "2: accepted 1 B30@10.05 as #3; 2: executed 1 30@10.00 R !1; 0: executed 1 30@10.00 A !1",
        "executed #1 30 !1",
    );
    v.on(
        2,
        buy(2, 100, TEN),
        "2: accepted 2 B100@10.00 as #4; 2: executed 2 70@10.00 R !2; 0: executed 1 70@10.00 A !2; \
         2: executed 2 30@10.00 R !3; 0: executed 2 30@10.00 A !3",
        "executed #1 70 !2; executed #2 30 !3",
    );
    v.exposures_agree();
}

#[test]
fn a_cancel_gives_the_new_total_and_a_partial_one_keeps_its_place() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN), &sell(2, 100, TEN)]);
    v.on(0, cancel(1, 60), "0: canceled 1 -40 U", "reduced #1 -40");
    v.on(0, cancel(1, 60), "", "");
    v.on(0, cancel(1, 70), "", "");
    v.on(0, cancel(9, 0), "", "");
    // Another session's order of the same number is another order.
    v.on(1, cancel(1, 0), "", "");
    v.on(
        2,
        buy(1, 50, TEN),
        "2: accepted 1 B50@10.00 as #3; 2: executed 1 50@10.00 R !1; 0: executed 1 50@10.00 A !1",
        "executed #1 50 !1",
    );
    // 50 executed: a total of 55 leaves 5, a total of 50 none.
    v.on(0, cancel(1, 55), "0: canceled 1 -5 U", "reduced #1 -5");
    v.on(0, cancel(1, 50), "0: canceled 1 -5 U", "deleted #1");
    v.on(0, cancel(1, 0), "", "");
    v.on(0, cancel(2, 0), "0: canceled 2 -100 U", "deleted #2");
    v.exposures_agree();
}

#[test]
fn a_chain_of_500_with_100_executed_is_replaced_by_400() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 500, TEN)]);
    v.given(2, &[&buy(1, 100, TEN)]);
    v.on(0, replace(1, 2, 500, TEN), "0: replaced 1 by 2 S400@10.00 as #3", "replaced #1 by #3 400@10.00");
    v.exposures_agree();
    // The chain goes on counting.
    v.on(
        0,
        replace(2, 3, 300, TEN + CENT),
        "0: replaced 2 by 3 S200@10.01 as #4",
        "replaced #3 by #4 200@10.01",
    );
    // Nothing is left of a total that has been executed.
    v.on(0, replace(3, 4, 100, TEN), "0: canceled 3 -200 U", "deleted #4");
    v.on(0, account_query(0), "0: next 4", "");
    v.exposures_agree();
}

#[test]
fn a_replacement_of_a_dead_order_or_with_a_used_number_is_ignored_and_uses_no_number() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN), &sell(2, 100, TEN), &cancel(1, 0)]);
    v.on(0, replace(1, 3, 100, TEN), "", "");
    v.on(0, replace(7, 3, 100, TEN), "", "");
    v.on(0, replace(2, 2, 100, TEN), "", "");
    v.on(0, replace(2, 1, 100, TEN), "", "");
    v.on(0, account_query(0), "0: next 3", "");
    v.on(0, sell(3, 1, TEN), "0: accepted 3 S1@10.00 as #3", "add #3 S1@10.00");
}

#[test]
fn a_replacement_with_invalid_details_ends_the_original_and_uses_no_number() {
    let to = || replace(1, 2, 100, TEN);
    let tagged = |number, value| {
        to().tagged(|tags| {
            tags.u8(number, value);
        })
    };
    let cases: Vec<(&str, Order)> = vec![
        ("display", to().with(|it| it.display = b'Q')),
        ("sweep", to().with(|it| it.inter_market_sweep_eligibility = b'X')),
        ("time in force", to().with(|it| it.time_in_force = b'4')),
        ("after hours", to().with(|it| it.time_in_force = b'E')),
        ("no expiry", to().with(|it| it.time_in_force = b'6')),
        ("expiry", to().until(86_400)),
        ("price 0", replace(1, 2, 100, 0)),
        ("tick", replace(1, 2, 100, TEN + 50)),
        ("price", replace(1, 2, 100, 2_000_000_100)),
        ("quantity 0", replace(1, 2, 0, TEN)),
        ("quantity", replace(1, 2, 1_000_000, TEN)),
        ("floor", to().shows(101)),
        ("hidden floor", to().shows(50).hidden()),
        ("minimum of a day order", to().minimum(10)),
        ("minimum", to().immediate().minimum(101)),
        ("post-only", tagged(tag::POST_ONLY, b'X')),
        ("pegged", tagged(tag::PRICE_TYPE, b'M')),
        ("no such peg", tagged(tag::PRICE_TYPE, b'X')),
        ("handling", tagged(tag::HANDLE_INST, b'B')),
        ("strategy", tagged(tag::AIQ_STRATEGY, b'X')),
    ];
    for (what, request) in cases {
        let mut v = Venue::new();
        v.given(0, &[&sell(1, 100, TEN)]);
        v.send(0, &[request.bytes()]);
        let expected = ("0: canceled 1 -100 U".to_owned(), "deleted #1".to_owned());
        assert_eq!(v.words(), expected, "{what}");
        v.on(0, account_query(0), "0: next 2", "");
        v.exposures_agree();
    }
}

#[test]
fn a_replacement_that_is_refused_leaves_the_original_and_uses_its_number() {
    let limit = |set: fn(&mut RiskConfig)| {
        let mut risk = RiskConfig::default();
        set(&mut risk);
        Input::SessionRisk { session: 0, risk }
    };
    let halt = Input::SetState { symbol: Some(alpha("AAA")), state: TradingState::Halted };
    let restrict = Input::Restriction { firm: alpha("FRMA"), symbol: alpha("AAA"), restricted: true };
    let cases: Vec<(Input<'_>, &str)> = vec![
        (halt, "0x0007"),
        (restrict, "0x0022"),
        (limit(|risk| risk.max_order_quantity = 99), "0x0031"),
        (limit(|risk| risk.max_order_notional = 100 * TEN - 1), "0x0030"),
        (limit(|risk| risk.max_gross_exposure = 100 * TEN - 1), "0x0020"),
    ];
    for (input, code) in cases {
        let mut v = Venue::new();
        v.given(0, &[&sell(1, 100, TEN)]);
        v.input(input);
        v.raw = Default::default();
        v.on(0, replace(1, 2, 100, TEN), &format!("0: rejected 2 {code}"), "");
        v.on(0, replace(1, 2, 100, TEN), "", "");
        v.on(0, account_query(0), "0: next 3", "");
        v.on(0, cancel(1, 0), "0: canceled 1 -100 U", "deleted #1");
        v.exposures_agree();
    }
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN), &disable(2, "", 0)]);
    v.on(0, replace(1, 3, 100, TEN), "0: rejected 3 0x000F", "");
    v.on(0, cancel(1, 0), "0: canceled 1 -100 U", "deleted #1");
}

#[test]
fn a_replacement_gives_back_what_the_original_had_open() {
    let mut v = Venue::new();
    let risk = RiskConfig { max_open_orders: 1, max_gross_exposure: 100 * TEN, ..RiskConfig::default() };
    v.input(Input::SessionRisk { session: 0, risk });
    v.on(0, sell(1, 100, TEN), "0: accepted 1 S100@10.00 as #1", "add #1 S100@10.00");
    v.on(0, sell(2, 1, TEN), "0: rejected 2 0x001E", "");
    v.on(0, replace(1, 3, 100, TEN), "0: replaced 1 by 3 S100@10.00 as #2", "replaced #1 by #2 100@10.00");
    v.on(0, replace(3, 4, 101, TEN), "0: rejected 4 0x0020", "");
    v.on(0, replace(3, 5, 50, 2 * TEN), "0: replaced 3 by 5 S50@20.00 as #3", "replaced #2 by #3 50@20.00");
    v.exposures_agree();
}

#[test]
fn a_replacement_queues_anew_and_may_trade() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN), &sell(2, 100, TEN)]);
    v.given(2, &[&buy(1, 40, TEN - 2 * CENT)]);
    v.on(0, replace(1, 3, 100, TEN), "0: replaced 1 by 3 S100@10.00 as #4", "replaced #1 by #4 100@10.00");
    v.on(
        2,
        buy(2, 10, TEN),
        "2: accepted 2 B10@10.00 as #5; 2: executed 2 10@10.00 R !1; 0: executed 2 10@10.00 A !1",
        "executed #2 10 !1",
    );
    v.on(
        0,
        replace(3, 4, 100, TEN - 2 * CENT),
        "0: replaced 3 by 4 S100@9.98 as #6; 0: executed 4 40@9.98 R !2; 2: executed 1 40@9.98 A !2",
        "deleted #4; executed #3 40 !2; add #6 S60@9.98",
    );
    // The best price is the new one, not a stale one.
    v.on(0, cancel(4, 0), "0: canceled 4 -60 U", "deleted #6");
    v.on(
        2,
        buy(3, 10, TEN),
        "2: accepted 3 B10@10.00 as #7; 2: executed 3 10@10.00 R !3; 0: executed 2 10@10.00 A !3",
        "executed #2 10 !3",
    );
    v.exposures_agree();
}

#[test]
fn the_feed_follows_a_replacement_into_hiding_and_into_another_name() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN)]);
    v.on(0, replace(1, 2, 100, TEN).hidden(), "0: replaced 1 by 2 S100@10.00 as #2", "deleted #1");
    v.on(0, replace(2, 3, 100, TEN), "0: replaced 2 by 3 S100@10.00 as #3", "add #3 S100@10.00");
    let attributed = |original, user_ref| replace(original, user_ref, 100, TEN).with(|it| it.display = b'A');
    v.on(0, attributed(3, 4), "0: replaced 3 by 4 S100@10.00 as #4", "deleted #3; add #4 S100@10.00 by FRMA");
    // "U" keeps the attribution, so it serves while that does not change.
    v.on(0, attributed(4, 5), "0: replaced 4 by 5 S100@10.00 as #5", "replaced #4 by #5 100@10.00");
    v.on(0, replace(5, 6, 100, TEN), "0: replaced 5 by 6 S100@10.00 as #6", "deleted #5; add #6 S100@10.00");
}

#[test]
fn a_modify_reduces_in_place_and_changes_the_kind_of_sale() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN), &sell(2, 100, TEN)]);
    v.on(0, modify(1, b'T', 40), "0: modified 1 T40", "reduced #1 -60");
    v.on(0, modify(1, b'E', 90), "0: modified 1 E40", "");
    v.on(0, modify(1, b'B', 20), "", "");
    v.on(0, modify(1, b'X', 20), "", "");
    v.on(0, modify(9, b'S', 20), "", "");
    v.on(
        2,
        buy(1, 10, TEN),
        "2: accepted 1 B10@10.00 as #3; 2: executed 1 10@10.00 R !1; 0: executed 1 10@10.00 A !1",
        "executed #1 10 !1",
    );
    v.exposures_agree();
    v.on(0, modify(1, b'S', 10), "0: canceled 1 -30 U", "deleted #1");
    v.exposures_agree();
}

#[test]
fn a_mass_cancel_takes_what_it_names_in_the_order_of_entry() {
    let setup = |v: &mut Venue| {
        let short = sell(4, 10, TEN + CENT).with(|it| it.side = b'T');
        v.given(
            0,
            &[&sell(1, 10, TEN), &buy(2, 10, TEN - CENT), &sell(3, 10, TEN).of("BBB").group(7), &short],
        );
        v.given(0, &[&sell(1, 10, TEN).channel(5).group(7)]);
        v.given(1, &[&sell(1, 10, TEN)]);
    };
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (
            mass_cancel(9, "", |_| ()),
            "0: mass-canceled 9; 0: canceled 1 -10 U; 0: canceled 2 -10 U; 0: canceled 3 -10 U; \
             0: canceled 4 -10 U; 0: canceled 1 -10 U in 5",
            "deleted #1; deleted #2; deleted #3; deleted #4; deleted #5",
        ),
        (mass_cancel(9, "BBB", |_| ()), "0: mass-canceled 9; 0: canceled 3 -10 U", "deleted #3"),
        (
            mass_cancel(9, "", |tags| {
                tags.u8(tag::SIDE, b'B');
            }),
            "0: mass-canceled 9; 0: canceled 2 -10 U",
            "deleted #2",
        ),
        (
            mass_cancel(9, "", |tags| {
                tags.u8(tag::SIDE, b'T');
            }),
            "0: mass-canceled 9; 0: canceled 4 -10 U",
            "deleted #4",
        ),
        (
            mass_cancel(9, "", |tags| {
                tags.u16(tag::GROUP_ID, 7);
            }),
            "0: mass-canceled 9; 0: canceled 3 -10 U; 0: canceled 1 -10 U in 5",
            "deleted #3; deleted #5",
        ),
        (
            mass_cancel(9, "AAA", |tags| {
                tags.u16(tag::GROUP_ID, 7);
            }),
            "0: mass-canceled 9; 0: canceled 1 -10 U in 5",
            "deleted #5",
        ),
        (
            mass_cancel(9, "", |tags| {
                tags.u8(tag::USER_REF_IDX, 5);
            }),
            "0: mass-canceled 9 in 5; 0: canceled 1 -10 U in 5",
            "deleted #5",
        ),
        (mass_cancel(9, "CCC", |_| ()), "0: mass-canceled 9", ""),
        (mass_cancel(4, "", |_| ()), "", ""),
    ];
    for (request, answers, feed) in cases {
        let mut v = Venue::new();
        setup(&mut v);
        v.on(0, request, answers, feed);
        v.exposures_agree();
        v.on(1, cancel(1, 0), "1: canceled 1 -10 U", "deleted #6");
    }
}

#[test]
fn order_entry_is_disabled_and_enabled_without_touching_what_is_open() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN)]);
    v.on(0, disable(2, "FRMA", 0), "0: disabled 2", "");
    v.on(0, disable(2, "FRMA", 0), "", "");
    v.on(0, sell(3, 100, TEN), "0: rejected 3 0x000F", "");
    // What is open can still be reduced, and the firm's other sessions go on.
    v.on(0, cancel(1, 50), "0: canceled 1 -50 U", "reduced #1 -50");
    v.on(1, sell(1, 10, TEN), "1: accepted 1 S10@10.00 as #2", "add #2 S10@10.00");
    v.on(0, enable(4, "", 0), "0: enabled 4", "");
    v.on(0, sell(5, 10, TEN), "0: accepted 5 S10@10.00 as #3", "add #3 S10@10.00");
    v.on(0, account_query(0), "0: next 6", "");
}

#[test]
fn channels_number_apart_and_their_answers_say_so() {
    let mut v = Venue::new();
    v.on(0, sell(1, 100, TEN).channel(3), "0: accepted 1 S100@10.00 as #1 in 3", "add #1 S100@10.00");
    v.on(0, sell(1, 100, TEN), "0: accepted 1 S100@10.00 as #2", "add #2 S100@10.00");
    v.on(0, sell(1, 100, TEN).channel(3), "", "");
    v.on(0, account_query(3), "0: next 2 in 3", "");
    v.on(0, account_query(4), "0: next 1 in 4", "");
    v.on(0, cancel(1, 60), "0: canceled 1 -40 U", "reduced #2 -40");
    v.on(0, cancel_in(3, 1, 90), "0: canceled 1 -10 U in 3", "reduced #1 -10");
    v.on(0, modify_in(3, 1, b'T', 80), "0: modified 1 T80 in 3", "reduced #1 -10");
    v.on(0, sell(2, 0, TEN).channel(3), "0: rejected 2 0x0013 in 3", "");
    v.on(
        2,
        buy(1, 10, TEN).channel(255),
        "2: accepted 1 B10@10.00 as #3 in 255; 2: executed 1 10@10.00 R !1 in 255; 0: executed 1 10@10.00 A !1 in 3",
        "executed #1 10 !1",
    );
    // 10 executed of a chain of 50.
    v.on(
        0,
        replace(1, 3, 50, TEN).channel(3).shows(20),
        "0: replaced 1 by 3 T40@10.00 as #4 in 3",
        "replaced #1 by #4 20@10.00",
    );
    v.on(0, disable(4, "", 3), "0: disabled 4 in 3", "");
    v.on(0, enable(5, "", 3), "0: enabled 5 in 3", "");
    // The other channel's order is in front; then the reserve refreshes.
    v.on(0, cancel(1, 0), "0: canceled 1 -60 U", "deleted #2");
    v.on(
        2,
        buy(2, 20, TEN),
        "2: accepted 2 B20@10.00 as #5; 2: executed 2 20@10.00 R !2; 0: executed 3 20@10.00 A !2 in 3; \
         0: restated 3 shows 20 as #6 in 3",
        "executed #4 20 !2; add #6 S20@10.00",
    );
    v.on(
        0,
        sell(6, 1, TEN).channel(3).aiq(*b"XX", b'W'),
        "0: accepted 6 S1@10.00 as #7 in 3",
        "add #7 S1@10.00",
    );
    v.exposures_agree();
}

#[test]
fn a_reused_reference_number_is_ignored_whether_its_order_lives_or_not() {
    let mut v = Venue::new();
    v.given(0, &[&sell(5, 100, TEN)]);
    for user_ref in [0, 1, 4, 5] {
        v.on(0, buy(user_ref, 10, TEN - CENT), "", "");
    }
    v.given(0, &[&cancel(5, 0)]);
    v.on(0, sell(5, 100, TEN), "", "");
    v.on(0, sell(6, 100, TEN), "0: accepted 6 S100@10.00 as #2", "add #2 S100@10.00");
    assert_eq!(v.shard.counters().repeated_requests, 5);
}

#[test]
fn what_an_immediate_order_cannot_trade_never_rests() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 50, TEN), &sell(2, 50, TEN + CENT)]);
    v.on(
        2,
        buy(1, 80, TEN).immediate(),
        "2: accepted 1 B80@10.00 as #3; 2: executed 1 50@10.00 R !1; 0: executed 1 50@10.00 A !1; 2: canceled 1 -30 I",
        "executed #1 50 !1",
    );
    v.on(
        2,
        buy(2, 80, 0).market(),
        "2: accepted 2 B80@market as #4; 2: executed 2 50@10.01 R !2; 0: executed 2 50@10.01 A !2; 2: canceled 2 -30 I",
        "executed #2 50 !2",
    );
    v.on(2, sell(3, 80, 2_000_000_000), "2: accepted 3 S80@market as #5; 2: canceled 3 -80 I", "");
    v.exposures_agree();
    assert_eq!(v.shard.market().live_orders(), 0);
}

#[test]
fn extended_hours_orders_are_day_orders() {
    let mut v = Venue::new();
    let order = sell(1, 100, TEN).with(|it| it.time_in_force = b'5');
    v.on(0, order, "0: accepted 1 S100@10.00 as #1", "add #1 S100@10.00");
    v.on(0, cancel(1, 0), "0: canceled 1 -100 U", "deleted #1");
}

#[test]
fn an_expired_order_does_not_match_what_comes_in_its_last_second() {
    let mut v = Venue::new();
    v.on(0, sell(1, 100, TEN).until(5), "0: accepted 1 S100@10.00 as #1", "add #1 S100@10.00");
    v.pass(5 * SECOND - 1);
    v.on(
        2,
        buy(1, 10, TEN),
        "2: accepted 1 B10@10.00 as #2; 2: executed 1 10@10.00 R !1; 0: executed 1 10@10.00 A !1",
        "executed #1 10 !1",
    );
    v.pass(1);
    assert!(v.shard.expires_by(v.now));
    v.on(
        2,
        buy(2, 10, TEN),
        "0: canceled 1 -90 T; 2: accepted 2 B10@10.00 as #3",
        "deleted #1; add #3 B10@10.00",
    );
    // Time alone does it too.
    v.given(0, &[&sell(2, 100, TEN + CENT).until(1)]);
    v.pass(SECOND);
    v.when(Input::Timer, "0: canceled 2 -100 T", "deleted #4");
    v.exposures_agree();
}

#[test]
fn a_minimum_is_met_or_nothing_trades() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 50, TEN), &sell(2, 50, TEN).hidden()]);
    v.on(
        2,
        buy(1, 101, TEN).immediate().minimum(101),
        "2: accepted 1 B101@10.00 as #3; 2: canceled 1 -101 I",
        "",
    );
    v.on(
        2,
        buy(2, 120, TEN).immediate().minimum(100),
        "2: accepted 2 B120@10.00 as #4; 2: executed 2 50@10.00 R !1; 0: executed 1 50@10.00 A !1; \
         2: executed 2 50@10.00 R !2; 0: executed 2 50@10.00 J !2; 2: canceled 2 -20 I",
        "executed #1 50 !1; trade #0 B50@10.00 !2",
    );
}

#[test]
fn fill_or_kill_counts_as_self_match_prevention_would_leave_it() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 50, TEN), &sell(2, 50, TEN).aiq(*b"G1", b'W')]);
    v.on(
        1,
        buy(1, 80, TEN).immediate().minimum(80).aiq(*b"G1", b'W'),
        "1: accepted 1 B80@10.00 as #3; 1: canceled 1 -80 I",
        "",
    );
    v.on(
        1,
        buy(2, 50, TEN).immediate().minimum(50).aiq(*b"G1", b'W'),
        "1: accepted 2 B50@10.00 as #4; 1: executed 2 50@10.00 R !1; 0: executed 1 50@10.00 A !1",
        "executed #1 50 !1",
    );
}

#[test]
fn a_post_only_order_is_removed_where_it_would_trade() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 50, TEN), &sell(2, 50, TEN + CENT).hidden()]);
    v.on(2, buy(1, 10, TEN).post_only(), "2: accepted 1 B10@10.00 as #3; 2: canceled 1 -10 G", "");
    v.on(2, buy(2, 10, TEN - CENT).post_only(), "2: accepted 2 B10@9.99 as #4", "add #4 B10@9.99");
    v.given(0, &[&cancel(1, 0)]);
    v.on(2, buy(3, 10, TEN + CENT).post_only(), "2: accepted 3 B10@10.01 as #5; 2: canceled 3 -10 F", "");
    v.exposures_agree();
}

#[test]
fn hidden_orders_stay_off_the_feed_and_behind_shown_ones() {
    let mut v = Venue::new();
    v.on(0, sell(1, 50, TEN).hidden(), "0: accepted 1 S50@10.00 as #1", "");
    v.on(0, sell(2, 50, TEN), "0: accepted 2 S50@10.00 as #2", "add #2 S50@10.00");
    v.on(
        2,
        buy(1, 80, TEN),
        "2: accepted 1 B80@10.00 as #3; 2: executed 1 50@10.00 R !1; 0: executed 2 50@10.00 A !1; \
         2: executed 1 30@10.00 R !2; 0: executed 1 30@10.00 J !2",
        "executed #2 50 !1; trade #0 B30@10.00 !2",
    );
    v.on(0, cancel(1, 40), "0: canceled 1 -10 U", "");
    v.on(0, cancel(1, 0), "0: canceled 1 -10 U", "");
}

#[test]
fn a_reserve_shows_its_next_part_at_the_back_under_a_new_reference() {
    let mut v = Venue::new();
    v.on(0, sell(1, 250, TEN).shows(100), "0: accepted 1 S250@10.00 as #1", "add #1 S100@10.00");
    v.given(0, &[&sell(2, 100, TEN)]);
    v.on(
        2,
        buy(1, 120, TEN),
        "2: accepted 1 B120@10.00 as #3; 2: executed 1 100@10.00 R !1; 0: executed 1 100@10.00 A !1; \
         0: restated 1 shows 100 as #4; 2: executed 1 20@10.00 R !2; 0: executed 2 20@10.00 A !2",
        "executed #1 100 !1; add #4 S100@10.00; executed #2 20 !2",
    );
    // Reductions come out of the reserve first: 50 unseen, then 10 of those shown.
    v.on(0, cancel(1, 200), "0: canceled 1 -50 U", "");
    v.on(0, cancel(1, 190), "0: canceled 1 -10 U", "reduced #4 -10");
    v.on(0, modify(1, b'T', 180), "0: modified 1 T80", "reduced #4 -10");
    v.exposures_agree();
}

#[test]
fn self_match_prevention_answers_both_sides_by_the_incoming_strategy() {
    let cases = [
        (b'W', "1: accepted 1 B150@10.00 as #3; 1: self-match 1 -150 prevented 100@10.00 RW", ""),
        (
            b'O',
            "1: accepted 1 B150@10.00 as #3; 0: self-match 1 -100 prevented 100@10.00 AO; \
             1: executed 1 100@10.00 R !1; 0: executed 2 100@10.00 A !1",
            "deleted #1; executed #2 100 !1; add #3 B50@10.00",
        ),
        (
            b'B',
            "1: accepted 1 B150@10.00 as #3; 0: self-match 1 -100 prevented 100@10.00 AB; \
             1: self-match 1 -150 prevented 100@10.00 RB",
            "deleted #1",
        ),
        (
            b'D',
            "1: accepted 1 B150@10.00 as #3; 0: self-match 1 -100 prevented 100@10.00 AD; \
             1: self-match 1 -100 prevented 100@10.00 RD; 1: executed 1 50@10.00 R !1; 0: executed 2 50@10.00 A !1",
            "deleted #1; executed #2 50 !1",
        ),
    ];
    for (strategy, answers, feed) in cases {
        let mut v = Venue::new();
        v.given(0, &[&sell(1, 100, TEN).aiq(*b"G1", b'W'), &sell(2, 100, TEN)]);
        let request = buy(1, 150, TEN).aiq(*b"G1", strategy);
        v.on(1, request, answers, feed);
        v.exposures_agree();
    }
    // N asks for none, whatever the group.
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN).aiq(*b"G1", b'W')]);
    v.on(
        1,
        buy(1, 100, TEN).aiq(*b"G1", b'N'),
        "1: accepted 1 B100@10.00 as #2; 1: executed 1 100@10.00 R !1; 0: executed 1 100@10.00 A !1",
        "executed #1 100 !1",
    );
    // The same letters of another firm are another group.
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 100, TEN).aiq(*b"G1", b'W')]);
    v.on(
        2,
        buy(1, 100, TEN).aiq(*b"G1", b'W'),
        "2: accepted 1 B100@10.00 as #2; 2: executed 1 100@10.00 R !1; 0: executed 1 100@10.00 A !1",
        "executed #1 100 !1",
    );
}

#[test]
fn when_the_numbers_are_used_up_none_is_offered() {
    let mut v = Venue::new();
    v.given(0, &[&buy(u32::MAX - 1, 1, TEN)]);
    v.on(0, account_query(0), "0: next 4294967295", "");
    v.on(0, buy(u32::MAX, 1, TEN), "0: accepted 4294967295 B1@10.00 as #2", "add #2 B1@10.00");
    v.on(0, account_query(0), "0: next 0", "");
    v.on(0, buy(0, 1, TEN), "", "");
    v.on(0, buy(u32::MAX, 1, TEN), "", "");
    // Another channel has numbers of its own.
    v.on(0, account_query(1), "0: next 1 in 1", "");
}

#[test]
fn a_market_order_without_a_reference_price_counts_what_it_would_pay() {
    let limited = |risk: RiskConfig| {
        let mut v = Venue::new();
        v.input(Input::ReferencePrice { symbol: alpha("AAA"), price: 0 });
        v.input(Input::SessionRisk { session: 0, risk });
        v.given(2, &[&sell(1, 60, TEN), &sell(2, 50, 2 * TEN).hidden()]);
        v
    };
    // 60 at 10.00 and 30 at 20.00 are 1,200.00.
    let notional = RiskConfig { max_order_notional: 12_000_000, ..RiskConfig::default() };
    let mut v = limited(notional);
    v.on(0, buy(1, 91, 0).market(), "0: rejected 1 0x0030", "");
    v.given(0, &[&buy(2, 90, 0).market()]);
    assert_eq!(v.shard.market().last_match_number(), 2);
    let mut v = limited(notional);
    // A replacement likewise.
    v.given(0, &[&buy(1, 91, TEN - CENT)]);
    v.on(0, replace(1, 2, 91, 0).market(), "0: rejected 2 0x0030", "");
    // What is not there costs nothing.
    v.given(0, &[&cancel(1, 0)]);
    v.on(0, sell(3, 999_999, 0).market(), "0: accepted 3 S999999@market as #4; 0: canceled 3 -999999 I", "");
    let gross = RiskConfig { max_gross_exposure: 12_000_000, ..RiskConfig::default() };
    let mut v = limited(gross);
    v.on(0, buy(1, 91, 0).market(), "0: rejected 1 0x0020", "");
    v.on(0, buy(2, 1, 0).market().cross(b'C'), "0: rejected 2 0x0020", "");
    // With a reference price it counts at that.
    v.input(Input::ReferencePrice { symbol: alpha("AAA"), price: TEN });
    v.on(0, buy(3, 120, 0).market().cross(b'C'), "0: accepted 3 B120@market as #3", "");
    // The firm's limit has the firm's code.
    let mut v = limited(RiskConfig::default());
    v.input(Input::Firm { firm: alpha("FRMA"), risk: notional });
    v.on(0, buy(1, 91, 0).market(), "0: rejected 1 0x001F", "");
    v.on(1, buy(1, 1, 0).market().cross(b'C'), "1: rejected 1 0x001F", "");
    // By the first rules it counted nothing.
    let mut v = Venue::of_first_rules(genesis()).furnished();
    v.input(Input::ReferencePrice { symbol: alpha("AAA"), price: 0 });
    v.input(Input::SessionRisk { session: 0, risk: notional });
    v.given(2, &[&sell(1, 200, TEN)]);
    v.given(0, &[&buy(1, 200, 0).market()]);
    assert_eq!(v.shard.market().last_match_number(), 1);
}
