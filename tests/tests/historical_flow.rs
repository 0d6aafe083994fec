//! Historical order flow through the real binaries: what the engine executed and left resting equals what the file implies, event by event.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use pitlane_tests::engine::{Engine, Folder, PASSWORD, Settings};
use pitlane_tests::process::binary;
use pitlane_tests::skip::skipped;
use serde_json::Value;
use wire::itch::{Message, file::Frames};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(name);
    if !path.is_file() {
        skipped("historical order flow", &format!("{} is not here", path.display()));
        return None;
    }
    Some(path)
}

/// The report of a replay that ended without a difference.
fn replay(file: &Path, symbols: Vec<String>) -> Value {
    let engine =
        Engine::start(&binary("pitlane"), Settings { symbols, ..Settings::default() }).expect("engine");
    let folder = Folder::new("replay").expect("folder");
    let report = folder.path.join("report.json");
    let output = Command::new(binary("pitlane-loadgen"))
        .args(["replay", "--quiet", "--idle", "yield", "--drain", "20s", "--password", PASSWORD, "--target"])
        .arg(engine.address().to_string())
        .arg("--json")
        .arg(&report)
        .arg(file)
        .output()
        .expect("pitlane-loadgen");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("zero unexplained differences"), "{said}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(report).expect("report")).expect("JSON");
    assert_eq!(report["unexplained_differences"], 0);
    report
}

#[test]
fn an_hour_of_apple_is_executed_as_the_file_implies() {
    let Some(file) = data("lobster_AAPL_2012-06-21_0930-1030_message_50.csv.gz") else { return };
    let report = replay(&file, vec!["AAPL".to_owned()]);
    let counts = &report["file_counts"];
    assert_eq!(report["events"], 91_997);
    assert_eq!(
        (&counts["submissions"]["count"], &counts["executions"]["count"]),
        (&44_256.into(), &4_055.into())
    );
    assert_eq!((&report["trades_paired"], &counts["resting_at_end"]["count"]), (&4_055.into(), &380.into()));
    // Orders that rested before the file starts are counted, not hidden.
    assert_eq!(counts["unknown_deletes"]["count"], 72);
    assert_eq!(counts["unknown_executions"]["count"], 12);
}

#[test]
fn a_minute_of_many_instruments_is_left_resting_as_the_file_implies() {
    let Some(file) = data("nasdaq_2019-12-30_snippet.itch50") else { return };
    let mut symbols = BTreeSet::new();
    let mut frames = Frames::new(std::fs::File::open(&file).expect("file"));
    while let Some(frame) = frames.next_frame().expect("frame") {
        let stock = match Message::decode(frame) {
            Ok(Message::AddOrder(add)) => add.stock(),
            Ok(Message::AddOrderMpid(add)) => add.stock(),
            _ => continue,
        };
        symbols.insert(String::from_utf8_lossy(&stock).trim_end().to_owned());
    }
    assert_eq!(symbols.len(), 185);
    let report = replay(&file, symbols.into_iter().collect());
    assert_eq!(
        (&report["events"], &report["file_counts"]["submissions"]["count"]),
        (&1_000.into(), &560.into())
    );
    assert_eq!(report["file_counts"]["resting_at_end"]["count"], 532);
}
