//! The benchmark harness: which figures exist, what each must reach, and how one run updates only what it measured.
//!
//! A suite measures related figures in one go, its variants interleaved round by round, so that whatever else the machine does
//! falls on all of them; a figure is the median over the rounds of its value (or ratio) within a round.

pub mod environment;
pub mod machine;
pub mod markdown;
pub mod results;
pub mod suites;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use results::{Budget, Result as Measured};

/// One figure: its name, and what it must reach.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub name: &'static str,
    pub unit: &'static str,
    pub budget: Option<Budget>,
    /// What it is, in a line.
    pub about: &'static str,
}

/// Values of each figure, one per round.
pub type Samples = BTreeMap<&'static str, Vec<f64>>;

/// Figures that are measured together.
pub struct Suite {
    pub title: &'static str,
    /// How it is measured: what runs where.
    pub method: &'static str,
    pub figures: &'static [Figure],
    pub run: fn(&Context<'_>) -> anyhow::Result<Samples>,
}

/// What a suite is asked for.
pub struct Context<'a> {
    pub only: &'a str,
    pub rounds: usize,
    pub repository: &'a Path,
}

impl Context<'_> {
    /// Whether the figure, or any figure of a group, is asked for: `wants("xdp.rtt")`, with `ONLY=xdp` or `ONLY=xdp.rtt_p50_vs_echo`.
    pub fn wants(&self, name: &str) -> bool {
        name.starts_with(self.only) || self.only.starts_with(name)
    }

    pub fn release_binary(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.repository.join("target/release").join(name);
        anyhow::ensure!(path.is_file(), "{} is not there: `make build` makes it", path.display());
        Ok(path)
    }
}

/// The middle value; of an even number, the mean of the two in the middle. Zero for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// What happened to a run of the harness.
#[derive(Debug, Default)]
pub struct Outcome {
    pub measured: usize,
    pub missed: Vec<String>,
    pub failed: Vec<String>,
}

/// Runs the suites that have a figure whose name starts with `context.only`, and updates both files after each.
pub fn run(context: &Context<'_>, suites: &[Suite]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let results_path = context.repository.join("target/bench/results.json");
    let page_path = context.repository.join("benchmarks.md");
    let environment = environment::Environment::read(context.repository);
    for suite in suites {
        let asked: Vec<_> =
            suite.figures.iter().filter(|figure| figure.name.starts_with(context.only)).collect();
        if asked.is_empty() {
            continue;
        }
        progress(&format!("{} ({} rounds)", suite.title, context.rounds));
        let samples = match (suite.run)(context) {
            Ok(samples) => samples,
            Err(error) => {
                progress(&format!("{}: NOT MEASURED: {error:#}", suite.title));
                outcome.failed.push(format!("{}: {error:#}", suite.title));
                continue;
            }
        };
        let mut new = BTreeMap::new();
        for figure in asked {
            let Some(rounds) = samples.get(figure.name).filter(|rounds| !rounds.is_empty()) else {
                outcome.failed.push(format!("{}: the suite gave no value", figure.name));
                continue;
            };
            let measured = Measured {
                value: median(rounds),
                unit: figure.unit.to_owned(),
                budget: figure.budget,
                rounds: rounds.clone(),
            };
            progress(&format!("  {:<36} {}", figure.name, measured.describe()));
            outcome.measured += 1;
            if measured.met() == Some(false) {
                outcome.missed.push(format!("{} {}", figure.name, measured.describe()));
            }
            new.insert(figure.name.to_owned(), measured);
        }
        results::merge(&results_path, &new)?;
        markdown::update(
            &page_path,
            &context.repository.join("docs/benchmark-notes.md"),
            suites,
            &new,
            &environment,
        )?;
    }
    Ok(outcome)
}

/// A line for the person who waits.
pub fn progress(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(only: &str) -> Context<'_> {
        Context { only, rounds: 1, repository: Path::new(".") }
    }

    #[test]
    fn a_prefix_selects_groups_and_single_figures() {
        assert!(context("").wants("xdp.rtt"));
        assert!(context("xdp.").wants("xdp.rtt"));
        assert!(context("xdp.rtt_p50_vs_echo").wants("xdp.rtt"));
        assert!(!context("book").wants("xdp.rtt"));
        assert!(!context("xdp_vs_udp").wants("xdp.rtt"));
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    const TWO: [Figure; 2] = [
        Figure { name: "a.one", unit: "ratio", budget: Some(Budget::AtMost(1.15)), about: "first" },
        Figure { name: "b.two", unit: "orders/s", budget: Some(Budget::AtLeast(10.0)), about: "second" },
    ];

    fn suite(run: fn(&Context<'_>) -> anyhow::Result<Samples>) -> Suite {
        Suite { title: "Test", method: "by hand", figures: &TWO, run }
    }

    #[test]
    fn a_partial_run_updates_only_its_part_of_both_files() -> anyhow::Result<()> {
        let folder = std::env::temp_dir().join(format!("pitlane-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let full = Context { only: "", rounds: 3, repository: &folder };
        let first = suite(|_| Ok(Samples::from([("a.one", vec![1.0, 1.1, 1.2]), ("b.two", vec![5.0])])));
        let outcome = run(&full, std::slice::from_ref(&first))?;
        assert_eq!((outcome.measured, outcome.missed.len(), outcome.failed.len()), (2, 1, 0));

        let part = Context { only: "b.", rounds: 1, repository: &folder };
        let second = suite(|_| Ok(Samples::from([("a.one", vec![9.0]), ("b.two", vec![20.0])])));
        run(&part, std::slice::from_ref(&second))?;
        let results = results::read(&folder.join("target/bench/results.json"))?;
        assert_eq!(results["a.one"].value, 1.1);
        assert_eq!(results["b.two"].value, 20.0);
        let page = std::fs::read_to_string(folder.join("benchmarks.md"))?;
        assert!(page.contains("| `a.one` | 1.10 | at most 1.15 | met |"), "{page}");
        assert!(page.contains("| `b.two` | 20.0 orders/s | at least 10 orders/s | met |"), "{page}");
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn what_cannot_be_measured_is_an_error_and_no_figure() -> anyhow::Result<()> {
        let folder = std::env::temp_dir().join(format!("pitlane-bench-none-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let context = Context { only: "", rounds: 1, repository: &folder };
        let failing = suite(|context| context.release_binary("no-such-thing").map(|_| Samples::new()));
        let outcome = run(&context, &[failing])?;
        assert_eq!((outcome.measured, outcome.failed.len()), (0, 1));
        assert!(!folder.join("target/bench/results.json").exists());
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
