//! The feed thread of a shard: keeps recent messages for retransmission, rebuilds the visible books from the messages
//! alone, and fetches from the journal what the tap could not hold. It follows the shard and never holds it up.

use super::books::Books;
use super::deep;
use super::request_server::RequestServer;
use super::services::Services;
use super::tap::TapReader;
use super::{receivers, stream};
use crate::accounts::Accounts;
use crate::config::{Config, Durability};
use crate::history::recovery::RecoveryError;
use crate::log::{Lsn, Progress};
use anyhow::Context;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use streams::{SendStream, SessionName};
use wire::moldudp64::{END_OF_SESSION, Packet};

/// Datagrams taken from the tap before anything else is looked at.
const DATAGRAMS_PER_ROUND: usize = 4096;
/// How long an idle feed thread sleeps. It waits on the request socket if there is one, so requests do not wait.
const IDLE: Duration = Duration::from_millis(1);

/// Where a shard's journal can be read, and how far.
#[derive(Clone)]
pub struct JournalSource {
    pub directory: PathBuf,
    pub shard: u32,
    pub progress: Arc<Progress>,
    pub durability: Durability,
}

impl JournalSource {
    /// Last record that may be read: what the disk does not have yet may still never have happened.
    pub fn limit(&self) -> Lsn {
        self.durability.releasable(self.progress.last_appended(), self.progress.durable())
    }
}

/// What the feed thread knows, shared with the services. Not with the shard.
pub struct FeedState {
    pub session: SessionName,
    window_bytes: usize,
    /// The last messages.
    pub history: SendStream,
    pub books: Books,
    /// Why the books are not to be had, if so: messages were lost for good.
    pub broken: Option<String>,
    pub ended: bool,
    /// What came before this run of the engine is still being read from the journal.
    pub catching_up: bool,
}

impl FeedState {
    /// Sequence of the next message.
    pub fn next(&self) -> u64 {
        self.history.next()
    }

    fn take(&mut self, message: &[u8]) {
        // Cannot be refused: the stream overwrites its oldest and takes messages of this length.
        let pushed = self.history.push(message.len(), |out| {
            out.copy_from_slice(message);
            message.len()
        });
        debug_assert!(pushed.is_ok(), "{pushed:?}");
        if self.broken.is_none()
            && let Err(error) = self.books.apply(message)
        {
            tracing::error!(%error, sequence = self.next() - 1, "the feed does not fit the books rebuilt from it");
            self.broken = Some(error.to_string());
        }
    }
}

/// The shared state of one shard's feed.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<FeedState>>);

impl Feed {
    pub fn new(session: SessionName, window_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(FeedState {
            session,
            window_bytes,
            history: stream(window_bytes, session, 1),
            books: Books::new(),
            broken: None,
            ended: false,
            catching_up: true,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, FeedState> {
        // A service that panicked while copying has changed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads of one shard's feed. Dropping them stops them.
pub struct FeedThreads {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    pub feed: Feed,
}

impl Drop for FeedThreads {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Starts the feed thread of a shard and its services. `next` is the shard's next feed sequence: what came before it is
/// in the journal.
///
/// # Errors
/// An address cannot be listened on.
pub fn start(
    config: &Config,
    shard: usize,
    session: SessionName,
    next: u64,
    tap: TapReader,
    accounts: &Accounts,
    journal: Option<JournalSource>,
) -> anyhow::Result<FeedThreads> {
    let stop = Arc::new(AtomicBool::new(false));
    let feed = Feed::new(session, config.feed.window_bytes);
    let mut threads = FeedThreads { stop: Arc::clone(&stop), threads: Vec::new(), feed: feed.clone() };
    let server = match config.feed.retransmit_listen {
        None => None,
        Some(listen) => {
            let address = receivers::address_of(listen, shard);
            let server = RequestServer::bind(address, session, journal.clone())
                .with_context(|| format!("feed.retransmit_listen {address}"))?;
            Some(server)
        }
    };
    let mut follower = Follower { feed: feed.clone(), tap, server, journal: journal.clone() };
    let stopped = Arc::clone(&stop);
    let thread = std::thread::Builder::new()
        .name(format!("feed-{shard}"))
        .spawn(move || follower.run(next, &stopped))
        .context("cannot start the feed thread")?;
    threads.threads.push(thread);
    let services = Services { feed, journal, accounts: accounts.clone(), stop };
    if let Some(listen) = config.feed.glimpse_listen {
        let address = receivers::address_of(listen, shard);
        let thread =
            services.clone().snapshots(address).with_context(|| format!("feed.glimpse_listen {address}"))?;
        threads.threads.push(thread);
    }
    if let Some(listen) = config.feed.replay_listen {
        let address = receivers::address_of(listen, shard);
        let thread = services.replays(address).with_context(|| format!("feed.replay_listen {address}"))?;
        threads.threads.push(thread);
    }
    Ok(threads)
}

struct Follower {
    feed: Feed,
    tap: TapReader,
    server: Option<RequestServer>,
    journal: Option<JournalSource>,
}

impl Follower {
    fn run(&mut self, next: u64, stop: &AtomicBool) {
        if next > 1 {
            recover(&self.feed, self.journal.as_ref(), next);
        }
        self.feed.lock().catching_up = false;
        while !stop.load(Ordering::Acquire) {
            let mut busy = self.follow();
            let wait = if busy { Duration::ZERO } else { IDLE };
            match &mut self.server {
                Some(server) => busy |= server.serve(&self.feed, wait),
                None if !busy => std::thread::sleep(IDLE),
                None => {}
            }
        }
        // The shard has stopped before us; what it still said is worth having.
        while self.follow() {}
        self.feed.lock().ended = true;
    }

    /// Takes what the shard has published since; returns whether there was anything.
    fn follow(&mut self) -> bool {
        for taken in 0..DATAGRAMS_PER_ROUND {
            let mut state = self.feed.lock();
            let Some(packet) = self.tap.pop().and_then(|bytes| Packet::parse(bytes).ok()) else {
                return taken > 0;
            };
            if packet.header.count == END_OF_SESSION {
                state.ended = true;
                continue;
            }
            if packet.header.sequence > state.next() {
                drop(state);
                recover(&self.feed, self.journal.as_ref(), packet.header.sequence);
                state = self.feed.lock();
            }
            for (sequence, message) in (packet.header.sequence..).zip(packet.blocks()) {
                if sequence >= state.next() {
                    state.take(message);
                }
            }
        }
        true
    }
}

/// Fetches the messages before `until` from the journal. Without one, or with a damaged one, they are lost, and the books
/// with them.
fn recover(feed: &Feed, journal: Option<&JournalSource>, until: u64) {
    let from = feed.lock().next();
    let why = match journal {
        None => "there is no journal".to_owned(),
        Some(journal) => match replay(feed, journal, until) {
            Ok(()) if feed.lock().next() == until => {
                tracing::info!(from, until, "feed messages fetched from the journal");
                return;
            }
            Ok(()) => "the journal ends before them".to_owned(),
            Err(error) => error.to_string(),
        },
    };
    tracing::error!(from, until, why, "feed messages are lost: no snapshots until a restart");
    let mut state = feed.lock();
    state.broken = Some(why);
    state.books = Books::new();
    // What is retained is in one piece: it starts anew after the hole.
    state.history = stream(state.window_bytes, state.session, until);
}

fn replay(feed: &Feed, journal: &JournalSource, until: u64) -> Result<(), RecoveryError> {
    let from = feed.lock().next();
    deep::replay(journal, from, |sequence, message| {
        if sequence >= until {
            return ControlFlow::Break(());
        }
        let mut state = feed.lock();
        if sequence == state.next() {
            state.take(message);
        }
        ControlFlow::Continue(())
    })
}
