//! The project's own pseudo-random generator: the same seed gives the same numbers in every build. Not for secrets.
//!
//! xoshiro256++, seeded through splitmix64 as its authors recommend.

use std::hash::{BuildHasher, Hasher, RandomState};

use rand_xoshiro::rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// The environment variable that replays a failed random test.
pub const SEED_VARIABLE: &str = "PITLANE_SEED";

/// The seed given in `PITLANE_SEED`, if there is one and it is a number.
pub fn seed_from_environment() -> Option<u64> {
    std::env::var(SEED_VARIABLE).ok()?.trim().parse().ok()
}

/// A seed that hardly any run before had: where a sweep begins. Whoever draws it prints it.
pub fn fresh_seed() -> u64 {
    // 48 bits, so that the seeds counted on from it do not wrap.
    RandomState::new().build_hasher().finish() >> 16
}

/// A good mixer of bits: what splitmix64 gives first from this state.
#[inline]
pub fn mixed(bits: u64) -> u64 {
    SplitMix64::seed_from_u64(bits).next_u64()
}

/// A generator. Copies of it run on independently and alike; [`Random::fork`] makes one that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    generator: Xoshiro256PlusPlus,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { generator: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// A generator of its own stream, so that adding draws in one place does not shift those of another.
    pub fn fork(&mut self) -> Random {
        Random::new(self.next_u64())
    }

    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    #[inline]
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Uniform in `0..bound`, without bias; 0 for a bound of 0.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-shift; the loop ends with probability above one half each round.
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Uniform in `low..=high`; `low` if the range is empty.
    #[inline]
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.saturating_sub(low) {
            u64::MAX => self.next_u64(),
            span => low + self.below(span + 1),
        }
    }

    /// Uniform index below `length`.
    #[inline]
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Uniform in [0, 1), in steps of 2^-53.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// True with the given probability: never at 0, always at 1.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponentially distributed with the given mean: the pauses of a Poisson process. Its logarithm is the platform's, so the
    /// last bit may differ between platforms.
    #[inline]
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let random = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    /// A uniformly chosen item; `None` from an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed that a report or a failed test names must mean the same draws with every version of the library.
    #[test]
    fn a_seed_means_the_same_draws_for_ever() {
        // splitmix64 from 1234567: checked against its authors' C.
        assert_eq!(mixed(1_234_567), 6_457_827_717_110_365_317);
        let mut random = Random::new(1);
        let values: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        assert_eq!(
            values,
            [14_971_601_782_005_023_387, 13_781_649_495_232_077_965, 1_847_458_086_238_483_744]
        );
    }

    #[test]
    fn draws_stay_in_range_and_reach_its_ends() {
        let mut random = Random::new(1);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[random.below(7) as usize] = true;
            assert!((3..=5).contains(&random.between(3, 5)));
            assert!((0.0..1.0).contains(&random.unit()));
            assert!(random.exponential(2.0) >= 0.0);
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(9, 9), 9);
        assert_eq!(random.between(9, 3), 9);
        random.between(0, u64::MAX);
        assert_eq!(random.pick::<u8>(&[]), None);
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
    }

    #[test]
    fn frequencies_are_what_was_asked_for() {
        let mut random = Random::new(2);
        let hits = (0..100_000).filter(|_| random.chance(0.1)).count();
        assert!((9_600..10_400).contains(&hits), "{hits}");
        let sum: f64 = (0..100_000).map(|_| random.exponential(3.0)).sum();
        assert!((2.9..3.1).contains(&(sum / 100_000.0)), "{sum}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut random = Random::new(3);
        let mut items: Vec<u32> = (0..50).collect();
        random.shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn forks_differ_from_their_origin_and_repeat_with_it() {
        let mut one = Random::new(4);
        let mut two = Random::new(4);
        let (mut fork_one, mut fork_two) = (one.fork(), two.fork());
        assert_eq!(fork_one.next_u64(), fork_two.next_u64());
        assert_ne!(fork_one.next_u64(), one.next_u64());
    }
}
