//! Where settings come from and in what order they win: file, `PITLANE_` variables, `--set`. Not what they mean.

use super::validate::validate;
use super::warnings::warnings;
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
    /// From `section.key=value`. What is said of it never has the value in it: that may be a secret.
    pub fn from_flag(text: &str) -> Result<Self, ConfigError> {
        let (path, value) = text.split_once('=').map_or((text, None), |(path, value)| (path, Some(value)));
        let origin = format!("--set {path}");
        match (path.split_once('.'), value) {
            (Some((section, key)), Some(value)) if SECTIONS.contains(&section) => {
                Ok(Self { origin, section: section.to_owned(), key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err(ConfigError::Invalid {
                origin,
                key: "setting".to_owned(),
                found: format!("{path:?}"),
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
            if matches!(path, "LOG" | "SEED" | "CONFIG" | "URL" | "TOKEN_FILE")
                || path.starts_with("TEST_")
                || path.starts_with("BENCH_")
                || is_of_a_service(path, &value)
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
                        found: "a variable without a section".to_owned(),
                        expected: format!("PITLANE_SECTION_KEY with a section of {}", SECTIONS.join(", ")),
                    });
                }
            }
        }
        found.sort_by(|a, b| a.origin.cmp(&b.origin));
        Ok(found)
    }
}

/// Whether Kubernetes made this variable of a Service whose name begins with "pitlane": `PITLANE_SERVICE_HOST`,
/// `PITLANE_PORT=udp://10.0.0.1:26400`, `PITLANE_PORT_26400_UDP_ADDR`, and the same with more of the name in front.
fn is_of_a_service(path: &str, value: &str) -> bool {
    let words: Vec<&str> = path.split('_').collect();
    let has =
        |first: &str, then: fn(&str) -> bool| words.windows(2).any(|pair| pair[0] == first && then(pair[1]));
    let is_address = words.last() == Some(&"PORT") && value.contains("://");
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    is_address || has("SERVICE", |word| matches!(word, "HOST" | "PORT")) || has("PORT", is_number)
}

/// Reads, overrides, expands the instrument file and validates. Relative paths are taken from the file's folder.
///
/// # Errors
/// The first problem, with the file or flag it came from, the key, what was found and what was expected.
pub fn load(path: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let syntax = |error: toml::de::Error| ConfigError::syntax(path, &text, &error);
    let mut table: Table = toml::from_str(&text).map_err(syntax)?;
    // Checked without the overrides first, so that an error in the file is shown with its line.
    let in_file = toml::from_str::<Config>(&text).map_err(syntax)?;
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
    if let Some(file) = &mut config.admin.audit_file {
        *file = folder.join(&*file);
    }
    for file in [&mut config.gateway.tls_certificate, &mut config.gateway.tls_key].into_iter().flatten() {
        *file = folder.join(&*file);
    }
    validate(&config, &path.display().to_string())?;
    let has_secrets = in_file.admin.token.is_some() || !in_file.accounts.is_empty();
    config.warnings = warnings(&config, path, has_secrets);
    Ok(config)
}

fn apply(table: &mut Table, change: &Override) -> Result<(), ConfigError> {
    let section = table.entry(change.section.clone()).or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(section) = section else {
        return Err(ConfigError::Invalid {
            origin: change.origin.clone(),
            key: change.section.clone(),
            found: section.type_str().to_owned(),
            expected: "a table".to_owned(),
        });
    };
    // As TOML if it is, else as text: network.listen=127.0.0.1. A number is text, too, where text belongs: admin.token=1234.
    let toml = toml::from_str::<Table>(&format!("value = {}", change.value));
    let toml = toml.ok().filter(|parsed| parsed.len() == 1).and_then(|mut parsed| parsed.remove("value"));
    let text = Value::String(change.value.clone());
    let mut first = None;
    for value in toml.into_iter().chain([text]) {
        section.insert(change.key.clone(), value);
        let mut alone = Table::new();
        alone.insert(change.section.clone(), Value::Table(section.clone()));
        match serde_path_to_error::deserialize::<_, Config>(Value::Table(alone)) {
            Ok(_) => return Ok(()),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    first.map_or(Ok(()), |error| {
        Err(ConfigError::Value {
            origin: change.origin.clone(),
            key: error.path().to_string(),
            cause: error.into_inner().to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_makes_of_a_service_is_no_setting() {
        let injected = [
            ("PITLANE_SERVICE_HOST", "10.0.0.1"),
            ("PITLANE_SERVICE_PORT", "26400"),
            ("PITLANE_SERVICE_PORT_ORDERS", "26400"),
            ("PITLANE_PORT", "udp://10.0.0.1:26400"),
            ("PITLANE_PORT_26400_UDP", "udp://10.0.0.1:26400"),
            ("PITLANE_PORT_26400_UDP_ADDR", "10.0.0.1"),
            ("PITLANE_PORT_26400_UDP_PORT", "26400"),
            ("PITLANE_PORT_26480_TCP_PROTO", "tcp"),
            ("PITLANE_ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("PITLANE_ADMIN_PORT_26480_TCP_PORT", "26480"),
            ("PITLANE_NETWORK_PORT", "tcp://10.0.0.1:26400"),
        ];
        let found = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
            Override::from_environment(variables.collect::<Vec<_>>().into_iter())
        };
        assert_eq!(found(&injected).expect("none is refused").len(), 0);
        let settings = [("PITLANE_NETWORK_PORT", "udp"), ("PITLANE_NETWORK_BASE_PORT", "9000")];
        assert_eq!(found(&settings).expect("settings").len(), 2);
        let error = found(&[("PITLANE_ADMN_TOKEN", "hunter2")]).expect_err("no such section").to_string();
        assert!(error.contains("PITLANE_ADMN_TOKEN") && !error.contains("hunter2"), "{error}");
    }
}
