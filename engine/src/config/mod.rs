//! The configuration as the operator writes it: TOML file, then `PITLANE_` variables, then flags. Not the run-time
//! state: everything a shard needs from here reaches it once, at start, and risk limits reach it as journaled inputs.

mod error;
mod instruments;
mod machine;
mod problem;
mod secret;
mod source;
mod validate;
mod warnings;

pub use crate::inputs::RiskConfig;
pub use error::ConfigError;
pub use instruments::InstrumentConfig;
pub use machine::check as check_machine;
pub use secret::Secret;
pub use source::{Override, load};

pub use crate::log::Durability;

use crate::inputs::Role;
pub use netio::PortKind;
use netio::filter::{IpNet, network};
use netio::idle::IdleStrategy;
use serde::{Deserialize, Deserializer};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Shards of one process: as many as a NIC has queues worth dedicating.
pub const MAX_SHARDS: usize = 64;
/// Sessions of one shard; a token is looked up in a table sized for this.
pub const MAX_SESSIONS: usize = 65_536;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub engine: EngineConfig,
    #[serde(default)]
    pub network: NetworkConfig,
    #[serde(default)]
    pub session: SessionConfig,
    #[serde(default)]
    pub journal: JournalConfig,
    #[serde(default)]
    pub limits: LimitsConfig,
    #[serde(default)]
    pub admin: AdminConfig,
    #[serde(default)]
    pub gateway: GatewayConfig,
    #[serde(default)]
    pub feed: FeedConfig,
    #[serde(default)]
    pub instruments_file: Option<PathBuf>,
    #[serde(default, rename = "instrument")]
    pub instruments: Vec<InstrumentConfig>,
    #[serde(default, rename = "firm")]
    pub firms: Vec<FirmConfig>,
    #[serde(default, rename = "account")]
    pub accounts: Vec<AccountConfig>,
    /// What should be otherwise, though it works.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    pub shards: usize,
    /// CPU of each shard thread; empty leaves placement to the scheduler.
    pub cores: Vec<usize>,
    #[serde(deserialize_with = "parsed")]
    pub idle: IdleStrategy,
    /// Trading state of every instrument at first start: `pre-open`, `open`, `halted`, `auction` or `closed`.
    pub initial_state: TradingStateName,
    /// What happens to a system call that a running engine has no use for.
    pub sandbox: Sandbox,
    /// Added to UTC before nanoseconds since midnight are taken, as OUCH and ITCH timestamps are local to the venue.
    pub utc_offset_seconds: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TradingStateName {
    PreOpen,
    Open,
    Halted,
    Auction,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sandbox {
    /// EPERM.
    Refuse,
    /// The end of the engine.
    Kill,
    /// Nothing: it may make any.
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZeroCopy {
    Auto,
    Require,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// `auto` is none: AF_XDP if there is an interface and it can be had, else kernel UDP.
    #[serde(deserialize_with = "kind_or_auto")]
    pub port: Option<PortKind>,
    /// What datagrams must be addressed to; over AF_XDP a wildcard is what the interface has at the start.
    pub listen: IpAddr,
    /// Shard k listens on UDP port `base_port + k`.
    pub base_port: u16,
    /// Interface of the AF_XDP sockets.
    pub interface: Option<String>,
    /// Queue of each shard; empty means shard k on queue k.
    pub queues: Vec<u32>,
    pub zero_copy: ZeroCopy,
    /// CIDR prefixes that may send orders over UDP; empty means any source. In force whatever the port.
    #[serde(deserialize_with = "networks")]
    pub allow: Vec<IpNet>,
    /// Datagrams per second and source address; 0 is no limit. In force whatever the port.
    pub rate_per_source: u32,
    pub burst_per_source: u32,
    /// Descriptors of each AF_XDP ring, a power of two; twice as many frames. `None`: as `max_sessions` calls for.
    pub ring_depth: Option<u32>,
    /// Microseconds of SO_BUSY_POLL; 0 is off.
    pub busy_poll_us: u32,
    pub receive_buffer_bytes: usize,
    pub send_buffer_bytes: usize,
    /// Joins datagrams to one peer in the kernel (GSO, GRO) where that helps.
    pub udp_offload: bool,
}

impl NetworkConfig {
    /// What `port` says.
    pub fn port_name(&self) -> String {
        self.port.map_or_else(|| "auto".to_owned(), |kind| kind.to_string())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginCookies {
    /// While logins queue up, or its source or account had too many wrong ones: a client that knows nothing of it gets in at all
    /// other times.
    Auto,
    Always,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionConfig {
    /// Silence after which a session is logged out.
    pub timeout_seconds: u64,
    /// Bytes of outbound messages each session keeps for retransmission, a power of two.
    pub resend_window_bytes: usize,
    /// Datagrams held per shard that arrived before an earlier one.
    pub parked_datagrams: usize,
    pub max_sessions: usize,
    /// Failed logins per source address and minute.
    pub login_attempts_per_minute: u32,
    /// Failed logins per account and minute, from all sources.
    pub login_attempts_per_account: u32,
    /// When a login over UDP has to show that its source receives.
    pub login_cookies: LoginCookies,
    /// Threads that verify passwords; 0 is one for each core, 8 at most.
    pub login_threads: usize,
    /// How long a right password is remembered, so that its client can be back at once; 0 is not at all.
    pub remember_logins_seconds: u64,
    /// Directory in memory (tmpfs) for what is remembered over a restart; none is systemd's runtime directory or /dev/shm.
    pub remember_logins_in: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    pub durability: Durability,
    pub directory: PathBuf,
    pub segment_bytes: u64,
    /// Records between snapshots; 0 takes none but on command.
    pub snapshot_interval: u64,
    pub keep_snapshots: usize,
    /// Keep segments that the oldest kept snapshot covers: clients may then replay the whole day.
    pub retain_segments: bool,
}

/// Sizes of a shard's preallocated tables.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub max_orders: u32,
    pub max_price_levels: u32,
    /// Instruments of one shard; the feed numbers them with 16 bits.
    pub max_instruments: u32,
    /// How much of the room for orders and price levels one session may use.
    pub session_share_percent: u8,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address of /metrics, /live, /ready and the commands; none turns them off.
    pub listen: Option<SocketAddr>,
    /// Bearer token that commands need; without one they are refused.
    pub token: Option<Secret>,
    /// Where every command is recorded, done or refused; none: in the log alone.
    pub audit_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// SoupBinTCP order entry for shard k on this address, port + k; none turns it off.
    pub listen: Option<SocketAddr>,
    /// Read-only SoupBinTCP drop copy of a firm's executions, port + k.
    pub drop_copy_listen: Option<SocketAddr>,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub max_connections: usize,
    /// Of those, from one IPv4 address or one IPv6 network of 64 bits.
    pub max_connections_per_source: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// Receivers of shard k's ITCH feed, multicast or unicast, port + k; empty turns it off.
    pub receivers: Vec<SocketAddr>,
    /// Source interface address for multicast.
    pub multicast_interface: Ipv4Addr,
    pub multicast_ttl: u32,
    /// MoldUDP64 retransmission requests for shard k, port + k.
    pub retransmit_listen: Option<SocketAddr>,
    /// Retransmissions a second for a source that has logged in to GLIMPSE or the replay port within a day.
    pub requests_per_source: u32,
    /// And for any other: its address may be forged, and an answer is up to seventy times as long as its request.
    pub requests_per_unproven_source: u32,
    /// SoupBinTCP replay of the whole feed and GLIMPSE snapshots, ports + k.
    pub replay_listen: Option<SocketAddr>,
    pub glimpse_listen: Option<SocketAddr>,
    /// Bytes of feed messages kept in memory for retransmission, a power of two.
    pub window_bytes: usize,
    /// Shortest time between two departures of the feed: what happens in between shares a datagram.
    pub spacing_us: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmConfig {
    /// Up to four characters, as OUCH carries it.
    pub name: String,
    #[serde(default)]
    pub risk: RiskConfig,
    /// Symbols this firm may not trade.
    #[serde(default)]
    pub restricted: Vec<String>,
    /// Symbols in which this firm is registered as a market maker, for the feed to say.
    #[serde(default)]
    pub market_maker: Vec<String>,
    /// Those in which it is the primary one.
    #[serde(default)]
    pub primary_market_maker: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    /// SoupBinTCP username, up to six characters. With `count`, the first of a range numbered upwards.
    pub user: String,
    #[serde(default = "one")]
    pub count: u32,
    /// From `pitlane hash-password`.
    pub password_hash: Secret,
    pub firm: String,
    #[serde(default = "yes")]
    pub cancel_on_disconnect: bool,
    /// Sees the firm's executions and may not enter orders.
    #[serde(default)]
    pub drop_copy: bool,
    #[serde(default)]
    pub risk: RiskConfig,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn kind_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PortKind>, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name == "auto" {
        return Ok(None);
    }
    name.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{error}, or auto")))
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text).map_err(serde::de::Error::custom)).collect()
}

fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            shards: 1,
            cores: Vec::new(),
            idle: IdleStrategy::Yield,
            initial_state: TradingStateName::Open,
            sandbox: Sandbox::Refuse,
            utc_offset_seconds: 0,
        }
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            port: None,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            base_port: 26_400,
            interface: None,
            queues: Vec::new(),
            zero_copy: ZeroCopy::Auto,
            allow: Vec::new(),
            rate_per_source: 0,
            burst_per_source: 0,
            ring_depth: None,
            busy_poll_us: 0,
            receive_buffer_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
            udp_offload: true,
        }
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            timeout_seconds: 15,
            resend_window_bytes: 256 << 10,
            parked_datagrams: 4096,
            max_sessions: 1024,
            login_attempts_per_minute: 600,
            login_attempts_per_account: 120,
            login_cookies: LoginCookies::Auto,
            login_threads: 0,
            remember_logins_seconds: 86_400,
            remember_logins_in: None,
        }
    }
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            directory: PathBuf::from("pitlane-data"),
            segment_bytes: 64 << 20,
            snapshot_interval: 10_000_000,
            keep_snapshots: 2,
            retain_segments: true,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_orders: 1 << 20,
            max_price_levels: 1 << 18,
            max_instruments: 16_384,
            session_share_percent: 25,
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 26_480))), token: None, audit_file: None }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: None,
            drop_copy_listen: None,
            tls_certificate: None,
            tls_key: None,
            max_connections: 256,
            max_connections_per_source: 64,
        }
    }
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            receivers: Vec::new(),
            multicast_interface: Ipv4Addr::UNSPECIFIED,
            multicast_ttl: 1,
            retransmit_listen: None,
            requests_per_source: 2000,
            requests_per_unproven_source: 100,
            replay_listen: None,
            glimpse_listen: None,
            window_bytes: 16 << 20,
            spacing_us: 20,
        }
    }
}

/// One account of the expanded account list.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: [u8; 6],
    pub password_hash: String,
    pub firm: [u8; 4],
    pub cancel_on_disconnect: bool,
    pub drop_copy: bool,
    pub risk: RiskConfig,
}

impl Config {
    /// The accounts with ranges written out, in the order of the file.
    pub fn expanded_accounts(&self) -> Vec<Account> {
        self.accounts
            .iter()
            .flat_map(|account| {
                (0..account.count).map(move |index| Account {
                    user: padded(&numbered(&account.user, index)),
                    password_hash: account.password_hash.reveal().to_owned(),
                    firm: padded(&account.firm),
                    cancel_on_disconnect: account.cancel_on_disconnect,
                    drop_copy: account.drop_copy,
                    risk: account.risk,
                })
            })
            .collect()
    }

    /// Shard of an instrument: its own choice, else round-robin by place in the list.
    pub fn shard_of(&self, index: usize) -> usize {
        self.instruments[index].shard.unwrap_or(index % self.engine.shards)
    }

    pub fn queue_of(&self, shard: usize) -> u32 {
        self.network.queues.get(shard).copied().unwrap_or(shard as u32)
    }
}

impl FirmConfig {
    /// What the venue registers the firm as in an instrument.
    pub fn role_in(&self, symbol: &[u8; 8]) -> Role {
        let has = |list: &[String]| list.iter().any(|listed| padded::<8>(listed) == *symbol);
        if has(&self.primary_market_maker) {
            Role::PrimaryMarketMaker
        } else if has(&self.market_maker) {
            Role::MarketMaker
        } else {
            Role::Trader
        }
    }
}

/// `user` with its trailing number raised by `index`, its width kept: C00001 and 2 give C00003.
fn numbered(user: &str, index: u32) -> String {
    let digits = user.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (prefix, number) = user.split_at(user.len() - digits);
    match number.parse::<u32>() {
        Ok(first) => format!("{prefix}{:0digits$}", u64::from(first) + u64::from(index)),
        Err(_) => user.to_owned(),
    }
}

/// Left-justified and space-padded, upper case: how the protocols carry names. Longer input is cut; validation refuses it first.
pub fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut out = padded_bytes(text);
    out.make_ascii_uppercase();
    out
}

/// Left-justified and space-padded, letters as they are.
pub fn padded_bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    for (slot, byte) in out.iter_mut().zip(text.bytes()) {
        *slot = byte;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its text with every default that is commented out written in; lines whose comment begins with "none" show what has no default.
    fn written_out(text: &str) -> String {
        let (settings, _) = text.split_once("[[firm]]").expect("a firm");
        let lines = settings.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
                if setting.split_once("# ").is_some_and(|(_, comment)| comment.starts_with("none")) {
                    ""
                } else {
                    setting
                }
            }
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Every setting of every section, as `key: value` by section.
    fn settings(config: &Config) -> [String; 8] {
        let Config { engine, network, session, journal, limits, admin, gateway, feed, .. } = config;
        [
            format!("{engine:#?}"),
            format!("{network:#?}"),
            format!("{session:#?}"),
            format!("{journal:#?}"),
            format!("{limits:#?}"),
            format!("{admin:#?}"),
            format!("{gateway:#?}"),
            format!("{feed:#?}"),
        ]
    }

    #[test]
    fn the_shipped_configuration_says_every_default_and_opens_no_account() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/pitlane.toml"));
        let text = text.expect("deploy/pitlane.toml");
        let shipped: Config = toml::from_str(&text).expect("a configuration");
        assert!(shipped.accounts.is_empty() && shipped.admin.token.is_none(), "it lets somebody in");
        let defaults: Config = toml::from_str("").expect("defaults");
        let said: Config = toml::from_str(&written_out(&text)).expect("a configuration");
        assert_eq!(settings(&said), settings(&defaults), "left: what it says, right: what is so");
        assert_eq!(settings(&shipped), settings(&defaults), "left: what it sets, right: the defaults");
        for section in settings(&defaults) {
            // Fields of the section are indented once.
            let keys = section.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(':'));
            for (key, _) in keys.filter(|(key, _)| !key.starts_with(' ')) {
                assert!(text.contains(&format!("\n# {key} = ")), "{key} is not in deploy/pitlane.toml");
            }
        }
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let text = "[admin]\ntoken = \"hunter2\"";
        let config: Config = toml::from_str(text).expect("a configuration");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
