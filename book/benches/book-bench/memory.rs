//! What a market's tables cost, counted by the allocator. Not what the machine keeps resident: everything is touched at construction.

use book::{Limits, Market};
use stats_alloc::Region;

use crate::ALLOCATOR;
use crate::flow::Shape;
use crate::report::{Budget, Report};

/// What the bytes of 10,000 instruments with 40 resting orders each were before the tables were rebuilt, in this same measurement.
const BYTES_BEFORE: f64 = 291_065_168.0;

fn bytes(limits: Limits) -> f64 {
    let region = Region::new(ALLOCATOR);
    let market = Market::new(limits);
    let bytes = region.change().bytes_allocated as f64;
    drop(market);
    bytes
}

pub fn memory(report: &mut Report, many: Shape) {
    // Powers of two, where the tables that are rounded up to one are as small as they can be.
    const FEW: Limits = Limits { orders: 1 << 18, levels: 1 << 17, nodes: 1 << 15, ..Limits::new(1, 100, 1) };
    let base = bytes(FEW);
    let each = |limits: Limits, more: u32| (bytes(limits) - base) / f64::from(more);
    let order = each(Limits { orders: 1 << 19, ..FEW }, 1 << 18);
    let level = each(Limits { levels: 1 << 18, ..FEW }, 1 << 17);
    let node = each(Limits { nodes: 1 << 16, ..FEW }, 1 << 15);
    let instrument = each(Limits { instruments: 1_001, ..FEW }, 1_000);
    report.add("book.bytes_per_order", "bytes", Budget::None, &[order]);
    report.add("book.bytes_per_level", "bytes", Budget::None, &[level]);
    report.add("book.bytes_per_index_node", "bytes", Budget::None, &[node]);
    report.add("book.bytes_per_instrument", "bytes", Budget::None, &[instrument]);
    let whole = bytes(Limits::new(many.instruments, many.owners, many.orders()));
    report.add("book.bytes_10000_instruments", "bytes", Budget::AtMost(BYTES_BEFORE), &[whole]);
}
