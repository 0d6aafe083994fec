//! Starts a shard's market data: its publisher, and the threads that help receivers. What they do is `crate::feed`'s business.

use super::{Engine, ports};
use crate::config::Config;
use crate::core::Core;
use crate::feed::{self, Publisher};
use crate::history::source::LogFiles;
use crate::log::writer::Log;

impl Engine {
    /// The shard's way to publish its feed, if anyone is to receive it, and the threads that help receivers.
    pub(super) fn start_feed<L: Log>(
        &mut self,
        config: &Config,
        shard: usize,
        core: &mut Core<L>,
        journal: Option<LogFiles>,
    ) -> anyhow::Result<Option<Publisher>> {
        if !feed::is_wanted(&config.feed) {
            return Ok(None);
        }
        let (session, next) = (core.shard.genesis.feed_session, core.shard.next_feed());
        core.sessions.set_feed(feed::window(config.feed.window_bytes, session, next));
        let tap = if feed::is_followed(&config.feed) {
            let (writer, reader) = feed::tap::tap(config.feed.window_bytes);
            self.feeds.push(feed::start(
                config,
                shard,
                session,
                next,
                reader,
                self.verifier.door(),
                journal,
            )?);
            Some(writer)
        } else {
            None
        };
        let receivers = ports::receivers(config, shard);
        let spacing_ns = u64::from(config.feed.spacing_us) * 1000;
        Ok(Some(Publisher::new(receivers, tap, next, spacing_ns)))
    }
}
