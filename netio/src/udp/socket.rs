//! Opening and configuring the socket of a UDP port, and saying what the kernel granted. No datagrams here.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Type};

use super::sys;
use crate::filter::SourceRules;
use crate::port::{Endpoint, PortError};

/// UDP payload on an MTU of 1500, without IP fragments: over IPv4, and over IPv6 with its longer header.
const MAX_PAYLOAD_IPV4: usize = 1500 - 20 - 8;
const MAX_PAYLOAD_IPV6: usize = 1500 - 40 - 8;

/// Payloads a port can be set to: at least a MoldUDP64 header, at most what UDP can carry over IPv4.
const MAX_PAYLOAD_RANGE: std::ops::RangeInclusive<usize> = 20..=65_507;

/// How to open a UDP port.
#[derive(Debug, Clone)]
pub struct UdpOptions {
    /// Socket buffer sizes to ask for; `None` leaves the system's default.
    pub receive_buffer_bytes: Option<usize>,
    pub send_buffer_bytes: Option<usize>,
    /// Microseconds a receive call may busy-poll the device queue (`SO_BUSY_POLL`); needs a NIC with NAPI and a privilege.
    pub busy_poll_us: Option<u32>,
    /// Let several sockets bind the same port (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Longest payload; `None` takes what an MTU of 1500 leaves for the address family.
    pub max_payload: Option<usize>,
    /// Take bursts of a peer as one buffer from the kernel (`UDP_GRO`). Costs 4 MiB of buffers per port.
    ///
    /// Processor time per 100-byte datagram, sent and received on loopback (Linux 6.18, `examples/udp-offload-bench.rs`),
    /// in bursts of 64 / 4 / 1 to one peer: without either 3.2 / 3.2 / 4.8 us, `UDP_SEGMENT` alone 1.0 / 1.9 / 4.7, both
    /// 0.12 / 1.2 / 4.8. Received from 64 peers in turn, where nothing can be joined: 0.67 us without, 0.69 with.
    pub receive_offload: bool,
    /// Hand runs of equally long datagrams to a peer to the kernel as one (`UDP_SEGMENT`). Given up where a device cannot do it.
    pub send_offload: bool,
    /// Sources whose datagrams are dropped as they are received.
    pub rules: SourceRules,
}

impl Default for UdpOptions {
    fn default() -> Self {
        UdpOptions {
            receive_buffer_bytes: Some(4 * 1024 * 1024),
            send_buffer_bytes: Some(4 * 1024 * 1024),
            busy_poll_us: Some(50),
            reuse_port: false,
            max_payload: None,
            receive_offload: true,
            send_offload: true,
            rules: SourceRules::default(),
        }
    }
}

/// What the kernel made of [`UdpOptions`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpGranted {
    /// As the kernel reports them: twice what was asked for, its own bookkeeping included.
    pub receive_buffer_bytes: usize,
    pub send_buffer_bytes: usize,
    /// Microseconds of busy polling, or why there is none.
    pub busy_poll_us: Result<u32, String>,
}

pub(super) struct Socket {
    socket: socket2::Socket,
    local: Endpoint,
    is_ipv6: bool,
    max_payload: usize,
    granted: UdpGranted,
}

impl Socket {
    pub(super) fn bind(asked: Endpoint, options: &UdpOptions) -> Result<Self, PortError> {
        let address = asked.to_socket_address();
        let system = |operation| move |source| PortError::System { operation, local: asked, source };
        let is_ipv6 = address.is_ipv6();
        let default_payload = if is_ipv6 { MAX_PAYLOAD_IPV6 } else { MAX_PAYLOAD_IPV4 };
        let max_payload = options.max_payload.unwrap_or(default_payload);
        if !MAX_PAYLOAD_RANGE.contains(&max_payload) {
            let reason = format!(
                "max_payload is {max_payload}, it must be {} to {}",
                MAX_PAYLOAD_RANGE.start(),
                MAX_PAYLOAD_RANGE.end()
            );
            return Err(PortError::Setup { local: asked, reason });
        }
        let domain = if is_ipv6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket =
            socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(system("socket"))?;
        socket.set_nonblocking(true).map_err(system("set non-blocking"))?;
        if is_ipv6 {
            // Fails only where IPv4 is compiled out; then there is none to take.
            let _ = socket.set_only_v6(false);
        }
        if options.reuse_port {
            socket.set_reuse_port(true).map_err(system("set SO_REUSEPORT"))?;
        }
        socket.bind(&address.into()).map_err(system("bind"))?;
        let bound = socket.local_addr().map_err(system("getsockname"))?;
        let local = bound.as_socket().map_or(asked, Endpoint::from);
        let fd = socket.as_raw_fd();
        if local.is_unspecified() {
            sys::enable_packet_info(fd, is_ipv6).map_err(system("set PKTINFO"))?;
        }
        if options.receive_offload {
            sys::enable_receive_offload(fd).map_err(system("set UDP_GRO"))?;
        }
        let granted = grant(&socket, options).map_err(system("set socket buffers"))?;
        tracing::info!(
            %local,
            receive_buffer_bytes = granted.receive_buffer_bytes,
            send_buffer_bytes = granted.send_buffer_bytes,
            busy_poll_us = ?granted.busy_poll_us,
            max_payload,
            "UDP port open"
        );
        Ok(Socket { socket, local, is_ipv6, max_payload, granted })
    }

    pub(super) fn set_multicast(&self, interface: Ipv4Addr, ttl: u32) -> Result<(), PortError> {
        let set = if self.is_ipv6 {
            // The route to the group decides the interface of IPv6.
            self.socket.set_multicast_hops_v6(ttl).and_then(|()| self.socket.set_multicast_loop_v6(true))
        } else {
            self.socket
                .set_multicast_ttl_v4(ttl)
                .and_then(|()| self.socket.set_multicast_loop_v4(true))
                .and_then(|()| self.socket.set_multicast_if_v4(&interface))
        };
        set.map_err(|source| self.error("setting multicast options", source))
    }

    pub(super) fn local(&self) -> Endpoint {
        self.local
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    pub(super) fn max_payload(&self) -> usize {
        self.max_payload
    }

    pub(super) fn granted(&self) -> &UdpGranted {
        &self.granted
    }

    #[cold]
    pub(super) fn error(&self, operation: &'static str, source: io::Error) -> PortError {
        PortError::System { operation, local: self.local, source }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Sets what may be refused or cut down, and reads back what came of it.
fn grant(socket: &socket2::Socket, options: &UdpOptions) -> io::Result<UdpGranted> {
    let fd = socket.as_raw_fd();
    if let Some(bytes) = options.receive_buffer_bytes
        && sys::force_receive_buffer(fd, bytes).is_err()
    {
        // Without the privilege the kernel cuts it down to net.core.rmem_max.
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.send_buffer_bytes
        && sys::force_send_buffer(fd, bytes).is_err()
    {
        socket.set_send_buffer_size(bytes)?;
    }
    let busy_poll_us = match options.busy_poll_us {
        None => Err("not asked for".to_owned()),
        Some(microseconds) => {
            sys::set_busy_poll(fd, microseconds).map(|()| microseconds).map_err(|error| error.to_string())
        }
    };
    Ok(UdpGranted {
        receive_buffer_bytes: socket.recv_buffer_size()?,
        send_buffer_bytes: socket.send_buffer_size()?,
        busy_poll_us,
    })
}
