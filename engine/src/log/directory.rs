//! A journal's directory as its one owner holds it: locked, known again when its name is another's, with descriptors put by. No files in it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

use super::error::StorageError;

/// Nobody but the owner reads what was traded.
pub(super) const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// Descriptors put by for the next segments, one each: as many as a shard uses up in seconds at full load.
const DESCRIPTORS_KEPT: usize = 8;

/// The right to write to a directory. One process has it at a time, for all its shards: two engines in one directory would be two truths.
///
/// The lock is the directory's own, so that no file that anyone removes lets a second engine in.
#[derive(Debug)]
pub struct JournalDirectory {
    path: PathBuf,
    descriptor: File,
    /// Opened on nothing: each is given up when the next segment finds no other, and comes back when a segment is done with.
    kept: Mutex<Vec<File>>,
    nothing: File,
}

impl JournalDirectory {
    /// Opens `path`, made if it is not there, and locks it.
    pub fn lock(path: &Path) -> Result<JournalDirectory, StorageError> {
        let name = path.display().to_string();
        let failed = |action| {
            let name = name.clone();
            move |error| StorageError::io(action, name, error)
        };
        let made = DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path);
        made.map_err(failed("create directory"))?;
        let descriptor = File::open(path).map_err(failed("open directory"))?;
        match descriptor.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StorageError::Locked { file: name }),
            Err(TryLockError::Error(error)) => return Err(failed("lock directory")(error)),
        }
        let nothing = || OpenOptions::new().read(true).write(true).open("/dev/null");
        let kept = (0..DESCRIPTORS_KEPT).map(|_| nothing()).collect::<io::Result<_>>();
        Ok(JournalDirectory {
            path: path.into(),
            descriptor,
            kept: Mutex::new(kept.map_err(failed("keep descriptors for"))?),
            nothing: nothing().map_err(failed("keep descriptors for"))?,
        })
    }

    /// Whether a process holds the lock of the directory `path`.
    pub fn is_locked(path: &Path) -> bool {
        File::open(path).is_ok_and(|open| matches!(open.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails once the directory that is locked is no longer the one of this name: what is written is then out of everybody's sight.
    pub fn check(&self) -> Result<(), StorageError> {
        let name = || self.path.display().to_string();
        let io = |error| StorageError::io("examine directory", name(), error);
        let held = self.descriptor.metadata().map_err(io)?;
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == (held.dev(), held.ino()) => Ok(()),
            Ok(_) => Err(StorageError::Gone { file: name() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StorageError::Gone { file: name() }),
            Err(error) => Err(io(error)),
        }
    }

    /// Makes names durable.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        let name = || self.path.display().to_string();
        self.descriptor.sync_all().map_err(|error| StorageError::io("sync directory", name(), error))
    }

    /// Takes the group's and everybody's rights from files that a version before this made.
    pub(super) fn make_private(&self, files: impl Iterator<Item = String>) {
        for file in files {
            let path = self.path.join(file);
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.mode() & 0o077 == 0 {
                continue;
            }
            let mode = std::fs::Permissions::from_mode(FILE_MODE);
            if let Err(error) = std::fs::set_permissions(&path, mode) {
                tracing::warn!(file = %path.display(), %error, "others may read this file, and that cannot be changed");
            }
        }
    }

    /// What `open` opens. When the process has no descriptor left, one of those put by makes room.
    pub(super) fn open_with(&self, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
        loop {
            match open() {
                Err(error) if is_out_of_descriptors(&error) => {
                    let spare = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    if spare.is_none() {
                        return Err(error);
                    }
                }
                opened => return opened,
            }
        }
    }

    /// Takes the descriptor of a file that is done with: it is put by without being free in between, or closed.
    pub(super) fn put_by(&self, file: File) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < DESCRIPTORS_KEPT {
            let mut descriptor = file.into();
            // Where it does not succeed, the descriptor is as well put by with the file behind it.
            let _ = nix::unistd::dup2(&self.nothing, &mut descriptor);
            kept.push(descriptor.into());
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}
