//! ITCH 5.0 messages of what happens in a shard's books. Only what is shown: hidden orders and reserves appear when they
//! trade, as anonymous trades. Not their transport: `Outputs::feed` numbers and carries them.

use book::{Cross, CrossExecution, CrossKind, Execution, Indication, OrderView, TradingState};
use wire::itch::messages::{
    AddOrder, AddOrderMpid, CrossTrade, MarketParticipantPosition, NetOrderImbalance, OrderCancel,
    OrderDelete, OrderExecuted, OrderExecutedWithPrice, OrderReplace, StockDirectory, StockTradingAction,
    Trade,
};

/// ITCH names an instrument by its place in the shard's list, from 1: 0 means none.
#[inline]
pub fn locate(instrument: u32) -> u16 {
    // The configuration holds no more instruments per shard than u16 can count.
    instrument as u16 + 1
}

#[inline]
fn side_code(order: &OrderView) -> u8 {
    if order.side.is_buy() { b'B' } else { b'S' }
}

#[inline]
pub fn added(
    out: &mut [u8],
    order: &OrderView,
    order_ref: u64,
    stock: [u8; 8],
    attribution: Option<[u8; 4]>,
    timestamp: u64,
) -> usize {
    let (stock_locate, side) = (locate(order.instrument), side_code(order));
    let (shares, price) = (order.displayed, order.price as u32);
    match attribution {
        None => {
            AddOrder { stock_locate, tracking_number: 0, timestamp, order_ref, side, shares, stock, price }
                .write(out)
        }
        Some(attribution) => AddOrderMpid {
            stock_locate,
            tracking_number: 0,
            timestamp,
            order_ref,
            side,
            shares,
            stock,
            price,
            attribution,
        }
        .write(out),
    }
}

#[inline]
pub fn deleted(out: &mut [u8], order_ref: u64, instrument: u32, timestamp: u64) -> usize {
    OrderDelete { stock_locate: locate(instrument), tracking_number: 0, timestamp, order_ref }.write(out)
}

pub fn reduced(out: &mut [u8], order: &OrderView, quantity: u32, gone: bool, timestamp: u64) -> usize {
    if gone {
        return deleted(out, order.order_ref, order.instrument, timestamp);
    }
    OrderCancel {
        stock_locate: locate(order.instrument),
        tracking_number: 0,
        timestamp,
        order_ref: order.order_ref,
        cancelled_shares: quantity,
    }
    .write(out)
}

pub fn replaced(out: &mut [u8], order: &OrderView, original_order_ref: u64, timestamp: u64) -> usize {
    OrderReplace {
        stock_locate: locate(order.instrument),
        tracking_number: 0,
        timestamp,
        original_order_ref,
        new_order_ref: order.order_ref,
        shares: order.displayed,
        price: order.price as u32,
    }
    .write(out)
}

#[inline]
pub fn executed(out: &mut [u8], execution: &Execution, stock: [u8; 8], timestamp: u64) -> usize {
    let Execution { maker, quantity, price, match_number, maker_displayed, .. } = *execution;
    let stock_locate = locate(maker.instrument);
    if maker_displayed {
        return OrderExecuted {
            stock_locate,
            tracking_number: 0,
            timestamp,
            order_ref: maker.order_ref,
            executed_shares: quantity,
            match_number,
        }
        .write(out);
    }
    Trade {
        stock_locate,
        tracking_number: 0,
        timestamp,
        // Table P: an execution against hidden interest names no order, and its side is always B.
        order_ref: 0,
        side: b'B',
        shares: quantity,
        stock,
        price: price as u32,
        match_number,
    }
    .write(out)
}

/// A shown order's part in an auction: not printable, as the cross itself is reported once.
pub fn executed_in_cross(
    out: &mut [u8],
    order: &OrderView,
    execution: &CrossExecution,
    timestamp: u64,
) -> usize {
    OrderExecutedWithPrice {
        stock_locate: locate(order.instrument),
        tracking_number: 0,
        timestamp,
        order_ref: order.order_ref,
        executed_shares: execution.quantity,
        match_number: execution.match_number,
        printable: b'N',
        execution_price: execution.price as u32,
    }
    .write(out)
}

pub fn crossed(out: &mut [u8], cross: &Cross, stock: [u8; 8], timestamp: u64) -> usize {
    CrossTrade {
        stock_locate: locate(cross.instrument),
        tracking_number: 0,
        timestamp,
        shares: cross.quantity,
        stock,
        cross_price: cross.price as u32,
        match_number: cross.match_number,
        cross_type: cross_code(cross.kind),
    }
    .write(out)
}

pub fn directory(out: &mut [u8], instrument: u32, stock: [u8; 8], lot: u32, timestamp: u64) -> usize {
    StockDirectory {
        stock_locate: locate(instrument),
        tracking_number: 0,
        timestamp,
        stock,
        market_category: b' ',
        financial_status: b' ',
        round_lot_size: lot,
        round_lots_only: b'Y',
        issue_classification: b'C',
        issue_sub_type: *b"Z ",
        authenticity: b'P',
        short_sale_threshold: b' ',
        ipo_flag: b' ',
        luld_tier: b' ',
        etp_flag: b' ',
        etp_leverage_factor: 0,
        inverse_indicator: b'N',
    }
    .write(out)
}

/// H halted, Q quotation only (orders are collected), T trading. A closed instrument is halted.
pub fn trading_action(
    out: &mut [u8],
    instrument: u32,
    stock: [u8; 8],
    state: TradingState,
    timestamp: u64,
) -> usize {
    StockTradingAction {
        stock_locate: locate(instrument),
        tracking_number: 0,
        timestamp,
        stock,
        trading_state: match state {
            TradingState::Open => b'T',
            TradingState::PreOpen | TradingState::Auction => b'Q',
            TradingState::Halted | TradingState::Closed => b'H',
        },
        reserved: b' ',
        reason: *b"    ",
    }
    .write(out)
}

pub fn participant_position(
    out: &mut [u8],
    instrument: u32,
    stock: [u8; 8],
    mpid: [u8; 4],
    primary: bool,
    state: u8,
    timestamp: u64,
) -> usize {
    MarketParticipantPosition {
        stock_locate: locate(instrument),
        tracking_number: 0,
        timestamp,
        mpid,
        stock,
        primary_market_maker: if primary { b'Y' } else { b'N' },
        // Normal: the others are for syndicates and penalties, which do not exist here.
        market_maker_mode: b'N',
        state,
    }
    .write(out)
}

/// ITCH cross type: O opening, C closing, H halt.
pub fn cross_code(kind: CrossKind) -> u8 {
    match kind {
        CrossKind::Opening => b'O',
        CrossKind::Closing => b'C',
        CrossKind::Resumption => b'H',
    }
}

/// Near price: where the auction would trade. Far price: where it would with on-open or on-close orders alone.
pub fn imbalance(
    out: &mut [u8],
    instrument: u32,
    stock: [u8; 8],
    kind: CrossKind,
    indication: &Indication,
    reference: u64,
    timestamp: u64,
) -> usize {
    NetOrderImbalance {
        stock_locate: locate(instrument),
        tracking_number: 0,
        timestamp,
        paired_shares: indication.paired,
        imbalance_shares: indication.imbalance,
        imbalance_direction: match indication.imbalance_side {
            Some(side) if side.is_buy() => b'B',
            Some(_) => b'S',
            // N: no imbalance; O: nothing to pair at all.
            None if indication.paired == 0 => b'O',
            None => b'N',
        },
        stock,
        far_price: indication.far_price.unwrap_or(0) as u32,
        near_price: indication.price.unwrap_or(0) as u32,
        current_reference_price: reference as u32,
        cross_type: cross_code(kind),
        price_variation: variation(indication.price, reference),
    }
    .write(out)
}

/// Deviation of the near price from the reference in the specification's steps of a percent: L below 1, 1 to 9, A 10,
/// B 20, C 30, space when it cannot be calculated.
fn variation(near: Option<u64>, reference: u64) -> u8 {
    let Some(near) = near.filter(|_| reference != 0) else { return b' ' };
    match near.abs_diff(reference).saturating_mul(100) / reference {
        0 => b'L',
        percent @ 1..=9 => b'0' + percent as u8,
        10..=19 => b'A',
        20..=29 => b'B',
        _ => b'C',
    }
}
