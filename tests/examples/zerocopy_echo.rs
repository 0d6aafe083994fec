//! Echo between two interfaces of one machine, both over AF_XDP zero-copy: what the zero-copy test boots. It fails when either end is
//! not zero-copy, when a datagram is lost, when a frame is missing, or when the driver never asked to be woken. Not a
//! measurement: under emulation times mean nothing.
//!
//! `zerocopy_echo <interface> <interface> <datagrams>`
#![allow(clippy::print_stdout)]

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use netio::{
    Link, Peer, Port,
    echo::{self, Load},
    idle::{Idle, IdleStrategy},
    xdp::{DeviceConfig, Ladder, Rung, XdpDevice, XdpPort},
};
use xdp_prog::XdpMode;

/// The receive ring of virtio-net in QEMU: with fewer frames than this the driver runs dry.
const DRIVER_RING: u32 = 256;

/// No interface has these addresses: between two AF_XDP ends only the MACs count.
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
const PORT: u16 = 26_000;
const WINDOW: u64 = 16;
const DURATION_MAX: Duration = Duration::from_secs(120);

fn open(interface: &str, address: IpAddr, prefill: u32) -> Result<(XdpDevice, XdpPort)> {
    let mut config = DeviceConfig::new(interface).queue(0, address, PORT..=PORT);
    config.check_mold = false;
    config.prefill = Some(prefill);
    config.ladder = Ladder::Only(Rung { mode: XdpMode::Native, zero_copy: true });
    let (device, mut ports) = XdpDevice::open(&config)?;
    let port = ports.pop().context("one port")?;
    println!("{interface}: {}, huge pages {}", device.rung(), port.huge_pages());
    ensure!(port.zero_copy(), "{interface} is not zero-copy");
    Ok((device, port))
}

fn check(name: &str, port: &mut XdpPort) -> Result<()> {
    // Completions of the last answers come in.
    for _ in 0..100 {
        port.receive()?;
        thread::sleep(Duration::from_millis(1));
    }
    let (census, counters) = (port.census(), port.counters());
    println!("{name}: {census:?} {counters:?}");
    ensure!(census.total() == port.frame_count(), "{name}: frames are missing");
    // The first is the port's own, when it is opened.
    ensure!(
        counters.receive_wakeups > 1 || port.census().receiving >= DRIVER_RING,
        "{name}: the driver never asked to be woken to receive"
    );
    ensure!(
        counters.rx_invalid_descriptors + counters.tx_invalid_descriptors == 0,
        "{name}: invalid descriptors"
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [interface] => step_down(interface),
        [server, client, datagrams, prefill] => echo(server, client, datagrams.parse()?, prefill.parse()?),
        _ => bail!(
            "usage: zerocopy_echo <interface> <interface> <datagrams> <prefill> | zerocopy_echo <interface>"
        ),
    }
}

/// The ladder on an interface that takes the program natively and has no zero-copy.
fn step_down(interface: &str) -> Result<()> {
    let config = DeviceConfig::new(interface).queue(0, SERVER, PORT..=PORT);
    let (device, ports) = XdpDevice::open(&config)?;
    println!("{interface}: {}, after {:?}", device.rung(), device.left());
    ensure!(device.rung() == Rung { mode: XdpMode::Native, zero_copy: false }, "not native copy");
    ensure!(device.left().len() == 1 && ports.iter().all(|port| !port.zero_copy()), "not by stepping down");
    Ok(())
}

fn echo(server_interface: &str, client_interface: &str, datagrams: u64, prefill: u32) -> Result<()> {
    let (_server_device, mut server) = open(server_interface, SERVER, prefill)?;
    let (_client_device, mut client) = open(client_interface, CLIENT, prefill)?;
    let link = Link { remote: server.interface().mac, local: client.interface().mac, ..Link::default() };
    let peer = Peer {
        remote: SocketAddr::new(SERVER, PORT).into(),
        local: SocketAddr::new(CLIENT, PORT).into(),
        link,
    };
    let stop = AtomicBool::new(false);
    let (driven, served) = thread::scope(|scope| {
        let serving =
            scope.spawn(|| echo::serve_in_place(&mut server, Idle::new(IdleStrategy::Yield), &stop));
        let load = Load { payload_length: 64, window: WINDOW, duration: DURATION_MAX };
        let idle = Idle::new(IdleStrategy::Yield);
        let driven = echo::drive_counted(&mut client, &peer, load, datagrams, idle, &stop, |_| {});
        stop.store(true, Ordering::Relaxed);
        (driven, serving.join())
    });
    let driven = driven?;
    println!("{driven:?} {:?}", served.ok().context("server thread")??);
    ensure!(driven.answered == datagrams && driven.lost == 0, "datagrams were lost");
    check(server_interface, &mut server)?;
    check(client_interface, &mut client)?;
    Ok(())
}
