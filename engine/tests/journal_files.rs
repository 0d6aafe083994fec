//! The journal on a real file system: round trips, restarts, a full disk, a missing or foreign file. Not crash images: those are simulated.
#![allow(clippy::unwrap_used)] // Its helpers panic as the tests do.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use engine::log::{
    self, AppendError, Durability, Ending, FileStorage, Journal, JournalError, JournalSettings, Lsn, Reader,
    Storage, StorageError, inspect, reader::segments,
};

/// A directory of its own, removed when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("pitlane-journal-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }
}

/// Removes a directory in which somebody may be making files meanwhile.
fn remove_while_in_use(directory: &Path) {
    while let Err(error) = std::fs::remove_dir_all(directory) {
        assert_eq!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty, "{error}");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn settings(durability: Durability) -> JournalSettings {
    JournalSettings {
        durability,
        segment_size: 64 << 10,
        stall_max: Duration::from_secs(10),
        ..JournalSettings::default()
    }
}

/// Number, timestamp, type, payload.
type Row = (u64, u64, u8, Vec<u8>);

fn open(directory: &Directory, settings: JournalSettings) -> (Journal<FileStorage>, Vec<Row>) {
    let storage = FileStorage::open(&directory.0, 3, settings.durability).unwrap();
    let mut reader = Reader::open(storage.clone(), 3, Lsn(1)).unwrap();
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push((record.lsn.0, record.timestamp_ns, record.kind, record.payload.to_vec()));
    }
    let end = reader.into_end().unwrap();
    assert_eq!(end.tail, Ending::Clean);
    (log::start(storage, 3, end, settings).unwrap(), records)
}

fn payload(number: u64) -> Vec<u8> {
    (0..number * 37 % 300).map(|index| (index * 7 + number) as u8).collect()
}

#[test]
fn records_come_back_over_segments_and_restarts() {
    for durability in [Durability::Process, Durability::Disk] {
        let directory = Directory::new(&format!("round-trip-{durability:?}"));
        let mut written = Vec::new();
        for _ in 0..4 {
            let (mut journal, records) = open(&directory, settings(durability));
            assert_eq!(records, written);
            for _ in 0..1000 {
                let number = written.len() as u64 + 1;
                let bytes = payload(number);
                let (a, b) = bytes.split_at(bytes.len() / 3);
                let kind = (number % 200 + 1) as u8;
                let lsn = journal.writer.append_parts(kind, number * 10, &[a, b]).unwrap();
                assert_eq!(lsn, Lsn(number));
                written.push((number, number * 10, kind, bytes));
            }
            journal.close().unwrap();
        }
        assert!(Reader::open(FileStorage::read_only(&directory.0), 3, Lsn(1)).unwrap().segments().len() > 8);
    }
}

#[test]
fn reading_can_start_at_any_record() {
    let directory = Directory::new("start");
    let (mut journal, _) = open(&directory, settings(Durability::Process));
    for number in 1..=2000 {
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    journal.close().unwrap();
    let storage = FileStorage::read_only(&directory.0);
    for from in [1, 2, 500, 777, 1999, 2000] {
        let mut reader = Reader::open(storage.clone(), 3, Lsn(from)).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().payload, payload(from));
    }
    assert!(Reader::open(storage.clone(), 3, Lsn(2001)).unwrap().next().unwrap().is_none());
    assert!(matches!(
        Reader::open(storage, 3, Lsn(2002)),
        Err(JournalError::TooNew { wanted: Lsn(2002), last: Lsn(2000) })
    ));
}

#[test]
fn a_record_is_durable_soon_after_it_is_appended_in_disk_mode() {
    let directory = Directory::new("durable");
    let (mut journal, _) = open(&directory, settings(Durability::Disk));
    for number in 1..=50 {
        let lsn = journal.writer.append(1, number, b"order").unwrap();
        let begin = Instant::now();
        while journal.writer.releasable() < lsn {
            assert!(begin.elapsed() < Duration::from_secs(20), "record {lsn} never became durable");
            std::thread::yield_now();
        }
    }
    journal.close().unwrap();
}

#[test]
fn a_reader_follows_a_writer_through_segments() {
    for durability in [Durability::Process, Durability::Disk] {
        let directory = Directory::new(&format!("follow-{durability:?}"));
        let (mut journal, _) = open(&directory, settings(durability));
        let mut reader = Reader::follow(FileStorage::read_only(&directory.0), 3, Lsn(1), Lsn(0)).unwrap();
        let mut seen = 0;
        for number in 1..=3000 {
            journal.writer.append(1, number, &payload(number)).unwrap();
            if number % 17 == 0 {
                reader.set_limit(journal.writer.releasable()).unwrap();
                while let Some(record) = reader.next().unwrap() {
                    seen += 1;
                    assert_eq!((record.lsn.0, record.payload), (seen, &payload(seen)[..]));
                }
                assert_eq!(Lsn(seen), journal.writer.releasable().min(Lsn(seen)));
                assert!(reader.end().is_none(), "the end of what may be read is not the journal's");
            }
        }
        assert!(seen > 2500 || durability == Durability::Disk, "saw {seen}");
        journal.close().unwrap();
    }
}

#[test]
fn only_one_process_can_write_and_the_lock_ends_with_it() {
    let directory = Directory::new("lock");
    let (journal, _) = open(&directory, settings(Durability::Process));
    assert!(FileStorage::is_in_use(&directory.0, 3));
    let second = FileStorage::open(&directory.0, 3, Durability::Process);
    assert!(matches!(second, Err(StorageError::Locked { .. })), "{second:?}");
    journal.close().unwrap();
    assert!(!FileStorage::is_in_use(&directory.0, 3));
}

#[test]
fn a_lock_file_that_is_removed_lets_nobody_in() {
    let directory = Directory::new("lock-file");
    let (journal, _) = open(&directory, settings(Durability::Process));
    std::fs::remove_file(directory.0.join("journal-003.lock")).unwrap();
    assert!(FileStorage::is_in_use(&directory.0, 3));
    let second = FileStorage::open(&directory.0, 3, Durability::Process);
    assert!(matches!(second, Err(StorageError::Locked { .. })), "{second:?}");
    journal.close().unwrap();
}

#[test]
fn nobody_else_reads_a_journal() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new("modes");
    let older = directory.0.join("snapshot-003-00000000000000000001.snap");
    std::fs::write(&older, b"of a version before").unwrap();
    std::fs::set_permissions(&older, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (journal, _) = open(&directory, settings(Durability::Process));
    FileStorage::open(&directory.0.join("new"), 3, Durability::Process).unwrap();
    journal.close().unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut files = 0;
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            assert_eq!(mode(path.clone()), 0o600, "{}", path.display());
        }
    }
    assert!(files >= 3, "{files}");
    assert_eq!(mode(directory.0.join("new")), 0o700);
}

/// What is acknowledged after this is lost for everybody who reads the journal.
#[test]
fn a_directory_or_segment_deleted_while_running_ends_the_journal() {
    type Deed = fn(&Directory);
    let deeds: [(&str, Deed); 3] = [
        ("removed", |directory| remove_while_in_use(&directory.0)),
        ("replaced", |directory| {
            remove_while_in_use(&directory.0);
            std::fs::create_dir(&directory.0).unwrap();
        }),
        ("segment", |directory| {
            std::fs::remove_file(directory.0.join("journal-003-0000000000.seg")).unwrap()
        }),
    ];
    for durability in [Durability::Process, Durability::Disk] {
        for (name, deed) in deeds {
            let directory = Directory::new(&format!("deleted-{name}-{durability:?}"));
            let (mut journal, _) = open(&directory, settings(durability));
            journal.writer.append(1, 1, b"order").unwrap();
            deed(&directory);
            let begin = Instant::now();
            while journal.writer.progress().failure().is_none() {
                assert!(begin.elapsed() < Duration::from_secs(60), "{name}: not noticed");
                std::thread::sleep(Duration::from_millis(10));
            }
            let failure = journal.writer.append(1, 2, b"order").unwrap_err();
            assert!(failure.to_string().contains("has been removed or replaced"), "{failure}");
        }
    }
}

/// A journal of `used` segments whose end is spoiled is refused, by whoever reads it.
fn refused_once(name: &str, used: usize, spoil: impl Fn(&Directory, &[PathBuf])) {
    let directory = Directory::new(&format!("end-{name}"));
    let (mut journal, _) = open(&directory, settings(Durability::Process));
    let in_use = || {
        let segments = segments(&FileStorage::read_only(&directory.0), 3).unwrap();
        segments.iter().filter(|segment| segment.valid().is_some()).count()
    };
    let mut number = 0;
    while in_use() < used {
        number += 1;
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    for _ in 0..5 {
        number += 1;
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    let storage = FileStorage::read_only(&directory.0);
    while segments(&storage, 3).unwrap().len() <= used {
        std::thread::sleep(Duration::from_millis(1));
    }
    journal.close().unwrap();
    let files: Vec<PathBuf> =
        segments(&storage, 3).unwrap().iter().map(|segment| directory.0.join(&segment.name)).collect();
    spoil(&directory, &files);
    let mut read = 0;
    let error = Reader::open(storage.clone(), 3, Lsn(1)).and_then(|mut reader| {
        while reader.next()?.is_some() {
            read += 1;
        }
        Ok(())
    });
    assert!(matches!(error, Err(JournalError::Damaged { .. })), "{name}: {error:?}, {read} of {number} read");
    let report = inspect::verify(&storage, 3, false).unwrap();
    assert!(!report.is_whole(), "{name}: {:?}", report.verdict);
}

#[test]
fn an_end_that_is_gone_is_damage_and_not_an_end() {
    let truncate = |file: &PathBuf| std::fs::write(file, b"").unwrap();
    let remove = |file: &PathBuf| std::fs::remove_file(file).unwrap();
    refused_once("truncated", 3, |_, files| truncate(&files[2]));
    refused_once("truncated-with-the-ready-ones", 3, |_, files| files[2..].iter().for_each(truncate));
    refused_once("deleted-with-the-ready-ones", 3, |_, files| files[2..].iter().for_each(remove));
    refused_once("zeroed", 3, |_, files| std::fs::write(&files[2], vec![0; 64 << 10]).unwrap());
    refused_once("only-one-truncated", 1, |_, files| truncate(&files[0]));
}

/// A restart right after a seal leaves no moment in which the next segment is missing.
#[test]
fn a_journal_that_ends_with_a_seal_goes_on() {
    let directory = Directory::new("sealed");
    let (mut journal, _) = open(&directory, settings(Durability::Process));
    for number in 1..=2000 {
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    journal.close().unwrap();
    // The last one used, as if nothing had come to it yet.
    let storage = FileStorage::read_only(&directory.0);
    let segments = segments(&storage, 3).unwrap();
    let last = segments.iter().rfind(|segment| segment.valid().is_some()).unwrap();
    let path = directory.0.join(&last.name);
    let mut bytes = std::fs::read(&path).unwrap();
    let unused = std::fs::read(directory.0.join(&segments.last().unwrap().name)).unwrap();
    bytes.copy_from_slice(&unused);
    std::fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        let (mut journal, records) = open(&directory, settings(Durability::Process));
        journal.writer.append(1, 0, b"more").unwrap();
        assert!(records.len() > 100);
        journal.close().unwrap();
    }
}

#[test]
fn a_reading_storage_changes_nothing() {
    let directory = Directory::new("read-only");
    let storage = FileStorage::read_only(&directory.0);
    assert!(matches!(storage.create("x", &[b"y"]), Err(StorageError::ReadOnly { .. })));
    assert!(matches!(storage.remove("x"), Err(StorageError::ReadOnly { .. })));
}

#[test]
fn a_missing_segment_is_named() {
    let directory = Directory::new("missing");
    let (mut journal, _) = open(&directory, settings(Durability::Process));
    for number in 1..=2000 {
        journal.writer.append(1, number, &payload(number)).unwrap();
    }
    journal.close().unwrap();
    std::fs::remove_file(directory.0.join("journal-003-0000000002.seg")).unwrap();
    let error = Reader::open(FileStorage::read_only(&directory.0), 3, Lsn(1)).err().unwrap();
    assert!(error.to_string().contains("expected journal-003-0000000002.seg"), "{error}");
}

#[test]
fn payloads_and_types_out_of_bounds_are_refused_and_cost_nothing() {
    let directory = Directory::new("bounds");
    let (mut journal, _) = open(&directory, settings(Durability::Process));
    let max = journal.writer.payload_length_max();
    let too_long = vec![1; max + 1];
    for _ in 0..5 {
        assert_eq!(
            journal.writer.append(1, 0, &too_long),
            Err(AppendError::TooLong { expected_max: max, found: max + 1 })
        );
        assert_eq!(journal.writer.append(0, 0, b""), Err(AppendError::Kind(0)));
        assert_eq!(journal.writer.append(0xFF, 0, b""), Err(AppendError::Kind(0xFF)));
    }
    for number in 1..=5 {
        assert_eq!(journal.writer.append(1, 0, &too_long[..max]).unwrap(), Lsn(number));
    }
    journal.close().unwrap();
}

const CHILD: &str = "PITLANE_JOURNAL_TEST_CHILD";

/// What a killed process does until then: appends, and says what it would acknowledge.
fn append_until_killed(directory: PathBuf, durability: Durability) -> ! {
    use std::io::Write;
    let directory = Directory(directory);
    let (mut journal, rows) = open_whatever_the_end(&directory, settings(durability));
    let (mut number, mut said) = (rows, 0);
    let mut out = std::io::stdout();
    loop {
        number += 1;
        match journal.writer.append(1, number, &payload(number)) {
            Ok(lsn) => assert_eq!(lsn, Lsn(number)),
            Err(AppendError::NotReady { .. }) => number -= 1,
            Err(error) => panic!("{error}"),
        }
        let releasable = journal.writer.releasable().0;
        if releasable >= said + 50 {
            said = releasable;
            writeln!(out, "ACKNOWLEDGED {said}").unwrap();
        }
    }
}

/// Number of records found.
fn open_whatever_the_end(directory: &Directory, settings: JournalSettings) -> (Journal<FileStorage>, u64) {
    let storage = FileStorage::open(&directory.0, 3, settings.durability).unwrap();
    let mut reader = Reader::open(storage.clone(), 3, Lsn(1)).unwrap();
    let mut count = 0;
    while let Some(record) = reader.next().unwrap() {
        count += 1;
        assert_eq!((record.lsn.0, record.timestamp_ns, record.payload), (count, count, &payload(count)[..]));
    }
    (log::start(storage, 3, reader.into_end().unwrap(), settings).unwrap(), count)
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };
    if let Some((mode, directory)) =
        std::env::var(CHILD).ok().as_deref().and_then(|value| value.split_once(':'))
    {
        let durability = if mode == "disk" { Durability::Disk } else { Durability::Process };
        append_until_killed(directory.into(), durability);
    }
    for (mode, durability) in [("process", Durability::Process), ("disk", Durability::Disk)] {
        let directory = Directory::new(&format!("killed-{mode}"));
        let mut before = 0;
        for round in 1..=8u64 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "a_killed_process_loses_nothing_it_acknowledged", "--nocapture"])
                .env(CHILD, format!("{mode}:{}", directory.0.display()))
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let wanted = before + round * 97;
            let mut acknowledged = 0;
            for line in lines.map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("ACKNOWLEDGED ") {
                    // The last line may be cut short, which makes it a smaller number.
                    acknowledged = acknowledged.max(number.parse::<u64>().unwrap_or(0));
                }
                if acknowledged >= wanted {
                    // Once only: what is in the pipe by then was said as well, and is read to its end.
                    let _ = child.kill();
                }
            }
            assert!(!child.wait().unwrap().success());
            let (journal, found) = open_whatever_the_end(&directory, settings(durability));
            assert!(
                found >= acknowledged && acknowledged >= wanted,
                "{found} found, {acknowledged} acknowledged"
            );
            before = found;
            drop(journal);
        }
    }
}
