//! What an operator types: a command does exactly that, or nothing and says what was expected.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pitlane_tests::client::{Client, PATIENCE};
use pitlane_tests::engine::{Engine, PASSWORD_HASH, Settings};
use pitlane_tests::process::binary;
use wire::ouch::outbound::OrderAcceptedView;

const PRICE: u64 = 1_500_000;

/// Two firms with an account each: C00001 is DEMO's, C00016 the other's.
fn start(shards: usize) -> Engine {
    let other = format!(
        "[[firm]]\nname = \"FB\"\n[[account]]\nuser = \"B00001\"\nfirm = \"FB\"\npassword_hash = {PASSWORD_HASH:?}\n"
    );
    let symbols = ["AAPL", "MSFT"].map(str::to_owned).to_vec();
    let settings = Settings { shards, symbols, accounts: 1, after_accounts: other, ..Settings::default() };
    Engine::start(&binary("pitlane"), settings).expect("an engine")
}

fn command(engine: &Engine, text: &str) -> (u16, String) {
    engine.post(&format!("/commands/{text}")).expect("an answer")
}

fn assert_refused(engine: &Engine, text: &str, said: &str) {
    let (status, body) = command(engine, text);
    assert!(status == 400 && body.contains(said), "{text}: {status} {body}");
}

fn assert_done(engine: &Engine, text: &str) {
    let (status, body) = command(engine, text);
    assert!(status == 200 && body.contains("done") && !body.contains("NOT"), "{text}: {status} {body}");
}

#[test]
fn a_command_does_what_was_typed_or_nothing() {
    let engine = start(1);
    let mut client = Client::open(engine.address(), 1).expect("a session");
    let mut number = 0;
    let mut is_accepted = |quantity| {
        number += 1;
        let answer = client.enter(number, b'B', quantity, PRICE).expect("an answer");
        OrderAcceptedView::parse(&answer).is_ok()
    };
    // Slips, each of which reached everyone or lifted a limit once.
    for (text, said) in [
        ("kill", "everyone=true"),
        ("kill?frm=FB", "frm"),
        ("kill?firm=DEMO2", "1 to 4"),
        ("kill?firm=TYPO", "firm TYPO does not exist"),
        // Not even by having been typed before.
        ("kill?firm=TYPO", "firm TYPO does not exist"),
        ("risk?firm=TYPO&max_open_orders=1", "firm TYPO does not exist"),
        ("restrict?firm=TYPO&symbol=AAPL", "firm TYPO does not exist"),
        ("register?firm=TYPO&symbol=AAPL", "firm TYPO does not exist"),
        ("kill?session=77", "session 77 does not exist"),
        ("halt", "symbol or everyone=true"),
        ("halt?symbl=AAPL", "symbl"),
        ("halt?symbol=AAPLAAPLX", "1 to 8"),
        ("halt?symbol=GONE", "GONE"),
        ("halt?symbol=AAPL&symbol=MSFT", "twice"),
        ("reference-price?symbol=AAPL&price=4295967296", "0 to 1999999900"),
        ("snapshot?shard=1", "shard"),
        ("explode", "expected"),
    ] {
        assert_refused(&engine, text, said);
    }
    assert!(is_accepted(500), "some of them did something");
    assert_done(&engine, "risk?firm=DEMO&max_order_quantity=5");
    assert_refused(&engine, "risk?firm=DEMO&max_order_quantiy=4", "max_order_quantiy");
    assert!(!is_accepted(500) && is_accepted(5), "the limit is not as it was set");
    assert_done(&engine, "kill?firm=FB");
    assert!(is_accepted(5), "the other firm was meant");
    assert_done(&engine, "kill?everyone=true");
    assert!(!is_accepted(5));
    assert_done(&engine, "unkill?everyone=true");
    assert_done(&engine, "halt?symbol=AAPL");
    assert!(!is_accepted(5), "halted");
    let (status, body) = command(&engine, "snapshot");
    assert!(status == 409 && body.contains("memory"), "{status} {body}");
}

/// Sessions are numbered in each shard: without it a number names several.
#[test]
fn a_session_is_named_with_its_shard() {
    let engine = start(2);
    let mut first = Client::open(engine.settings.address(0), 1).expect("a session");
    let _second = Client::open(engine.settings.address(1), 1).expect("a session");
    assert_refused(&engine, "kill?session=0", "expected shard beside session");
    assert_refused(&engine, "kill?session=0&shard=2", "expected less than 2");
    assert_done(&engine, "kill?session=0&shard=1");
    first.enter_accepted(1, b'B', 1, PRICE).expect("AAPL is shard 0's, which nobody touched");
    // The answer says what was done.
    let (_, body) = command(&engine, "unkill?session=0&shard=1");
    assert_eq!(body, "shard 1: done: kill switch session=0 engaged=false\n");
}

/// A terminal that closes is no reason to stop trading.
#[test]
fn a_hangup_stops_nothing() {
    let engine = start(1);
    let mut client = Client::open(engine.address(), 1).expect("a session");
    engine.process.signal(Signal::SIGHUP).expect("sent");
    client.enter_accepted(1, b'B', 1, PRICE).expect("it goes on");
    let deadline = Instant::now() + PATIENCE;
    while !engine.log_text().contains("SIGHUP") {
        assert!(Instant::now() < deadline, "not a word of it: {}", engine.log_text());
        std::thread::sleep(Duration::from_millis(20));
    }
    client.enter_accepted(2, b'B', 1, PRICE).expect("it goes on");
}
