//! Passwords that were right, as keyed hashes: who logs in again need not be hashed for again, before a restart of the
//! engine or after it. Not the accounts' own hashes, which stay in the configuration.
//!
//! A fast hash of a short password must not lie where its key does, unless both are gone with the machine's power: the file
//! is taken only on a file system in memory, private, and ours. An entry is good for one user, one password and one
//! configured hash: change the hash or remove the account, and it is worth nothing.
//!
//! ```text
//!  0        16     48       64                    96
//!  +--------+------+--------+----------------------+-----
//!  | magic  | key  | zeros  | user 6, zeros 2,     | ...
//!  |        |      |        | until 8, tag 16      |
//!  +--------+------+--------+----------------------+-----
//! ```

use super::Accounts;
use super::keyed::{KEY_LENGTH, Key, TAG_LENGTH, Tag};
use super::password;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::unistd::Uid;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::soupbintcp::canonical;

const MAGIC: &[u8; 16] = b"PITLANE-LOGINS-1";
const HEADER_LENGTH: usize = 64;
const ENTRY_LENGTH: usize = 32;

/// What is remembered of each account. Any thread asks; the threads that verify tell it.
#[derive(Debug)]
pub struct Remembered {
    accounts: Accounts,
    entries: Box<[Entry]>,
    key: Key,
    lifetime: Duration,
    file: Option<Flock<File>>,
}

/// A tag and when it ends, seconds since the Unix epoch. Its words are written and read one by one: a reader that sees half of
/// a change has a tag that no password fits, and the password is hashed.
#[derive(Debug, Default)]
struct Entry {
    tag: [AtomicU64; 2],
    until: AtomicU64,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is on a disk; expected a file system in memory (tmpfs), as the file holds a key")]
    OnDisk,
    #[error("it belongs to user {0}, or others may read it (mode {1:o}); expected ours, mode 600")]
    NotPrivate(u32, u32),
    #[error("another process has it")]
    Taken,
}

impl Remembered {
    /// Remembers for `lifetime`, as long as this process lives; of none, nothing.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(accounts: Accounts, lifetime: Duration) -> Result<Self, getrandom::Error> {
        let entries = accounts.list.iter().map(|_| Entry::default()).collect();
        Ok(Self { accounts, entries, key: Key::random()?, lifetime, file: None })
    }

    /// Goes on from what the file has, and keeps what comes in it.
    ///
    /// # Errors
    /// The file cannot be had, or is not one to trust with a key. What is remembered then ends with the process.
    pub fn keep_in(&mut self, path: &Path) -> Result<(), FileError> {
        let mut file = open(path)?;
        let mut bytes = Vec::new();
        // As much as the longest list of accounts would have.
        let longest = HEADER_LENGTH + ENTRY_LENGTH * crate::config::MAX_SESSIONS;
        Read::by_ref(&mut *file).take(longest as u64).read_to_end(&mut bytes)?;
        self.load(&bytes);
        // Places are those of the present list of accounts, and those of accounts that are gone are gone.
        let mut header = [0; HEADER_LENGTH];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        header[MAGIC.len()..MAGIC.len() + KEY_LENGTH].copy_from_slice(self.key.bytes());
        file.set_len(0)?;
        file.write_all_at(&header, 0)?;
        self.file = Some(file);
        for account in 0..self.entries.len() {
            if self.entries[account].until.load(Ordering::Relaxed) > 0 {
                self.save(account)?;
            }
        }
        Ok(())
    }

    /// Whether a check of any of the passwords is dear enough for a file.
    pub fn is_worth_a_file(&self) -> bool {
        let mut hashes: Vec<&str> = self.accounts.list.iter().map(|entry| &*entry.password_hash).collect();
        hashes.dedup();
        !self.lifetime.is_zero() && hashes.iter().any(|hash| password::is_costly(hash))
    }

    /// Whether this password was right for the account, not too long ago, and the account has not changed since.
    pub fn knows(&self, account: u32, password: &[u8; 10]) -> bool {
        let Some(entry) = self.entries.get(account as usize) else { return false };
        let until = entry.until.load(Ordering::Relaxed);
        if until == 0 {
            return false;
        }
        let now = seconds();
        // Nor from a future that this clock, or the one before it, has only dreamt of.
        if now >= until || until > now + self.lifetime.as_secs() {
            return false;
        }
        let mut tag = [0; TAG_LENGTH];
        for (word, bytes) in entry.tag.iter().zip(tag.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        self.with_parts(account as usize, password, |parts| self.key.is_tag(parts, &tag))
    }

    /// The password was found right.
    pub fn learn(&self, account: u32, password: &[u8; 10]) {
        let account = account as usize;
        let Some(entry) = self.entries.get(account) else { return };
        if self.lifetime.is_zero() || !password::is_costly(&self.accounts.list[account].password_hash) {
            return;
        }
        let tag = self.with_parts(account, password, |parts| self.key.tag(parts));
        self.put(entry, &tag, seconds() + self.lifetime.as_secs());
        if let Err(error) = self.save(account) {
            tracing::warn!(%error, "a login is not remembered beyond a restart");
        }
    }

    fn put(&self, entry: &Entry, tag: &Tag, until: u64) {
        for (word, bytes) in entry.tag.iter().zip(tag.chunks_exact(8)) {
            word.store(u64_at(bytes, 0), Ordering::Relaxed);
        }
        entry.until.store(until, Ordering::Relaxed);
    }

    fn with_parts<T>(&self, account: usize, password: &[u8; 10], use_them: impl FnOnce(&[&[u8]]) -> T) -> T {
        let known = &self.accounts.list[account];
        let (user, password) = (canonical(known.user), canonical(*password));
        use_them(&[b"remembered password", &user, &password, known.password_hash.as_bytes()])
    }

    fn load(&mut self, bytes: &[u8]) {
        let Some((header, entries)) = bytes.split_first_chunk::<HEADER_LENGTH>() else { return };
        if !header.starts_with(MAGIC) {
            return;
        }
        let mut key = [0; KEY_LENGTH];
        key.copy_from_slice(&header[MAGIC.len()..MAGIC.len() + KEY_LENGTH]);
        self.key = Key::from_bytes(key);
        let by_user: HashMap<[u8; 6], &[u8]> = entries
            .chunks_exact(ENTRY_LENGTH)
            .filter_map(|entry| Some((*entry.first_chunk::<6>()?, entry)))
            .collect();
        for (account, entry) in self.accounts.list.iter().zip(&self.entries) {
            if let Some(found) = by_user.get(&canonical(account.user))
                && let Some(tag) = found.last_chunk::<TAG_LENGTH>()
            {
                self.put(entry, tag, u64_at(found, 8));
            }
        }
    }

    fn save(&self, account: usize) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let entry = &self.entries[account];
        let mut bytes = [0; ENTRY_LENGTH];
        bytes[..6].copy_from_slice(&canonical(self.accounts.list[account].user));
        bytes[8..16].copy_from_slice(&entry.until.load(Ordering::Relaxed).to_le_bytes());
        for (word, bytes) in entry.tag.iter().zip(bytes[16..].chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        file.write_all_at(&bytes, (HEADER_LENGTH + account * ENTRY_LENGTH) as u64)
    }
}

/// The file for the engine whose journal lies in `journal`, in `directory` or where systems have memory for such things.
pub fn path(directory: Option<&Path>, journal: &Path) -> PathBuf {
    let journal = std::path::absolute(journal).unwrap_or_else(|_| journal.to_owned());
    let name = Key::from_bytes([0; KEY_LENGTH]).tag(&[b"file name", journal.as_os_str().as_encoded_bytes()]);
    let name = u64_at(&name, 0);
    let service = || std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let directory =
        directory.map(Path::to_owned).or_else(service).unwrap_or_else(|| PathBuf::from("/dev/shm"));
    directory.join(format!("pitlane-{name:016x}.logins"))
}

fn open(path: &Path) -> Result<Flock<File>, FileError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // The directory may be everybody's: no way through a link that somebody else has put there.
        .custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits() | nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file()
        || found.uid() != Uid::effective().as_raw()
        || found.permissions().mode() & 0o077 != 0
        || found.nlink() != 1
    {
        return Err(FileError::NotPrivate(found.uid(), found.permissions().mode() & 0o7777));
    }
    if fstatfs(&file).map_err(io::Error::from)?.filesystem_type() != TMPFS_MAGIC {
        return Err(FileError::OnDisk);
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| FileError::Taken)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::password::hash_password;
    use crate::accounts::tests::account;
    use crate::config::padded_bytes;

    const DAY: Duration = Duration::from_secs(86_400);

    fn accounts(users: &[&str], hash: &str) -> Accounts {
        Accounts::new(users.iter().map(|user| account(user, hash)).collect())
    }

    fn costly(password: &str) -> String {
        hash_password(password, 4096, 1).unwrap()
    }

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = PathBuf::from(format!("/dev/shm/pitlane-test-{name}-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_password_that_was_right_is_known_and_no_other() {
        let hash = costly("secret");
        let remembered = Remembered::new(accounts(&["A", "B"], &hash), DAY).unwrap();
        assert!(!remembered.knows(0, &padded_bytes("secret")));
        remembered.learn(0, &padded_bytes("secret"));
        assert!(remembered.knows(0, &padded_bytes("secret")));
        assert!(remembered.knows(0, &padded_bytes("SECRET")));
        assert!(!remembered.knows(0, &padded_bytes("secreu")));
        assert!(!remembered.knows(1, &padded_bytes("secret")));
        assert!(!remembered.knows(2, &padded_bytes("secret")));
    }

    #[test]
    fn a_cheap_hash_is_computed_again_and_with_no_lifetime_every_hash_is() {
        let cheap = hash_password("secret", 8, 1).unwrap();
        for (hash, lifetime) in [(cheap, DAY), (costly("secret"), Duration::ZERO)] {
            let remembered = Remembered::new(accounts(&["A"], &hash), lifetime).unwrap();
            remembered.learn(0, &padded_bytes("secret"));
            assert!(!remembered.knows(0, &padded_bytes("secret")));
            assert!(!remembered.is_worth_a_file());
        }
    }

    #[test]
    fn what_is_remembered_survives_the_process_but_not_a_change_of_the_account() {
        let (hash, file) = (costly("secret"), Scratch::new("survives"));
        let password = padded_bytes("secret");
        let begin = |users: &[&str], hash: &str| {
            let mut remembered = Remembered::new(accounts(users, hash), DAY).unwrap();
            remembered.keep_in(&file.0).unwrap();
            remembered
        };
        let first = begin(&["A", "B"], &hash);
        first.learn(1, &password);
        assert!(matches!(
            Remembered::new(accounts(&["A"], &hash), DAY).unwrap().keep_in(&file.0),
            Err(FileError::Taken)
        ));
        drop(first);
        // The list has another order: entries belong to users.
        let second = begin(&["B", "C", "A"], &hash);
        assert!(second.knows(0, &password));
        assert!(!second.knows(1, &password) && !second.knows(2, &password));
        drop(second);
        // The password was set anew, if to the same one.
        let third = begin(&["B"], &costly("secret"));
        assert!(!third.knows(0, &password));
        drop(third);
        // And an account that was removed once has to be verified when it is back.
        drop(begin(&["C"], &hash));
        assert!(!begin(&["B"], &hash).knows(0, &password));
    }

    #[test]
    fn an_entry_ends() {
        let (hash, file) = (costly("secret"), Scratch::new("ends"));
        let password = padded_bytes("secret");
        let mut remembered = Remembered::new(accounts(&["A"], &hash), DAY).unwrap();
        remembered.keep_in(&file.0).unwrap();
        remembered.learn(0, &password);
        drop(remembered);
        let mut bytes = std::fs::read(&file.0).unwrap();
        for (until, good) in [(seconds() + 60, true), (seconds() - 1, false), (seconds() + 2 * 86_400, false)]
        {
            bytes[HEADER_LENGTH + 8..HEADER_LENGTH + 16].copy_from_slice(&until.to_le_bytes());
            std::fs::write(&file.0, &bytes).unwrap();
            let mut remembered = Remembered::new(accounts(&["A"], &hash), DAY).unwrap();
            remembered.keep_in(&file.0).unwrap();
            assert_eq!(remembered.knows(0, &password), good, "{until}");
        }
    }

    #[test]
    fn a_file_of_anything_is_taken_without_harm_and_without_trust() {
        let (hash, file) = (costly("secret"), Scratch::new("garbage"));
        for bytes in [&b"x"[..], &[0; 4096], &[0xff; 95]] {
            std::fs::write(&file.0, bytes).unwrap();
            std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o600)).unwrap();
            let mut remembered = Remembered::new(accounts(&["A"], &hash), DAY).unwrap();
            remembered.keep_in(&file.0).unwrap();
            assert!(!remembered.knows(0, &padded_bytes("secret")));
        }
    }

    #[test]
    fn a_key_is_not_put_where_others_see_it() {
        let hash = costly("secret");
        let keep = |path: &Path| Remembered::new(accounts(&["A"], &hash), DAY).unwrap().keep_in(path);
        let file = Scratch::new("readable");
        std::fs::write(&file.0, b"").unwrap();
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(keep(&file.0), Err(FileError::NotPrivate(..))));
        let link = Scratch::new("link");
        std::os::unix::fs::symlink(&file.0, &link.0).unwrap();
        assert!(matches!(keep(&link.0), Err(FileError::Io(_))));
        let disk = std::env::current_dir().unwrap().join(format!("logins-{}", std::process::id()));
        let on_disk = keep(&disk);
        let _ = std::fs::remove_file(&disk);
        assert!(matches!(on_disk, Err(FileError::OnDisk)));
    }
}
