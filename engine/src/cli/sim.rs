//! `pitlane sim`: the deterministic simulation, for long sweeps and to repeat a failure. The rules it checks are `engine::simulation`'s.

use clap::Args;
use engine::simulation::{Broken, Options, Report, run};
use std::time::{Duration, Instant};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct SimArgs {
    /// First seed.
    #[arg(long, default_value_t = 0, env = "PITLANE_SEED")]
    seed: u64,
    /// How many seeds, counted on from the first.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Rounds with faults in each.
    #[arg(long, default_value_t = 1_000)]
    steps: u64,
    /// A deliberate defect: skip-crc, acknowledge-before-append, forget-sequence or drop-dedupe.
    #[arg(long = "break", value_name = "VARIANT")]
    broken: Option<Broken>,
}

pub fn execute(args: &SimArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut next_progress = began + PROGRESS_INTERVAL;
    let (mut records, mut executions, mut crashes, mut power, mut torn) = (0, 0, 0, 0, 0);
    let (mut refused, mut tails) = (0, 0);
    for (done, seed) in (args.seed..).zip(0..args.seeds).map(|(seed, done)| (done + 1, seed)) {
        let report: Report = run(Options { seed, steps: args.steps, broken: args.broken })?;
        records += report.records;
        executions += report.executions;
        crashes += report.engine_crashes;
        power += report.power_losses;
        torn += report.torn_tails;
        refused += u64::from(report.refused);
        tails += u64::from(report.tail_damaged);
        if Instant::now() >= next_progress {
            next_progress = Instant::now() + PROGRESS_INTERVAL;
            eprintln!("{done} of {} seeds in {:.0} s", args.seeds, began.elapsed().as_secs_f64());
        }
    }
    eprintln!(
        "{} seeds of {} steps in {:.1} s, no rule broken: {records} records, {executions} executions, {crashes} engine \
         crashes ({power} with loss of power), {torn} torn tails; {refused} runs ended by a refusal to start on a damaged \
         disk, {tails} by damage to the newest records",
        args.seeds,
        args.steps,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
