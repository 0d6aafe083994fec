//! Prints what the echo reaches on this machine, on a veth pair: AF_XDP at both ends, a kernel sender to AF_XDP, the kernel at both ends. Needs
//! root and two cores. Not a test: it judges nothing.
//!
//! `cargo run --release -p pitlane-tests --example echo_limit -- [payload bytes] [seconds] [window]`
//!
//! To try out a constant: `PREFILL=512` (frames in the fill ring), `NO_VERIFY=1` (no checksums), `ONLY="xdp - xdp"` (one pair).
#![allow(clippy::print_stdout)]

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use netio::{
    Peer, Port,
    echo::{self, Driven, Load},
    idle::{Idle, IdleStrategy},
    udp::{UdpOptions, UdpPort},
    xdp::{DeviceConfig, XdpDevice, XdpPort, resolve},
};
use pitlane_tests::process::pin;
use pitlane_tests::veth::{Host, VethPair};

const SERVER_PORT: u16 = 26_000;
const CLIENT_PORT: u16 = 26_100;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Xdp,
    Udp,
}

fn open_xdp(host: &Host, port: u16) -> Result<(XdpDevice, XdpPort)> {
    let mut config = DeviceConfig::new(&host.interface).queue(0, IpAddr::V4(host.ipv4), port..=port);
    config.check_mold = false;
    if let Ok(prefill) = std::env::var("PREFILL") {
        config.prefill = Some(prefill.parse()?);
    }
    config.verify_checksums = std::env::var("NO_VERIFY").is_err();
    let (device, ports) = XdpDevice::open(&config)?;
    Ok((device, ports.into_iter().next().context("one port")?))
}

fn serve(host: &Host, kind: Kind, ready: &Barrier, stop: &AtomicBool) -> Result<()> {
    pin(0)?;
    let idle = Idle::new(IdleStrategy::Spin);
    match kind {
        Kind::Xdp => {
            let (_device, mut port) = open_xdp(host, SERVER_PORT)?;
            ready.wait();
            echo::serve_in_place(&mut port, idle, stop)?;
        }
        Kind::Udp => {
            let mut port =
                UdpPort::bind(SocketAddr::new(host.ipv4.into(), SERVER_PORT), &UdpOptions::default())?;
            ready.wait();
            echo::serve(&mut port, idle, stop)?;
        }
    }
    Ok(())
}

fn drive(host: &Host, server: SocketAddr, kind: Kind, load: Load, record: impl FnMut(u64)) -> Result<Driven> {
    pin(1)?;
    let never = AtomicBool::new(false);
    Ok(match kind {
        Kind::Xdp => {
            let (_device, mut port) = open_xdp(host, CLIENT_PORT)?;
            let peer = resolve(&host.interface, server.ip())?.peer(server, CLIENT_PORT);
            echo::drive(&mut port, &peer, load, &never, record)?
        }
        Kind::Udp => {
            let mut port =
                UdpPort::bind(SocketAddr::new(host.ipv4.into(), CLIENT_PORT), &UdpOptions::default())?;
            let peer = Peer::remote(server);
            assert!(port.max_payload() >= load.payload_length);
            echo::drive(&mut port, &peer, load, &never, record)?
        }
    })
}

fn measure(client: Kind, server: Kind, load: Load) -> Result<(Driven, Vec<u64>)> {
    let pair = VethPair::new(1)?;
    let stop = AtomicBool::new(false);
    let ready = Barrier::new(2);
    let mut samples = Vec::with_capacity(8 << 20);
    let driven = thread::scope(|scope| {
        let serving = scope.spawn(|| pair.engine.inside(|| serve(&pair.engine, server, &ready, &stop)));
        let address = SocketAddr::new(pair.engine.ipv4.into(), SERVER_PORT);
        let driven = pair.client.inside(|| {
            ready.wait();
            drive(&pair.client, address, client, load, |sample| samples.push(sample))
        });
        stop.store(true, Ordering::Relaxed);
        serving.join().expect("server thread")??;
        driven?
    })?;
    samples.sort_unstable();
    Ok((driven, samples))
}

fn main() -> Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let payload_length = arguments.first().copied().unwrap_or(64) as usize;
    let duration = Duration::from_secs(arguments.get(1).copied().unwrap_or(3));
    let window = arguments.get(2).copied().unwrap_or(128);
    for (name, client, server) in [
        ("xdp - xdp", Kind::Xdp, Kind::Xdp),
        ("udp - xdp", Kind::Udp, Kind::Xdp),
        ("udp - udp", Kind::Udp, Kind::Udp),
    ] {
        if std::env::var("ONLY").is_ok_and(|only| only != name) {
            continue;
        }
        let (driven, samples) = measure(client, server, Load { payload_length, window: 1, duration })?;
        let at = |fraction: f64| {
            let rank = (samples.len() as f64 * fraction) as usize;
            samples.get(rank.min(samples.len().saturating_sub(1))).copied().unwrap_or(0) as f64 / 1000.0
        };
        let (windowed, _) = measure(client, server, Load { payload_length, window, duration })?;
        println!(
            "{name}: round trip p50 {:.2} us, p99 {:.2}, p99.9 {:.2} ({} lost of {}); windowed {:.3} M/s ({} lost)",
            at(0.5),
            at(0.99),
            at(0.999),
            driven.lost,
            driven.sent,
            windowed.per_second() / 1e6,
            windowed.lost,
        );
    }
    Ok(())
}
