//! What settings may be: the bounds of each number, and what must agree with what. Not where they come from.

use super::machine::listeners;
use super::problem::{Checked, problem};
use super::{AccountConfig, Config, ConfigError, FirmConfig, MAX_SESSIONS, MAX_SHARDS, PortKind, numbered};
use crate::accounts::password;
use crate::accounts::verify::MAX_THREADS;
use std::collections::HashSet;

/// Entries of the order and price level tables: a slab's index has 32 bits, and this many are gigabytes already.
const MAX_TABLE: u32 = 1 << 26;
/// ITCH numbers instruments from 1, with 16 bits.
const MAX_INSTRUMENTS: u32 = 65_534;
/// Passwords change less often than every month, and are forgotten before that.
const MAX_REMEMBERED: i128 = 31 * 86_400;
/// Segments are mapped, so they end with a page.
const PAGE: i128 = 4096;

/// Checks everything that the types alone do not.
///
/// # Errors
/// The first problem, by key.
pub(super) fn validate(config: &Config, origin: &str) -> Result<(), ConfigError> {
    let checked = || {
        numbers(config)?;
        network(config)?;
        listeners(config)?;
        together(config)?;
        let symbols = instruments(config)?;
        firms(&config.firms, &symbols)?;
        accounts(config)
    };
    checked().map_err(|problem| problem.at(origin))
}

enum Shape {
    Whole,
    PowerOfTwo,
    MultipleOf(i128),
}

/// Every number that has bounds of its own. No upper bound: `i128::MAX`.
fn numbers(config: &Config) -> Checked {
    use Shape::{MultipleOf, PowerOfTwo, Whole};
    const OPEN: i128 = i128::MAX;
    let Config { engine, network, session, journal, limits, gateway, feed, .. } = config;
    // Without a rate nobody asks for the burst.
    let burst_least = u8::from(network.rate_per_source > 0);
    let table: &[(&str, i128, Shape, i128, i128)] = &[
        ("engine.shards", engine.shards as i128, Whole, 1, MAX_SHARDS as i128),
        ("engine.utc_offset_seconds", engine.utc_offset_seconds.into(), Whole, -86_399, 86_399),
        ("network.ring_depth", network.ring_depth.unwrap_or(64).into(), PowerOfTwo, 64, 1 << 16),
        ("session.timeout_seconds", session.timeout_seconds.into(), Whole, 2, 3600),
        ("session.resend_window_bytes", session.resend_window_bytes as i128, PowerOfTwo, 4096, OPEN),
        ("session.parked_datagrams", session.parked_datagrams as i128, Whole, 1, 1 << 20),
        ("session.max_sessions", session.max_sessions as i128, Whole, 1, MAX_SESSIONS as i128),
        ("session.login_attempts_per_minute", session.login_attempts_per_minute.into(), Whole, 1, OPEN),
        ("session.login_attempts_per_account", session.login_attempts_per_account.into(), Whole, 1, OPEN),
        ("session.login_threads", session.login_threads as i128, Whole, 0, MAX_THREADS as i128),
        ("session.remember_logins_seconds", session.remember_logins_seconds.into(), Whole, 0, MAX_REMEMBERED),
        ("journal.segment_bytes", journal.segment_bytes.into(), MultipleOf(PAGE), 1 << 20, OPEN),
        ("journal.keep_snapshots", journal.keep_snapshots as i128, Whole, 1, OPEN),
        ("limits.max_orders", limits.max_orders.into(), Whole, 1, MAX_TABLE.into()),
        ("limits.max_price_levels", limits.max_price_levels.into(), Whole, 1, MAX_TABLE.into()),
        ("limits.max_instruments", limits.max_instruments.into(), Whole, 1, MAX_INSTRUMENTS.into()),
        ("limits.session_share_percent", limits.session_share_percent.into(), Whole, 1, 100),
        ("gateway.max_connections", gateway.max_connections as i128, Whole, 1, MAX_SESSIONS as i128),
        (
            "gateway.max_connections_per_source",
            gateway.max_connections_per_source as i128,
            Whole,
            1,
            MAX_SESSIONS as i128,
        ),
        ("feed.window_bytes", feed.window_bytes as i128, PowerOfTwo, 1 << 16, OPEN),
        ("feed.requests_per_source", feed.requests_per_source.into(), Whole, 1, 1_000_000),
        ("feed.requests_per_unproven_source", feed.requests_per_unproven_source.into(), Whole, 1, 1_000_000),
        ("feed.spacing_us", feed.spacing_us.into(), Whole, 0, 1_000_000),
        ("network.burst_per_source", network.burst_per_source.into(), Whole, burst_least.into(), OPEN),
    ];
    for &(key, value, ref shape, least, most) in table {
        let (fits, shape) = match shape {
            Whole => (true, String::new()),
            PowerOfTwo => (value.count_ones() == 1, "a power of two, ".to_owned()),
            MultipleOf(unit) => (value % unit == 0, format!("a multiple of {unit}, ")),
        };
        if !fits || value < least || value > most {
            let range = if most == OPEN { format!("at least {least}") } else { format!("{least} to {most}") };
            return problem(key, value.to_string(), shape + &range);
        }
    }
    Ok(())
}

fn network(config: &Config) -> Checked {
    let Config { network, .. } = config;
    if network.port.is_some_and(|kind| kind != PortKind::Udp) && network.interface.is_none() {
        let expected = "the interface of the AF_XDP sockets, as network.port is \"xdp\"";
        return problem("network.interface", "missing", expected);
    }
    Ok(())
}

/// Settings that must agree with each other.
fn together(config: &Config) -> Checked {
    let Config { engine, network, gateway, limits, .. } = config;
    if !engine.cores.is_empty() && engine.cores.len() != engine.shards {
        return problem("engine.cores", format!("{:?}", engine.cores), "one core per shard, or none");
    }
    if !network.queues.is_empty() && network.queues.len() != engine.shards {
        return problem("network.queues", format!("{:?}", network.queues), "one queue per shard, or none");
    }
    if gateway.tls_certificate.is_some() != gateway.tls_key.is_some() {
        return problem("gateway.tls_certificate", "alone", "tls_key beside it, or neither");
    }
    for shard in 0..engine.shards {
        let count = (0..config.instruments.len()).filter(|&index| config.shard_of(index) == shard).count();
        if count > limits.max_instruments as usize {
            let expected = format!("room for the {count} instruments of shard {shard}");
            return problem("limits.max_instruments", limits.max_instruments.to_string(), expected);
        }
    }
    Ok(())
}

/// The symbols, in upper case.
fn instruments(config: &Config) -> Checked<HashSet<String>> {
    if config.instruments.is_empty() {
        return problem("instrument", "missing", "at least one [[instrument]] or an instruments_file");
    }
    let mut symbols = HashSet::new();
    for (index, instrument) in config.instruments.iter().enumerate() {
        let number = index + 1;
        if let Some((key, found, expected)) = instrument.problem(config.engine.shards) {
            return problem(format!("instrument {number} ({}): {key}", instrument.symbol), found, expected);
        }
        let key = format!("instrument {number}: symbol");
        once(&mut symbols, &instrument.symbol, key, "each symbol once")?;
    }
    Ok(symbols)
}

fn firms(firms: &[FirmConfig], symbols: &HashSet<String>) -> Checked {
    let mut names = HashSet::new();
    for firm in firms {
        name("firm.name", &firm.name, 4)?;
        once(&mut names, &firm.name, "firm.name", "each firm once")?;
        let lists = [
            ("restricted", &firm.restricted),
            ("market_maker", &firm.market_maker),
            ("primary_market_maker", &firm.primary_market_maker),
        ];
        for (key, list) in lists {
            if let Some(symbol) = list.iter().find(|symbol| !symbols.contains(&symbol.to_ascii_uppercase())) {
                return problem(
                    format!("firm {}: {key}", firm.name),
                    format!("{symbol:?}"),
                    "a known symbol",
                );
            }
        }
    }
    Ok(())
}

fn accounts(config: &Config) -> Checked {
    for account in &config.accounts {
        name("account.user", &account.user, 6)?;
        name(&format!("account {}: firm", account.user), &account.firm, 4)?;
        let firm = &account.firm;
        if !config.firms.iter().any(|known| known.name.eq_ignore_ascii_case(firm)) {
            let known: Vec<_> = config.firms.iter().map(|firm| firm.name.as_str()).collect();
            let expected = format!("a firm with a [[firm]] of its own: {}", known.join(", "));
            return problem(format!("account {}: firm", account.user), format!("{firm:?}"), expected);
        }
        if !can_be_counted(account) {
            return problem(
                format!("account {}: count", account.user),
                account.count.to_string(),
                "1, or as many as the number that ends `user` can count",
            );
        }
        if let Some(found) = password::problem(account.password_hash.reveal()) {
            let key = format!("account {}: password_hash", account.user);
            return problem(key, found, "the output of `pitlane hash-password`");
        }
    }
    let accounts = config.expanded_accounts();
    let mut users = HashSet::new();
    for account in &accounts {
        once(&mut users, &String::from_utf8_lossy(&account.user), "account.user", "each user once")?;
    }
    let room = config.session.max_sessions;
    if accounts.len() > room {
        let expected = format!("room for the {} accounts", accounts.len());
        return problem("session.max_sessions", room.to_string(), expected);
    }
    Ok(())
}

/// Whether the users of `count` accounts differ and are no longer than the first.
fn can_be_counted(account: &AccountConfig) -> bool {
    let last = numbered(&account.user, account.count.saturating_sub(1));
    account.count >= 1
        && account.count as usize <= MAX_SESSIONS
        && last.len() <= account.user.len()
        && (account.count == 1 || last != account.user)
}

/// `text` is not in `seen`, whatever its case, and is now.
fn once(seen: &mut HashSet<String>, text: &str, key: impl Into<String>, expected: &str) -> Checked {
    if seen.insert(text.to_ascii_uppercase()) {
        return Ok(());
    }
    problem(key, format!("{text:?} for the second time"), expected)
}

fn name(key: &str, text: &str, longest: usize) -> Checked {
    if !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    problem(key, format!("{text:?}"), format!("1 to {longest} printable characters"))
}
