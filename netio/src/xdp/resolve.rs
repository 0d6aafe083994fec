//! Which source address and which MACs reach a destination from an interface: what the kernel would look up for a socket, asked of
//! the kernel once, before the first packet goes past it.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use xdp_prog::{SteeringError, netlink};

use crate::port::{Link, Peer};

/// The kernel asks three times, a second apart.
const RESOLVE_TIMEOUT: Duration = Duration::from_millis(3_500);
const RESOLVE_PAUSE: Duration = Duration::from_millis(2);
/// The discard port: the datagram only has to make the kernel ask for the neighbour.
const DISCARD_PORT: u16 = 9;

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Our address towards it.
    pub source: IpAddr,
    /// The neighbour that takes the packets: the destination itself, or a gateway.
    pub next_hop: IpAddr,
    pub link: Link,
}

impl Route {
    /// The peer at `remote`, spoken to from `local_port`.
    pub fn peer(&self, remote: SocketAddr, local_port: u16) -> Peer {
        Peer {
            remote: remote.into(),
            local: SocketAddr::new(self.source, local_port).into(),
            link: self.link,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(transparent)]
    Interface(#[from] SteeringError),
    #[error("no route to {destination} through {interface}: {source}")]
    NoRoute { destination: IpAddr, interface: String, source: io::Error },
    #[error("{interface} has no address that could speak to {destination}")]
    NoSource { destination: IpAddr, interface: String },
    #[error("{next_hop} does not answer on {interface}: nobody there has that address, or the link is down")]
    NoNeighbour { next_hop: IpAddr, interface: String },
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
}

/// Finds source address, next hop and MACs for `destination` through `interface`. Waits for the neighbour to answer, at most
/// 3.5 s.
pub fn resolve(interface: &str, destination: IpAddr) -> Result<Route, ResolveError> {
    let (index, netlink::Interface { mac: local, .. }) = xdp_prog::find_interface(interface)?;
    let system = |what| move |source| ResolveError::System { what, source };
    let (source, next_hop) = route(index, interface, destination)?;
    let started = Instant::now();
    let mut provoked = false;
    loop {
        if let Some(remote) =
            netlink::neighbour(index, next_hop).map_err(system("reading the neighbour table"))?
        {
            return Ok(Route { source, next_hop, link: Link { remote, local, ..Link::default() } });
        }
        if !provoked {
            provoke(interface, index, source, destination)
                .map_err(system("sending a datagram to provoke ARP"))?;
            provoked = true;
        }
        if started.elapsed() > RESOLVE_TIMEOUT {
            return Err(ResolveError::NoNeighbour { next_hop, interface: interface.to_owned() });
        }
        std::thread::sleep(RESOLVE_PAUSE);
    }
}

/// What the kernel knows of the way to `destination` at this moment, without waiting: the MAC of its next hop. Makes the kernel ask for
/// it when it is not known, and look whether it is still there when `probe` says so.
pub(super) fn look_up(
    interface: &str,
    destination: IpAddr,
    probe: bool,
) -> Result<Option<[u8; 6]>, ResolveError> {
    let (index, _) = xdp_prog::find_interface(interface)?;
    let system = |what| move |source| ResolveError::System { what, source };
    let (source, next_hop) = route(index, interface, destination)?;
    let known = netlink::neighbour(index, next_hop).map_err(system("reading the neighbour table"))?;
    if probe || known.is_none() {
        provoke(interface, index, source, destination)
            .map_err(system("sending a datagram to provoke ARP"))?;
    }
    Ok(known)
}

/// Source address and next hop, as the routing table has them.
fn route(index: u32, interface: &str, destination: IpAddr) -> Result<(IpAddr, IpAddr), ResolveError> {
    let interface = || interface.to_owned();
    let (source, next_hop) = netlink::route(index, destination).map_err(|source| ResolveError::NoRoute {
        destination,
        interface: interface(),
        source,
    })?;
    let source = source.ok_or_else(|| ResolveError::NoSource { destination, interface: interface() })?;
    Ok((source, next_hop))
}

fn provoke(interface: &str, index: u32, source: IpAddr, destination: IpAddr) -> io::Result<()> {
    let scoped = |address: IpAddr, port| match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddr::V6(std::net::SocketAddrV6::new(address, port, 0, index))
        }
        other => SocketAddr::new(other, port),
    };
    let socket = UdpSocket::bind(scoped(source, 0))?;
    setsockopt(&socket, BindToDevice, &interface.into())?;
    match socket.send_to(&[], scoped(destination, DISCARD_PORT)) {
        Ok(_) => Ok(()),
        // What matters is that the neighbour was asked for, not what became of the datagram.
        Err(error) if error.raw_os_error() == Some(libc::EHOSTUNREACH) => Ok(()),
        Err(error) => Err(error),
    }
}
