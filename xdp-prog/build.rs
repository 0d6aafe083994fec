//! Compiles bpf/steer.c to a BPF object with BTF. Not a probe: without clang the build stops and says what to install.
use std::{env, ffi::OsString, path::PathBuf, process::Command};

const SOURCE: &str = "bpf/steer.c";

fn main() {
    println!("cargo:rerun-if-changed=bpf");
    println!("cargo:rerun-if-env-changed=CLANG");

    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("steer.o");
    // `-g` is what generates BTF; `-mcpu=v3` (Linux 5.12) is needed for the compare-and-swap of the token bucket.
    let outcome = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c", SOURCE, "-o"])
        .arg(&object)
        .output();

    match outcome {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            panic!("{clang:?} could not compile {SOURCE}:\n{}", String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => panic!(
            "the XDP program needs clang with the BPF target, and {clang:?} cannot be started: {error}. \
             Install clang (Debian: apt install clang) or name it in the environment variable CLANG"
        ),
    }
}
