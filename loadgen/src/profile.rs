//! What an order flow is like: measured from a historical file, so that a run can draw from it. It sends nothing.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::histograms::Recorder;
use crate::mix::{MixSettings, Side};
use crate::replay::event::{EventKind, EventSource, FileEvent, ReadError};
use crate::report::table::{duration, grouped, right, table};
use crate::report::{Latency, SCHEMA_VERSION, assemble};

/// Equally likely values that a distribution is kept as.
const QUANTILES: usize = 256;
/// Distances from the touch beyond this many ticks are drawn as this: such orders hardly ever trade.
const TOUCH_TICKS_MAX: u32 = 200;

/// The order flow of a file, in what a generator can draw.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FlowProfile {
    pub schema_version: u32,
    /// `profile`.
    pub kind: String,
    pub file: String,
    pub events: u64,
    /// From the first event to the last.
    pub seconds: f64,
    /// Orders that rest, and executions of resting orders, each of which an order that took them stands behind.
    pub submissions: u64,
    pub executions: u64,
    /// Partial and whole cancels.
    pub cancels: u64,
    pub replaces: u64,
    /// Equally likely quantities, rising.
    pub quantities: Vec<u32>,
    /// Equally likely distances of a new order from the best price of its own side, in ticks; 0 joins it or improves on it.
    pub touch_ticks: Vec<u32>,
    /// Share of new orders that improve on the best price.
    pub improving_share: f64,
    /// From the submission to the end of an order, whatever ended it. Reported; not drawn from.
    pub lifetime_ns: Latency,
    /// Orders of each instrument, the most popular first.
    pub symbols: Vec<SymbolShare>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SymbolShare {
    pub symbol: String,
    pub orders: u64,
}

impl FlowProfile {
    /// Reads what `profile --json` wrote.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| {
            format!("{}: expected a profile, as `pitlane-loadgen profile --json` writes it", path.display())
        })
    }

    /// Makes a flow draw from this profile: its mix, quantities, distances and popularity. Prices, seed and bounds stay as they are.
    pub fn apply(&self, flow: &mut MixSettings) -> Result<(), String> {
        let entered = self.submissions + self.executions;
        if self.kind != "profile" || entered == 0 || self.quantities.is_empty() || self.touch_ticks.is_empty()
        {
            return Err(
                "expected a profile with orders, as `pitlane-loadgen profile --json` writes it".into()
            );
        }
        // Weights of at most twenty bits: their sum has to fit into 32.
        let scale = entered.max(self.cancels).max(self.replaces).div_ceil(1 << 20).max(1);
        let weight = |count: u64| (count / scale) as u32;
        flow.enter_weight = weight(entered).max(1);
        (flow.cancel_weight, flow.replace_weight) = (weight(self.cancels), weight(self.replaces));
        flow.profile.clone_from(&self.file);
        flow.crossing = self.executions as f64 / entered as f64;
        flow.quantities = self.quantities.iter().map(|quantity| (*quantity).max(1)).collect();
        (flow.quantity_min, flow.quantity_step) = (1, 1);
        flow.quantity_max = flow.quantities.iter().copied().max().unwrap_or(1);
        flow.offsets = self.touch_ticks.iter().map(|ticks| (*ticks).min(TOUCH_TICKS_MAX)).collect();
        flow.depth_ticks = flow.offsets.iter().copied().max().unwrap_or(0) + 1;
        let most = self.symbols.iter().map(|symbol| symbol.orders).max().unwrap_or(1).max(1);
        let share = |orders: u64| ((orders as f64 / most as f64) * f64::from(1 << 20)).ceil() as u32;
        flow.popularity = self.symbols.iter().map(|symbol| share(symbol.orders).max(1)).collect();
        Ok(())
    }

    /// The profile as text.
    pub fn render(&self) -> String {
        let mut rows = table();
        rows.set_header(["", "events", "share"]);
        let all = self.submissions + self.executions + self.cancels + self.replaces;
        for (what, count) in [
            ("submissions", self.submissions),
            ("executions", self.executions),
            ("cancels", self.cancels),
            ("replaces", self.replaces),
        ] {
            let share = 100.0 * assemble::ratio(count as f64, all as f64);
            rows.add_row([
                comfy_table::Cell::new(what),
                right(grouped(count as f64)),
                right(format!("{share:.1}%")),
            ]);
        }
        let at = |values: &[u32], share: f64| {
            values
                .get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)))
                .copied()
                .unwrap_or(0)
        };
        let list: Vec<String> = (self.symbols.iter().take(5))
            .map(|symbol| format!("{} {}", symbol.symbol, grouped(symbol.orders as f64)))
            .collect();
        format!(
            "\n{}: {} events in {:.1} s\n{rows}\nquantity     median {}, p90 {}, p99 {}\nfrom touch   median {} ticks, p90 {}, p99 {}; {:.1}% improve on \
             it\nlifetime     median {}, p90 {}, p99 {}\ninstruments  {}: {}\n",
            self.file,
            grouped(self.events as f64),
            self.seconds,
            at(&self.quantities, 0.5),
            at(&self.quantities, 0.9),
            at(&self.quantities, 0.99),
            at(&self.touch_ticks, 0.5),
            at(&self.touch_ticks, 0.9),
            at(&self.touch_ticks, 0.99),
            100.0 * self.improving_share,
            duration(self.lifetime_ns.median as f64),
            duration(self.lifetime_ns.p90 as f64),
            duration(self.lifetime_ns.p99 as f64),
            self.symbols.len(),
            list.join(", ")
        )
    }
}

#[derive(Clone, Copy)]
struct Order {
    symbol: [u8; 8],
    side: Side,
    price: u64,
    quantity: u64,
    time_ns: u64,
}

/// Resting quantity by price, for each side.
#[derive(Default)]
struct Book {
    buys: BTreeMap<u64, u64>,
    sells: BTreeMap<u64, u64>,
}

impl Book {
    fn side(&mut self, side: Side) -> &mut BTreeMap<u64, u64> {
        match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        }
    }

    /// How far behind the best price of its own side an order of this price lies; negative if it improves on it. None without a best price.
    fn behind(&mut self, side: Side, price: u64) -> Option<i64> {
        let (price, best) = match side {
            Side::Buy => (price, *self.buys.keys().next_back()?),
            Side::Sell => (price, *self.sells.keys().next()?),
        };
        let behind = price as i64 - best as i64;
        Some(if side == Side::Buy { -behind } else { behind })
    }
}

/// Measures a flow event by event.
pub struct Profiler {
    tick: u64,
    orders: HashMap<u64, Order>,
    books: HashMap<[u8; 8], Book>,
    by_symbol: BTreeMap<[u8; 8], u64>,
    quantities: BTreeMap<u32, u64>,
    touch: BTreeMap<u32, u64>,
    improving: u64,
    placed: u64,
    lifetime: Recorder,
    first_ns: Option<u64>,
    last_ns: u64,
    profile: FlowProfile,
}

impl Profiler {
    /// `tick` as prices are: four implied decimals.
    pub fn new(tick: u64) -> Self {
        Profiler {
            tick: tick.max(1),
            orders: HashMap::new(),
            books: HashMap::new(),
            by_symbol: BTreeMap::new(),
            quantities: BTreeMap::new(),
            touch: BTreeMap::new(),
            improving: 0,
            placed: 0,
            lifetime: Recorder::new(3),
            first_ns: None,
            last_ns: 0,
            profile: FlowProfile {
                schema_version: SCHEMA_VERSION,
                kind: "profile".into(),
                ..Default::default()
            },
        }
    }

    pub fn read(
        mut self,
        source: &mut impl EventSource,
        events_max: u64,
        file: String,
    ) -> Result<FlowProfile, ReadError> {
        while self.profile.events < events_max
            && let Some(event) = source.next_event()?
        {
            self.push(&event);
        }
        Ok(self.finish(file))
    }

    fn push(&mut self, event: &FileEvent) {
        self.profile.events += 1;
        self.first_ns.get_or_insert(event.time_ns);
        self.last_ns = self.last_ns.max(event.time_ns);
        match event.kind {
            EventKind::Submit { order, symbol, side, quantity, price } => {
                self.profile.submissions += 1;
                self.place(order, Order { symbol, side, price, quantity, time_ns: event.time_ns });
            }
            EventKind::Reduce { order, quantity } => {
                self.profile.cancels += 1;
                self.take(order, quantity, event.time_ns);
            }
            EventKind::Delete { order, .. } => {
                self.profile.cancels += 1;
                self.take(order, u64::MAX, event.time_ns);
            }
            EventKind::Execute { order, quantity, .. } => {
                self.profile.executions += 1;
                self.take(order, quantity, event.time_ns);
            }
            EventKind::Replace { original, order, quantity, price } => {
                self.profile.replaces += 1;
                if let Some(old) = self.take(original, u64::MAX, event.time_ns) {
                    self.place(order, Order { price, quantity, time_ns: event.time_ns, ..old });
                }
            }
            EventKind::HiddenExecution { .. }
            | EventKind::Cross { .. }
            | EventKind::Halt
            | EventKind::BrokenTrade
            | EventKind::Information => {}
        }
    }

    fn place(&mut self, number: u64, order: Order) {
        *self.by_symbol.entry(order.symbol).or_default() += 1;
        *self.quantities.entry(u32::try_from(order.quantity).unwrap_or(u32::MAX)).or_default() += 1;
        let book = self.books.entry(order.symbol).or_default();
        if let Some(behind) = book.behind(order.side, order.price) {
            self.placed += 1;
            self.improving += u64::from(behind < 0);
            let ticks = behind.max(0) as u64 / self.tick;
            *self.touch.entry(u32::try_from(ticks).unwrap_or(u32::MAX)).or_default() += 1;
        }
        *book.side(order.side).entry(order.price).or_default() += order.quantity;
        self.orders.insert(number, order);
    }

    /// Takes from an order; the order, if it is known.
    fn take(&mut self, number: u64, quantity: u64, time_ns: u64) -> Option<Order> {
        let order = self.orders.get_mut(&number)?;
        let (before, taken) = (*order, order.quantity.min(quantity));
        order.quantity -= taken;
        let ended = order.quantity == 0;
        let side = self.books.entry(before.symbol).or_default().side(before.side);
        if let Some(resting) = side.get_mut(&before.price) {
            *resting = resting.saturating_sub(taken);
            if *resting == 0 {
                side.remove(&before.price);
            }
        }
        if ended {
            self.orders.remove(&number);
            self.lifetime.record(time_ns.saturating_sub(before.time_ns).max(1), 1);
        }
        Some(before)
    }

    fn finish(mut self, file: String) -> FlowProfile {
        let mut profile = self.profile;
        profile.file = file;
        profile.seconds = (self.last_ns - self.first_ns.unwrap_or(self.last_ns)) as f64 / 1e9;
        profile.quantities = quantiles(&self.quantities);
        profile.touch_ticks = quantiles(&self.touch);
        profile.improving_share = assemble::ratio(self.improving as f64, self.placed as f64);
        profile.lifetime_ns = assemble::latency(self.lifetime.histogram());
        profile.symbols = (self.by_symbol.iter())
            .map(|(symbol, &orders)| SymbolShare {
                symbol: String::from_utf8_lossy(symbol).trim_end().to_owned(),
                orders,
            })
            .collect();
        profile.symbols.sort_by(|a, b| b.orders.cmp(&a.orders).then_with(|| a.symbol.cmp(&b.symbol)));
        profile
    }
}

/// Equally likely values of a counted distribution.
fn quantiles(counts: &BTreeMap<u32, u64>) -> Vec<u32> {
    let total: u64 = counts.values().sum();
    let mut values = Vec::with_capacity(QUANTILES);
    let (mut seen, mut next) = (0, 0);
    for (&value, &count) in counts {
        seen += count;
        // The middle of each of the equal parts.
        while next < QUANTILES && (2 * next as u64 + 1) * total < 2 * QUANTILES as u64 * seen {
            values.push(value);
            next += 1;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix::{Action, Mix};

    struct Events(std::vec::IntoIter<FileEvent>);

    impl EventSource for Events {
        fn next_event(&mut self) -> Result<Option<FileEvent>, ReadError> {
            Ok(self.0.next())
        }
    }

    fn profile(kinds: Vec<EventKind>) -> FlowProfile {
        let events: Vec<FileEvent> = (kinds.into_iter().enumerate())
            .map(|(index, kind)| FileEvent {
                row: index as u64 + 1,
                time_ns: index as u64 * 1_000_000_000,
                kind,
            })
            .collect();
        Profiler::new(100).read(&mut Events(events.into_iter()), u64::MAX, "file".into()).unwrap()
    }

    fn submit(order: u64, symbol: &[u8; 8], side: Side, quantity: u64, price: u64) -> EventKind {
        EventKind::Submit { order, symbol: *symbol, side, quantity, price }
    }

    #[test]
    fn a_flow_is_measured_event_by_event() {
        let (a, b) = (b"AAPL    ", b"MSFT    ");
        let measured = profile(vec![
            submit(1, a, Side::Buy, 100, 1_000_000),
            submit(2, a, Side::Buy, 100, 999_700),
            submit(3, a, Side::Buy, 300, 1_000_100),
            submit(4, b, Side::Sell, 500, 2_000_000),
            submit(5, b, Side::Sell, 100, 2_000_500),
            EventKind::Execute { order: 4, quantity: 500, price: None },
            EventKind::Reduce { order: 2, quantity: 40 },
            EventKind::Delete { order: 2, quantity: None },
            EventKind::Replace { original: 5, order: 6, quantity: 200, price: 2_000_900 },
            EventKind::Information,
        ]);
        assert_eq!(
            (measured.events, measured.submissions, measured.executions, measured.cancels, measured.replaces),
            (10, 5, 1, 2, 1)
        );
        assert_eq!(measured.seconds, 9.0);
        let symbols: Vec<(&str, u64)> =
            measured.symbols.iter().map(|it| (it.symbol.as_str(), it.orders)).collect();
        assert_eq!(symbols, [("AAPL", 3), ("MSFT", 3)]);
        // Of those with a best price on their side: 3 ticks behind, 1 better, 5 behind; the replacement found nobody there.
        assert!((measured.improving_share - 1.0 / 3.0).abs() < 1e-9);
        let distinct: std::collections::BTreeSet<u32> = measured.touch_ticks.iter().copied().collect();
        assert_eq!(distinct.into_iter().collect::<Vec<_>>(), [0, 3, 5]);
        assert_eq!(
            (measured.quantities.len(), measured.quantities[0], measured.quantities[QUANTILES - 1]),
            (QUANTILES, 100, 500)
        );
        // Order 4 lived 2 s, 2 lived 6 s, 5 lived 4 s.
        assert_eq!(measured.lifetime_ns.median / 1_000_000_000, 4);
    }

    #[test]
    fn a_flow_that_draws_from_a_profile_is_like_it() {
        let measured = FlowProfile {
            kind: "profile".into(),
            submissions: 4_000,
            executions: 1_000,
            cancels: 3_000,
            replaces: 2_000,
            quantities: [100, 100, 100, 700].repeat(64),
            touch_ticks: [0, 0, 4, 9_999].repeat(64),
            symbols: vec![
                SymbolShare { symbol: "A".into(), orders: 900 },
                SymbolShare { symbol: "B".into(), orders: 100 },
            ],
            ..Default::default()
        };
        let mut flow = MixSettings { open_orders_max: 1000, walk_ticks: 0, ..MixSettings::default() };
        measured.apply(&mut flow).unwrap();
        flow.check().unwrap();
        let mut mix = Mix::new(&flow, 0, 2);
        let (mut entered, mut canceled, mut replaced, mut immediate, mut large, mut second, mut far) =
            (0, 0, 0, 0, 0, 0, 0);
        for _ in 0..100_000 {
            match mix.next(10) {
                Action::Enter { symbol, quantity, immediate: now, price, side } => {
                    entered += 1;
                    immediate += u32::from(now);
                    large += u32::from(quantity == 700);
                    second += u32::from(symbol == 1);
                    assert!(quantity == 100 || quantity == 700);
                    far += u32::from(!now && mix.price(side, TOUCH_TICKS_MAX) == price);
                }
                Action::Cancel { .. } => canceled += 1,
                Action::Replace { .. } => replaced += 1,
            }
        }
        let near = |count: u32, of: u32, share: f64| (f64::from(count) / f64::from(of) - share).abs() < 0.01;
        assert!(near(entered, 100_000, 0.5) && near(canceled, 100_000, 0.3) && near(replaced, 100_000, 0.2));
        assert!(near(immediate, entered, 0.2) && near(large, entered, 0.25) && near(second, entered, 0.1));
        assert!(near(far, entered - immediate, 0.25), "{far}");
        assert!(FlowProfile::default().apply(&mut flow).unwrap_err().contains("expected a profile"));
    }
}
