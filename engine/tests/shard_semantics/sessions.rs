//! Sessions and what is done to them: kill switches, disconnects, drop copies, unreadable messages, inputs that do not follow.

use book::TradingState;
use engine::config::RiskConfig;
use engine::inputs::{CloseReason, Input, KillScope, Messages, Role, Rules};
use engine::shard::ApplyError;

use crate::ask::{Request, TEN, alpha, buy, cancel, sell};
use crate::venue::{DROP_COPY, Venue, genesis, opened, rules};

#[test]
fn a_kill_switch_takes_open_orders_and_other_scopes_go_on() {
    let kill = |scope, engaged| Input::KillSwitch { scope, engaged };
    let setup = || {
        let mut v = Venue::new();
        v.given(0, &[&sell(1, 10, TEN)]);
        v.given(1, &[&sell(1, 10, TEN)]);
        v.given(2, &[&sell(1, 10, TEN)]);
        v
    };
    let mut v = setup();
    v.when(kill(KillScope::Session(0), true), "0: canceled 1 -10 S", "deleted #1");
    v.on(1, sell(2, 1, TEN), "1: accepted 2 S1@10.00 as #4", "add #4 S1@10.00");
    let mut v = setup();
    let both = "0: canceled 1 -10 S; 1: canceled 1 -10 S";
    v.when(kill(KillScope::Firm(alpha("FRMA")), true), both, "deleted #1; deleted #2");
    v.on(1, sell(2, 1, TEN), "1: rejected 2 0x000C", "");
    v.on(2, sell(2, 1, TEN), "2: accepted 2 S1@10.00 as #4", "add #4 S1@10.00");
    let mut v = setup();
    let all = "0: canceled 1 -10 S; 1: canceled 1 -10 S; 2: canceled 1 -10 S";
    v.when(kill(KillScope::All, true), all, "deleted #1; deleted #2; deleted #3");
    v.on(2, sell(2, 1, TEN), "2: rejected 2 0x000C", "");
    v.when(kill(KillScope::All, false), "", "");
    v.on(2, sell(3, 1, TEN), "2: accepted 3 S1@10.00 as #4", "add #4 S1@10.00");
    v.exposures_agree();
}

#[test]
fn a_disconnect_cancels_where_the_session_wants_it_and_a_login_keeps_the_limits_set_since() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 10, TEN)]);
    v.given(1, &[&sell(1, 10, TEN)]);
    let closed = |session| Input::SessionClosed { session, reason: CloseReason::Timeout };
    v.when(closed(0), "0: canceled 1 -10 S", "deleted #1");
    v.when(closed(1), "", "");
    let risk = RiskConfig { max_order_quantity: 5, ..RiskConfig::default() };
    v.input(Input::SessionRisk { session: 0, risk });
    v.when(Input::SessionOpened(opened(0, "FRMA")), "", "");
    v.on(0, sell(2, 6, TEN), "0: rejected 2 0x0031", "");
    v.on(0, sell(3, 5, TEN), "0: accepted 3 S5@10.00 as #3", "add #3 S5@10.00");
    v.exposures_agree();
}

#[test]
fn a_drop_copy_sees_its_firms_executions_and_nothing_else() {
    let mut v = Venue::new();
    v.when(Input::SessionOpened(opened(DROP_COPY, "FRMA")), "3: system S", "");
    v.given(0, &[&sell(1, 10, TEN)]);
    v.on(
        2,
        buy(1, 4, TEN),
        "2: accepted 1 B4@10.00 as #2; 2: executed 1 4@10.00 R !1; 0: executed 1 4@10.00 A !1; 3: copy U0 1 4@10.00 A",
        "executed #1 4 !1",
    );
    v.on(0, cancel(1, 0), "0: canceled 1 -6 U", "deleted #1");
}

#[test]
fn messages_that_cannot_be_read_are_counted_and_the_rest_of_the_datagram_goes_on() {
    let mut v = Venue::new();
    let mut short = sell(1, 10, TEN).bytes();
    short.pop();
    v.send(0, &[vec![], b"?".to_vec(), short, sell(1, 10, TEN).bytes()]);
    assert_eq!(v.words(), ("0: accepted 1 S10@10.00 as #1".to_owned(), "add #1 S10@10.00".to_owned()));
    assert_eq!(v.shard.counters().malformed_messages, 3);
}

#[test]
fn inputs_that_do_not_follow_change_nothing() {
    let mut v = Venue::new();
    v.given(0, &[&sell(1, 10, TEN)]);
    let before = v.shard.state_hash();
    let messages = |session, first_sequence| {
        Input::Messages(Messages { session, first_sequence, count: 1, blocks: &[0, 1, b'Q'] })
    };
    let unknown = Input::SetState { symbol: Some(alpha("ZZZ")), state: TradingState::Open };
    assert!(matches!(v.try_input(messages(9, 1)), Err(ApplyError::UnknownSession(9))));
    assert!(matches!(v.try_input(messages(0, 1)), Err(ApplyError::Sequence { .. })));
    assert!(matches!(v.try_input(messages(0, 3)), Err(ApplyError::Sequence { .. })));
    assert!(matches!(v.try_input(unknown), Err(ApplyError::UnknownSymbol(_))));
    let opened = Input::SessionOpened(opened(7, "FRMA"));
    assert!(matches!(v.try_input(opened), Err(ApplyError::SessionNumber { .. })));
    assert_eq!(v.shard.state_hash(), before);
    assert_eq!(v.words(), (String::new(), String::new()));
}

#[test]
fn a_reference_price_that_the_wire_cannot_carry_is_refused() {
    let mut v = Venue::new();
    let reference = |price| Input::ReferencePrice { symbol: alpha("AAA"), price };
    v.when(reference(wire::ouch::MAX_PRICE), "", "");
    let before = v.shard.state_hash();
    for price in [wire::ouch::MAX_PRICE + 1, wire::ouch::MARKET_PRICE, 1 << 32, u64::MAX] {
        let refused = v.try_input(reference(price)).expect_err("too large");
        assert_eq!(refused, ApplyError::ReferencePrice { found: price });
        assert!(refused.to_string().contains("0 (unknown) to 1999999900"), "{refused}");
    }
    assert_eq!(v.shard.state_hash(), before);
    // As the first version took it; with the present rules it counts as unknown.
    let mut v = Venue::of_first_rules(genesis()).furnished();
    v.input(reference(1 << 32));
    assert_eq!(v.shard.instruments()[0].reference_price, 1 << 32);
    v.input(Input::Rules(rules()));
    assert_eq!(v.shard.instruments()[0].reference_price, 0);
}

#[test]
fn a_command_obeys_only_for_firms_that_are_there() {
    let v = Venue::new();
    for (firm, known) in [("FRMA", true), ("FRMX", false)] {
        let firm = alpha(firm);
        let symbol = alpha("AAA");
        for input in [
            Input::KillSwitch { scope: KillScope::Firm(firm), engaged: true },
            Input::Restriction { firm, symbol, restricted: true },
            Input::Registration { firm, symbol, role: Role::MarketMaker },
            Input::Firm { firm, risk: RiskConfig::default() },
        ] {
            let unknown = Err(ApplyError::UnknownFirm("FRMX".to_owned()));
            assert_eq!(v.shard.would_obey(&input), if known { Ok(()) } else { unknown }, "{input:?}");
            assert_eq!(v.shard.would_apply(&input), Ok(()), "a journal may have it");
        }
    }
}

#[test]
fn rules_do_not_go_back() {
    let mut v = Venue::new();
    let first = Input::Rules(Rules::FIRST);
    let refused = ApplyError::Rules { found: 1, expected: Rules::VERSION };
    assert_eq!(v.try_input(first), Err(refused));
    v.when(Input::Rules(Rules { session_share_percent: 7, ..rules() }), "", "");
    assert_eq!(v.shard.rules().session_share_percent, 7);
}
