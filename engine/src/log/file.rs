//! The real disk: segment files of a directory, written through a mapping or written back from memory. No format knowledge.
//!
//! Two ways, by durability (figures: docs/journal.md, "Which system calls"):
//! - `process`: the file is mapped shared. A store is in the page cache at once and needs no one to survive the process.
//! - `disk`: the shard stores to memory of its own, and the sync thread does `pwritev2(RWF_DSYNC)`. Syncing a mapping write-protects its
//!   pages, so that the shard's next store would fault into the file system (12 us each here, and fdatasync itself took 325 us instead of
//!   139). The file is written with zeros first: syncing into merely reserved blocks has to commit metadata as well.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::{errno::Errno, fcntl::FallocateFlags};

use super::{
    directory::{FILE_MODE, JournalDirectory},
    error::StorageError,
    format,
    mapping::{self, Loads, Stores},
    settings::Durability,
    storage::{Preparation, Prepared, SegmentKeeper, SegmentWriter, Storage},
};

/// Bytes zeroed or prefaulted per step of a preparation: about a millisecond.
const STEP: u64 = 1 << 20;
/// Zeros given to the disk at once: more would make a group commit in between wait for them.
const SYNC_EVERY: u64 = 4 << 20;

/// Of a segment while it is being made ready: it gets its name when it is whole, so that an empty one is never mistaken for it.
const UNFINISHED: &str = ".new";

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    mapped: bool,
    /// None: for reading only.
    held: Option<Held>,
}

/// What the one writer of a shard's journal holds.
#[derive(Debug)]
struct Held {
    directory: Arc<JournalDirectory>,
    /// Locked: the versions before this one look at it, and nothing else tells two owners of one shard in one process apart.
    _lock: File,
}

/// A directory on a real file system.
#[derive(Clone, Debug)]
pub struct FileStorage(Arc<Inner>);

impl FileStorage {
    /// Opens `directory` (made if it is not there) for the one process that writes this shard's journal, which has no other shards.
    pub fn open(directory: &Path, shard: u32, durability: Durability) -> Result<FileStorage, StorageError> {
        FileStorage::open_in(&Arc::new(JournalDirectory::lock(directory)?), shard, durability)
    }

    /// Opens this shard's journal in a directory that the process has locked.
    pub fn open_in(
        directory: &Arc<JournalDirectory>,
        shard: u32,
        durability: Durability,
    ) -> Result<FileStorage, StorageError> {
        let path = lock_path(directory.path(), shard);
        let file = path.display().to_string();
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| StorageError::io("open", &file, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { file }),
            Err(TryLockError::Error(error)) => return Err(StorageError::io("lock", file, error)),
        }
        let held = Held { directory: Arc::clone(directory), _lock: lock };
        let mapped = durability != Durability::Disk;
        let inner = Inner { directory: directory.path().into(), mapped, held: Some(held) };
        let storage = FileStorage(Arc::new(inner));
        storage.tidy(shard)?;
        Ok(storage)
    }

    /// Makes the shard's files private, and removes what a crash left of a segment that was being made ready.
    fn tidy(&self, shard: u32) -> Result<(), StorageError> {
        let names = self.list()?;
        for name in &names {
            let segment = name.strip_suffix(UNFINISHED);
            if segment.is_some_and(|segment| format::segment_ordinal(segment, shard).is_some()) {
                self.remove(name)?;
            }
        }
        let prefixes = [format!("journal-{shard:03}"), format!("snapshot-{shard:03}")];
        let own = |name: &String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        self.held("make private", "")?.directory.make_private(names.into_iter().filter(own));
        Ok(())
    }

    /// Opens `directory` to look at it. Everything that would change it fails.
    pub fn read_only(directory: &Path) -> FileStorage {
        FileStorage(Arc::new(Inner { directory: directory.into(), mapped: true, held: None }))
    }

    /// Whether a process has this shard's journal open for writing.
    pub fn is_in_use(directory: &Path, shard: u32) -> bool {
        JournalDirectory::is_locked(directory)
            || File::open(lock_path(directory, shard))
                .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.directory.join(file)
    }

    fn error(&self, action: &'static str, file: &str) -> impl FnOnce(io::Error) -> StorageError {
        let file = self.describe(file);
        move |error| StorageError::io(action, file, error)
    }

    fn held(&self, action: &'static str, file: &str) -> Result<&Held, StorageError> {
        match &self.0.held {
            Some(held) => Ok(held),
            None => Err(StorageError::ReadOnly { action, file: self.describe(file) }),
        }
    }

    fn open_for_writing(&self, action: &'static str, file: &str) -> Result<File, StorageError> {
        self.held(action, file)?;
        OpenOptions::new().read(true).write(true).open(self.path(file)).map_err(self.error(action, file))
    }
}

fn lock_path(directory: &Path, shard: u32) -> PathBuf {
    directory.join(format!("journal-{shard:03}.lock"))
}

/// Names the room there was, if it was room that was missing.
fn full_or(action: &'static str, file: &Path, expected: u64) -> impl FnOnce(io::Error) -> StorageError {
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let found = nix::sys::statvfs::statvfs(file.parent().unwrap_or(file))
                .map_or(0, |status| status.blocks_available() * status.fragment_size());
            StorageError::Full { action, file: file.display().to_string(), expected, found }
        }
        _ => StorageError::io(action, file.display().to_string(), error),
    }
}

/// Writes all or says how much was taken. Never continues a short write: on a prepared file there is no harmless one.
fn whole(
    path: &Path,
    offset: u64,
    expected: u64,
    mut write: impl FnMut() -> io::Result<usize>,
) -> Result<(), StorageError> {
    let taken = loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result.map_err(full_or("write", path, expected))? as u64,
        }
    };
    if taken != expected {
        let file = path.display().to_string();
        return Err(StorageError::ShortWrite { file, offset, expected, found: taken });
    }
    Ok(())
}

fn write_whole(file: &File, path: &Path, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
    whole(path, offset, bytes.len() as u64, || file.write_at(bytes, offset))
}

pub struct FileWriter(Stores);

impl SegmentWriter for FileWriter {
    #[inline]
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.0.store(offset, bytes);
    }
}

pub struct FileKeeper {
    storage: FileStorage,
    file: File,
    path: PathBuf,
    memory: Loads,
    mapped: bool,
}

impl FileKeeper {
    fn write(&self, from: u64, to: u64, durably: bool) -> Result<(), StorageError> {
        let range = from as usize..to as usize;
        whole(&self.path, from, to - from, || self.memory.write_to(&self.file, range.clone(), durably))
    }
}

impl SegmentKeeper for FileKeeper {
    fn write_back(&mut self, from: u64, to: u64) -> Result<(), StorageError> {
        if self.mapped || from >= to { Ok(()) } else { self.write(from, to, false) }
    }

    fn write_durably(&mut self, from: u64, to: u64) -> Result<(), StorageError> {
        if self.mapped { self.sync() } else { self.write(from, to, true) }
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.file
            .sync_data()
            .map_err(|error| StorageError::io("sync", self.path.display().to_string(), error))
    }

    fn write_mark(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        write_whole(&self.file, &self.path, offset, bytes)
    }

    fn prefault(&mut self, from: u64, to: u64) -> Result<(), StorageError> {
        if self.mapped { prefault(&self.memory, &self.path, from, to) } else { Ok(()) }
    }

    fn check(&self) -> Result<(), StorageError> {
        let name = || self.path.display().to_string();
        let links = self.file.metadata().map_err(|error| StorageError::io("examine", name(), error))?.nlink();
        if links == 0 { Err(StorageError::Gone { file: name() }) } else { Ok(()) }
    }

    fn retire(self) {
        if let Some(held) = &self.storage.0.held {
            held.directory.put_by(self.file);
        }
    }
}

fn prefault(memory: &Loads, path: &Path, from: u64, to: u64) -> Result<(), StorageError> {
    match memory.prefault(from as usize..to as usize) {
        // Kernels before 5.14 do not know how: the first store to each page faults instead.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        // What a store would turn into SIGBUS: no room, or an I/O error, behind this page.
        result => result.map_err(full_or("reserve pages of", path, to - from)),
    }
}

enum Stage {
    Reserve,
    Zero { at: u64 },
    Sync,
    Prefault { at: u64, stores: Stores, loads: Loads },
    Done,
}

pub struct FilePreparation {
    storage: FileStorage,
    /// Where it is made, and the name that it gets.
    path: PathBuf,
    name: PathBuf,
    /// None once it was handed over.
    file: Option<File>,
    size: u64,
    first_bytes: Vec<u8>,
    stage: Stage,
}

impl FilePreparation {
    fn file(&self) -> Result<&File, StorageError> {
        let gone = || StorageError::Gone { file: self.path.display().to_string() };
        self.file.as_ref().ok_or_else(gone)
    }

    /// Claims the blocks, so that a full disk shows here and not under the shard's stores.
    fn reserve(&mut self) -> Result<Stage, StorageError> {
        let reserved = nix::fcntl::fallocate(self.file()?, FallocateFlags::empty(), 0, self.size as i64);
        let must_zero = match reserved {
            Ok(()) => !self.storage.0.mapped,
            // Some file systems cannot reserve: writing the zeros claims the blocks as well.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => true,
            Err(error) => {
                return Err(full_or("allocate segment", &self.path, self.size)(error.into()));
            }
        };
        Ok(if must_zero { Stage::Zero { at: 0 } } else { Stage::Sync })
    }

    fn zero(&mut self, at: u64) -> Result<Stage, StorageError> {
        let zeros = vec![0; STEP.min(self.size - at) as usize];
        write_whole(self.file()?, &self.path, at, &zeros)?;
        let at = at + zeros.len() as u64;
        if at.is_multiple_of(SYNC_EVERY) {
            // The data alone: each commit of the file system's own journal is one more thing for a group commit to wait behind.
            let synced = self.file()?.sync_data();
            synced.map_err(|error| StorageError::io("sync", self.path.display().to_string(), error))?;
        }
        Ok(if at == self.size { Stage::Sync } else { Stage::Zero { at } })
    }

    fn sync(&self) -> Result<(), StorageError> {
        let synced = self.file()?.sync_all();
        synced.map_err(|error| StorageError::io("sync", self.path.display().to_string(), error))
    }

    /// Gives the file its name, now that it is whole.
    fn map(&mut self) -> Result<Stage, StorageError> {
        write_whole(self.file()?, &self.path, 0, &self.first_bytes)?;
        self.sync()?;
        std::fs::rename(&self.path, &self.name)
            .map_err(|error| StorageError::io("rename", self.path.display().to_string(), error))?;
        self.path.clone_from(&self.name);
        self.storage.sync_directory()?;
        let (stores, loads) = map(self.file()?, &self.path, self.size, self.storage.0.mapped)?;
        Ok(Stage::Prefault { at: 0, stores, loads })
    }
}

fn map(file: &File, path: &Path, size: u64, mapped: bool) -> Result<(Stores, Loads), StorageError> {
    let length = size as usize;
    let halves = if mapped { mapping::map_file(file, length) } else { mapping::map_anonymous(length) };
    halves.map_err(|error| StorageError::io("map", path.display().to_string(), error))
}

impl Preparation for FilePreparation {
    type Writer = FileWriter;
    type Keeper = FileKeeper;

    fn step(&mut self) -> Result<Prepared<FileWriter, FileKeeper>, StorageError> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Reserve => self.reserve()?,
            Stage::Zero { at } => self.zero(at)?,
            Stage::Sync => self.map()?,
            Stage::Prefault { at, stores, loads } => {
                let to = self.size.min(at + STEP);
                prefault(&loads, &self.path, at, to)?;
                if to == self.size {
                    self.file()?;
                    let Some(file) = self.file.take() else { return Ok(Prepared::NotYet) };
                    let (storage, path, mapped) =
                        (self.storage.clone(), self.path.clone(), self.storage.0.mapped);
                    let keeper = FileKeeper { storage, file, path, memory: loads, mapped };
                    return Ok(Prepared::Ready(FileWriter(stores), keeper));
                }
                Stage::Prefault { at: to, stores, loads }
            }
            Stage::Done => Stage::Done,
        };
        Ok(Prepared::NotYet)
    }
}

impl Storage for FileStorage {
    type Writer = FileWriter;
    type Keeper = FileKeeper;
    type Preparation = FilePreparation;

    fn list(&self) -> Result<Vec<String>, StorageError> {
        let read = || -> io::Result<Vec<String>> {
            let entries = std::fs::read_dir(&self.0.directory)?;
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
        };
        read().map_err(|error| StorageError::io("list", self.0.directory.display().to_string(), error))
    }

    fn length(&self, file: &str) -> Result<u64, StorageError> {
        let metadata = std::fs::metadata(self.path(file)).map_err(self.error("examine", file))?;
        Ok(metadata.len())
    }

    fn read(&self, file: &str, offset: u64, out: &mut [u8]) -> Result<usize, StorageError> {
        let open = File::open(self.path(file)).map_err(self.error("open", file))?;
        let mut filled = 0;
        while filled < out.len() {
            match open.read_at(&mut out[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error("read", file)(error)),
            }
        }
        Ok(filled)
    }

    fn prepare(&self, file: &str, size: u64, first_bytes: &[u8]) -> Result<FilePreparation, StorageError> {
        let held = self.held("create", file)?;
        let path = self.path(&format!("{file}{UNFINISHED}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
        let open =
            held.directory.open_with(|| options.open(&path)).map_err(full_or("create", &path, size))?;
        Ok(FilePreparation {
            storage: self.clone(),
            path,
            name: self.path(file),
            file: Some(open),
            size,
            first_bytes: first_bytes.to_vec(),
            stage: Stage::Reserve,
        })
    }

    fn reopen(&self, file: &str, size: u64, written: u64) -> Result<(FileWriter, FileKeeper), StorageError> {
        let open = self.open_for_writing("open", file)?;
        let path = self.path(file);
        let mapped = self.0.mapped;
        let (stores, loads) = map(&open, &path, size, mapped)?;
        prefault(&loads, &path, written, size)?;
        Ok((
            FileWriter(stores),
            FileKeeper { storage: self.clone(), file: open, path, memory: loads, mapped },
        ))
    }

    fn overwrite(&self, file: &str, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let open = self.open_for_writing("write", file)?;
        write_whole(&open, &self.path(file), offset, bytes)
    }

    fn create(&self, file: &str, parts: &[&[u8]]) -> Result<(), StorageError> {
        self.held("create", file)?;
        let path = self.path(file);
        let open = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&path);
        let open = open.map_err(full_or("create", &path, 0))?;
        let mut offset = 0;
        for part in parts {
            // Snapshots can be larger than what one write takes (2 GiB).
            for chunk in part.chunks(STEP as usize) {
                write_whole(&open, &path, offset, chunk)?;
                offset += chunk.len() as u64;
            }
        }
        Ok(())
    }

    fn sync(&self, file: &str) -> Result<(), StorageError> {
        self.open_for_writing("sync", file)?.sync_all().map_err(self.error("sync", file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), StorageError> {
        self.held("rename", from)?;
        std::fs::rename(self.path(from), self.path(to)).map_err(self.error("rename", from))
    }

    fn remove(&self, file: &str) -> Result<(), StorageError> {
        self.held("remove", file)?;
        std::fs::remove_file(self.path(file)).map_err(self.error("remove", file))
    }

    fn sync_directory(&self) -> Result<(), StorageError> {
        self.held("sync directory", "")?.directory.sync()
    }

    fn check(&self) -> Result<(), StorageError> {
        self.0.held.as_ref().map_or(Ok(()), |held| held.directory.check())
    }

    fn boot_id(&self) -> u64 {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    }

    fn fresh_id(&self) -> u64 {
        // Without a random source the time will do: the number only has to differ between journals of one machine.
        getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |now| now.as_nanos() as u64)
        })
    }

    fn describe(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }
}
