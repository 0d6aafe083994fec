//! How a test that cannot run on this machine says so: `make test` lists every reason at its end.

use std::io::Write;

/// Variable with the file that `make test` collects the reasons in.
pub const SKIP_LOG: &str = "PITLANE_TEST_SKIP_LOG";

/// Says that `suite` did not run, and why.
pub fn skipped(suite: &str, reason: &str) {
    eprintln!("SKIPPED {suite}: {reason}");
    if let Ok(path) = std::env::var(SKIP_LOG)
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
        && let Err(error) = writeln!(file, "{suite}: {reason}")
    {
        eprintln!("and the skip could not be noted: {error}");
    }
}

/// Whether network namespaces can be made. When not, the caller returns at once; the reason has been noted.
#[must_use]
pub fn can_make_hosts(suite: &str) -> bool {
    if !nix::unistd::geteuid().is_root() {
        skipped(suite, "not root: no network namespaces");
        return false;
    }
    if let Err(error) = crate::veth::supported() {
        skipped(suite, &format!("no network namespaces or veth here: {error}"));
        return false;
    }
    true
}
