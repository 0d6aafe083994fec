//! Password verification for every door: one pool of threads, as a good password hash takes tens of milliseconds and as many
//! megabytes. Not the login protocol, nor how often one may try: `session::login` and `attempts` see to those.
//!
//! ```text
//!  shard 0   owners, proven, unproven ---+
//!  shard 1   owners, proven, unproven ---+--> threads ---> each shard's answers
//!  Door::check (GLIMPSE, replay, ...) ---+            +--> who waits
//! ```
//! Who knows the name of a session comes first, then who has proved to receive, then the others, who have half of the threads at
//! most: no flood of one kind keeps out those before it. Shards never wait and never lock: their ends are rings.

use super::attempts::{Attempts, Proof, Source};
use super::cookie::Cookies;
use super::keyed::Key;
use super::password::Checker;
use super::remembered::Remembered;
use super::{Accounts, LoginSettings};
use rtrb::{Consumer, Producer, RingBuffer};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

/// Questions of one shard that may wait by proof: nothing, return path, session. The first is full in two or three seconds'
/// work; the last has room for every client of a large venue at once.
pub const QUESTIONS_MAX: [usize; 3] = [64, 256, 4096];
/// Threads at most: each has the memory of a hash.
pub const MAX_THREADS: usize = 8;
/// Questions that a shard may have asked and not heard of yet.
pub const TICKETS_MAX: usize = QUESTIONS_MAX[0] + QUESTIONS_MAX[1] + QUESTIONS_MAX[2] + MAX_THREADS;
/// Questions from doors that wait; they come from as many threads.
const DOOR_QUESTIONS_MAX: usize = 128;
/// An answer that takes longer is none.
const DOOR_PATIENCE: Duration = Duration::from_secs(10);
/// An idle thread is woken by the next question; this bounds the harm of a wake-up that came just too early.
const IDLE_MAX: Duration = Duration::from_millis(50);
/// Idle rounds after which a thread gives its memory back: ten seconds.
const IDLE_ROUNDS: u32 = 200;

#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The asker's own reference, given back with the answer.
    pub ticket: u32,
    /// Index into the account list; `None` is an unknown user, who is kept waiting as long as a known one.
    pub account: Option<u32>,
    pub password: [u8; 10],
}

#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub ticket: u32,
    pub correct: bool,
}

/// A shard's end of the pool.
pub struct VerifierHandle {
    questions: [Producer<Question>; 3],
    pub answers: Consumer<Answer>,
    /// Set once the threads run.
    threads: Arc<OnceLock<Vec<Thread>>>,
    pub attempts: Arc<Attempts>,
    remembered: Arc<Remembered>,
    pub cookies: Cookies,
}

impl VerifierHandle {
    /// Asks; false when too many questions of this kind wait. Wakes the threads, which is a system call for each that
    /// sleeps: logins are rare.
    pub fn ask(&mut self, proof: Proof, question: Question) -> bool {
        let asked = self.questions[proof as usize].push(question).is_ok();
        for thread in self.threads.get().into_iter().flatten() {
            thread.unpark();
        }
        asked
    }

    /// Whether the password is known to be right without a question.
    pub fn remembers(&self, account: u32, password: &[u8; 10]) -> bool {
        self.remembered.knows(account, password)
    }

    /// An end whose questions the caller answers: a simulation has no threads. Attempts are not limited and nothing is
    /// remembered, as both depend on the machine's clock.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn by_hand(key: Key) -> Result<(Self, Lanes, Producer<Answer>), getrandom::Error> {
        let nothing = Remembered::new(Accounts::new(Arc::new([])), Duration::ZERO)?;
        Ok(ends(Arc::new(Attempts::unlimited()), Arc::new(nothing), Cookies::new(key), Arc::default()))
    }
}

/// The other end of a shard's rings.
pub struct Lanes([Consumer<Question>; 3]);

impl Lanes {
    /// The next question of those with at least this proof, the best proof first.
    pub fn pop(&mut self) -> Option<Question> {
        self.0.iter_mut().rev().find_map(|lane| lane.pop().ok())
    }

    fn pop_of(&mut self, proof: Proof) -> Option<Question> {
        self.0[proof as usize].pop().ok()
    }
}

fn ends(
    attempts: Arc<Attempts>,
    remembered: Arc<Remembered>,
    cookies: Cookies,
    threads: Arc<OnceLock<Vec<Thread>>>,
) -> (VerifierHandle, Lanes, Producer<Answer>) {
    let [(first, first_end), (second, second_end), (third, third_end)] = QUESTIONS_MAX.map(RingBuffer::new);
    let (answering, answers) = RingBuffer::new(TICKETS_MAX);
    let questions = [first, second, third];
    let handle = VerifierHandle { questions, answers, threads, attempts, remembered, cookies };
    (handle, Lanes([first_end, second_end, third_end]), answering)
}

/// What a door is told of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right: the account's place in the list.
    Correct(u32),
    /// Wrong user or password.
    Wrong,
    /// Too many attempts of this source or at this account, or too many logins wait: it was not checked.
    Limited,
}

/// Checks the logins of a door that has a thread to wait on, such as a market-data service over TCP.
///
/// ```ignore
/// match door.check(peer_address.into(), request.username, &request.password) {
///     Verdict::Correct(account) => { /* let it in */ }
///     Verdict::Wrong | Verdict::Limited => { /* reject: not authorized */ }
/// }
/// ```
/// A secret that is no account's password is counted by `door.attempts()` alone: `take_source` before the comparison,
/// `give_back_source` when it was right.
#[derive(Clone)]
pub struct Door(Arc<Shared>);

impl Door {
    /// Whether `user` may come in; waits for as long as a hash takes. The source must have proved that it receives, as it has
    /// over TCP.
    pub fn check(&self, source: Source, user: [u8; 6], password: &[u8; 10]) -> Verdict {
        let Self(shared) = self;
        let proof = Proof::ReturnPath;
        if !shared.attempts.take(proof, source, user) {
            return Verdict::Limited;
        }
        let account = shared.accounts.find(user);
        let verdict = match account {
            Some(account) if shared.remembered.knows(account, password) => Verdict::Correct(account),
            _ => self.ask(account, password),
        };
        if verdict != Verdict::Wrong {
            shared.attempts.give_back(proof, source, user);
        }
        verdict
    }

    pub fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    fn ask(&self, account: Option<u32>, password: &[u8; 10]) -> Verdict {
        let Self(shared) = self;
        let (answer, answered) = sync_channel(1);
        {
            let mut queues = shared.queues();
            if queues.doors.len() == DOOR_QUESTIONS_MAX {
                return Verdict::Limited;
            }
            queues.doors.push_back(DoorQuestion { account, password: *password, answer });
        }
        for thread in shared.threads.get().into_iter().flatten() {
            thread.unpark();
        }
        match (answered.recv_timeout(DOOR_PATIENCE), account) {
            (Ok(true), Some(account)) => Verdict::Correct(account),
            (Ok(_), _) => Verdict::Wrong,
            (Err(_), _) => Verdict::Limited,
        }
    }
}

struct DoorQuestion {
    account: Option<u32>,
    password: [u8; 10],
    answer: SyncSender<bool>,
}

/// What waits. Its lock is the threads' and the doors'; no shard takes it.
struct Queues {
    shards: Vec<Lanes>,
    doors: VecDeque<DoorQuestion>,
    /// Whose turn it is: a shard, or after the last one the doors.
    turn: usize,
    /// Threads that hash for who proves nothing, and how many may: a flood of these never has them all, so that a better proof
    /// finds one that is free.
    unproven: usize,
    unproven_max: usize,
}

enum Work {
    Shard(usize, Proof, Question),
    Door(DoorQuestion),
}

impl Queues {
    /// The next question: of the best proof there is, and of these in turns.
    fn next(&mut self) -> Option<Work> {
        if let Some(work) = self.next_of(Proof::Session).or_else(|| self.next_of(Proof::ReturnPath)) {
            return Some(work);
        }
        if self.unproven >= self.unproven_max {
            return None;
        }
        let work = self.next_of(Proof::Nothing)?;
        self.unproven += 1;
        Some(work)
    }

    fn next_of(&mut self, proof: Proof) -> Option<Work> {
        let places = self.shards.len() + 1;
        for _ in 0..places {
            let place = self.turn;
            self.turn = (place + 1) % places;
            let work = match self.shards.get_mut(place) {
                Some(lanes) => lanes.pop_of(proof).map(|question| Work::Shard(place, proof, question)),
                None if proof == Proof::ReturnPath => self.doors.pop_front().map(Work::Door),
                None => None,
            };
            if work.is_some() {
                return work;
            }
        }
        None
    }
}

struct Shared {
    accounts: Accounts,
    attempts: Arc<Attempts>,
    remembered: Arc<Remembered>,
    queues: Mutex<Queues>,
    answers: Vec<Mutex<Producer<Answer>>>,
    threads: Arc<OnceLock<Vec<Thread>>>,
    stop: AtomicBool,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // Nothing under this lock can be left half done.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut checker = Checker::default();
        let mut idle = 0;
        while !self.stop.load(Ordering::Acquire) {
            let work = self.queues().next();
            match work {
                Some(Work::Shard(shard, proof, Question { ticket, account, password })) => {
                    let correct = self.is_correct(&mut checker, account, &password);
                    if proof == Proof::Nothing {
                        self.queues().unproven -= 1;
                    }
                    let mut answers = self.answers[shard].lock().unwrap_or_else(PoisonError::into_inner);
                    // Fits: a shard asks no more than there is room for answers.
                    let _ = answers.push(Answer { ticket, correct });
                }
                Some(Work::Door(DoorQuestion { account, password, answer })) => {
                    let correct = self.is_correct(&mut checker, account, &password);
                    // Who asked may have given up.
                    let _ = answer.try_send(correct);
                }
                None => {
                    idle += 1;
                    if idle == IDLE_ROUNDS {
                        checker.rest();
                    }
                    std::thread::park_timeout(IDLE_MAX);
                    continue;
                }
            }
            idle = 0;
        }
    }

    /// Whether it is the account's password. Takes as long for an unknown user as for a known one.
    fn is_correct(&self, checker: &mut Checker, account: Option<u32>, password: &[u8; 10]) -> bool {
        let list = &self.accounts.list;
        let known = account.and_then(|index| list.get(index as usize));
        let hash = known.or(list.first()).map(|account| account.password_hash.as_str());
        let correct = hash.is_some_and(|hash| checker.is_correct(hash, password)) && known.is_some();
        if let (true, Some(account)) = (correct, account) {
            self.remembered.learn(account, password);
        }
        correct
    }
}

/// The threads that verify for all. Dropping it stops them.
pub struct Verifier {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Verifier {
    /// Starts the threads; one handle for each shard.
    ///
    /// # Errors
    /// No thread, or no random numbers.
    pub fn start(
        accounts: &Accounts,
        shards: usize,
        settings: &LoginSettings,
    ) -> std::io::Result<(Self, Vec<VerifierHandle>)> {
        let attempts = Arc::new(Attempts::new(settings.attempts_per_source, settings.attempts_per_account));
        let mut remembered = Remembered::new(accounts.clone(), settings.remember)?;
        if let Some(path) = settings.remember_in.as_deref().filter(|_| remembered.is_worth_a_file())
            && let Err(error) = remembered.keep_in(path)
        {
            tracing::warn!(
                path = %path.display(), %error,
                "logins are remembered until the engine stops: after a restart every password is hashed again"
            );
        }
        let remembered = Arc::new(remembered);
        let waker = Arc::new(OnceLock::new());
        let mut handles = Vec::with_capacity(shards);
        let mut lanes = Vec::with_capacity(shards);
        let mut answers = Vec::with_capacity(shards);
        for _ in 0..shards {
            let cookies = Cookies::new(Key::random()?);
            let (handle, lane, answering) =
                ends(Arc::clone(&attempts), Arc::clone(&remembered), cookies, Arc::clone(&waker));
            handles.push(handle);
            lanes.push(lane);
            answers.push(Mutex::new(answering));
        }
        let threads = settings.threads.clamp(1, MAX_THREADS);
        let unproven_max = threads.div_ceil(2);
        let queues = Queues { shards: lanes, doors: VecDeque::new(), turn: 0, unproven: 0, unproven_max };
        let shared = Arc::new(Shared {
            accounts: accounts.clone(),
            attempts,
            remembered,
            queues: Mutex::new(queues),
            answers,
            threads: Arc::clone(&waker),
            stop: AtomicBool::new(false),
        });
        let mut verifier = Self { shared, threads: Vec::new() };
        for number in 0..threads {
            let shared = Arc::clone(&verifier.shared);
            let thread = std::thread::Builder::new()
                .name(format!("verifier-{number}"))
                .spawn(move || shared.serve())?;
            verifier.threads.push(thread);
        }
        // Empty until now, so it cannot be refused.
        let _ = waker.set(verifier.threads.iter().map(|thread| thread.thread().clone()).collect());
        Ok((verifier, handles))
    }

    /// For the doors that wait.
    pub fn door(&self) -> Door {
        Door(Arc::clone(&self.shared))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread that panicked has already said why; there is nothing to add at shutdown.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::password::hash_password;
    use crate::accounts::tests::account;
    use crate::config::padded_bytes;
    use std::net::IpAddr;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn accounts(memory_kib: u32) -> Accounts {
        let hash = hash_password("secret", memory_kib, 1).unwrap();
        Accounts::new(["A", "B"].iter().map(|user| account(user, &hash)).collect())
    }

    fn settings() -> LoginSettings {
        LoginSettings {
            threads: 2,
            attempts_per_source: 5,
            attempts_per_account: 1000,
            remember: Duration::from_secs(60),
            remember_in: None,
        }
    }

    fn source(last: u8) -> Source {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn await_answer(handle: &mut VerifierHandle) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(answer) = handle.answers.pop() {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn every_shard_gets_its_answers() {
        let (_verifier, mut handles) = Verifier::start(&accounts(8), 3, &settings()).unwrap();
        for (ticket, handle) in handles.iter_mut().enumerate() {
            let question =
                Question { ticket: ticket as u32, account: Some(0), password: padded_bytes("secret") };
            assert!(handle.ask(Proof::Nothing, question));
        }
        for (ticket, handle) in handles.iter_mut().enumerate() {
            let Answer { ticket: answered, correct } = await_answer(handle);
            assert_eq!((answered, correct), (ticket as u32, true));
        }
    }

    #[test]
    fn a_door_tells_right_from_wrong_and_counts_only_wrong() {
        let (verifier, _handles) = Verifier::start(&accounts(8), 1, &settings()).unwrap();
        let door = verifier.door();
        let right = padded_bytes("Secret");
        for _ in 0..20 {
            assert_eq!(door.check(source(1), padded_bytes("B"), &right), Verdict::Correct(1));
        }
        for _ in 0..5 {
            assert_eq!(door.check(source(1), padded_bytes("B"), &padded_bytes("wrong")), Verdict::Wrong);
        }
        // Also with the right one: else it would tell when a guess is right.
        assert_eq!(door.check(source(1), padded_bytes("B"), &right), Verdict::Limited);
        assert_eq!(door.check(source(2), padded_bytes("nobody"), &right), Verdict::Wrong);
        assert_eq!(door.check(source(2), padded_bytes("b"), &right), Verdict::Correct(1));
    }

    #[test]
    fn a_password_that_was_right_is_remembered_for_every_door() {
        let (verifier, handles) = Verifier::start(&accounts(4096), 2, &settings()).unwrap();
        let right = padded_bytes("secret");
        assert!(handles.iter().all(|handle| !handle.remembers(0, &right)));
        assert_eq!(verifier.door().check(source(1), padded_bytes("A"), &right), Verdict::Correct(0));
        assert!(handles.iter().all(|handle| handle.remembers(0, &right)));
        assert!(handles.iter().all(|handle| !handle.remembers(1, &right)));
    }

    fn queue_of(shards: usize) -> (Queues, Vec<VerifierHandle>) {
        let ends = (0..shards).map(|_| VerifierHandle::by_hand(Key::from_bytes([0; 32])).unwrap());
        let (handles, lanes) = ends.map(|(handle, lanes, _)| (handle, lanes)).unzip();
        let (unproven, unproven_max) = (0, 2);
        (Queues { shards: lanes, doors: VecDeque::new(), turn: 0, unproven, unproven_max }, handles)
    }

    fn question(ticket: u32) -> Question {
        Question { ticket, account: None, password: [b' '; 10] }
    }

    /// Tickets in the order of their turn; a door's is 99.
    fn drain(queues: &mut Queues) -> Vec<u32> {
        std::iter::from_fn(|| {
            Some(match queues.next()? {
                Work::Shard(_, proof, question) => {
                    // Answered at once.
                    queues.unproven -= usize::from(proof == Proof::Nothing);
                    question.ticket
                }
                Work::Door(_) => 99,
            })
        })
        .collect()
    }

    #[test]
    fn who_proves_nothing_never_has_all_threads() {
        let (mut queues, mut handles) = queue_of(1);
        for ticket in 0..10 {
            assert!(handles[0].ask(Proof::Nothing, question(ticket)));
        }
        // As many as may are hashed for, and none has been answered.
        assert!(matches!((queues.next(), queues.next(), queues.next()), (Some(_), Some(_), None)));
        assert!(handles[0].ask(Proof::ReturnPath, question(100)));
        assert!(matches!(queues.next(), Some(Work::Shard(0, Proof::ReturnPath, _))));
        queues.unproven -= 1;
        assert!(matches!(queues.next(), Some(Work::Shard(0, Proof::Nothing, _))));
    }

    #[test]
    fn a_better_proof_goes_first_and_shards_take_turns() {
        let (mut queues, mut handles) = queue_of(2);
        for ticket in 0..2 {
            assert!(handles[0].ask(Proof::Nothing, question(ticket)));
            assert!(handles[1].ask(Proof::ReturnPath, question(10 + ticket)));
            assert!(handles[0].ask(Proof::ReturnPath, question(20 + ticket)));
            assert!(handles[1].ask(Proof::Session, question(30 + ticket)));
        }
        let (answer, _answered) = sync_channel(1);
        queues.doors.push_back(DoorQuestion { account: None, password: [b' '; 10], answer });
        let order = drain(&mut queues);
        assert_eq!(order[..2], [30, 31]);
        let mut proven = order[2..7].to_vec();
        // In turns: none of the three has two before another's first.
        assert!(proven[..3].contains(&99) && proven[..3].contains(&10) && proven[..3].contains(&20));
        proven.sort_unstable();
        assert_eq!(proven, [10, 11, 20, 21, 99]);
        assert_eq!(order[7..], [0, 1]);
    }

    #[test]
    fn one_kind_of_question_leaves_room_for_the_others() {
        let (mut queues, mut handles) = queue_of(1);
        let taken = (0..10_000).filter(|&ticket| handles[0].ask(Proof::Nothing, question(ticket))).count();
        assert_eq!(taken, QUESTIONS_MAX[0]);
        assert!(handles[0].ask(Proof::ReturnPath, question(1_000_000)));
        assert_eq!(drain(&mut queues)[0], 1_000_000);
    }
}
