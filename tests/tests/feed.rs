//! Market data as `pitlane feed` receives it from the real engine: past the kernel and over it, by multicast and to single hosts, of
//! several shards, and after crashes with durability `disk`. What other people's parsers make of it: `tests/interop`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use netio::random::{Random, seed_from_environment};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::skip::can_make_hosts;
use pitlane_tests::soup::{replay, snapshot};
use pitlane_tests::veth::{Host, VethPair};
use wire::itch::Message;
use wire::itch::file::Frames;

/// For things that take a second when the machine is idle.
const PATIENCE: Duration = Duration::from_secs(90);
const GROUP: &str = "239.77.3.10";
/// Account of the receivers.
const READER: &str = "C00016";

/// The feed's addresses of shard 0: shard k has the ports above.
#[derive(Clone, Copy)]
struct Ports {
    group: SocketAddr,
    single: SocketAddr,
    requests: SocketAddr,
    replay: SocketAddr,
    glimpse: SocketAddr,
}

impl Ports {
    fn on(engine: &str, receiver: &str, base: u16) -> Ports {
        let address = |host: &str, port| SocketAddr::new(host.parse().expect("an address"), port);
        Ports {
            group: address(GROUP, base),
            single: address(receiver, base + 10),
            requests: address(engine, base + 20),
            replay: address(engine, base + 30),
            glimpse: address(engine, base + 40),
        }
    }

    /// On the loopback, below the ports that the kernel gives out by itself and above those of the other suites.
    fn on_loopback() -> Ports {
        Ports::on("127.0.0.1", "127.0.0.1", 30_600 + (std::process::id() % 40) as u16 * 50)
    }

    fn of_shard(self, shard: u16) -> Ports {
        let next = |address: SocketAddr| SocketAddr::new(address.ip(), address.port() + shard);
        Ports {
            group: next(self.group),
            single: next(self.single),
            requests: next(self.requests),
            replay: next(self.replay),
            glimpse: next(self.glimpse),
        }
    }

    fn section(&self, interface: &str) -> String {
        let Ports { group, single, requests, replay, glimpse } = self;
        format!(
            "receivers = [\"{group}\", \"{single}\"]\nmulticast_interface = \"{interface}\"\n\
             retransmit_listen = \"{requests}\"\nreplay_listen = \"{replay}\"\nglimpse_listen = \"{glimpse}\""
        )
    }
}

fn command(host: Option<&Host>, program: &str) -> Command {
    host.map_or_else(|| Command::new(binary(program)), |host| host.command(binary(program)))
}

/// A running `pitlane feed`.
struct Receiver {
    process: Process,
    record: PathBuf,
    _folder: Folder,
}

impl Receiver {
    fn start(host: Option<&Host>, listen: SocketAddr, ports: Ports, more: &[&str]) -> Receiver {
        let folder = Folder::new("receiver").expect("a folder");
        let record = folder.path.join("feed.itch");
        let interface = host.map_or("127.0.0.1".to_owned(), |host| host.ipv4.to_string());
        let child = command(host, "pitlane")
            .args(["feed", "--listen", &listen.to_string(), "--interface", &interface])
            .args(["--requests", &ports.requests.to_string(), "--glimpse", &ports.glimpse.to_string()])
            .args(["--user", READER, "--password", PASSWORD, "--interval", "0"])
            .arg("--record")
            .arg(&record)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a receiver");
        Receiver { process: Process::new(child), record, _folder: folder }
    }

    /// Waits for its end; gives what it said last.
    fn finish(&mut self) -> String {
        let status = self.process.wait(PATIENCE).expect("the receiver ends");
        let mut said = String::new();
        if let Some(output) = &mut self.process.child().stdout {
            output.read_to_string(&mut said).expect("its output");
        }
        assert!(status.success(), "{status}: {said}");
        said
    }

    fn messages(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(&self.record).expect("a recording");
        let mut frames = Frames::new(&*bytes);
        let mut messages = Vec::new();
        while let Some(message) = frames.next_frame().expect("whole frames") {
            messages.push(message.to_vec());
        }
        messages
    }
}

/// The number in front of `what` in the receiver's line of figures.
fn figure(said: &str, what: &str) -> u64 {
    let before = said.split(what).next().unwrap_or_default();
    before
        .split_whitespace()
        .last()
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{what}: {said}"))
}

/// Orders of several clients at a steady rate, until it is told to stop.
fn load(host: Option<&Host>, target: SocketAddr, rate: &str, words: &[&str]) -> Process {
    let mut load = command(host, "pitlane-loadgen");
    load.args(["run", "--target", &target.to_string(), "--password", PASSWORD, "--quiet", "--delivery-only"])
        .args(["--clients", "4", "--rate", rate, "--warmup", "0s", "--duration", "600s", "--idle", "park"])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    Process::new(load.spawn().expect("the load generator"))
}

fn stop(mut load: Process) {
    load.signal(nix::sys::signal::Signal::SIGINT).expect("a signal");
    load.wait(PATIENCE).expect("the load generator ends");
}

#[test]
fn the_feed_past_the_kernel_is_followed_by_a_group_and_by_a_single_host_under_loss() {
    if !can_make_hosts("the feed over AF_XDP") {
        return;
    }
    let pair = VethPair::new(1).expect("a veth pair");
    let (engine_ip, client_ip) = (pair.engine.ipv4.to_string(), pair.client.ipv4.to_string());
    let ports = Ports::on(&engine_ip, &client_ip, 26_600);
    let settings = Settings { idle: "park", ..Settings::on(&pair.engine, "xdp") }
        .with("feed", ports.section(&engine_ip));
    let engine = Engine::start_on(&pair.engine, &binary("pitlane"), settings).expect("an engine");
    assert!(engine.log_text().contains("AF_XDP open"), "{}", engine.log_text());
    let host = Some(&pair.client);
    let load =
        load(host, engine.address(), "2000", &["--port", "xdp", "--interface", &pair.client.interface]);
    // They come late: what was before is asked for.
    let more = ["--duration", "6", "--compare"];
    let mut group = Receiver::start(host, ports.group, ports, &more);
    let mut single = Receiver::start(host, ports.single, ports, &[&more[..], &["--lose", "10"]].concat());
    for receiver in [&mut group, &mut single] {
        let said = receiver.finish();
        assert!(said.contains("books agree with the snapshot"), "{said}");
        assert!(figure(&said, " orders;") > 10, "a book to compare: {said}");
        assert!(figure(&said, " messages in") > 5000, "a busy run: {said}");
    }
    let (group, single) = (group.messages(), single.messages());
    let both = group.len().min(single.len());
    assert!(group[..both] == single[..both], "one receiver was told something else than the other");
    stop(load);
    let metric = |name: &str| engine.metric(&[name]).expect("metrics");
    assert!(metric("feed_datagrams_total") > 100.0);
    assert_eq!(metric("feed_tap_lost_total"), 0.0, "messages that the feed thread never had");
}

/// Engine with one feed for each of two shards, and what its receivers see.
fn two_feeds(host: Option<&VethPair>, settings: Settings, ports: Ports) {
    let (at, from) = (host.map(|pair| &pair.engine), host.map(|pair| &pair.client));
    let interface = at.map_or("127.0.0.1".to_owned(), |host| host.ipv4.to_string());
    let symbols = ["AAPL", "MSFT"];
    let settings = Settings {
        shards: 2,
        symbols: symbols.map(str::to_owned).to_vec(),
        idle: "park",
        ..settings.with("feed", ports.section(&interface))
    };
    let engine = match at {
        Some(host) => Engine::start_on(host, &binary("pitlane"), settings),
        None => Engine::start(&binary("pitlane"), settings),
    }
    .expect("an engine");
    let more = ["--duration", "4", "--compare"];
    let mut receivers = [0, 1].map(|shard| {
        let of_shard = ports.of_shard(shard);
        let listen = [of_shard.group, of_shard.single][usize::from(shard)];
        Receiver::start(from, listen, of_shard, &more)
    });
    let both = ["--shards", "2", "--threads", "2", "--symbols", "AAPL,MSFT"];
    let past_kernel = from.map_or(Vec::new(), |host| vec!["--port", "xdp", "--interface", &host.interface]);
    let load = load(from, engine.address(), "2000", &[&both[..], &past_kernel].concat());
    let mut sessions = Vec::new();
    for (shard, receiver) in receivers.iter_mut().enumerate() {
        let said = receiver.finish();
        assert!(said.contains("books agree with the snapshot"), "shard {shard}: {said}");
        assert!(figure(&said, " messages in") > 1000, "shard {shard}: {said}");
        assert!(said.contains(symbols[shard]) && !said.contains(symbols[1 - shard]), "shard {shard}: {said}");
        let messages = receiver.messages();
        assert_eq!(&messages[2][11..19], format!("{:8}", symbols[shard]).as_bytes(), "its directory");
        // Every order and trade is of the shard's only instrument, whose locate is the shard's own.
        for message in &messages[2..] {
            assert_eq!(message[1..3], [0, 1], "{:?}", Message::decode(message));
        }
        let ports = ports.of_shard(shard as u16);
        let inside = || {
            pitlane_tests::soup::connect(ports.replay)
                .map_err(Into::into)
                .and_then(|stream| pitlane_tests::soup::SoupClient::log_in(stream, READER, PASSWORD, 0))
        };
        let client = match from {
            Some(host) => host.inside(inside).expect("namespace"),
            None => inside(),
        };
        sessions.push(client.expect("a login").accepted.session);
    }
    assert_ne!(sessions[0], sessions[1], "each feed is a session of its own");
    stop(load);
}

#[test]
fn each_shard_has_a_feed_of_its_own() {
    let base_port = 27_500 + (std::process::id() % 500) as u16 * 4;
    two_feeds(None, Settings { base_port, ..Settings::default() }, Ports::on_loopback());
}

#[test]
fn each_shard_has_a_feed_of_its_own_past_the_kernel() {
    if !can_make_hosts("the feeds of two shards over AF_XDP") {
        return;
    }
    let pair = VethPair::new(2).expect("a veth pair");
    let ports = Ports::on(&pair.engine.ipv4.to_string(), &pair.client.ipv4.to_string(), 26_600);
    two_feeds(Some(&pair), Settings::on(&pair.engine, "xdp"), ports);
}

/// With durability `disk` an engine that is killed forgets what it had not yet written: a receiver must never have been told of it.
#[test]
fn a_feed_never_tells_what_the_disk_does_not_have_and_goes_on_after_a_crash() {
    const CRASHES: u64 = 4;
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("PITLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let folder = Folder::new("feed-disk").expect("a folder");
    let ports = Ports::on_loopback();
    let settings = Settings {
        durability: "disk",
        journal: Some(folder.path.join("journal")),
        idle: "park",
        ..Settings::default()
            .with("feed", ports.section("127.0.0.1"))
            .with("journal", "segment_bytes = 4194304")
    };
    let mut engine = Engine::start(&binary("pitlane"), settings.clone()).expect("an engine");
    let mut receiver = Receiver::start(None, ports.single, ports, &[]);
    let words = ["--reconnect", "--silence", "2s", "--drain", "60s", "--connect-timeout", "60s"];
    let mut load = load(None, engine.address(), "5000", &words);
    for _ in 0..CRASHES {
        // Long enough for the clients to notice the silence and come back: the next crash must meet them at work.
        std::thread::sleep(Duration::from_millis(random.between(2500, 4500)));
        engine.process.crash().expect("killed");
        engine = Engine::start(&binary("pitlane"), settings.clone()).expect("it starts again");
        assert!(engine.log_text().contains("recovered"), "{}", engine.log_text());
    }
    // Stopped under load, the engine tells the rest before it tells the end.
    std::thread::sleep(Duration::from_secs(4));
    engine.process.terminate(PATIENCE).expect("a clean end");
    receiver.finish();
    load.crash().expect("killed");
    let told = receiver.messages();
    let engine = Engine::start(&binary("pitlane"), settings).expect("it starts once more");
    let (_, next) = snapshot(ports.glimpse, READER, PASSWORD).expect("a snapshot");
    let journaled = replay(ports.replay, READER, PASSWORD, 1, next).expect("the whole feed");
    drop(engine);
    let differs = told.iter().zip(&journaled).position(|(told, journaled)| told != journaled);
    if let Some(place) = differs {
        panic!(
            "seed {seed}: message {} was {:?}, and is {:?}",
            place + 1,
            Message::decode(&told[place]),
            Message::decode(&journaled[place])
        );
    }
    assert_eq!(told.len(), journaled.len(), "seed {seed}: the last messages");
    assert!(told.len() > 10_000, "a busy run, not {} messages", told.len());
}
