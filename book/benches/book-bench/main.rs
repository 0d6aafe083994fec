//! Measures the book alone: throughput, tail latency, allocations, and how cost grows with resting orders and instruments.
//! `cargo bench -p pitlane-book --bench book-bench -- [--json FILE] [--only NAME] [--quick]`,
//! `-- --count [SHAPE]` for instructions by callgrind. Rivals are measured in `bench-rivals`, the version of before in `bench-before`.

mod clock;
mod count;
mod digest;
mod drive;
mod flow;
mod lines;
mod measure;
mod memory;
mod message;
mod report;
mod shapes;
mod steady;

use ::book;
use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use flow::{Cancels, Popularity, Shape};
use measure::{Cost, Delivery, Run, median_by_message, quantile};
use message::Flow;
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
    messages: 0,
    cancels: Cancels::Near,
    popularity: Popularity::Real,
    seed: 1,
};

/// Many instruments with a few orders each.
const MANY: Shape = Shape { instruments: 10_000, resting: 40, active: 30, ..BUSY };

struct Options {
    json: Option<PathBuf>,
    only: Option<String>,
    rounds: usize,
    /// Only instructions, of the shapes whose name begins so.
    count: Option<String>,
    /// What callgrind runs: the shape whose messages it counts.
    counted: Option<String>,
}

fn options() -> Result<Options, String> {
    let mut options = Options { json: None, only: None, rounds: 9, count: None, counted: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = Some(arguments.next().ok_or("--json needs a file")?.into()),
            "--only" => options.only = Some(arguments.next().ok_or("--only needs a name")?),
            "--quick" => options.rounds = 3,
            "--count" => options.count = Some(arguments.next().unwrap_or_default()),
            "--counted" => options.counted = Some(arguments.next().ok_or("--counted needs a shape")?),
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
    if let Some(shape) = &options.counted {
        return counted(shape);
    }
    if let Some(code) = with_huge_pages() {
        return code;
    }
    let mut report = Report::default();
    let wanted = |name: &str| {
        options.count.is_none() && options.only.as_deref().is_none_or(|only| name.contains(only))
    };
    if wanted("book.messages_per_second") {
        throughput(&mut report, options.rounds);
    }
    if wanted("book.p99_9_ns") {
        tail(&mut report, options.rounds);
    }
    if wanted("book.allocations") {
        allocations(&mut report, options.rounds);
    }
    if wanted("book.depth_cost") {
        depth(&mut report, options.rounds);
    }
    if wanted("book.instrument_cost") {
        instruments(&mut report, options.rounds);
    }
    if wanted("book.shape") {
        in_shapes(&mut report, options.rounds);
    }
    if wanted("book.p50_ns_at") {
        steady::steady(&mut report, options.rounds);
    }
    if wanted("book.bytes") {
        memory::memory(&mut report, MANY);
    }
    if wanted("book.line") {
        lines::lines(&mut report, options.rounds);
    }
    let count = options.count.as_deref().or(wanted("book.instructions_per_message").then_some(""));
    if let Some(prefix) = count
        && let Err(error) = count_shapes(&mut report, prefix)
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    if let Some(path) = &options.json
        && let Err(error) = report.write_json(path)
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Messages counted by callgrind, which is fifty times as slow, after as many that warm up.
const COUNTED: usize = 100_000;
/// Messages of a shape in one round.
const IN_SHAPE: usize = 100_000;

fn count_shapes(report: &mut Report, prefix: &str) -> std::io::Result<()> {
    for (shape, ..) in shapes::ALL.into_iter().filter(|(shape, ..)| shape.starts_with(prefix)) {
        let count = count::instructions("run_counted", &["--counted", shape])?;
        let per_message = [count as f64 / COUNTED as f64];
        report.add(
            &format!("book.instructions_per_message.{shape}"),
            "instructions",
            Budget::None,
            &per_message,
        );
        if shape == "calm" {
            report.add("book.instructions_per_message", "instructions", Budget::AtMost(230.0), &per_message);
        }
    }
    Ok(())
}

fn counted(shape: &str) -> ExitCode {
    let Some((_, path, references)) = shapes::ALL.into_iter().find(|(name, ..)| *name == shape) else {
        return ExitCode::FAILURE;
    };
    let flow = shapes::generate(path, references, COUNTED * 2, 1);
    let (warm_up, rest) = flow.messages.split_at(COUNTED);
    let mut driven = drive::Driven::new(&flow);
    warm_up.iter().for_each(|message| driven.apply(message));
    driven.run_counted(rest);
    ExitCode::SUCCESS
}

/// Messages a second in each shape, on the processor.
fn in_shapes(report: &mut Report, rounds: usize) {
    for (name, path, references) in shapes::ALL {
        let flow = shapes::generate(path, references, IN_SHAPE * (rounds + 1), 1);
        let mut run = Run::new(&flow, rounds, Delivery::OneByOne);
        let rates: Vec<f64> = (0..rounds).map(|_| 1e9 / run.piece().processor).collect();
        report.add(&format!("book.shape.{name}"), "messages/s", Budget::None, &rates);
    }
}

/// Starts the program again with memory in huge pages, as the service is meant to run: with a million resting orders the
/// book spans tens of thousands of 4 KiB pages, and each miss of the TLB in a virtual machine is a nested walk. `None`: go on
/// here (it is so already, or cannot be).
fn with_huge_pages() -> Option<ExitCode> {
    const NAME: &str = "GLIBC_TUNABLES";
    if std::env::var_os(NAME).is_some() {
        return None;
    }
    let mut command = std::process::Command::new(std::env::current_exe().ok()?);
    let status =
        command.args(std::env::args_os().skip(1)).env(NAME, "glibc.malloc.hugetlb=1").status().ok()?;
    Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn throughput(report: &mut Report, rounds: usize) {
    let flow = Shape { messages: 250_000 * (rounds + 1), ..BUSY }.generate();
    let mut run = Run::new(&flow, rounds, Delivery::OneByOne);
    let costs: Vec<Cost> = (0..rounds).map(|_| run.piece()).collect();
    let rates: Vec<f64> = costs.iter().map(|cost| 1e9 / cost.wall).collect();
    let processor: Vec<f64> = costs.iter().map(|cost| cost.processor).collect();
    report.add("book.messages_per_second", "messages/s", Budget::AtLeast(10e6), &rates);
    report.add("book.processor_ns_per_message", "ns", Budget::None, &processor);
}

fn tail(report: &mut Report, rounds: usize) {
    const INTERVAL: Duration = Duration::from_micros(1);
    const QUANTILES: [(&str, f64); 4] =
        [("book.p50_ns", 0.5), ("book.p99_ns", 0.99), ("book.p99_9_ns", 0.999), ("book.p99_99_ns", 0.9999)];
    /// Odd, and so many that hardly a message is met by a stall in most of them: with 4% of the messages held up by stalls,
    /// 1 in 100,000 is in five of nine.
    const REPETITIONS: usize = 9;
    let flow = Shape { messages: 100_000 * (rounds + 1), ..BUSY }.generate();
    let mut at: [Vec<f64>; QUANTILES.len()] = Default::default();
    let mut empty = Vec::new();
    let mut pieces = vec![Vec::new(); rounds];
    for _ in 0..REPETITIONS {
        let mut run = Run::new(&flow, rounds, Delivery::OneByOne);
        for repetitions in &mut pieces {
            // Mostly idle, so that a real-time priority (`chrt -f 50`), if it was given one, is not throttled.
            std::thread::sleep(Duration::from_millis(100));
            empty.push(quantile(&mut run.empty_loop(INTERVAL), 0.999));
            let times = run.open_loop(INTERVAL);
            let mut sorted = times.clone();
            for (values, (_, share)) in at.iter_mut().zip(QUANTILES) {
                values.push(quantile(&mut sorted, share));
            }
            repetitions.push(times);
        }
    }
    let by_message: Vec<f64> =
        pieces.iter().map(|runs| quantile(&mut median_by_message(runs), 0.999)).collect();
    for (values, (name, _)) in at.iter().zip(QUANTILES) {
        let budget = if name == "book.p99_9_ns" { Budget::AtMost(999.0) } else { Budget::None };
        report.add(name, "ns", budget, values);
    }
    report.add("book.p99_9_empty_loop_ns", "ns", Budget::None, &empty);
    report.add("book.p99_9_by_message_ns", "ns", Budget::None, &by_message);
}

fn allocations(report: &mut Report, rounds: usize) {
    let messages = 250_000 * (rounds + 1);
    let flow = Shape { instruments: 20, resting: 500, active: 50, messages, ..BUSY }.generate();
    let mut run = Run::new(&flow, rounds, Delivery::Batches);
    let counts: Vec<f64> = (0..rounds)
        .map(|_| {
            let region = Region::new(ALLOCATOR);
            run.piece();
            let change = region.change();
            (change.allocations + change.reallocations + change.deallocations) as f64
        })
        .collect();
    report.add("book.allocations", "per 250,000 messages", Budget::AtMost(0.0), &counts);
}

/// The flows in turn, piece by piece, so that a slow moment of the machine meets all of them. Processor time in ns per
/// message.
fn interleaved(flows: &[Flow], rounds: usize, delivery: impl Fn(u32) -> Delivery) -> Vec<Vec<f64>> {
    let mut runs: Vec<Run<'_>> =
        flows.iter().map(|flow| Run::new(flow, rounds, delivery(flow.instruments))).collect();
    let mut costs = vec![Vec::new(); flows.len()];
    for _ in 0..rounds {
        for (costs, run) in costs.iter_mut().zip(&mut runs) {
            costs.push(run.piece().processor);
        }
    }
    costs
}

/// Reports the cost at each size under `name` and, as `name` itself, that of the size with the highest median over that
/// of the size with the lowest, round by round.
fn series(report: &mut Report, name: &str, budget: Budget, sizes: &[u32], costs: &[Vec<f64>]) {
    for (size, costs) in sizes.iter().zip(costs) {
        report.add(&format!("{name}.{size}"), "ns/message", Budget::None, costs);
    }
    let by_median = |one: &&Vec<f64>, other: &&Vec<f64>| median(one).total_cmp(&median(other));
    let (Some(worst), Some(best)) = (costs.iter().max_by(by_median), costs.iter().min_by(by_median)) else {
        return;
    };
    let ratios: Vec<f64> = worst.iter().zip(best).map(|(worst, best)| worst / best).collect();
    report.add(name, "worst/best", budget, &ratios);
}

fn depth(report: &mut Report, rounds: usize) {
    const RESTING: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
    for (cancels, name, budget) in [
        (Cancels::Near, "book.depth_cost", Budget::AtMost(1.1)),
        (Cancels::Anywhere, "book.depth_cost_uniform_cancels", Budget::None),
    ] {
        let flow = |resting: u32| {
            let messages = 100_000 * (rounds + 1);
            Shape { resting, active: resting.min(400), messages, cancels, ..BUSY }.generate()
        };
        let flows: Vec<Flow> = RESTING.iter().map(|&resting| flow(resting)).collect();
        let costs = interleaved(&flows, rounds, Delivery::of_a_shard);
        series(report, name, budget, &RESTING, &costs);
    }
}

fn instruments(report: &mut Report, rounds: usize) {
    const INSTRUMENTS: [u32; 4] = [1, 100, 1_000, 10_000];
    let flow = |instruments: u32, popularity: Popularity| {
        let messages = 100_000 * (rounds + 1);
        Shape { instruments, resting: 40, active: 30, messages, popularity, ..BUSY }.generate()
    };
    let flows = INSTRUMENTS.map(|count| flow(count, Popularity::Real));
    let costs = interleaved(&flows, rounds, Delivery::of_a_shard);
    series(report, "book.instrument_cost", Budget::AtMost(1.1), &INSTRUMENTS, &costs);
    let costs = interleaved(&flows, rounds, |_| Delivery::OneByOne);
    series(report, "book.instrument_cost_one_by_one", Budget::None, &INSTRUMENTS, &costs);
    let flows = INSTRUMENTS.map(|count| flow(count, Popularity::Uniform));
    let costs = interleaved(&flows, rounds, Delivery::of_a_shard);
    series(report, "book.instrument_cost_uniform", Budget::None, &INSTRUMENTS, &costs);
}
