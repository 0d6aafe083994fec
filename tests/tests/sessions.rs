//! Sessions over UDP as a client sees them: login, repetition, re-login with replay, silence, logout, several shards.

use std::time::{Duration, Instant};

use pitlane_tests::client::{Client, LoginError, PATIENCE, control_body, datagram, enter, header};
use pitlane_tests::engine::{Engine, PASSWORD, Settings};
use pitlane_tests::process::binary;
use wire::control::{Reply, Request};
use wire::moldudp64::Packet;
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest, pad_right};

const PRICE: u64 = 1_500_000;

fn start(settings: Settings) -> Engine {
    Engine::start(&binary("pitlane"), settings).expect("an engine")
}

/// The next control datagram.
fn await_control(client: &mut Client) -> Vec<u8> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match client.receive_raw(Duration::from_millis(200)).expect("socket") {
            Some(bytes) if control_body(&bytes).is_some() => return bytes,
            Some(bytes) => client.take(&bytes).expect("a datagram of the session"),
            None => {}
        }
    }
    panic!("no control datagram in {PATIENCE:?}");
}

#[test]
fn an_order_is_accepted_and_two_that_cross_are_executed() {
    let engine = start(Settings::default());
    let mut buyer = Client::open(engine.address(), 1).expect("a session");
    let mut seller = Client::open(engine.address(), 2).expect("a session");
    buyer.enter_accepted(1, b'B', 100, PRICE).expect("accepted");
    seller.enter_accepted(1, b'S', 100, PRICE).expect("accepted");
    for client in [&mut buyer, &mut seller] {
        let message = client.receive().expect("an execution");
        let executed = wire::ouch::outbound::OrderExecutedView::parse(&message).expect("Executed");
        assert_eq!((executed.user_ref_num(), executed.quantity(), executed.price()), (1, 100, PRICE));
    }
}

#[test]
fn a_repeated_login_gets_the_same_answer() {
    let engine = start(Settings::default());
    let mut client = Client::open(engine.address(), 1).expect("a session");
    let request = LoginRequest {
        username: pad_right("C00001").expect("short"),
        password: pad_right(PASSWORD).expect("short"),
        requested_session: ANY_SESSION,
        requested_sequence: 1,
    };
    // Its answer was lost, so the client asks again; what has happened since stands.
    for _ in 0..2 {
        client.request(&Request::Login { request, cookie: None }).expect("send");
        let bytes = await_control(&mut client);
        let again = Reply::Accepted(LoginAccepted { session: client.downstream, sequence: 1 });
        assert_eq!(control_body(&bytes), Some(again));
    }
    client.enter_accepted(1, b'B', 1, PRICE).expect("accepted");
}

/// Its login has the very bytes of the one before, whose session nobody has ended.
#[test]
fn a_client_started_again_at_the_same_address_begins_anew() {
    let engine = start(Settings::default());
    let mut client = Client::connect(engine.address()).expect("a socket");
    client.login("C00001", PASSWORD, 0).expect("a session");
    client.enter_accepted(1, b'B', 1, PRICE).expect("accepted");
    // The former program understands acknowledgements behind messages; nobody knows of the next one whether it does.
    client.request(&Request::Ride { session: client.downstream }).expect("sent");
    client.send(&[&enter(2, b'B', 1, PRICE)]).expect("sent");
    await_ridden(&mut client);
    let next = client.next_downstream + 1;
    // What the engine cannot take yet must not come behind what the next program says.
    client.next_upstream += 1;
    client.send(&[&enter(9, b'B', 1, PRICE)]).expect("sent");

    let mut client = client.restarted();
    let accepted = client.login("C00001", PASSWORD, 0).expect("a session");
    assert_eq!(accepted.sequence, next, "0 asks for what is yet to come");
    client.enter_accepted(3, b'B', 1, PRICE).expect("accepted");
    assert_eq!(client.next_user_ref_num().expect("an answer"), 4, "order 9 was entered");
}

/// Waits for a message with an acknowledgement behind it.
fn await_ridden(client: &mut Client) {
    for _ in 0..100 {
        let Some(bytes) = client.receive_raw(Duration::from_millis(100)).expect("socket") else { continue };
        let Some((packet, _rider)) = bytes.split_last_chunk::<8>() else { continue };
        if Packet::parse(packet).is_ok_and(|packet| packet.header.count == 1) {
            return;
        }
    }
    panic!("no acknowledgement came behind a message");
}

#[test]
fn a_relogin_from_another_address_replays_and_moves_the_binding() {
    let engine = start(Settings::default());
    let mut first = Client::open(engine.address(), 1).expect("a session");
    for urn in 1..=10 {
        first.enter_accepted(urn, b'B', 100, PRICE).expect("accepted");
    }
    let wanted = first.next_downstream;
    for urn in 11..=20 {
        first.enter_accepted(urn, b'B', 100, PRICE).expect("accepted");
    }
    let mut second = Client::connect(engine.address()).expect("a socket");
    let accepted = second.login("C00001", PASSWORD, wanted).expect("accepted");
    assert_eq!((accepted.session, accepted.sequence), (first.downstream, wanted));
    assert_eq!(second.next_upstream, 21, "the engine says which message it expects next");
    for urn in 11..=20 {
        let message = second.receive().expect("a replayed answer");
        let replayed = wire::ouch::outbound::OrderAcceptedView::parse(&message).expect("Accepted");
        assert_eq!(replayed.user_ref_num(), urn);
    }
    second.enter_accepted(21, b'B', 100, PRICE).expect("the session goes on here");
    first.send_raw(&datagram(first.upstream, 22, &[&enter(22, b'B', 100, PRICE)])).expect("send");
    assert_eq!(second.next_user_ref_num().expect("an answer"), 22, "the former address has no say any more");
}

#[test]
fn a_login_beyond_the_stream_is_not_available() {
    let engine = start(Settings::default());
    let mut client = Client::connect(engine.address()).expect("a socket");
    match client.login("C00001", PASSWORD, 5) {
        Err(LoginError::Rejected(b'S')) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn messages_that_overtake_each_other_are_put_in_order() {
    let engine = start(Settings::default());
    let mut client = Client::open(engine.address(), 1).expect("a session");
    for urn in [3, 2, 5, 4, 1] {
        let bytes = datagram(client.upstream, u64::from(urn), &[&enter(urn, b'B', 100, PRICE)]);
        client.send_raw(&bytes).expect("send");
    }
    for urn in 1..=5 {
        let message = client.receive().expect("an answer");
        let accepted = wire::ouch::outbound::OrderAcceptedView::parse(&message).expect("Accepted");
        assert_eq!(accepted.user_ref_num(), urn);
    }
}

#[test]
fn a_missing_message_is_asked_for() {
    let engine = start(Settings::default());
    let client = Client::open(engine.address(), 1).expect("a session");
    client.send_raw(&datagram(client.upstream, 2, &[&enter(2, b'B', 100, PRICE)])).expect("send");
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no request for message 1");
        let Some(bytes) = client.receive_raw(Duration::from_millis(200)).expect("socket") else { continue };
        if bytes == header(client.upstream, 1, 1) {
            return;
        }
    }
}

#[test]
fn what_we_ask_for_again_is_sent_again() {
    let engine = start(Settings::default());
    let mut client = Client::open(engine.address(), 1).expect("a session");
    client.enter_accepted(1, b'B', 100, PRICE).expect("accepted");
    let lost = client.next_downstream;
    client.enter_accepted(2, b'B', 100, PRICE).expect("accepted");
    // As after a crash of the client: it had not kept the second answer.
    client.login("C00001", PASSWORD, lost).expect("accepted");
    let message = client.receive().expect("an answer");
    let again = wire::ouch::outbound::OrderAcceptedView::parse(&message).expect("Accepted");
    assert_eq!(again.user_ref_num(), 2);
}

#[test]
fn a_silent_client_is_logged_out_and_its_orders_cancelled() {
    let engine = start(Settings::default().with("session", "timeout_seconds = 2"));
    let mut silent = Client::open(engine.address(), 1).expect("a session");
    silent.enter_accepted(1, b'B', 100, PRICE).expect("accepted");
    let answers = silent.next_downstream;
    std::thread::sleep(Duration::from_millis(3500));
    let mut back = Client::connect(engine.address()).expect("a socket");
    back.login("C00001", PASSWORD, answers).expect("accepted");
    let message = back.receive().expect("what happened meanwhile");
    let canceled = wire::ouch::outbound::OrderCanceledView::parse(&message).expect("Canceled");
    assert_eq!((canceled.user_ref_num(), canceled.quantity()), (1, 100));
}

#[test]
fn a_logout_ends_the_session_and_is_answered() {
    let engine = start(Settings::default());
    let mut client = Client::open(engine.address(), 1).expect("a session");
    client.enter_accepted(1, b'B', 100, PRICE).expect("accepted");
    client.logout().expect("send");
    assert_eq!(
        control_body(&await_control(&mut client)),
        Some(Reply::EndOfSession { session: client.downstream })
    );
    // Logged out, but not forgotten: the same session goes on with the next login.
    let name = client.downstream;
    let accepted = client.login("C00001", PASSWORD, 0).expect("accepted");
    assert_eq!(accepted.session, name);
}

#[test]
fn each_shard_has_its_own_port_sessions_and_instruments() {
    let base_port = 26_500 + (std::process::id() % 1000) as u16 * 4;
    let settings =
        Settings { shards: 2, symbols: vec!["AAPL".into(), "MSFT".into()], base_port, ..Settings::default() };
    let engine = start(settings);
    let mut first = Client::open(engine.settings.address(0), 1).expect("a session");
    let mut second = Client::open(engine.settings.address(1), 1).expect("a session");
    first.enter_accepted(1, b'B', 100, PRICE).expect("AAPL is here");
    let answer = second.enter(1, b'B', 100, PRICE).expect("an answer");
    let rejected = wire::ouch::outbound::OrderRejectedView::parse(&answer).expect("Rejected");
    assert_eq!(rejected.reason(), wire::ouch::reject_reason::INVALID_SYMBOL);
}

/// A password must not be guessed faster than the limit allows, however fast the source is.
#[test]
fn login_attempts_of_a_source_are_limited() {
    let engine = start(Settings::default().with("session", "login_attempts_per_minute = 5"));
    // Guesses of who does not show that he receives are counted apart: their source may be forged.
    for answers_challenges in [false, true] {
        assert_guesses_are_limited(&engine, answers_challenges);
    }
}

fn assert_guesses_are_limited(engine: &Engine, answers_challenges: bool) {
    let mut rejected = 0;
    for attempt in 0..8 {
        let mut client = Client::connect(engine.address()).expect("a socket");
        client.answers_challenges = answers_challenges;
        match client.try_login("C00001", &format!("guess{attempt}"), Duration::from_millis(500)) {
            Err(LoginError::Rejected(_)) => rejected += 1,
            Err(LoginError::Io(_)) => {}
            Ok(_) => panic!("a guess was right"),
        }
    }
    // One more may come while the test runs.
    assert!((5..=6).contains(&rejected), "{rejected} guesses were answered, 5 a minute are allowed");
}

/// Without a journal nothing brings back an answer that was overwritten, so none may be.
#[test]
fn a_client_that_takes_no_answers_is_held_back_and_keeps_its_session() {
    let engine = start(Settings::default().with("session", "resend_window_bytes = 8192"));
    let mut client = Client::open(engine.address(), 1).expect("a session");
    let orders = 300;
    for number in 1..=orders {
        client.send(&[&enter(number, b'B', 1, PRICE)]).expect("sent");
    }
    let held = engine.await_metric(&["refused_total", "held_back"], 1.0, PATIENCE).expect("metrics");
    assert!(held >= 1.0, "all {orders} orders were taken");
    // It takes its answers after all: none was overwritten, and what was not taken is asked for.
    let deadline = Instant::now() + PATIENCE;
    let mut answers = 0;
    while answers < 50 && Instant::now() < deadline {
        answers += usize::from(answer_or_request(&mut client));
    }
    assert_eq!(answers, 50);
    assert!(engine.metric(&["replays_total"]).expect("metrics") < 1.0);
    let taken = client.acknowledged;
    while client.acknowledged <= taken && Instant::now() < deadline {
        client.next_upstream = client.acknowledged;
        let number = u32::try_from(client.acknowledged).expect("few");
        client.send(&[&enter(number, b'B', 1, PRICE)]).expect("sent");
        answer_or_request(&mut client);
    }
    assert!(client.acknowledged > taken, "nothing is taken any more");
}

/// Whether an answer came; a request for what the engine lacks is none, and the test's client knows no requests.
fn answer_or_request(client: &mut Client) -> bool {
    matches!(client.receive_within(Duration::from_millis(50)), Ok(Some(_)))
}
