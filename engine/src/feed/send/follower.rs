//! The feed thread of a shard: keeps recent messages for retransmission, rebuilds the visible books from the messages
//! alone, and fetches from the journal what the tap could not hold. It follows the shard and never holds it up.

use super::deep;
use super::request_server::RequestServer;
use super::state::Feed;
use super::tap::TapReader;
use super::window::window;
use crate::feed::books::Books;
use crate::history::recovery::RecoveryError;
use crate::history::source::LogFiles;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use wire::moldudp64::{END_OF_SESSION, Packet};

/// Datagrams taken from the tap before anything else is looked at.
const DATAGRAMS_PER_ROUND: usize = 4096;
/// How long an idle feed thread sleeps. It waits on the request socket if there is one, so requests do not wait.
const IDLE: Duration = Duration::from_millis(1);

pub struct Follower {
    pub feed: Feed,
    pub tap: TapReader,
    pub server: Option<RequestServer>,
    pub journal: Option<LogFiles>,
}

impl Follower {
    /// Runs until told to stop. What came before `next` is in the journal.
    pub fn run(&mut self, next: u64, stop: &AtomicBool) {
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
fn recover(feed: &Feed, journal: Option<&LogFiles>, until: u64) {
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
    state.history = window(state.window_bytes, state.session, until);
}

fn replay(feed: &Feed, journal: &LogFiles, until: u64) -> Result<(), RecoveryError> {
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
