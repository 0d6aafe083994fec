//! Three questions to the kernel over rtnetlink: an interface, a route, a neighbour. Cold path only; it allocates freely.
use std::{io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sys::{
    socket::{setsockopt, sockopt::ReceiveTimeout},
    time::{TimeVal, TimeValLike},
};

/// A neighbour table larger than this is not one that this host should have.
const ANSWERS_MAX: usize = 65_536;
const TIMEOUT_MS: i64 = 2_000;

/// Sends one request and returns all that answers it. An error of the kernel's is returned as such.
fn ask(question: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::milliseconds(TIMEOUT_MS))?;
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(question));
    request.header.flags = NLM_F_REQUEST | flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let mut answers = Vec::new();
    while answers.len() <= ANSWERS_MAX {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(answers),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                _ => {}
            }
            rest = rest.get((message.header.length as usize).next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidData))
}

/// The XDP program on an interface, and how it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    pub program_id: u32,
    pub mode: &'static str,
}

/// What is known of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub mac: [u8; 6],
    pub mtu: u32,
    pub is_up: bool,
    /// The XDP program it carries.
    pub program: Option<Attached>,
}

/// Looks an interface up by its index; `None` when there is none.
pub fn link(interface_index: u32) -> io::Result<Option<Interface>> {
    let mut question = LinkMessage::default();
    question.header.index = interface_index;
    let answers = ask(RouteNetlinkMessage::GetLink(question), NLM_F_ACK)?;
    let Some(RouteNetlinkMessage::NewLink(link)) = answers.into_iter().next() else { return Ok(None) };
    let mut interface =
        Interface { is_up: link.header.flags.contains(LinkFlags::Up), ..Interface::default() };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::Address(mac) => interface.mac = mac.try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
            LinkAttribute::Xdp(xdp) => interface.program = attached(&xdp),
            _ => {}
        }
    }
    Ok(Some(interface))
}

fn attached(xdp: &[LinkXdp]) -> Option<Attached> {
    let mode = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some("native"),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("generic"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("offloaded"),
        LinkXdp::Attached(XdpAttached::Multiple) => Some("several modes"),
        _ => None,
    });
    let program_id = xdp.iter().find_map(|attribute| match *attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) => Some(id),
        _ => None,
    });
    program_id
        .filter(|id| *id != 0)
        .map(|program_id| Attached { program_id, mode: mode.unwrap_or("unknown mode") })
}

const fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(address.into()),
        RouteAddress::Inet6(address) => Some(address.into()),
        _ => None,
    }
}

/// How the routing table would reach a destination through an interface: our address towards it, if there is one, and the next hop.
pub fn route(interface_index: u32, destination: IpAddr) -> io::Result<(Option<IpAddr>, IpAddr)> {
    let (wanted, bits) = match destination {
        IpAddr::V4(address) => (RouteAddress::Inet(address), 32),
        IpAddr::V6(address) => (RouteAddress::Inet6(address), 128),
    };
    let mut question = RouteMessage::default();
    question.header.address_family = family(destination);
    question.header.destination_prefix_length = bits;
    question.attributes = vec![RouteAttribute::Destination(wanted), RouteAttribute::Oif(interface_index)];
    let answers = ask(RouteNetlinkMessage::GetRoute(question), NLM_F_ACK)?;
    let (mut source, mut next_hop) = (None, destination);
    if let Some(RouteNetlinkMessage::NewRoute(route)) = answers.into_iter().next() {
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Gateway(gateway) => next_hop = address(gateway).unwrap_or(next_hop),
                RouteAttribute::PrefSource(ours) => source = address(ours),
                _ => {}
            }
        }
    }
    Ok((source, next_hop))
}

/// The MAC that the kernel knows for a neighbour, if it may be used.
pub fn neighbour(interface_index: u32, wanted: IpAddr) -> io::Result<Option<[u8; 6]>> {
    let mut question = NeighbourMessage::default();
    question.header.family = family(wanted);
    for answer in ask(RouteNetlinkMessage::GetNeighbour(question), NLM_F_DUMP)? {
        let RouteNetlinkMessage::NewNeighbour(entry) = answer else { continue };
        use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
        let is_usable = matches!(entry.header.state, Reachable | Stale | Delay | Probe | Noarp | Permanent);
        let is_wanted = entry.attributes.iter().any(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => wanted == *address,
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => wanted == *address,
            _ => false,
        });
        if entry.header.ifindex != interface_index || !is_usable || !is_wanted {
            continue;
        }
        let mac = entry.attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => <[u8; 6]>::try_from(mac).ok(),
            _ => None,
        });
        if mac.is_some() {
            return Ok(mac);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_known_and_carries_no_program() {
        let loopback = link(1).unwrap().unwrap();
        assert_eq!((loopback.mac, loopback.program), ([0; 6], None));
        assert!(loopback.mtu > 1500);
    }

    #[test]
    fn an_interface_that_is_not_there_is_the_kernels_error() {
        assert_eq!(link(0x7fff_ffff).unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn the_loopback_is_reached_from_itself_and_has_no_neighbours() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            if let Ok(reached) = route(1, address) {
                assert_eq!(reached, (Some(address), address));
            }
            let mac = neighbour(1, address).unwrap();
            assert!(mac.is_none_or(|mac| mac == [0; 6]), "{mac:?}");
        }
    }
}
