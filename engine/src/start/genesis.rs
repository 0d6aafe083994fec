//! A shard at its beginning: an empty core whose first record says what it is. Not what is in it: that is `configure`.

use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::core::Core;
use crate::inputs::{Genesis, Input, MAX_ENCODED, kind};
use crate::log::writer::Log;
use crate::session::downstream::Egress;
use crate::session::random_name;
use crate::shard::Shard;
use anyhow::Context;

/// A shard at its beginning: its first record is its genesis.
pub(super) fn new_core<L: Log>(config: &Config, shard: usize, mut log: L) -> anyhow::Result<Core<L>> {
    let genesis = Genesis {
        shard: shard as u16,
        utc_offset_seconds: config.engine.utc_offset_seconds,
        max_orders: config.limits.max_orders,
        max_price_levels: config.limits.max_price_levels,
        max_sessions: config.session.max_sessions as u32,
        max_instruments: config.limits.max_instruments,
        feed_session: random_name(b'F').context("no random name for the feed")?,
    };
    let mut buffer = [0; MAX_ENCODED];
    let length = Input::Genesis(genesis).encode(&mut buffer);
    let last = log.append(kind::GENESIS, Clock::new(0).now().timestamp_ns, &buffer[..length])?;
    Ok(Core { shard: Shard::new(genesis), egress: new_egress(config), log, last, failure: None })
}

pub(super) fn new_egress(config: &Config) -> Egress {
    let gated = config.journal.durability == Durability::Disk;
    Egress::new(config.session.resend_window_bytes, gated, None)
}
