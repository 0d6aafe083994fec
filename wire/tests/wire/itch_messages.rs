//! Every ITCH message against its table, the snapshot's last message, and file frames.

use crate::property;
use crate::table::{self, ITCH, Message, described};
use proptest::prelude::*;
use std::io::{self, Read};
use wire::DecodeError;
use wire::itch::file::{FrameError, Frames, write_frame};
use wire::itch::{self, GlimpseSnapshot, MAX_MESSAGE_LENGTH};

#[test]
fn there_are_23_messages() {
    let tables = table::read(ITCH);
    let mut listed: Vec<u8> = tables.iter().map(|table| table.message_type).collect();
    listed.sort_unstable();
    let known = (0..=u8::MAX).filter(|&first| {
        !matches!(itch::Message::decode(&[first; 64]), Err(DecodeError::UnknownType(found)) if found == first)
    });
    assert_eq!(known.collect::<Vec<_>>(), listed);
    assert_eq!(listed.len(), 23);
}

#[test]
fn every_legal_message_decodes_to_its_table_and_encodes_to_the_same_bytes() {
    property::check(2000, table::any_message(table::read(ITCH)), |Message { table, bytes }| {
        let message =
            itch::Message::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(format!("{message:?}"), format!("{}({})", table.name, described(&table, &bytes)));
        prop_assert_eq!(message.name(), table.name);
        let mut out = [0; MAX_MESSAGE_LENGTH];
        let length = message.rewrite(&mut out);
        prop_assert_eq!(&out[..length], &bytes[..]);
        Ok(())
    });
}

#[test]
fn every_other_length_is_refused_and_short_buffers_get_nothing() {
    for table in table::read(ITCH) {
        let legal = table.message(&[], &[]);
        for length in 0..=MAX_MESSAGE_LENGTH {
            let mut bytes = legal.clone();
            bytes.resize(length, 0);
            assert_eq!(itch::Message::decode(&bytes).is_ok(), length == table.length, "{}", table.name);
            let written = itch::Message::decode(&legal).unwrap().rewrite(&mut bytes);
            assert_eq!(written, if length >= table.length { table.length } else { 0 }, "{}", table.name);
        }
    }
}

#[test]
fn any_bytes_are_refused_or_encode_to_themselves() {
    let legal = table::any_message(table::read(ITCH)).prop_map(|message| message.bytes);
    let any = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        table::nearly(legal.boxed()),
        table::nearly(any::<u64>().prop_map(|n| format!("G{n:>20}").into_bytes())),
    ];
    property::check(20_000, any, |bytes| {
        let mut out = [0; MAX_MESSAGE_LENGTH];
        if let Ok(message) = itch::Message::decode(&bytes) {
            let length = message.rewrite(&mut out);
            prop_assert_eq!(&out[..length], &bytes[..]);
        }
        if let Ok(snapshot) = GlimpseSnapshot::parse(&bytes) {
            let length = snapshot.write(&mut out);
            prop_assert_eq!(GlimpseSnapshot::parse(&out[..length]), Ok(snapshot));
        }
        Ok(())
    });
}

#[test]
fn the_snapshot_message_carries_the_sequence_in_ascii() {
    let mut out = [0; GlimpseSnapshot::LENGTH];
    let snapshot = GlimpseSnapshot { sequence: 18_446_744_073_709_551_615 };
    assert_eq!(snapshot.write(&mut out), 21);
    assert_eq!(&out, b"G18446744073709551615");
    assert_eq!(GlimpseSnapshot::parse(&out), Ok(snapshot));
    assert_eq!(GlimpseSnapshot::parse(b"G                  42"), Ok(GlimpseSnapshot { sequence: 42 }));
    assert!(GlimpseSnapshot::parse(b"G18446744073709551616").is_err(), "does not fit into 64 bits");
    assert!(GlimpseSnapshot::parse(b"G                    ").is_err(), "no digits");
    assert!(GlimpseSnapshot::parse(b"H                  42").is_err(), "another type");
    assert!(GlimpseSnapshot::parse(b"G                 42").is_err(), "20 bytes");
    assert_eq!(snapshot.write(&mut [0; 20]), 0);
}

/// Gives its bytes in pieces, with an interruption before each.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
    interrupted: bool,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = self.piece.min(out.len());
        self.bytes.read(&mut out[..length])
    }
}

#[test]
fn frames_survive_reads_of_any_size() {
    let messages = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..40);
    property::check(300, (messages, 1..5000usize), |(messages, piece)| {
        let mut file = Vec::new();
        for message in &messages {
            let mut frame = vec![0; 2 + message.len()];
            prop_assert_eq!(write_frame(message, &mut frame), frame.len());
            prop_assert_eq!(write_frame(message, &mut frame[1..]), 0);
            file.extend(frame);
        }
        let mut frames = Frames::new(Pieces { bytes: &file, piece, interrupted: false });
        for message in &messages {
            prop_assert_eq!(frames.next_frame().unwrap(), Some(&message[..]));
        }
        prop_assert_eq!(frames.next_frame().unwrap(), None);
        prop_assert_eq!(frames.offset(), file.len() as u64);
        Ok(())
    });
}

#[test]
fn the_longest_frames_fit_and_longer_ones_are_not_written() {
    let longest = vec![7; usize::from(u16::MAX)];
    let mut frame = vec![0; longest.len() + 3];
    let length = write_frame(&longest, &mut frame);
    assert_eq!(length, longest.len() + 2);
    let three = [&frame[..length], &frame[..length], &frame[..length]].concat();
    let mut frames = Frames::new(&three[..]);
    for _ in 0..3 {
        assert_eq!(frames.next_frame().unwrap(), Some(&longest[..]));
    }
    assert_eq!(frames.next_frame().unwrap(), None);
    assert_eq!(write_frame(&vec![7; longest.len() + 1], &mut frame), 0);
}

#[test]
fn a_file_that_ends_inside_a_frame_is_an_error_that_says_where() {
    let mut frames = Frames::new(&b"\x00\x01a\x00\x05bcd"[..]);
    assert_eq!(frames.next_frame().unwrap(), Some(&b"a"[..]));
    let error = frames.next_frame().unwrap_err();
    assert!(matches!(error, FrameError::Truncated { offset: 3, need: 7, got: 5 }), "{error}");
    let error = Frames::new(&b"\x00"[..]).next_frame().unwrap_err();
    assert!(matches!(error, FrameError::Truncated { offset: 0, need: 2, got: 1 }), "{error}");
}

#[test]
fn a_length_of_zero_ends_the_session() {
    let mut frames = Frames::new(&b"\x00\x01a\x00\x00\x00\x01b"[..]);
    assert_eq!(frames.next_frame().unwrap(), Some(&b"a"[..]));
    assert_eq!(frames.next_frame().unwrap(), None);
    assert_eq!(frames.next_frame().unwrap(), None);
}

#[test]
fn any_file_ends_or_fails_without_panic() {
    property::check(2000, prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600), |file| {
        let mut frames = Frames::new(&file[..]);
        while let Ok(Some(frame)) = frames.next_frame() {
            prop_assert!(!frame.is_empty());
        }
        Ok(())
    });
}
