//! `pitlane-loadgen report`: shows reports of every kind again, compares those of runs, and makes a page of them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::ReportArgs;
use crate::echo::{self, EchoReport};
use crate::output::{exit_code, print, write_file};
use crate::profile::FlowProfile;
use crate::replay::report::ReplayReport;
use crate::report::series::{self, SeriesReport};
use crate::report::table::{comparison, render};
use crate::report::{Report, html};
use crate::verdict::{Cause, Reason, Verdict};

/// A report of any kind.
enum AnyReport {
    Run(Box<Report>),
    Echo(Box<EchoReport>),
    Replay(Box<ReplayReport>),
    Series(Box<SeriesReport>),
}

impl AnyReport {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut value: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a report of `pitlane-loadgen --json`", path.display()))?;
        if value["schema_version"].as_u64().unwrap_or(0) == 0 {
            bail!("{} has no schema_version: expected a report of `pitlane-loadgen --json`", path.display());
        }
        if value["verdict"].is_null() {
            let text = "it was written by a version that did not judge its runs".to_owned();
            value["verdict"] =
                serde_json::to_value(Verdict::of(vec![Reason { cause: Cause::Incomplete, text }]))?;
        }
        // The first layout named no kind; its reports are told by what they count.
        let kind = match value["kind"].as_str() {
            Some(kind) => kind.to_owned(),
            None if value["round_trips"].is_number() => "echo".to_owned(),
            None if value["unexplained_differences"].is_number() => "replay".to_owned(),
            None => "run".to_owned(),
        };
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(match kind.as_str() {
            "run" => {
                AnyReport::Run(Box::new(named(path, value, name, |report: &mut Report| &mut report.label)?))
            }
            "echo" => AnyReport::Echo(Box::new(named(path, value, name, |report: &mut EchoReport| {
                &mut report.label
            })?)),
            "replay" => {
                AnyReport::Replay(Box::new(named(path, value, name, |report: &mut ReplayReport| {
                    &mut report.label
                })?))
            }
            "search" | "curve" | "scale" => {
                AnyReport::Series(Box::new(named(path, value, name, |report: &mut SeriesReport| {
                    &mut report.label
                })?))
            }
            other => bail!(
                "{}: kind `{other}`; expected run, echo, replay, search, curve or scale",
                path.display()
            ),
        })
    }

    fn render(&self) -> String {
        match self {
            AnyReport::Run(report) => render(report),
            AnyReport::Echo(report) => echo::render(report),
            AnyReport::Replay(report) => report.render(),
            AnyReport::Series(report) => series::render(report),
        }
    }

    fn verdict(&self) -> &Verdict {
        match self {
            AnyReport::Run(report) => &report.verdict,
            AnyReport::Echo(report) => &report.verdict,
            AnyReport::Replay(report) => &report.verdict,
            AnyReport::Series(report) => &report.verdict,
        }
    }
}

fn named<T: DeserializeOwned>(
    path: &Path,
    value: Value,
    name: String,
    label: fn(&mut T) -> &mut String,
) -> Result<T> {
    let mut report: T = serde_json::from_value(value)
        .with_context(|| format!("{} is not a report of `pitlane-loadgen --json`", path.display()))?;
    let label = label(&mut report);
    if label.is_empty() {
        *label = name;
    }
    Ok(report)
}

/// The JSON schema of everything that --json writes.
fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut kinds = Vec::new();
    for (kind, schema) in [
        ("run", generator.subschema_for::<Report>()),
        ("echo", generator.subschema_for::<EchoReport>()),
        ("replay", generator.subschema_for::<ReplayReport>()),
        ("profile", generator.subschema_for::<FlowProfile>()),
        ("search", generator.subschema_for::<SeriesReport>()),
        ("curve", generator.subschema_for::<SeriesReport>()),
        ("scale", generator.subschema_for::<SeriesReport>()),
    ] {
        let mut schema = schema.to_value();
        schema["required"] = json!(["kind"]);
        schema["properties"] = json!({ "kind": { "const": kind } });
        kinds.push(schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A report of pitlane-loadgen",
        "oneOf": kinds,
        "$defs": generator.take_definitions(true),
    })
}

pub fn execute(args: &ReportArgs) -> Result<ExitCode> {
    if args.schema {
        print(&(serde_json::to_string_pretty(&schema())? + "\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let reports = args.files.iter().map(|path| AnyReport::read(path)).collect::<Result<Vec<_>>>()?;
    let mut runs = Vec::new();
    let mut page = html::Page::default();
    for report in &reports {
        match report {
            AnyReport::Run(run) => runs.push((**run).clone()),
            other => print(&other.render()),
        }
        match report {
            AnyReport::Run(run) => page.runs.push((**run).clone()),
            AnyReport::Series(series) => page.series.push((**series).clone()),
            other => page.texts.push((other.verdict().clone(), other.render())),
        }
    }
    match runs.as_slice() {
        [] => {}
        [run] => print(&render(run)),
        runs => print(&comparison(runs)),
    }
    if let Some(path) = &args.html {
        let text = html::render(&page).map_err(|error| anyhow!("cannot draw the page: {error}"))?;
        write_file(path, &text)?;
    }
    // One report is shown as it was judged; of several it was seen that they are there.
    Ok(match reports.as_slice() {
        [report] => exit_code(report.verdict()),
        _ => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_the_repository_is_that_of_the_reports() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
        let held: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            held == schema(),
            "write it anew: pitlane-loadgen report --schema > loadgen/report.schema.json"
        );
    }
}
