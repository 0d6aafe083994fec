//! What can be wrong with a configuration: each names the source, the key, what was found and what was expected.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    /// Without the line itself: it may hold a secret.
    #[error("{}: line {line}: {key}{cause}", path.display())]
    Syntax { path: PathBuf, line: usize, key: String, cause: String },
    #[error("{origin}: {key}: {cause}")]
    Value { origin: String, key: String, cause: String },
    #[error("{origin}: {key} is {found}; expected {expected}")]
    Invalid { origin: String, key: String, found: String, expected: String },
    #[error("{}: line {line}: {column} is {found:?}; expected {expected}", path.display())]
    Row { path: PathBuf, line: u64, column: String, found: String, expected: String },
}

impl ConfigError {
    /// What the parser says of `text`, and where: line and, if the line begins with one, key.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or(text).matches('\n').count();
        let is_key =
            |key: &str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        let key = text.lines().nth(line).and_then(|line| line.split_once('=')).map(|(key, _)| key.trim());
        let key = key.filter(|key| is_key(key)).map_or_else(String::new, |key| format!("{key}: "));
        Self::Syntax {
            path: path.to_owned(),
            line: line + 1,
            key,
            cause: error.message().replace('\n', ", "),
        }
    }
}
