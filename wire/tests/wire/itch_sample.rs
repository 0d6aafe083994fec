//! A piece of a real trading day, decoded and encoded again to the last byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use wire::itch::file::{Frames, write_frame};
use wire::itch::{MAX_MESSAGE_LENGTH, Message};

#[test]
fn the_sample_file_encodes_to_itself() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/nasdaq_2019-12-30_snippet.itch50");
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return;
    }
    let original = std::fs::read(&path).unwrap();
    let mut frames = Frames::new(File::open(&path).unwrap());
    let mut written = Vec::with_capacity(original.len());
    let mut counts = BTreeMap::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        let message = Message::decode(frame).unwrap();
        *counts.entry(message.name()).or_insert(0) += 1;
        let mut out = [0; MAX_MESSAGE_LENGTH];
        let length = message.rewrite(&mut out);
        let mut framed = [0; MAX_MESSAGE_LENGTH + 2];
        let length = write_frame(&out[..length], &mut framed);
        written.extend_from_slice(&framed[..length]);
    }
    assert_eq!(frames.offset(), 35_570);
    assert!(written == original, "the encoded file differs");
    let expected = [
        ("AddOrder", 367),
        ("AddOrderMpid", 193),
        ("CrossTrade", 4),
        ("NetOrderImbalance", 4),
        ("OrderCancel", 6),
        ("OrderDelete", 167),
        ("OrderExecuted", 28),
        ("OrderExecutedWithPrice", 1),
        ("OrderReplace", 225),
        ("SystemEvent", 1),
        ("Trade", 4),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
}
