//! The one builder of a shard: configuration, log and port in, a [`Runner`] out. Starting, simulating and fuzzing an engine
//! all come through here, so that what is tested is what runs. Not threads, files or devices: `crate::start` has those.

mod configure;
mod differences;

pub use differences::{Difference, Outcome, against, differences, journaled, settled};

use crate::accounts::Accounts;
use crate::accounts::verify::VerifierHandle;
use crate::admin::AdminRequest;
use crate::clock::Clock;
use crate::config::Config;
use crate::core::Core;
use crate::feed::Publisher;
use crate::gateway::GatewayLink;
use crate::history::recovery::{Recovered, RecoveryError, attach, recover};
use crate::history::replay::ReplayHandle;
use crate::inputs::{Genesis, Input, MAX_ENCODED, kind};
use crate::log::Storage;
use crate::log::writer::{Log, NoJournal};
use crate::runner::{Runner, SharedReport};
use crate::session::{NameSource, Reception, Sessions, random_name};
use crate::shard::Shard;
use anyhow::Context;
use netio::Port;
use rtrb::Consumer;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What one shard is built from.
pub struct Assembly<'a> {
    pub config: &'a Config,
    pub shard: usize,
    /// Names of the feed and of new sessions.
    pub names: NameSource,
}

/// What a shard's thread works with, besides its port and its core.
pub struct Parts {
    pub clock: Clock,
    pub accounts: Accounts,
    pub verifier: VerifierHandle,
    pub stop: Arc<AtomicBool>,
    pub report: SharedReport,
    pub requests: Consumer<AdminRequest>,
    /// What finds messages that the windows no longer hold; `None` without a log.
    pub replays: Option<ReplayHandle>,
    pub gateway: Option<GatewayLink>,
    pub publisher: Option<Publisher>,
}

impl<'a> Assembly<'a> {
    pub fn new(config: &'a Config, shard: usize) -> Self {
        Self { config, shard, names: Box::new(random_name) }
    }

    /// No sessions yet, and how theirs will be.
    pub fn sessions(&self) -> Sessions {
        Sessions::new(self.config.session.resend_window_bytes, self.config.journal.durability)
    }

    /// The shard as its log has it.
    ///
    /// # Errors
    /// The log or a snapshot is damaged, or of another version.
    pub fn recover<S: Storage>(&self, storage: S) -> Result<Recovered, RecoveryError> {
        recover(storage, self.shard as u32, self.sessions())
    }

    /// The core that goes on from `recovered`, or begins, with `log` for what happens from now on.
    ///
    /// # Errors
    /// The log does not take the first record.
    pub fn core<L: Log>(
        &mut self,
        recovered: Option<Core<NoJournal>>,
        log: L,
        timestamp_ns: u64,
    ) -> anyhow::Result<Core<L>> {
        match recovered {
            Some(core) => Ok(attach(core, log)),
            None => self.begin(log, timestamp_ns),
        }
    }

    /// A shard at its beginning: its first record says what it is.
    fn begin<L: Log>(&mut self, mut log: L, timestamp_ns: u64) -> anyhow::Result<Core<L>> {
        let genesis = Genesis {
            shard: self.shard as u16,
            utc_offset_seconds: self.config.engine.utc_offset_seconds,
            max_orders: self.config.limits.max_orders,
            max_price_levels: self.config.limits.max_price_levels,
            max_sessions: self.config.session.max_sessions as u32,
            max_instruments: self.config.limits.max_instruments,
            feed_session: (self.names)(b'F').context("no random name for the feed")?,
        };
        let mut buffer = [0; MAX_ENCODED];
        let length = Input::Genesis(genesis).encode(&mut buffer);
        let last = log.append(kind::GENESIS, timestamp_ns, &buffer[..length])?;
        Ok(Core { shard: Shard::new(genesis), sessions: self.sessions(), log, last, failure: None })
    }

    /// Tells the shard what the configuration has and it does not know yet.
    ///
    /// # Errors
    /// What the shard or its log refuses.
    pub fn configure<L: Log>(&self, core: &mut Core<L>, timestamp_ns: u64) -> anyhow::Result<()> {
        configure::configure(self.config, self.shard, core, timestamp_ns)
    }

    /// Puts the parts together.
    pub fn runner<P: Port, L: Log>(self, port: P, mut core: Core<L>, parts: Parts) -> Runner<P, L> {
        let Self { config, names, .. } = self;
        core.sessions.reserve(core.shard.genesis.max_sessions as usize);
        let mut reception = Reception::new(&config.session, parts.accounts, parts.verifier);
        reception.set_names(names);
        reception.set_can_replay(parts.replays.is_some());
        reception.adopt(&mut core);
        if let Some(link) = parts.gateway {
            reception.set_gateway(link, config.gateway.max_connections);
        }
        let mut runner = Runner::new(
            port,
            reception,
            core,
            parts.clock,
            config.engine.idle,
            config.journal.durability,
            parts.stop,
            parts.report,
            parts.requests,
            parts.replays,
        );
        if let Some(publisher) = parts.publisher {
            runner.set_publisher(publisher);
        }
        runner
    }
}
