//! What is known of a shard's feed beside the shard: its last messages and the visible books, shared by the feed thread and the services. Not
//! who keeps it up to date.

use super::window::window;
use crate::feed::books::Books;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use streams::{SendStream, SessionName};

/// What the feed thread knows, shared with the services. Not with the shard.
pub struct FeedState {
    pub session: SessionName,
    pub window_bytes: usize,
    /// The last messages.
    pub history: SendStream,
    pub books: Books,
    /// Why the books are not to be had, if so: messages were lost for good.
    pub broken: Option<String>,
    pub ended: bool,
    /// What came before this run of the engine is still being read from the journal.
    pub catching_up: bool,
}

impl FeedState {
    /// Sequence of the next message.
    pub fn next(&self) -> u64 {
        self.history.next()
    }

    /// Takes the next message.
    pub fn take(&mut self, message: &[u8]) {
        // Cannot be refused: the stream overwrites its oldest and takes messages of this length.
        let pushed = self.history.push(message.len(), |out| {
            out.copy_from_slice(message);
            message.len()
        });
        debug_assert!(pushed.is_ok(), "{pushed:?}");
        if self.broken.is_none()
            && let Err(error) = self.books.apply(message)
        {
            tracing::error!(%error, sequence = self.next() - 1, "the feed does not fit the books rebuilt from it");
            self.broken = Some(error.to_string());
        }
    }
}

/// The shared state of one shard's feed.
#[derive(Clone)]
pub struct Feed(Arc<Mutex<FeedState>>);

impl Feed {
    pub fn new(session: SessionName, window_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(FeedState {
            session,
            window_bytes,
            history: window(window_bytes, session, 1),
            books: Books::new(),
            broken: None,
            ended: false,
            catching_up: true,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, FeedState> {
        // A service that panicked while copying has changed nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
