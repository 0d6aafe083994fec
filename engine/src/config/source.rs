//! Where settings come from and in what order they win: file, `PITLANE_` variables, `--set`. Not what they mean.

use super::validate::validate;
use super::{Config, ConfigError, instruments};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// One setting from outside the file: a flag (`--set network.base_port=9000`) or a variable (`PITLANE_NETWORK_BASE_PORT`).
#[derive(Debug, Clone)]
pub struct Override {
    pub origin: String,
    pub section: String,
    pub key: String,
    pub value: String,
}

const SECTIONS: [&str; 8] = ["engine", "network", "session", "journal", "limits", "admin", "gateway", "feed"];

impl Override {
    /// From `section.key=value`.
    pub fn from_flag(text: &str) -> Result<Self, ConfigError> {
        let origin = format!("--set {text}");
        let parts = text.split_once('=').and_then(|(path, value)| Some((path.split_once('.')?, value)));
        match parts {
            Some(((section, key), value)) if SECTIONS.contains(&section) => {
                Ok(Self { origin, section: section.to_owned(), key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(ConfigError::Invalid {
                origin,
                key: "setting".to_owned(),
                found: format!("{text:?}"),
                expected: format!("section.key=value with a section of {}", SECTIONS.join(", ")),
            }),
        }
    }

    /// Every `PITLANE_SECTION_KEY` variable; one with an unknown section is an error, not silence.
    pub fn from_environment(
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Vec<Self>, ConfigError> {
        let mut found = Vec::new();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix("PITLANE_") else { continue };
            // Not settings: the log filter and what tests and tools read.
            if matches!(path, "LOG" | "SEED" | "CONFIG")
                || path.starts_with("TEST_")
                || path.starts_with("BENCH_")
            {
                continue;
            }
            let lower = path.to_ascii_lowercase();
            match lower.split_once('_') {
                Some((section, key)) if SECTIONS.contains(&section) => found.push(Self {
                    origin: name.clone(),
                    section: section.to_owned(),
                    key: key.to_owned(),
                    value,
                }),
                _ => {
                    return Err(ConfigError::Invalid {
                        origin: "environment".to_owned(),
                        key: name,
                        found: format!("{value:?}"),
                        expected: format!("PITLANE_SECTION_KEY with a section of {}", SECTIONS.join(", ")),
                    });
                }
            }
        }
        found.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(found)
    }
}

/// Reads, overrides, expands the instrument file and validates. Relative paths are taken from the file's folder.
///
/// # Errors
/// The first problem, with the file or flag it came from, the key, what was found and what was expected.
pub fn load(path: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let mut table: Table = toml::from_str(&text)
        .map_err(|cause| ConfigError::Syntax { path: path.to_owned(), cause: Box::new(cause) })?;
    // Checked without the overrides first, so that an error in the file is shown with its line.
    toml::from_str::<Config>(&text)
        .map_err(|cause| ConfigError::Syntax { path: path.to_owned(), cause: Box::new(cause) })?;
    for change in overrides {
        apply(&mut table, change)?;
    }
    let mut config: Config =
        serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| ConfigError::Value {
            origin: overrides.last().map_or_else(|| path.display().to_string(), |last| last.origin.clone()),
            key: error.path().to_string(),
            cause: error.into_inner().to_string(),
        })?;
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    if let Some(file) = &config.instruments_file {
        let mut read = instruments::read_file(&folder.join(file))?;
        config.instruments.append(&mut read);
    }
    if config.journal.directory.is_relative() {
        config.journal.directory = folder.join(&config.journal.directory);
    }
    for file in [&mut config.gateway.tls_certificate, &mut config.gateway.tls_key].into_iter().flatten() {
        *file = folder.join(&*file);
    }
    validate(&config, &path.display().to_string())?;
    Ok(config)
}

fn apply(table: &mut Table, change: &Override) -> Result<(), ConfigError> {
    // A value that is not TOML by itself is meant as a string: network.listen=127.0.0.1.
    let value = toml::from_str::<Table>(&format!("value = {}", change.value))
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(change.value.clone()));
    let section = table.entry(change.section.clone()).or_insert_with(|| Value::Table(Table::new()));
    match section {
        Value::Table(section) => {
            section.insert(change.key.clone(), value);
            let mut alone = Table::new();
            alone.insert(change.section.clone(), Value::Table(section.clone()));
            serde_path_to_error::deserialize::<_, Config>(Value::Table(alone)).map(|_| ()).map_err(|error| {
                ConfigError::Value {
                    origin: change.origin.clone(),
                    key: error.path().to_string(),
                    cause: error.into_inner().to_string(),
                }
            })
        }
        other => Err(ConfigError::Invalid {
            origin: change.origin.clone(),
            key: change.section.clone(),
            found: other.to_string(),
            expected: "a table".to_owned(),
        }),
    }
}
