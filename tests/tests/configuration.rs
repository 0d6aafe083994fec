//! What is wrong with a configuration is said with the file, the key and what was expected.

use std::path::Path;
use std::process::Command;

use pitlane_tests::engine::{Folder, Settings};
use pitlane_tests::process::binary;

/// `pitlane check` on a good configuration after `change`; its exit code and what it said.
fn check(
    change: impl FnOnce(String) -> String,
    flags: &[&str],
    variables: &[(&str, &str)],
) -> (bool, String) {
    let folder = Folder::new("configuration").expect("a folder");
    let file = folder.path.join("pitlane.toml");
    let settings = Settings { base_port: 26_400, admin_port: 26_480, ..Settings::default() };
    std::fs::write(&file, change(settings.to_toml(Path::new("journal")))).expect("write");
    let output = Command::new(binary("pitlane"))
        .args(["check", "--config"])
        .arg(&file)
        .args(flags)
        .envs(variables.iter().copied())
        .output()
        .expect("pitlane runs");
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    (output.status.success(), said)
}

#[test]
fn a_good_configuration_is_summarised() {
    let (good, said) = check(|text| text, &[], &[]);
    assert!(good, "{said}");
    assert!(said.contains("127.0.0.1:26400"), "{said}");
}

#[test]
fn every_error_names_the_place_the_key_and_the_expectation() {
    type Change = fn(String) -> String;
    let cases: [(Change, [&str; 2]); 8] = [
        (|text| text.replace("shards = 1", "shards = 0"), ["engine.shards", "1 to 64"]),
        (|text| text.replace("shards = 1", "shards = \"one\""), ["shards", "expected"]),
        (|text| text.replace("shards = 1", "shard = 1"), ["shard", "shards"]),
        (|text| text.replace("idle = \"yield\"", "idle = \"sleep\""), ["idle", "yield"]),
        (|text| text.replace("port = \"udp\"", "port = \"xdp\""), ["network.interface", "interface"]),
        (|text| text.replace("symbol = \"AAPL\"", "symbol = \"FAR TOO LONG\""), ["symbol", "1 to 8"]),
        (|text| text.replace("$argon2id", "argon"), ["password_hash", "hash-password"]),
        (|text| text.replace("durability = \"memory\"", "durability = \"maybe\""), ["durability", "process"]),
    ];
    for (change, expected) in cases {
        let (good, said) = check(change, &[], &[]);
        assert!(!good, "{expected:?} was accepted");
        assert!(said.contains("pitlane.toml"), "the file is not named: {said}");
        for part in expected {
            assert!(said.contains(part), "{part:?} is not named: {said}");
        }
    }
}

/// A number beyond a bound of its own is answered with that bound; the last good ones are taken.
#[test]
fn every_bound_is_named_and_kept() {
    let ring = "a power of two, 64 to 65536";
    let segment = "a multiple of 4096, at least 1048576";
    let cases = [
        ("engine.shards", "65", "1 to 64"),
        ("engine.utc_offset_seconds", "-86400", "-86399 to 86399"),
        ("network.ring_depth", "32", ring),
        ("network.ring_depth", "100", ring),
        ("network.ring_depth", "131072", ring),
        ("session.timeout_seconds", "1", "2 to 3600"),
        ("session.resend_window_bytes", "2048", "a power of two, at least 4096"),
        ("session.login_attempts_per_minute", "0", "at least 1"),
        ("session.max_sessions", "65537", "1 to 65536"),
        ("journal.segment_bytes", "1048577", segment),
        ("journal.segment_bytes", "4096", segment),
        ("journal.keep_snapshots", "0", "at least 1"),
        ("limits.max_orders", "67108865", "1 to 67108864"),
        ("feed.window_bytes", "0", "a power of two, at least 65536"),
        ("feed.spacing_us", "1000001", "0 to 1000000"),
    ];
    for (key, value, expected) in cases {
        let (good, said) = check(|text| text, &["--set", &format!("{key}={value}")], &[]);
        assert!(!good, "{key} = {value} was accepted");
        let wanted = format!("{key} is {value}; expected {expected}");
        assert!(said.contains("pitlane.toml") && said.contains(&wanted), "{wanted}: {said}");
    }
    for (key, value) in [
        ("engine.utc_offset_seconds", "-86399"),
        ("network.ring_depth", "65536"),
        ("session.timeout_seconds", "3600"),
        ("journal.segment_bytes", "1048576"),
        ("feed.spacing_us", "0"),
    ] {
        let (good, said) = check(|text| text, &["--set", &format!("{key}={value}")], &[]);
        assert!(good, "{key} = {value}: {said}");
    }
    let rate = ["--set", "network.rate_per_source=5", "--set", "network.burst_per_source=0"];
    let (good, said) = check(|text| text, &rate, &[]);
    assert!(!good && said.contains("network.burst_per_source is 0; expected at least 1"), "{said}");
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let (good, said) = check(|text| text, &[], &[("PITLANE_NETWORK_BASE_PORT", "27000")]);
    assert!(good && said.contains(":27000"), "{said}");
    let (good, said) =
        check(|text| text, &["--set", "network.base_port=28000"], &[("PITLANE_NETWORK_BASE_PORT", "27000")]);
    assert!(good && said.contains(":28000"), "{said}");
    let (good, said) = check(|text| text, &[], &[("PITLANE_NETWORK_BASE_PRT", "27000")]);
    assert!(!good && said.contains("PITLANE_NETWORK_BASE_PRT"), "{said}");
}

#[test]
fn a_missing_file_is_named() {
    let output = Command::new(binary("pitlane"))
        .args(["check", "--config", "/nonexistent/pitlane.toml"])
        .output()
        .expect("pitlane runs");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/pitlane.toml"));
}
