//! `pitlane publish`: trades and executions of a shard into NATS JetStream.

use super::ConfigArgs;
use anyhow::{Context, ensure};
use clap::Args;
use engine::config::Durability;
use engine::log::Lsn;
use engine::publish::{Origins, PublisherSettings, Target, run};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Reads the journal that the configuration names, and nothing else of the engine. docs/trade-stream.md says what is published.
#[derive(Args)]
pub struct PublishArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long, default_value_t = 0)]
    shard: u32,
    /// NATS servers; `nats://user:password@host:port`, or `tls://`.
    #[arg(
        long,
        env = "NATS_URL",
        default_value = "nats://127.0.0.1:4222",
        value_delimiter = ',',
        hide_env_values = true
    )]
    nats: Vec<String>,
    /// First word of the subjects: PREFIX.SHARD.trades.SYMBOL and PREFIX.SHARD.executions.FIRM.
    #[arg(long, default_value = "pitlane")]
    prefix: String,
    /// The stream, which belongs to this shard alone. Made if it is not there. [default: PREFIX_SHARD]
    #[arg(long)]
    stream: Option<String>,
    /// Copies of the stream in a NATS cluster, if it has to be made.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Publish up to the journal's present end, and stop.
    #[arg(long)]
    once: bool,
    /// Leave out what was traded up to this record: to begin where the journal no longer has the first one.
    #[arg(long, value_name = "RECORD")]
    after: Option<u64>,
    /// Go on with this journal although the stream's last message is of another one.
    #[arg(long)]
    new_journal: bool,
    /// Give up when NATS has taken nothing for this long; without it, never.
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
}

impl PublishArgs {
    fn settings(&self) -> anyhow::Result<PublisherSettings> {
        let config = self.config.load()?;
        let shard = self.shard;
        ensure!(
            (shard as usize) < config.engine.shards,
            "--shard {shard}: expected less than engine.shards = {}",
            config.engine.shards
        );
        let journal = &config.journal;
        ensure!(
            journal.durability != Durability::Memory,
            "journal.durability = \"memory\" keeps no journal to publish from: expected \"process\" or \"disk\""
        );
        ensure!(
            journal.directory.is_dir(),
            "journal.directory: {} is not a folder",
            journal.directory.display()
        );
        let is_word = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        ensure!(is_word(&self.prefix), "--prefix {:?}: expected letters, digits, - and _", self.prefix);
        let stream = self.stream.clone().unwrap_or_else(|| format!("{}_{shard}", self.prefix));
        ensure!(is_word(&stream), "--stream {stream:?}: expected letters, digits, - and _");
        let servers: Result<Vec<_>, _> = self.nats.iter().map(|address| address.parse()).collect();
        Ok(PublisherSettings {
            origins: Origins {
                directory: journal.directory.clone(),
                shard,
                durability: journal.durability,
                prefix: self.prefix.clone(),
            },
            target: Target {
                servers: servers.context("--nats")?,
                stream,
                subjects: format!("{}.{shard}", self.prefix),
                replicas: usize::from(self.replicas),
            },
            once: self.once,
            after: self.after.map(Lsn),
            new_journal: self.new_journal,
            patience: self.patience.map(Duration::from_secs),
        })
    }
}

pub fn execute(args: &PublishArgs) -> anyhow::Result<()> {
    let settings = args.settings()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let published = runtime.block_on(run(&settings, &stop))?;
    tracing::info!(
        messages = published.messages,
        record = published.last.0,
        stream_sequence = published.sequence,
        "done"
    );
    Ok(())
}
