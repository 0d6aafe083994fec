//! The system calls of a UDP port that have no safe wrapper, and the structures they share with the kernel. No policy.
#![allow(unsafe_code)] // recvmmsg, sendmmsg, control messages and raw socket options.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_void};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::port::{Endpoint, is_link_local};

/// Room for the control messages of a datagram: a packet info (40 bytes with header) and one integer (24).
pub(super) const CONTROL_BYTES: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL_BYTES]);

/// A socket address of either family: IPv4's is shorter and lies at the front.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Name(libc::sockaddr_in6);

const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr_in6>());
const _: () = assert!(align_of::<libc::sockaddr_in>() <= align_of::<libc::sockaddr_in6>());

impl Name {
    /// Encodes for a socket of the given family: an IPv6 socket takes IPv4 as v4-mapped. Returns the length.
    #[inline]
    fn set(&mut self, endpoint: &Endpoint, is_ipv6: bool) -> libc::socklen_t {
        if !is_ipv6 && endpoint.is_ipv4() {
            let [.., a, b, c, d] = endpoint.address;
            let name = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: endpoint.port.to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([a, b, c, d]) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_in is no larger and no more aligned than the sockaddr_in6 it is written over (asserted
            // above), and both are plain integers, so either reading of the bytes is valid.
            unsafe { (&raw mut self.0).cast::<libc::sockaddr_in>().write(name) };
            return size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        let mut address = endpoint.address;
        let mut scope = 0;
        if is_link_local(&address) {
            scope = u32::from(u16::from_be_bytes([address[2], address[3]]));
            address[2..4].fill(0);
        }
        self.0 = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: endpoint.port.to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: address },
            sin6_scope_id: scope,
        };
        size_of::<libc::sockaddr_in6>() as libc::socklen_t
    }

    #[inline]
    fn get(&self) -> Endpoint {
        if c_int::from(self.0.sin6_family) == libc::AF_INET {
            // SAFETY: as in `set`; the family says that the kernel wrote a sockaddr_in.
            let name = unsafe { (&raw const self.0).cast::<libc::sockaddr_in>().read() };
            return Endpoint {
                address: mapped(name.sin_addr.s_addr.to_ne_bytes()),
                port: u16::from_be(name.sin_port),
            };
        }
        let mut address = self.0.sin6_addr.s6_addr;
        if is_link_local(&address) {
            let scope = u16::try_from(self.0.sin6_scope_id).unwrap_or(0);
            address[2..4].copy_from_slice(&scope.to_be_bytes());
        }
        Endpoint { address, port: u16::from_be(self.0.sin6_port) }
    }
}

#[inline]
fn mapped(ipv4: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = ipv4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Message headers with everything they point to. The vectors are never resized, so the pointers stay good when it moves.
pub(super) struct MessageHeaders {
    headers: Vec<libc::mmsghdr>,
    iovecs: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    buffers: Vec<u8>,
    stride: usize,
}

// SAFETY: the raw pointers in the headers and iovecs point into vectors owned by the same value, and are used only
// through `&mut self`.
unsafe impl Send for MessageHeaders {}

/// One received message.
pub(super) struct Incoming {
    pub remote: Endpoint,
    /// The address it was sent to, if the socket was asked to tell.
    pub local: Option<[u8; 16]>,
    pub length: usize,
    /// Length of each datagram that the kernel joined into this message, if it joined any.
    pub segment: Option<usize>,
    pub is_truncated: bool,
}

/// One message to send: the buffers `first..first + count`, of which all but the last are `length` long.
pub(super) struct Outgoing<'a> {
    pub first: usize,
    pub count: usize,
    pub lengths: &'a [usize],
    pub remote: &'a Endpoint,
    /// Source address to send from, if it is not for the kernel to choose.
    pub local: Option<[u8; 16]>,
    pub is_ipv6: bool,
}

impl MessageHeaders {
    pub(super) fn new(count: usize, stride: usize) -> Self {
        // SAFETY: all of these are C structures of integers and pointers, for which zero is a valid value.
        let (header, iovec, name): (libc::mmsghdr, libc::iovec, libc::sockaddr_in6) =
            unsafe { (zeroed(), zeroed(), zeroed()) };
        MessageHeaders {
            headers: vec![header; count],
            iovecs: vec![iovec; count],
            names: vec![Name(name); count],
            controls: vec![Control([0; CONTROL_BYTES]); count],
            buffers: vec![0; count * stride],
            stride,
        }
    }

    #[inline]
    pub(super) fn bytes(&self, index: usize, offset: usize, length: usize) -> &[u8] {
        let start = index * self.stride + offset;
        &self.buffers[start..start + length]
    }

    #[inline]
    pub(super) fn buffer_mut(&mut self, index: usize) -> &mut [u8] {
        let start = index * self.stride;
        &mut self.buffers[start..start + self.stride]
    }

    /// Makes message `index` ready to be received into.
    #[inline]
    pub(super) fn prepare_receive(&mut self, index: usize) {
        let iovec = &mut self.iovecs[index];
        iovec.iov_base = self.buffers[index * self.stride..].as_mut_ptr().cast();
        iovec.iov_len = self.stride;
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = (&raw mut self.names[index]).cast();
        header.msg_namelen = size_of::<Name>() as libc::socklen_t;
        header.msg_iov = iovec;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut self.controls[index]).cast();
        header.msg_controllen = CONTROL_BYTES;
        header.msg_flags = 0;
    }

    /// Receives into messages `0..count`, all of which have been prepared. Returns how many were.
    #[inline]
    pub(super) fn receive(&mut self, fd: RawFd, count: usize) -> io::Result<usize> {
        let count = count.min(self.headers.len());
        // SAFETY: the first `count` headers were filled by `prepare_receive` with pointers into vectors of this value, with
        // the lengths that are there; the kernel writes within them, and nothing else refers to them during the call.
        let received = unsafe {
            libc::recvmmsg(
                fd,
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if received < 0 { Err(io::Error::last_os_error()) } else { Ok(received as usize) }
    }

    /// Reads what the kernel wrote about message `index`.
    #[inline]
    pub(super) fn incoming(&self, index: usize) -> Incoming {
        let header = &self.headers[index];
        let mut incoming = Incoming {
            remote: self.names[index].get(),
            local: None,
            length: (header.msg_len as usize).min(self.stride),
            segment: None,
            is_truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
        if header.msg_hdr.msg_controllen > 0 {
            read_control(&header.msg_hdr, &mut incoming);
        }
        incoming
    }

    /// Describes message `index`, whose content lies in the buffers that `outgoing` names.
    #[inline]
    pub(super) fn prepare_send(&mut self, index: usize, outgoing: &Outgoing<'_>) {
        for buffer in outgoing.first..outgoing.first + outgoing.count {
            self.iovecs[buffer].iov_base = self.buffers[buffer * self.stride..].as_mut_ptr().cast();
            self.iovecs[buffer].iov_len = outgoing.lengths[buffer];
        }
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = self.names[index].set(outgoing.remote, outgoing.is_ipv6);
        header.msg_name = (&raw mut self.names[index]).cast();
        header.msg_iov = &raw mut self.iovecs[outgoing.first];
        header.msg_iovlen = outgoing.count;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        header.msg_flags = 0;
        if outgoing.local.is_some() || outgoing.count > 1 {
            header.msg_control = (&raw mut self.controls[index]).cast();
            let mut used = 0;
            if let Some(local) = outgoing.local {
                used += write_packet_info(header, local, outgoing.is_ipv6);
            }
            if outgoing.count > 1 {
                let segment = outgoing.lengths[outgoing.first] as u16;
                used += write_control(header, used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment);
            }
            header.msg_controllen = used;
        }
    }

    /// Sends messages `first..first + count`, all of which have been prepared. Returns how many left.
    #[inline]
    pub(super) fn send(&mut self, fd: RawFd, first: usize, count: usize) -> io::Result<usize> {
        let headers = &mut self.headers[first..first + count];
        // SAFETY: these headers were filled by `prepare_send` with pointers into vectors of this value and lengths within
        // them; the kernel reads them, writes only msg_len, and nothing else refers to them during the call.
        let sent = unsafe {
            libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as libc::c_uint, libc::MSG_DONTWAIT)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

/// Reads the control messages of a received message.
#[inline]
fn read_control(header: &libc::msghdr, incoming: &mut Incoming) {
    // SAFETY: msg_control points to CONTROL_BYTES aligned bytes of which the kernel filled msg_controllen; the CMSG macros stay
    // within that, and each value is read unaligned, no longer than the kernel wrote for its type.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            let data = libc::CMSG_DATA(at);
            match ((*at).cmsg_level, (*at).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // spec_dst, not addr: for a multicast datagram it is an address that can be answered from.
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    incoming.local = Some(mapped(info.ipi_spec_dst.s_addr.to_ne_bytes()));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    incoming.local = Some(info.ipi6_addr.s6_addr);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = data.cast::<c_int>().read_unaligned();
                    incoming.segment = usize::try_from(segment).ok().filter(|&segment| segment > 0);
                }
                _ => {}
            }
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}

fn write_packet_info(header: &mut libc::msghdr, local: [u8; 16], is_ipv6: bool) -> usize {
    if is_ipv6 {
        let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local }, ipi6_ifindex: 0 };
        write_control(header, 0, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)
    } else {
        let [.., a, b, c, d] = local;
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes([a, b, c, d]) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        write_control(header, 0, libc::IPPROTO_IP, libc::IP_PKTINFO, &info)
    }
}

/// Writes one control message at `offset` of the header's control area. Returns the space it takes.
fn write_control<T: Copy>(
    header: &libc::msghdr,
    offset: usize,
    level: c_int,
    kind: c_int,
    value: &T,
) -> usize {
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, length) = unsafe {
        (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize)
    };
    if offset + space > CONTROL_BYTES {
        debug_assert!(false, "control area is sized for all that is written");
        return 0;
    }
    // SAFETY: msg_control points to CONTROL_BYTES bytes aligned to 8, `offset` is a sum of CMSG_SPACEs and so aligned, and
    // the message fits as checked above; CMSG_DATA lies within its space.
    unsafe {
        let at = header.msg_control.cast::<u8>().add(offset).cast::<libc::cmsghdr>();
        (*at).cmsg_level = level;
        (*at).cmsg_type = kind;
        (*at).cmsg_len = length as _;
        libc::CMSG_DATA(at).cast::<T>().write_unaligned(*value);
    }
    space
}

fn set_option<T>(fd: RawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let length = size_of_val(value) as libc::socklen_t;
    // SAFETY: `value` is a live reference to `length` bytes, which the kernel only reads.
    let result =
        unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast::<c_void>(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn clamp_to_int(bytes: usize) -> c_int {
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// Asks for the destination address of each datagram.
pub(super) fn enable_packet_info(fd: RawFd, is_ipv6: bool) -> io::Result<()> {
    let on: c_int = 1;
    if is_ipv6 {
        // Covers IPv4 datagrams on an IPv6 socket too, with v4-mapped addresses.
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &on)
    } else {
        set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, &on)
    }
}

pub(super) fn enable_receive_offload(fd: RawFd) -> io::Result<()> {
    let on: c_int = 1;
    set_option(fd, libc::SOL_UDP, libc::UDP_GRO, &on)
}

pub(super) fn force_receive_buffer(fd: RawFd, bytes: usize) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &clamp_to_int(bytes))
}

pub(super) fn force_send_buffer(fd: RawFd, bytes: usize) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &clamp_to_int(bytes))
}

pub(super) fn set_busy_poll(fd: RawFd, microseconds: u32) -> io::Result<()> {
    let microseconds = c_int::try_from(microseconds).unwrap_or(c_int::MAX);
    set_option(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &microseconds)
}

/// Datagrams the socket dropped for want of buffer space, as the kernel counts them; 0 if it will not say.
pub(super) fn socket_drops(fd: RawFd) -> u64 {
    let mut values = [0u32; 16];
    let mut length = size_of_val(&values) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `values` and the length it used to `length`.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast::<c_void>(),
            &raw mut length,
        )
    };
    if result == 0 { u64::from(values[libc::SK_MEMINFO_DROPS as usize]) } else { 0 }
}

/// Waits until the socket is readable (or writable, if asked), or `timeout` has passed. Signals end the wait early.
pub(super) fn poll(fd: RawFd, writable: bool, timeout: Duration) -> io::Result<()> {
    let mut interest = PollFlags::POLLIN;
    if writable {
        interest |= PollFlags::POLLOUT;
    }
    // SAFETY: the caller owns the descriptor and keeps it open during the call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match ppoll(&mut [PollFd::new(fd, interest)], Some(TimeSpec::from_duration(timeout)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
