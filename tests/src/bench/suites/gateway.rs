//! Order entry over TCP beside a plain TCP echo with the same threads on the same cores, and what idle connections cost it. Not the order path
//! past the kernel: `ports` has that.

use crate::bench::results::Budget::AtMost;
use crate::bench::{Context, Figure, Samples, Suite, median};
use crate::client::{enter, user};
use crate::engine::{Engine, PASSWORD, Settings, free_port};
use crate::process::{Process, pin};
use crate::soup::{SoupClient, connect};
use anyhow::Context as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use wire::soupbintcp::{Packet, split_frame};

/// The shard spins on one core; the thread that has the sockets and the client share the other.
const SHARD_CORE: usize = 0;
const SOCKETS_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_millis(300);
const MEASURED: Duration = Duration::from_secs(2);
/// For the echo to listen.
const PATIENCE: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS: usize = 1000;
const PRICE: u64 = 1_500_000;

const FIGURES: &[Figure] = &[
    Figure {
        name: "gateway.rtt_p50_vs_tcp_echo",
        unit: "ratio",
        budget: Some(AtMost(1.3)),
        about: "order to Accepted over SoupBinTCP, one in flight: median over a plain TCP echo's",
    },
    Figure {
        name: "gateway.rtt_p99_vs_tcp_echo",
        unit: "ratio",
        budget: Some(AtMost(1.5)),
        about: "the same at the 99th percentile",
    },
    Figure {
        name: "gateway.idle_connections_cost",
        unit: "ratio",
        budget: Some(AtMost(1.05)),
        about: "the gateway's median with 1,000 idle sessions connected over its median without",
    },
    Figure {
        name: "gateway.rtt_p50_ns",
        unit: "ns",
        budget: None,
        about: "the gateway's median round trip itself",
    },
    Figure { name: "gateway.tcp_echo_rtt_p50_ns", unit: "ns", budget: None, about: "the TCP echo's" },
];

pub fn suite() -> Suite {
    Suite {
        title: "Order entry over TCP",
        method: "`pitlane run` with its shard spinning on core 0 and its gateway on core 1, over loopback, without a journal; the echo is a blocking thread on \
                 core 1 beside a thread that spins on core 0. The client has one order in flight, from a blocking thread on core 1. The variants take turns in each round.",
        figures: FIGURES,
        run,
    }
}

struct Readings {
    p50: f64,
    p99: f64,
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let mut samples = Samples::new();
    for _ in 0..context.rounds {
        let echo = echo_round_trips(context)?;
        let engine = order_round_trips(context, 0)?;
        let mut push = |name, value| samples.entry(name).or_default().push(value);
        push("gateway.rtt_p50_vs_tcp_echo", engine.p50 / echo.p50);
        push("gateway.rtt_p99_vs_tcp_echo", engine.p99 / echo.p99);
        push("gateway.rtt_p50_ns", engine.p50);
        push("gateway.tcp_echo_rtt_p50_ns", echo.p50);
        if context.wants("gateway.idle_connections_cost") {
            let crowded = order_round_trips(context, IDLE_CONNECTIONS)?;
            push("gateway.idle_connections_cost", crowded.p50 / engine.p50);
        }
    }
    Ok(samples)
}

fn on_sockets_core(program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &SOCKETS_CORE.to_string()]).arg(program);
    command
}

fn echo_round_trips(context: &Context<'_>) -> anyhow::Result<Readings> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = on_sockets_core(&context.release_binary("examples/tcp_echo")?);
    command.arg(address.to_string()).arg(SHARD_CORE.to_string()).stdin(Stdio::null());
    let _echo = Process::new(command.spawn()?);
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match connect(address) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error).context("the echo does not listen"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    let mut frame = [0; 256];
    let length = Packet::UnsequencedData(&enter(1, b'B', 1, PRICE)).write_frame(&mut frame);
    measure(stream, |stream, _| {
        stream.write_all(&frame[..length])?;
        let mut back = [0; 256];
        Ok(stream.read_exact(&mut back[..length])?)
    })
}

fn order_round_trips(context: &Context<'_>, idle: usize) -> anyhow::Result<Readings> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let places = idle + 8;
    let settings = Settings {
        cores: vec![SHARD_CORE],
        idle: "spin",
        accounts: places,
        ..Settings::default()
    }
    .with(
        "gateway",
        format!("listen = \"{address}\"\nmax_connections = {places}\nmax_connections_per_source = {places}"),
    )
    // The idle ones say nothing.
    .with("session", "timeout_seconds = 3600");
    let command = on_sockets_core(&context.release_binary("pitlane")?);
    let _engine = Engine::start_as(command, None, settings)?;
    let log_in = |number| {
        SoupClient::log_in(connect(address)?, &user(number), PASSWORD, 0)
            .map_err(|error| anyhow::anyhow!("login {number}: {error:?}"))
    };
    let _idle: Vec<_> = (0..idle).map(|number| log_in(number + 2)).collect::<Result<_, _>>()?;
    let client = log_in(1)?;
    let mut input = Vec::new();
    let mut frame = [0; 256];
    measure(client.stream, |stream, number| {
        let length = Packet::UnsequencedData(&enter(number, b'B', 1, PRICE)).write_frame(&mut frame);
        stream.write_all(&frame[..length])?;
        await_accepted(stream, &mut input)
    })
}

/// Reads until an Accepted has come.
fn await_accepted(stream: &mut TcpStream, input: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        while let Some((body, consumed)) = split_frame(input, 1024)? {
            let accepted = body.starts_with(b"SA");
            input.drain(..consumed);
            if accepted {
                return Ok(());
            }
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        anyhow::ensure!(count > 0, "the engine has closed the connection");
        input.extend_from_slice(&bytes[..count]);
    }
}

/// Round trips, one at a time, for a while.
fn measure(
    mut stream: TcpStream,
    mut round_trip: impl FnMut(&mut TcpStream, u32) -> anyhow::Result<()> + Send,
) -> anyhow::Result<Readings> {
    stream.set_read_timeout(Some(PATIENCE))?;
    std::thread::scope(|scope| {
        let measuring = scope.spawn(move || {
            pin(SOCKETS_CORE)?;
            let (start, mut number, mut times_ns) = (Instant::now(), 0, Vec::with_capacity(1 << 20));
            while start.elapsed() < WARM_UP + MEASURED {
                number += 1;
                let began = Instant::now();
                round_trip(&mut stream, number)?;
                if start.elapsed() > WARM_UP {
                    times_ns.push(began.elapsed().as_nanos() as f64);
                }
            }
            times_ns.sort_by(f64::total_cmp);
            let p99 = times_ns.get(times_ns.len() * 99 / 100).copied().context("no round trip at all")?;
            Ok(Readings { p50: median(&times_ns), p99 })
        });
        measuring.join().map_err(|_| anyhow::anyhow!("the measuring thread has panicked"))?
    })
}
