//! A journal read while it is written, through its files alone: nothing is seen too early, nothing twice, nothing out of order.
#![allow(clippy::unwrap_used)] // Its helpers panic as the tests do.

use engine::log::{
    Durability, Extent, FileStorage, Journal, JournalError, JournalSettings, LiveReader, Lsn, Reader,
    Storage, start,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("pitlane-live-{test}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

const SEGMENT: u64 = 64 << 10;

fn write(directory: &Path, durability: Durability) -> Journal<FileStorage> {
    let settings = JournalSettings { segment_size: SEGMENT, durability, ..JournalSettings::default() };
    let storage = FileStorage::open(directory, 0, durability).unwrap();
    let mut reader = Reader::open(storage.clone(), 0, Lsn(1)).unwrap();
    while reader.next().unwrap().is_some() {}
    start(storage, 0, reader.into_end().unwrap(), settings).unwrap()
}

fn open_live(directory: &Path, extent: Extent) -> LiveReader<FileStorage> {
    LiveReader::open(FileStorage::read_only(directory), 0, None, extent).unwrap()
}

/// The next record, once it is there.
fn await_next(reader: &mut LiveReader<FileStorage>) -> Result<(u64, Vec<u8>), JournalError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(record) = reader.next()? {
            return Ok((record.lsn.0, record.payload.to_vec()));
        }
        assert!(Instant::now() < deadline, "no record in time");
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn payload(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(number as usize % 40 + 1)
}

/// A writer in one thread, a reader in another, over many segments.
fn follow(test: &str, durability: Durability, extent: Extent) {
    const RECORDS: u64 = 5_000;
    let directory = Directory::new(test);
    let mut journal = write(&directory.0, durability);
    // Begins while the journal is empty.
    let mut reader = open_live(&directory.0, extent);
    assert!(reader.next().unwrap().is_none());
    let reading = std::thread::spawn(move || {
        for number in 1..=RECORDS {
            assert_eq!(await_next(&mut reader).unwrap(), (number, payload(number)));
        }
        (reader.next().unwrap().is_none(), reader.chain(), reader.journal_id().is_some())
    });
    for number in 1..=RECORDS {
        // The next segment may not be ready yet: that is back-pressure, not failure.
        while let Err(error) = journal.writer.append(1, number, &payload(number)) {
            assert!(matches!(error, engine::log::AppendError::NotReady { .. }), "{error}");
        }
        if number % 97 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    let chain = journal.writer.chain();
    assert_eq!(reading.join().unwrap(), (true, chain, true));
    journal.close().unwrap();
}

#[test]
fn records_of_a_running_writer_come_in_order() {
    follow("process", Durability::Process, Extent::Written);
}

#[test]
fn synced_records_of_a_running_writer_come_in_order() {
    follow("disk", Durability::Disk, Extent::Synced);
}

#[test]
fn a_record_that_no_mark_vouches_for_waits() {
    let directory = Directory::new("mark");
    let mut journal = write(&directory.0, Durability::Process);
    for number in 1..=3 {
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    // Written, and with durability `process` not synced until somebody wants it.
    let mut synced = open_live(&directory.0, Extent::Synced);
    assert!(synced.next().unwrap().is_none());
    let mut written = open_live(&directory.0, Extent::Written);
    assert_eq!(await_next(&mut written).unwrap().0, 1);
    journal.writer.progress().want_durable(Lsn(3));
    for number in 1..=3 {
        assert_eq!(await_next(&mut synced).unwrap(), (number, payload(number)));
    }
    assert!(synced.next().unwrap().is_none());
}

/// The journal of a writer that is gone, with the bytes of its last record, of three, and where they begin.
fn last_record(directory: &Path) -> (PathBuf, u64, Vec<u8>) {
    let mut journal = write(directory, Durability::Process);
    for number in 1..=3 {
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    journal.close().unwrap();
    let storage = FileStorage::read_only(directory);
    let mut reader = Reader::open(storage.clone(), 0, Lsn(3)).unwrap();
    let offset = reader.next().unwrap().unwrap().offset;
    assert!(reader.next().unwrap().is_none());
    let end = reader.into_end().unwrap().offset();
    let mut bytes = vec![0; (end - offset) as usize];
    let name = "journal-000-0000000000.seg";
    storage.read(name, offset, &mut bytes).unwrap();
    (directory.join(name), offset, bytes)
}

fn store(file: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    std::fs::OpenOptions::new().write(true).open(file).unwrap().write_all_at(bytes, offset).unwrap();
}

/// Sets both marks to before the last record, as they are while it is being written.
fn unsync(file: &Path, offset: u64) {
    use engine::log::format::{MARK_OFFSETS, SyncMark};
    let boot_id = FileStorage::read_only(file.parent().unwrap()).boot_id();
    for (generation, slot) in (2..).zip(MARK_OFFSETS) {
        let mark = SyncMark { generation, offset, boot_id };
        assert_eq!(mark.slot(), slot);
        store(file, slot as u64, &mark.encode());
    }
}

#[test]
fn a_record_half_written_is_waited_for_and_then_whole() {
    let directory = Directory::new("half");
    let (file, offset, bytes) = last_record(&directory.0);
    unsync(&file, offset);
    for kept in [4, 23, 24, bytes.len() / 2, bytes.len() - 1] {
        let half = [&bytes[..kept], &vec![0; bytes.len() - kept]].concat();
        store(&file, offset, &half);
        let mut reader = open_live(&directory.0, Extent::Written);
        assert_eq!(await_next(&mut reader).unwrap().0, 1);
        assert_eq!(await_next(&mut reader).unwrap().0, 2);
        for _ in 0..3 {
            assert!(reader.next().unwrap().is_none(), "{kept} bytes");
            assert!(reader.in_doubt(), "{kept} bytes");
        }
        store(&file, offset, &bytes);
        assert_eq!(await_next(&mut reader).unwrap(), (3, payload(3)), "{kept} bytes");
        assert!(reader.next().unwrap().is_none() && !reader.in_doubt());
    }
    // Its writer has died: torn, and no reason to give up.
    store(&file, offset, &[&bytes[..bytes.len() - 1], &[0]].concat());
    let mut reader = open_live(&directory.0, Extent::Written);
    assert_eq!((await_next(&mut reader).unwrap().0, await_next(&mut reader).unwrap().0), (1, 2));
    let began = Instant::now();
    while reader.next().unwrap().is_none() && reader.in_doubt() {
        assert!(began.elapsed() < Duration::from_secs(20), "still in doubt");
        std::thread::sleep(Duration::from_millis(10));
    }
    store(&file, offset, &bytes);
    assert_eq!(await_next(&mut reader).unwrap().0, 3);
}

#[test]
fn what_stays_wrong_is_damage_and_named() {
    let directory = Directory::new("damage");
    let (file, offset, mut bytes) = last_record(&directory.0);
    bytes[30] ^= 1;
    store(&file, offset, &bytes);
    let mut reader = open_live(&directory.0, Extent::Written);
    assert_eq!((await_next(&mut reader).unwrap().0, await_next(&mut reader).unwrap().0), (1, 2));
    match await_next(&mut reader) {
        Err(JournalError::Damaged { record: Lsn(3), offset: found, .. }) => assert_eq!(found, offset),
        other => panic!("{other:?}"),
    }
    // Lost though a mark covers it.
    store(&file, offset, &vec![0; bytes.len()]);
    let mut reader = open_live(&directory.0, Extent::Written);
    assert_eq!((await_next(&mut reader).unwrap().0, await_next(&mut reader).unwrap().0), (1, 2));
    assert!(matches!(await_next(&mut reader), Err(JournalError::Damaged { record: Lsn(3), .. })));
}

#[test]
fn a_segment_removed_before_it_was_read_is_named() {
    let directory = Directory::new("removed");
    let mut journal = write(&directory.0, Durability::Process);
    let mut reader = open_live(&directory.0, Extent::Written);
    let mut written = 0;
    while !directory.0.join("journal-000-0000000004.seg").exists() {
        written += 1;
        journal.writer.append(1, written, &payload(written)).unwrap();
        std::thread::sleep(Duration::from_micros(50));
    }
    assert_eq!(await_next(&mut reader).unwrap().0, 1);
    for ordinal in 0..2 {
        std::fs::remove_file(directory.0.join(format!("journal-000-{ordinal:010}.seg"))).unwrap();
    }
    // What it had in memory already, then the first that is gone.
    let mut last = 1;
    let error = loop {
        match await_next(&mut reader) {
            Ok((number, _)) => {
                assert_eq!(number, last + 1);
                last = number;
            }
            Err(error) => break error,
        }
    };
    match error {
        JournalError::TooOld { wanted, first, .. } => {
            assert_eq!(wanted.0, last + 1);
            assert!(first > wanted && first.0 <= written);
        }
        other => panic!("{other}"),
    }
}
