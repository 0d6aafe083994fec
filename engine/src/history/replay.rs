//! The thread that finds messages which a session's resend window no longer holds, by replaying the journal as far as its records are released. A
//! shard asks over a bounded ring and goes on; the client asks again until it has what it wants.

use crate::history::replica::{Found, ReplayedMessages, session_messages};
use crate::history::source::{LogFiles, LogSource};
use crate::inputs::SessionId;
use crate::log::{Lsn, Storage};
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
    pub messages: ReplayedMessages,
}

/// A shard's end.
pub struct ReplayHandle {
    questions: Producer<Question>,
    pub answers: Consumer<Answer>,
    /// Who answers, if that is a thread.
    thread: Option<Thread>,
}

impl ReplayHandle {
    /// Asks, unless too many questions wait already: the client will ask again.
    pub fn ask(&mut self, question: Question) {
        if self.questions.push(question).is_ok()
            && let Some(thread) = &self.thread
        {
            thread.unpark();
        }
    }
}

/// The end of whoever answers.
pub struct ReplayDesk {
    pub questions: Consumer<Question>,
    pub answers: Producer<Answer>,
}

/// Both ends, with nobody to be woken.
pub fn rings() -> (ReplayHandle, ReplayDesk) {
    let (to_desk, questions) = RingBuffer::new(WAITING);
    let (to_shard, answers) = RingBuffer::new(WAITING);
    (ReplayHandle { questions: to_desk, answers, thread: None }, ReplayDesk { questions, answers: to_shard })
}

/// Answers a shard's questions, one a step.
pub struct Replayer<S: Storage> {
    source: LogSource<S>,
    desk: ReplayDesk,
    kept: VecDeque<(SessionId, ReplayedMessages)>,
    /// Questions whose messages were not released yet, and how far the log was when they were asked. As many as questions may wait.
    later: VecDeque<(Question, Lsn)>,
}

impl<S: Storage> Replayer<S> {
    pub fn new(source: LogSource<S>, desk: ReplayDesk) -> Self {
        Self { source, desk, kept: VecDeque::with_capacity(KEPT), later: VecDeque::with_capacity(WAITING) }
    }

    /// Whether there was a question that could be answered.
    pub fn step(&mut self) -> bool {
        let limit = self.source.limit();
        let due = self.later.front().is_some_and(|&(_, tried)| tried < limit);
        let put_off = if due { self.later.pop_front().map(|(question, _)| question) } else { None };
        let Some(question) = put_off.or_else(|| self.desk.questions.pop().ok()) else { return false };
        match self.find(&question, limit) {
            // Nothing leaves before its record is as durable as configured.
            Found::NotYet if self.later.len() < WAITING => self.later.push_back((question, limit)),
            Found::NotYet => {}
            // A full ring means that the shard has not taken the last ones: the client will ask again.
            Found::Messages(messages) => {
                let _ = self.desk.answers.push(Answer { session: question.session, messages });
            }
            Found::Gone => {
                let messages = ReplayedMessages::default();
                let _ = self.desk.answers.push(Answer { session: question.session, messages });
            }
        }
        true
    }

    fn find(&mut self, question: &Question, limit: Lsn) -> Found {
        let Question { session, from, until, window } = *question;
        let count = (until.saturating_sub(from) as usize).min(ANSWER_MESSAGES);
        let known = self
            .kept
            .iter()
            .find(|(owner, messages)| *owner == session && (messages.first..messages.end()).contains(&from));
        if let Some((_, messages)) = known {
            return Found::Messages(messages.part(from, count));
        }
        match session_messages(&self.source, limit, session, from, until.max(window), KEPT_BYTES) {
            Ok(Found::Messages(messages)) => {
                let part = messages.part(from, count);
                self.kept.retain(|(owner, _)| *owner != session);
                if self.kept.len() == KEPT {
                    self.kept.pop_front();
                }
                self.kept.push_back((session, messages));
                Found::Messages(part)
            }
            Ok(found) => found,
            Err(error) => {
                let shard = self.source.shard;
                tracing::error!(shard, session, from, %error, "cannot replay a session's messages");
                Found::Gone
            }
        }
    }
}

/// The thread; it ends when this is dropped.
pub struct ReplayThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ReplayThread {
    pub fn start(source: LogFiles) -> std::io::Result<(Self, ReplayHandle)> {
        let (mut handle, desk) = rings();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let name = format!("replay-{}", source.shard);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut replayer = Replayer::new(source, desk);
            while !stopped.load(Ordering::Acquire) {
                if !replayer.step() {
                    std::thread::park_timeout(IDLE_MAX);
                }
            }
        })?;
        handle.thread = Some(thread.thread().clone());
        Ok((Self { stop, thread: Some(thread) }, handle))
    }
}

impl Drop for ReplayThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
