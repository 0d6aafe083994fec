//! What the engine may do on its host: it names the right that is missing before it touches anything, and keeps none once it runs.

use std::process::Command;

use pitlane_tests::engine::Engine;
use pitlane_tests::process::binary;

use super::{Hosts, hosts};

/// `pitlane`, run on the engine's host by a program that takes rights away first.
fn by(hosts: &Hosts, words: &[&str]) -> Command {
    let mut command = hosts.pair.engine.command(words[0]);
    command.args(&words[1..]).arg(binary("pitlane"));
    command
}

/// What the engine says when it does not start.
fn refusal(hosts: &Hosts, command: Command) -> String {
    let started = Engine::start_as(command, Some(hosts.pair.engine.clone()), hosts.engine("xdp"));
    started.err().expect("the engine must not start").to_string()
}

#[test]
fn a_missing_capability_is_named_before_anything_is_touched() {
    let Some(hosts) = hosts("missing capabilities", 1) else { return };
    for (dropped, name) in [("-net_admin", "CAP_NET_ADMIN"), ("-net_raw", "CAP_NET_RAW")] {
        let said = refusal(&hosts, by(&hosts, &["setpriv", "--bounding-set", dropped]));
        assert!(said.contains(&format!("{name} is missing")), "{name}: {said}");
    }
    // CAP_SYS_ADMIN stands for CAP_BPF, as it did before Linux 5.8.
    let said = refusal(&hosts, by(&hosts, &["setpriv", "--bounding-set", "-bpf,-sys_admin"]));
    assert!(said.contains("CAP_BPF is missing"), "{said}");
}

#[test]
fn a_limit_on_locked_memory_that_is_too_low_is_named_with_what_is_needed() {
    let Some(hosts) = hosts("limit on locked memory", 1) else { return };
    let limited =
        ["prlimit", "--memlock=65536:65536", "setpriv", "--bounding-set", "-ipc_lock,-sys_resource"];
    let said = refusal(&hosts, by(&hosts, &limited));
    assert!(said.contains("locked memory") && said.contains("65536"), "{said}");
    assert!(said.contains("LimitMEMLOCK"), "and says what to do: {said}");
}

#[test]
fn an_interface_held_by_another_program_is_named_with_it() {
    let Some(hosts) = hosts("interface held", 1) else { return };
    let _holder = hosts.start(hosts.engine("xdp"));
    let mut second = hosts.engine("xdp");
    second.base_port += 10;
    second.admin_port += 10;
    let refused = Engine::start_on(&hosts.pair.engine, &binary("pitlane"), second);
    let said = refused.err().expect("one interface, one program").to_string();
    assert!(said.contains("already held by XDP program"), "{said}");
    assert!(said.contains(&hosts.pair.engine.interface), "{said}");
}

#[test]
fn a_running_engine_has_no_capability_left_and_a_filter_on_every_thread() {
    let Some(hosts) = hosts("capabilities of a running engine", 1) else { return };
    for port in ["xdp", "udp"] {
        let engine = hosts.start(hosts.engine(port));
        every_thread_is_restricted(&engine, "2");
    }
    let mut without = hosts.engine("udp");
    without.sandbox = "off";
    every_thread_is_restricted(&hosts.start(without), "0");
}

/// `seccomp` as /proc says it: 0 is none, 2 a filter.
fn every_thread_is_restricted(engine: &Engine, seccomp: &str) {
    let threads = std::fs::read_dir(format!("/proc/{}/task", engine.process.id())).expect("threads");
    let mut looked_at = 0;
    for thread in threads {
        let path = thread.expect("thread").path().join("status");
        let status = std::fs::read_to_string(&path).expect("status");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set} of {}", path.display());
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{}", path.display());
        assert_eq!(field(&status, "Seccomp"), seccomp, "{}", path.display());
        looked_at += 1;
    }
    assert!(looked_at > 1, "an engine has several threads");
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}
