//! The threads of a shard's feed: which there are, their start and their end. What they do is in the files beside this.

use super::allowance::ProvenSources;
use super::follower::Follower;
use super::receivers;
use super::request_server::RequestServer;
use super::services::Services;
use super::state::Feed;
use super::tap::TapReader;
use crate::accounts::verify::Door;
use crate::config::Config;
use crate::history::source::LogFiles;
use anyhow::Context;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use streams::SessionName;

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
    accounts: Door,
    journal: Option<LogFiles>,
) -> anyhow::Result<FeedThreads> {
    let stop = Arc::new(AtomicBool::new(false));
    let feed = Feed::new(session, config.feed.window_bytes);
    let mut threads = FeedThreads { stop: Arc::clone(&stop), threads: Vec::new(), feed: feed.clone() };
    let proven = ProvenSources::default();
    let server = match config.feed.retransmit_listen {
        None => None,
        Some(listen) => {
            let address = receivers::address_of(listen, shard);
            let server = RequestServer::bind(address, session, &config.feed, proven.clone(), journal.clone())
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
    let services = Services { feed, journal, accounts, proven, stop };
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
