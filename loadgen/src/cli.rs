//! The command line of `pitlane-loadgen`. It parses and documents; what the commands do is elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use netio::PortKind;
use netio::idle::IdleStrategy;

use crate::parse;

#[derive(Debug, Parser)]
#[command(
    name = "pitlane-loadgen",
    version,
    about = "Drives a Pitlane engine, measures it, and verifies what it does"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run N clients against an engine and report rates, latencies and losses.
    Run(RunArgs),
    /// Find the highest rate at which a latency percentile stays below a limit without loss.
    Search(SearchArgs),
    /// Send the order flow of a LOBSTER or ITCH 5.0 file and verify every answer against the file.
    Replay(ReplayArgs),
    /// Show one report, or compare several, as tables and as a page with plots.
    Report(ReportArgs),
    /// Drive `pitlane echo`: the limit of this port on this machine.
    Echo(EchoArgs),
}

/// Where the engine is, and through which port it is spoken to.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// Address of shard 0; shard k is on port PORT + k.
    #[arg(
        long,
        visible_alias = "engine",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:26400",
        env = "PITLANE_TARGET"
    )]
    pub target: String,
    /// Through kernel UDP (udp) or AF_XDP (xdp).
    #[arg(long, default_value_t = PortKind::Udp)]
    pub port: PortKind,
    /// Kernel UDP: every datagram by itself, without the kernel's joining of datagrams (GSO, GRO).
    #[arg(long)]
    pub no_udp_offload: bool,
    /// AF_XDP: the network interface.
    #[arg(long, value_name = "NAME", required_if_eq("port", "xdp"))]
    pub interface: Option<String>,
    /// AF_XDP: first receive queue; thread t uses queue QUEUE + t.
    #[arg(long, default_value_t = 0)]
    pub queue: u32,
    /// AF_XDP: first local UDP port; each client has one of its own, counted on from here.
    #[arg(long, default_value_t = 40_000)]
    pub local_port: u16,
    /// What a thread does when there is nothing to do: spin, yield or park. Spinning measures best and wants a core per thread.
    /// Without it: spin if pinned (--cores, taskset) to a core for each thread, else yield.
    #[arg(long)]
    pub idle: Option<IdleStrategy>,
    /// Cores to pin the threads to, in sequence, such as 2,3.
    #[arg(long, value_delimiter = ',', value_name = "CORE,...")]
    pub cores: Vec<usize>,
}

/// Who logs in.
#[derive(Debug, Clone, Args)]
pub struct AccountArgs {
    /// Users are PREFIX and a number, filled up with zeros to six characters: C00001, C00002, ...
    #[arg(long, value_name = "PREFIX", default_value = "C")]
    pub user_prefix: String,
    /// Number of the first user.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub first_user: usize,
    /// The password that these users share.
    #[arg(long, default_value = "secret", env = "PITLANE_PASSWORD", hide_env_values = true)]
    pub password: String,
    /// Lines `user,password` instead, one client each.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user_prefix", "first_user", "password"])]
    pub credentials: Option<PathBuf>,
}

/// What is sent.
#[derive(Debug, Clone, Args)]
pub struct FlowArgs {
    /// Clients; each is a session of its own.
    #[arg(long, short = 'c', default_value_t = 10)]
    pub clients: usize,
    /// Threads that the clients are spread over. On AF_XDP one per shard.
    #[arg(long, short = 't', default_value_t = 1)]
    pub threads: usize,
    /// Shards of the engine; client i speaks to shard i mod SHARDS.
    #[arg(long, default_value_t = 1)]
    pub shards: usize,
    /// Weights of entering, cancelling and replacing.
    #[arg(long, value_parser = parse::mix, value_name = "ENTER,CANCEL,REPLACE", default_value = "50,40,10")]
    pub mix: (u32, u32, u32),
    /// Share of entered orders that are priced through the other side and immediate-or-cancel, 0 to 1.
    #[arg(long, default_value_t = 0.1)]
    pub crossing: f64,
    /// Instruments: a list, or ranges such as S001..S100. Instrument i is on shard i mod SHARDS.
    #[arg(long, default_value = "AAPL", value_name = "LIST")]
    pub symbols: String,
    /// Price around which orders are placed, four implied decimals: 1000000 is 100.00.
    #[arg(long, default_value_t = 1_000_000)]
    pub price_start: u64,
    /// Tick, four implied decimals: 100 is one cent.
    #[arg(long, default_value_t = 100)]
    pub tick: u64,
    /// Resting orders lie 1 to DEPTH ticks from the mid price.
    #[arg(long, default_value_t = 10)]
    pub depth: u32,
    /// The mid price of each client walks at most this many ticks from the start; 0 holds it still.
    #[arg(long, default_value_t = 20)]
    pub walk: u32,
    /// Quantity of an order, or a range to draw from.
    #[arg(long, value_parser = parse::range, value_name = "N|N-M", default_value = "100-500")]
    pub quantity: (u32, u32),
    /// Quantities are drawn in steps of this: the lot size.
    #[arg(long, default_value_t = 100)]
    pub quantity_step: u32,
    /// Open orders per client beyond which it cancels instead of entering.
    #[arg(long, default_value_t = 128)]
    pub open_orders: u32,
    /// Seed of everything that is drawn.
    #[arg(long, default_value_t = 1, env = "PITLANE_SEED")]
    pub seed: u64,
    /// At most this many orders in one datagram. What is ready goes together; nothing waits for a datagram to fill.
    #[arg(long, visible_alias = "per-datagram", value_name = "N")]
    pub orders_per_datagram: Option<u32>,
}

/// How long, and with how much patience.
#[derive(Debug, Clone, Args)]
pub struct TimeArgs {
    /// Sent, but not measured.
    #[arg(long, value_parser = parse::duration, default_value = "1s")]
    pub warmup: u64,
    /// Measured time.
    #[arg(long, short = 'd', value_parser = parse::duration, default_value = "10s")]
    pub duration: u64,
    /// How long answers are waited for after the last order; what is unanswered then is lost.
    #[arg(long, value_parser = parse::duration, default_value = "2s")]
    pub drain: u64,
    /// How long a login may take.
    #[arg(long, value_parser = parse::duration, default_value = "15s")]
    pub connect_timeout: u64,
    /// An engine that says nothing for this long is taken for gone. It sends heartbeats every second.
    #[arg(long, value_parser = parse::duration, default_value = "5s")]
    pub silence: u64,
    /// After a silence log in again, and send again what the engine has not seen, instead of giving up.
    #[arg(long)]
    pub reconnect: bool,
}

#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latency distribution in HdrHistogram's percentile format.
    #[arg(long, value_name = "FILE")]
    pub hgrm: Option<PathBuf>,
    /// Name of the run in comparisons.
    #[arg(long, default_value = "")]
    pub label: String,
    /// No progress while running.
    #[arg(long, short = 'q')]
    pub quiet: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    #[command(flatten)]
    pub flow: FlowArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Closed loop: each client keeps this many orders unanswered.
    #[arg(long, short = 'w', default_value_t = 1, conflicts_with = "rate")]
    pub window: u32,
    /// Open loop: orders per second over all clients, whatever the engine does. Latency counts from the intended time.
    #[arg(long, short = 'r', value_name = "ORDERS_PER_SECOND")]
    pub rate: Option<f64>,
    /// Open loop: exponentially distributed gaps instead of equal ones.
    #[arg(long, requires = "rate")]
    pub poisson: bool,
    /// Open loop: orders come N at a time, all meant for the same moment and sent by the same client; the rate stays what it is.
    #[arg(long, requires = "rate", value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub burst: u32,
    /// End after this many measured orders, if the duration is not over before.
    #[arg(long, value_name = "N")]
    pub orders: Option<u64>,
    /// Leave open orders in the book at the end, instead of cancelling them.
    #[arg(long)]
    pub leave_orders: bool,
}

#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    #[command(flatten)]
    pub flow: FlowArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// The percentile that is limited.
    #[arg(long, default_value_t = 99.0)]
    pub percentile: f64,
    /// Its limit.
    #[arg(long, value_parser = parse::duration, default_value = "1ms")]
    pub limit: u64,
    /// The search starts between these rates.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate_min: f64,
    #[arg(long, default_value_t = 5_000_000.0)]
    pub rate_max: f64,
    /// Trials at most.
    #[arg(long, default_value_t = 12)]
    pub steps: u32,
    /// Ends when the two rates differ by less than this share.
    #[arg(long, default_value_t = 0.05)]
    pub precision: f64,
    /// Exponentially distributed gaps.
    #[arg(long)]
    pub poisson: bool,
    /// Orders come N at a time.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    pub burst: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FileFormat {
    /// LOBSTER message file: CSV, gzipped or not.
    Lobster,
    /// ITCH 5.0 in BinaryFILE frames, gzipped or not.
    Itch,
}

#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {
    /// The file.
    pub file: PathBuf,
    /// Its format; without it the name decides: .csv and .csv.gz are LOBSTER, everything else is ITCH.
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// LOBSTER: the instrument. Without it the name decides: SYMBOL_... or lobster_SYMBOL_...
    #[arg(long)]
    pub symbol: Option<String>,
    /// ITCH: only these instruments.
    #[arg(long, value_name = "LIST")]
    pub only: Option<String>,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// How long an answer may take.
    #[arg(long, value_parser = parse::duration, default_value = "5s")]
    pub drain: u64,
    /// How long a login may take.
    #[arg(long, value_parser = parse::duration, default_value = "15s")]
    pub connect_timeout: u64,
}

#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Reports written by --json.
    #[arg(required = true, value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Write a self-contained page with plots.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct EchoArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Datagrams in flight: 1 measures the round trip, more the throughput.
    #[arg(long, short = 'w', default_value_t = 1)]
    pub window: u64,
    /// Bytes of each datagram.
    #[arg(long, default_value_t = 64)]
    pub payload: usize,
    /// Sent, but not measured.
    #[arg(long, value_parser = parse::duration, default_value = "500ms")]
    pub warmup: u64,
    /// Measured time.
    #[arg(long, short = 'd', value_parser = parse::duration, default_value = "5s")]
    pub duration: u64,
}
