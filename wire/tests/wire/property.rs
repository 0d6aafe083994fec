//! Runs a property over random values from a seed that is printed and can be given back in PITLANE_SEED.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner};
use std::hash::{BuildHasher, RandomState};

pub fn check<S: Strategy>(cases: u32, values: S, property: impl Fn(S::Value) -> TestCaseResult) {
    let seed = match std::env::var("PITLANE_SEED") {
        Ok(seed) => seed.parse().expect("PITLANE_SEED is a u64"),
        Err(_) => RandomState::new().hash_one(0),
    };
    println!("PITLANE_SEED={seed}");
    let config =
        Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    if let Err(failure) = TestRunner::new(config).run(&values, property) {
        panic!("{failure}\nPITLANE_SEED={seed}");
    }
}
