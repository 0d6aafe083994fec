//! `benchmarks.md`: a table of every figure with what it was measured on, by which command, and the notes that people wrote.
//! A row is kept as it stands until its figure is measured again; the notes live in a file of their own and are copied in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::environment::Environment;
use super::results::{Result as Measured, with_unit};
use super::{Figure, Suite};

const HEAD: &str = "| figure | value | budget | | rounds (lowest .. highest) | measured | command |\n|---|---:|---|---|---|---|---|\n";

/// Writes the page anew from the suites, the rows it has, the new figures and the notes.
pub fn update(
    page: &Path,
    notes: &Path,
    suites: &[Suite],
    new: &BTreeMap<String, Measured>,
    environment: &Environment,
) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(page).unwrap_or_default();
    let notes = std::fs::read_to_string(notes).unwrap_or_default();
    std::fs::write(page, render(&old, &notes, suites, new, environment))?;
    Ok(())
}

fn render(
    old: &str,
    notes: &str,
    suites: &[Suite],
    new: &BTreeMap<String, Measured>,
    environment: &Environment,
) -> String {
    let old_rows = rows(old);
    let notes = sections(notes);
    let mut out = String::from(
        "# Benchmarks\n\nWritten by `make bench`; notes by people are in `docs/benchmark-notes.md`. Every figure comes from the real \
         binaries, variants\ninterleaved round by round in one run, and is the median over the rounds. Ratios carry over to other \
         machines; times and rates do not.\n`make bench ONLY=prefix` measures a part and replaces only its rows.\n",
    );
    let _ = write!(out, "\n## Environment of the last run\n\n{}", environment.table());
    for suite in suites {
        let _ = write!(out, "\n## {}\n\n{}\n\n{HEAD}", suite.title, suite.method);
        for figure in suite.figures {
            match (new.get(figure.name), old_rows.get(figure.name)) {
                (Some(measured), _) => out.push_str(&row(figure, measured, environment)),
                (None, Some(row)) => {
                    out.push_str(row);
                    out.push('\n');
                }
                (None, None) => {
                    let budget = figure.budget.map(|budget| budget.describe(figure.unit)).unwrap_or_default();
                    let _ = writeln!(
                        out,
                        "| `{}` | not measured | {budget} | | | | `make bench ONLY={}` |",
                        figure.name, figure.name
                    );
                }
            }
        }
        out.push('\n');
        for figure in suite.figures {
            let _ = writeln!(out, "- `{}`: {}", figure.name, figure.about);
        }
        for figure in suite.figures {
            if let Some(note) = notes.get(figure.name) {
                let _ = write!(out, "\n### {}\n\n{note}\n", figure.name);
            }
        }
        if let Some(note) = notes.get(suite.title) {
            let _ = write!(out, "\n{note}\n");
        }
    }
    out
}

fn row(figure: &Figure, measured: &Measured, environment: &Environment) -> String {
    let met = match measured.met() {
        Some(true) => "met",
        Some(false) => "**missed**",
        None => "",
    };
    let lowest = measured.rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = measured.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!(
        "| `{}` | {} | {} | {met} | {} ({} .. {}) | {} | `make bench ONLY={}` |\n",
        figure.name,
        with_unit(measured.value, figure.unit),
        figure.budget.map(|budget| budget.describe(figure.unit)).unwrap_or_default(),
        measured.rounds.len(),
        with_unit(lowest, "ratio"),
        with_unit(highest, "ratio"),
        environment.stamp(),
        figure.name,
    )
}

/// Table rows of the page that hold a measured figure, by its name.
fn rows(page: &str) -> BTreeMap<&str, &str> {
    page.lines()
        .filter(|line| !line.contains("| not measured |"))
        .filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0, line)))
        .collect()
}

/// The notes file: a heading `## name` (a figure, or the title of a suite) and what is below it.
fn sections(notes: &str) -> BTreeMap<&str, &str> {
    notes
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(name, text)| (name.trim(), text.trim()))
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_found_by_their_heading() {
        let notes = "# Notes\n\n## xdp.rtt_p50_vs_echo\n\nWhy it is so.\n\n## Book\ntwo\nlines\n\n## empty\n";
        let sections = sections(notes);
        assert_eq!(sections.get("xdp.rtt_p50_vs_echo"), Some(&"Why it is so."));
        assert_eq!(sections.get("Book"), Some(&"two\nlines"));
        assert_eq!(sections.len(), 2);
    }
}
