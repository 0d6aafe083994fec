//! Instructions of a part of this program, counted by callgrind: the same number every time, however busy the machine.

use std::io;
use std::process::{Command, Stdio};

/// Runs this program again under valgrind with `arguments` and returns the instructions inside functions whose name contains
/// `function`, callees included.
pub fn instructions(function: &str, arguments: &[&str]) -> io::Result<u64> {
    let program = std::env::current_exe()?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Only the program that the user started asks for huge pages.
        .env("GLIBC_TUNABLES", "")
        .output()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("valgrind (Debian package valgrind): {error}"))
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, count)| count.split_whitespace().next()?.parse().ok());
    match count {
        Some(count) if output.status.success() && count > 0 => Ok(count),
        _ => Err(io::Error::other(format!("callgrind counted nothing in {function}: {text}"))),
    }
}
