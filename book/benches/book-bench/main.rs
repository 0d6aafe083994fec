//! Measures the book alone: throughput, tail latency, allocations, and how cost grows with resting orders and instruments.
//! `cargo bench -p pitlane-book --bench book-bench -- [--json FILE] [--only NAME] [--quick]`. Rivals are measured in `bench-rivals`.

mod digest;
mod flow;
mod measure;
mod report;

use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use digest::Digest;
use flow::{Cancels, Flow, Popularity, Shape, apply};
use measure::Cost;
use report::{Budget, Report, median};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A busy single instrument.
const BUSY: Shape = Shape {
    instruments: 1,
    resting: 10_000,
    active: 400,
    owners: 100,
    messages: 2_000_000,
    cancels: Cancels::Near,
    popularity: Popularity::Zipf,
    seed: 1,
};

struct Options {
    json: Option<PathBuf>,
    only: Option<String>,
    rounds: usize,
}

fn options() -> Result<Options, String> {
    let mut options = Options { json: None, only: None, rounds: 7 };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = Some(arguments.next().ok_or("--json needs a file")?.into()),
            "--only" => options.only = Some(arguments.next().ok_or("--only needs a name")?),
            "--quick" => options.rounds = 3,
            // Given by cargo bench.
            "--bench" => {}
            other => {
                return Err(format!("unknown argument {other}; known: --json FILE, --only NAME, --quick"));
            }
        }
    }
    Ok(options)
}

#[allow(clippy::print_stderr, reason = "this is the program's output")]
fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::default();
    let wanted = |name: &str| options.only.as_deref().is_none_or(|only| name.contains(only));
    if wanted("book.messages_per_second") {
        throughput(&mut report, options.rounds);
    }
    if wanted("book.p99_9_ns") {
        tail(&mut report, options.rounds);
    }
    if wanted("book.allocations") {
        allocations(&mut report);
    }
    if wanted("book.depth_cost") {
        depth(&mut report, options.rounds);
    }
    if wanted("book.instrument_cost") {
        instruments(&mut report, options.rounds);
    }
    if let Some(path) = &options.json
        && let Err(error) = report.write_json(path)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn throughput(report: &mut Report, rounds: usize) {
    let flow = BUSY.generate();
    let costs: Vec<Cost> = (0..rounds).map(|_| measure::cost(&flow, 200_000)).collect();
    let rates: Vec<f64> = costs.iter().map(|cost| 1e9 / cost.wall).collect();
    let processor: Vec<f64> = costs.iter().map(|cost| cost.processor).collect();
    report.add("book.messages_per_second", "messages/s", Budget::AtLeast(10e6), &rates);
    report.add("book.processor_ns_per_message", "ns", Budget::None, &processor);
}

fn tail(report: &mut Report, rounds: usize) {
    let flow = BUSY.generate();
    let mut at: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let histogram = measure::open_loop(&flow, 200_000, Duration::from_micros(1));
        for (values, quantile) in at.iter_mut().zip([0.5, 0.99, 0.999, 0.9999]) {
            values.push(histogram.value_at_quantile(quantile) as f64);
        }
    }
    for (values, name) in at.iter().zip(["book.p50_ns", "book.p99_ns", "book.p99_9_ns", "book.p99_99_ns"]) {
        let budget = if name == "book.p99_9_ns" { Budget::AtMost(999.0) } else { Budget::None };
        report.add(name, "ns", budget, values);
    }
}

fn allocations(report: &mut Report) {
    let flow = Shape { instruments: 20, resting: 500, active: 50, ..BUSY }.generate();
    let mut market = measure::prepared(&flow);
    let mut digest = Digest::default();
    let region = Region::new(ALLOCATOR);
    for message in &flow.messages {
        apply(&mut market, message, &mut digest);
    }
    let change = region.change();
    let count = change.allocations + change.reallocations + change.deallocations;
    report.add("book.allocations", "per run", Budget::AtMost(0.0), &[count as f64]);
}

/// Rounds of all flows in turn, so that a slow moment of the machine meets all of them. Processor time in ns per message.
fn interleaved(flows: &[Flow], rounds: usize) -> Vec<Vec<f64>> {
    let mut costs = vec![Vec::new(); flows.len()];
    for _ in 0..rounds {
        for (costs, flow) in costs.iter_mut().zip(flows) {
            costs.push(measure::cost(flow, flow.messages.len() / 4).processor);
        }
    }
    costs
}

/// Worst over best of the medians.
fn ratio(costs: &[Vec<f64>]) -> f64 {
    let medians: Vec<f64> = costs.iter().map(|costs| median(costs)).collect();
    let worst = medians.iter().copied().fold(f64::MIN, f64::max);
    let best = medians.iter().copied().fold(f64::MAX, f64::min);
    worst / best
}

fn depth(report: &mut Report, rounds: usize) {
    const RESTING: [u32; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
    for (cancels, name, budget) in [
        (Cancels::Near, "book.depth_cost", Budget::AtMost(1.1)),
        (Cancels::Anywhere, "book.depth_cost_uniform_cancels", Budget::None),
    ] {
        let shape =
            |resting: u32| Shape { resting, active: resting.min(400), messages: 1_000_000, cancels, ..BUSY };
        let flows: Vec<Flow> = RESTING.iter().map(|&resting| shape(resting).generate()).collect();
        let costs = interleaved(&flows, rounds);
        for (resting, costs) in RESTING.iter().zip(&costs) {
            report.add(&format!("{name}.{resting}"), "ns/message", Budget::None, costs);
        }
        report.add_value(name, "worst/best", budget, ratio(&costs), &[]);
    }
}

fn instruments(report: &mut Report, rounds: usize) {
    const INSTRUMENTS: [u32; 5] = [1, 10, 100, 1_000, 10_000];
    for (popularity, name, budget) in [
        (Popularity::Zipf, "book.instrument_cost", Budget::AtMost(1.1)),
        (Popularity::Uniform, "book.instrument_cost_uniform", Budget::None),
    ] {
        let shape = |instruments: u32| Shape {
            instruments,
            resting: 40,
            active: 30,
            messages: 1_000_000,
            popularity,
            ..BUSY
        };
        let flows: Vec<Flow> = INSTRUMENTS.iter().map(|&count| shape(count).generate()).collect();
        let costs = interleaved(&flows, rounds);
        for (count, costs) in INSTRUMENTS.iter().zip(&costs) {
            report.add(&format!("{name}.{count}"), "ns/message", Budget::None, costs);
        }
        report.add_value(name, "worst/best", budget, ratio(&costs), &[]);
    }
}
