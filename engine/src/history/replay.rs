//! The thread that finds messages which a session's resend window no longer holds, by replaying the journal. A shard asks
//! over a bounded ring and goes on; the client asks again until it has what it wants.

use crate::history::replica::{self, Messages};
use crate::inputs::SessionId;
use crate::log::{FileStorage, Progress};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Questions and answers that may wait.
const WAITING: usize = 64;
/// Messages of one answer: what a client's receive window takes at once.
const ANSWER_MESSAGES: usize = 1024;
/// Sessions whose replay is kept for their next questions, and bytes of each.
const KEPT: usize = 8;
const KEPT_BYTES: usize = 32 << 20;
/// An idle thread is woken by the next question; this bounds the harm of a wake-up that came just too early.
const IDLE_MAX: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
pub struct Question {
    pub session: SessionId,
    /// Sequences `from..until`.
    pub from: u64,
    pub until: u64,
    /// The session's window begins here: what lies before is worth finding at once.
    pub window: u64,
}

pub struct Answer {
    pub session: SessionId,
    /// Empty when the journal no longer has them.
    pub messages: Messages,
}

/// A shard's end.
pub struct ReplayHandle {
    questions: Producer<Question>,
    pub answers: Consumer<Answer>,
    thread: Thread,
}

impl ReplayHandle {
    /// Asks, unless too many questions wait already: the client will ask again.
    pub fn ask(&mut self, question: Question) {
        if self.questions.push(question).is_ok() {
            self.thread.unpark();
        }
    }
}

/// The thread; it ends when this is dropped.
pub struct Replays {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Replays {
    pub fn start(
        storage: FileStorage,
        progress: Arc<Progress>,
        shard: u32,
    ) -> std::io::Result<(Self, ReplayHandle)> {
        let (questions, mut incoming) = RingBuffer::new(WAITING);
        let (mut outgoing, answers) = RingBuffer::new(WAITING);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(format!("replay-{shard}")).spawn(move || {
            let mut kept = VecDeque::with_capacity(KEPT);
            while !stopped.load(Ordering::Acquire) {
                match incoming.pop() {
                    Ok(question) => {
                        let messages = answer(&storage, &progress, shard, &question, &mut kept);
                        // A full ring means that the shard has not taken the last ones: the client will ask again.
                        let _ = outgoing.push(Answer { session: question.session, messages });
                    }
                    Err(_) => std::thread::park_timeout(IDLE_MAX),
                }
            }
        })?;
        let handle = ReplayHandle { questions, answers, thread: thread.thread().clone() };
        Ok((Self { stop, thread: Some(thread) }, handle))
    }
}

impl Drop for Replays {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn answer(
    storage: &FileStorage,
    progress: &Progress,
    shard: u32,
    question: &Question,
    kept: &mut VecDeque<(SessionId, Messages)>,
) -> Messages {
    let Question { session, from, until, window } = *question;
    let count = (until.saturating_sub(from) as usize).min(ANSWER_MESSAGES);
    let known = kept
        .iter()
        .find(|(owner, messages)| *owner == session && (messages.first..messages.end()).contains(&from));
    if let Some((_, messages)) = known {
        return messages.part(from, count);
    }
    let limit = progress.last_appended();
    let found = replica::session_messages(
        storage.clone(),
        shard,
        limit,
        session,
        from,
        until.max(window),
        KEPT_BYTES,
    );
    match found {
        Ok(messages) => {
            let part = messages.part(from, count);
            kept.retain(|(owner, _)| *owner != session);
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back((session, messages));
            part
        }
        Err(error) => {
            tracing::error!(shard, session, from, %error, "cannot replay a session's messages");
            Messages::default()
        }
    }
}
