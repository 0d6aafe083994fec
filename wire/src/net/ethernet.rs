//! Ethernet II with up to two VLAN tags (IEEE 802.1Q, 802.1ad); not IEEE 802.3 lengths.

use crate::DecodeError;
use crate::message_macro::{read, write};

/// A hardware address.
pub type Mac = [u8; 6];

/// Bytes of destination, source and EtherType.
pub const ETHERNET_LENGTH: usize = 14;
/// Bytes that one VLAN tag adds.
pub const VLAN_TAG_LENGTH: usize = 4;
/// More tags than this are refused.
pub const MAX_VLAN_TAGS: usize = 2;

pub const ETHER_TYPE_IPV4: u16 = 0x0800;
pub const ETHER_TYPE_IPV6: u16 = 0x86DD;
/// 802.1Q: the only or the inner tag.
pub const ETHER_TYPE_VLAN: u16 = 0x8100;
/// 802.1ad: the outer tag of two ("QinQ").
pub const ETHER_TYPE_QINQ: u16 = 0x88A8;

/// One VLAN tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// [`ETHER_TYPE_VLAN`] or [`ETHER_TYPE_QINQ`].
    pub protocol: u16,
    /// 3 bits priority, 1 bit drop eligible, 12 bits VLAN identifier.
    pub control: u16,
}

impl VlanTag {
    /// The VLAN identifier, without priority.
    #[inline]
    pub fn identifier(&self) -> u16 {
        self.control & 0x0FFF
    }
}

/// The VLAN tags of a frame, outermost first; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vlan {
    // A tag whose protocol is 0 is absent; an absent tag is all zero and has only absent ones after it.
    tags: [VlanTag; MAX_VLAN_TAGS],
}

impl Vlan {
    /// No tag.
    pub const NONE: Vlan = Vlan { tags: [VlanTag { protocol: 0, control: 0 }; MAX_VLAN_TAGS] };

    /// One 802.1Q tag.
    pub const fn single(control: u16) -> Vlan {
        Vlan { tags: [VlanTag { protocol: ETHER_TYPE_VLAN, control }, VlanTag { protocol: 0, control: 0 }] }
    }

    /// An 802.1ad tag around an 802.1Q tag.
    pub const fn double(outer: u16, inner: u16) -> Vlan {
        Vlan {
            tags: [
                VlanTag { protocol: ETHER_TYPE_QINQ, control: outer },
                VlanTag { protocol: ETHER_TYPE_VLAN, control: inner },
            ],
        }
    }

    /// The tags given, outermost first: the first whose protocol is 0 and all after it are absent.
    #[inline]
    pub fn new(tags: [VlanTag; MAX_VLAN_TAGS]) -> Vlan {
        let mut vlan = Vlan::NONE;
        for (to, from) in vlan.tags.iter_mut().zip(tags).take_while(|(_, from)| from.protocol != 0) {
            *to = from;
        }
        vlan
    }

    /// The tags, outermost first.
    #[inline]
    pub fn tags(&self) -> &[VlanTag] {
        let count = self.tags.iter().take_while(|tag| tag.protocol != 0).count();
        &self.tags[..count]
    }

    /// Bytes that the tags add to a frame.
    #[inline]
    pub fn length(&self) -> usize {
        self.tags().len() * VLAN_TAG_LENGTH
    }
}

/// An Ethernet II header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    pub destination: Mac,
    pub source: Mac,
    pub vlan: Vlan,
    /// What follows the tags; never a VLAN tag's own EtherType.
    pub ether_type: u16,
}

impl Ethernet {
    /// The header at the front of `frame`, and the bytes after it (with the padding of a short frame).
    #[inline]
    pub fn read(frame: &[u8]) -> Result<(Ethernet, &[u8]), DecodeError> {
        let too_short = |need| DecodeError::TooShort { what: "Ethernet header", need, got: frame.len() };
        let Some((header, mut rest)) = frame.split_first_chunk::<ETHERNET_LENGTH>() else {
            return Err(too_short(ETHERNET_LENGTH));
        };
        let mut vlan = Vlan::NONE;
        let mut ether_type = u16::from_be_bytes(read::<12, 2, _>(header));
        for tag in &mut vlan.tags {
            if !is_vlan(ether_type) {
                break;
            }
            let Some((next, after)) = rest.split_first_chunk::<VLAN_TAG_LENGTH>() else {
                return Err(too_short(frame.len() - rest.len() + VLAN_TAG_LENGTH));
            };
            *tag = VlanTag { protocol: ether_type, control: u16::from_be_bytes(read::<0, 2, _>(next)) };
            ether_type = u16::from_be_bytes(read::<2, 2, _>(next));
            rest = after;
        }
        if is_vlan(ether_type) {
            return Err(DecodeError::Unsupported { what: "third VLAN tag", found: ether_type });
        }
        let (destination, source) = (read::<0, 6, _>(header), read::<6, 6, _>(header));
        Ok((Ethernet { destination, source, vlan, ether_type }, rest))
    }

    /// Returns the header's length, or 0 when `out` is shorter.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some((header, mut rest)) = out.split_first_chunk_mut::<ETHERNET_LENGTH>() else { return 0 };
        write::<0, 6, _>(header, self.destination);
        write::<6, 6, _>(header, self.source);
        let tags = self.vlan.tags();
        let first = tags.first().map_or(self.ether_type, |tag| tag.protocol);
        write::<12, 2, _>(header, first.to_be_bytes());
        for (index, tag) in tags.iter().enumerate() {
            let Some((next, after)) = rest.split_first_chunk_mut::<VLAN_TAG_LENGTH>() else { return 0 };
            let inner = tags.get(index + 1).map_or(self.ether_type, |tag| tag.protocol);
            write::<0, 2, _>(next, tag.control.to_be_bytes());
            write::<2, 2, _>(next, inner.to_be_bytes());
            rest = after;
        }
        ETHERNET_LENGTH + self.vlan.length()
    }
}

#[inline]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == ETHER_TYPE_VLAN || ether_type == ETHER_TYPE_QINQ
}
