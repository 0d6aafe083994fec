//! What can be wrong with a configuration: each names the source, the key, what was found and what was expected.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{}: {cause}", path.display())]
    Syntax { path: PathBuf, cause: Box<toml::de::Error> },
    #[error("{origin}: {key}: {cause}")]
    Value { origin: String, key: String, cause: String },
    #[error("{origin}: {key} is {found}; expected {expected}")]
    Invalid { origin: String, key: String, found: String, expected: String },
    #[error("{}: line {line}: {column} is {found:?}; expected {expected}", path.display())]
    Row { path: PathBuf, line: u64, column: String, found: String, expected: String },
}
