//! The little of rtnetlink that is needed: ask a question, read the answers' attributes. Cold path only; it allocates freely.
use std::{
    io::{self, Error, ErrorKind},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::{
    socket::{self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt},
    time::{TimeVal, TimeValLike},
};

/// `struct nlmsghdr`: length, type, flags, sequence, port.
const HEADER_LENGTH: usize = 16;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
/// Ask for all objects of the kind.
pub const FLAG_DUMP: u16 = 0x300;
/// NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of an attribute's type.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;

/// The kernel cuts dumps into messages of at most 32 KiB.
const BUFFER_LENGTH: usize = 64 * 1024;
/// A neighbour table larger than this is not one that this host should have.
const MESSAGES_MAX: usize = 65_536;
const TIMEOUT_MS: i64 = 2_000;

const GETLINK: u16 = 18;
const IFF_UP: u32 = 1;
const IFLA_ADDRESS: u16 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
/// `struct ifinfomsg`
const INTERFACE_HEADER_LENGTH: usize = 16;

/// One answer: its type and everything after the header.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u16,
    pub body: Vec<u8>,
}

/// Sends one request and returns all that answers it. An error of the kernel's is returned as such.
pub fn ask(kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Message>> {
    let socket = socket::socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(TIMEOUT_MS))?;
    // A dump ends with DONE by itself; anything else is made to end with an acknowledgement.
    let ack = if flags & FLAG_DUMP == 0 { FLAG_ACK } else { 0 };
    let mut request = Vec::with_capacity(HEADER_LENGTH + body.len());
    let length =
        u32::try_from(HEADER_LENGTH + body.len()).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(FLAG_REQUEST | ack | flags).to_ne_bytes());
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(body);
    socket::sendto(socket.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    answers(&socket)
}

fn answers(socket: &OwnedFd) -> io::Result<Vec<Message>> {
    let mut messages = Vec::new();
    let mut buffer = vec![0; BUFFER_LENGTH];
    loop {
        let length = socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if split(buffer.get(..length).unwrap_or_default(), &mut messages)? {
            return Ok(messages);
        }
        if length == 0 || messages.len() > MESSAGES_MAX {
            return Err(Error::from(ErrorKind::InvalidData));
        }
    }
}

/// Appends the messages of one datagram; true when it ended the answer.
fn split(mut datagram: &[u8], messages: &mut Vec<Message>) -> io::Result<bool> {
    while let Some(header) = datagram.first_chunk::<HEADER_LENGTH>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = datagram.get(HEADER_LENGTH..length) else {
            return Err(Error::from(ErrorKind::InvalidData));
        };
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return if code == 0 { Ok(true) } else { Err(Error::from_raw_os_error(-code)) };
            }
            _ => messages.push(Message { kind, body: body.to_vec() }),
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Appends one attribute, padded.
pub fn push_attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    // Attributes written here are addresses and indices of a few bytes.
    let length = (ATTRIBUTE_HEADER_LENGTH + value.len()) as u16;
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`, ending at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<ATTRIBUTE_HEADER_LENGTH>()?;
        let length = u16::from_ne_bytes([header[0], header[1]]) as usize;
        let kind = u16::from_ne_bytes([header[2], header[3]]) & ATTRIBUTE_TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER_LENGTH..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
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
    let mut body = vec![0; INTERFACE_HEADER_LENGTH];
    body[4..8].copy_from_slice(&interface_index.to_ne_bytes());
    let answer = ask(GETLINK, 0, &body)?;
    let Some((header, rest)) =
        answer.first().and_then(|link| link.body.split_first_chunk::<INTERFACE_HEADER_LENGTH>())
    else {
        return Ok(None);
    };
    let flags = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let mut interface = Interface { is_up: flags & IFF_UP != 0, ..Interface::default() };
    for (kind, value) in attributes(rest) {
        match kind {
            IFLA_ADDRESS => interface.mac = value.try_into().unwrap_or_default(),
            IFLA_MTU => interface.mtu = value.first_chunk().map_or(0, |mtu| u32::from_ne_bytes(*mtu)),
            IFLA_XDP => interface.program = attached(value),
            _ => {}
        }
    }
    Ok(Some(interface))
}

fn attached(xdp: &[u8]) -> Option<Attached> {
    let mut mode = "unknown mode";
    let mut program_id = None;
    for (kind, value) in attributes(xdp) {
        match kind {
            IFLA_XDP_ATTACHED => {
                mode = match value.first() {
                    Some(1) => "native",
                    Some(2) => "generic",
                    Some(3) => "offloaded",
                    Some(4) => "several modes",
                    _ => mode,
                }
            }
            IFLA_XDP_PROG_ID | IFLA_XDP_DRV_PROG_ID | IFLA_XDP_SKB_PROG_ID => {
                program_id = program_id.or(value.first_chunk().map(|id| u32::from_ne_bytes(*id)));
            }
            _ => {}
        }
    }
    program_id.filter(|id| *id != 0).map(|program_id| Attached { program_id, mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_as_they_were_pushed() {
        let mut body = Vec::new();
        push_attribute(&mut body, 1, &[1, 2, 3]);
        push_attribute(&mut body, 2, &[]);
        push_attribute(&mut body, 0x8003, &[4; 16]);
        let read: Vec<_> = attributes(&body).collect();
        assert_eq!(read, [(1, &[1u8, 2, 3][..]), (2, &[][..]), (3, &[4; 16][..])]);
    }

    #[test]
    fn cut_or_lying_attributes_end_the_list() {
        let mut body = Vec::new();
        push_attribute(&mut body, 1, &[1, 2, 3, 4]);
        for length in 0..body.len() {
            assert_eq!(attributes(&body[..length]).count(), 0);
        }
        body[0] = 2;
        assert_eq!(attributes(&body).count(), 0);
    }

    #[test]
    fn a_cut_message_is_an_error_not_a_panic() {
        let mut messages = Vec::new();
        let mut datagram = vec![0u8; 16];
        datagram[0] = 200;
        assert!(split(&datagram, &mut messages).is_err());
        datagram[0] = 3;
        assert!(split(&datagram, &mut messages).is_err());
    }

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
}
