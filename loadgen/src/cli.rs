//! The command line of `pitlane-loadgen`. It parses and documents; what the commands do is elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use netio::PortKind;
use netio::idle::IdleStrategy;

use crate::judge::Limits;
use crate::parse;
use crate::verdict::Requirement;

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
    /// Find the highest rate at which a latency percentile stays below a limit without loss, and what limits it.
    Search(SearchArgs),
    /// Latency at 10, 20 .. 90 and 95% of saturation, open loop.
    Curve(CurveArgs),
    /// Throughput, spread and efficiency over numbers of clients and shards, closed loop.
    Scale(ScaleArgs),
    /// Send the order flow of a LOBSTER or ITCH 5.0 file and verify every answer against the file.
    Replay(ReplayArgs),
    /// Measure the order flow of a LOBSTER or ITCH 5.0 file: mix, sizes, distances from the touch, lifetimes, popularity.
    Profile(ProfileArgs),
    /// Wait for a controller (`run --agents`) and carry out its share of a run from this host.
    Agent(AgentArgs),
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

/// Other hosts that generate the load.
#[derive(Debug, Clone, Args)]
pub struct FleetArgs {
    /// Have these agents generate the load, as one: clients, rate and orders are divided between them, each with --threads threads.
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', requires_all = ["agents_token_file", "agents_ca"])]
    pub agents: Vec<String>,
    /// File with the token that the agents expect.
    #[arg(long, value_name = "FILE")]
    pub agents_token_file: Option<PathBuf>,
    /// Certificates, as PEM, that the agents' certificates are checked against.
    #[arg(long, value_name = "FILE")]
    pub agents_ca: Option<PathBuf>,
}

/// Through what an agent sends, from this host.
#[derive(Debug, Clone, Args)]
pub struct PlaceArgs {
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
    /// What a thread does when there is nothing to do: spin, yield or park.
    #[arg(long)]
    pub idle: Option<IdleStrategy>,
    /// Cores to pin the threads to, in sequence, such as 2,3.
    #[arg(long, value_delimiter = ',', value_name = "CORE,...")]
    pub cores: Vec<usize>,
}

impl PlaceArgs {
    /// With no target yet.
    pub fn as_target(&self) -> TargetArgs {
        TargetArgs {
            target: String::new(),
            port: self.port,
            no_udp_offload: self.no_udp_offload,
            interface: self.interface.clone(),
            queue: self.queue,
            local_port: self.local_port,
            idle: self.idle,
            cores: self.cores.clone(),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// Where to wait for the controller.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: String,
    /// File with the token that a controller has to show, of at least 16 characters.
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Certificate of this agent, as PEM; the controller checks it.
    #[arg(long, value_name = "FILE")]
    pub tls_cert: PathBuf,
    /// Its private key, as PEM.
    #[arg(long, value_name = "FILE")]
    pub tls_key: PathBuf,
    #[command(flatten)]
    pub place: PlaceArgs,
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
    /// Draw mix, quantities, distances and popularity from this profile, written by `profile --json`. The most popular instrument of the
    /// file is the first of --symbols, and so on.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mix", "crossing", "depth", "quantity", "quantity_step"])]
    pub profile: Option<PathBuf>,
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

/// What makes a run invalid (exit status 3), and what is required of a valid one (4 if it is missed).
#[derive(Debug, Clone, Args)]
pub struct JudgeArgs {
    /// Required of the run, such as p99<20us, service.p99.9<1ms, lost=0, success=1, orders_per_second>=100000. May be given again.
    #[arg(long, value_name = "FIGURE<VALUE")]
    pub require: Vec<Requirement>,
    /// Invalid if more than this share of the orders is rejected, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = Limits::default().rejected_share_max)]
    pub max_rejected: f64,
    /// Open loop: invalid if less than this share of the rate is answered, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = Limits::default().rate_share_min)]
    pub min_rate: f64,
    /// Open loop: invalid if one order in a thousand left later than this.
    #[arg(long, value_parser = parse::duration, value_name = "TIME", default_value = "1ms")]
    pub max_lag: u64,
    /// The highest percentile that will be quoted: invalid if the generator's own pauses and lateness reach it.
    #[arg(long, value_name = "PERCENTILE", default_value_t = Limits::default().quoted_percentile)]
    pub quote: f64,
    /// Judge the delivery alone: neither the rate nor the generator's pauses, its lateness, a short warm-up, a standstill or an interruption make the
    /// run invalid.
    #[arg(long)]
    pub delivery_only: bool,
}

impl JudgeArgs {
    pub fn limits(&self) -> Limits {
        Limits {
            rejected_share_max: self.max_rejected,
            rate_share_min: self.min_rate,
            lag_ns_max: self.max_lag,
            quoted_percentile: self.quote,
            delivery_only: self.delivery_only,
            requirements: self.require.clone(),
        }
    }
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
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub fleet: FleetArgs,
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
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Trials of each point that have to count.
    #[arg(long, default_value_t = 3)]
    pub trials: u32,
    /// Trials of one point that the generator itself spoiled and that are repeated, at most.
    #[arg(long, default_value_t = 6)]
    pub repeats: u32,
    /// The percentile that is limited.
    #[arg(long, default_value_t = 99.0)]
    pub percentile: f64,
    /// Its limit.
    #[arg(long, value_parser = parse::duration, default_value = "1ms")]
    pub limit: u64,
    /// The search lies between these rates; both are tried.
    #[arg(long, default_value_t = 1_000.0)]
    pub rate_min: f64,
    #[arg(long, default_value_t = 5_000_000.0)]
    pub rate_max: f64,
    /// Rates tried at most, the confirmation at the end apart.
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

#[derive(Debug, Clone, Args)]
pub struct CurveArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    #[command(flatten)]
    pub flow: FlowArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Trials of each point that have to count.
    #[arg(long, default_value_t = 3)]
    pub trials: u32,
    /// Trials of one point that the generator itself spoiled and that are repeated, at most.
    #[arg(long, default_value_t = 6)]
    pub repeats: u32,
    /// Orders per second that count as 100%; without it a closed loop finds them.
    #[arg(long, value_name = "ORDERS_PER_SECOND")]
    pub saturation: Option<f64>,
    /// Orders that each client of that closed loop keeps unanswered.
    #[arg(long, short = 'w', default_value_t = 64, value_parser = value_parser!(u32).range(1..))]
    pub window: u32,
    /// Exponentially distributed gaps.
    #[arg(long)]
    pub poisson: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ScaleArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub accounts: AccountArgs,
    #[command(flatten)]
    pub flow: FlowArgs,
    #[command(flatten)]
    pub time: TimeArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Trials of each point that have to count.
    #[arg(long, default_value_t = 3)]
    pub trials: u32,
    /// Trials of one point that the generator itself spoiled and that are repeated, at most.
    #[arg(long, default_value_t = 6)]
    pub repeats: u32,
    /// Numbers of clients; the engine needs an account for each.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,2,5,10,20,40,100")]
    pub counts: Vec<usize>,
    /// Numbers of shards; the engine needs as many, and --symbols an instrument on each.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    pub shard_counts: Vec<usize>,
    /// Closed loop: each client keeps this many orders unanswered.
    #[arg(long, short = 'w', default_value_t = 1)]
    pub window: u32,
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
pub struct ProfileArgs {
    /// The file.
    pub file: PathBuf,
    /// Its format; without it the name decides: .csv and .csv.gz are LOBSTER, everything else is ITCH.
    #[arg(long, value_enum)]
    pub format: Option<FileFormat>,
    /// LOBSTER: the instrument. Without it the name decides: SYMBOL_... or lobster_SYMBOL_...
    #[arg(long)]
    pub symbol: Option<String>,
    /// Stop after this many events.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Tick that distances are counted in, four implied decimals: 100 is one cent.
    #[arg(long, default_value_t = 100)]
    pub tick: u64,
    /// Write the profile as JSON, for --profile of the other commands.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Reports written by --json, of any command.
    #[arg(required_unless_present = "schema", value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Write a self-contained page with charts.
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Print the JSON schema of the reports instead.
    #[arg(long, conflicts_with_all = ["files", "html"])]
    pub schema: bool,
}

#[derive(Debug, Clone, Args)]
pub struct EchoArgs {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub judge: JudgeArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Closed loop: datagrams in flight. 1 measures the round trip, more the throughput.
    #[arg(long, short = 'w', default_value_t = 1, conflicts_with = "rate")]
    pub window: u64,
    /// Open loop: datagrams per second, whatever comes back. Times count from the intended one.
    #[arg(long, short = 'r', value_name = "DATAGRAMS_PER_SECOND")]
    pub rate: Option<f64>,
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
