//! What is shipped in deploy/ against the engine as it is: configurations are valid, and alerts and dashboards ask for metrics that exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use pitlane_tests::engine::{Engine, Folder, Settings};
use pitlane_tests::process::binary;

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

fn assert_valid(configuration: &Path) {
    let output = Command::new(binary("pitlane"))
        .args(["check", "--elsewhere", "--config"])
        .arg(configuration)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", configuration.display());
}

#[test]
fn the_shipped_configurations_are_valid() {
    assert_valid(&deploy("demo.toml"));
    assert_valid(&deploy("pitlane.toml"));
}

#[test]
fn the_configurations_in_the_manifests_are_valid() {
    let folder = Folder::new("manifests").expect("a folder");
    for name in ["engine-udp", "engine-xdp"] {
        let manifest =
            std::fs::read_to_string(deploy(&format!("kubernetes/{name}.yaml"))).expect("a manifest");
        let (_, block) = manifest.split_once("  pitlane.toml: |\n").expect("a configuration");
        let lines = block.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
        let text: Vec<_> = lines.map(|line| line.strip_prefix("    ").unwrap_or("")).collect();
        let file = folder.path.join(format!("{name}.toml"));
        std::fs::write(&file, text.join("\n")).expect("write");
        assert_valid(&file);
    }
}

/// The names of all metrics, those without a value at the moment too.
fn families() -> BTreeSet<String> {
    let engine = Engine::start(&binary("pitlane"), Settings::default()).expect("an engine");
    let (_, text) = engine.get("/metrics").expect("metrics");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn metrics_named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("pitlane_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_documented_and_nothing_else_is() {
    let text = std::fs::read_to_string(deploy("../docs/operations.md")).expect("a file");
    assert_eq!(metrics_named_in(&text), families(), "left: docs/operations.md, right: the engine");
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let existing = families();
    for file in ["prometheus/rules.yml", "grafana/pitlane.json"] {
        let text = std::fs::read_to_string(deploy(file)).expect("a file");
        let asked = metrics_named_in(&text);
        assert!(asked.len() > 5, "{file} asks for next to nothing: {asked:?}");
        let missing: Vec<_> = asked.difference(&existing).collect();
        assert!(missing.is_empty(), "{file} asks for metrics that the engine does not have: {missing:?}");
    }
}
