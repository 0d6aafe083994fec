//! Inspection, snapshots and retention over one simulated disk; and that files of the first version stay readable.
#![allow(clippy::unwrap_used)] // Its helpers panic as the tests do.

use std::{path::Path, time::Duration};

use engine::{
    history::snapshot::{
        self, Meta, SnapshotError,
        retention::{self, Retention},
    },
    log::{
        Durability, Ending, FileStorage, JournalError, JournalSettings, Lsn, Reader, SimStorage, Storage,
        inspect::{self, Verdict},
        keeper::Step,
        reopen::{Parts, assemble},
        sim::{Crash, Faults},
    },
};

const SHARD: u32 = 1;

fn settings() -> JournalSettings {
    JournalSettings {
        durability: Durability::Process,
        segment_size: 8192,
        segments_ahead: 2,
        stall_max: Duration::ZERO,
    }
}

fn open<S: Storage>(storage: &S) -> Parts<S> {
    let mut reader = Reader::open(storage.clone(), SHARD, Lsn(1)).unwrap();
    while reader.next().unwrap().is_some() {}
    assemble(storage.clone(), SHARD, reader.into_end().unwrap(), settings()).unwrap()
}

/// Appends `count` records whose type, time and payload follow from their number.
fn append<S: Storage>(parts: &mut Parts<S>, count: u64) {
    for _ in 0..count {
        let number = parts.writer.last().0 + 1;
        let payload: Vec<u8> = (0..number % 90).map(|index| (index * 3 + number) as u8).collect();
        parts.writer.append((number % 4 + 1) as u8, number * 1000, &payload).unwrap();
        while parts.preparer.step().unwrap() == Step::Worked {}
        while parts.syncer.step().unwrap() == Step::Worked {}
    }
}

fn meta<S: Storage>(parts: &Parts<S>) -> Meta {
    let last = parts.writer.last();
    Meta {
        shard: SHARD,
        last,
        timestamp_ns: last.0 * 1000,
        state_hash: last.0 ^ 0x5EED,
        chain: parts.writer.chain(),
    }
}

#[test]
fn a_report_counts_by_type_and_sees_time() {
    let storage = SimStorage::new(1, Durability::Process, Faults::default());
    let mut parts = open(&storage);
    append(&mut parts, 300);
    parts.writer.append(9, 5, b"back in time").unwrap();
    parts.writer.append(9, 1_000_005, b"after a silence").unwrap();
    let report = inspect::verify(&storage, SHARD, false).unwrap();
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!((report.first, report.last, report.records), (Some(Lsn(1)), Some(Lsn(302)), 302));
    assert_eq!(report.kinds.values().map(|kind| kind.records).sum::<u64>(), 302);
    assert_eq!((report.kinds[&9].records, report.kinds[&9].payload_bytes), (2, 27));
    assert_eq!((report.time_first_ns, report.time_last_ns), (Some(1000), Some(1_000_005)));
    assert_eq!(report.time_reversals, 1);
    let silence = report.longest_silence.unwrap();
    assert_eq!((silence.after, silence.nanoseconds), (Lsn(301), 1_000_000));
    assert_eq!(report.chain, parts.writer.chain());
    assert!(report.segments.len() > 4);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"]["state"], "clean");
    assert_eq!(json["kinds"]["9"]["records"], 2);
}

#[test]
fn verdicts_tell_torn_from_damaged_from_in_use() {
    let storage = SimStorage::new(2, Durability::Process, Faults::default());
    let mut parts = open(&storage);
    append(&mut parts, 100);
    storage.die_after(30);
    parts.writer.append(1, 0, b"cut short").unwrap();
    storage.crash(Crash::Process);
    let report = inspect::verify(&storage, SHARD, false).unwrap();
    assert!(
        matches!(
            &report.verdict,
            Verdict::TornTail { tail: Ending::Torn { record: Lsn(101), bytes: 30, .. } }
        ),
        "{:?}",
        report.verdict
    );
    assert!(matches!(inspect::verify(&storage, SHARD, true).unwrap().verdict, Verdict::InUse { .. }));
    storage.flip_bit("journal-001-0000000000.seg", 4096 + 8, 3);
    let report = inspect::verify(&storage, SHARD, false).unwrap();
    assert!(matches!(&report.verdict, Verdict::Refused { error } if error.contains("offset 4096, record 1")));
    assert!(!report.is_whole());
}

#[test]
fn a_dump_gives_the_records_asked_for() {
    let storage = SimStorage::new(3, Durability::Process, Faults::default());
    append(&mut open(&storage), 100);
    let mut seen = Vec::new();
    inspect::dump(&storage, SHARD, Lsn(40), Lsn(44), |record, payload| {
        assert_eq!(record.payload_bytes, payload.len());
        seen.push(record.lsn.0);
        true
    })
    .unwrap();
    assert_eq!(seen, [40, 41, 42, 43, 44]);
}

#[test]
fn the_newest_whole_snapshot_is_chosen_and_damaged_ones_are_reported() {
    let storage = SimStorage::new(4, Durability::Process, Faults::default());
    let mut parts = open(&storage);
    let mut names = Vec::new();
    for _ in 0..3 {
        append(&mut parts, 10);
        names.push(snapshot::write(&storage, &meta(&parts), &[b"state ", b"in parts"]).unwrap());
    }
    let choice = snapshot::newest(&storage, SHARD).unwrap();
    let newest = choice.snapshot.unwrap();
    assert_eq!((newest.meta, &newest.payload[..]), (meta(&parts), &b"state in parts"[..]));
    let length = storage.length(&names[2]).unwrap();
    for offset in 0..length {
        let disk = storage.fork();
        disk.flip_bit(&names[2], offset, (offset % 8) as u8);
        let choice = snapshot::newest(&disk, SHARD).unwrap();
        assert_eq!(choice.snapshot.unwrap().meta.last, Lsn(20), "offset {offset}");
        assert!(matches!(choice.rejected[..], [SnapshotError::Damaged { .. }]), "offset {offset}");
    }
}

#[test]
fn a_snapshot_is_there_whole_or_not_at_all_after_a_crash() {
    for seed in 0..400 {
        let storage = SimStorage::new(seed, Durability::Process, Faults::default());
        snapshot::write(&storage, &Meta { last: Lsn(1), ..meta(&open(&storage)) }, &[b"old"]).unwrap();
        storage.die_after(seed);
        let new =
            Meta { last: Lsn(2), ..meta(&open(&SimStorage::new(0, Durability::Process, Faults::default()))) };
        let written = snapshot::write(&storage, &new, &[&[7; 300]]);
        storage.crash(if seed % 2 == 0 { Crash::Power } else { Crash::Process });
        let choice = snapshot::newest(&storage, SHARD).unwrap();
        let found = choice.snapshot.unwrap().meta.last;
        assert!(choice.rejected.is_empty(), "seed {seed}: {:?}", choice.rejected);
        assert!(found == Lsn(2) || written.is_err(), "seed {seed}: written, and not there");
    }
}

#[test]
fn retention_removes_only_what_the_oldest_kept_snapshot_covers() {
    let storage = SimStorage::new(5, Durability::Process, Faults::default());
    let mut parts = open(&storage);
    let mut covered = Vec::new();
    for round in 1..=4 {
        append(&mut parts, 150);
        snapshot::write(&storage, &meta(&parts), &[b"state"]).unwrap();
        covered.push((parts.writer.last(), parts.writer.chain()));
        append(&mut parts, 7);
        let keep_all = Retention { snapshots: 2, retain_journal: true };
        assert!(retention::apply(&storage.fork(), SHARD, keep_all).unwrap().segments.is_empty());
        let removed = retention::apply(&storage, SHARD, Retention::default()).unwrap();
        assert_eq!(removed.snapshots.len(), usize::from(round > 2));
        assert_eq!(removed.segments.is_empty(), round < 2, "round {round}: {removed:?}");
        for &(last, chain) in &covered[covered.len().saturating_sub(2)..] {
            let mut reader = Reader::open_after(storage.clone(), SHARD, last, chain).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().lsn, last.next());
        }
    }
    let gone = Reader::open(storage.clone(), SHARD, Lsn(1));
    assert!(matches!(gone, Err(JournalError::TooOld { wanted: Lsn(1), .. })));
    // What is left is still a journal that can be verified and continued.
    drop(parts);
    storage.crash(Crash::Process);
    assert_eq!(inspect::verify(&storage, SHARD, false).unwrap().verdict, Verdict::Clean);
}

#[test]
fn a_snapshot_of_another_history_is_not_believed() {
    let storage = SimStorage::new(6, Durability::Process, Faults::default());
    let mut parts = open(&storage);
    let mut history = Vec::new();
    for _ in 0..200 {
        append(&mut parts, 1);
        history.push((parts.writer.last(), parts.writer.chain()));
    }
    // Also where a segment begins, and the chain has the seal in it.
    for (last, chain) in history {
        assert!(Reader::open_after(storage.clone(), SHARD, last, chain).is_ok(), "record {last}");
        let foreign = Reader::open_after(storage.clone(), SHARD, last, chain ^ 1);
        assert!(matches!(foreign, Err(JournalError::Foreign { .. })), "record {last}");
    }
}

/// Made by `PITLANE_WRITE_FIXTURES=1 cargo test -p pitlane --test journal_inspect version_1` with the first version; not to be made anew: a
/// later format gets a directory of its own, and this one has to stay readable.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal-v1");

#[test]
fn files_of_version_1_are_read() {
    if std::env::var_os("PITLANE_WRITE_FIXTURES").is_some() {
        write_fixture();
    }
    let storage = FileStorage::read_only(Path::new(FIXTURE));
    let choice = snapshot::newest(&storage, SHARD).unwrap();
    assert!(choice.rejected.is_empty(), "{:?}", choice.rejected);
    let snapshot = choice.snapshot.unwrap();
    assert_eq!(snapshot.payload, b"the state of a shard after 100 records");
    let Meta { last, timestamp_ns, state_hash, chain, shard } = snapshot.meta;
    assert_eq!((shard, last, timestamp_ns, state_hash), (SHARD, Lsn(100), 100_000, 100 ^ 0x5EED));
    let mut reader = Reader::open_after(storage.clone(), SHARD, last, chain).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().lsn, Lsn(101));
    let mut reader = Reader::open(storage, SHARD, Lsn(1)).unwrap();
    let mut number = 0;
    while let Some(record) = reader.next().unwrap() {
        number += 1;
        let payload: Vec<u8> = (0..number % 90).map(|index| (index * 3 + number) as u8).collect();
        assert_eq!(
            (record.lsn, record.timestamp_ns, record.payload),
            (Lsn(number), number * 1000, &payload[..])
        );
        assert_eq!(u64::from(record.kind), number % 4 + 1);
    }
    assert_eq!((number, reader.into_end().unwrap().tail), (150, Ending::Clean));
}

fn write_fixture() {
    let directory = Path::new(FIXTURE);
    let _ = std::fs::remove_dir_all(directory);
    let storage = FileStorage::open(directory, SHARD, Durability::Process).unwrap();
    let mut parts = open(&storage);
    append(&mut parts, 100);
    snapshot::write(&storage, &meta(&parts), &[b"the state of a shard after 100 records"]).unwrap();
    append(&mut parts, 50);
    parts.syncer.finish().unwrap();
    drop((parts, storage));
    std::fs::remove_file(directory.join("journal-001.lock")).unwrap();
    for name in FileStorage::read_only(directory).list().unwrap() {
        let file = directory.join(&name);
        // Segments made ready and not used say nothing about the format.
        if name.ends_with(".seg") && std::fs::read(&file).unwrap()[0] == 0 {
            std::fs::remove_file(file).unwrap();
        }
    }
}
