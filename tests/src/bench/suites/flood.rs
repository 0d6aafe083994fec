//! What a flood of unwanted datagrams costs those who trade: the same sender at the same rate, aimed at the engine and aimed nowhere, in turns.
//! Not an attack on logins: nothing in the flood is a login.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netio::udp::{UdpOptions, UdpPort};
use netio::{Peer, Port};

use crate::bench::machine::{CORES, Machine, number};
use crate::bench::results::Budget::{AtLeast, AtMost};
use crate::bench::{Context, Figure, Samples, Suite};
use crate::engine::{Engine, Settings};
use crate::process::pin;

const SECONDS: u32 = 3;
const SATURATED: &[&str] = &["--clients", "1", "--window", "256", "--per-datagram", "1"];

const DATAGRAMS_PER_SECOND: u64 = 100_000;
/// What the sender sends at once: it shares a core with the generator, and each time it is awake costs a switch.
const BURST: u64 = 50;
/// As long as an Enter Order in its datagram.
const PAYLOAD: usize = 69;

/// The flood's address on the client's host, outside the allow-list.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);
/// On a second veth pair of the client's host, at a MAC that nobody there has: sent there, a datagram costs the sender the same, and the
/// other end throws it away at its first look.
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

const FIGURES: &[Figure] = &[
    Figure {
        name: "flood.xdp_throughput_kept",
        unit: "ratio",
        budget: Some(AtLeast(0.95)),
        about: "AF_XDP with `network.allow`, 100,000 datagrams/s from a source outside it: orders/s of a saturating client over its orders/s \
                while the same sender sends elsewhere",
    },
    Figure {
        name: "flood.xdp_reached_session",
        unit: "share",
        budget: Some(AtMost(0.0)),
        about: "of that flood, the datagrams that reached the session layer",
    },
    Figure {
        name: "flood.xdp_unlisted_throughput_kept",
        unit: "ratio",
        budget: None,
        about: "the same without an allow-list: the session layer finds that the datagrams name no session",
    },
    Figure {
        name: "flood.udp_throughput_kept",
        unit: "ratio",
        budget: None,
        about: "kernel UDP with `network.allow`: the port drops what the kernel has already carried to its socket",
    },
    Figure {
        name: "flood.datagrams_per_second",
        unit: "datagrams/s",
        budget: None,
        about: "what the sender reached, in the slowest of these",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "A flood beside the order path",
        method: "`pitlane run` on core 0, `pitlane-loadgen` on core 1, and on core 1, too, the sender of the flood, in two network namespaces joined by \
                 a veth pair: what the kernel does with the flood falls on the generator's core. One client, 256 orders in flight, one per \
                 datagram. The sender aims at the engine and at a second veth pair where nobody has the address, in turns.",
        figures: FIGURES,
        run,
    }
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let machine = Machine::new(context)?;
    let client = &machine.pair.client;
    client.ip(&["addr", "add", &format!("{STRANGER}/24"), "dev", &client.interface])?;
    client.ip(&["link", "add", "nowhere", "type", "veth", "peer", "name", "beyond"])?;
    client.ip(&["addr", "add", "10.78.0.1/24", "dev", "nowhere"])?;
    for end in ["nowhere", "beyond"] {
        client.ip(&["link", "set", end, "up"])?;
    }
    let (there, mac) = (NOWHERE.to_string(), "02:00:00:00:00:99");
    client.ip(&["neigh", "add", &there, "lladdr", mac, "dev", "nowhere", "nud", "permanent"])?;
    let mut samples = Samples::new();
    for round in 0..context.rounds {
        for (name, port, listed) in [
            ("flood.xdp_throughput_kept", "xdp", true),
            ("flood.xdp_unlisted_throughput_kept", "xdp", false),
            ("flood.udp_throughput_kept", "udp", true),
        ] {
            let wants_reached = listed && port == "xdp" && context.wants("flood.xdp_reached_session");
            if !context.wants(name) && !wants_reached && !context.wants("flood.datagrams_per_second") {
                continue;
            }
            let allow = format!("allow = [\"{}/32\"]", client.ipv4);
            let settings = Settings::on(&machine.pair.engine, port).with("network", "udp_offload = false");
            let settings = if listed { settings.with("network", allow) } else { settings };
            let engine = machine.engine_with(settings)?;
            let there = SocketAddr::new(engine.settings.listen, engine.settings.base_port);
            // Which of the two comes first takes turns as well.
            let (mut kept, mut rate) = (1.0, f64::INFINITY);
            for aims_there in [round % 2 == 0, round % 2 == 1] {
                let target = if aims_there { there } else { SocketAddr::from((NOWHERE, there.port())) };
                let under = orders_under(&machine, port, target)?;
                kept =
                    if aims_there { kept * under.orders_per_second } else { kept / under.orders_per_second };
                rate = f64::min(rate, under.flood_per_second);
                if aims_there && wants_reached {
                    samples
                        .entry("flood.xdp_reached_session")
                        .or_default()
                        .push(reached(&engine, under.sent)?);
                }
            }
            samples.entry(name).or_default().push(kept);
            samples.entry("flood.datagrams_per_second").or_default().push(rate);
        }
    }
    Ok(samples)
}

/// The share of the flood that the session layer has seen.
fn reached(engine: &Engine, sent: u64) -> anyhow::Result<f64> {
    // Shards publish their counters ten times a second.
    std::thread::sleep(Duration::from_millis(300));
    let dropped = engine.metric(&["xdp_verdicts_total", "verdict=\"dropped_not_allowed\""])?;
    anyhow::ensure!(
        dropped >= sent as f64 * 0.99,
        "{dropped} of {sent} were dropped by the program: where are the others?"
    );
    Ok(engine.metric(&["refused_total", "reason=\"unknown_token\""])? / sent as f64)
}

struct Under {
    orders_per_second: f64,
    flood_per_second: f64,
    sent: u64,
}

/// A load beside the flood.
fn orders_under(machine: &Machine, port: &'static str, target: SocketAddr) -> anyhow::Result<Under> {
    let stop = AtomicBool::new(false);
    let core = CORES[0] + CORES[1] - machine.engine_core;
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            machine.pair.client.inside(|| {
                pin(core)?;
                flood(target, &stop)
            })
        });
        let report = machine.load(port, SECONDS, SATURATED);
        stop.store(true, Ordering::Release);
        let flooded = flood.join().map_err(|_| anyhow::anyhow!("the sender of the flood panicked"))?;
        let (sent, elapsed) = flooded??;
        Ok(Under {
            orders_per_second: number(&report?, &["orders_per_second"])?,
            flood_per_second: sent as f64 / elapsed.as_secs_f64(),
            sent,
        })
    })
}

/// Sends until `stop`, at the flood's rate: datagrams that look like order entry and name a session that there is not.
fn flood(target: SocketAddr, stop: &AtomicBool) -> anyhow::Result<(u64, Duration)> {
    let local = if target.ip() == NOWHERE { Ipv4Addr::UNSPECIFIED } else { STRANGER };
    // Each a packet of its own, as they would come in.
    let options = UdpOptions { send_offload: false, ..UdpOptions::default() };
    let mut port = UdpPort::bind(SocketAddr::from((local, 0)), &options)?;
    let peer = Peer::remote(target);
    let began = Instant::now();
    let mut sent = 0;
    while !stop.load(Ordering::Acquire) {
        let due = began.elapsed().as_micros() as u64 * DATAGRAMS_PER_SECOND / 1_000_000;
        if due < sent + BURST {
            std::thread::sleep(Duration::from_micros(
                (sent + BURST - due) * 1_000_000 / DATAGRAMS_PER_SECOND,
            ));
            continue;
        }
        for _ in 0..BURST {
            sent += 1;
            // A full queue is the kernel's way to say that it does not keep up: the rate will show it.
            let _ = port.send(&peer, |out| {
                out[..PAYLOAD].fill(0);
                out[..10].copy_from_slice(b"UGARBAGE00");
                out[19] = 1;
                out[21] = 47;
                PAYLOAD
            });
        }
        port.flush()?;
    }
    Ok((port.statistics().tx_datagrams, began.elapsed()))
}
