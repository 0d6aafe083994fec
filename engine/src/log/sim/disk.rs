//! The state of the simulated disk and the chances it takes. No journal knowledge: it does not know where records begin.

use std::{collections::BTreeMap, io, ops::Range};

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use super::super::{error::StorageError, format::SECTOR};

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process: what reached the page cache stays.
    Process,
    /// The machine: what was not synced survives by chance.
    Power,
}

/// Chances per million, all 0 by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// That a sync fails.
    pub sync_error: u32,
    /// That a write takes only part of its bytes.
    pub short_write: u32,
    /// That a write fails with an I/O error.
    pub write_error: u32,
    /// That one sector of a sync goes to another place of the same file.
    pub misdirected_write: u32,
    /// That a crash is followed by one flipped bit in a synced part of some file.
    pub bit_rot: u32,
}

/// A fault that hit bytes which had been synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injected {
    BitRot { file: String, offset: u64, bit: u8 },
    Misdirected { file: String, from: u64, to: u64 },
}

/// How a power loss treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Nothing,
    Everything,
    /// The writes in order up to one that is cut at any byte.
    Prefix,
    /// Each 4 KiB page in a version of its own.
    Pages,
    /// Each sector in a version of its own.
    Sectors,
    /// Each sector in a version of its own, the newest write in it cut at any byte.
    Bytes,
}

const PAGE: usize = 4096;

pub type FileId = usize;

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl File {
    fn grow(&mut self, length: usize) {
        self.now.resize(self.now.len().max(length), 0);
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, FileId),
    Remove(String),
    Rename(String, String),
}

#[derive(Clone, Debug)]
pub struct Disk {
    random: SplitMix64,
    pub faults: Faults,
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub injected: Vec<Injected>,
    files: Vec<File>,
    names: BTreeMap<String, FileId>,
    durable_names: BTreeMap<String, FileId>,
    /// Since the last sync of the directory, in order: file systems that journal their metadata keep a prefix.
    name_changes: Vec<NameChange>,
    /// Handles of an earlier process are void.
    epoch: u64,
    boot_id: u64,
    /// Bytes until the process dies.
    budget: Option<u64>,
    dead: bool,
}

fn system(action: &'static str, file: &str, kind: io::ErrorKind) -> StorageError {
    StorageError::io(action, format!("sim:{file}"), kind.into())
}

impl Disk {
    pub fn new(seed: u64, faults: Faults) -> Disk {
        let mut disk = Disk {
            random: SplitMix64::seed_from_u64(seed),
            faults,
            capacity: None,
            read_only: false,
            injected: Vec::new(),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            epoch: 0,
            boot_id: 0,
            budget: None,
            dead: false,
        };
        disk.boot_id = disk.draw() | 1;
        disk
    }

    pub fn draw(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// In `0..bound`; 0 for an empty range.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    pub fn boot_id(&self) -> u64 {
        self.boot_id
    }
    pub fn is_dead(&self) -> bool {
        self.dead
    }
    pub fn die_after(&mut self, bytes: u64) {
        self.budget = Some(bytes);
    }

    /// How many of `wanted` bytes are still written in this life.
    fn spend(&mut self, wanted: usize) -> usize {
        if self.dead {
            return 0;
        }
        let Some(budget) = self.budget else { return wanted };
        let taken = budget.min(wanted as u64);
        self.budget = Some(budget - taken);
        if taken < wanted as u64 {
            self.dead = true;
        }
        taken as usize
    }

    fn alive(&self, epoch: u64, action: &'static str, file: &str) -> Result<(), StorageError> {
        if self.dead || epoch != self.epoch {
            return Err(system(action, file, io::ErrorKind::BrokenPipe));
        }
        if self.read_only {
            return Err(system(action, file, io::ErrorKind::ReadOnlyFilesystem));
        }
        Ok(())
    }

    fn put_bytes(&mut self, id: FileId, offset: u64, bytes: &[u8]) {
        let taken = self.spend(bytes.len());
        let (file, start) = (&mut self.files[id], offset as usize);
        file.now[start..start + taken].copy_from_slice(&bytes[..taken]);
        file.unsynced.push((offset, bytes[..taken].to_vec()));
    }

    /// A store through a mapping: cannot fail, and reaches no further than the file.
    pub fn store(&mut self, epoch: u64, id: FileId, offset: u64, bytes: &[u8]) {
        if epoch == self.epoch && offset as usize + bytes.len() <= self.files[id].now.len() {
            self.put_bytes(id, offset, bytes);
        }
    }

    pub fn write(
        &mut self,
        epoch: u64,
        id: FileId,
        file: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.alive(epoch, "write", file)?;
        if self.chance(self.faults.write_error) {
            return Err(system("write", file, io::ErrorKind::Other));
        }
        if !bytes.is_empty() && self.chance(self.faults.short_write) {
            let taken = self.below(bytes.len() as u64);
            self.put_bytes(id, offset, &bytes[..taken as usize]);
            let (file, expected) = (format!("sim:{file}"), bytes.len() as u64);
            return Err(StorageError::ShortWrite { file, offset, expected, found: taken });
        }
        self.files[id].grow(offset as usize + bytes.len());
        self.put_bytes(id, offset, bytes);
        if self.dead { self.alive(epoch, "write", file) } else { Ok(()) }
    }

    /// A write that makes the file longer, and so needs room.
    pub fn append(
        &mut self,
        epoch: u64,
        id: FileId,
        file: &str,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        self.room("write", file, bytes.len() as u64)?;
        self.write(epoch, id, file, offset, bytes)
    }

    fn room(&self, action: &'static str, file: &str, expected: u64) -> Result<(), StorageError> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let used: u64 = self.names.values().map(|&id| self.files[id].now.len() as u64).sum();
        let found = capacity.saturating_sub(used);
        if found < expected {
            return Err(StorageError::Full { action, file: format!("sim:{file}"), expected, found });
        }
        Ok(())
    }

    pub fn allocate(&mut self, epoch: u64, id: FileId, file: &str, length: u64) -> Result<(), StorageError> {
        self.alive(epoch, "allocate segment", file)?;
        self.room("allocate segment", file, length)?;
        self.files[id].grow(length as usize);
        Ok(())
    }

    /// Makes the writes that begin in `range` durable.
    pub fn sync(
        &mut self,
        epoch: u64,
        id: FileId,
        file: &str,
        range: Range<u64>,
    ) -> Result<(), StorageError> {
        self.alive(epoch, "sync", file)?;
        let failed = self.chance(self.faults.sync_error);
        let misdirected = !failed && self.chance(self.faults.misdirected_write);
        let file_now = &mut self.files[id];
        let (unsynced, others) = std::mem::take(&mut file_now.unsynced)
            .into_iter()
            .partition(|(offset, _)| range.contains(offset));
        file_now.unsynced = others;
        let before = file_now.durable.clone();
        let mut durable = before.clone();
        durable.resize(file_now.now.len(), 0);
        if failed {
            // The disk has some of the pages, and the kernel forgets about the others.
            self.mix(&mut durable, &unsynced, PAGE, false);
            self.files[id].durable = durable;
            return Err(system("sync", file, io::ErrorKind::Other));
        }
        for (offset, bytes) in &unsynced {
            durable[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        self.files[id].durable = durable;
        if misdirected && !unsynced.is_empty() {
            self.misdirect(id, file, &unsynced, &before);
        }
        Ok(())
    }

    fn misdirect(&mut self, id: FileId, name: &str, written: &[(u64, Vec<u8>)], before: &[u8]) {
        let pick = self.below(written.len() as u64) as usize;
        let from = written[pick].0 as usize / SECTOR * SECTOR;
        let sectors = (self.files[id].durable.len() / SECTOR) as u64;
        let to = self.below(sectors) as usize * SECTOR;
        if from == to || from + SECTOR > before.len() {
            return;
        }
        let durable = &mut self.files[id].durable;
        durable.copy_within(from..from + SECTOR, to);
        durable[from..from + SECTOR].copy_from_slice(&before[from..from + SECTOR]);
        let (from, to) = (from as u64, to as u64);
        self.injected.push(Injected::Misdirected { file: name.to_owned(), from, to });
    }

    pub fn sync_directory(&mut self, epoch: u64) -> Result<(), StorageError> {
        self.alive(epoch, "sync directory", "")?;
        self.durable_names = self.names.clone();
        self.name_changes.clear();
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.name_changes.push(change);
    }

    pub fn create(&mut self, file: &str) -> Result<FileId, StorageError> {
        self.alive(self.epoch, "create", file)?;
        self.room("create", file, 1)?;
        let id = self.files.len();
        self.files.push(File::default());
        self.change(NameChange::Add(file.to_owned(), id));
        Ok(id)
    }

    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), StorageError> {
        self.alive(self.epoch, "rename", from)?;
        self.find("rename", from)?;
        self.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub fn remove(&mut self, file: &str) -> Result<(), StorageError> {
        self.alive(self.epoch, "remove", file)?;
        self.find("remove", file)?;
        self.change(NameChange::Remove(file.to_owned()));
        Ok(())
    }

    pub fn find(&self, action: &'static str, file: &str) -> Result<FileId, StorageError> {
        self.names.get(file).copied().ok_or_else(|| system(action, file, io::ErrorKind::NotFound))
    }

    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub fn length(&self, file: &str) -> Result<u64, StorageError> {
        Ok(self.files[self.find("examine", file)?].now.len() as u64)
    }

    pub fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        let bytes = &self.files[self.find("read", file)?].now;
        let from = (offset as usize).min(bytes.len());
        let count = out.len().min(bytes.len() - from);
        out[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    pub fn contents(&self, file: &str) -> Option<Vec<u8>> {
        self.names.get(file).map(|&id| self.files[id].now.clone())
    }

    pub fn put(&mut self, file: &str, bytes: Vec<u8>) {
        let id = self.files.len();
        self.files.push(File { now: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        self.names.insert(file.to_owned(), id);
        self.durable_names.insert(file.to_owned(), id);
    }

    pub fn flip_bit(&mut self, file: &str, offset: u64, bit: u8) {
        let Some(&id) = self.names.get(file) else { return };
        let File { now, durable, .. } = &mut self.files[id];
        for bytes in [now, durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        self.injected.push(Injected::BitRot { file: file.to_owned(), offset, bit });
    }

    pub fn crash(&mut self, crash: Crash) {
        self.epoch += 1;
        self.dead = false;
        self.budget = None;
        if crash == Crash::Power {
            self.lose_power();
        }
        if self.chance(self.faults.bit_rot) {
            self.rot();
        }
    }

    fn lose_power(&mut self) {
        self.boot_id = self.draw() | 1;
        let changes = std::mem::take(&mut self.name_changes);
        let kept = self.below(changes.len() as u64 + 1) as usize;
        for change in &changes[..kept] {
            apply(&mut self.durable_names, change);
        }
        self.names = self.durable_names.clone();
        let style = match self.below(6) {
            0 => Style::Nothing,
            1 => Style::Everything,
            2 => Style::Prefix,
            3 => Style::Pages,
            4 => Style::Sectors,
            _ => Style::Bytes,
        };
        for id in 0..self.files.len() {
            let survived = self.survivor(id, style);
            let file = &mut self.files[id];
            file.unsynced.clear();
            file.now.clone_from(&survived);
            file.durable = survived;
        }
    }

    /// The file after the loss of power.
    fn survivor(&mut self, id: FileId, style: Style) -> Vec<u8> {
        let unsynced = std::mem::take(&mut self.files[id].unsynced);
        let mut bytes = std::mem::take(&mut self.files[id].durable);
        if style == Style::Nothing || (unsynced.is_empty() && bytes.len() == self.files[id].now.len()) {
            return bytes;
        }
        bytes.resize(self.files[id].now.len(), 0);
        match style {
            Style::Nothing => {}
            Style::Everything => bytes.clone_from(&self.files[id].now),
            Style::Prefix => {
                let whole = self.below(unsynced.len() as u64 + 1) as usize;
                for (offset, write) in &unsynced[..whole] {
                    bytes[*offset as usize..][..write.len()].copy_from_slice(write);
                }
                if let Some((offset, write)) = unsynced.get(whole) {
                    let part = self.below(write.len() as u64 + 1) as usize;
                    bytes[*offset as usize..][..part].copy_from_slice(&write[..part]);
                }
            }
            Style::Pages => self.mix(&mut bytes, &unsynced, PAGE, false),
            Style::Sectors => self.mix(&mut bytes, &unsynced, SECTOR, false),
            Style::Bytes => self.mix(&mut bytes, &unsynced, SECTOR, true),
        }
        bytes
    }

    /// Gives each block of `block` bytes a version of its own.
    fn mix(&mut self, bytes: &mut [u8], unsynced: &[(u64, Vec<u8>)], block: usize, cut: bool) {
        let mut touching: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, (offset, write)) in unsynced.iter().enumerate() {
            let (first, end) = (*offset as usize / block, (*offset as usize + write.len()).div_ceil(block));
            for at in first..end {
                touching.entry(at).or_default().push(index);
            }
        }
        for (at, writes) in touching {
            let (begin, end) = (at * block, ((at + 1) * block).min(bytes.len()));
            let kept = match self.below(3) {
                0 => 0,
                1 => writes.len(),
                _ => self.below(writes.len() as u64 + 1) as usize,
            };
            for (nth, &index) in writes[..kept].iter().enumerate() {
                let (offset, write) = &unsynced[index];
                let from = (*offset as usize).max(begin);
                let mut to = (*offset as usize + write.len()).min(end);
                if cut && nth + 1 == kept {
                    to = from + self.below((to - from) as u64 + 1) as usize;
                }
                let source = from - *offset as usize;
                bytes[from..to].copy_from_slice(&write[source..source + to - from]);
            }
        }
    }

    fn rot(&mut self) {
        let names = self.names();
        let pick = self.below(names.len() as u64) as usize;
        let Some(name) = names.get(pick).cloned() else { return };
        let length = self.files[self.names[&name]].durable.len() as u64;
        if length > 0 {
            let (offset, bit) = (self.below(length), self.below(8) as u8);
            self.flip_bit(&name, offset, bit);
        }
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: &NameChange) {
    match change {
        NameChange::Add(name, id) => {
            names.insert(name.clone(), *id);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
    }
}
