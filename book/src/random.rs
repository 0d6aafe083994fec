//! A small seeded generator for tests and generated flows (SplitMix64). Not for secrets.

/// Deterministic random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
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
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
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
