//! Whatever arrives that is not right changes nothing, is counted, and harms no other session.

use std::time::Duration;

use pitlane_tests::client::{Client, LoginError, PATIENCE, datagram, enter, header};
use pitlane_tests::engine::{Engine, Settings};
use pitlane_tests::process::binary;
use wire::moldudp64::CONTROL_SESSION;

const PRICE: u64 = 1_500_000;

fn start() -> Engine {
    Engine::start(&binary("pitlane"), Settings::default()).expect("an engine")
}

/// A session with one resting order, and the stranger's socket beside it.
fn session_and_stranger(engine: &Engine) -> (Client, Client) {
    let mut good = Client::open(engine.address(), 1).expect("a session");
    good.enter_accepted(1, b'B', 100, PRICE).expect("an order");
    (good, Client::connect(engine.address()).expect("a socket"))
}

/// The session goes on exactly where it was: the same next numbers both ways, and the order still rests.
fn assert_unharmed(good: &mut Client) {
    assert_eq!(good.receive_within(Duration::from_millis(50)).expect("socket"), None, "an answer to nothing");
    assert_eq!(
        good.next_user_ref_num().expect("an answer"),
        2,
        "a message was taken that should not have been"
    );
    good.enter_accepted(2, b'B', 100, PRICE).expect("the session goes on");
}

/// Sends `bad` and waits until the engine says that it has refused each for this reason.
fn assert_counted(engine: &Engine, reason: &str, bad: &[Vec<u8>], sender: &Client) {
    let label = format!("reason=\"{reason}\"");
    let counter = ["pitlane_refused_total", &label];
    let before = engine.metric(&counter).expect("metrics");
    for bytes in bad {
        sender.send_raw(bytes).expect("send");
    }
    await_metric(engine, &counter, before + bad.len() as f64);
}

/// Fails if the metric does not get there or goes beyond.
fn await_metric(engine: &Engine, counter: &[&str], expected: f64) {
    assert_eq!(engine.await_metric(counter, expected, PATIENCE).expect("metrics"), expected, "{counter:?}");
}

#[test]
fn a_wrong_token_is_counted_and_changes_nothing() {
    let engine = start();
    let (mut good, stranger) = session_and_stranger(&engine);
    let mut token = good.upstream;
    token[9] ^= 1;
    let bad = [datagram(token, 2, &[&enter(2, b'B', 100, PRICE)]), header(*b"U000000000", 1, 0)];
    assert_counted(&engine, "unknown_token", &bad, &stranger);
    assert_unharmed(&mut good);
}

#[test]
fn the_right_token_from_a_foreign_address_is_counted_and_changes_nothing() {
    let engine = start();
    let (mut good, stranger) = session_and_stranger(&engine);
    let stolen = datagram(good.upstream, good.next_upstream, &[&enter(2, b'S', 100, PRICE)]);
    assert_counted(&engine, "foreign_source", &[stolen], &stranger);
    assert_unharmed(&mut good);
}

#[test]
fn truncated_datagrams_and_lying_counts_are_counted_and_change_nothing() {
    let engine = start();
    let (mut good, _) = session_and_stranger(&engine);
    let whole = datagram(good.upstream, good.next_upstream, &[&enter(2, b'B', 100, PRICE)]);
    assert_counted(&engine, "short", &[whole[..1].to_vec(), whole[..19].to_vec()], &good);
    assert_counted(&engine, "port_malformed", &[vec![]], &good);
    let mut lies = Vec::new();
    lies.push(whole[..whole.len() - 1].to_vec());
    lies.push([&whole[..], b"x"].concat());
    for count in [2_u16, 100, 0xFFFE] {
        let mut lie = whole.clone();
        lie[18..20].copy_from_slice(&count.to_be_bytes());
        lies.push(lie);
    }
    assert_counted(&engine, "malformed", &lies, &good);
    assert_unharmed(&mut good);
}

#[test]
fn a_sequence_far_ahead_is_counted_and_changes_nothing() {
    let engine = start();
    let (mut good, _) = session_and_stranger(&engine);
    let message = enter(2, b'B', 100, PRICE);
    let with = |sequence| datagram(good.upstream, sequence, &[&message]);
    assert_counted(&engine, "far_ahead", &[with(1 << 20), with(1 << 40), with(u64::MAX - 1)], &good);
    // There is no message after the last number.
    assert_counted(&engine, "malformed", &[with(u64::MAX)], &good);
    assert_unharmed(&mut good);
}

#[test]
fn a_duplicate_is_counted_and_changes_nothing() {
    let engine = start();
    let (mut good, _) = session_and_stranger(&engine);
    let again = datagram(good.upstream, 1, &[&enter(1, b'B', 100, PRICE)]);
    assert_counted(&engine, "duplicate", &[again.clone(), again], &good);
    assert_unharmed(&mut good);
}

#[test]
fn control_datagrams_that_are_none_are_counted_and_change_nothing() {
    let engine = start();
    let (mut good, stranger) = session_and_stranger(&engine);
    let bad = [
        header(CONTROL_SESSION, 0, 0),
        datagram(CONTROL_SESSION, 0, &[]),
        datagram(CONTROL_SESSION, 0, &[b""]),
        datagram(CONTROL_SESSION, 0, &[b"L"]),
        datagram(CONTROL_SESSION, 0, &[b"?"]),
        datagram(CONTROL_SESSION, 0, &[b"O", b"O"]),
        datagram(CONTROL_SESSION, 7, &[b"O"]),
        datagram(CONTROL_SESSION, 0, &[&[b'L'; 47]]),
    ];
    assert_counted(&engine, "control_malformed", &bad, &stranger);
    assert_unharmed(&mut good);
}

/// Messages are numbered whether they make sense or not: those that do not are consumed, counted, and change no order.
#[test]
fn messages_of_unknown_type_and_no_length_are_counted_and_change_no_order() {
    let engine = start();
    let (mut good, _) = session_and_stranger(&engine);
    let short = &enter(2, b'B', 100, PRICE)[..46];
    good.send(&[b"", b"?", b"\xff\xff\xff", short, &[0; 200]]).expect("send");
    assert_unharmed(&mut good);
    await_metric(&engine, &["pitlane_messages_malformed_total"], 5.0);
}

#[test]
fn a_wrong_password_or_user_is_rejected_alike_and_counted() {
    let engine = start();
    let (mut good, mut stranger) = session_and_stranger(&engine);
    for (user, password) in [("C00001", "wrong"), ("NOBODY", "demo"), ("", "")] {
        match stranger.login(user, password, 1) {
            Err(LoginError::Rejected(b'A')) => {}
            other => panic!("{user:?}: {other:?}"),
        }
    }
    await_metric(&engine, &["pitlane_logins_rejected_total"], 3.0);
    assert_unharmed(&mut good);
}

/// Random bytes behind every kind of beginning that gets past a check. `PITLANE_SEED` replays a run.
#[test]
fn random_bytes_change_nothing() {
    let seed = std::env::var("PITLANE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |now| now.as_nanos() as u64)
    });
    eprintln!("PITLANE_SEED={seed}");
    let mut random = Random(seed | 1);
    let engine = start();
    let (mut good, stranger) = session_and_stranger(&engine);
    for _ in 0..3000 {
        let mut bytes = vec![0; (random.next() % 200) as usize];
        bytes.fill_with(|| random.next() as u8);
        let prefix = match random.next() % 4 {
            0 => Vec::new(),
            1 => CONTROL_SESSION.to_vec(),
            2 => good.upstream.to_vec(),
            _ => good.downstream.to_vec(),
        };
        stranger.send_raw(&[prefix, bytes].concat()).expect("send");
    }
    assert_unharmed(&mut good);
}

/// xorshift64*: any bytes will do here.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }
}
