//! The book beside the version of before: the same flows in turns, instructions of both, and every report compared.
//! `cargo run --release --manifest-path book/bench-before/Cargo.toml -- [--json FILE] [--only SHAPE] [--quick] | --count | --agree
//! SEEDS [--from SEED] [--messages N]`.

mod before;
#[path = "../../benches/book-bench/count.rs"]
mod count;
#[path = "../../benches/book-bench/message.rs"]
mod message;
mod now;
#[allow(dead_code, reason = "no figure here has an upper limit")]
#[path = "../../benches/book-bench/report.rs"]
mod report;
#[path = "../../benches/book-bench/shapes.rs"]
mod shapes;

use std::path::PathBuf;
use std::process::ExitCode;

use message::Flow;
// The shared sources look for the present book here.
use nix::time::ClockId;
use now::drive;
use report::{Budget, Report, median};
use shapes::{ALL, generate};

/// Messages of one turn: some 2 ms, so that a slow moment of the machine meets both versions.
const PIECE: usize = 200_000;
/// Turns of a round.
const PIECES: usize = 2;
/// Messages counted by callgrind, which is fifty times as slow.
const COUNTED: usize = 100_000;

struct Options {
    json: Option<PathBuf>,
    only: String,
    rounds: usize,
    count: bool,
    counted: Option<(String, bool)>,
    agree: Option<u64>,
    from: u64,
    messages: u32,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        json: None,
        only: String::new(),
        rounds: 9,
        count: false,
        counted: None,
        agree: None,
        from: 0,
        messages: 1_000_000,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse().map_err(|error| format!("{text}: {error}"));
        match argument.as_str() {
            "--json" => options.json = Some(value()?.into()),
            "--only" => options.only = value()?,
            "--quick" => options.rounds = 3,
            "--count" => options.count = true,
            "--counted-now" => options.counted = Some((value()?, true)),
            "--counted-before" => options.counted = Some((value()?, false)),
            "--agree" => options.agree = Some(number(value()?)?),
            "--from" => options.from = number(value()?)?,
            "--messages" => options.messages = number(value()?)? as u32,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if let Some((shape, is_now)) = &options.counted {
        return counted(shape, *is_now);
    }
    if let Some(seeds) = options.agree {
        return agree(options.from, seeds, options.messages);
    }
    let wanted = ALL.iter().filter(|(name, ..)| name.contains(&options.only));
    let mut report = Report::default();
    if options.count {
        for (name, ..) in wanted {
            for (version, argument) in [("before", "--counted-before"), ("now", "--counted-now")] {
                let count = count::instructions("run_counted", &[argument, name]);
                let count = count.map_err(|error| error.to_string())?;
                let name = format!("book.instructions_per_message.{name}.{version}");
                report.add(&name, "instructions", Budget::None, &[count as f64 / COUNTED as f64]);
            }
        }
        return Ok(());
    }
    let names: Vec<&str> = wanted.map(|(name, ..)| *name).collect();
    in_turns(&mut report, &names, options.rounds)?;
    match &options.json {
        Some(path) => {
            report.write_json(path).map_err(|error| format!("cannot write {}: {error}", path.display()))
        }
        None => Ok(()),
    }
}

fn flow_of(name: &str, messages: usize) -> Result<Flow, String> {
    let found = ALL.iter().find(|(other, ..)| *other == name);
    let (_, path, references) = found.ok_or(format!("no shape {name}"))?;
    Ok(generate(*path, *references, messages, 1))
}

fn counted(shape: &str, is_now: bool) -> Result<(), String> {
    let flow = flow_of(shape, COUNTED * 2)?;
    let (warm_up, rest) = flow.messages.split_at(COUNTED);
    if is_now {
        let mut driven = now::drive::Driven::new(&flow);
        warm_up.iter().for_each(|message| driven.apply(message));
        driven.run_counted(rest);
    } else {
        let mut driven = before::drive::Driven::new(&flow);
        warm_up.iter().for_each(|message| driven.apply(message));
        driven.run_counted(rest);
    }
    Ok(())
}

/// Messages a second of both versions, piece by piece in turns, the one that goes first alternating.
fn in_turns(report: &mut Report, names: &[&str], rounds: usize) -> Result<(), String> {
    let (mut worst_now, mut worst_before) = (vec![f64::MAX], vec![f64::MAX]);
    for name in names {
        let flow = flow_of(name, PIECE * PIECES * (rounds + 1))?;
        let mut pieces = flow.messages.chunks(PIECE);
        let (mut now, mut before) = (now::drive::Driven::new(&flow), before::drive::Driven::new(&flow));
        let (mut rates_now, mut rates_before) = (Vec::new(), Vec::new());
        for (number, piece) in pieces.by_ref().enumerate() {
            if number % 2 == 0 {
                rates_now.push(rate(|| now.run_counted(piece)));
                rates_before.push(rate(|| before.run_counted(piece)));
            } else {
                rates_before.push(rate(|| before.run_counted(piece)));
                rates_now.push(rate(|| now.run_counted(piece)));
            }
        }
        if (now.digest.sum, now.market.state_hash()) != (before.digest.sum, before.market.state_hash()) {
            return Err(format!("{name}: the two versions reported differently"));
        }
        // The first round warms up.
        let (rates_now, rates_before) = (rates_now.split_off(PIECES), rates_before.split_off(PIECES));
        let ratios: Vec<f64> =
            rates_now.iter().zip(&rates_before).map(|(now, before)| now / before).collect();
        report.add(&format!("book.shape.{name}.before"), "messages/s", Budget::None, &rates_before);
        report.add(&format!("book.shape.{name}.now"), "messages/s", Budget::None, &rates_now);
        report.add(&format!("book.shape.{name}.ratio"), "times", Budget::None, &ratios);
        if median(&rates_now) < median(&worst_now) {
            worst_now = rates_now;
        }
        if median(&rates_before) < median(&worst_before) {
            worst_before = rates_before;
        }
    }
    let ratio = median(&worst_now) / median(&worst_before);
    report.add("book.worst_shape_messages_per_second", "messages/s", Budget::None, &worst_now);
    report.add("book.worst_shape_before", "messages/s", Budget::None, &worst_before);
    report.add("book.worst_shape_vs_before", "times", Budget::AtLeast(1.7), &[ratio]);
    Ok(())
}

/// Messages of a piece for each second this thread is on the processor.
fn rate(work: impl FnOnce()) -> f64 {
    let processor =
        || ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(0, |it| it.tv_sec() * 1_000_000_000 + it.tv_nsec());
    let start = processor();
    work();
    PIECE as f64 * 1e9 / (processor() - start).max(1) as f64
}

fn agree(from: u64, seeds: u64, messages: u32) -> Result<(), String> {
    for seed in from..from + seeds {
        let now = now::every_feature::answers(seed, messages);
        let before = before::every_feature::answers(seed, messages);
        if now != before {
            return Err(format!("seed {seed}: {now:x?} now, {before:x?} before"));
        }
        println!("seed {seed}: {:016x} over {} events of {messages} requests, both", now.0, now.1);
    }
    Ok(())
}
