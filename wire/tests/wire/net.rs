//! Frames: VLAN tags, IPv4, IPv6, UDP, checksums in every state, and each thing that is refused, by name.

use crate::{property, table};
use proptest::prelude::*;
use wire::DecodeError;
use wire::net::checksum::{add, pseudo_header_sum, sum, update};
use wire::net::{
    Addresses, ChecksumMode, ChecksumState, Datagram, Ethernet, Headers, MAX_HEADERS_LENGTH, Vlan,
    internet_checksum,
};

const V4: Addresses = Addresses::V4 { source: [10, 0, 0, 1], destination: [10, 0, 0, 2] };
const V6: Addresses = Addresses::V6 {
    source: [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    destination: [0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
};

fn headers(vlan: Vlan, addresses: Addresses) -> Headers {
    Headers {
        destination_mac: [2, 0, 0, 0, 0, 2],
        source_mac: [2, 0, 0, 0, 0, 1],
        vlan,
        addresses,
        source_port: 40_000,
        destination_port: 9_000,
    }
}

fn frame_of(headers: &Headers, payload: &[u8], mode: ChecksumMode) -> Vec<u8> {
    let mut frame = vec![0; headers.length() + payload.len()];
    frame[headers.length()..].copy_from_slice(payload);
    let length = headers.write(&mut frame, payload.len(), mode);
    assert_eq!(length, frame.len());
    frame
}

/// An untagged IPv4 frame: Ethernet 0..14, IPv4 14..34, UDP 34..42, payload.
fn ipv4_frame() -> Vec<u8> {
    frame_of(&headers(Vlan::NONE, V4), b"hello world", ChecksumMode::Full)
}

/// An untagged IPv6 frame: Ethernet 0..14, IPv6 14..54, UDP 54..62, payload.
fn ipv6_frame() -> Vec<u8> {
    frame_of(&headers(Vlan::NONE, V6), b"hello world", ChecksumMode::Full)
}

/// `frame` with some bytes changed and the IPv4 header checksum right again.
fn changed(mut frame: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, value) in changes {
        frame[*at] = *value;
    }
    if frame[12..14] == [8, 0] {
        frame[24..26].fill(0);
        let checksum = internet_checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

fn unsupported(what: &'static str, found: u16) -> Result<Datagram, DecodeError> {
    Err(DecodeError::Unsupported { what, found })
}

#[test]
fn an_ipv4_frame_has_the_bytes_of_the_standards() {
    let mut expected = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    expected.extend([0x45, 0, 0, 39, 0, 0, 0x40, 0, 64, 17, 0x26, 0xC4, 10, 0, 0, 1, 10, 0, 0, 2]);
    expected.extend([0x9C, 0x40, 0x23, 0x28, 0, 19, 0, 0]);
    expected.extend(b"hello world");
    assert_eq!(frame_of(&headers(Vlan::NONE, V4), b"hello world", ChecksumMode::Zero), expected);
}

#[test]
fn every_combination_of_tags_and_addresses_parses_back() {
    for vlan in [Vlan::NONE, Vlan::single(0x6064), Vlan::double(100, 200)] {
        for addresses in [V4, V6] {
            for payload in [&b""[..], b"x", &[0xA5; 1400]] {
                let headers = headers(vlan, addresses);
                let mut frame = frame_of(&headers, payload, ChecksumMode::Full);
                let datagram = Datagram::parse(&frame).unwrap();
                assert_eq!(datagram.headers, headers);
                assert_eq!(datagram.payload(&frame), payload);
                assert_eq!(datagram.checksum_state(&frame), ChecksumState::Valid);
                assert!(datagram.payload_range().start <= MAX_HEADERS_LENGTH);
                frame.extend([0; 18]);
                let padded = Datagram::parse(&frame).unwrap();
                assert_eq!(padded, datagram, "padding is not part of the datagram");
                assert_eq!(padded.checksum_state(&frame), ChecksumState::Valid);
                assert_eq!(headers.reply().reply(), headers);
                assert_eq!(headers.reply().destination_port, 40_000);
            }
        }
    }
}

#[test]
fn tags_keep_their_protocol_order_and_priority() {
    let frame = frame_of(&headers(Vlan::double(0xA064, 200), V4), b"", ChecksumMode::Zero);
    assert_eq!(frame[12..22], [0x88, 0xA8, 0xA0, 0x64, 0x81, 0, 0, 200, 8, 0]);
    let vlan = Datagram::parse(&frame).unwrap().headers.vlan;
    assert_eq!(vlan.tags().iter().map(|tag| tag.identifier()).collect::<Vec<_>>(), [100, 200]);
    assert_eq!(vlan.tags()[0].control >> 13, 5, "priority");
    let two_8021q = changed(frame, &[(12, 0x81), (13, 0)]);
    assert_eq!(Datagram::parse(&two_8021q).unwrap().headers.vlan.tags()[0].protocol, 0x8100);
}

#[test]
fn a_third_tag_and_other_ether_types_are_refused_by_name() {
    let mut frame = frame_of(&headers(Vlan::double(1, 2), V4), b"", ChecksumMode::Zero);
    frame.splice(20..20, [0x81, 0, 0, 3]);
    assert_eq!(Datagram::parse(&frame), unsupported("third VLAN tag", 0x8100));
    for (high, low) in [(0x08, 0x06), (0x00, 0x2E), (0x88, 0xCC)] {
        let found = u16::from_be_bytes([high, low]);
        let frame = changed(ipv4_frame(), &[(12, high), (13, low)]);
        assert_eq!(Datagram::parse(&frame), unsupported("EtherType", found));
    }
}

#[test]
fn ipv4_options_fragments_and_other_protocols_are_refused_by_name() {
    assert_eq!(Datagram::parse(&changed(ipv4_frame(), &[(14, 0x46)])), unsupported("IPv4 options", 0x46));
    for (flags, offset) in [(0x20, 0), (0, 1), (0x20, 0xB9), (0x1F, 0xFF)] {
        let frame = changed(ipv4_frame(), &[(20, flags), (21, offset)]);
        let found = u16::from_be_bytes([flags, offset]);
        assert_eq!(Datagram::parse(&frame), unsupported("IPv4 fragment", found));
    }
    assert_eq!(Datagram::parse(&changed(ipv4_frame(), &[(23, 6)])), unsupported("IP protocol", 6));
    for version in [0x00, 0x44, 0x55, 0x65] {
        let expected = DecodeError::BadField { what: "IPv4 packet", field: "version and header length" };
        assert_eq!(Datagram::parse(&changed(ipv4_frame(), &[(14, version)])), Err(expected));
    }
}

#[test]
fn a_damaged_ipv4_header_is_refused() {
    let expected = DecodeError::BadField { what: "IPv4 packet", field: "header checksum" };
    for at in (15..34).filter(|at| *at != 14) {
        let mut frame = ipv4_frame();
        frame[at] ^= 0x04;
        assert_eq!(Datagram::parse(&frame), Err(expected), "byte {at}");
    }
}

#[test]
fn ipv6_extension_headers_are_refused_by_name() {
    for extension in [0, 43, 44, 50, 51, 59, 60, 135, 139, 140] {
        let frame = changed(ipv6_frame(), &[(20, extension)]);
        assert_eq!(Datagram::parse(&frame), unsupported("IPv6 extension header", u16::from(extension)));
        let told = Datagram::parse(&frame).unwrap_err().to_string();
        assert_eq!(told, format!("unsupported IPv6 extension header: 0x{extension:04x}"));
    }
    assert_eq!(Datagram::parse(&changed(ipv6_frame(), &[(20, 58)])), unsupported("IP protocol", 58));
    let expected = DecodeError::BadField { what: "IPv6 packet", field: "version" };
    assert_eq!(Datagram::parse(&changed(ipv6_frame(), &[(14, 0x45)])), Err(expected));
}

#[test]
fn lengths_that_lie_are_refused() {
    let udp = |need, got| Err(DecodeError::BadLength { what: "UDP datagram", need, got });
    for length in (0..=255).filter(|length| *length != 19) {
        let frame = changed(ipv4_frame(), &[(39, length)]);
        assert_eq!(Datagram::parse(&frame), udp(usize::from(length), 19), "UDP in IPv4 says {length}");
        let frame = changed(ipv6_frame(), &[(59, length)]);
        assert_eq!(Datagram::parse(&frame), udp(usize::from(length), 19), "UDP in IPv6 says {length}");
    }
    for length in (0..=255u8).filter(|length| *length != 39) {
        let refused = Datagram::parse(&changed(ipv4_frame(), &[(17, length)])).unwrap_err();
        let got = usize::from(length).saturating_sub(20);
        let expected = match length {
            0..20 => DecodeError::BadLength { what: "IPv4 packet", need: 20, got: 39 },
            20..28 => DecodeError::TooShort { what: "UDP datagram", need: 8, got },
            28..39 => DecodeError::BadLength { what: "UDP datagram", need: 19, got },
            _ => DecodeError::BadLength { what: "IPv4 packet", need: usize::from(length), got: 39 },
        };
        assert_eq!(refused, expected, "IPv4 says {length}");
    }
    for length in (0..=255u8).filter(|length| *length != 19) {
        let refused = Datagram::parse(&changed(ipv6_frame(), &[(19, length)])).unwrap_err();
        let got = usize::from(length);
        let expected = match length {
            0..8 => DecodeError::TooShort { what: "UDP datagram", need: 8, got },
            8..19 => DecodeError::BadLength { what: "UDP datagram", need: 19, got },
            _ => DecodeError::BadLength { what: "IPv6 packet", need: 40 + got, got: 59 },
        };
        assert_eq!(refused, expected, "IPv6 says {length}");
    }
}

#[test]
fn every_cut_is_refused() {
    for vlan in [Vlan::NONE, Vlan::double(1, 2)] {
        for addresses in [V4, V6] {
            let frame = frame_of(&headers(vlan, addresses), b"payload", ChecksumMode::Full);
            for length in 0..frame.len() {
                assert!(Datagram::parse(&frame[..length]).is_err(), "{length} of {}", frame.len());
            }
        }
    }
}

#[test]
fn the_checksum_has_four_states() {
    for addresses in [V4, V6] {
        let headers = headers(Vlan::NONE, addresses);
        let state = |frame: &[u8]| Datagram::parse(frame).unwrap().checksum_state(frame);
        let mut frame = frame_of(&headers, b"hello world", ChecksumMode::Full);
        assert_eq!(state(&frame), ChecksumState::Valid);
        for bit in 0..8 {
            *frame.last_mut().unwrap() ^= 1 << bit;
            assert_eq!(state(&frame), ChecksumState::Wrong);
            *frame.last_mut().unwrap() ^= 1 << bit;
        }
        assert_eq!(state(&frame_of(&headers, b"hello world", ChecksumMode::Zero)), ChecksumState::Zero);
        assert_eq!(state(&frame_of(&headers, b"hello world", ChecksumMode::Partial)), ChecksumState::Partial);
        let datagram = Datagram::parse(&frame).unwrap();
        assert_eq!(datagram.checksum_state(&[]), ChecksumState::Wrong, "of another frame");
        assert_eq!(datagram.payload(&[]), b"");
    }
}

#[test]
fn a_checksum_of_zero_is_sent_as_its_other_representation() {
    let headers = headers(Vlan::NONE, V4);
    let zero = frame_of(&headers, &[0, 0], ChecksumMode::Full);
    let field = u16::from_be_bytes([zero[40], zero[41]]);
    // With the complement of the remaining sum as payload, the datagram sums to all ones.
    let frame = frame_of(&headers, &field.to_be_bytes(), ChecksumMode::Full);
    assert_eq!(frame[40..42], [0xFF, 0xFF]);
    assert_eq!(Datagram::parse(&frame).unwrap().checksum_state(&frame), ChecksumState::Valid);
}

#[test]
fn what_does_not_fit_is_not_written() {
    let headers = headers(Vlan::double(1, 2), V6);
    for room in 0..headers.length() + 3 {
        assert_eq!(headers.write(&mut vec![0; room], 3, ChecksumMode::Full), 0, "{room}");
    }
    let mut huge = vec![0; 70_000];
    assert_eq!(headers.write(&mut huge, 65_535 - 8, ChecksumMode::Full), headers.length() + 65_527);
    assert_eq!(headers.write(&mut huge, 65_536 - 8, ChecksumMode::Full), 0);
    assert_eq!(headers.write(&mut huge, usize::MAX, ChecksumMode::Full), 0);
    let v4 = Headers { addresses: V4, ..headers };
    assert_eq!(v4.write(&mut huge, 65_535 - 28, ChecksumMode::Full), v4.length() + 65_507);
    assert_eq!(v4.write(&mut huge, 65_536 - 28, ChecksumMode::Full), 0);
}

#[test]
fn addresses_map_into_ipv6_and_back() {
    for addresses in [V4, V6] {
        assert_eq!(Addresses::from_mapped(addresses.source(), addresses.destination()), addresses);
        assert_eq!(addresses.swapped().source(), addresses.destination());
    }
    assert_eq!(V4.source(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 10, 0, 0, 1]);
}

#[test]
fn the_checksum_examples_of_the_rfcs_hold() {
    // RFC 1071 section 3.
    assert_eq!(sum(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7], 0), 0xDDF2);
    // RFC 1624 section 4.
    assert_eq!(update(0xDD2F, 0x5555, 0x3285), 0x0000);
    assert_eq!(internet_checksum(&[]), 0xFFFF);
}

/// RFC 1071 word by word, as slow as it is plain.
fn naive_sum(bytes: &[u8]) -> u16 {
    let mut total: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)))
        .sum();
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    total as u16
}

#[test]
fn sums_agree_with_the_plain_algorithm_and_changes_with_a_new_sum() {
    let bytes = prop::collection::vec(prop_oneof![Just(0xFFu8), any::<u8>()], 0..1600);
    property::check(2000, (bytes, any::<u16>(), any::<prop::sample::Index>()), |(mut bytes, new, at)| {
        prop_assert_eq!(sum(&bytes, 0), naive_sum(&bytes));
        let at = at.index(bytes.len() + 1) & !1;
        prop_assert_eq!(sum(&bytes[at..], sum(&bytes[..at], 0)), naive_sum(&bytes));
        prop_assert_eq!(sum(&bytes, new), add(naive_sum(&bytes), new));
        if at + 1 < bytes.len() {
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            let updated = update(internet_checksum(&bytes), old, new);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            // The two representations of zero are one value.
            let expected = internet_checksum(&bytes);
            prop_assert!(
                updated == expected || updated ^ expected == 0xFFFF && (updated == 0 || expected == 0)
            );
        }
        Ok(())
    });
}

#[test]
fn the_pseudo_header_is_that_of_the_rfcs() {
    let mut pseudo = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 19];
    assert_eq!(pseudo_header_sum(&V4, 19), naive_sum(&pseudo));
    pseudo = [&V6.source()[..], &V6.destination(), &[0, 0, 0, 19, 0, 0, 0, 17]].concat();
    assert_eq!(pseudo_header_sum(&V6, 19), naive_sum(&pseudo));
}

#[test]
fn any_frame_is_refused_or_parses_again_after_encoding() {
    let vlan = prop_oneof![
        Just(Vlan::NONE),
        any::<u16>().prop_map(Vlan::single),
        any::<(u16, u16)>().prop_map(|(outer, inner)| Vlan::double(outer, inner)),
    ];
    let addresses = prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(source, destination)| Addresses::V4 { source, destination }),
        any::<([u8; 16], [u8; 16])>().prop_map(|(source, destination)| Addresses::V6 { source, destination }),
    ];
    let mode = prop::sample::select(vec![ChecksumMode::Zero, ChecksumMode::Partial, ChecksumMode::Full]);
    let legal = (vlan, addresses, prop::collection::vec(any::<u8>(), 0..60), mode)
        .prop_map(|(vlan, addresses, payload, mode)| frame_of(&headers(vlan, addresses), &payload, mode));
    let any = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..120),
        legal.clone(),
        table::nearly(legal.clone()),
        table::nearly(legal).prop_map(|frame| if frame.len() < 34 { frame } else { changed(frame, &[]) }),
    ];
    property::check(20_000, any, |frame| {
        if let Ok((ethernet, rest)) = Ethernet::read(&frame) {
            let mut out = vec![0; frame.len()];
            let length = ethernet.write(&mut out);
            prop_assert_eq!([&out[..length], rest].concat(), &frame[..]);
        }
        if let Ok(datagram) = Datagram::parse(&frame) {
            datagram.checksum_state(&frame);
            let payload = datagram.payload(&frame);
            let again = frame_of(&datagram.headers, payload, ChecksumMode::Full);
            let reparsed = Datagram::parse(&again).unwrap();
            prop_assert_eq!(reparsed.headers, datagram.headers);
            prop_assert_eq!(reparsed.payload(&again), payload);
            prop_assert_eq!(reparsed.checksum_state(&again), ChecksumState::Valid);
        }
        Ok(())
    });
}
