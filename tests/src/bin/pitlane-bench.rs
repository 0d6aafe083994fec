//! `make bench`: measures the figures whose names start with the given prefix. Everything it does is in `pitlane_tests::bench`.

use std::path::Path;
use std::process::ExitCode;

use pitlane_tests::bench::{Context, progress, run, suites};

const ROUNDS: usize = 5;

fn main() -> anyhow::Result<ExitCode> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let rounds = match std::env::var("PITLANE_BENCH_ROUNDS") {
        Ok(text) => text.parse()?,
        Err(_) => ROUNDS,
    };
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let suites = suites::all();
    let known: Vec<_> = suites.iter().flat_map(|suite| suite.figures).map(|figure| figure.name).collect();
    if !known.iter().any(|name| name.starts_with(&only)) {
        anyhow::bail!("no figure starts with {only:?}; there are: {}", known.join(", "));
    }
    let outcome = run(&Context { only: &only, rounds, repository: &repository }, &suites)?;
    progress(&format!("{} figures measured, {} budgets missed", outcome.measured, outcome.missed.len()));
    for line in &outcome.missed {
        progress(&format!("MISSED {line}"));
    }
    for line in &outcome.failed {
        progress(&format!("NOT MEASURED {line}"));
    }
    // A missed budget is a finding, written down; a figure that could not be measured is a failure.
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
