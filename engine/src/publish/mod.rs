//! Publishes what a shard traded into a NATS JetStream stream, for systems downstream: risk, clearing, surveillance. A process beside the engine:
//! it reads the journal's files and nothing else, so it cannot hold a shard up. What is published, and what is promised: `docs/trade-stream.md`.
//!
//! ```text
//! journal files -> LiveReader -> replica of the shard -> trades -> Encoder -> pending -> Stream -> JetStream
//!                                                                            ^            |
//!                                                                            +-- acknowledged, or "the stream ends elsewhere": go there
//! ```
//!
//! There is no state but the stream: its last message says where to go on.

pub mod message;
mod source;
mod stream;

use crate::log::Lsn;
use source::{Read, Source, Start};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};
use stream::{End, Stream, acknowledgement};

pub use source::{Origins, SourceError};
pub use stream::{StreamError, Target};

/// Messages sent and not acknowledged. At a millisecond for the way there and back this is 250,000 messages a second.
const IN_FLIGHT_MAX: usize = 256;
/// Messages made and not acknowledged; one record may exceed it by its own.
const PENDING_MAX: usize = 4 * IN_FLIGHT_MAX;
/// Records read before the connection gets its turn: a few milliseconds.
const RECORDS_PER_TURN: usize = 4096;
/// Between two looks at a journal in which nothing happens.
const IDLE: Duration = Duration::from_millis(1);
/// Between two attempts, doubling from the first to the second while nothing succeeds.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct PublisherSettings {
    pub origins: Origins,
    pub target: Target,
    /// Publish to the journal's present end, then stop.
    pub once: bool,
    /// Skip what comes before the record after this one.
    pub after: Option<Lsn>,
    pub new_journal: bool,
    /// How long the server may be away; `None`: for ever.
    pub patience: Option<Duration>,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    pub messages: u64,
    /// Last record read.
    pub last: Lsn,
    /// Last message of the stream.
    pub sequence: u64,
}

/// Why the publisher gives up. Nothing is lost by it: what is in the stream stays a beginning of what is in the journal.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("NATS did not take anything for {waited:?}: {cause}")]
    Impatient { waited: Duration, cause: String },
    #[error(
        "stream {stream} took {messages} messages and has none left (purged, or too old for its limits), so that it does not say where to go on. \
         Say so with --after RECORD: the last record whose trades are not wanted, 0 for none"
    )]
    Emptied { stream: String, messages: u64 },
}

/// Publishes until told to stop, or with `once` to the journal's end.
///
/// # Errors
/// See [`PublishError`]. Anything that may pass is waited for.
pub async fn run(settings: &PublisherSettings, stop: &AtomicBool) -> Result<Published, PublishError> {
    let stream = Stream::connect(settings.target.clone(), IN_FLIGHT_MAX).await?;
    let mut publisher = Publisher {
        settings,
        stop,
        stream,
        source: None,
        published: Published::default(),
        well: Instant::now(),
        progress: Progress { shown: Instant::now(), messages: 0, caught_up: false },
    };
    let mut retry = RETRY_MIN;
    loop {
        let began = Instant::now();
        let cause = match publisher.attempt().await {
            Ok(()) => return Ok(publisher.published),
            Err(PublishError::Stream(StreamError::Unavailable(cause))) => cause,
            Err(error) => return Err(error),
        };
        if publisher.well > began {
            retry = RETRY_MIN;
        }
        tracing::warn!(cause, "publishing is interrupted; trying again");
        let until = Instant::now() + retry;
        retry = RETRY_MAX.min(retry * 2);
        // Asking a server that is not there would only fill the client's queue.
        while Instant::now() < until || !publisher.stream.is_connected() {
            if stop.load(Ordering::Acquire) {
                return Ok(publisher.published);
            }
            let waited = publisher.well.elapsed();
            if settings.patience.is_some_and(|patience| waited > patience) {
                return Err(PublishError::Impatient { waited, cause });
            }
            tokio::time::sleep(RETRY_MIN).await;
        }
    }
}

struct Publisher<'a> {
    settings: &'a PublisherSettings,
    stop: &'a AtomicBool,
    stream: Stream,
    source: Option<Source>,
    published: Published,
    /// When the server last took something, or was there and had nothing to take.
    well: Instant,
    progress: Progress,
}

impl Publisher<'_> {
    /// From the stream's end on, until the end or the first thing that goes wrong.
    async fn attempt(&mut self) -> Result<(), PublishError> {
        let End { sequence, last } = self.stream.end().await?;
        self.published.sequence = sequence;
        let after = self.settings.after;
        let start = match (last, after) {
            // Asked for when segments that were still needed are gone.
            (Some(last), Some(after)) if last.id.position.record < after => Start::Record(after),
            (Some(last), _) => Start::Message(last),
            (None, None) if sequence > 0 => {
                let stream = self.settings.target.stream.clone();
                return Err(PublishError::Emptied { stream, messages: sequence });
            }
            (None, after) => Start::Record(after.unwrap_or_default()),
        };
        while !self.place(start)? {
            if self.settings.once || self.stopped() {
                return Ok(());
            }
            tokio::time::sleep(IDLE).await;
        }
        self.pump(sequence).await
    }

    /// Whether there is a source that goes on from `start`; `false` while the journal is empty.
    fn place(&mut self, start: Start) -> Result<bool, SourceError> {
        let kept = match (&mut self.source, start) {
            (Some(source), Start::Message(last)) => source.resume(last),
            (Some(source), Start::Record(after)) => source.is_fresh(after),
            (None, _) => false,
        };
        if !kept {
            let new_journal = self.settings.new_journal.then(|| self.settings.after.unwrap_or_default());
            self.source = Source::open(&self.settings.origins, start, new_journal)?;
        }
        Ok(self.source.is_some())
    }

    /// Sends what the source has after message `sequence` of the stream, with a bounded number on the way.
    async fn pump(&mut self, mut sequence: u64) -> Result<(), PublishError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let mut in_flight = VecDeque::with_capacity(IN_FLIGHT_MAX);
        // The message that the stream ends with, once that is one of this connection's: of older ones a server that was restarted knows only the
        // number. Until then one is under way at a time.
        let mut last = None;
        loop {
            let stopped = self.stop.load(Ordering::Acquire);
            let mut read = Read::Some;
            if !stopped && source.pending.len() < PENDING_MAX {
                read = source.read(RECORDS_PER_TURN, PENDING_MAX)?;
                self.published.last = source.last;
            }
            let in_flight_max = if last.is_some() { IN_FLIGHT_MAX } else { 1 };
            while !stopped
                && in_flight.len() < in_flight_max
                && let Some(message) = source.pending.get(in_flight.len())
            {
                let predecessor = match in_flight.len() {
                    0 => last,
                    under_way => source.pending.get(under_way - 1).map(|message| message.place.id),
                };
                let after = sequence + in_flight.len() as u64;
                in_flight.push_back(self.stream.send(message, after, predecessor).await?);
            }
            // With all sent, every acknowledgement is waited for; otherwise enough of them to send more.
            let keep = if in_flight.len() == IN_FLIGHT_MAX { IN_FLIGHT_MAX / 2 } else { 0 };
            while in_flight.len() > keep
                && let Some(sent) = in_flight.pop_front()
            {
                acknowledgement(sent, sequence + 1).await?;
                sequence += 1;
                last = source.acknowledged();
                self.well = Instant::now();
                self.published.messages += 1;
                self.published.sequence = sequence;
            }
            let done = source.pending.is_empty() && in_flight.is_empty();
            if done && self.stream.is_connected() {
                self.well = Instant::now();
            }
            self.progress.show(&self.published, source, done && read != Read::Some);
            if (stopped && in_flight.is_empty()) || (done && read == Read::Nothing && self.settings.once) {
                return Ok(());
            }
            if done && read != Read::Some {
                tokio::time::sleep(IDLE).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What was said last about how far we are.
struct Progress {
    shown: Instant,
    messages: u64,
    caught_up: bool,
}

impl Progress {
    /// Says so when the journal's end is reached for the first time, and from time to time while there is something to say.
    fn show(&mut self, published: &Published, source: &Source, at_end: bool) {
        let first = at_end && !self.caught_up;
        let due = self.shown.elapsed() >= PROGRESS_INTERVAL && published.messages > self.messages;
        if !first && !due {
            return;
        }
        (self.shown, self.messages) = (Instant::now(), published.messages);
        self.caught_up |= at_end;
        let Published { messages, last, sequence } = *published;
        let read = UNIX_EPOCH + Duration::from_nanos(source.timestamp_ns);
        let lag_ms = if at_end { 0 } else { read.elapsed().map_or(0, |lag| lag.as_millis() as u64) };
        tracing::info!(record = last.0, messages, stream_sequence = sequence, lag_ms, at_end, "published");
    }
}
