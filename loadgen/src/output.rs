//! What every command does at its end: print, write files, choose an exit status. It knows no report.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::verdict::Verdict;

/// Exit status of a run that proves nothing: see its verdict.
pub const EXIT_INVALID: u8 = 3;
/// Exit status of a valid run that missed what was required of it.
pub const EXIT_REQUIREMENT_MISSED: u8 = 4;

/// 0 valid, 3 invalid, 4 valid and a requirement missed.
pub fn exit_code(verdict: &Verdict) -> ExitCode {
    match (verdict.valid, verdict.is_met()) {
        (false, _) => ExitCode::from(EXIT_INVALID),
        (true, false) => ExitCode::from(EXIT_REQUIREMENT_MISSED),
        (true, true) => ExitCode::SUCCESS,
    }
}

/// Prints to standard output; a closed pipe is no error of ours.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Set by the first SIGINT or SIGTERM; a second ends the program at once.
pub fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

pub fn write_file(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

pub fn write_json(path: Option<&Path>, report: &impl Serialize) -> Result<()> {
    match path {
        Some(path) => write_file(path, &(serde_json::to_string_pretty(report)? + "\n")),
        None => Ok(()),
    }
}
