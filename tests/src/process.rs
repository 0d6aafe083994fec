//! The binaries under test, and processes that do not outlive the test that started them.

use std::io;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where `name` was built: beside this test or harness, or in `PITLANE_TEST_BINARIES`.
///
/// # Panics
/// If it is not there, with the command that builds it: a test without its subject must not pass.
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("PITLANE_TEST_BINARIES").map_or_else(beside_us, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --workspace --bins`",
        path.display()
    );
    path
}

/// `target/PROFILE`, of which a test binary is in `deps` and a program at the top.
fn beside_us() -> PathBuf {
    let mut folder = std::env::current_exe().unwrap_or_default();
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}

/// A child process, killed and reaped on drop.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    pub fn new(child: Child) -> Process {
        Process { child }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }

    /// Waits for the end, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("process {} still runs after {timeout:?}", self.id()),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to stop, and waits.
    pub fn terminate(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(timeout)
    }

    /// Ends it as a crash would: no clean-up of its own runs.
    pub fn crash(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already ended: nothing to kill. Otherwise nobody is left to hear of an error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps the calling thread on a core.
pub fn pin(core: usize) -> nix::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
}
