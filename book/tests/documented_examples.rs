//! Runs the tables of `docs/matching.md`: each row is a message and, word for word, what the book reports. Not a test of
//! anything the document does not say.

use std::collections::BTreeMap;

use book::{
    CancelReason, CrossKind, CrossType, Event, InstrumentSpec, Limits, MARKET_PRICE, Market, NewOrder,
    OrderKey, ReplaceOrder, ReplaceOutcome, SelfMatchStrategy, Side, TimeInForce, TradingState,
};

struct Example {
    market: Market,
    names: BTreeMap<u32, String>,
    events: Vec<Event>,
}

/// "10.01" in four decimals.
fn price(text: &str) -> u64 {
    if text == "market" {
        return MARKET_PRICE;
    }
    let (whole, cents) = text.split_once('.').expect("a price has a point");
    let whole: u64 = whole.parse().expect("digits");
    let scale = 10_u64.pow(4 - cents.len() as u32);
    whole * 10_000 + cents.parse::<u64>().expect("digits") * scale
}

fn money(price: u64) -> String {
    format!("{}.{:02}", price / 10_000, price % 10_000 / 100)
}

fn number(text: Option<&str>) -> u32 {
    text.and_then(|text| text.trim_end_matches(':').parse().ok()).expect("a number")
}

fn reason(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::User => "asked for",
        CancelReason::Immediate => "immediate",
        CancelReason::MinQuantity => "minimum not met",
        CancelReason::PostOnlyDisplayed => "post-only, would have traded",
        CancelReason::PostOnlyHidden => "post-only, would have traded with a hidden order",
        CancelReason::Timeout => "expired",
        CancelReason::NotTrading => "not trading",
        CancelReason::CrossRemainder => "left by the auction",
        CancelReason::InvalidReplace => "invalid replacement",
        CancelReason::Disconnected => "disconnected",
        CancelReason::Supervisory => "by the venue",
        CancelReason::Closed => "closed",
        CancelReason::Halted => "halted",
        CancelReason::System => "no room",
    }
}

impl Example {
    fn new() -> Self {
        let mut market = Market::new(Limits::new(1, 1, 100));
        market.add_instrument(InstrumentSpec::default()).expect("room");
        Self { market, names: BTreeMap::new(), events: Vec::new() }
    }

    fn name(&self, key: OrderKey) -> &str {
        &self.names[&key.user_ref]
    }

    /// The key of a name; a new name gets the next number.
    fn key(&mut self, name: &str) -> OrderKey {
        let name = name.trim_end_matches(':');
        let known = self.names.iter().find(|(_, known)| *known == name).map(|(&number, _)| number);
        let number = known.unwrap_or(self.names.len() as u32 + 1);
        self.names.insert(number, name.to_owned());
        OrderKey::new(0, 0, number)
    }

    /// Does what a message says and tells what happened.
    fn run(&mut self, message: &str) -> String {
        self.events.clear();
        let mut words = message.split_whitespace();
        let refused = match words.next().expect("a message") {
            "book" => return self.book(),
            // Begins anew with another lot.
            "lots" => {
                self.market = Market::new(Limits::new(1, 1, 100));
                let spec = InstrumentSpec { lot: number(words.nth(1)), ..InstrumentSpec::default() };
                self.market.add_instrument(spec).expect("room");
                None
            }
            "second" => {
                self.market.expire(number(words.next()), &mut self.events);
                None
            }
            "cancel" => {
                let key = self.key(words.next().expect("a name"));
                let total = if words.next().is_some() { number(words.next()) } else { 0 };
                (!self.market.cancel(key, total, &mut self.events)).then(|| "ignored".to_owned())
            }
            "modify" => {
                let key = self.key(words.next().expect("a name"));
                let total = number(words.nth(1));
                let side = self.side(words.nth(1).expect("a side"));
                (!self.market.modify(key, side, total, &mut self.events)).then(|| "ignored".to_owned())
            }
            "replace" => self.replace(words),
            "state" => {
                let state = match words.next() {
                    Some("pre-open") => TradingState::PreOpen,
                    Some("open") => TradingState::Open,
                    Some("halted") => TradingState::Halted,
                    Some("closed") => TradingState::Closed,
                    other => panic!("{other:?}"),
                };
                self.market.set_state(0, state).err().map(|error| format!("refused: {error}"))
            }
            kind @ ("uncross" | "indicative") => {
                let cross = match words.next() {
                    Some("opening") => CrossKind::Opening,
                    Some("closing") => CrossKind::Closing,
                    Some("resumption") => CrossKind::Resumption,
                    other => panic!("{other:?}"),
                };
                // "near 10.01", or nothing: unknown.
                let reference = words.nth(1).map(price);
                if kind == "indicative" {
                    return self.indicative(cross, reference);
                }
                let held = self.market.uncross(0, cross, reference, TradingState::Open, &mut self.events);
                held.err().map(|error| format!("refused: {error}"))
            }
            name => self.enter(name, words),
        };
        let told: Vec<String> = self.events.iter().filter_map(|event| self.tell(event)).collect();
        refused.unwrap_or_else(|| if told.is_empty() { "nothing".to_owned() } else { told.join("; ") })
    }

    fn side(&self, word: &str) -> Side {
        match word {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            "short" => Side::SellShort,
            other => panic!("{other}"),
        }
    }

    fn enter<'a>(&mut self, name: &str, mut words: impl Iterator<Item = &'a str>) -> Option<String> {
        let key = self.key(name);
        let side = self.side(words.next().expect("a side"));
        let quantity = number(words.next());
        let mut order = NewOrder::limit(key, 0, side, quantity, price(words.nth(1).expect("a price")));
        while let Some(word) = words.next() {
            match word {
                "immediate" => order.time_in_force = TimeInForce::Immediate,
                "until" => order.time_in_force = TimeInForce::GoodTill(number(words.next())),
                "hidden" => order.hidden = true,
                "post-only" => order.post_only = true,
                "shows" => order.max_floor = number(words.next()),
                "minimum" => order.min_quantity = number(words.next()),
                "group" => order.self_match.group = number(words.next()),
                "cancel-newest" => order.self_match.strategy = SelfMatchStrategy::CancelNewest,
                "cancel-oldest" => order.self_match.strategy = SelfMatchStrategy::CancelOldest,
                "cancel-both" => order.self_match.strategy = SelfMatchStrategy::CancelBoth,
                "decrement" => order.self_match.strategy = SelfMatchStrategy::Decrement,
                "on-open" => order.cross = CrossType::Opening,
                "on-close" => order.cross = CrossType::Closing,
                other => panic!("{other}"),
            }
        }
        self.market.enter(&order, &mut self.events).err().map(|reject| format!("refused: {reject}"))
    }

    /// `replace S1 by S2: 500 @ 10.00`
    fn replace<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Option<String> {
        let original = self.key(words.next().expect("a name"));
        let new = self.key(words.nth(1).expect("a name"));
        let total = number(words.next());
        let request =
            ReplaceOrder::limit(original, new.user_ref, total, price(words.nth(1).expect("a price")));
        match self.market.replace(&request, &mut self.events) {
            ReplaceOutcome::Ignored => Some("ignored".to_owned()),
            ReplaceOutcome::Refused(reject) => Some(format!("refused: {reject}")),
            ReplaceOutcome::Replaced | ReplaceOutcome::OriginalCancelled(_) => None,
        }
    }

    fn indicative(&self, kind: CrossKind, reference: Option<u64>) -> String {
        let shown = self.market.indicative(0, kind, reference).expect("the instrument exists");
        let side = match shown.imbalance_side {
            None => "no side".to_owned(),
            Some(side) => format!("the {} side", if side.is_buy() { "buy" } else { "sell" }),
        };
        let price = shown.price.map_or("no price".to_owned(), money);
        format!("{} paired @ {price}, {} left over on {side}", shown.paired, shown.imbalance)
    }

    fn book(&self) -> String {
        let side = |side: Side| {
            let orders: Vec<String> = self
                .market
                .resting(0, side)
                .map(|order| format!("{} {} @ {}", self.name(order.key), order.open, money(order.price)))
                .collect();
            if orders.is_empty() { "none".to_owned() } else { orders.join(", ") }
        };
        format!("buys: {}; sells: {}", side(Side::Buy), side(Side::Sell))
    }

    fn tell(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Accepted(_) | Event::Withdrawn { .. } => return None,
            Event::Replaced(it) => format!(
                "{} replaces {}, {} exposed",
                self.name(it.order.key),
                self.name(it.original),
                it.order.open
            ),
            Event::Booked { order, .. } => match (order.displayed, order.open) {
                (0, open) => format!("rests {open} unseen"),
                (shown, open) if shown < open => format!("rests {open}, shows {shown}"),
                (_, open) => format!("rests {open}"),
            },
            Event::Executed(it) => {
                format!("trades {} @ {} with {}", it.quantity, money(it.price), self.name(it.maker.key))
            }
            Event::ExecutedInCross(it) => format!(
                "{} and {} trade {} @ {}",
                self.name(it.buy.key),
                self.name(it.sell.key),
                it.quantity,
                money(it.price)
            ),
            Event::Crossed(it) => format!("auction of {} @ {}", it.quantity, money(it.price)),
            Event::Cancelled(it) => {
                format!("{} loses {} ({})", self.name(it.order.key), it.quantity, reason(it.reason))
            }
            Event::SelfMatchPrevented(it) => {
                format!("{} loses {} (self-match prevention)", self.name(it.order.key), it.quantity)
            }
            Event::Refreshed { order, .. } => {
                format!("{} shows {}, at the back", self.name(order.key), order.displayed)
            }
            Event::Modified(it) => format!("{} has {} open", self.name(it.order.key), it.order.open),
        })
    }
}

#[test]
fn the_examples_of_the_document_are_what_happens() {
    let document = include_str!("../../docs/matching.md");
    let mut example = None;
    let (mut rows, mut wrong) = (0, Vec::new());
    for (line, text) in (1..).zip(document.lines()) {
        if text == "| message | what happens |" {
            example = Some(Example::new());
            continue;
        }
        let row = text.strip_prefix("| `").and_then(|row| row.strip_suffix(" |"));
        let Some((message, expected)) = row.and_then(|row| row.split_once("` | ")) else {
            if !text.starts_with("|---") {
                example = None;
            }
            continue;
        };
        let Some(example) = &mut example else { panic!("line {line}: a row outside of a table") };
        rows += 1;
        let happened = example.run(message);
        if happened != expected.trim() {
            wrong.push(format!("line {line}:\n| `{message}` | {happened} |\ninstead of\n{text}"));
        }
    }
    assert!(rows > 50, "only {rows} rows were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
