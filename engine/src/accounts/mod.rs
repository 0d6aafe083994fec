//! Who may log in: accounts, the verification of their passwords, and how often one may try. Not sessions: `crate::session`
//! has those.
//!
//! Every door of the engine asks here: a shard by its [`verify::VerifierHandle`], without waiting; a service with threads of
//! its own by [`verify::Door`].

pub mod attempts;
pub mod cookie;
pub mod keyed;
pub mod password;
pub mod remembered;
pub mod verify;

use crate::config::{Account, Config, Durability};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use wire::soupbintcp::canonical;

/// The account list by user name.
#[derive(Debug, Clone)]
pub struct Accounts {
    pub list: Arc<[Account]>,
    by_user: Arc<HashMap<[u8; 6], u32>>,
}

impl Accounts {
    pub fn new(list: Arc<[Account]>) -> Self {
        let by_user =
            list.iter().enumerate().map(|(index, account)| (canonical(account.user), index as u32)).collect();
        Self { list, by_user: Arc::new(by_user) }
    }

    pub fn find(&self, user: [u8; 6]) -> Option<u32> {
        self.by_user.get(&canonical(user)).copied()
    }
}

/// How logins are verified.
#[derive(Debug, Clone)]
pub struct LoginSettings {
    pub threads: usize,
    /// Failed attempts in a minute.
    pub attempts_per_source: u32,
    pub attempts_per_account: u32,
    /// How long a right password is remembered.
    pub remember: Duration,
    /// The file that remembers beyond a restart.
    pub remember_in: Option<PathBuf>,
}

impl LoginSettings {
    pub fn of(config: &Config) -> Self {
        let session = &config.session;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // Without a journal no session outlives the process, and nobody has to be back soon.
        let remember_in = (config.journal.durability != Durability::Memory)
            .then(|| remembered::path(session.remember_logins_in.as_deref(), &config.journal.directory));
        Self {
            threads: if session.login_threads == 0 { cores } else { session.login_threads },
            attempts_per_source: session.login_attempts_per_minute,
            attempts_per_account: session.login_attempts_per_account,
            remember: Duration::from_secs(session.remember_logins_seconds),
            remember_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Account, RiskConfig, padded};

    pub fn account(user: &str, hash: &str) -> Account {
        Account {
            user: padded(user),
            password_hash: hash.to_owned(),
            firm: padded("FIRM"),
            cancel_on_disconnect: false,
            drop_copy: false,
            risk: RiskConfig::default(),
        }
    }
}
