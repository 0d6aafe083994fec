//! The book beside `matchcore` and `orderbook-rs` on the identical flow, in turns within one run. Proves nothing about their
//! other features. `cargo run --release --manifest-path book/bench-rivals/Cargo.toml -- [--json FILE] [--quick]`.

#[path = "../../benches/book-bench/digest.rs"]
mod digest;
#[path = "../../benches/book-bench/drive.rs"]
mod drive;
#[path = "../../benches/book-bench/flow.rs"]
mod flow;
#[path = "../../benches/book-bench/message.rs"]
mod message;
#[path = "../../benches/book-bench/report.rs"]
mod report;
mod rivals;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use ::book;
use book::OrderKey;
use drive::{apply, new_market};
use flow::{Cancels, Popularity, Shape};
use hdrhistogram::Histogram;
use message::{Action, Flow, Message};
use report::{Budget, Report, median};
use rivals::{Book, Matchcore, OrderbookRs, Ours, Step};

const SHAPE: Shape = Shape {
    instruments: 1,
    resting: 10_000,
    active: 400,
    owners: 100,
    messages: 400_000,
    cancels: Cancels::Near,
    popularity: Popularity::Real,
    seed: 7,
};

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("p99_99", 0.9999)];

/// The flow in the terms of books that number orders: an order's number is the number of the step that entered it, and
/// reductions and replacements give the quantity that remains.
fn steps(flow: &Flow) -> Vec<Step> {
    let mut market = new_market(flow.instruments, flow.owners, flow.orders);
    let mut numbers = std::collections::HashMap::new();
    let mut steps = Vec::new();
    for message in flow.preload.iter().chain(&flow.messages) {
        let number = steps.len() as u64 + 1;
        let target = |user_ref: u32| OrderKey::new(message.owner, 0, user_ref);
        let (id, executed) = match message.action {
            Action::Enter | Action::Take => {
                numbers.insert(target(message.user_ref), number);
                (number, 0)
            }
            Action::Cancel | Action::Reduce => {
                let view = market.order(target(message.user_ref)).expect("the flow names live orders");
                (numbers[&view.key], view.executed)
            }
            Action::Replace => {
                let view = market.order(target(message.original)).expect("the flow names live orders");
                let id = numbers[&view.key];
                numbers.insert(target(message.user_ref), id);
                (id, view.executed)
            }
        };
        apply(&mut market, message, &mut ());
        let Message { action, buy, price, .. } = *message;
        let quantity = message.quantity.saturating_sub(executed);
        steps.push(Step { action, buy, id, quantity, price: u64::from(price), message: *message });
    }
    steps
}

/// One round of one book: messages per second, then the time of each message by itself.
fn round<B: Book>(flow: &Flow, steps: &[Step]) -> (f64, Histogram<u64>, u64) {
    let (preload, rest) = steps.split_at(flow.preload.len());
    let (warm_up, timed) = rest.split_at(rest.len() / 5);
    let mut book = B::new(flow);
    for (number, step) in (1..).zip(preload.iter().chain(warm_up)) {
        book.step(number, step);
    }
    let first = (preload.len() + warm_up.len()) as u64 + 1;
    let start = Instant::now();
    for (number, step) in (first..).zip(timed) {
        book.step(number, step);
    }
    let rate = timed.len() as f64 / start.elapsed().as_secs_f64();

    let mut book = B::new(flow);
    for (number, step) in (1..).zip(preload.iter().chain(warm_up)) {
        book.step(number, step);
    }
    let mut histogram = Histogram::new_with_max(10_000_000_000, 3).expect("constant, valid bounds");
    let mut last = Instant::now();
    for (number, step) in (first..).zip(timed) {
        book.step(number, step);
        let now = Instant::now();
        histogram.saturating_record((now - last).as_nanos() as u64);
        last = Instant::now();
    }
    (rate, histogram, book.executed())
}

#[derive(Default)]
struct Results {
    rates: Vec<f64>,
    quantiles: [Vec<f64>; QUANTILES.len()],
    executed: u64,
}

impl Results {
    fn take(&mut self, (rate, histogram, executed): (f64, Histogram<u64>, u64)) {
        self.rates.push(rate);
        for (values, (_, quantile)) in self.quantiles.iter_mut().zip(QUANTILES) {
            values.push(histogram.value_at_quantile(quantile) as f64);
        }
        self.executed = executed;
    }

    fn add_to(&self, report: &mut Report, name: &str) {
        report.add(&format!("{name}.messages_per_second"), "messages/s", Budget::None, &self.rates);
        for (values, (quantile, _)) in self.quantiles.iter().zip(QUANTILES) {
            report.add(&format!("{name}.{quantile}_ns"), "ns", Budget::None, values);
        }
    }

    /// How much faster `self` is than `rival` round by round, in that of throughput and the percentiles where it is least so.
    fn least_advantage(&self, rival: &Self) -> Vec<f64> {
        let ratios = |faster: &[f64], slower: &[f64]| -> Vec<f64> {
            faster.iter().zip(slower).map(|(faster, slower)| faster / slower).collect()
        };
        let times = self.quantiles.iter().zip(&rival.quantiles);
        times
            .map(|(ours, theirs)| ratios(theirs, ours))
            .fold(ratios(&self.rates, &rival.rates), |least, next| {
                if median(&next) < median(&least) { next } else { least }
            })
    }
}

fn main() -> ExitCode {
    let mut json: Option<PathBuf> = None;
    let mut rounds = 7;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.len()) {
            ("--json", 1..) => json = arguments.next().map(PathBuf::from),
            ("--quick", _) => rounds = 3,
            _ => {
                eprintln!("unknown or incomplete argument {argument}; known: --json FILE, --quick");
                return ExitCode::FAILURE;
            }
        }
    }
    let flow = SHAPE.generate();
    let steps = steps(&flow);
    let mut report = Report::default();
    let (mut ours, mut matchcore, mut orderbook_rs) =
        (Results::default(), Results::default(), Results::default());
    for _ in 0..rounds {
        ours.take(round::<Ours>(&flow, &steps));
        matchcore.take(round::<Matchcore>(&flow, &steps));
        orderbook_rs.take(round::<OrderbookRs>(&flow, &steps));
    }
    ours.add_to(&mut report, "book.side_by_side.pitlane");
    matchcore.add_to(&mut report, "book.side_by_side.matchcore");
    orderbook_rs.add_to(&mut report, "book.side_by_side.orderbook_rs");
    for (name, rival) in [("matchcore", &matchcore), ("orderbook_rs", &orderbook_rs)] {
        let difference = ours.executed.abs_diff(rival.executed) as f64 / ours.executed as f64;
        let name = format!("book.vs_{name}");
        // The work is only comparable if the books match alike: executed shares say so. orderbook-rs executes exactly the
        // same shares; matchcore 1.2 % fewer, because amended orders queue elsewhere.
        report.add(&format!("{name}.executed_difference"), "share", Budget::AtMost(0.02), &[difference]);
        let advantage = ours.least_advantage(rival);
        report.add(&name, "times faster, where least", Budget::AtLeast(1.0), &advantage);
    }
    if let Some(path) = json
        && let Err(error) = report.write_json(&path)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
