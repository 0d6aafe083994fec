//! What a figure was measured on: without it a figure says nothing.

use std::path::Path;
use std::process::Command;

#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub kernel: String,
    pub processor: String,
    pub cores: usize,
    pub clock_source: String,
    pub memory: String,
    pub compiler: String,
    pub commit: String,
    pub date: String,
}

impl Environment {
    pub fn read(repository: &Path) -> Environment {
        let git = |words: &[&str]| output(Command::new("git").arg("-C").arg(repository).args(words));
        let dirty =
            !git(&["status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks.md"]).is_empty();
        Environment {
            kernel: format!(
                "{} {}",
                trimmed("/proc/sys/kernel/ostype"),
                trimmed("/proc/sys/kernel/osrelease")
            ),
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            clock_source: trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            memory: field("/proc/meminfo", "MemTotal"),
            compiler: output(Command::new("rustc").arg("--version")),
            commit: git(&["rev-parse", "--short=10", "HEAD"]) + if dirty { " (with changes)" } else { "" },
            date: output(Command::new("date").args(["-u", "+%Y-%m-%d"])),
        }
    }

    pub fn table(&self) -> String {
        format!(
            "| | |\n|---|---|\n| kernel | {} |\n| processor | {}, {} cores |\n| clock source | {} |\n| memory | {} |\n\
             | compiler | {} |\n| commit | {} |\n| date | {} |\n",
            self.kernel,
            self.processor,
            self.cores,
            self.clock_source,
            self.memory,
            self.compiler,
            self.commit,
            self.date
        )
    }

    /// For a row: when and what.
    pub fn stamp(&self) -> String {
        format!("{} {}", self.date, self.commit)
    }
}

fn trimmed(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

fn output(command: &mut Command) -> String {
    match command.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
