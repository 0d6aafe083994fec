//! The journal's two threads: one makes segments ready, one makes records durable. What they do is in [`keeper`](super::keeper).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    end::End,
    error::{JournalError, JournalFailure},
    keeper::{Preparer, Step, Syncer},
    reopen::{Parts, assemble},
    settings::{Durability, JournalSettings},
    storage::Storage,
    writer::Writer,
};

/// Between looks for records to sync while there have been some lately: a fraction of what the sync itself takes (115 us at best).
const POLL_BUSY: Duration = Duration::from_micros(10);
/// Between looks when there have been none for [`BUSY`]: costs about 1% of a core.
const POLL_QUIET: Duration = Duration::from_micros(100);
const BUSY: Duration = Duration::from_millis(20);
/// Between looks when nothing waits for the sync thread (durability `process`), and for the thread that prepares segments.
const POLL_SLOW: Duration = Duration::from_millis(1);
/// Between the steps of preparing a segment that is not needed yet. A step is about a millisecond of processor and disk, which group
/// commits want too; this leaves 300 MB/s, five times what 500,000 orders/s fill.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// Between attempts to prepare a segment that failed.
const RETRY: Duration = Duration::from_secs(1);
/// Pages made writable ahead of the writer are looked after this often: the kernel writes dirty ones back after 30 s.
const PREFAULT_AGAIN: Duration = Duration::from_secs(1);
/// Whether directory and segment are still there is looked at this often: what is acknowledged in between may be lost.
const CHECK: Duration = Duration::from_secs(1);
/// Wake-ups of the threads may be late by this much; the system's default is five times the shortest sleep.
const TIMER_SLACK_NS: u64 = 1_000;

/// An open journal: the writer for the shard's thread, and the threads behind it.
pub struct Journal<S: Storage> {
    pub writer: Writer<S>,
    pub background: Background,
}

impl<S: Storage> Journal<S> {
    /// Ends the writer, then [`Background::close`].
    pub fn close(self) -> Result<(), JournalFailure> {
        let Journal { writer, background } = self;
        drop(writer);
        background.close()
    }
}

/// The threads. Dropping ends them as [`close`](Background::close) does, without saying how it went.
pub struct Background {
    stop: Arc<AtomicBool>,
    preparer: Option<JoinHandle<()>>,
    syncer: Option<JoinHandle<Result<(), JournalFailure>>>,
}

impl Background {
    /// Makes everything appended durable and ends the threads. The writer must have stopped appending.
    pub fn close(mut self) -> Result<(), JournalFailure> {
        self.end()
    }

    fn end(&mut self) -> Result<(), JournalFailure> {
        self.stop.store(true, Ordering::Release);
        for thread in
            [&self.preparer.as_ref().map(JoinHandle::thread), &self.syncer.as_ref().map(JoinHandle::thread)]
        {
            thread.inspect(|thread| thread.unpark());
        }
        let ended = |_| Err(JournalFailure("its sync thread has panicked".into()));
        let result = self.syncer.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(ended));
        // It holds no records: however it ended, nothing is lost.
        let _ = self.preparer.take().map(JoinHandle::join);
        result
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A failure was published to whoever reads `Progress`.
        let _ = self.end();
    }
}

/// Opens the journal for writing after `end`, which reading it to the end gave, and starts its threads.
pub fn start<S: Storage + 'static>(
    storage: S,
    shard: u32,
    end: End,
    settings: JournalSettings,
) -> Result<Journal<S>, JournalError>
where
    S::Writer: 'static,
    S::Keeper: 'static,
    S::Preparation: 'static,
{
    let Parts { writer, preparer, syncer } = assemble(storage, shard, end, settings)?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut background = Background { stop: stop.clone(), preparer: None, syncer: None };
    let name = |what: &str| thread::Builder::new().name(format!("journal-{what}-{shard}"));
    let (stop_preparer, durability) = (stop.clone(), settings.durability);
    let preparer = name("prep").spawn(move || prepare(preparer, &stop_preparer));
    background.preparer = Some(preparer.map_err(JournalError::Threads)?);
    let syncer = name("sync").spawn(move || sync(syncer, durability, &stop));
    background.syncer = Some(syncer.map_err(JournalError::Threads)?);
    Ok(Journal { writer, background })
}

fn prepare<S: Storage>(mut preparer: Preparer<S>, stop: &AtomicBool) {
    let mut reported = false;
    let mut checked = Instant::now();
    while !stop.load(Ordering::Acquire) {
        if checked.elapsed() >= CHECK {
            checked = Instant::now();
            if let Err(failure) = preparer.check() {
                tracing::error!(%failure, "journal");
                return;
            }
        }
        match preparer.step() {
            Ok(Step::Worked) => {
                reported = false;
                if preparer.is_urgent() { thread::yield_now() } else { thread::park_timeout(STEP_PAUSE) }
            }
            Ok(Step::Idle) => thread::park_timeout(POLL_SLOW),
            Err(error) => {
                if !std::mem::replace(&mut reported, true) {
                    tracing::error!(%error, "cannot make the next journal segment ready; trying again every second");
                }
                thread::park_timeout(RETRY);
            }
        }
    }
}

fn sync<S: Storage>(
    mut syncer: Syncer<S>,
    durability: Durability,
    stop: &AtomicBool,
) -> Result<(), JournalFailure> {
    // Where the kernel does not take it, sleeps are 50 us longer and nothing else changes.
    let _ = nix::sys::prctl::set_timerslack(TIMER_SLACK_NS);
    let (mut worked, mut prefaulted, mut checked) = (Instant::now(), Instant::now(), Instant::now());
    loop {
        if checked.elapsed() >= CHECK {
            checked = Instant::now();
            syncer.check().inspect_err(|failure| tracing::error!(%failure, "journal"))?;
        }
        if stop.load(Ordering::Acquire) {
            return syncer.finish();
        }
        let step = match syncer.step() {
            Ok(Step::Idle) if worked.elapsed() >= BUSY => syncer.rest().map(|()| Step::Idle),
            step => step,
        };
        match step {
            Ok(Step::Worked) => {
                worked = Instant::now();
                // Where it shares the shard's core, the replies leave and new orders come before the next group is closed: 206 us instead
                // of 228 from order to answer at 500,000 orders/s.
                thread::yield_now();
            }
            Ok(Step::Idle) => {
                let pause = match durability {
                    Durability::Disk if worked.elapsed() < BUSY => POLL_BUSY,
                    Durability::Disk => POLL_QUIET,
                    Durability::Memory | Durability::Process => POLL_SLOW,
                };
                thread::park_timeout(pause);
                if prefaulted.elapsed() >= PREFAULT_AGAIN {
                    prefaulted = Instant::now();
                    syncer.prefault_again();
                }
            }
            Err(failure) => {
                tracing::error!(%failure, "journal");
                return Err(failure);
            }
        }
    }
}
