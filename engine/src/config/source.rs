//! Where settings come from and in what order they win: file, `PITLANE_` variables, `--set`. Not what they mean.

use super::{Config, ConfigError, MAX_SESSIONS, MAX_SHARDS, PortKind, instruments};
use std::collections::HashSet;
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

fn validate(config: &Config, origin: &str) -> Result<(), ConfigError> {
    let invalid = |key: String, found: String, expected: &str| {
        Err(ConfigError::Invalid { origin: origin.to_owned(), key, found, expected: expected.to_owned() })
    };
    let engine = &config.engine;
    if engine.shards == 0 || engine.shards > MAX_SHARDS {
        return invalid("engine.shards".into(), engine.shards.to_string(), "1 to 64");
    }
    if !engine.cores.is_empty() && engine.cores.len() != engine.shards {
        return invalid("engine.cores".into(), format!("{:?}", engine.cores), "one core per shard, or none");
    }
    if engine.utc_offset_seconds.abs() >= 86_400 {
        return invalid(
            "engine.utc_offset_seconds".into(),
            engine.utc_offset_seconds.to_string(),
            "-86399 to 86399",
        );
    }
    let network = &config.network;
    if usize::from(network.base_port) + engine.shards > 65_536 || network.base_port == 0 {
        return invalid(
            "network.base_port".into(),
            network.base_port.to_string(),
            "a port with room for one per shard above it",
        );
    }
    if network.port == PortKind::Xdp && network.interface.is_none() {
        return invalid(
            "network.interface".into(),
            "missing".into(),
            "the interface of the AF_XDP sockets, as network.port is \"xdp\"",
        );
    }
    if !network.queues.is_empty() && network.queues.len() != engine.shards {
        return invalid(
            "network.queues".into(),
            format!("{:?}", network.queues),
            "one queue per shard, or none",
        );
    }
    if !network.ring_depth.is_power_of_two() || network.ring_depth < 64 || network.ring_depth > 1 << 16 {
        return invalid(
            "network.ring_depth".into(),
            network.ring_depth.to_string(),
            "a power of two, 64 to 65536",
        );
    }
    if network.rate_per_source > 0 && network.burst_per_source == 0 {
        return invalid(
            "network.burst_per_source".into(),
            "0".into(),
            "at least 1 when rate_per_source is set",
        );
    }
    let session = &config.session;
    if session.timeout_seconds < 2 || session.timeout_seconds > 3600 {
        return invalid("session.timeout_seconds".into(), session.timeout_seconds.to_string(), "2 to 3600");
    }
    if !session.resend_window_bytes.is_power_of_two() || session.resend_window_bytes < 4096 {
        return invalid(
            "session.resend_window_bytes".into(),
            session.resend_window_bytes.to_string(),
            "a power of two, at least 4096",
        );
    }
    if session.parked_datagrams == 0 || session.parked_datagrams > 1 << 20 {
        return invalid(
            "session.parked_datagrams".into(),
            session.parked_datagrams.to_string(),
            "1 to 1048576",
        );
    }
    if session.max_sessions == 0 || session.max_sessions > MAX_SESSIONS {
        return invalid("session.max_sessions".into(), session.max_sessions.to_string(), "1 to 65536");
    }
    if session.login_attempts_per_minute == 0 {
        return invalid("session.login_attempts_per_minute".into(), "0".into(), "at least 1");
    }
    let journal = &config.journal;
    if journal.segment_bytes < 1 << 20 || !journal.segment_bytes.is_multiple_of(4096) {
        return invalid(
            "journal.segment_bytes".into(),
            journal.segment_bytes.to_string(),
            "a multiple of 4096, at least 1048576",
        );
    }
    if journal.keep_snapshots == 0 {
        return invalid("journal.keep_snapshots".into(), "0".into(), "at least 1");
    }
    if config.limits.max_orders == 0 || config.limits.max_orders > 1 << 26 {
        return invalid("limits.max_orders".into(), config.limits.max_orders.to_string(), "1 to 67108864");
    }
    if config.limits.max_price_levels == 0 || config.limits.max_price_levels > 1 << 26 {
        return invalid(
            "limits.max_price_levels".into(),
            config.limits.max_price_levels.to_string(),
            "1 to 67108864",
        );
    }
    if config.limits.max_instruments == 0 || config.limits.max_instruments > 65_534 {
        return invalid(
            "limits.max_instruments".into(),
            config.limits.max_instruments.to_string(),
            "1 to 65534",
        );
    }
    for shard in 0..engine.shards {
        let count = (0..config.instruments.len()).filter(|&index| config.shard_of(index) == shard).count();
        if count > config.limits.max_instruments as usize {
            return invalid(
                "limits.max_instruments".into(),
                config.limits.max_instruments.to_string(),
                &format!("room for the {count} instruments of shard {shard}"),
            );
        }
    }
    if config.gateway.tls_certificate.is_some() != config.gateway.tls_key.is_some() {
        return invalid("gateway.tls_certificate".into(), "alone".into(), "tls_key beside it, or neither");
    }
    if !config.feed.window_bytes.is_power_of_two() || config.feed.window_bytes < 1 << 16 {
        return invalid(
            "feed.window_bytes".into(),
            config.feed.window_bytes.to_string(),
            "a power of two, at least 65536",
        );
    }
    if config.feed.spacing_us > 1_000_000 {
        return invalid("feed.spacing_us".into(), config.feed.spacing_us.to_string(), "0 to 1000000");
    }
    if config.instruments.is_empty() {
        return invalid(
            "instrument".into(),
            "missing".into(),
            "at least one [[instrument]] or an instruments_file",
        );
    }
    let mut symbols = HashSet::new();
    for (index, instrument) in config.instruments.iter().enumerate() {
        if let Some((key, found, expected)) = instrument.problem(engine.shards) {
            return invalid(
                format!("instrument {} ({}): {key}", index + 1, instrument.symbol),
                found,
                &expected,
            );
        }
        if !symbols.insert(instrument.symbol.to_ascii_uppercase()) {
            return invalid(
                format!("instrument {}: symbol", index + 1),
                format!("{:?} for the second time", instrument.symbol),
                "each symbol once",
            );
        }
    }
    let mut firms = HashSet::new();
    for firm in &config.firms {
        if !is_name(&firm.name, 4) {
            return invalid("firm.name".into(), format!("{:?}", firm.name), "1 to 4 printable characters");
        }
        if !firms.insert(firm.name.to_ascii_uppercase()) {
            return invalid(
                "firm.name".into(),
                format!("{:?} for the second time", firm.name),
                "each firm once",
            );
        }
        if let Some(symbol) =
            firm.restricted.iter().find(|symbol| !symbols.contains(&symbol.to_ascii_uppercase()))
        {
            return invalid(
                format!("firm {}: restricted", firm.name),
                format!("{symbol:?}"),
                "a known symbol",
            );
        }
    }
    for account in &config.accounts {
        if !is_name(&account.user, 6) {
            return invalid(
                "account.user".into(),
                format!("{:?}", account.user),
                "1 to 6 printable characters",
            );
        }
        if !is_name(&account.firm, 4) {
            return invalid(
                format!("account {}: firm", account.user),
                format!("{:?}", account.firm),
                "1 to 4 printable characters",
            );
        }
        let last = super::numbered(&account.user, account.count.saturating_sub(1));
        if account.count == 0
            || account.count as usize > MAX_SESSIONS
            || last.len() > account.user.len()
            || (account.count > 1 && last == account.user)
        {
            return invalid(
                format!("account {}: count", account.user),
                account.count.to_string(),
                "1, or as many as the number that ends `user` can count",
            );
        }
        if let Err(cause) = argon2::PasswordHash::new(&account.password_hash) {
            return invalid(
                format!("account {}: password_hash", account.user),
                format!("not a PHC string ({cause})"),
                "the output of `pitlane hash-password`",
            );
        }
    }
    let accounts = config.expanded_accounts();
    let mut users = HashSet::new();
    if let Some(twice) = accounts.iter().find(|account| !users.insert(account.user)) {
        return invalid(
            "account.user".into(),
            format!("{:?} for the second time", String::from_utf8_lossy(&twice.user)),
            "each user once",
        );
    }
    if accounts.len() > session.max_sessions {
        return invalid(
            "session.max_sessions".into(),
            session.max_sessions.to_string(),
            &format!("room for the {} accounts", accounts.len()),
        );
    }
    Ok(())
}

fn is_name(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_graphic())
}
