//! ICMP echo over IPv4, because not every machine has `ping`. One request, one answer, nothing measured.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

const REQUEST: u8 = 8;
const REPLY: u8 = 0;
const RAW: i32 = 3;
const IPV4_LENGTH: usize = 20;
/// Other ICMP that a raw socket may see before the answer.
const STRAYS_MAX: u32 = 16;

/// Sends one echo request from the calling thread's network namespace; needs root.
pub fn ping(address: IpAddr, timeout: Duration) -> io::Result<()> {
    let mut socket = Socket::new(Domain::IPV4, Type::from(RAW), Some(Protocol::ICMPV4))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(&SocketAddr::new(address, 0).into())?;
    let mut request = [REQUEST, 0, 0, 0, 0x50, 0x4c, 0, 1];
    let checksum = wire::net::internet_checksum(&request);
    request[2..4].copy_from_slice(&checksum.to_be_bytes());
    socket.write_all(&request)?;
    let mut answer = [0; 128];
    for _ in 0..STRAYS_MAX {
        let length = socket.read(&mut answer)?;
        let icmp = answer.get(IPV4_LENGTH..length).unwrap_or_default();
        if icmp.first() == Some(&REPLY) && icmp.get(4..8) == request.get(4..8) {
            return Ok(());
        }
    }
    Err(io::Error::from(io::ErrorKind::TimedOut))
}
