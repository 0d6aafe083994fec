//! A process that has run out of descriptors still gets its next journal segments. A file of its own: the limit is the process's.
#![allow(clippy::unwrap_used)] // As the tests do.

use engine::log::{self, Durability, FileStorage, JournalSettings, Lsn, Reader};
use nix::sys::resource::{Resource, setrlimit};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Takes whatever descriptor is free, as a flood of connections does.
fn take_all(stop: &AtomicBool) {
    let mut taken = Vec::new();
    while !stop.load(Ordering::Acquire) {
        match File::open("/dev/null") {
            Ok(file) => taken.push(file),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[test]
fn segments_are_made_ready_when_connections_have_all_descriptors() {
    const SEGMENTS: usize = 40;
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).unwrap();
    let directory = std::env::temp_dir().join(format!("pitlane-descriptors-{}", std::process::id()));
    for durability in [Durability::Process, Durability::Disk] {
        let settings = JournalSettings {
            durability,
            segment_size: 16 << 10,
            stall_max: Duration::from_secs(20),
            ..JournalSettings::default()
        };
        let storage = FileStorage::open(&directory, 0, durability).unwrap();
        let end = Reader::open(storage.clone(), 0, Lsn(1)).unwrap().into_end().unwrap();
        let mut journal = log::start(storage, 0, end, settings).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| take_all(&stop));
            while File::open("/dev/null").is_ok() {
                std::thread::yield_now();
            }
            let payload = vec![1; journal.writer.payload_length_max()];
            let appended: Vec<_> = (0..SEGMENTS).map(|_| journal.writer.append(1, 0, &payload)).collect();
            stop.store(true, Ordering::Release);
            assert!(appended.iter().all(Result::is_ok), "{durability:?}: {appended:?}");
        });
        journal.close().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
