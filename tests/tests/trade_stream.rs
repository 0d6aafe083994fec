//! What clients were told they traded, held against what `pitlane publish` put into a real NATS JetStream: each execution once, in order, whatever
//! is killed meanwhile. Not the speed of it.
//!
//! `PITLANE_SEED` sets the moments and the orders.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use netio::random::{Random, seed_from_environment};
use pitlane_tests::client::{Client, user};
use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::nats::{Message, Server, program};
use pitlane_tests::process::{Process, binary};
use pitlane_tests::skip::skipped;
use serde_json::Value;
use wire::ouch::inbound::EnterOrder;
use wire::ouch::outbound::{OrderExecuted, OrderExecutedView};

const STREAM: &str = "pitlane_0";
const SYMBOLS: [&str; 2] = ["AAPL", "BRK.A"];
const CLIENTS: usize = 3;
/// Orders that a client sends before it listens: few enough for any socket buffer.
const BURST: usize = 8;
const PATIENCE: Duration = Duration::from_secs(90);

fn seed() -> u64 {
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("PITLANE_SEED={seed}");
    seed
}

/// A venue, a NATS server and the way between them.
struct Place {
    folder: Folder,
    settings: Settings,
    server: Server,
}

impl Place {
    /// `None`, and noted, where there is no server to test with.
    fn new(suite: &str, settings: Settings) -> Option<Place> {
        let Some(program) = program() else {
            skipped(suite, "no nats-server on this machine (Debian package nats-server)");
            return None;
        };
        let folder = Folder::new("trades").expect("a folder");
        let server = Server::start(&program, &folder.path.join("nats")).expect("nats-server");
        let settings = Settings {
            idle: "park",
            accounts: CLIENTS,
            symbols: SYMBOLS.map(str::to_owned).to_vec(),
            journal: Some(folder.path.join("journal")),
            ..settings
        };
        let place = Place { folder, settings, server };
        std::fs::create_dir_all(place.journal()).expect("a folder");
        std::fs::write(place.config(), place.settings.to_toml(&place.journal())).expect("a file");
        Some(place)
    }

    fn journal(&self) -> std::path::PathBuf {
        self.folder.path.join("journal")
    }

    fn engine(&self) -> Engine {
        Engine::start(&binary("pitlane"), self.settings.clone()).expect("the engine")
    }

    fn publish(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("pitlane"));
        command
            .args(["publish", "--nats", &self.server.url(), "--config"])
            .arg(self.config())
            .args(arguments);
        command.stdin(Stdio::null());
        command
    }

    fn publisher(&self) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("a file");
        Process::new(self.publish(&[]).stderr(log).spawn().expect("pitlane publish"))
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path.join("publish.toml")
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path.join("publish.log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Publishes what there is: whether that went well, and what was said.
    fn publish_once(&self, arguments: &[&str]) -> (bool, String) {
        let output =
            self.publish(&["--once", "--patience", "60"]).args(arguments).output().expect("pitlane publish");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Publishes what there is, which must go well, and returns all that the stream has.
    fn published(&self) -> Vec<Message> {
        let (success, said) = self.publish_once(&[]);
        assert!(success, "{said}");
        self.server.messages(STREAM).expect("the stream")
    }
}

/// An execution as its client was told: UserRefNum, quantity, price, liquidity, match number.
type Told = (u32, u32, u64, char, u64);

/// Clients that trade with each other, and note what they are told.
struct Traders {
    random: Random,
    clients: Vec<Client>,
    next: Vec<u32>,
    told: Vec<Vec<Told>>,
}

impl Traders {
    fn new(engine: &Engine, seed: u64) -> Traders {
        let mut clients: Vec<Client> = (1..=CLIENTS)
            .map(|account| {
                let mut client = Client::connect(engine.address()).expect("a socket");
                client.login(&user(account), PASSWORD, 0).expect("a session");
                client
            })
            .collect();
        let next = clients.iter_mut().map(|client| client.next_user_ref_num().expect("a number")).collect();
        Traders { random: Random::new(seed), clients, next, told: vec![Vec::new(); CLIENTS] }
    }

    fn order(&mut self, client: usize) -> Vec<u8> {
        let order = EnterOrder {
            user_ref_num: self.next[client],
            side: if self.random.chance(0.5) { b'B' } else { b'S' },
            quantity: 100 * self.random.between(1, 9) as u32,
            symbol: if self.random.chance(0.7) { *b"AAPL    " } else { *b"BRK.A   " },
            price: 1_000_000 + 100 * self.random.between(0, 8),
            time_in_force: wire::ouch::time_in_force::DAY,
            display: if self.random.chance(0.2) { b'N' } else { b'Y' },
            capacity: b'P',
            inter_market_sweep_eligibility: b'N',
            cross_type: b'N',
            cl_ord_id: [b' '; 14],
        };
        self.next[client] += 1;
        let mut out = [0; wire::ouch::MAX_MESSAGE_LENGTH];
        let length = order.write(&[], &mut out);
        out[..length].to_vec()
    }

    /// A burst of every client, and the answers.
    fn turn(&mut self) {
        for client in 0..CLIENTS {
            for _ in 0..BURST {
                let order = self.order(client);
                self.clients[client].send(&[&order]).expect("sent");
            }
        }
        self.listen(Duration::from_millis(1));
    }

    /// Takes answers until none has come for `silence`.
    fn listen(&mut self, silence: Duration) {
        for (client, told) in self.clients.iter_mut().zip(&mut self.told) {
            while let Some(answer) = client.receive_within(silence).expect("an answer") {
                if answer.first() == Some(&OrderExecuted::TYPE) {
                    let view = OrderExecutedView::parse(&answer).expect("an Executed");
                    told.push((
                        view.user_ref_num(),
                        view.quantity(),
                        view.price(),
                        char::from(view.liquidity_flag()),
                        view.match_number(),
                    ));
                }
            }
        }
    }

    /// Trades until told to stop, and counts the executions.
    fn trade(mut self, stop: &AtomicBool, executions: &AtomicU64) -> Traders {
        while !stop.load(Ordering::Acquire) {
            self.turn();
            executions.store(self.told.iter().map(|told| told.len() as u64).sum(), Ordering::Release);
        }
        self.listen(Duration::from_millis(300));
        self
    }
}

fn number(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {value}"))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_else(|| panic!("no {path} in {value}"))
}

/// Every execution that a client was told of is in the stream once, in order, and nothing else is; the stream is in the journal's order.
fn verify(messages: &[Message], traders: &Traders, context: &str) {
    let mut told: BTreeMap<String, Vec<Told>> = BTreeMap::new();
    let (mut before, mut matches) = ((0, 0), 0);
    let mut trade: Option<&Value> = None;
    for message in messages {
        let payload = &message.payload;
        let position = (number(payload, "/record"), number(payload, "/index"));
        let follows = position == (before.0, before.1 + 1) || (position.0 > before.0 && position.1 == 0);
        assert!(follows, "{position:?} after {before:?} ({context})");
        before = position;
        let id = format!("{}-0-{}-{}", text(payload, "/journal"), position.0, position.1);
        assert_eq!(message.header("Nats-Msg-Id"), Some(&*id), "{context}");
        assert_eq!(number(payload, "/schema"), 1);
        let symbol = text(payload, "/symbol").replace('.', "%2E");
        match text(payload, "/type") {
            kind @ ("trade" | "cross") => {
                assert_eq!(message.subject, format!("pitlane.0.trades.{symbol}"));
                matches += 1;
                assert_eq!(
                    number(payload, "/match_number"),
                    matches,
                    "a match is missing or twice ({context})"
                );
                trade = (kind == "trade").then_some(payload);
            }
            "execution" => {
                assert_eq!(message.subject, "pitlane.0.executions.DEMO");
                let trade = trade.expect("an execution follows its trade");
                for same in ["/record", "/match_number", "/price", "/quantity", "/symbol", "/timestamp_ns"] {
                    assert_eq!(trade.pointer(same), payload.pointer(same), "{same} ({context})");
                }
                let side = if text(payload, "/order/side") == "buy" { "/buy" } else { "/sell" };
                assert_eq!(trade.pointer(side), payload.pointer("/order"), "{context}");
                told.entry(text(payload, "/order/user").to_owned()).or_default().push((
                    number(payload, "/order/user_ref_num") as u32,
                    number(payload, "/quantity") as u32,
                    number(payload, "/price"),
                    text(payload, "/order/liquidity").chars().next().unwrap_or(' '),
                    number(payload, "/match_number"),
                ));
            }
            other => panic!("a message of type {other}"),
        }
    }
    for (index, expected) in traders.told.iter().enumerate() {
        let found = told.remove(&user(index + 1)).unwrap_or_default();
        let differs = (0..expected.len().max(found.len())).find(|&at| expected.get(at) != found.get(at));
        if let Some(at) = differs {
            let (expected, found) = (expected.get(at), found.get(at));
            panic!(
                "client {index}, execution {at}: the client was told {expected:?}, the stream has {found:?} ({context})"
            );
        }
    }
    assert!(told.is_empty(), "executions of nobody: {:?}", told.keys());
}

/// Publishers are killed at random moments, sometimes two of them at work, and the server goes down and comes back under them.
fn survive(suite: &str, durability: &'static str) {
    let seed = seed();
    let settings = Settings { durability, ..Settings::default() }
        .with("journal", "segment_bytes = 1048576\nsnapshot_interval = 3000\nretain_segments = true");
    let Some(mut place) = Place::new(suite, settings) else { return };
    let context = format!("{durability}, seed {seed}");
    let mut random = Random::new(seed);
    let engine = place.engine();
    let traders = Traders::new(&engine, random.next_u64());
    let (stop, executions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&executions));
    let trading = std::thread::spawn(move || traders.trade(&stopped, &counted));
    for round in 0..8 {
        let mut publishers = vec![place.publisher()];
        if round % 4 == 1 {
            publishers.push(place.publisher());
        }
        std::thread::sleep(Duration::from_millis(random.between(100, 900)));
        if round % 4 == 2 {
            place.server.stop(random.chance(0.5)).expect("stopped");
            std::thread::sleep(Duration::from_millis(random.between(0, 500)));
            place.server.start_again().expect("nats-server");
            std::thread::sleep(Duration::from_millis(random.between(0, 500)));
        }
        for mut publisher in publishers {
            let ended = publisher.ended().expect("a process");
            assert!(ended.is_none(), "a publisher gave up: {ended:?} ({context})\n{}", place.said());
            publisher.crash().expect("killed");
        }
    }
    // Then one that lives through the loss of its server, and goes on by itself.
    let mut survivor = place.publisher();
    std::thread::sleep(Duration::from_millis(500));
    place.server.stop(true).expect("stopped");
    // Longer than it waits for an acknowledgement: shorter absences the client library bridges by itself.
    std::thread::sleep(Duration::from_secs(6));
    place.server.start_again().expect("nats-server");
    stop.store(true, Ordering::Release);
    let mut traders = trading.join().expect("the traders");
    // An auction has trades of its own kind.
    for command in ["/commands/auction?symbol=AAPL", "/commands/open?symbol=AAPL"] {
        let (status, answer) = engine.post(command).expect("a command");
        assert!(matches!(status, 200 | 202), "{status} {answer}");
        traders.turn();
        traders.listen(Duration::from_millis(300));
    }
    let told: u64 = traders.told.iter().map(|told| told.len() as u64).sum();
    // Half as many trades, and one cross.
    let expected = told + told / 2 + 1;
    let deadline = Instant::now() + PATIENCE;
    while place.server.count(STREAM).expect("a count") < expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    let status = survivor.terminate(PATIENCE).expect("the publisher ends");
    assert!(status.success(), "{status} ({context})\n{}", place.said());
    let messages = place.server.messages(STREAM).expect("the stream");
    eprintln!("{context}: {told} executions told, {} messages in the stream", messages.len());
    verify(&messages, &traders, &context);
    assert!(told > 5_000, "{told} executions are no test ({context})");
    let crosses = messages.iter().filter(|message| message.payload["type"] == "cross").count();
    assert_eq!((messages.len() as u64, crosses), (expected, 1), "{context}");
    // Nothing is new, so nothing is published.
    assert_eq!(place.published(), messages, "{context}");
}

#[test]
fn every_execution_is_published_once_whatever_is_killed() {
    survive("trade stream", "process");
}

#[test]
fn every_execution_is_published_once_with_durability_disk() {
    survive("trade stream, durability disk", "disk");
}

#[test]
fn a_stream_that_does_not_fit_the_journal_is_not_continued() {
    let settings = Settings { durability: "process", ..Settings::default() };
    let Some(mut place) = Place::new("trade stream and foreign journals", settings) else { return };
    let seed = seed();
    let trade = |place: &Place, turns: usize, seed: u64| {
        let mut engine = place.engine();
        let mut traders = Traders::new(&engine, seed);
        (0..turns).for_each(|_| traders.turn());
        engine.process.terminate(PATIENCE).expect("a clean end");
    };
    trade(&place, 5, seed);
    let old = place.published();
    assert!(!old.is_empty());
    let (journal, copy) = (place.journal(), place.folder.path.join("copy"));
    copy_folder(&journal, &copy);
    trade(&place, 5, seed + 1);
    let published = place.published();
    assert!(published.len() > old.len() && published.starts_with(&old));

    // The journal of an hour ago: what came after is in the stream and not in the journal.
    std::fs::remove_dir_all(&journal).expect("removed");
    copy_folder(&copy, &journal);
    let (success, said) = place.publish_once(&[]);
    assert!(!success && said.contains("the stream is ahead of the journal"), "{said}");
    // It goes on another way.
    trade(&place, 30, seed + 2);
    let (success, said) = place.publish_once(&[]);
    assert!(!success && said.contains("is of another history"), "{said}");

    // A journal of its own.
    std::fs::remove_dir_all(&journal).expect("removed");
    trade(&place, 3, seed + 3);
    let (success, said) = place.publish_once(&[]);
    assert!(!success && said.contains("is of another journal") && said.contains("--new-journal"), "{said}");
    assert_eq!(
        place.server.messages(STREAM).expect("the stream"),
        published,
        "refused, and nothing published"
    );
    let (success, said) = place.publish_once(&["--new-journal"]);
    assert!(success, "{said}");
    let both = place.published();
    assert!(both.starts_with(&published) && both.len() > published.len());
    assert_eq!(number(&both[published.len()].payload, "/match_number"), 1, "from its first trade on");

    // Nothing left in the stream to say where it ended.
    place.server.purge(STREAM).expect("purged");
    let (success, said) = place.publish_once(&[]);
    assert!(!success && said.contains("--after RECORD"), "{said}");
    let last = number(&both[both.len() - 1].payload, "/record");
    let (success, said) = place.publish_once(&["--after", &last.to_string()]);
    assert!(success && place.server.count(STREAM).expect("a count") == 0, "{said}");
    // The same trades under other subjects are the same messages.
    let (success, said) = place.publish_once(&["--prefix", "again"]);
    assert!(success, "{said}");
    let again = place.server.messages("again_0").expect("the stream");
    let payloads = |messages: &[Message]| -> Vec<Value> {
        messages.iter().map(|message| message.payload.clone()).collect()
    };
    assert_eq!(payloads(&again), payloads(&both[published.len()..]));

    // Nobody there.
    place.server.stop(false).expect("stopped");
    let (success, said) = {
        let output = place.publish(&["--once", "--patience", "1"]).output().expect("pitlane publish");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(!success && said.contains("did not take anything"), "{said}");
}

/// Messages are sent without waiting for each other: one that is refused must take all behind it along.
#[test]
fn nothing_is_stored_behind_a_foreign_message() {
    let settings = Settings { durability: "process", ..Settings::default() };
    let Some(place) = Place::new("trade stream and foreign messages", settings) else { return };
    let engine = place.engine();
    let mut traders = Traders::new(&engine, seed());
    traders.turn();
    let mut publisher = place.publisher();
    let deadline = Instant::now() + PATIENCE;
    while place.server.count(STREAM).expect("a count") == 0 {
        assert!(Instant::now() < deadline, "{}", place.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let (stop, executions) = (AtomicBool::new(false), AtomicU64::new(0));
    let foreign = std::thread::scope(|scope| {
        let trading = scope.spawn(|| traders.trade(&stop, &executions));
        std::thread::sleep(Duration::from_millis(200));
        let foreign = place.server.publish("pitlane.0.trades.AAPL").expect("taken");
        let ended = publisher.wait(PATIENCE).expect("the publisher ends");
        assert_eq!(ended.code(), Some(1), "{}", place.said());
        stop.store(true, Ordering::Release);
        drop(trading.join());
        foreign
    });
    assert!(place.said().contains("is not of this publisher"), "{}", place.said());
    assert_eq!(place.server.count(STREAM).expect("a count"), foreign, "it is the last one");
}

#[test]
fn records_that_retention_removed_are_named() {
    let settings = Settings { durability: "process", ..Settings::default() }.with(
        "journal",
        "segment_bytes = 1048576\nsnapshot_interval = 0\nkeep_snapshots = 1\nretain_segments = false",
    );
    let Some(place) = Place::new("trade stream and retention", settings) else { return };
    let engine = place.engine();
    let mut traders = Traders::new(&engine, seed());
    let first = place.journal().join("journal-000-0000000000.seg");
    let deadline = Instant::now() + PATIENCE;
    while first.exists() {
        assert!(Instant::now() < deadline, "the first segment is still there: {}", engine.log_text());
        (0..100).for_each(|_| traders.turn());
        let (status, answer) = engine.post("/commands/snapshot").expect("a command");
        assert!(matches!(status, 200 | 202), "{status} {answer}");
    }
    // A snapshot still on its way may replace the one that was named: then the next one is.
    let snapshot = loop {
        let (success, said) = place.publish_once(&[]);
        assert!(!success && said.contains("record 1 is needed next"), "{said}");
        assert!(said.contains("no snapshot before 1 is left"), "{said}");
        let named =
            said.rsplit_once('[').and_then(|(_, rest)| rest.split([',', ']']).next()).unwrap_or_default();
        // Where a publisher goes on is what the stream's last message says: without one it has not begun.
        (0..10).for_each(|_| traders.turn());
        let (success, said) = place.publish_once(&["--after", named]);
        if success {
            break named.to_owned();
        }
        assert!(Instant::now() < deadline, "{said}");
    };
    (0..10).for_each(|_| traders.turn());
    // Once begun, it goes on by itself.
    let messages = place.published();
    let snapshot: u64 = snapshot.parse().expect("a number");
    assert!(messages.iter().all(|message| number(&message.payload, "/record") > snapshot));
    let matches: Vec<u64> = messages
        .iter()
        .filter(|message| message.payload["type"] == "trade")
        .map(|message| number(&message.payload, "/match_number"))
        .collect();
    assert!(!matches.is_empty() && matches.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}
