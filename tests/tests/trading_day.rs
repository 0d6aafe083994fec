//! A day at the venue through the real binary: openings, halts, closes and the next day, with a journal that is recovered in
//! between; and that no input is kept which a start would refuse. What each rule says in full: `shard_semantics`.

use std::path::Path;

use pitlane_tests::client::{self, Client, LoginError, enter_order};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, PASSWORD_HASH, Settings};
use pitlane_tests::process::binary;
use wire::ouch::Outbound;
use wire::ouch::inbound::EnterOrder;

/// 10.00 in four decimals.
const TEN: u64 = 100_000;

fn start(settings: Settings) -> Engine {
    Engine::start(&binary("pitlane"), settings).expect("an engine")
}

/// On a journal that is there before and after.
fn kept(journal: &Path) -> Settings {
    Settings { durability: "process", journal: Some(journal.to_owned()), ..Settings::default() }
}

/// A command that every shard does.
#[track_caller]
fn command(engine: &Engine, path: &str) -> String {
    let (status, answer) = engine.post(&format!("/commands/{path}")).expect("an answer");
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// The next answer in words.
fn next(client: &mut Client) -> String {
    let message = client.receive().expect("an answer");
    match Outbound::decode(&message).expect("OUCH") {
        Outbound::OrderAccepted(it) => format!("accepted {}", it.user_ref_num()),
        Outbound::OrderExecuted(it) => {
            format!("executed {} {}@{}", it.user_ref_num(), it.quantity(), it.price())
        }
        Outbound::OrderCanceled(it) => {
            format!("canceled {} -{} {}", it.user_ref_num(), it.quantity(), it.reason() as char)
        }
        Outbound::OrderRejected(it) => format!("rejected {} {:#06x}", it.user_ref_num(), it.reason()),
        other => format!("{other:?}"),
    }
}

fn order(urn: u32, side: u8, quantity: u32, price: u64, cross: u8) -> Vec<u8> {
    enter_order(&EnterOrder { cross_type: cross, ..client::order(urn, side, quantity, price) })
}

#[test]
fn closing_a_halted_instrument_trades_nothing() {
    let engine = start(Settings::default());
    let mut buyer = Client::open(engine.address(), 1).expect("a session");
    let mut seller = Client::open(engine.address(), 2).expect("a session");
    buyer.send(&[&order(1, b'B', 100, TEN, b'C')]).expect("sent");
    assert_eq!(next(&mut buyer), "accepted 1");
    seller.enter_accepted(1, b'S', 60, TEN).expect("accepted");
    command(&engine, "halt?symbol=AAPL");
    command(&engine, "close?symbol=AAPL");
    assert_eq!(next(&mut buyer), "canceled 1 -100 E");
    assert_eq!(next(&mut seller), "canceled 1 -60 E");
}

#[test]
fn numbers_begin_again_with_a_new_day_and_a_recovery_knows_the_day() {
    let journal = Folder::new("journal").expect("a folder");
    {
        let engine = start(kept(&journal.path));
        let mut client = Client::open(engine.address(), 1).expect("a session");
        client.enter_accepted(1, b'B', 100, TEN).expect("accepted");
        command(&engine, "close");
        assert_eq!(next(&mut client), "canceled 1 -100 E");
        assert_eq!(client.next_user_ref_num().expect("an answer"), 2);
    }
    {
        let engine = start(kept(&journal.path));
        command(&engine, "pre-open");
        command(&engine, "open");
        let mut client = Client::open(engine.address(), 1).expect("a session");
        for _ in 0..3 {
            next(&mut client);
        }
        assert_eq!(client.next_user_ref_num().expect("an answer"), 1);
        client.enter_accepted(1, b'B', 100, TEN).expect("number 1 of the next day");
    }
    let engine = start(kept(&journal.path));
    let mut client = Client::open(engine.address(), 1).expect("a session");
    for _ in 0..5 {
        next(&mut client);
    }
    assert_eq!(client.next_user_ref_num().expect("an answer"), 2);
}

#[test]
fn a_reference_price_beyond_the_wire_is_refused() {
    let engine = start(Settings::default());
    for price in ["1999999901", "4295967296", "18446744073709551616", "-1"] {
        let path = format!("/commands/reference-price?symbol=AAPL&price={price}");
        let (status, answer) = engine.post(&path).expect("an answer");
        assert_eq!(status, 400, "{price}: {answer}");
    }
    command(&engine, "reference-price?symbol=AAPL&price=1999999900");
}

#[test]
fn a_login_beyond_the_session_table_is_refused_and_the_next_start_succeeds() {
    let journal = Folder::new("journal").expect("a folder");
    {
        let engine = start(kept(&journal.path));
        for account in 1..=16 {
            Client::open(engine.address(), account).expect("a session");
        }
    }
    let others =
        format!("\n[[account]]\nuser = \"NEW001\"\nfirm = \"DEMO\"\npassword_hash = {PASSWORD_HASH:?}\n");
    for _ in 0..2 {
        // The accounts have been replaced but for one; the table is full of the former ones.
        let engine = start(Settings { accounts: 1, after_accounts: others.clone(), ..kept(&journal.path) });
        let mut client = Client::connect(engine.address()).expect("a socket");
        match client.login("NEW001", PASSWORD, 1) {
            Err(LoginError::Rejected(b'S')) => {}
            other => panic!("{other:?}"),
        }
        let mut known = Client::open(engine.address(), 1).expect("a session that was there before");
        known.next_user_ref_num().expect("an answer");
    }
}
