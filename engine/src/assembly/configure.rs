//! What the configuration tells a shard that starts: larger tables, rules, firms, instruments, restrictions, market makers. Nothing
//! that a shard already knows: where the two disagree is `differences`' to say.

use super::differences::growth;
use crate::config::{Config, TradingStateName, padded};
use crate::core::Core;
use crate::inputs::{FirmRight, FirmRights, Input, InstrumentInput, Role, Rules};
use crate::log::writer::Log;
use book::TradingState;

/// Tells the shard what the configuration has and it does not know yet. What it knows stays, but for the rules: limits and reference prices
/// change by operator command, and a restart must not undo that.
pub(super) fn configure<L: Log>(
    config: &Config,
    shard: usize,
    core: &mut Core<L>,
    timestamp_ns: u64,
) -> anyhow::Result<()> {
    if let Some(sizes) = growth(config, &core.shard.genesis) {
        core.input(&Input::Sizes(sizes), timestamp_ns)?;
    }
    let rules = Rules { version: Rules::VERSION, session_share_percent: config.limits.session_share_percent };
    if core.shard.rules() != rules {
        core.input(&Input::Rules(rules), timestamp_ns)?;
    }
    for firm in &config.firms {
        let name = padded(&firm.name);
        if !core.shard.has_firm(&name) {
            core.input(&Input::Firm { firm: name, risk: firm.risk }, timestamp_ns)?;
        }
    }
    for (index, instrument) in config.instruments.iter().enumerate() {
        let symbol = padded(&instrument.symbol);
        if config.shard_of(index) != shard || core.shard.has_symbol(&symbol) {
            continue;
        }
        let input = InstrumentInput {
            symbol,
            tick: instrument.tick,
            lot: instrument.lot,
            max_quantity: instrument.max_quantity,
            reference_price: instrument.reference_price,
            collar_basis_points: instrument.collar_basis_points,
            state: trading_state(config.engine.initial_state),
        };
        let mut rights = Vec::new();
        for firm in &config.firms {
            let restricted = firm.restricted.iter().any(|restricted| padded::<8>(restricted) == symbol);
            let role = firm.role_in(&symbol);
            if restricted || role != Role::Trader {
                FirmRights::push(&mut rights, FirmRight { firm: padded(&firm.name), restricted, role });
            }
        }
        core.input(&Input::Instrument(input, FirmRights::new(&rights)?), timestamp_ns)?;
    }
    match core.failure.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

fn trading_state(name: TradingStateName) -> TradingState {
    match name {
        TradingStateName::PreOpen => TradingState::PreOpen,
        TradingStateName::Open => TradingState::Open,
        TradingStateName::Halted => TradingState::Halted,
        TradingStateName::Auction => TradingState::Auction,
        TradingStateName::Closed => TradingState::Closed,
    }
}
