//! Where a configuration and the journals that it is started on disagree: what grows, what stays as the journals have it, what
//! cannot be. Nothing is said twice, and nothing is passed over. Not the changes themselves: `configure` makes those.

use crate::config::{Config, Durability, FirmConfig, MAX_SHARDS, RiskConfig, padded};
use crate::history::recovery::recover;
use crate::inputs::{Genesis, Role, Sizes};
use crate::log::format::segment_ordinal;
use crate::log::{FileStorage, Storage};
use crate::session::Sessions;
use crate::shard::{Firm, Shard};
use anyhow::Context;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

/// Lines for one key, at most: ten thousand instruments may differ in the same way.
const MAX_LINES: usize = 16;

/// What comes of a disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The start does as the file says.
    Applied,
    /// The journal's stays.
    Kept,
    /// There is no start.
    Refused,
}

/// One disagreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting, without whose it is.
    key: &'static str,
    text: String,
    pub outcome: Outcome,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Numbers of the shards that have a journal in `directory`.
///
/// # Errors
/// The directory cannot be read, or the journal of a shard is missing while a later one's is there.
pub fn journaled(directory: &Path) -> anyhow::Result<usize> {
    if !directory.exists() {
        return Ok(0);
    }
    let names = FileStorage::read_only(directory).list()?;
    let has = |shard: usize| names.iter().any(|name| segment_ordinal(name, shard as u32).is_some());
    let count = (0..MAX_SHARDS).filter(|&shard| has(shard)).map(|shard| shard + 1).max().unwrap_or(0);
    if let Some(missing) = (0..count).find(|&shard| !has(shard)) {
        let directory = directory.display();
        anyhow::bail!("{directory} has no journal of shard {missing}, but one of shard {}", count - 1);
    }
    Ok(count)
}

/// What a start with this configuration on the journals in `directory` would say. Starts and changes nothing.
///
/// # Errors
/// A journal that is not there or cannot be read.
pub fn against(config: &Config, directory: &Path) -> anyhow::Result<Vec<Difference>> {
    let count = journaled(directory)?;
    anyhow::ensure!(count > 0, "{} has no journal", directory.display());
    let mut shards = Vec::new();
    for number in 0..count as u32 {
        let storage = FileStorage::read_only(directory);
        // What clients missed is nobody's business here: the smallest window does.
        let recovered = recover(storage, number, Sessions::new(4096, Durability::Memory))
            .with_context(|| format!("shard {number}, journal in {}", directory.display()))?;
        shards.extend(recovered.core.map(|core| core.shard));
    }
    Ok(differences(config, &shards.iter().collect::<Vec<_>>()))
}

/// Compares a configuration with the shards as their journals have them, shard 0 first.
pub fn differences(config: &Config, shards: &[&Shard]) -> Vec<Difference> {
    let mut found = Differences::default();
    if shards.is_empty() {
        return Vec::new();
    }
    found.shards(config, shards);
    for (number, shard) in shards.iter().enumerate() {
        found.sizes(config, number, shard);
    }
    let holders = holders(shards);
    found.instruments(config, shards, &holders);
    for shard in shards {
        found.firms(config, shard);
        found.accounts(config, shard);
    }
    found.bounded()
}

/// The configuration as these shards go by it: an instrument is where its journal has it.
pub fn settled(config: &Config, shards: &[&Shard]) -> Config {
    let holders = holders(shards);
    let mut settled = config.clone();
    for index in 0..settled.instruments.len() {
        let place = config.shard_of(index);
        let instrument = &mut settled.instruments[index];
        let holder = holders.get(&padded(&instrument.symbol)).and_then(|holders| holders.first());
        instrument.shard = Some(holder.map_or(place, |&(shard, _)| shard));
    }
    settled
}

/// What the tables of a shard are to grow to; none if the file asks for no more than there is.
pub fn growth(config: &Config, genesis: &Genesis) -> Option<Sizes> {
    let (asked, now) = (asked_sizes(config), genesis.sizes());
    let grown = Sizes {
        max_orders: asked.max_orders.max(now.max_orders),
        max_price_levels: asked.max_price_levels.max(now.max_price_levels),
        max_sessions: asked.max_sessions.max(now.max_sessions),
        max_instruments: asked.max_instruments.max(now.max_instruments),
    };
    (grown != now).then_some(grown)
}

fn asked_sizes(config: &Config) -> Sizes {
    Sizes {
        max_orders: config.limits.max_orders,
        max_price_levels: config.limits.max_price_levels,
        max_sessions: config.session.max_sessions as u32,
        max_instruments: config.limits.max_instruments,
    }
}

/// Shards that have an instrument, and its number there: one, unless an earlier version gave it two books.
type Holders = HashMap<[u8; 8], Vec<(usize, usize)>>;

/// Looked up only, never iterated.
fn holders(shards: &[&Shard]) -> Holders {
    let mut holders = Holders::new();
    for (number, shard) in shards.iter().enumerate() {
        for (place, instrument) in shard.instruments().iter().enumerate() {
            holders.entry(instrument.symbol).or_default().push((number, place));
        }
    }
    holders
}

fn name(bytes: &[u8]) -> String {
    bytes.trim_ascii_end().escape_ascii().to_string()
}

#[derive(Default)]
struct Differences {
    found: Vec<Difference>,
    /// Texts of those: shards have firms and accounts in common. Looked up only.
    said: HashSet<String>,
}

impl Differences {
    fn add(&mut self, key: &'static str, text: String, outcome: Outcome) {
        if self.said.insert(text.clone()) {
            self.found.push(Difference { key, text, outcome });
        }
    }

    /// `whose` key differs, and the journal's value stays.
    fn kept<T: PartialEq + fmt::Display>(&mut self, key: &'static str, whose: &str, file: &T, journal: &T) {
        if file != journal {
            let text = format!("{whose}{key} is {file}; the journal has {journal}, which stays");
            self.add(key, text, Outcome::Kept);
        }
    }

    fn shards(&mut self, config: &Config, shards: &[&Shard]) {
        let (file, journal) = (config.engine.shards, shards.len());
        if file > journal {
            let text = format!(
                "engine.shards is {file}; the journal has {journal}: the others begin empty, instruments stay where they are"
            );
            self.add("engine.shards", text, Outcome::Applied);
        }
        for (number, shard) in shards.iter().enumerate().skip(file) {
            let text = format!(
                "engine.shards is {file}; the journal has {journal}, and shard {number} has {} instruments, {} sessions and {} open orders; expected at least {journal}",
                shard.instruments().len(),
                shard.sessions(),
                shard.market().live_orders(),
            );
            self.add("engine.shards", text, Outcome::Refused);
        }
    }

    fn sizes(&mut self, config: &Config, number: usize, shard: &Shard) {
        let genesis = &shard.genesis;
        let whose = format!("shard {number}: ");
        self.kept(
            "engine.utc_offset_seconds",
            &whose,
            &config.engine.utc_offset_seconds,
            &genesis.utc_offset_seconds,
        );
        let (asked, now) = (asked_sizes(config), genesis.sizes());
        for (key, file, journal) in [
            ("limits.max_orders", asked.max_orders, now.max_orders),
            ("limits.max_price_levels", asked.max_price_levels, now.max_price_levels),
            ("session.max_sessions", asked.max_sessions, now.max_sessions),
            ("limits.max_instruments", asked.max_instruments, now.max_instruments),
        ] {
            let (text, outcome) = if file > journal {
                (format!("{whose}{key} is {file}; the journal has {journal}, and grows"), Outcome::Applied)
            } else if file < journal {
                (
                    format!(
                        "{whose}{key} is {file}; the journal has {journal}, which stays: tables only grow"
                    ),
                    Outcome::Kept,
                )
            } else {
                continue;
            };
            self.add(key, text, outcome);
        }
        let (file, journal) = (config.limits.session_share_percent, shard.rules().session_share_percent);
        if file != journal {
            let key = "limits.session_share_percent";
            let text = format!("{whose}{key} is {file}; the journal has {journal}, and follows");
            self.add(key, text, Outcome::Applied);
        }
    }

    fn instruments(&mut self, config: &Config, shards: &[&Shard], holders: &Holders) {
        for instrument in &config.instruments {
            let Some(held) = holders.get(&padded(&instrument.symbol)) else { continue };
            let whose = format!("instrument {}: ", instrument.symbol);
            if let [(first, _), others @ ..] = held.as_slice()
                && !others.is_empty()
            {
                let others: Vec<_> = others.iter().map(|(shard, _)| shard.to_string()).collect();
                let text = format!(
                    "{whose}the journals have books of it in shard {first} and in shard {}: one of them should be closed",
                    others.join(", ")
                );
                self.add("instrument", text, Outcome::Kept);
            }
            for &(shard, place) in held {
                let known = &shards[shard].instruments()[place];
                if let Some(asked) = instrument.shard {
                    self.kept("shard", &whose, &asked, &shard);
                }
                self.kept("tick", &whose, &instrument.tick, &known.tick);
                self.kept("lot", &whose, &instrument.lot, &known.lot);
                self.kept("max_quantity", &whose, &instrument.max_quantity, &known.max_quantity);
                self.kept(
                    "collar_basis_points",
                    &whose,
                    &instrument.collar_basis_points,
                    &known.collar_basis_points,
                );
                self.kept("reference_price", &whose, &instrument.reference_price, &known.reference_price);
            }
        }
        let listed: HashSet<[u8; 8]> =
            config.instruments.iter().map(|instrument| padded(&instrument.symbol)).collect();
        for (number, shard) in shards.iter().enumerate() {
            for instrument in shard.instruments().iter().filter(|known| !listed.contains(&known.symbol)) {
                let text = format!(
                    "instrument {} is not in the file; shard {number} has it, and it trades on",
                    name(&instrument.symbol)
                );
                self.add("instrument", text, Outcome::Kept);
            }
        }
    }

    fn firms(&mut self, config: &Config, shard: &Shard) {
        for firm in &config.firms {
            if let Some(known) = shard.firms().iter().find(|known| known.name == padded(&firm.name)) {
                self.risk(&format!("firm {}: risk.", firm.name), &firm.risk, &known.risk);
                self.rights(firm, known, shard);
            }
        }
        let listed = |known: &&Firm| config.firms.iter().any(|firm| padded(&firm.name) == known.name);
        for known in shard.firms().iter().filter(|known| !listed(known)) {
            let text =
                format!("firm {} is not in the file; the journal has it, and it stays", name(&known.name));
            self.add("firm", text, Outcome::Kept);
        }
    }

    /// What the firm may and is in instruments that the journal has: a new instrument's begin with it.
    fn rights(&mut self, firm: &FirmConfig, known: &Firm, shard: &Shard) {
        for (number, instrument) in (0..).zip(shard.instruments()) {
            let whose = format!("firm {}: {} ", firm.name, name(&instrument.symbol));
            let restricted = firm.restricted.iter().any(|symbol| padded(symbol) == instrument.symbol);
            self.kept("restricted", &whose, &restricted, &known.is_restricted(number));
            let role = match known.registered.iter().find(|(registered, _)| *registered == number) {
                None => Role::Trader,
                Some((_, false)) => Role::MarketMaker,
                Some((_, true)) => Role::PrimaryMarketMaker,
            };
            self.kept("market maker", &whose, &role_name(firm.role_in(&instrument.symbol)), &role_name(role));
        }
    }

    fn risk(&mut self, whose: &str, file: &RiskConfig, journal: &RiskConfig) {
        self.kept("max_order_quantity", whose, &file.max_order_quantity, &journal.max_order_quantity);
        self.kept("max_order_notional", whose, &file.max_order_notional, &journal.max_order_notional);
        self.kept("max_open_orders", whose, &file.max_open_orders, &journal.max_open_orders);
        self.kept("max_gross_exposure", whose, &file.max_gross_exposure, &journal.max_gross_exposure);
        self.kept(
            "max_messages_per_second",
            whose,
            &file.max_messages_per_second,
            &journal.max_messages_per_second,
        );
        self.kept("collar_basis_points", whose, &file.collar_basis_points, &journal.collar_basis_points);
    }

    /// A session keeps what its account had when it first logged in.
    fn accounts(&mut self, config: &Config, shard: &Shard) {
        let accounts = config.expanded_accounts();
        let by_user: HashMap<_, _> = accounts.iter().map(|account| (account.user, account)).collect();
        for trader in (0..shard.sessions()).filter_map(|session| shard.trader(session as u32)) {
            let user = name(&trader.user);
            let Some(account) = by_user.get(&trader.user) else {
                let text = format!(
                    "account {user} is not in the file; the journal has its session, and nobody can log in to it"
                );
                self.add("account", text, Outcome::Kept);
                continue;
            };
            let whose = format!("account {user}: ");
            let firm =
                shard.firms().get(usize::from(trader.firm)).map_or_else(String::new, |firm| name(&firm.name));
            self.kept("firm", &whose, &name(&account.firm), &firm);
            self.kept("drop_copy", &whose, &account.drop_copy, &trader.drop_copy);
            self.risk(&format!("{whose}risk."), &account.risk, &trader.risk);
        }
    }

    /// The first of each key, and how many more there are.
    fn bounded(self) -> Vec<Difference> {
        let mut out: Vec<Difference> = Vec::new();
        let mut more: Vec<(&'static str, Outcome, usize)> = Vec::new();
        for difference in self.found {
            let Difference { key, outcome, .. } = difference;
            let lines = out.iter().filter(|said| (said.key, said.outcome) == (key, outcome)).count();
            if lines < MAX_LINES {
                out.push(difference);
                continue;
            }
            match more.iter_mut().find(|more| (more.0, more.1) == (key, outcome)) {
                Some((.., count)) => *count += 1,
                None => more.push((key, outcome, 1)),
            }
        }
        let more = more.into_iter().map(|(key, outcome, count)| Difference {
            key,
            text: format!("{key}: {count} more"),
            outcome,
        });
        out.extend(more);
        out
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Trader => "none",
        Role::MarketMaker => "market maker",
        Role::PrimaryMarketMaker => "primary market maker",
    }
}
