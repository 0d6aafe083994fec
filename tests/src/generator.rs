//! The load generator as the suites use it: started beside other things, ended by itself, its report read.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::engine::{Folder, PASSWORD};
use crate::process::{Process, binary};
use crate::veth::Host;

/// A generator that has not ended by itself after this has failed. Logins and the last answers may take long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running `pitlane-loadgen`.
pub struct Generator {
    process: Process,
    folder: Folder,
}

impl Generator {
    /// Starts `pitlane-loadgen run` with `words` on `host`, or here.
    pub fn start(host: Option<&Host>, words: &[&str]) -> io::Result<Generator> {
        let program = binary("pitlane-loadgen");
        let mut command = host.map_or_else(|| Command::new(&program), |host| host.command(&program));
        let folder = Folder::new("generator")?;
        let log = std::fs::File::create(folder.path.join("log"))?;
        command
            .args([
                "run",
                "--password",
                PASSWORD,
                "--warmup",
                "0s",
                "--idle",
                "yield",
                "--drain",
                "20s",
                "--quiet",
                "--json",
            ])
            .arg(report(&folder))
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Generator { process: Process::new(command.spawn()?), folder })
    }

    /// Its report; an error with what it said if it did not end well.
    pub fn finish(mut self) -> io::Result<Value> {
        let status = self.process.wait(PATIENCE)?;
        let said = std::fs::read_to_string(self.folder.path.join("log"))?;
        if !status.success() {
            return Err(io::Error::other(format!("pitlane-loadgen ended with {status}:\n{said}")));
        }
        Ok(serde_json::from_str(&std::fs::read_to_string(report(&self.folder))?)?)
    }
}

fn report(folder: &Folder) -> PathBuf {
    folder.path.join("report.json")
}

/// Every order was answered once.
///
/// # Panics
/// If not, with the counts.
pub fn assert_complete(report: &Value) {
    let count = |name: &str| report[name].as_u64().unwrap_or(u64::MAX);
    let counts = (count("lost"), count("duplicated"), count("unknown_answers"));
    assert_eq!(counts, (0, 0, 0), "lost, duplicated, unknown: {report}");
    assert_eq!(count("orders"), count("answered"), "{report}");
    assert!(count("orders") > 100, "next to nothing was sent: {report}");
}
