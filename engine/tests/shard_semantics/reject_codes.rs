//! Runs the table of `docs/reject-codes.md`: what is taken, what is refused and with which code; and checks that the table is
//! complete. Not what becomes of orders that are taken.

use std::collections::BTreeSet;

use book::TradingState;
use engine::config::RiskConfig;
use engine::inputs::{FirmRights, Input, InstrumentInput, KillScope, Rules};
use wire::ouch::{AppendageBuilder, reject_reason, tag};

use crate::answers::Answer;
use crate::ask::{Order, Request, TEN, alpha, buy, disable, enable, mass_cancel_of};
use crate::venue::{DROP_COPY, Venue, instrument, opened, rules};

const DOCUMENT: &str = include_str!("../../../docs/reject-codes.md");
/// Where reject codes and cancel reasons are given.
const SOURCES: [&str; 4] = [
    include_str!("../../src/shard/entry.rs"),
    include_str!("../../src/shard/requests.rs"),
    include_str!("../../src/shard/control.rs"),
    include_str!("../../src/shard/risk.rs"),
];

struct Row<'a> {
    line: &'a str,
    code: u16,
    reason: &'a str,
    place: &'a str,
    taken: &'a str,
    refused: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| 0x")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let &[code, reason, _, place, taken, refused] = cells.as_slice() else {
            panic!("six cells: {line}");
        };
        Row {
            line,
            code: u16::from_str_radix(&code[2..], 16).expect("a code"),
            reason,
            place,
            taken: taken.trim_matches('`'),
            refused: refused.trim_matches('`'),
        }
    });
    rows.collect()
}

fn number(text: &str) -> u32 {
    text.parse().unwrap_or_else(|_| panic!("{text} is a number"))
}

fn price(text: &str) -> u64 {
    if text == "market" {
        return wire::ouch::MARKET_PRICE;
    }
    let (whole, part) = text.split_once('.').expect("a price has a point");
    u64::from(number(whole)) * 10_000 + u64::from(number(part)) * 10_u64.pow(4 - part.len() as u32)
}

/// The tag named, set to the value in words. `_` is a space.
fn set_tag(tags: &mut AppendageBuilder, name: &str, value: &str) {
    let letter = value.replace('_', " ").as_bytes()[0];
    match name {
        "Firm" => tags.alpha4(tag::FIRM, alpha(value)),
        "MinQty" => tags.u32(tag::MIN_QTY, number(value)),
        "MaxFloor" => tags.u32(tag::MAX_FLOOR, number(value)),
        "RandomReserves" => tags.u32(tag::RANDOM_RESERVES, number(value)),
        "ExpireTime" => tags.u32(tag::EXPIRE_TIME, number(value)),
        "PegOffset" => tags.u32(tag::PEG_OFFSET, number(value)),
        "DiscretionPegOffset" => tags.u32(tag::DISCRETION_PEG_OFFSET, number(value)),
        "DiscretionPrice" => tags.u64(tag::DISCRETION_PRICE, u64::from(number(value))),
        "DiscretionPriceType" => tags.u8(tag::DISCRETION_PRICE_TYPE, letter),
        "PriceType" => tags.u8(tag::PRICE_TYPE, letter),
        "PostOnly" => tags.u8(tag::POST_ONLY, letter),
        "CustomerType" => tags.u8(tag::CUSTOMER_TYPE, letter),
        "TradeNow" => tags.u8(tag::TRADE_NOW, letter),
        "HandleInst" => tags.u8(tag::HANDLE_INST, letter),
        "SharesLocated" => tags.u8(tag::SHARES_LOCATED, letter),
        "AIQStrategy" => tags.u8(tag::AIQ_STRATEGY, letter),
        "Side" => tags.u8(tag::SIDE, letter),
        other => panic!("no tag {other}"),
    };
}

fn set_field(order: Order, name: &str, value: &str) -> Order {
    let letter = value.as_bytes()[0];
    match name {
        "side" => order.with(|it| it.side = letter),
        "quantity" => order.with(|it| it.quantity = number(value)),
        "symbol" => order.of(value),
        "price" => order.with(|it| it.price = price(value)),
        "tif" => order.with(|it| it.time_in_force = letter),
        "display" => order.with(|it| it.display = letter),
        "capacity" => order.with(|it| it.capacity = letter),
        "sweep" => order.with(|it| it.inter_market_sweep_eligibility = letter),
        "cross" => order.cross(letter),
        other => order.tagged(|tags| set_tag(tags, other, value)),
    }
}

/// The request that the words describe.
fn request(words: &str, user_ref: u32) -> Vec<u8> {
    let (kind, words) = match words.split_once(' ') {
        Some((kind @ ("mass-cancel" | "disable" | "enable"), rest)) => (kind, rest),
        _ => ("enter", words),
    };
    let settings = || words.split(' ').map(|word| word.split_once('=').expect("name=value"));
    if kind == "enter" {
        let order = buy(user_ref, 100, TEN);
        return settings().fold(order, |order, (name, value)| set_field(order, name, value)).bytes();
    }
    let (mut firm, mut symbol) = ("", "");
    let mut tags = AppendageBuilder::new();
    for (name, value) in settings() {
        match name {
            "firm" => firm = value,
            "symbol" => symbol = value,
            _ => set_tag(&mut tags, name, value),
        }
    }
    match kind {
        "mass-cancel" => mass_cancel_of(user_ref, firm, symbol, |to| *to = tags),
        "disable" => disable(user_ref, firm, 0),
        _ => enable(user_ref, firm, 0),
    }
}

fn limits(words: &str) -> RiskConfig {
    let (name, value) = words.split_once('=').expect("name=value");
    let value = number(value);
    let mut risk = RiskConfig::default();
    match name {
        "max_order_quantity" => risk.max_order_quantity = value,
        "max_order_notional" => risk.max_order_notional = u64::from(value),
        "max_open_orders" => risk.max_open_orders = value,
        "max_gross_exposure" => risk.max_gross_exposure = u64::from(value),
        "max_messages_per_second" => risk.max_messages_per_second = value,
        "collar_basis_points" => risk.collar_basis_points = value,
        other => panic!("no limit {other}"),
    }
    risk
}

/// Brings the venue into the situation of a row; returns the session that sends and what undoes the situation.
fn arrange(venue: &mut Venue, place: &str) -> (u32, Option<Input<'static>>) {
    let state = |state| Input::SetState { symbol: Some(alpha("AAA")), state };
    let kill = |scope, engaged| Input::KillSwitch { scope, engaged };
    let restriction =
        |restricted| Input::Restriction { firm: alpha("FRMA"), symbol: alpha("AAA"), restricted };
    let (input, undo) = match place.split_once(' ') {
        None if place.is_empty() => return (0, None),
        None if place == "closed" => (state(TradingState::Closed), Some(state(TradingState::PreOpen))),
        None if place == "halted" => (state(TradingState::Halted), Some(state(TradingState::Auction))),
        None if place == "disabled" => {
            venue.given(0, &[&disable(1, "", 0)]);
            return (0, None);
        }
        Some(("kill", "session")) => {
            (kill(KillScope::Session(0), true), Some(kill(KillScope::Session(0), false)))
        }
        Some(("kill", "firm")) => {
            let firm = KillScope::Firm(alpha("FRMA"));
            (kill(firm, true), Some(kill(firm, false)))
        }
        Some(("kill", _)) => (kill(KillScope::All, true), Some(kill(KillScope::All, false))),
        Some(("drop", "copy")) => {
            venue.input(Input::SessionOpened(opened(DROP_COPY, "FRMA")));
            venue.raw = Default::default();
            return (DROP_COPY, None);
        }
        // A session whose share of the shard's tables is so many percent, and that has so many orders at 10.00.
        Some((percent, rest)) if rest.starts_with("percent, ") => {
            let own = number(rest.split(' ').nth(1).expect("a number"));
            for user_ref in 1..=own {
                venue.given(0, &[&buy(1_000 + user_ref, 1, TEN).channel(9)]);
            }
            let share = |session_share_percent| Input::Rules(Rules { session_share_percent, ..rules() });
            (share(number(percent) as u8), Some(share(100)))
        }
        Some(("no", "reference price, session max_order_notional=10000000")) => {
            venue.input(Input::ReferencePrice { symbol: alpha("AAA"), price: 0 });
            let risk = |risk| Input::SessionRisk { session: 0, risk };
            (risk(limits("max_order_notional=10000000")), Some(risk(RiskConfig::default())))
        }
        Some((count, "orders open")) => {
            for user_ref in 1..=number(count) {
                venue.given(2, &[&buy(user_ref, 1, TEN)]);
            }
            return (0, None);
        }
        Some(("AAA", "restricted")) => (restriction(true), Some(restriction(false))),
        Some(("session", words)) => {
            let risk = |risk| Input::SessionRisk { session: 0, risk };
            (risk(limits(words)), Some(risk(RiskConfig::default())))
        }
        Some(("firm", words)) => {
            let risk = |risk| Input::Firm { firm: alpha("FRMA"), risk };
            (risk(limits(words)), Some(risk(RiskConfig::default())))
        }
        _ => {
            let collar_basis_points = number(place.strip_prefix("collar=").expect("a known situation"));
            let before = instrument("AAA", TradingState::Open);
            let input =
                Input::Instrument(InstrumentInput { collar_basis_points, ..before }, FirmRights::NONE);
            (input, Some(Input::Instrument(before, FirmRights::NONE)))
        }
    };
    venue.input(input);
    venue.raw = Default::default();
    (0, undo)
}

fn first_answer(venue: &mut Venue, session: u32, message: Vec<u8>) -> Answer {
    venue.send(session, &[message]);
    let raw = std::mem::take(&mut venue.raw);
    Answer::decode(&raw.sessions.first().expect("an answer").1).0
}

#[test]
fn every_row_takes_what_is_allowed_and_refuses_the_next_with_its_code() {
    for Row { line, code, reason, place, taken, refused } in rows() {
        let words = reject_reason::name(code).split(" (").next().expect("words");
        assert_eq!(reason, words, "{line}");
        let mut venue = Venue::new();
        let (session, undo) = arrange(&mut venue, place);
        if !taken.is_empty() {
            let answer = first_answer(&mut venue, session, request(taken, 10));
            assert!(!matches!(answer, Answer::Rejected { .. }), "{answer}: {line}");
        }
        let answer = first_answer(&mut venue, session, request(refused, 20));
        assert_eq!(answer, Answer::Rejected { user_ref: 20, reason: code, channel: 0 }, "{line}");
        venue.exposures_agree();
        // The number is used up: the same again is a repetition, and is ignored.
        venue.send(session, &[request(refused, 20)]);
        assert!(venue.raw.sessions.is_empty() && venue.raw.feed.is_empty(), "{line}");
        // What was set while running can be unset while running.
        if let Some(undo) = undo {
            venue.input(undo);
            venue.raw = Default::default();
            let answer = first_answer(&mut venue, session, request(refused, 30));
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer} after undoing: {line}");
        }
    }
}

/// "Risk: Max Quantity Exceeded" as the constant is called.
fn constant(reason: &str) -> String {
    let words = reason.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_").to_uppercase()
}

/// The names that follow `prefix` in the sources.
fn named(prefix: &str, sources: &[&str]) -> BTreeSet<String> {
    let of = |source: &str| {
        let names = source.split(prefix).skip(1).map(|rest| {
            rest.chars()
                .take_while(|letter| letter.is_ascii_uppercase() || *letter == '_')
                .collect::<String>()
        });
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    sources.iter().flat_map(|source| of(source)).collect()
}

#[test]
fn the_table_has_every_code_that_the_engine_gives_and_no_other() {
    let documented: BTreeSet<String> = rows().iter().map(|row| constant(row.reason)).collect();
    assert_eq!(documented, named("RejectReason::", &SOURCES));
}

#[test]
fn the_cancel_reasons_are_documented() {
    let letters = DOCUMENT.lines().filter_map(|line| {
        let rest = line.strip_prefix("| ")?;
        let (letter, _) = rest.split_once(" |")?;
        (letter.len() == 1).then(|| letter.as_bytes()[0])
    });
    let documented: BTreeSet<String> =
        letters.map(|letter| constant(wire::ouch::cancel_reason::name(letter))).collect();
    let given = named("cancel_reason::", &[include_str!("../../src/shard/encoder.rs")]);
    // Reserved: the engine's table of reasons is total, but nothing cancels for these.
    let reserved = ["HALTED".to_owned(), "SYSTEM".to_owned()];
    let missing: Vec<_> = given.iter().filter(|name| !reserved.contains(name)).collect();
    assert_eq!(missing.len(), documented.len(), "{documented:?} and {missing:?}");
}
