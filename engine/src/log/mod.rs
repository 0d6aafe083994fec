//! The journal: what a shard has been told, in order, in files that survive a crash. Not what the records mean: payloads are opaque.
//!
//! The way of a record, and of this folder:
//! [`writer`] copies it into a segment's memory (shard thread) -> [`keeper`] makes segments ready ahead of the writer and makes written
//! ranges durable (background threads, [`background`]) -> [`reader`] gives the records back in order and says what the end looks like
//! (`judge`) -> [`reopen`] turns that end into a writer again. [`live`] reads a journal that another process is writing. [`format`] has the
//! bytes, [`storage`] the seam under which [`file`](mod@file) is the real disk and [`sim`] a disk that misbehaves by seed. [`inspect`] explains a directory to people.
//!
//! ```
//! use engine::log::{self, Durability, FileStorage, Lsn, Reader, JournalSettings};
//! # let directory = std::env::temp_dir().join(format!("pitlane-journal-doc-{}", std::process::id()));
//! # let shard = 0;
//! let settings = JournalSettings { segment_size: 1 << 20, ..JournalSettings::default() };
//! let storage = FileStorage::open(&directory, shard, settings.durability)?;
//! let mut reader = Reader::open(storage.clone(), shard, Lsn(1))?;
//! while let Some(record) = reader.next()? {
//!     println!("{} {:?}", record.lsn, record.payload); // replay
//! }
//! let end = reader.into_end().expect("read to the end");
//! let mut journal = log::start(storage, shard, end, settings)?;
//! let lsn = journal.writer.append(1, 1_700_000_000_000_000_000, b"an input")?;
//! assert!(journal.writer.releasable() >= lsn); // the reply may leave
//! journal.close()?;
//! # assert_eq!(Durability::Process, settings.durability);
//! # std::fs::remove_dir_all(&directory)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod background;
pub mod crc;
mod directory;
pub mod end;
pub mod error;
pub mod file;
pub mod format;
pub mod inspect;
mod judge;
pub mod keeper;
pub mod live;
mod mapping;
pub mod reader;
pub mod reopen;
pub mod settings;
pub mod shared;
pub mod sim;
pub mod storage;
pub mod writer;

pub use background::{Background, Journal, start};
pub use directory::JournalDirectory;
pub use end::{End, Ending};
pub use error::{AppendError, JournalError, JournalFailure, StorageError};
pub use file::FileStorage;
pub use format::Lsn;
pub use live::{Extent, LiveReader};
pub use reader::{Reader, Record};
pub use settings::{Durability, JournalSettings};
pub use shared::Progress;
pub use sim::SimStorage;
pub use storage::Storage;
pub use writer::Writer;
