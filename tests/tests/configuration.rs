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

/// What the configuration contradicts in itself is found, wherever it is read.
#[test]
fn contradictions_are_named() {
    let cases: [(&[&str], [&str; 2]); 9] = [
        (&["network.allow=[\"10.0.0.0/33\"]"], ["network.allow", "/32"]),
        (&["network.allow=[\"ten\"]"], ["network.allow", "a prefix"]),
        (&["admin.listen=127.0.0.1:0"], ["admin.listen", "a port"]),
        (&["gateway.listen=127.0.0.1:26480"], ["gateway.listen", "admin.listen"]),
        (
            &["engine.shards=2", "feed.retransmit_listen=0.0.0.0:26401"],
            ["feed.retransmit_listen", "network.base_port"],
        ),
        (
            &[
                "engine.shards=2",
                "gateway.listen=127.0.0.1:27000",
                "gateway.drop_copy_listen=127.0.0.1:27001",
            ],
            ["gateway.drop_copy_listen", "counted upwards"],
        ),
        (
            &["feed.replay_listen=127.0.0.1:27000", "feed.glimpse_listen=[::]:27000"],
            ["feed.glimpse_listen", "feed.replay_listen"],
        ),
        (&["engine.shards=2", "gateway.listen=127.0.0.1:65535"], ["gateway.listen", "one per shard"]),
        (&["network.base_port=65535", "engine.shards=2"], ["network.base_port", "one per shard"]),
    ];
    for (settings, expected) in cases {
        let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let (good, said) = check(|text| text, &flags, &[]);
        assert!(!good && expected.iter().all(|part| said.contains(part)), "{settings:?}: {said}");
    }
    // The same port, but another transport or another address, is another listener.
    for settings in [["gateway.listen=127.0.0.1:26400"], ["gateway.listen=127.0.0.2:26480"]] {
        let (good, said) = check(|text| text, &["--set", settings[0]], &[]);
        assert!(good, "{settings:?}: {said}");
    }
    let (good, said) = check(|text| text.replace("firm = \"DEMO\"", "firm = \"DEM0\""), &[], &[]);
    assert!(!good && said.contains("account C00001: firm is \"DEM0\"") && said.contains("DEMO"), "{said}");
}

/// What a machine lacks is found on it, and not looked for when the configuration is another's.
#[test]
fn what_the_machine_does_not_have_is_named() {
    for (settings, expected) in [
        (vec!["engine.cores=[4000]"], "engine.cores is 4000; expected cores of this machine: 0"),
        (
            vec!["network.interface=nonesuch0"],
            "network.interface is \"nonesuch0\"; expected an interface of this machine: ",
        ),
        (
            vec!["gateway.tls_certificate=none.pem", "gateway.tls_key=none.key"],
            "none.pem (No such file or directory (os error 2)); expected a file that can be read",
        ),
    ] {
        let flags: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let (good, said) = check(|text| text, &flags, &[]);
        assert!(!good && said.contains(expected), "{settings:?}: {said}");
        let (good, said) = check(|text| text, &[&flags[..], &["--elsewhere"]].concat(), &[]);
        assert!(good, "{settings:?}: {said}");
    }
}

#[test]
fn what_kubernetes_says_of_a_service_named_pitlane_is_no_setting() {
    let variables = [
        ("PITLANE_SERVICE_HOST", "10.96.0.17"),
        ("PITLANE_SERVICE_PORT", "26400"),
        ("PITLANE_PORT", "udp://10.96.0.17:26400"),
        ("PITLANE_PORT_26400_UDP_ADDR", "10.96.0.17"),
        ("PITLANE_ADMIN_SERVICE_PORT_METRICS", "26480"),
    ];
    let (good, said) = check(|text| text, &[], &variables);
    assert!(good, "{said}");
}

#[test]
fn a_token_may_look_like_a_number_and_no_error_prints_it() {
    for token in ["123456789012345678901234567890", "0x1234567890abcdef", "1e5", "true", "[1]"] {
        let (good, said) = check(|text| text, &[], &[("PITLANE_ADMIN_TOKEN", token)]);
        assert!(good && !said.contains(token), "{token}: {said}");
    }
    // Each of these is an error, in the line of the secret or beside it.
    let secret = "4711081547110815";
    for line in [
        format!("token = {secret}"),
        format!("token = {secret}x"),
        format!("tokn = \"{secret}\""),
        format!("token = \"{secret}"),
        format!("token = [\"{secret}\"]"),
        format!("token \"{secret}\""),
    ] {
        let (good, said) = check(|text| text.replace("token = \"admin-token\"", &line), &[], &[]);
        assert!(!good && said.contains("pitlane.toml: line "), "{line}: {said}");
        assert!(!said.contains(secret), "it prints the secret: {said}");
    }
    for (flags, variables) in [
        (vec!["--set", "admn.token=4711081547110815"], vec![]),
        (vec!["--set", "admin.tokn=4711081547110815"], vec![]),
        (vec!["--set", "4711081547110815"], vec![]),
        (vec![], vec![("PITLANE_ADMN_TOKEN", secret)]),
        (vec![], vec![("PITLANE_ADMIN_TOKN", secret)]),
        (vec!["--set", "engine.shards=x"], vec![("PITLANE_ADMIN_TOKEN", secret)]),
    ] {
        let (good, said) = check(|text| text, &flags, &variables);
        // What has no "=" was never a value.
        let may_show = flags == ["--set", secret];
        assert!(!good && (may_show || !said.contains(secret)), "{flags:?} {variables:?}: {said}");
    }
}

#[test]
fn what_should_be_otherwise_is_said() {
    let (good, said) = check(|text| text, &["--set", "admin.listen=0.0.0.0:26480"], &[]);
    assert!(good, "{said}");
    for warning in [
        "pitlane.toml: everyone on this machine may read it",
        "admin.listen: 0.0.0.0:26480 reaches beyond this machine",
        "admin.token: 11 characters can be guessed; expected at least 16",
    ] {
        assert!(said.contains(&format!("warning: {warning}")) || said.contains(warning), "{warning}: {said}");
    }
    let long = ("PITLANE_ADMIN_TOKEN", "a-token-of-some-length");
    let (good, said) = check(|text| text, &[], &[long]);
    assert!(good && !said.contains("can be guessed") && !said.contains("reaches beyond"), "{said}");
}
