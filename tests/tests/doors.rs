//! The TCP doors (order entry, market data, admin) under clients that take too much: places, time, descriptors, answers they do not read. What
//! is said over them by clients that behave is in the other suites.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use pitlane_tests::client::{enter, user};
use pitlane_tests::engine::{ADMIN_TOKEN, Engine, PASSWORD, Settings, free_port};
use pitlane_tests::process::binary;
use pitlane_tests::soup::{SoupClient, connect, replay, snapshot};
use wire::ouch::outbound::OrderAcceptedView;
use wire::soupbintcp::{ANY_SESSION, LoginRequest, Packet, pad_right};

const PRICE: u64 = 1_500_000;
/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

fn address() -> SocketAddr {
    SocketAddr::new(HERE, free_port())
}

/// An engine with a gateway, and more lines of its section.
fn gateway(more: &str) -> (Engine, SocketAddr) {
    let gateway = address();
    let settings = Settings::default().with("gateway", format!("listen = \"{gateway}\"\n{more}"));
    (Engine::start(&binary("pitlane"), settings).expect("an engine"), gateway)
}

/// A connection from one of the loopback's addresses.
fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("a source");
    socket.connect_timeout(&to.into(), PATIENCE).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    stream
}

/// A connection with a small window: what its client does not read waits in the engine, not in the kernel.
fn connect_narrow(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    socket.connect(&to.into()).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    socket.into()
}

/// Whether the other side has closed or reset it by now; what it said before is dropped.
fn is_closed(stream: &mut TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            }
        }
    }
}

fn await_closed(streams: &mut [TcpStream], what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !streams.iter_mut().all(is_closed) {
        assert!(Instant::now() < deadline, "{what}: still open after {PATIENCE:?}");
    }
}

fn login(user: &str, password: &str) -> LoginRequest {
    LoginRequest {
        username: pad_right(user).expect("short"),
        password: pad_right(password).expect("short"),
        requested_session: ANY_SESSION,
        requested_sequence: 1,
    }
}

fn frame(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = vec![0; 70_000];
    let length = packet.write_frame(&mut out);
    out.truncate(length);
    out
}

fn is_accepted(message: &[u8], urn: u32) {
    assert_eq!(OrderAcceptedView::parse(message).map(|it| it.user_ref_num()), Ok(urn));
}

#[test]
fn who_does_not_log_in_is_disconnected_whatever_it_sends() {
    let [order_entry, glimpse, replays] = [address(), address(), address()];
    let settings = Settings::default()
        .with("gateway", format!("listen = \"{order_entry}\"\nmax_connections = 4"))
        .with("feed", format!("glimpse_listen = \"{glimpse}\"\nreplay_listen = \"{replays}\""));
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let login = frame(&Packet::LoginRequest(login(&user(1), PASSWORD)));
    let admin = SocketAddr::new(HERE, engine.settings.admin_port);
    let doors = [order_entry, order_entry, order_entry, glimpse, glimpse, replays, admin, admin];
    let mut streams: Vec<_> = doors.iter().map(|&door| connect_from(HERE, door)).collect();
    let mut closed = [false; 8];
    let deadline = Instant::now() + PATIENCE;
    for byte in 0.. {
        for (place, stream) in streams.iter_mut().enumerate() {
            // A debug packet, a heartbeat, a login byte by byte, a request line byte by byte.
            let said = match place {
                0 | 3 => frame(&Packet::Debug(b"x")),
                1 => frame(&Packet::ClientHeartbeat),
                2 | 4 | 5 => login[byte % login.len()..][..1].to_vec(),
                6 => b"GET /live HTTP/1.1\r\nX: "[byte.min(23)..][..1].to_vec(),
                _ => Vec::new(),
            };
            closed[place] |= is_closed(stream) || stream.write_all(&said).is_err();
        }
        if closed == [true; 8] {
            break;
        }
        assert!(Instant::now() < deadline, "closed: {closed:?}");
        std::thread::sleep(Duration::from_secs(2));
    }
    let mut client =
        SoupClient::log_in(connect(order_entry).expect("connected"), &user(1), PASSWORD, 1).expect("in");
    client.enter(&enter(1, b'B', 1, PRICE)).expect("sent");
    is_accepted(&client.receive(b'A').expect("Accepted"), 1);
}

#[test]
fn a_source_has_its_share_of_the_places_and_leaves_the_others() {
    let [order_entry, drop_copy, glimpse] = [address(), address(), address()];
    let settings = Settings::default()
        .with(
            "gateway",
            format!(
                "listen = \"{order_entry}\"\ndrop_copy_listen = \"{drop_copy}\"\nmax_connections_per_source = 3"
            ),
        )
        .with("feed", format!("glimpse_listen = \"{glimpse}\""));
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let mut kept: Vec<_> = (0..3).map(|_| connect_from(HERE, order_entry)).collect();
    kept.extend((0..8).map(|_| connect_from(HERE, glimpse)));
    let mut refused: Vec<_> = [order_entry, glimpse].map(|door| connect_from(HERE, door)).into();
    await_closed(&mut refused, "beyond the share");
    await_closed(&mut [connect_from(HERE, drop_copy)], "both doors of the gateway have one number of places");
    assert!(!kept.iter_mut().any(is_closed), "within the share");
    let stream = connect_from(ELSEWHERE, order_entry);
    SoupClient::log_in(stream, &user(2), PASSWORD, 1).expect("another source has its own share");
    assert!(engine.log_text().contains("gateway.max_connections_per_source"), "{}", engine.log_text());
    // A place is given back when its client leaves.
    drop(kept);
    let deadline = Instant::now() + PATIENCE;
    while SoupClient::log_in(connect(order_entry).expect("connected"), &user(1), PASSWORD, 1).is_err() {
        assert!(Instant::now() < deadline, "places are given back");
    }
    while snapshot(glimpse, &user(1), PASSWORD).is_err() {
        assert!(Instant::now() < deadline, "places are given back");
    }
}

/// Processor time that threads of this name have used, in ticks.
fn ticks(engine: &Engine, name: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", engine.process.id())).expect("threads");
    let mut sum = 0;
    for task in tasks.flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((head, rest)) = stat.rsplit_once(") ")
            && head.ends_with(&format!("({name}"))
        {
            let fields: Vec<u64> = rest.split(' ').map(|field| field.parse().unwrap_or(0)).collect();
            sum += fields[11] + fields[12];
        }
    }
    sum
}

#[test]
fn out_of_descriptors_no_listener_turns_round_and_clients_get_in_later() {
    let [order_entry, glimpse] = [address(), address()];
    let settings = Settings { idle: "park", ..Settings::default() }
        .with(
            "gateway",
            format!("listen = \"{order_entry}\"\nmax_connections = 256\nmax_connections_per_source = 256"),
        )
        .with("feed", format!("glimpse_listen = \"{glimpse}\""));
    let mut command = Command::new("prlimit");
    command.arg("--nofile=64:64").arg(binary("pitlane"));
    let engine = Engine::start_as(command, None, settings).expect("an engine");
    let held: Vec<_> = (0..70).map(|_| connect_from(HERE, order_entry)).collect();
    let _waiting =
        [connect_from(HERE, glimpse), connect_from(HERE, SocketAddr::new(HERE, engine.settings.admin_port))];
    let names = ["gateway-0", "glimpse", "admin"];
    std::thread::sleep(Duration::from_secs(1));
    let before = names.map(|name| ticks(&engine, name));
    std::thread::sleep(Duration::from_secs(3));
    for (name, before) in names.into_iter().zip(before) {
        let used = ticks(&engine, name) - before;
        assert!(used < 60, "{name} used {used} of 300 ticks");
    }
    drop(held);
    let deadline = Instant::now() + PATIENCE;
    while SoupClient::log_in(connect(order_entry).expect("connected"), &user(1), PASSWORD, 1).is_err() {
        assert!(Instant::now() < deadline, "{}", engine.log_text());
    }
    assert!(matches!(engine.get("/ready"), Ok((200, _))));
}

/// Writes as much as the connection takes, until it takes nothing for a second. Returns how much.
fn write_until_held_back(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_nonblocking(true).expect("non-blocking");
    let (mut written, mut progress) = (0, Instant::now());
    while written < bytes.len() && progress.elapsed() < Duration::from_secs(1) {
        match stream.write(&bytes[written..]) {
            Ok(count) => (written, progress) = (written + count, Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("after {written} bytes: {error}"),
        }
    }
    stream.set_nonblocking(false).expect("blocking");
    written
}

#[test]
fn a_client_that_pipelines_is_held_back_and_gets_every_answer() {
    const ORDERS: u32 = 240_000;
    let (engine, address) = gateway("");
    let mut client = SoupClient::log_in(connect_narrow(address), &user(1), PASSWORD, 1).expect("in");
    let orders: Vec<u8> =
        (1..=ORDERS).flat_map(|urn| frame(&Packet::UnsequencedData(&enter(urn, b'B', 1, PRICE)))).collect();
    let written = write_until_held_back(&mut client.stream, &orders);
    assert!(written < orders.len(), "TCP pushes back");
    let mut writer = client.stream.try_clone().expect("a second handle");
    let rest = std::thread::spawn(move || writer.write_all(&orders[written..]));
    client.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
    // A heartbeat would fall into the middle of an order.
    client.heartbeats = false;
    for urn in 1..=ORDERS {
        is_accepted(
            &client.receive(b'A').unwrap_or_else(|error| panic!("{urn}: {error}\n{}", engine.log_text())),
            urn,
        );
    }
    rest.join().expect("the writer").expect("all is written");
    assert!(!engine.log_text().contains("does not read"), "{}", engine.log_text());
}

#[test]
fn a_client_whose_orders_others_fill_while_it_does_not_read_is_cut_off_with_one_line() {
    const ORDERS: u32 = 240_000;
    /// By one order: its executions must fit the taker's resend window.
    const TAKEN: u32 = 1000;
    let (engine, address) = gateway("");
    let mut idle = SoupClient::log_in(connect_narrow(address), &user(1), PASSWORD, 1).expect("in");
    let orders: Vec<u8> =
        (1..=ORDERS).flat_map(|urn| frame(&Packet::UnsequencedData(&enter(urn, b'B', 1, PRICE)))).collect();
    let mut writer = idle.stream.try_clone().expect("a second handle");
    // A heartbeat would fall into the middle of an order.
    idle.heartbeats = false;
    let writing = std::thread::spawn(move || writer.write_all(&orders));
    for _ in 0..ORDERS {
        idle.receive(b'A').unwrap_or_else(|error| panic!("{error}\n{}", engine.log_text()));
    }
    writing.join().expect("the writer").expect("written");
    let mut taker =
        SoupClient::log_in(connect(address).expect("connected"), &user(2), PASSWORD, 1).expect("in");
    // Its orders go with it, and then nobody fills the taker's.
    let is_cut = || engine.log_text().contains("does not read");
    for urn in 1..=ORDERS / TAKEN {
        taker.enter(&enter(urn, b'S', TAKEN, PRICE)).expect("sent");
        let mut executed = 0;
        while executed < TAKEN && !(executed % 100 == 0 && is_cut()) {
            let message = taker.receive_within(Duration::from_secs(1)).expect("open");
            executed += u32::from(message.is_some_and(|message| message[0] == b'E'));
        }
    }
    // Nothing is lost: it is where it was after the next login.
    let mut again =
        SoupClient::log_in(connect(address).expect("connected"), &user(1), PASSWORD, 0).expect("in");
    again.enter(&enter(ORDERS + 1, b'B', 1, PRICE)).expect("sent");
    is_accepted(&again.receive(b'A').expect("Accepted"), ORDERS + 1);
    let lines = engine.log_text().lines().filter(|line| line.contains("does not read")).count();
    assert_eq!(lines, 1, "{}", engine.log_text());
}

#[test]
fn the_longest_debug_packet_is_passed_over_by_every_door() {
    let [order_entry, glimpse, replays] = [address(), address(), address()];
    let settings = Settings::default()
        .with("gateway", format!("listen = \"{order_entry}\""))
        .with("feed", format!("glimpse_listen = \"{glimpse}\"\nreplay_listen = \"{replays}\""));
    let _engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let debug = frame(&Packet::Debug(&vec![b'x'; usize::from(u16::MAX) - 1]));
    let open = |door: SocketAddr| {
        let mut stream = connect(door).expect("connected");
        stream.write_all(&debug).expect("sent");
        SoupClient::log_in(stream, &user(1), PASSWORD, 1).expect("logged in behind a debug packet")
    };
    let mut client = open(order_entry);
    client.stream.write_all(&debug).expect("sent");
    client.enter(&enter(1, b'B', 1, PRICE)).expect("sent");
    is_accepted(&client.receive(b'A').expect("Accepted"), 1);
    for door in [glimpse, replays] {
        let mut client = open(door);
        assert!(client.receive_within(PATIENCE).expect("open").is_some(), "{door}: a first message");
    }
}

/// The bodies of all packets until the other side closes.
fn read_to_end(mut stream: TcpStream) -> Vec<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    let (mut bodies, mut rest) = (Vec::new(), &bytes[..]);
    while let Some((body, consumed)) = wire::soupbintcp::split_frame(rest, 1024).expect("frames") {
        bodies.push(body.to_vec());
        rest = &rest[consumed..];
    }
    bodies
}

#[test]
fn a_login_that_says_no_sequence_is_rejected_in_words() {
    let [order_entry, glimpse] = [address(), address()];
    let settings = Settings::default()
        .with("gateway", format!("listen = \"{order_entry}\""))
        .with("feed", format!("glimpse_listen = \"{glimpse}\""));
    let _engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let mut blank = frame(&Packet::LoginRequest(login(&user(1), PASSWORD)));
    let digits = blank.len() - 20;
    blank[digits..].fill(b' ');
    for door in [order_entry, glimpse] {
        let mut stream = connect(door).expect("connected");
        stream.write_all(&blank).expect("sent");
        assert_eq!(read_to_end(stream), [b"JS"], "{door}");
    }
}

#[test]
fn an_order_right_behind_the_login_waits_for_its_answer() {
    let (_engine, address) = gateway("");
    let order = frame(&Packet::UnsequencedData(&enter(1, b'B', 1, PRICE)));
    let say = |password| {
        let mut stream = connect(address).expect("connected");
        let login = frame(&Packet::LoginRequest(login(&user(1), password)));
        stream.write_all(&[login, order.clone()].concat()).expect("sent");
        stream
    };
    // The rejection, and no reset in its place.
    assert_eq!(read_to_end(say("wrong")), [b"JA"]);
    let mut stream = say(PASSWORD);
    let deadline = Instant::now() + PATIENCE;
    let mut answers = Vec::new();
    while !answers.windows(2).any(|two| two == b"SA") {
        assert!(Instant::now() < deadline, "{}", answers.escape_ascii());
        let mut bytes = [0; 1024];
        if let Ok(count) = stream.read(&mut bytes) {
            assert!(count > 0, "closed after {}", answers.escape_ascii());
            answers.extend_from_slice(&bytes[..count]);
        }
    }
}

#[test]
fn what_a_client_said_before_it_closed_is_taken() {
    const ORDERS: u32 = 20_000;
    let (engine, address) = gateway("");
    let client = SoupClient::log_in(connect(address).expect("connected"), &user(1), PASSWORD, 1).expect("in");
    let mut stream = client.stream.try_clone().expect("a second handle");
    let orders: Vec<u8> =
        (1..=ORDERS).flat_map(|urn| frame(&Packet::UnsequencedData(&enter(urn, b'B', 1, PRICE)))).collect();
    let writing = std::thread::spawn(move || {
        stream.write_all(&orders).expect("written");
        stream.shutdown(std::net::Shutdown::Write).expect("our side is closed");
    });
    let mut stream = client.stream;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // Read, so that nothing is held back; how much of the answers still comes is not promised.
    let _ = io::copy(&mut stream, &mut io::sink());
    writing.join().expect("the writer");
    let taken =
        engine.await_metric(&["pitlane_messages_total"], f64::from(ORDERS), PATIENCE).expect("metrics");
    assert_eq!(taken, f64::from(ORDERS));
}

/// An HTTP answer's status and body, asked for from `source`.
fn ask(source: IpAddr, engine: &Engine, method: &str, path: &str, authorization: &str) -> (u16, String) {
    let mut stream = connect_from(source, SocketAddr::new(HERE, engine.settings.admin_port));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, answer)
}

#[test]
fn half_a_request_does_not_hold_the_end() {
    let mut engine = Engine::start(&binary("pitlane"), Settings::default()).expect("an engine");
    let mut half = connect_from(HERE, SocketAddr::new(HERE, engine.settings.admin_port));
    half.write_all(b"GET /li").expect("sent");
    let status = engine.process.terminate(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn idle_connections_to_the_admin_port_leave_places_for_others() {
    let engine = Engine::start(&binary("pitlane"), Settings::default()).expect("an engine");
    let admin = SocketAddr::new(HERE, engine.settings.admin_port);
    let mut idle: Vec<_> = (0..16).map(|_| connect_from(HERE, admin)).collect();
    let mut refused: Vec<_> = (0..50).map(|_| connect_from(HERE, admin)).collect();
    await_closed(&mut refused, "beyond the share of a source");
    assert!(!idle.iter_mut().any(is_closed));
    assert_eq!(ask(ELSEWHERE, &engine, "GET", "/ready", "").0, 200);
}

#[test]
fn wrong_tokens_are_logged_and_few() {
    let settings = Settings::default().with("session", "login_attempts_per_minute = 10");
    let engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let command = |source, token: &str| ask(source, &engine, "POST", "/commands/halt?symbol=AAPL", token).0;
    let right = format!("bearer {ADMIN_TOKEN}");
    assert_eq!(command(HERE, &right), 200);
    let answers: Vec<u16> = (0..30).map(|guess| command(HERE, &format!("Bearer guess-{guess}"))).collect();
    assert!(answers.starts_with(&[401; 10]) && answers.ends_with(&[429; 10]), "{answers:?}");
    assert_eq!(command(HERE, &right), 429, "or guessing would go on");
    assert_eq!(command(ELSEWHERE, &right), 200, "others are not concerned");
    let logged = engine.log_text().lines().filter(|line| line.contains("refused: a wrong token")).count();
    assert!((10..20).contains(&logged), "{logged} lines:\n{}", engine.log_text());
    assert!(!engine.log_text().contains("guess-"), "what was shown is no one's business");
}

/// Nothing of all this is in the way of who reads the whole feed.
#[test]
fn a_replay_is_served_to_many_at_once() {
    let [order_entry, replays] = [address(), address()];
    let settings = Settings::default()
        .with("gateway", format!("listen = \"{order_entry}\""))
        .with("feed", format!("replay_listen = \"{replays}\""));
    let _engine = Engine::start(&binary("pitlane"), settings).expect("an engine");
    let mut client =
        SoupClient::log_in(connect(order_entry).expect("connected"), &user(1), PASSWORD, 1).expect("in");
    for urn in 1..=500 {
        client.enter(&enter(urn, b'B', 1, PRICE)).expect("sent");
        client.receive(b'A').expect("Accepted");
    }
    let readers: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(move || replay(replays, "C00016", PASSWORD, 1, 500).expect("the feed").len())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().expect("a reader"), 499);
    }
}
