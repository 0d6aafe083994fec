//! A bounded sweep of the simulation, and proof that it would notice: each deliberate defect is found. The long sweep is `make sim`.
//!
//! `PITLANE_SEED=n` runs that seed alone; `PITLANE_SEEDS=n` that many.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // Tests print what they covered.

use engine::simulation::{Broken, Options, Report, run};
use std::time::{Duration, Instant};

const STEPS: u64 = 1_000;
/// The sweep ends here even if seeds are left: a slow machine covers fewer.
const SWEEP_MAX: Duration = Duration::from_secs(20);
/// Each defect must show within this many seeds.
const SEEDS_TO_CATCH: u64 = 100;

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn no_seed_breaks_a_rule() {
    let seeds = match environment("PITLANE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..environment("PITLANE_SEEDS").unwrap_or(300),
    };
    let began = Instant::now();
    let mut sum = Report::default();
    let (mut runs, mut refused) = (0, 0);
    for seed in seeds {
        let report =
            run(Options { seed, steps: STEPS, broken: None }).unwrap_or_else(|what| panic!("{what}"));
        runs += 1;
        refused += u64::from(report.refused);
        sum.records += report.records;
        sum.executions += report.executions;
        sum.engine_crashes += report.engine_crashes;
        sum.power_losses += report.power_losses;
        sum.client_crashes += report.client_crashes;
        sum.torn_tails += report.torn_tails;
        if began.elapsed() > SWEEP_MAX {
            break;
        }
    }
    println!("{runs} seeds, {refused} ended by a refusal to start on a damaged disk: {sum:?}");
    if environment("PITLANE_SEED").is_none() {
        // A sweep in which nothing went wrong would prove nothing.
        assert!(runs >= 10, "only {runs} seeds in {SWEEP_MAX:?}");
        assert!(sum.executions > runs && sum.engine_crashes > runs && sum.client_crashes > 0, "{sum:?}");
        assert!(sum.power_losses > 0 && sum.torn_tails > 0, "{sum:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in [1, 2, 3] {
        let once = || run(Options { seed, steps: 300, broken: None });
        assert_eq!(once(), once(), "seed {seed}");
    }
}

fn catches(broken: Broken) {
    for seed in 0..SEEDS_TO_CATCH {
        if let Err(violation) = run(Options { seed, steps: STEPS, broken: Some(broken) }) {
            println!("{violation}");
            return;
        }
    }
    panic!("{broken} was not noticed within {SEEDS_TO_CATCH} seeds");
}

#[test]
fn a_recovery_that_skips_checksums_is_caught() {
    catches(Broken::SkipCrc);
}

#[test]
fn an_acknowledgement_before_the_append_is_caught() {
    catches(Broken::AcknowledgeBeforeAppend);
}

#[test]
fn a_recovery_that_forgets_sequences_is_caught() {
    catches(Broken::ForgetSequence);
}

#[test]
fn an_engine_without_duplicate_suppression_is_caught() {
    catches(Broken::DropDedupe);
}
