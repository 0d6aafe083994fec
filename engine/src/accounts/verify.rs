//! Password verification on its own thread, as a good password hash takes milliseconds and a shard has none to give.
//! Not the login protocol: that is `login`, which asks here over a bounded ring and goes on without waiting.

use crate::config::Account;
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Argon2, Params, PasswordHash, PasswordVerifier};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;
use wire::soupbintcp::canonical;

/// Logins of one shard that may wait for verification; the next one is dropped and its client asks again.
pub const MAX_PENDING: usize = 256;
/// An idle verifier is woken by the next question; this bounds the harm of a wake-up that came just too early.
const IDLE_MAX: Duration = Duration::from_millis(50);

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

/// A shard's end of the verifier.
pub struct VerifierHandle {
    questions: Producer<Question>,
    pub answers: Consumer<Answer>,
    /// Set once the thread runs.
    thread: Arc<OnceLock<Thread>>,
}

impl VerifierHandle {
    /// The end of a verifier that looks for questions by itself and need not be woken.
    pub fn new(questions: Producer<Question>, answers: Consumer<Answer>) -> Self {
        Self { questions, answers, thread: Arc::default() }
    }

    /// Asks; false when too many questions wait. Wakes the verifier, which is a system call: logins are rare.
    pub fn ask(&mut self, question: Question) -> bool {
        let asked = self.questions.push(question).is_ok();
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        asked
    }
}

/// The thread that verifies for all shards. Dropping it stops the thread.
pub struct Verifier {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Verifier {
    pub fn start(accounts: Arc<[Account]>, shards: usize) -> std::io::Result<(Self, Vec<VerifierHandle>)> {
        let mut handles = Vec::with_capacity(shards);
        let mut rings = Vec::with_capacity(shards);
        let waker = Arc::new(OnceLock::new());
        for _ in 0..shards {
            let (questions, incoming) = RingBuffer::new(MAX_PENDING);
            let (outgoing, answers) = RingBuffer::new(MAX_PENDING);
            handles.push(VerifierHandle {
                thread: Arc::clone(&waker),
                ..VerifierHandle::new(questions, answers)
            });
            rings.push((incoming, outgoing));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("verifier".to_owned())
            .spawn(move || serve(&accounts, &mut rings, &stopped))?;
        // Empty until now, so it cannot be refused.
        let _ = waker.set(thread.thread().clone());
        Ok((Self { stop, thread: Some(thread) }, handles))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panicked verifier has already said why; there is nothing to add at shutdown.
            let _ = thread.join();
        }
    }
}

fn serve(accounts: &[Account], rings: &mut [(Consumer<Question>, Producer<Answer>)], stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        let mut idle = true;
        for (questions, answers) in rings.iter_mut() {
            if answers.is_full() {
                continue;
            }
            let Ok(question) = questions.pop() else { continue };
            idle = false;
            let correct = is_correct(accounts, question.account, &question.password);
            let answer = Answer { ticket: question.ticket, correct };
            // Cannot fail: fullness was ruled out above and this is the only producer.
            let _ = answers.push(answer);
        }
        if idle {
            std::thread::park_timeout(IDLE_MAX);
        }
    }
}

/// Whether it is the account's password. Takes as long for an unknown user as for a known one.
pub fn is_correct(accounts: &[Account], account: Option<u32>, password: &[u8; 10]) -> bool {
    let known = account.and_then(|index| accounts.get(index as usize));
    let hash = known.or(accounts.first()).map(|account| account.password_hash.as_str());
    let matches = hash.is_some_and(|hash| verify(hash, password));
    known.is_some() && matches
}

fn verify(hash: &str, password: &[u8; 10]) -> bool {
    PasswordHash::new(hash).is_ok_and(|parsed| {
        Argon2::default().verify_password(canonical(*password).trim_ascii_end(), &parsed).is_ok()
    })
}

#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("the password has {0} characters; SoupBinTCP carries 1 to 10")]
    Length(usize),
    #[error("the password has a character outside printable ASCII, which SoupBinTCP cannot carry")]
    Character,
    #[error("no random salt: {0}")]
    Random(getrandom::Error),
    #[error("hashing failed: {0}")]
    Hash(argon2::password_hash::Error),
}

/// A PHC string for the configuration. `memory_kib` and `iterations` set its cost.
pub fn hash_password(password: &str, memory_kib: u32, iterations: u32) -> Result<String, HashError> {
    if password.is_empty() || password.len() > 10 {
        return Err(HashError::Length(password.chars().count()));
    }
    if !password.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(HashError::Character);
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(HashError::Random)?;
    let salt = SaltString::encode_b64(&salt).map_err(HashError::Hash)?;
    let params = Params::new(memory_kib, iterations, 1, None)
        .map_err(|cause| HashError::Hash(argon2::password_hash::Error::from(cause)))?;
    let hasher = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    // Case-insensitive and padded on the right, as the protocol compares it.
    let canonical = canonical::<10>(crate::config::padded_bytes(password));
    Ok(hasher.hash_password(canonical.trim_ascii_end(), &salt).map_err(HashError::Hash)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::padded_bytes;

    #[test]
    fn a_hash_verifies_its_password_in_any_case_and_no_other() {
        let hash = hash_password("Secret7", 64, 1).unwrap();
        assert!(verify(&hash, &padded_bytes("Secret7")));
        assert!(verify(&hash, &padded_bytes("sECRET7")));
        assert!(!verify(&hash, &padded_bytes("Secret8")));
        assert!(!verify("not a hash", &padded_bytes("Secret7")));
    }

    #[test]
    fn passwords_that_the_protocol_cannot_carry_are_refused() {
        assert!(matches!(hash_password("", 64, 1), Err(HashError::Length(0))));
        assert!(matches!(hash_password("elevenchars", 64, 1), Err(HashError::Length(11))));
        assert!(matches!(hash_password("a b", 64, 1), Err(HashError::Character)));
    }
}
