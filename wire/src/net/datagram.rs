//! A whole frame that carries one UDP datagram: taking it apart, putting it together, its checksum.

use super::addresses::Addresses;
use super::checksum;
use super::ethernet::{ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHERNET_LENGTH, Ethernet, Mac, Vlan};
use super::ip::{Ipv4, Ipv6};
use super::udp::{UDP_LENGTH, Udp};
use crate::DecodeError;
use std::ops::Range;

/// Everything in front of the payload, without lengths and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub destination_mac: Mac,
    pub source_mac: Mac,
    pub vlan: Vlan,
    pub addresses: Addresses,
    pub source_port: u16,
    pub destination_port: u16,
}

/// What to put into the UDP checksum field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumMode {
    /// 0, "none": legal over IPv4 only.
    Zero,
    /// The pseudo-header's sum, for a device that adds the rest.
    Partial,
    /// The checksum, over the payload that already stands behind the headers.
    Full,
}

impl Headers {
    /// Bytes from the start of the frame to the payload.
    #[inline]
    pub fn length(&self) -> usize {
        ETHERNET_LENGTH + self.vlan.length() + self.addresses.header_length() + UDP_LENGTH
    }

    /// The headers of an answer.
    #[inline]
    pub fn reply(&self) -> Headers {
        Headers {
            destination_mac: self.source_mac,
            source_mac: self.destination_mac,
            vlan: self.vlan,
            addresses: self.addresses.swapped(),
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Writes the headers in front of a payload that stands, or will stand, at [`length`](Self::length).
    /// Returns the length of the frame, or 0 when it does not fit into `frame` or into the 16-bit lengths.
    #[inline]
    pub fn write(&self, frame: &mut [u8], payload_length: usize, mode: ChecksumMode) -> usize {
        let Some(frame_length) = self.length().checked_add(payload_length) else { return 0 };
        let Some(frame) = frame.get_mut(..frame_length) else { return 0 };
        let Ok(udp_length) = u16::try_from(UDP_LENGTH + payload_length) else { return 0 };
        let ether_type = match self.addresses {
            Addresses::V4 { .. } => ETHER_TYPE_IPV4,
            Addresses::V6 { .. } => ETHER_TYPE_IPV6,
        };
        let ethernet = Ethernet {
            destination: self.destination_mac,
            source: self.source_mac,
            vlan: self.vlan,
            ether_type,
        };
        let written = ethernet.write(frame);
        let (_, packet) = frame.split_at_mut(written);
        let written = match self.addresses {
            Addresses::V4 { source, destination } => {
                Ipv4 { source, destination, payload_length: udp_length }.write(packet)
            }
            Addresses::V6 { source, destination } => {
                Ipv6 { source, destination, payload_length: udp_length }.write(packet)
            }
        };
        if written == 0 {
            return 0;
        }
        let (_, datagram) = packet.split_at_mut(written);
        let checksum = match mode {
            ChecksumMode::Zero => 0,
            ChecksumMode::Partial => checksum::pseudo_header_sum(&self.addresses, udp_length),
            ChecksumMode::Full => self.checksum(&datagram[UDP_LENGTH..], udp_length),
        };
        let (source_port, destination_port) = (self.source_port, self.destination_port);
        Udp { source_port, destination_port, length: udp_length, checksum }.write(datagram);
        frame_length
    }

    #[inline]
    fn checksum(&self, payload: &[u8], udp_length: u16) -> u16 {
        let header =
            [self.source_port, self.destination_port, udp_length].into_iter().map(u64::from).sum::<u64>();
        let pseudo = u64::from(checksum::pseudo_header_sum(&self.addresses, udp_length));
        match !checksum::sum(payload, checksum::fold(header + pseudo)) {
            // 0 would mean "none", so it is sent as its other representation (RFC 768).
            0 => 0xFFFF,
            checksum => checksum,
        }
    }
}

/// What the UDP checksum field of a received datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumState {
    /// The datagram's checksum.
    Valid,
    /// 0, "none": legal over IPv4 only.
    Zero,
    /// The pseudo-header's sum, not complemented: the sender left the rest to a device that never came, as on veth.
    Partial,
    /// Anything else: the datagram was damaged.
    Wrong,
}

/// Where everything is in a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub headers: Headers,
    checksum: u16,
    payload_offset: usize,
    payload_length: usize,
}

impl Datagram {
    /// Takes one frame as a network card delivers it, without frame check sequence, padding allowed.
    /// The IPv4 header checksum is verified; the UDP checksum is not, see [`checksum_state`](Self::checksum_state).
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Datagram, DecodeError> {
        let (ethernet, packet) = Ethernet::read(frame)?;
        let (addresses, datagram) = match ethernet.ether_type {
            ETHER_TYPE_IPV4 => {
                let (ip, datagram) = Ipv4::read(packet)?;
                (Addresses::V4 { source: ip.source, destination: ip.destination }, datagram)
            }
            ETHER_TYPE_IPV6 => {
                let (ip, datagram) = Ipv6::read(packet)?;
                (Addresses::V6 { source: ip.source, destination: ip.destination }, datagram)
            }
            found => return Err(DecodeError::Unsupported { what: "EtherType", found }),
        };
        let (udp, payload) = Udp::read(datagram)?;
        let headers = Headers {
            destination_mac: ethernet.destination,
            source_mac: ethernet.source,
            vlan: ethernet.vlan,
            addresses,
            source_port: udp.source_port,
            destination_port: udp.destination_port,
        };
        Ok(Datagram {
            headers,
            checksum: udp.checksum,
            payload_offset: headers.length(),
            payload_length: payload.len(),
        })
    }

    /// Where the payload is in the frame.
    #[inline]
    pub fn payload_range(&self) -> Range<usize> {
        self.payload_offset..self.payload_offset + self.payload_length
    }

    /// The payload of the frame that was parsed; empty for a frame that is too short to be that one.
    #[inline]
    pub fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.payload_range()).unwrap_or(&[])
    }

    /// Judges the UDP checksum. Reads the whole datagram, so it is not part of [`parse`](Self::parse): a card may have
    /// verified it already. `frame` is the frame that was parsed.
    #[inline]
    pub fn checksum_state(&self, frame: &[u8]) -> ChecksumState {
        if self.checksum == 0 {
            return ChecksumState::Zero;
        }
        let start = self.payload_offset - UDP_LENGTH;
        let datagram = frame.get(start..self.payload_range().end).unwrap_or(&[]);
        let pseudo =
            checksum::pseudo_header_sum(&self.headers.addresses, (UDP_LENGTH + self.payload_length) as u16);
        if checksum::sum(datagram, pseudo) == 0xFFFF {
            ChecksumState::Valid
        } else if self.checksum == pseudo {
            ChecksumState::Partial
        } else {
            ChecksumState::Wrong
        }
    }
}
