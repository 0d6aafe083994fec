//! MoldUDP64 packets: what is taken apart and put together, and everything that lies about itself.

use crate::{property, table};
use proptest::prelude::*;
use wire::DecodeError;
use wire::moldudp64::{END_OF_SESSION, HEADER_LENGTH, HEARTBEAT, Header, MAX_PAYLOAD, Packet, PacketWriter};

const SESSION: [u8; 10] = *b"D123456789";

fn packet(sequence: u64, blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = SESSION.to_vec();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend((blocks.len() as u16).to_be_bytes());
    for block in blocks {
        bytes.extend((block.len() as u16).to_be_bytes());
        bytes.extend(*block);
    }
    bytes
}

fn header(sequence: u64, count: u16) -> Vec<u8> {
    let mut out = vec![0; HEADER_LENGTH];
    assert_eq!(Header { session: SESSION, sequence, count }.write(&mut out), HEADER_LENGTH);
    out
}

#[test]
fn blocks_are_found_in_order_and_empty_ones_are_legal() {
    let bytes = packet(7, &[b"first", b"", b"third"]);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.header, Header { session: SESSION, sequence: 7, count: 3 });
    assert_eq!(packet.blocks().len(), 3);
    assert_eq!(packet.blocks().collect::<Vec<_>>(), [&b"first"[..], b"", b"third"]);
}

#[test]
fn heartbeat_and_end_of_session_have_no_blocks() {
    for count in [HEARTBEAT, END_OF_SESSION] {
        let mut bytes = header(9, count);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.header.count, count);
        assert_eq!(packet.blocks().len(), 0);
        assert_eq!(packet.blocks().next(), None);
        bytes.push(0);
        let expected = DecodeError::BadLength { what: "MoldUDP64 packet", need: 20, got: 21 };
        assert_eq!(Packet::parse(&bytes), Err(expected));
    }
}

#[test]
fn a_count_or_length_that_lies_is_refused() {
    let legal = packet(1, &[b"abc", b"de"]);
    let lie = |at: usize, value: u8| {
        let mut bytes = legal.clone();
        bytes[at] = value;
        Packet::parse(&bytes).map(|packet| packet.header)
    };
    let refused = |need| Err(DecodeError::BadLength { what: "MoldUDP64 packet", need, got: legal.len() });
    assert!(lie(19, 2).is_ok());
    assert_eq!(lie(19, 1), refused(25), "one block too few");
    assert_eq!(lie(19, 3), refused(31), "one block too many");
    assert_eq!(lie(18, 0xFF), refused(31), "65,282 blocks");
    assert_eq!(lie(21, 2), refused(26 + 0x6300), "a short length makes the next one huge");
    assert_eq!(lie(26, 3), refused(30), "the last block is cut off");
    for length in 0..legal.len() {
        assert!(Packet::parse(&legal[..length]).is_err(), "cut to {length}");
    }
    let short = DecodeError::TooShort { what: "MoldUDP64 header", need: 20, got: 19 };
    assert_eq!(Packet::parse(&legal[..19]), Err(short));
}

#[test]
fn a_sequence_that_would_overflow_is_refused() {
    let expected = DecodeError::BadField { what: "MoldUDP64 packet", field: "sequence" };
    assert_eq!(Packet::parse(&packet(u64::MAX, &[b"a"])), Err(expected));
    assert!(Packet::parse(&packet(u64::MAX - 1, &[b"a"])).is_ok());
    assert!(Packet::parse(&header(u64::MAX, END_OF_SESSION)).is_ok());
}

#[test]
fn the_writer_stops_at_the_end_of_its_buffer() {
    let mut buffer = [0; MAX_PAYLOAD];
    let mut writer = PacketWriter::new(&mut buffer, SESSION, 1).unwrap();
    let mut pushed = 0;
    while writer.push(&[0; 50]) {
        pushed += 1;
    }
    assert_eq!(pushed, (MAX_PAYLOAD - HEADER_LENGTH) / 52);
    assert_eq!(writer.count(), pushed as u16);
    assert!(!writer.push_with(65_536, |_| panic!("has no room")));
    let length = writer.finish();
    assert_eq!(Packet::parse(&buffer[..length]).unwrap().blocks().len(), pushed);
    assert!(PacketWriter::new(&mut [0; 19], SESSION, 1).is_none());
    assert_eq!(Header { session: SESSION, sequence: 1, count: 0 }.write(&mut [0; 19]), 0);
}

#[test]
fn the_writer_fills_in_place_and_keeps_the_length_within_bounds() {
    let mut buffer = [0; 100];
    let mut writer = PacketWriter::new(&mut buffer, SESSION, 1).unwrap();
    assert!(writer.push_with(10, |block| {
        assert_eq!(block.len(), 10);
        block[..3].copy_from_slice(b"abc");
        3
    }));
    assert!(writer.push_with(2, |_| 99));
    let length = writer.finish();
    assert_eq!(buffer[..length], packet(1, &[b"abc", &[0, 0]])[..]);
}

#[test]
fn the_writer_never_counts_to_end_of_session() {
    let mut buffer = vec![0; HEADER_LENGTH + 2 * 65_600];
    let mut writer = PacketWriter::new(&mut buffer, SESSION, 1).unwrap();
    while writer.push(&[]) {}
    assert_eq!(writer.count(), END_OF_SESSION - 1);
    let length = writer.finish();
    assert_eq!(Packet::parse(&buffer[..length]).unwrap().blocks().count(), 65_534);
}

#[test]
fn any_bytes_are_refused_or_encode_to_themselves() {
    let blocks = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10);
    let legal = (any::<u64>(), blocks).prop_map(|(sequence, blocks)| {
        packet(sequence, &blocks.iter().map(|block| &block[..]).collect::<Vec<_>>())
    });
    let any = prop_oneof![prop::collection::vec(any::<u8>(), 0..100), legal.clone(), table::nearly(legal)];
    property::check(20_000, any, |bytes| {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let mut out = vec![0; bytes.len()];
        let mut writer = PacketWriter::new(&mut out, packet.header.session, packet.header.sequence).unwrap();
        for block in packet.blocks() {
            prop_assert!(writer.push(block));
        }
        let length = writer.finish();
        if packet.header.count == END_OF_SESSION {
            packet.header.write(&mut out);
        }
        prop_assert_eq!(&out[..length], &bytes[..]);
        Ok(())
    });
}
