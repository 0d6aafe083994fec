//! Socket options of AF_XDP that xsk-rs does not have, and the two ethtool questions asked before a bind. No state.
#![allow(unsafe_code)] // getsockopt, setsockopt and ioctl with structures that no safe crate knows.

use std::{
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// linux/if_xdp.h
const SOL_XDP: libc::c_int = 283;
const XDP_OPTIONS: libc::c_int = 8;
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;
const XDP_OPTIONS_ZEROCOPY: u32 = 1;
/// asm-generic/socket.h
const SO_BUSY_POLL: libc::c_int = 46;
const SO_PREFER_BUSY_POLL: libc::c_int = 69;
const SO_BUSY_POLL_BUDGET: libc::c_int = 70;
/// linux/sockios.h, linux/ethtool.h
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GRINGPARAM: u32 = 0x10;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

/// Lets the thread that polls the ring also run the driver's receive work. It is for zero-copy NICs: on veth it gained nothing
/// and cost 20 to 40% of the throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one call may poll the driver.
    pub microseconds: u32,
    /// Packets one call may take.
    pub budget: u32,
}

impl Default for BusyPoll {
    /// The values of DPDK's AF_XDP driver and the kernel's own benchmark.
    fn default() -> Self {
        Self { microseconds: 20, budget: 64 }
    }
}

fn set(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: u32) -> io::Result<()> {
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the value is a u32 that lives through the call, as `length` says.
    let outcome =
        unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub fn set_busy_poll(fd: BorrowedFd<'_>, busy_poll: BusyPoll) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, 1)?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL, busy_poll.microseconds)?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, busy_poll.budget)
}

/// Copy mode sends at most 32 packets per call unless told otherwise (Linux 6.16).
pub fn set_transmit_budget(fd: BorrowedFd<'_>, packets: u32) -> io::Result<()> {
    set(fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, packets)
}

/// What the kernel really gave: zero-copy or not.
pub fn is_zero_copy(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut flags = 0u32;
    let mut length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `length` bytes, which `flags` has.
    let outcome = unsafe {
        libc::getsockopt(fd.as_raw_fd(), SOL_XDP, XDP_OPTIONS, (&raw mut flags).cast(), &raw mut length)
    };
    if outcome == 0 { Ok(flags & XDP_OPTIONS_ZEROCOPY != 0) } else { Err(io::Error::last_os_error()) }
}

/// `struct ifreq` with the pointer member of its union, padded to the union's size.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    padding: [u8; 16],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());

/// `N` words: the command, then what the kernel answers.
fn ethtool<const N: usize>(interface: &str, command: u32) -> io::Result<[u32; N]> {
    let mut words = [0; N];
    words[0] = command;
    let mut request =
        InterfaceRequest { name: [0; libc::IFNAMSIZ], data: words.as_mut_ptr().cast(), padding: [0; 16] };
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    request.name[..interface.len()].copy_from_slice(interface.as_bytes());
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: the request has the size and layout of `struct ifreq`; its pointer leads to `words`, which is as long as the
    // structure of the command (the callers' N) and outlives the call.
    let outcome = unsafe { libc::ioctl(any.as_fd().as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if outcome == 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
}

/// How many receive queues the interface has in use; `None` when the driver does not tell.
pub fn receive_queues(interface: &str) -> Option<u32> {
    // struct ethtool_channels: command, four maxima (rx, tx, other, combined), the four counts in use.
    let words = ethtool::<9>(interface, ETHTOOL_GCHANNELS).ok()?;
    Some(words[5] + words[8]).filter(|count| *count > 0)
}

/// The depth of the NIC's receive ring; `None` for devices that have none.
pub fn receive_ring_depth(interface: &str) -> Option<u32> {
    // struct ethtool_ringparam: command, four maxima (rx, mini, jumbo, tx), the four sizes in use.
    let words = ethtool::<9>(interface, ETHTOOL_GRINGPARAM).ok()?;
    Some(words[5]).filter(|depth| *depth > 0)
}
