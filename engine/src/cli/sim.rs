//! `pitlane sim`: the deterministic simulation, for long sweeps and to repeat a failure. The rules it checks are `engine::simulation`'s.

use clap::Args;
use engine::simulation::{Broken, Hazard, Hazards, Options, Report, Violation, run};
use netio::random::fresh_seed;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Args)]
pub struct SimArgs {
    /// First seed; without it a random one, which is printed.
    #[arg(long, env = "PITLANE_SEED")]
    seed: Option<u64>,
    /// How many seeds, counted on from the first.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Rounds with faults in each.
    #[arg(long, default_value_t = 1_000)]
    steps: u64,
    /// Seeds simulated at the same time; as many as there are processors, unless given. What is reported does not depend on it.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Leave these out, to see what a failure needs: replays, clock, tables.
    #[arg(long, value_name = "HAZARDS", value_delimiter = ',')]
    without: Vec<Hazard>,
    /// A deliberate defect: skip-crc, acknowledge-before-append, forget-sequence, drop-dedupe, ungated-replay or frozen-clock.
    #[arg(long = "break", value_name = "VARIANT")]
    broken: Option<Broken>,
}

type Outcome = Result<Report, Violation>;

/// Everything that a sweep came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    records: u64,
    executions: u64,
    crashes: u64,
    power_losses: u64,
    torn_tails: u64,
    refused: u64,
    tails_damaged: u64,
    replays: u64,
    clock_steps: u64,
    refused_by_tables: u64,
    failed: Vec<u64>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.runs += 1;
        let report = match outcome {
            Ok(report) => report,
            Err(violation) => {
                eprintln!("seed {seed}, {violation}");
                return self.failed.push(seed);
            }
        };
        self.records += report.records;
        self.executions += report.executions;
        self.crashes += report.engine_crashes;
        self.power_losses += report.power_losses;
        self.torn_tails += report.torn_tails;
        self.refused += u64::from(report.refused);
        self.tails_damaged += u64::from(report.tail_damaged);
        self.replays += report.replays;
        self.clock_steps += report.clock_steps;
        self.refused_by_tables += report.refused_by_tables;
    }
}

pub fn execute(args: &SimArgs) -> anyhow::Result<()> {
    let began = Instant::now();
    let first = args.seed.unwrap_or_else(fresh_seed);
    eprintln!("{} seeds from {first} on", args.seeds);
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get);
    let next = AtomicU64::new(0);
    let (outcomes, arriving) = mpsc::channel();
    let sum = thread::scope(|scope| {
        for _ in 0..jobs {
            let (next, outcomes) = (&next, outcomes.clone());
            scope.spawn(move || simulate(args, first, next, &outcomes));
        }
        drop(outcomes);
        let (mut sum, mut early) = (Sum::default(), BTreeMap::new());
        let mut next_progress = began + PROGRESS_INTERVAL;
        for (place, outcome) in arriving {
            early.insert(place, outcome);
            // In the order of the seeds, whichever was done first.
            while let Some(outcome) = early.remove(&sum.runs) {
                sum.add(first.wrapping_add(sum.runs), outcome);
            }
            if Instant::now() >= next_progress {
                next_progress = Instant::now() + PROGRESS_INTERVAL;
                eprintln!("{} of {} seeds in {:.0} s", sum.runs, args.seeds, began.elapsed().as_secs_f64());
            }
        }
        sum
    });
    let Sum { runs, records, executions, crashes, power_losses, torn_tails, refused, tails_damaged, .. } =
        sum;
    let Sum { replays, clock_steps, refused_by_tables, failed, .. } = &sum;
    eprintln!(
        "{runs} seeds of {} steps in {:.1} s: {records} records, {executions} executions, {crashes} engine crashes \
         ({power_losses} with loss of power), {torn_tails} torn tails, {replays} deep replays, {clock_steps} clock steps, \
         {refused_by_tables} orders and logins refused by full tables; {refused} runs ended by a refusal to start on a damaged \
         disk, {tails_damaged} by damage to the newest records",
        args.steps,
        began.elapsed().as_secs_f64()
    );
    anyhow::ensure!(
        runs == args.seeds,
        "{runs} of {} seeds came to an end: see above for the panic",
        args.seeds
    );
    anyhow::ensure!(failed.is_empty(), "{} seeds broke a rule: {failed:?}", failed.len());
    eprintln!("no rule broken");
    Ok(())
}

/// Takes one seed after the other until none is left.
fn simulate(args: &SimArgs, first: u64, next: &AtomicU64, outcomes: &Sender<(u64, Outcome)>) {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        if place >= args.seeds {
            return;
        }
        let seed = first.wrapping_add(place);
        let allowed = Hazards::without(&args.without);
        let run = || run(Options { seed, steps: args.steps, allowed, broken: args.broken });
        // In a thread with the seed's name: a panic, which ends a release build, says which one it was.
        let outcome = thread::scope(|scope| {
            let thread = thread::Builder::new().name(format!("seed {seed}")).spawn_scoped(scope, run);
            thread.map(|thread| thread.join())
        });
        let Ok(Ok(outcome)) = outcome else { return };
        if outcomes.send((place, outcome)).is_err() {
            return;
        }
    }
}
