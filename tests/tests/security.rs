//! What somebody can do who does not know a session's name, or not the password: nothing to those who do. docs/security.md says
//! which test shows what; how long clients wait meanwhile is measured by `make attack`.

use std::time::{Duration, Instant};

use netio::random::seed_from_environment;
use nix::sys::signal::Signal;
use pitlane_tests::attack::{Fleet, Flood, Manners, default_hash};
use pitlane_tests::client::{Client, LoginError, PATIENCE, control_body, datagram, header, login_request};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::binary;
use wire::control::{Reply, Request};
use wire::moldudp64::CONTROL_SESSION;
use wire::soupbintcp;

const PRICE: u64 = 1_500_000;
/// For the logins of a loaded machine without optimisation.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

fn start(settings: Settings) -> Engine {
    Engine::start(&binary("pitlane"), settings).expect("an engine")
}

/// A session with one resting order.
fn session(engine: &Engine) -> Client {
    let mut client = Client::open(engine.address(), 1).expect("a session");
    client.enter_accepted(1, b'B', 100, PRICE).expect("an order");
    client
}

/// The session goes on exactly where it was: the same next numbers both ways, and the order still rests.
fn assert_unharmed(client: &mut Client) {
    assert_eq!(
        client.receive_within(Duration::from_millis(50)).expect("socket"),
        None,
        "an answer to nothing"
    );
    assert_eq!(client.next_user_ref_num().expect("an answer"), 2);
}

/// What came that is a control datagram, until nothing more comes.
fn replies(client: &Client) -> Vec<Reply> {
    let mut found = Vec::new();
    while let Some(bytes) = client.receive_raw(Duration::from_millis(300)).expect("socket") {
        found.extend(control_body(&bytes));
    }
    found
}

/// Every body that somebody may think of who can forge the client's address, and does not know its session's name. The client's own
/// socket sends them: no address is closer to the client's.
#[test]
fn no_control_datagram_without_the_sessions_name_changes_a_session() {
    let engine = start(Settings::default());
    let mut client = session(&engine);
    let mut other = client.downstream;
    other[9] ^= 1;
    let mut bodies: Vec<Vec<u8>> = (0..=u8::MAX).map(|first| vec![first]).collect();
    for name in [other, client.upstream, *b"          ", *b"D000000000", [0; 10]] {
        bodies.extend([b'O', b'Z', b'A', b'C', b'L'].map(|first| [&[first], &name[..]].concat()));
    }
    let logins = [("C00001", "wrong"), ("C00002", "wrong"), ("nobody", "wrong")];
    for (user, password) in logins {
        for cookie in [None, Some([0; 16])] {
            let mut body = [0; wire::control::MAX_LENGTH];
            let request = login_request(user, password, 1);
            let length = Request::Login { request, cookie }.write(&mut body);
            bodies.push(body[..length].to_vec());
        }
    }
    for packet in [
        soupbintcp::Packet::ServerHeartbeat,
        soupbintcp::Packet::ClientHeartbeat,
        soupbintcp::Packet::EndOfSession,
        soupbintcp::Packet::Debug(b"text"),
        soupbintcp::Packet::UnsequencedData(b"text"),
        soupbintcp::Packet::SequencedData(b"text"),
        soupbintcp::Packet::LoginRejected { reason: b'A' },
    ] {
        let mut body = [0; 16];
        let length = packet.write(&mut body);
        bodies.push(body[..length].to_vec());
    }
    for body in &bodies {
        client.control(body).expect("send");
        client.send_raw(&datagram(CONTROL_SESSION, 1, &[body])).expect("send");
    }
    let told = replies(&client);
    let harmless = |reply: &Reply| matches!(reply, Reply::Rejected { .. } | Reply::Challenge { .. });
    assert!(told.iter().all(harmless), "{told:?}");
    assert_unharmed(&mut client);
    assert_eq!(engine.metric(&["pitlane_logouts_total"]).expect("metrics"), 0.0);
    assert_eq!(engine.metric(&["pitlane_sessions_bound"]).expect("metrics"), 1.0);
}

#[test]
fn the_right_name_from_a_foreign_address_ends_nothing() {
    let engine = start(Settings::default());
    let mut client = session(&engine);
    let stranger = Client::connect(engine.address()).expect("a socket");
    stranger.request(&Request::Logout { session: Some(client.downstream) }).expect("send");
    assert_eq!(replies(&stranger), []);
    assert_unharmed(&mut client);
}

/// Whoever has an account of his own may log in from the address of another's session, if he can forge it.
#[test]
fn a_login_from_the_address_of_another_session_takes_nothing_from_it() {
    let engine = start(Settings::default());
    let mut client = session(&engine);
    let request = login_request("C00002", PASSWORD, 1);
    client.request(&Request::Login { request, cookie: None }).expect("send");
    let deadline = Instant::now() + PATIENCE;
    let second = loop {
        assert!(Instant::now() < deadline, "no answer to the second login");
        let bytes = client.receive_raw(Duration::from_millis(200)).expect("socket").unwrap_or_default();
        if let Some(Reply::Accepted(accepted)) = control_body(&bytes) {
            break accepted.session;
        }
    };
    assert_ne!(second, client.downstream);
    assert_unharmed(&mut client);
    assert_eq!(engine.await_metric(&["pitlane_sessions_bound"], 2.0, PATIENCE).expect("metrics"), 2.0);
    // And each can be ended by its name.
    client.request(&Request::Logout { session: Some(second) }).expect("send");
    assert!(replies(&client).contains(&Reply::EndOfSession { session: second }));
    assert_unharmed(&mut client);
}

#[test]
fn a_logout_is_answered_again_when_its_answer_was_lost_and_a_bare_one_never() {
    let engine = start(Settings::default());
    let client = session(&engine);
    client.request(&Request::Logout { session: None }).expect("send");
    assert_eq!(replies(&client), []);
    assert_eq!(engine.metric(&["pitlane_logouts_unnamed_total"]).expect("metrics"), 1.0);
    let end = Reply::EndOfSession { session: client.downstream };
    for _ in 0..2 {
        client.logout().expect("send");
        assert_eq!(replies(&client), [end]);
    }
    assert_eq!(engine.metric(&["pitlane_logouts_total"]).expect("metrics"), 1.0);
}

/// A client from another host, a password that is wrong, a stranger's session name: the session stays where it is.
#[test]
fn a_wrong_login_from_elsewhere_moves_nothing() {
    let engine = start(Settings::default());
    let mut client = session(&engine);
    let mut thief = Client::connect(engine.address()).expect("a socket");
    let mut request = login_request("C00001", "wrong", 1);
    request.requested_session = client.downstream;
    assert!(matches!(thief.login_as(&request), Err(LoginError::Rejected(b'A'))));
    assert_unharmed(&mut client);
}

/// The engine's process stands still for longer than a session may be silent, and nobody is to blame.
#[test]
fn a_pause_of_the_engine_logs_nobody_out() {
    let engine = start(Settings::default().with("session", "timeout_seconds = 2"));
    let mut client = session(&engine);
    engine.process.signal(Signal::SIGSTOP).expect("stop");
    std::thread::sleep(Duration::from_secs(5));
    engine.process.signal(Signal::SIGCONT).expect("go on");
    // The client was as silent as the engine was deaf.
    std::thread::sleep(Duration::from_millis(500));
    assert_unharmed(&mut client);
    assert_eq!(engine.metric(&["pitlane_session_timeouts_total"]).expect("metrics"), 0.0);
    // And a silence that it could have heard still ends the session.
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(
        engine.await_metric(&["pitlane_session_timeouts_total"], 1.0, PATIENCE).expect("metrics"),
        1.0
    );
}

/// Where the reply waits for the disk, the client must not hear of its stream before it knows the stream's name.
#[test]
fn the_answer_to_a_login_comes_before_the_acknowledgement_and_both_until_they_are_heard() {
    for durability in ["memory", "process", "disk"] {
        let engine = start(Settings { durability, ..Settings::default() });
        for account in 1..=4 {
            let client = Client::connect(engine.address()).expect("a socket");
            let request = login_request(&pitlane_tests::client::user(account), PASSWORD, 1);
            client.request(&Request::Login { request, cookie: None }).expect("send");
            let next = || client.receive_raw(PATIENCE).expect("socket").expect("a datagram");
            // The client says nothing, as if it had heard nothing.
            let mut told = Vec::new();
            while told.len() < 3 {
                let bytes = next();
                let Some(Reply::Accepted(accepted)) = control_body(&bytes) else {
                    // Messages of the session may come between, but not before.
                    assert!(!told.is_empty(), "{durability}: {bytes:02x?} instead of Login Accepted");
                    continue;
                };
                let mut upstream = accepted.session;
                upstream[0] = b'U';
                assert_eq!(next(), header(upstream, 1, 0), "{durability}: no acknowledgement after it");
                told.push(accepted);
            }
            assert!(told.iter().all(|accepted| *accepted == told[0]));
            client.send_raw(&header(told[0].session, 1, 0)).expect("send");
            let mut after = Vec::new();
            while let Some(bytes) = client.receive_raw(Duration::from_millis(700)).expect("socket") {
                after.extend(control_body(&bytes));
            }
            // One may have been under way.
            assert!(after.len() <= 1, "{durability}: {after:?} after the client was heard");
        }
    }
}

/// A settings file with the hash that `pitlane hash-password` makes if not told otherwise.
fn costly() -> Settings {
    let password_hash = default_hash(&binary("pitlane"), PASSWORD).expect("a hash");
    Settings { password_hash, ..Settings::default() }
}

/// A folder in memory that goes with the test.
struct Memory(std::path::PathBuf);

impl Memory {
    fn new(name: &str) -> Self {
        let path = std::path::PathBuf::from(format!("/dev/shm/pitlane-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder in memory");
        Self(path)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_flood_of_wrong_logins_keeps_nobody_out() {
    let engine = start(Settings { accounts: 64, ..costly() });
    // Known before the flood, and of the protocol before challenges.
    let mut old = Client::open(engine.address(), 60).expect("a session");
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    println!("PITLANE_SEED={seed}");
    let _flood = Flood::start(engine.address(), 2_000, 64, seed).expect("a flood");
    let challenged = engine.await_metric(&["pitlane_logins_challenged_total"], 100.0, LONG_PATIENCE);
    assert!(challenged.expect("metrics") >= 100.0, "logins do not queue up");
    for account in 1..=4 {
        Client::open(engine.address(), account).expect("a session in the flood");
    }
    old.answers_challenges = false;
    old.login("C00060", PASSWORD, 0).expect("a client that was there before");
    let mut elsewhere = Client::connect(engine.address()).expect("a socket");
    elsewhere.answers_challenges = false;
    let moved = elsewhere.login("C00060", PASSWORD, 0).expect("also from another address");
    assert_eq!(moved.session, old.downstream);
}

/// Many clients come back at once after a crash. Their passwords take longer to verify than a session may be silent, and all of
/// them have orders that would be cancelled.
#[test]
fn nobody_is_timed_out_while_his_login_waits() {
    const CLIENTS: usize = 100;
    let journal = Folder::new("comeback").expect("a folder");
    let settings = Settings {
        accounts: CLIENTS,
        durability: "process",
        journal: Some(journal.path.clone()),
        ..costly()
    };
    // Nothing is remembered, one thread verifies, and it takes it longer than a silence may be.
    let settings = settings
        .with("session", "timeout_seconds = 2")
        .with("session", "remember_logins_seconds = 0")
        .with("session", "login_threads = 1");
    for manners in [Manners::Own, Manners::Old] {
        let mut engine = start(settings.clone());
        let mut fleet = Fleet::new(engine.address(), CLIENTS, PASSWORD).expect("sockets");
        assert!(fleet.log_in(Manners::Own, LONG_PATIENCE).expect("sockets").is_some(), "not all are in");
        engine.process.signal(Signal::SIGKILL).expect("kill");
        engine.process.wait(PATIENCE).expect("an end");
        drop(engine);
        let engine = start(settings.clone());
        fleet.lose();
        assert!(
            fleet.log_in(manners, LONG_PATIENCE).expect("sockets").is_some(),
            "{manners:?}: not all are back"
        );
        let timeouts = engine.metric(&["pitlane_session_timeouts_total"]).expect("metrics");
        assert_eq!(timeouts, 0.0, "{manners:?}: sessions were given up while their logins waited");
    }
}

#[test]
fn after_a_crash_a_known_password_is_not_hashed_again_and_a_changed_one_is() {
    let (journal, memory) = (Folder::new("known").expect("a folder"), Memory::new("known"));
    let settings = Settings { durability: "process", journal: Some(journal.path.clone()), ..costly() }
        .with("session", format!("remember_logins_in = {:?}", memory.0));
    let remembered = ["pitlane_logins_remembered_total"];
    let mut engine = start(settings.clone());
    for account in 1..=4 {
        Client::open(engine.address(), account).expect("a session");
    }
    assert_eq!(engine.metric(&remembered).expect("metrics"), 0.0);
    engine.process.signal(Signal::SIGKILL).expect("kill");
    engine.process.wait(PATIENCE).expect("an end");
    drop(engine);
    let engine = start(settings.clone());
    for account in 1..=4 {
        let mut thief = Client::connect(engine.address()).expect("a socket");
        let user = pitlane_tests::client::user(account);
        assert!(matches!(thief.login(&user, "wrong", 1), Err(LoginError::Rejected(b'A'))));
        Client::open(engine.address(), account).expect("a session");
    }
    assert_eq!(engine.await_metric(&remembered, 4.0, PATIENCE).expect("metrics"), 4.0);
    drop(engine);
    let other = default_hash(&binary("pitlane"), "other").expect("a hash");
    let engine = start(Settings { password_hash: other, ..settings });
    let mut former = Client::connect(engine.address()).expect("a socket");
    assert!(matches!(former.login("C00001", PASSWORD, 1), Err(LoginError::Rejected(b'A'))));
    Client::connect(engine.address())
        .expect("a socket")
        .login("C00001", "other", 1)
        .expect("the new password");
    assert_eq!(engine.metric(&remembered).expect("metrics"), 0.0);
}

#[test]
fn attempts_at_an_account_are_limited_from_wherever_they_come_and_its_owner_is_not_counted_with_them() {
    let settings = Settings::default().with("session", "login_attempts_per_account = 5");
    let engine = start(settings);
    let mut owner = session(&engine);
    let mut rejected = 0;
    for source in 1..=20_u8 {
        let mut client =
            Client::connect_from([127, 0, 0, source].into(), engine.address()).expect("a socket");
        client.answers_challenges = false;
        let guess = client.try_login("C00001", &format!("guess{source}"), Duration::from_millis(300));
        rejected += usize::from(matches!(guess, Err(LoginError::Rejected(_))));
    }
    // One more may come while the test runs.
    assert!((5..=6).contains(&rejected), "{rejected} guesses were answered, 5 a minute are allowed");
    // He names his session, which no guesser can.
    let mut request = login_request("C00001", PASSWORD, 0);
    request.requested_session = owner.downstream;
    owner.answers_challenges = false;
    owner.login_as(&request).expect("the owner");
}
