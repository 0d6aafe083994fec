//! A small seeded generator for tests and generated flows. Not for secrets.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Deterministic random numbers.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::seed_from_u64(seed))
    }

    /// Takes the seed from `PITLANE_SEED`, or from the clock, and prints it.
    #[allow(clippy::print_stdout, reason = "the seed is what reproduces a failure")]
    pub fn from_environment() -> Self {
        let given = std::env::var("PITLANE_SEED").ok().and_then(|text| text.trim().parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_nanos() as u64)
        });
        println!("PITLANE_SEED={seed}");
        Self::new(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform below `limit` (at least 1), but for a bias below 2^-32 where `limit` is below 2^32.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// True `count` times out of `of`.
    pub fn chance(&mut self, count: u64, of: u64) -> bool {
        self.below(of) < count
    }
}
