//! How many retransmissions a source may have: plenty once it has shown that it receives what is sent to its address, few before, as the
//! source of a request may be forged and the answer is up to seventy times as long. Not what is sent.

use crate::accounts::attempts::Source;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Places for sources. Two that share one share its allowance, which errs on the side of refusing.
const PLACES: usize = 4096;
/// Sources remembered that have logged in; beyond that the one that did so longest ago is forgotten.
const PROVEN_MAX: usize = 4096;
/// How long a login counts: receivers come in the morning and stay for the day.
const PROVEN_FOR: Duration = Duration::from_secs(24 * 3600);
const SECOND_NS: u64 = 1_000_000_000;

/// Sources that have logged in to GLIMPSE or to the replay port: TCP has shown that they receive, the password who they are.
#[derive(Debug, Clone, Default)]
pub struct ProvenSources(Arc<Mutex<HashMap<Source, Instant>>>);

impl ProvenSources {
    pub fn add(&self, source: Source) {
        let mut since = self.lock();
        if since.len() >= PROVEN_MAX
            && !since.contains_key(&source)
            && let Some(oldest) = since.iter().min_by_key(|(_, since)| **since).map(|(source, _)| *source)
        {
            since.remove(&oldest);
        }
        since.insert(source, Instant::now());
    }

    fn has(&self, source: &Source) -> bool {
        self.lock().get(source).is_some_and(|since| since.elapsed() < PROVEN_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a source that has an answer left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Proven,
    Unproven,
}

/// Answers left to each source.
pub struct Allowances {
    proven_sources: ProvenSources,
    proven: Budgets,
    unproven: Budgets,
    hasher: RandomState,
    start: Instant,
}

impl Allowances {
    /// Answers a second of each proven and of each unproven source.
    pub fn new(proven_sources: ProvenSources, proven: u32, unproven: u32) -> Self {
        Self {
            proven_sources,
            proven: Budgets::new(proven),
            unproven: Budgets::new(unproven),
            // Random, so that nobody can choose whose place to share.
            hasher: RandomState::new(),
            start: Instant::now(),
        }
    }

    /// Takes one answer from what the source may have; `None` when it has had its share.
    pub fn take(&mut self, source: Source) -> Option<Standing> {
        let now_ns = self.start.elapsed().as_nanos() as u64;
        let place = self.hasher.hash_one(source) as usize % PLACES;
        let (budgets, standing) = if self.proven_sources.has(&source) {
            (&mut self.proven, Standing::Proven)
        } else {
            (&mut self.unproven, Standing::Unproven)
        };
        budgets.take(place, now_ns).then_some(standing)
    }
}

/// For each place, when it will have a second's answers again.
struct Budgets {
    full_at_ns: Box<[u64]>,
    cost_ns: u64,
}

impl Budgets {
    fn new(per_second: u32) -> Self {
        Self { full_at_ns: vec![0; PLACES].into(), cost_ns: SECOND_NS / u64::from(per_second.max(1)) }
    }

    fn take(&mut self, place: usize, now_ns: u64) -> bool {
        let full_at_ns = self.full_at_ns[place].max(now_ns) + self.cost_ns;
        let allowed = full_at_ns <= now_ns + SECOND_NS;
        if allowed {
            self.full_at_ns[place] = full_at_ns;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn source(number: u32) -> Source {
        IpAddr::from(number.to_be_bytes()).into()
    }

    #[test]
    fn a_second_of_answers_at_once_and_then_as_they_come() {
        let mut budgets = Budgets::new(100);
        let granted = |budgets: &mut Budgets, now_ns| (0..1000).filter(|_| budgets.take(7, now_ns)).count();
        assert_eq!(granted(&mut budgets, 5), 100);
        assert_eq!(granted(&mut budgets, 5 + SECOND_NS / 10), 10);
        assert!(budgets.take(8, 5), "another place");
    }

    #[test]
    fn who_logs_in_is_proven_and_the_oldest_is_forgotten() {
        let proven = ProvenSources::default();
        let mut allowances = Allowances::new(proven.clone(), 2, 1);
        assert_eq!(allowances.take(source(1)), Some(Standing::Unproven));
        assert_eq!(allowances.take(source(1)), None);
        proven.add(source(1));
        assert_eq!(allowances.take(source(1)), Some(Standing::Proven));
        for number in 2..=PROVEN_MAX as u32 + 1 {
            proven.add(source(number));
        }
        assert!(!proven.has(&source(1)) && proven.has(&source(2)));
        assert_eq!(proven.lock().len(), PROVEN_MAX);
    }
}
