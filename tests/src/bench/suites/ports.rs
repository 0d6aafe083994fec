//! The order path on its two ports beside the limit of each port (an echo of datagrams), all on one veth pair in one run.
//! Not the engine's inner parts: book, journal and feed have figures of their own.

use crate::bench::machine::{Machine, number};
use crate::bench::results::Budget::{AtLeast, AtMost};
use crate::bench::{Context, Figure, Samples, Suite};

const SECONDS: u32 = 3;

const FIGURES: &[Figure] = &[
    Figure {
        name: "xdp.rtt_p50_vs_echo",
        unit: "ratio",
        budget: Some(AtMost(1.15)),
        about: "order to Accepted, one in flight, AF_XDP both ends: median over the echo's",
    },
    Figure {
        name: "xdp.rtt_p99_9_vs_echo",
        unit: "ratio",
        budget: Some(AtMost(1.3)),
        about: "the same at the 99.9th percentile",
    },
    Figure {
        name: "xdp.throughput_vs_echo",
        unit: "ratio",
        budget: Some(AtLeast(0.9)),
        about: "one order per datagram, saturated: orders/s over the echo's round trips/s",
    },
    Figure {
        name: "xdp.batched_orders_per_second",
        unit: "orders/s",
        budget: Some(AtLeast(3_000_000.0)),
        about: "many orders per datagram, accepted by one shard without loss",
    },
    Figure {
        name: "xdp.rtt_p50_ns",
        unit: "ns",
        budget: None,
        about: "the engine's median round trip itself",
    },
    Figure { name: "xdp.rtt_p99_9_ns", unit: "ns", budget: None, about: "and its 99.9th percentile" },
    Figure { name: "xdp.echo_rtt_p50_ns", unit: "ns", budget: None, about: "the echo's median round trip" },
    Figure {
        name: "xdp.orders_per_second",
        unit: "orders/s",
        budget: None,
        about: "saturated, one order per datagram",
    },
    Figure {
        name: "xdp.echoes_per_second",
        unit: "round trips/s",
        budget: None,
        about: "the echo, saturated",
    },
    Figure {
        name: "udp.rtt_p50_vs_echo",
        unit: "ratio",
        budget: Some(AtMost(1.15)),
        about: "kernel UDP both ends: median over the UDP echo's",
    },
    Figure {
        name: "udp.throughput_vs_echo",
        unit: "ratio",
        budget: None,
        about: "kernel UDP, one order per datagram, saturated, over the UDP echo",
    },
    Figure {
        name: "udp.rtt_p50_ns",
        unit: "ns",
        budget: None,
        about: "kernel UDP, the engine's median round trip itself",
    },
    Figure {
        name: "udp.orders_per_second",
        unit: "orders/s",
        budget: None,
        about: "kernel UDP, saturated, one order per datagram",
    },
    Figure {
        name: "xdp_vs_udp.rtt_p50",
        unit: "ratio",
        budget: Some(AtLeast(2.0)),
        about: "kernel UDP's median over AF_XDP's: how many times shorter",
    },
    Figure {
        name: "xdp_vs_udp.throughput",
        unit: "ratio",
        budget: Some(AtLeast(3.0)),
        about: "AF_XDP's orders/s over kernel UDP's, one order per datagram",
    },
    Figure {
        name: "xdp_vs_udp.echo_rtt_p50",
        unit: "ratio",
        budget: None,
        about: "the same of the two echoes: how many times shorter this machine's kernel lets a round trip be",
    },
    Figure {
        name: "xdp_vs_udp.echo_throughput",
        unit: "ratio",
        budget: None,
        about: "the same of the two echoes' round trips/s",
    },
    Figure {
        name: "xdp_vs_udp.throughput_with_offload",
        unit: "ratio",
        budget: None,
        about: "the same with GSO and GRO: one sender's datagrams cross a veth pair joined, as they could on no wire",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Order path: AF_XDP and kernel UDP",
        method: "`pitlane run` (or `pitlane echo`) on core 0 and `pitlane-loadgen` on core 1, each in a network namespace of its own, joined by a \
                 veth pair; AF_XDP in copy mode.\nWithout a journal. Kernel UDP takes each datagram by itself (no GSO or GRO). Round trips: one client, one order in flight. Throughput: one client, 256 in flight. \
                 Batched: as many orders as fit a datagram.",
        figures: FIGURES,
        run,
    }
}

const ONE_IN_FLIGHT: &[&str] = &["--clients", "1", "--window", "1"];
const SATURATED: &[&str] = &["--clients", "1", "--window", "256", "--per-datagram", "1"];
const BATCHED: &[&str] = &["--clients", "1", "--window", "1024", "--per-datagram", "28"];

/// Kernel UDP, each datagram by itself, as those of many clients are; and with GSO and GRO.
const PLAIN_UDP: &str = "udp";
const JOINED_UDP: &str = "udp-joined";

struct Readings {
    p50: f64,
    p99_9: f64,
    per_second: f64,
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let machine = Machine::new(context)?;
    let latency = |port: &str| {
        context.wants(&format!("{port}.rtt"))
            || context.wants(&format!("{port}.echo_rtt"))
            || context.wants("xdp_vs_udp.rtt")
            || context.wants("xdp_vs_udp.echo_rtt")
    };
    let throughput = |port: &str| {
        ["throughput", "orders", "echoes"].iter().any(|kind| context.wants(&format!("{port}.{kind}")))
            || context.wants("xdp_vs_udp.throughput")
            || context.wants("xdp_vs_udp.echo_throughput")
    };
    let mut samples = Samples::new();
    for _ in 0..context.rounds {
        // Of each port in turn: the engine's reading and the echo's.
        let mut round_trips = Vec::new();
        let mut rates = Vec::new();
        for port in ["xdp", PLAIN_UDP] {
            let wants_batch = port == "xdp" && context.wants("xdp.batched_orders_per_second");
            if !(latency(port) || throughput(port) || wants_batch) {
                continue;
            }
            let (mut echo_one, mut echo_many) = (None, None);
            if latency(port) || throughput(port) {
                let _echo = machine.echo(port)?;
                if latency(port) {
                    echo_one = Some(readings(&machine.echo_load(port, SECONDS, &["--window", "1"])?)?);
                }
                if throughput(port) {
                    echo_many = Some(readings(&machine.echo_load(port, SECONDS, &["--window", "256"])?)?);
                }
            }
            let _engine = machine.engine(port)?;
            if let Some(echo) = echo_one {
                let engine = readings(&machine.load(port, SECONDS, ONE_IN_FLIGHT)?)?;
                push(&mut samples, port, "rtt_p50_vs_echo", engine.p50 / echo.p50);
                push(&mut samples, port, "rtt_p99_9_vs_echo", engine.p99_9 / echo.p99_9);
                push(&mut samples, port, "rtt_p50_ns", engine.p50);
                push(&mut samples, port, "rtt_p99_9_ns", engine.p99_9);
                push(&mut samples, port, "echo_rtt_p50_ns", echo.p50);
                round_trips.push((engine.p50, echo.p50));
            }
            if let Some(echo) = echo_many {
                let engine = readings(&machine.load(port, SECONDS, SATURATED)?)?;
                push(&mut samples, port, "throughput_vs_echo", engine.per_second / echo.per_second);
                push(&mut samples, port, "orders_per_second", engine.per_second);
                push(&mut samples, port, "echoes_per_second", echo.per_second);
                rates.push((engine.per_second, echo.per_second));
            }
            if wants_batch {
                let engine = readings(&machine.load(port, SECONDS, BATCHED)?)?;
                push(&mut samples, port, "batched_orders_per_second", engine.per_second);
            }
        }
        if let [(xdp, xdp_echo), (udp, udp_echo)] = round_trips[..] {
            samples.entry("xdp_vs_udp.rtt_p50").or_default().push(udp / xdp);
            samples.entry("xdp_vs_udp.echo_rtt_p50").or_default().push(udp_echo / xdp_echo);
        }
        if let [(xdp, xdp_echo), (udp, udp_echo)] = rates[..] {
            samples.entry("xdp_vs_udp.throughput").or_default().push(xdp / udp);
            samples.entry("xdp_vs_udp.echo_throughput").or_default().push(xdp_echo / udp_echo);
            if context.wants("xdp_vs_udp.throughput_with_offload") {
                let _engine = machine.engine(JOINED_UDP)?;
                let joined = readings(&machine.load(JOINED_UDP, SECONDS, SATURATED)?)?;
                samples
                    .entry("xdp_vs_udp.throughput_with_offload")
                    .or_default()
                    .push(xdp / joined.per_second);
            }
        }
    }
    Ok(samples)
}

fn readings(report: &serde_json::Value) -> anyhow::Result<Readings> {
    Ok(Readings {
        p50: number(report, &["latency_ns", "median"])?,
        p99_9: number(report, &["latency_ns", "p99_9"])?,
        per_second: number(report, &["orders_per_second"])
            .or_else(|_| number(report, &["round_trips_per_second"]))?,
    })
}

/// Keeps the value if there is such a figure.
fn push(samples: &mut Samples, port: &str, name: &str, value: f64) {
    let name = format!("{port}.{name}");
    if let Some(figure) = FIGURES.iter().find(|figure| figure.name == name) {
        samples.entry(figure.name).or_default().push(value);
    }
}
