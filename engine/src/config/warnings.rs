//! What a configuration should not be, though it works: secrets that others may read, doors that are too easy. Not errors.

use super::Config;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Shorter tokens can be guessed.
const TOKEN_LEAST: usize = 16;
/// Everyone on the machine may read it.
const WORLD_READABLE: u32 = 0o004;

/// One line for each. `has_secrets`: whether the file itself holds a token or hashes.
pub(super) fn warnings(config: &Config, file: &Path, has_secrets: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if has_secrets && is_world_readable(file) {
        let what =
            "everyone on this machine may read it, and it holds secrets (admin.token or password_hash)";
        warnings.push(format!("{}: {what}; chmod 640 or 600", file.display()));
    }
    if let Some(key) = config.gateway.tls_key.as_deref().filter(|key| is_world_readable(key)) {
        warnings.push(format!("gateway.tls_key: everyone on this machine may read {}", key.display()));
    }
    if let Some(listen) = config.admin.listen.filter(|listen| !listen.ip().is_loopback()) {
        let what = "reaches beyond this machine, and the token travels over it unencrypted";
        warnings.push(format!("admin.listen: {listen} {what}; prefer loopback, or a network of its own"));
    }
    if let Some(token) = config.admin.token.as_ref().filter(|token| token.reveal().len() < TOKEN_LEAST) {
        let length = token.reveal().len();
        warnings.push(format!(
            "admin.token: {length} characters can be guessed; expected at least {TOKEN_LEAST}"
        ));
    }
    warnings
}

fn is_world_readable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & WORLD_READABLE != 0)
}
