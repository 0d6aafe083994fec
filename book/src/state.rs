//! The whole logical state of a market as bytes, and its hash. Not how it lies in memory: handles and hash seeds stay out.
//!
//! Version 1, integers little-endian:
//! ```text
//! magic u32 "PLBK" | version u32 | last order reference u64 | last match number u64 | second u32
//! instruments u32, each:  tick u32 | lot u32 | quantity_max u32 | state u32 (byte 0), opened (bit 8), closed (bit 9)
//! orders u32, owner by owner in the order of their entry, each:
//!     reference u64 | party u32 | user_ref u32 | open u32 | displayed u32 | executed u32 | price u32 | flags u32
//!     firm u32 | self-match group u32 | instrument u32 | attributes u32 | max_floor u32 | expires_at u32 | group_id u32
//! for each instrument, for each of its six ladders (buy, sell; on-open buy, sell; on-close buy, sell):
//!     orders u32, then their references u64, best first, in queue order
//! timed orders u32, then their references u64 in the order in which they expire
//! ```

use crate::market::{Instrument, MARKET_KEY, Market, own_key};
use crate::order::{Extra, Flags, MARKET, Order};
use crate::types::{CrossType, InstrumentSpec, Limits, PRICE_MAX, Side, TIME_TO_LIVE_MAX, TradingState};

const MAGIC: u32 = u32::from_le_bytes(*b"PLBK");
const VERSION: u32 = 1;

/// Why bytes are not a state that this market can take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreError {
    /// The bytes end where more are needed.
    Truncated {
        at: usize,
    },
    NotAState {
        magic: u32,
    },
    UnsupportedVersion(u32),
    /// The state needs more of this than the limits allow.
    BeyondLimits(&'static str),
    /// The bytes contradict themselves.
    Inconsistent {
        what: &'static str,
        at: usize,
    },
}

impl core::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated { at } => write!(f, "market state ends at byte {at}, where more is needed"),
            Self::NotAState { magic } => write!(f, "not a market state: it begins with {magic:#010x}"),
            Self::UnsupportedVersion(version) => {
                write!(f, "market state has version {version}; this build reads version {VERSION}")
            }
            Self::BeyondLimits(what) => write!(f, "market state has more {what} than the configured limit"),
            Self::Inconsistent { what, at } => {
                write!(f, "market state is inconsistent before byte {at}: {what}")
            }
        }
    }
}

impl core::error::Error for RestoreError {}

/// Where a state goes: bytes, or a hash of them.
trait Output {
    fn u64(&mut self, value: u64);
    fn u32(&mut self, value: u32);
}

impl Output for Vec<u8> {
    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
}

/// Multiply and fold, one word at a time. Finds differences; no defence against somebody who looks for collisions.
struct Hash(u64);

impl Output for Hash {
    fn u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) ^ self.0;
        let product = u128::from(mixed) * 0xD6E8_FEB8_6659_FD93_u128;
        self.0 = (product as u64) ^ (product >> 64) as u64 ^ 0x243F_6A88_85A3_08D3;
    }
    fn u32(&mut self, value: u32) {
        self.u64(u64::from(value));
    }
}

impl Market {
    /// A number that is equal for equal logical states (orders, their places in their queues, states, counters), on every
    /// machine and in every build.
    pub fn state_hash(&self) -> u64 {
        let mut hash = Hash(0x243F_6A88_85A3_08D3);
        self.put(&mut hash);
        hash.0
    }

    /// Appends the whole state. [`Market::restore`] makes a market of it that behaves the same from there on.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        self.put(out);
    }

    fn put(&self, out: &mut impl Output) {
        out.u32(MAGIC);
        out.u32(VERSION);
        out.u64(self.order_ref_last);
        out.u64(self.match_number_last);
        out.u32(self.wheel.now());
        out.u32(self.instrument_count());
        for instrument in &self.instruments {
            out.u32(instrument.tick);
            out.u32(instrument.lot);
            out.u32(instrument.quantity_max);
            out.u32(
                instrument.state as u32
                    | u32::from(instrument.opened) << 8
                    | u32::from(instrument.closed) << 9,
            );
        }
        out.u32(self.orders.live() as u32);
        for owner in 0..self.lookup.owner_count() {
            for handle in self.lookup.owned(owner) {
                self.put_order(handle, out);
            }
        }
        for instrument in 0..self.instrument_count() {
            for ladder in self.ladders_of(instrument) {
                let count: u32 = self.levels_of(ladder).map(|level| self.levels.get(level).orders).sum();
                out.u32(count);
                for level in self.levels_of(ladder) {
                    for (_, order) in self.queue(level, false).chain(self.queue(level, true)) {
                        out.u64(order.order_ref);
                    }
                }
            }
        }
        out.u32(self.wheel.waiting());
        if self.wheel.waiting() > 0 {
            let upto = self.wheel.now().saturating_add(TIME_TO_LIVE_MAX);
            for second in self.wheel.now() + 1..=upto {
                for handle in self.wheel.at(&self.orders, second) {
                    out.u64(self.orders.get(handle).order_ref);
                }
            }
        }
    }

    fn put_order(&self, handle: u32, out: &mut impl Output) {
        let order = self.orders.get(handle);
        let extra = self.orders.extra(handle);
        out.u64(order.order_ref);
        for value in [
            order.party,
            order.user_ref,
            order.open,
            order.displayed,
            order.executed,
            order.price,
            order.flags.0,
            order.firm,
            order.self_match_group,
            order.instrument,
            order.attributes,
            extra.max_floor,
            extra.expires_at,
            u32::from(extra.group_id),
        ] {
            out.u32(value);
        }
    }

    fn ladders_of(&self, instrument: u32) -> [usize; 6] {
        let crosses = [CrossType::Continuous, CrossType::Opening, CrossType::Closing];
        core::array::from_fn(|at| {
            let side = if at % 2 == 0 { Side::Buy } else { Side::Sell };
            self.ladder_for(instrument, side, crosses[at / 2])
        })
    }

    /// Makes a market of what [`Market::write_state`] wrote. The limits may differ from the original's as long as everything
    /// fits. Any bytes are safe to pass.
    pub fn restore(limits: Limits, bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut input = Input { bytes, at: 0 };
        let magic = input.u32()?;
        if magic != MAGIC {
            return Err(RestoreError::NotAState { magic });
        }
        let version = input.u32()?;
        if version != VERSION {
            return Err(RestoreError::UnsupportedVersion(version));
        }
        let mut market = Market::new(limits);
        market.order_ref_last = input.u64()?;
        market.match_number_last = input.u64()?;
        let now = input.u32()?;
        market.wheel.set_now(now);
        let instruments = input.u32()?;
        if instruments > limits.instruments {
            return Err(RestoreError::BeyondLimits("instruments"));
        }
        for _ in 0..instruments {
            let instrument = input.instrument()?;
            market.instruments.push(instrument);
        }
        let count = input.u32()?;
        if count > limits.orders {
            return Err(RestoreError::BeyondLimits("orders"));
        }
        let mut pending: Vec<(u64, Order, Extra)> = Vec::new();
        for _ in 0..count {
            let (mut order, extra) = input.order(&market)?;
            let Ok(vacancy) = market.lookup.vacancy(order.key()) else {
                return Err(input.inconsistent("two orders with the same key"));
            };
            // Filed now, in the order of entry; the number stands for the handle until the order rests.
            order.bucket = market.lookup.insert(order.key(), vacancy, pending.len() as u32);
            pending.push((order.order_ref, order, extra));
        }
        let mut by_reference: Vec<(u64, u32)> =
            pending.iter().enumerate().map(|(at, &(order_ref, ..))| (order_ref, at as u32)).collect();
        by_reference.sort_unstable();
        if by_reference.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(input.inconsistent("two orders with the same reference"));
        }
        let find = |order_ref: u64| {
            let at = by_reference.binary_search_by_key(&order_ref, |&(order_ref, _)| order_ref).ok()?;
            Some(by_reference[at].1)
        };
        let mut handles = vec![None; pending.len()];
        for instrument in 0..instruments {
            for ladder in market.ladders_of(instrument) {
                for _ in 0..input.u32()? {
                    let order_ref = input.u64()?;
                    let at = find(order_ref).ok_or(input.inconsistent("a queue names an unknown order"))?;
                    let (_, order, extra) = pending[at as usize];
                    let side = order.flags.side();
                    if order.instrument != instrument
                        || market.ladder_for(instrument, side, order.cross()) != ladder
                        || handles[at as usize].is_some()
                    {
                        return Err(input.inconsistent("an order is in the wrong queue, or in two"));
                    }
                    let handle = market.settle(ladder, order, &extra)?;
                    handles[at as usize] = Some(handle);
                }
            }
            if market.state(instrument) == Some(TradingState::Open) && market.is_crossed(instrument) {
                return Err(input.inconsistent("an open book is crossed"));
            }
        }
        if handles.iter().any(Option::is_none) {
            return Err(input.inconsistent("an order is in no queue"));
        }
        let timed = pending.iter().filter(|(_, order, _)| order.flags.has(Flags::TIMED)).count();
        if input.u32()? as usize != timed {
            return Err(input.inconsistent("the number of timed orders"));
        }
        let mut last = 0;
        for _ in 0..timed {
            let order_ref = input.u64()?;
            let at = find(order_ref).ok_or(input.inconsistent("an unknown order is timed"))? as usize;
            let (_, order, extra) = &mut pending[at];
            if !order.flags.has(Flags::TIMED) || extra.expires_at < last {
                return Err(input.inconsistent("the order of expiry"));
            }
            // Each timed order may be named once only.
            order.flags.0 &= !Flags::TIMED;
            last = extra.expires_at;
            if let Some(handle) = handles[at] {
                market.wheel.insert(&mut market.orders, handle, last);
            }
        }
        if input.at != bytes.len() {
            return Err(input.inconsistent("bytes are left over"));
        }
        Ok(market)
    }

    /// Puts an order of a restored state into its queue and corrects its entry in the lookup.
    fn settle(&mut self, ladder: usize, order: Order, extra: &Extra) -> Result<u32, RestoreError> {
        let tick = self.instruments[order.instrument as usize].tick;
        let key =
            if order.price == MARKET { MARKET_KEY } else { own_key(order.flags.side(), order.price / tick) };
        let level = self.level_for(ladder, key, order.price).map_err(|reject| match reject {
            crate::types::Reject::OrdersExhausted => RestoreError::BeyondLimits("orders"),
            _ => RestoreError::BeyondLimits("price levels"),
        })?;
        let handle = self.queue_up::<false>(level, Order { level, ..order }, extra);
        self.lookup.refile(order.bucket, order.user_ref, handle);
        Ok(handle)
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn inconsistent(&self, what: &'static str) -> RestoreError {
        RestoreError::Inconsistent { what, at: self.at }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RestoreError> {
        let truncated = RestoreError::Truncated { at: self.bytes.len() };
        let found = self.bytes.get(self.at..self.at + N).ok_or(truncated)?;
        self.at += N;
        found.try_into().map_err(|_| truncated)
    }

    fn u32(&mut self) -> Result<u32, RestoreError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, RestoreError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn instrument(&mut self) -> Result<Instrument, RestoreError> {
        let (tick, lot, quantity_max, bits) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let state = TradingState::ALL.get((bits & 0xFF) as usize);
        match state {
            Some(&state) if bits >> 10 == 0 => {
                let spec = InstrumentSpec { tick, lot, quantity_max, state };
                Instrument::new(spec, bits >> 8 & 1 != 0, bits >> 9 & 1 != 0)
            }
            _ => None,
        }
        .ok_or(self.inconsistent("an instrument that cannot be"))
    }

    fn order(&mut self, market: &Market) -> Result<(Order, Extra), RestoreError> {
        let order_ref = self.u64()?;
        let mut value = [0; 14];
        for value in &mut value {
            *value = self.u32()?;
        }
        let [
            party,
            user_ref,
            open,
            displayed,
            executed,
            price,
            flags,
            firm,
            group,
            instrument,
            attributes,
            ..,
        ] = value;
        let [.., max_floor, expires_at, group_id] = value;
        let flags = Flags(flags);
        let order = Order {
            order_ref,
            party,
            user_ref,
            open,
            displayed,
            executed,
            price,
            flags,
            firm,
            self_match_group: group,
            instrument,
            attributes,
            ..Order::VACANT
        };
        let extra = Extra { max_floor, expires_at, group_id: group_id as u16, ..Extra::NONE };
        if party >> 8 >= market.lookup.owner_count() {
            return Err(RestoreError::BeyondLimits("owners"));
        }
        let Some(found) = market.instruments.get(instrument as usize) else {
            return Err(self.inconsistent("an order for an unknown instrument"));
        };
        let now = market.wheel.now();
        let price_fits =
            price == MARKET || (price > 0 && u64::from(price) <= PRICE_MAX && price % found.tick == 0);
        let kind_fits = flags.0 & !Flags::ALL == 0
            && !(flags.has(Flags::ON_OPEN) && flags.has(Flags::ON_CLOSE))
            && (price != MARKET || order.cross() != CrossType::Continuous)
            && (order.cross() == CrossType::Continuous || flags.has(Flags::HIDDEN));
        let shown_fits = if flags.has(Flags::HIDDEN) {
            displayed == 0 && !flags.has(Flags::RESERVE)
        } else if flags.has(Flags::RESERVE) {
            displayed > 0 && displayed <= open && max_floor > 0
        } else {
            displayed == open
        };
        let extra_fits = flags.has(Flags::TIMED) == (expires_at > now)
            && (expires_at == 0 || expires_at > now)
            && market.wheel.reaches(expires_at)
            && flags.has(Flags::RESERVE) == (max_floor > 0)
            && group_id <= u32::from(u16::MAX)
            && flags.has(Flags::EXTRA) == (flags.has(Flags::TIMED | Flags::RESERVE) || group_id > 0);
        let sane = open > 0 && order_ref > 0 && order_ref <= market.order_ref_last;
        if price_fits && kind_fits && shown_fits && extra_fits && sane {
            Ok((order, extra))
        } else {
            Err(self.inconsistent("an order that cannot be"))
        }
    }
}
