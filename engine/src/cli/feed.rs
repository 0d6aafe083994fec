//! `pitlane feed`: follows a shard's market data, repairs gaps, rebuilds the books and shows them.

use anyhow::{Context, bail};
use clap::Args;
use engine::feed::books::{Ladder, VisibleLevel};
use engine::feed::receive::{Receiver, ReceiverSettings, Snapshot, snapshot};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use wire::soupbintcp::pad_right;

/// Snapshots taken until one can be compared with what we have.
const COMPARISONS: u32 = 50;

#[derive(Args)]
pub struct FeedArgs {
    /// Multicast group and port, or own address and port, to which the shard's feed is sent.
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address of the interface on which to join the group.
    #[arg(long, default_value = "0.0.0.0", value_name = "ADDRESS")]
    interface: Ipv4Addr,
    /// Retransmission server (feed.retransmit_listen).
    #[arg(long, value_name = "ADDRESS")]
    requests: Option<SocketAddr>,
    /// GLIMPSE server (feed.glimpse_listen): where to start from, and what to compare with.
    #[arg(long, value_name = "ADDRESS")]
    glimpse: Option<SocketAddr>,
    /// Account for GLIMPSE.
    #[arg(long, default_value = "C00001")]
    user: String,
    #[arg(long, env = "PITLANE_PASSWORD", default_value = "secret", hide_env_values = true)]
    password: String,
    /// Start with a snapshot instead of the session's first message.
    #[arg(long, requires = "glimpse")]
    from_snapshot: bool,
    /// Price levels to show.
    #[arg(long, default_value_t = 1)]
    levels: usize,
    /// Seconds between two looks at the books; 0 shows them at the end only.
    #[arg(long, default_value_t = 1)]
    interval: u64,
    /// Seconds after which to stop; without it, at the session's end.
    #[arg(long)]
    duration: Option<u64>,
    /// Compare the books with a snapshot at the end; the exit code says whether they agree.
    #[arg(long, requires = "glimpse")]
    compare: bool,
    /// Write every message to a file, as Nasdaq's BinaryFILE.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Throw away this percentage of the datagrams, to see repairs at work.
    #[arg(long, default_value_t = 0)]
    lose: u32,
    /// Which datagrams are thrown away.
    #[arg(long, env = "PITLANE_SEED", default_value_t = 1)]
    seed: u64,
}

impl FeedArgs {
    fn snapshot(&self) -> anyhow::Result<Snapshot> {
        let address = self.glimpse.context("--glimpse is needed for a snapshot")?;
        let user = pad_right(&self.user).context("--user has up to six characters")?;
        let password = pad_right(&self.password).context("the password has up to ten characters")?;
        Ok(snapshot(address, user, password)?)
    }
}

pub fn execute(args: &FeedArgs) -> anyhow::Result<()> {
    let settings = ReceiverSettings {
        listen: args.listen,
        interface: args.interface,
        requests: args.requests,
        lose_percent: args.lose,
        seed: args.seed,
    };
    let start = if args.from_snapshot { Some(args.snapshot()?) } else { None };
    let mut client = Receiver::join(&settings, start)?;
    let mut file = match &args.record {
        Some(path) => {
            Some(BufWriter::new(File::create(path).with_context(|| format!("--record {}", path.display()))?))
        }
        None => None,
    };
    let mut failure = None;
    let mut record = |message: &[u8]| {
        if let Some(file) = &mut file {
            let written = file.write_all(&(message.len() as u16).to_be_bytes());
            if let Err(error) = written.and_then(|()| file.write_all(message)) {
                failure = Some(error);
            }
        }
    };
    let began = Instant::now();
    let mut shown = Instant::now();
    loop {
        client.turn(Duration::from_millis(1), &mut record)?;
        if args.interval > 0 && shown.elapsed().as_secs() >= args.interval {
            shown = Instant::now();
            show(&client, args.levels)?;
        }
        let over = args.duration.is_some_and(|seconds| began.elapsed().as_secs() >= seconds);
        if (over && client.behind() == 0) || client.ended {
            break;
        }
    }
    let agreed = if args.compare { Some(compare(args, &mut client, &mut record)?) } else { None };
    if let Some(error) = failure {
        return Err(error).context("--record");
    }
    if let Some(mut file) = file {
        file.flush().context("--record")?;
    }
    show(&client, args.levels)?;
    match agreed {
        Some(true) => writeln!(std::io::stdout(), "books agree with the snapshot")?,
        Some(false) => bail!("the books do not agree with the snapshot"),
        None => {}
    }
    Ok(())
}

/// Compares with snapshots until one is from a time that we have messages of.
fn compare(args: &FeedArgs, client: &mut Receiver, record: &mut dyn FnMut(&[u8])) -> anyhow::Result<bool> {
    for _ in 0..COMPARISONS {
        let snapshot = args.snapshot()?;
        let until = Instant::now() + Duration::from_secs(2);
        while client.next() < snapshot.next && Instant::now() < until {
            client.turn(Duration::from_millis(1), record)?;
        }
        if let Some(differences) = client.compare(snapshot)? {
            for difference in &differences {
                writeln!(std::io::stdout(), "{difference}")?;
            }
            return Ok(differences.is_empty());
        }
    }
    bail!("no snapshot from a time that could be compared with")
}

fn show(client: &Receiver, levels: usize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let counters = client.counters;
    writeln!(
        out,
        "next {}, {} messages in {} datagrams, {} orders; {} lost on purpose, {} early, {} requests, {} duplicates",
        client.next(),
        counters.messages,
        counters.datagrams,
        client.books.len(),
        counters.lost,
        counters.early,
        counters.requests,
        counters.duplicates,
    )?;
    let ladders = client.books.ladders();
    for (locate, instrument) in client.books.instruments() {
        let symbol = String::from_utf8_lossy(&instrument.directory.stock).into_owned();
        let state = instrument.action.map_or(' ', |action| char::from(action.trading_state));
        let empty = (Ladder::new(), Ladder::new());
        let (bids, offers) = ladders.get(&locate).unwrap_or(&empty);
        for level in 0..levels.min(bids.len().max(offers.len()).max(1)) {
            let name = if level == 0 { symbol.as_str() } else { "" };
            let state = if level == 0 { state } else { ' ' };
            writeln!(
                out,
                "  {name:<8} {state}  {} | {}",
                side(bids.get(level), true),
                side(offers.get(level), false)
            )?;
        }
    }
    Ok(())
}

fn side(level: Option<&VisibleLevel>, is_bid: bool) -> String {
    let Some(level) = level else { return if is_bid { " ".repeat(28) } else { String::new() } };
    let price = format!("{}.{:04}", level.price / 10_000, level.price % 10_000);
    let size = format!("{} ({})", level.shares, level.orders);
    if is_bid { format!("{size:>15} {price:>12}") } else { format!("{price:<12} {size}") }
}
