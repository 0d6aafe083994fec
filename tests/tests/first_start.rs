//! What the first start fixed and the file now says otherwise: it grows, it stays with a word, or there is no start. Never silence.

use std::path::Path;
use std::process::Command;

use pitlane_tests::client::Client;
use pitlane_tests::engine::{Engine, Folder, PASSWORD_HASH, Settings};
use pitlane_tests::process::binary;
use wire::ouch::outbound::OrderAcceptedView;

const PRICE: u64 = 1_500_000;

fn on(journal: &Folder) -> Settings {
    Settings { durability: "process", journal: Some(journal.path.clone()), ..Settings::default() }
}

fn start(settings: Settings) -> Engine {
    Engine::start(&binary("pitlane"), settings).expect("an engine")
}

fn run(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(binary("pitlane")).args(arguments).output().expect("pitlane runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// `pitlane check --against` of the journal.
fn check(settings: &Settings, journal: &Path) -> (bool, String) {
    let folder = Folder::new("against").expect("a folder");
    let file = folder.path.join("pitlane.toml");
    std::fs::write(&file, settings.to_toml(journal)).expect("write");
    let (file, journal) = (file.display().to_string(), journal.display().to_string());
    run(&["check", "--config", &file, "--against", &journal])
}

fn is_accepted(client: &mut Client, number: u32) -> bool {
    let answer = client.enter(number, b'B', 1, PRICE).expect("an answer");
    OrderAcceptedView::parse(&answer).is_ok()
}

#[test]
fn tables_grow_and_do_not_shrink() {
    let journal = Folder::new("sizes").expect("a folder");
    let keep = |settings: Settings| settings.with("session", "timeout_seconds = 60");
    {
        let engine = start(keep(on(&journal)).with("limits", "session_share_percent = 100\nmax_orders = 2"));
        let mut client = Client::open(engine.address(), 1).expect("a session");
        assert!(is_accepted(&mut client, 1) && is_accepted(&mut client, 2));
        assert!(!is_accepted(&mut client, 3), "two places");
        for account in 2..=16 {
            Client::open(engine.address(), account).expect("a session");
        }
    }
    let larger = Settings {
        accounts: 17,
        ..keep(on(&journal)).with("limits", "session_share_percent = 100\nmax_orders = 50")
    };
    let (good, said) = check(&larger, &journal.path);
    assert!(good && said.contains("applied: shard 0: limits.max_orders is 50; the journal has 2"), "{said}");
    {
        let engine = start(larger);
        let said = engine.log_text();
        for line in [
            "limits.max_orders is 50; the journal has 2, and grows",
            "session.max_sessions is 17; the journal has 16, and grows",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        let mut client = Client::open(engine.address(), 1).expect("a session");
        assert!(is_accepted(&mut client, 4), "there is room");
        let mut last = Client::open(engine.address(), 17).expect("room for one more session");
        assert!(is_accepted(&mut last, 1));
    }
    let smaller = keep(on(&journal)).with("limits", "session_share_percent = 100\nmax_orders = 3");
    let engine = start(smaller);
    let said = engine.log_text();
    for line in [
        "limits.max_orders is 3; the journal has 50, which stays: tables only grow",
        "session.max_sessions is 16; the journal has 17, which stays: tables only grow",
        "account C00017 is not in the file",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let mut client = Client::open(engine.address(), 2).expect("a session");
    assert!(is_accepted(&mut client, 1), "the larger table");
    drop(engine);
    let (good, said) = run(&["replay", &journal.path.display().to_string(), "--verify"]);
    assert!(good, "a replay of the growth: {said}");
}

/// With several shards an instrument goes to the shard of its place in the list, once.
#[test]
fn an_instrument_stays_in_the_shard_that_has_it() {
    let journal = Folder::new("placement").expect("a folder");
    let listed = |symbols: &[&str]| Settings {
        shards: 2,
        symbols: symbols.iter().map(|symbol| (*symbol).to_owned()).collect(),
        ..on(&journal)
    };
    drop(start(listed(&["AAPL", "MSFT"])));
    // Each of them has another place in the list.
    let engine = start(listed(&["GOOG", "AAPL", "MSFT"]));
    let mut first = Client::open(engine.settings.address(0), 1).expect("a session");
    let mut second = Client::open(engine.settings.address(1), 1).expect("a session");
    assert!(is_accepted(&mut first, 1), "AAPL is shard 0's");
    assert!(!is_accepted(&mut second, 1), "and has no second book");
    let (status, body) = engine.post("/commands/halt?symbol=AAPL").expect("an answer");
    assert_eq!((status, body.as_str()), (200, "shard 0: done: trading state symbol=AAPL state=halted\n"));
    assert!(!is_accepted(&mut first, 2), "halted where it trades");
    drop(engine);
    let settings = Settings { shards: 1, ..listed(&["AAPL", "MSFT"]) };
    let (good, said) = check(&settings, &journal.path);
    assert!(!good && said.contains("REFUSED: engine.shards is 1; the journal has 2, and shard 1"), "{said}");
    let refused =
        Engine::start(&binary("pitlane"), settings).map(|_| ()).expect_err("a shard is missing").to_string();
    assert!(refused.contains("engine.shards is 1") && refused.contains("expected at least"), "{refused}");
    let engine = start(Settings { shards: 3, ..listed(&["AAPL", "MSFT"]) });
    let said = engine.log_text();
    assert!(said.contains("engine.shards is 3; the journal has 2: the others begin empty"), "{said}");
    assert!(said.contains("instrument GOOG is not in the file; shard 0 has it, and it trades on"), "{said}");
}

#[test]
fn every_other_difference_is_said_at_the_start_and_beforehand() {
    let journal = Folder::new("differences").expect("a folder");
    let with = |instrument: &str, firm: &str, account: &str| Settings {
        symbols: Vec::new(),
        accounts: 1,
        after_accounts: format!(
            "[[instrument]]\nsymbol = \"AAPL\"\n{instrument}\n[[firm]]\nname = \"FB\"\n{firm}\n\
             [[firm]]\nname = \"FC\"\n[[account]]\nuser = \"B00001\"\npassword_hash = {PASSWORD_HASH:?}\n{account}\n"
        ),
        ..on(&journal)
    };
    {
        let engine = start(with("", "", "firm = \"FB\"").with("engine", "utc_offset_seconds = 0"));
        let mut client = Client::connect(engine.address()).expect("a socket");
        client.login("B00001", pitlane_tests::engine::PASSWORD, 1).expect("a session");
        assert!(is_accepted(&mut client, 1));
    }
    let other = with(
        "tick = 200\nlot = 5\nmax_quantity = 1000\nreference_price = 1500000\ncollar_basis_points = 500\nshard = 0",
        "risk = { max_open_orders = 3 }\nrestricted = [\"AAPL\"]\nmarket_maker = [\"AAPL\"]",
        "firm = \"FC\"\nrisk = { max_order_notional = 9 }",
    );
    let other = other.with("engine", "utc_offset_seconds = 3600");
    let (good, beforehand) = check(&other, &journal.path);
    assert!(good, "{beforehand}");
    let engine = start(other);
    let at_start = engine.log_text();
    for line in [
        "shard 0: engine.utc_offset_seconds is 3600; the journal has 0, which stays",
        "instrument AAPL: tick is 200; the journal has 100, which stays",
        "instrument AAPL: lot is 5; the journal has 1, which stays",
        "instrument AAPL: max_quantity is 1000; the journal has 999999, which stays",
        "instrument AAPL: collar_basis_points is 500; the journal has 0, which stays",
        "instrument AAPL: reference_price is 1500000; the journal has 0, which stays",
        "firm FB: risk.max_open_orders is 3; the journal has 0, which stays",
        "firm FB: AAPL restricted is true; the journal has false, which stays",
        "firm FB: AAPL market maker is market maker; the journal has none, which stays",
        "account B00001: firm is FC; the journal has FB, which stays",
        "account B00001: risk.max_order_notional is 9; the journal has 0, which stays",
    ] {
        assert!(at_start.contains(line), "at the start: {line}: {at_start}");
        assert!(beforehand.contains(&format!("kept: {line}")), "beforehand: {line}: {beforehand}");
    }
    let nothing = journal.path.join("nothing");
    let (good, said) = check(&with("", "", "firm = \"FB\""), &nothing);
    assert!(!good && said.contains("has no journal"), "{said}");
}
