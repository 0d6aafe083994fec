//! A disk in memory that fails by seed: what of the writes survives a crash, syncs that err, rot. For tests and the simulation; no real I/O,
//! no threads, no clock.
//!
//! What is modelled, and where it comes from:
//! - A store through a mapping is in the page cache at once; a write from memory is when the keeper hands it over. The page cache
//!   survives the process ([`Crash::Process`]), not the machine ([`Crash::Power`]).
//! - On power loss each sector holds, by chance, any version between the last sync and now, or one cut at any byte ([`disk::Style`]).
//! - A failed sync leaves pages that are in the cache, count as clean, and never reach the disk: the next sync succeeds without them.
//! - A misdirected write reports success; the right place keeps its old bytes. It shows when the cache is gone.

pub mod disk;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use disk::{Crash, Faults, Injected};
use disk::{Disk, FileId};

use super::{
    error::StorageError,
    settings::Durability,
    storage::{Preparation, Prepared, SegmentKeeper, SegmentWriter, Storage},
};

/// Of a segment that is being made ready, as with files.
const UNFINISHED: &str = ".new";

/// A simulated disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimStorage {
    disk: Arc<Mutex<Disk>>,
    mapped: bool,
}

impl SimStorage {
    /// `durability` decides, as with files, whether segments are mapped.
    pub fn new(seed: u64, durability: Durability, faults: Faults) -> SimStorage {
        SimStorage {
            disk: Arc::new(Mutex::new(Disk::new(seed, faults))),
            mapped: durability != Durability::Disk,
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A test that panicked while holding it has failed already.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process or the machine now. Whatever was opened before takes no effect any more; drop it and recover.
    pub fn crash(&self, crash: Crash) {
        self.disk().crash(crash);
    }

    /// Lets the process die in the middle of a write, once it has written this many more bytes: later writes have no effect. To be
    /// followed by [`crash`](SimStorage::crash) as soon as [`is_dead`](SimStorage::is_dead).
    pub fn die_after(&self, bytes: u64) {
        self.disk().die_after(bytes);
    }

    pub fn is_dead(&self) -> bool {
        self.disk().is_dead()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.disk().faults = faults;
    }

    /// Room for files in total; None: any.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    pub fn set_read_only(&self, read_only: bool) {
        self.disk().read_only = read_only;
    }

    /// Turns one bit over, in the page cache and on the disk.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) {
        self.disk().flip_bit(file, offset, bit);
    }

    /// Faults that damage what had been synced, so far: after them a refusal to start is right.
    pub fn injected(&self) -> Vec<Injected> {
        self.disk().injected.clone()
    }

    /// A file as a process sees it.
    pub fn contents(&self, file: &str) -> Option<Vec<u8>> {
        self.disk().contents(file)
    }

    /// Puts a file there, durably: to build an image by hand.
    pub fn put(&self, file: &str, bytes: Vec<u8>) {
        self.disk().put(file, bytes);
    }

    /// The same disk in a copy of its own.
    pub fn fork(&self) -> SimStorage {
        SimStorage { disk: Arc::new(Mutex::new(self.disk().clone())), mapped: self.mapped }
    }
}

/// A segment's memory, where it is not the file itself.
type Memory = Arc<Mutex<Vec<u8>>>;

fn memory(memory: &Memory) -> MutexGuard<'_, Vec<u8>> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct SimWriter {
    storage: SimStorage,
    file: FileId,
    epoch: u64,
    memory: Option<Memory>,
}

impl SegmentWriter for SimWriter {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        match &self.memory {
            Some(shared) => {
                if let Some(place) = memory(shared).get_mut(offset..offset + bytes.len()) {
                    place.copy_from_slice(bytes);
                }
            }
            None => self.storage.disk().store(self.epoch, self.file, offset as u64, bytes),
        }
    }
}

pub struct SimKeeper {
    storage: SimStorage,
    file: FileId,
    name: String,
    epoch: u64,
    memory: Option<Memory>,
}

impl SegmentKeeper for SimKeeper {
    fn write_back(&mut self, from: u64, to: u64) -> Result<(), StorageError> {
        let Some(shared) = &self.memory else { return Ok(()) };
        let bytes = memory(shared)[from as usize..to as usize].to_vec();
        self.storage.disk().write(self.epoch, self.file, &self.name, from, &bytes)
    }

    fn write_durably(&mut self, from: u64, to: u64) -> Result<(), StorageError> {
        self.write_back(from, to)?;
        self.storage.disk().sync(self.epoch, self.file, &self.name, from..to)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.storage.disk().sync(self.epoch, self.file, &self.name, 0..u64::MAX)
    }

    fn write_mark(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.storage.disk().write(self.epoch, self.file, &self.name, offset, bytes)
    }

    fn prefault(&mut self, _: u64, _: u64) -> Result<(), StorageError> {
        Ok(())
    }

    fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn retire(self) {}
}

pub struct SimPreparation {
    storage: SimStorage,
    file: FileId,
    name: String,
    epoch: u64,
    size: u64,
    first_bytes: Vec<u8>,
    /// Steps taken: creating, filling, syncing and naming are apart, so that a crash can come between them.
    stage: u8,
}

impl Preparation for SimPreparation {
    type Writer = SimWriter;
    type Keeper = SimKeeper;

    fn step(&mut self) -> Result<Prepared<SimWriter, SimKeeper>, StorageError> {
        self.stage += 1;
        let mut disk = self.storage.disk();
        match self.stage {
            1 => disk.allocate(self.epoch, self.file, &self.name, self.size)?,
            2 => disk.write(self.epoch, self.file, &self.name, 0, &self.first_bytes)?,
            3 => disk.sync(self.epoch, self.file, &self.name, 0..u64::MAX)?,
            4 => disk.rename(&format!("{}{UNFINISHED}", self.name), &self.name)?,
            5 => disk.sync_directory(self.epoch)?,
            _ => {
                drop(disk);
                let halves = self.storage.halves(self.file, &self.name, self.size, self.epoch);
                return Ok(Prepared::Ready(halves.0, halves.1));
            }
        }
        Ok(Prepared::NotYet)
    }
}

impl SimStorage {
    fn halves(&self, file: FileId, name: &str, size: u64, epoch: u64) -> (SimWriter, SimKeeper) {
        let memory = (!self.mapped).then(|| Arc::new(Mutex::new(vec![0; size as usize])));
        (
            SimWriter { storage: self.clone(), file, epoch, memory: memory.clone() },
            SimKeeper { storage: self.clone(), file, name: name.to_owned(), epoch, memory },
        )
    }
}

impl Storage for SimStorage {
    type Writer = SimWriter;
    type Keeper = SimKeeper;
    type Preparation = SimPreparation;

    fn list(&self) -> Result<Vec<String>, StorageError> {
        Ok(self.disk().names())
    }

    fn length(&self, file: &str) -> Result<u64, StorageError> {
        self.disk().length(file)
    }

    fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        self.disk().read(file, offset, out)
    }

    fn prepare(&self, file: &str, size: u64, first_bytes: &[u8]) -> Result<SimPreparation, StorageError> {
        let mut disk = self.disk();
        let id = disk.create(&format!("{file}{UNFINISHED}"))?;
        Ok(SimPreparation {
            storage: self.clone(),
            file: id,
            name: file.to_owned(),
            epoch: disk.epoch(),
            size,
            first_bytes: first_bytes.to_vec(),
            stage: 0,
        })
    }

    fn reopen(&self, file: &str, size: u64, _: u64) -> Result<(SimWriter, SimKeeper), StorageError> {
        let (id, epoch) = {
            let disk = self.disk();
            (disk.find("open", file)?, disk.epoch())
        };
        Ok(self.halves(id, file, size, epoch))
    }

    fn overwrite(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let mut disk = self.disk();
        let (id, epoch) = (disk.find("write", file)?, disk.epoch());
        disk.write(epoch, id, file, offset, bytes)
    }

    fn create(&self, file: &str, parts: &[&[u8]]) -> Result<(), StorageError> {
        let mut disk = self.disk();
        let (id, epoch) = (disk.create(file)?, disk.epoch());
        let mut offset = 0;
        for part in parts {
            disk.append(epoch, id, file, offset, part)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    fn sync(&self, file: &str) -> Result<(), StorageError> {
        let mut disk = self.disk();
        let (id, epoch) = (disk.find("sync", file)?, disk.epoch());
        disk.sync(epoch, id, file, 0..u64::MAX)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.disk().rename(from, to)
    }

    fn remove(&self, file: &str) -> Result<(), StorageError> {
        self.disk().remove(file)
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        let mut disk = self.disk();
        let epoch = disk.epoch();
        disk.sync_directory(epoch)
    }

    fn check(&self) -> Result<(), StorageError> {
        Ok(())
    }

    fn boot_id(&self) -> u64 {
        self.disk().boot_id()
    }

    fn fresh_id(&self) -> u64 {
        self.disk().draw()
    }

    fn describe(&self, file: &str) -> String {
        format!("sim:{file}")
    }
}
