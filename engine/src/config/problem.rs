//! What is wrong with a setting: its key, what was found there, and what was expected.

use super::ConfigError;

/// A setting that cannot be used, before it is said where it came from.
pub(super) struct Problem {
    key: String,
    found: String,
    expected: String,
}

impl Problem {
    pub(super) fn at(self, origin: &str) -> ConfigError {
        let Self { key, found, expected } = self;
        ConfigError::Invalid { origin: origin.to_owned(), key, found, expected }
    }
}

pub(super) type Checked<T = ()> = Result<T, Problem>;

pub(super) fn problem<T>(
    key: impl Into<String>,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> Checked<T> {
    Err(Problem { key: key.into(), found: found.into(), expected: expected.into() })
}
