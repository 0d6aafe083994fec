//! Opens the ports that a command asked for, with an address of its own for each client. What flows through them is decided elsewhere.
//!
//! An engine binds each session to the address and port it logged in from, so clients cannot share one:
//! - to an engine on IPv4 loopback, one socket for each thread is enough: each client has an address in 127.0.0.0/8;
//! - to any other over kernel UDP, each client has a socket;
//! - over AF_XDP each client has a UDP port, which costs nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use netio::idle::IdleStrategy;
use netio::udp::{UdpOptions, UdpPort};
use netio::{Endpoint, Peer, Port};

use crate::cli::TargetArgs;
use crate::fan::Fan;
use crate::report::HostFacts;

/// Sockets of one thread at most: each has its own buffers, and each is polled.
const SOCKETS_MAX: usize = 4096;

/// Addresses in a block of 127.0.0.0/8 that end in neither 0 nor 255, and how many such blocks are used.
const LOOPBACK_BLOCK: usize = 254;
const LOOPBACK_BLOCKS: usize = 32_768;

/// Spins where the generator was pinned to a core for each thread; elsewhere it may share them with the engine, and gives way.
pub fn idle_strategy(target: &TargetArgs, threads: usize) -> IdleStrategy {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let is_pinned = !target.cores.is_empty() || available < HostFacts::collect().cores;
    let spins = is_pinned && available >= threads;
    target.idle.unwrap_or(if spins { IdleStrategy::Spin } else { IdleStrategy::Yield })
}

/// What a report calls the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortName {
    /// `udp` or `xdp`.
    pub kind: &'static str,
    /// How it was opened.
    pub mode: String,
}

impl PortName {
    pub fn udp() -> Self {
        PortName { kind: "udp", mode: "kernel sockets".into() }
    }

    #[cfg(feature = "xdp")]
    pub fn xdp(device: &netio::xdp::XdpDevice) -> Self {
        PortName { kind: "xdp", mode: device.rung().to_string() }
    }
}

/// One thread's port, where each shard is, and where each of its clients speaks from.
pub struct Opened<P> {
    pub port: P,
    pub shards: Vec<Peer>,
    pub sources: Vec<Endpoint>,
}

impl<P> Opened<P> {
    /// What the `client`-th client of the thread has to know to speak to a shard.
    pub fn peer(&self, client: usize, shard: usize) -> Peer {
        Peer { local: self.sources[client], ..self.shards[shard] }
    }
}

/// Kernel sockets, one for each thread or one for each client.
pub enum Udp {
    One(Vec<Opened<UdpPort>>),
    Many(Vec<Opened<Fan<UdpPort>>>),
}

/// Kernel UDP for `clients` clients on each of `threads` threads; `offload` lets the kernel join datagrams.
pub fn open_udp(targets: &[SocketAddr], threads: usize, clients: usize, offload: bool) -> Result<Udp> {
    let shards: Vec<Peer> = targets.iter().map(|&target| Peer::remote(target)).collect();
    let wildcard: IpAddr = match targets.first() {
        Some(SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let bind = || {
        let options = UdpOptions { receive_offload: offload, send_offload: offload, ..UdpOptions::default() };
        UdpPort::bind(SocketAddr::new(wildcard, 0), &options).context("cannot open a UDP socket")
    };
    let on_loopback = targets.iter().all(|target| target.is_ipv4() && target.ip().is_loopback());
    if clients == 1 || (on_loopback && clients <= LOOPBACK_BLOCK * LOOPBACK_BLOCKS) {
        let open = |_| {
            let port = bind()?;
            let source = |client| match (on_loopback, port.local().port) {
                (true, port) => SocketAddr::new(loopback_address(client).into(), port).into(),
                (false, port) => Endpoint { port, ..Endpoint::default() },
            };
            let sources = (0..clients).map(source).collect();
            Ok(Opened { port, shards: shards.clone(), sources })
        };
        return Ok(Udp::One((0..threads).map(open).collect::<Result<_>>()?));
    }
    if clients > SOCKETS_MAX {
        bail!(
            "{clients} clients on one thread need a UDP socket each, and {SOCKETS_MAX} is the most: use more --threads, \
             or AF_XDP"
        );
    }
    let open = |_| {
        let members: Vec<UdpPort> = (0..clients).map(|_| bind()).collect::<Result<_>>()?;
        let source = |member: &UdpPort| Endpoint { port: member.local().port, ..Endpoint::default() };
        let sources = members.iter().map(source).collect();
        let port = Fan::new(members).context("a thread without clients needs no port")?;
        Ok(Opened { port, shards: shards.clone(), sources })
    };
    Ok(Udp::Many((0..threads).map(open).collect::<Result<_>>()?))
}

/// The address of the `client`-th client: 127.0.0.1 for the first, none that ends in 0 or 255.
fn loopback_address(client: usize) -> Ipv4Addr {
    let (block, host) = (client / LOOPBACK_BLOCK, client % LOOPBACK_BLOCK + 1);
    Ipv4Addr::new(127, (block >> 8) as u8, (block & 0xff) as u8, host as u8)
}

/// AF_XDP: thread t has queue `--queue` + t of the interface, and `clients` UDP ports counted on from `--local-port`.
#[cfg(feature = "xdp")]
pub fn open_xdp(
    target: &TargetArgs,
    targets: &[SocketAddr],
    threads: usize,
    clients: usize,
    speaks_mold: bool,
) -> Result<(netio::xdp::XdpDevice, Vec<Opened<netio::xdp::XdpPort>>)> {
    use netio::xdp::{DeviceConfig, XdpDevice, resolve, ring_depth};

    let interface = target.interface.as_deref().context("--port xdp needs --interface NAME")?;
    let first = targets.first().context("no target")?;
    let route = resolve(interface, first.ip()).with_context(|| format!("cannot reach {}", first.ip()))?;
    let first_port = |thread: usize| {
        u16::try_from(usize::from(target.local_port) + thread * clients)
            .ok()
            .filter(|port| usize::from(*port) + clients <= 65_536)
            .with_context(|| {
                format!(
                    "--local-port {}: {} clients need as many ports below 65536",
                    target.local_port,
                    threads * clients
                )
            })
    };
    let mut config = DeviceConfig::new(interface);
    config.idle = idle_strategy(target, threads);
    config.ring_depth = ring_depth(clients);
    if !speaks_mold {
        config.check_mold = false;
    }
    for thread in 0..threads {
        let port = first_port(thread)?;
        let ports = port..=port + (clients - 1) as u16;
        config = config.queue(target.queue + thread as u32, route.source, ports);
    }
    let (device, ports) =
        XdpDevice::open(&config).with_context(|| format!("cannot open {interface} for AF_XDP"))?;
    let mut opened = Vec::with_capacity(ports.len());
    for (thread, port) in ports.into_iter().enumerate() {
        let base = first_port(thread)?;
        let shards: Vec<Peer> = targets.iter().map(|&target| route.peer(target, base)).collect();
        let sources = (0..clients).map(|client| SocketAddr::new(route.source, base + client as u16).into());
        opened.push(Opened { port, shards, sources: sources.collect() });
    }
    Ok((device, opened))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn clients_on_loopback_have_addresses_of_their_own() {
        let addresses: HashSet<Ipv4Addr> = (0..10_000).map(loopback_address).collect();
        assert_eq!(addresses.len(), 10_000);
        assert!(addresses.iter().all(|address| {
            address.is_loopback() && address.octets()[3] != 0 && address.octets()[3] != 255
        }));
        assert_eq!(loopback_address(0), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn every_client_is_told_apart_whatever_the_target() {
        for (target, clients) in
            [("127.0.0.1:1", 300), ("10.255.255.1:1", 5), ("[::1]:1", 5), ("10.255.255.1:1", 1)]
        {
            let targets = [target.parse().unwrap()];
            let sources =
                |opened: &[Vec<Endpoint>]| opened.iter().flatten().copied().collect::<HashSet<_>>().len();
            let all: Vec<Vec<Endpoint>> = match open_udp(&targets, 2, clients, true).unwrap() {
                Udp::One(opened) => opened.into_iter().map(|one| one.sources).collect(),
                Udp::Many(opened) => opened.into_iter().map(|one| one.sources).collect(),
            };
            assert_eq!(sources(&all), 2 * clients, "{target}");
        }
    }
}
