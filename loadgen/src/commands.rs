//! The commands: from parsed arguments to an exit code. Each builds a plan, has it executed, and shows what came out.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use netio::PortKind;
use netio::idle::IdleStrategy;

use crate::cli::{AccountArgs, FlowArgs, OutputArgs, ReportArgs, RunArgs, SearchArgs, TargetArgs, TimeArgs};
use crate::client::Credentials;
use crate::mix::MixSettings;
use crate::pace::{Arrivals, Pace};
use crate::ports::PortName;
use crate::report::table::{duration, grouped, render, right, table};
use crate::report::{HostFacts, Report, assemble, hgrm, html};
use crate::run::{Executed, Plan, execute};
use crate::search::{SearchSettings, Trial, search};
use crate::{credentials, parse, ports};

/// Exit code of a run in which orders were lost, duplicated or not as the file implies.
pub const EXIT_UNCLEAN: u8 = 2;

/// Prints to standard output; a closed pipe is no error of ours.
pub fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

pub fn interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
        signal_hook::flag::register(signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

/// Spins where the generator was pinned to a core for each thread; elsewhere it may share them with the engine, and gives way.
pub fn idle_strategy(target: &TargetArgs, threads: usize) -> IdleStrategy {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let is_pinned = !target.cores.is_empty() || available < HostFacts::collect().cores;
    let spins = is_pinned && available >= threads;
    target.idle.unwrap_or(if spins { IdleStrategy::Spin } else { IdleStrategy::Yield })
}

pub fn accounts(args: &AccountArgs, count: usize) -> Result<Vec<Credentials>> {
    let accounts = match &args.credentials {
        Some(file) => credentials::from_file(file, count),
        None => credentials::numbered(&args.user_prefix, args.first_user, count, &args.password),
    };
    accounts.map_err(|problem| anyhow!(problem))
}

fn mix_settings(flow: &FlowArgs) -> MixSettings {
    MixSettings {
        enter_weight: flow.mix.0,
        cancel_weight: flow.mix.1,
        replace_weight: flow.mix.2,
        crossing: flow.crossing,
        price_start: flow.price_start,
        tick: flow.tick,
        depth_ticks: flow.depth,
        walk_ticks: flow.walk,
        quantity_min: flow.quantity.0,
        quantity_max: flow.quantity.1,
        quantity_step: flow.quantity_step,
        open_orders_max: flow.open_orders,
        seed: flow.seed,
    }
}

fn plan(
    target: &TargetArgs,
    accounts_args: &AccountArgs,
    flow: &FlowArgs,
    time: &TimeArgs,
    pace: Pace,
    quiet: bool,
) -> Result<Plan> {
    let symbols = parse::symbols(&flow.symbols).map_err(|problem| anyhow!("--symbols {problem}"))?;
    Ok(Plan {
        clients: accounts(accounts_args, flow.clients)?,
        threads: flow.threads,
        symbols: parse::symbols_by_shard(&symbols, flow.shards.max(1)),
        mix: mix_settings(flow),
        pace,
        orders_per_datagram: flow.orders_per_datagram,
        warmup_ns: time.warmup,
        duration_ns: time.duration,
        orders: None,
        drain_ns: time.drain,
        connect_timeout_ns: time.connect_timeout,
        silence_ns: time.silence,
        reconnect: time.reconnect,
        cancel_open: true,
        idle: idle_strategy(target, flow.threads),
        cores: target.cores.clone(),
        quiet,
    })
}

/// Opens the ports and runs the plan over them. Also returns what the port calls itself.
fn execute_over(
    plan: &Plan,
    target: &TargetArgs,
    interrupt: &Arc<AtomicBool>,
) -> Result<(Executed, PortName)> {
    let targets = parse::targets(&target.target, plan.symbols.len()).map_err(|problem| anyhow!(problem))?;
    match target.port {
        PortKind::Udp => {
            let clients = plan.clients_per_thread();
            let executed = match ports::open_udp(&targets, plan.threads, clients, !target.no_udp_offload)? {
                ports::Udp::One(opened) => execute(plan, opened, interrupt)?,
                ports::Udp::Many(opened) => execute(plan, opened, interrupt)?,
            };
            Ok((executed, PortName::udp()))
        }
        #[cfg(feature = "xdp")]
        PortKind::Xdp => {
            let (device, opened) =
                ports::open_xdp(target, &targets, plan.threads, plan.clients_per_thread(), true)?;
            // The device stays open until the last answer: its program steers the datagrams.
            let executed = execute(plan, opened, interrupt)?;
            Ok((executed, PortName::xdp(&device)))
        }
    }
}

fn describe(
    plan: &Plan,
    target: &TargetArgs,
    output: &OutputArgs,
    port: PortName,
    executed: &Executed,
    started_at: u64,
) -> Report {
    let symbols = plan.symbols.iter().map(Vec::len).sum();
    let (intended, window) = match plan.pace {
        Pace::Closed { window } => (None, Some(window)),
        Pace::Open(arrivals) => (Some(arrivals.rate), None),
    };
    let mut report = Report {
        label: if output.label.is_empty() {
            format!("{}, {}", port.kind, plan.pace.describe())
        } else {
            output.label.clone()
        },
        started_at,
        port: port.kind.into(),
        port_mode: port.mode,
        target: target.target.clone(),
        shards: plan.symbols.len() as u32,
        threads: plan.threads as u32,
        warmup_seconds: plan.warmup_ns as f64 / 1e9,
        pace: plan.pace.describe(),
        intended_orders_per_second: intended,
        window,
        orders_per_datagram_limit: plan.orders_per_datagram,
        mix: assemble::describe_mix(&plan.mix, symbols),
        host: HostFacts::collect(),
        ..Default::default()
    };
    if executed.interrupted {
        report.warnings.push("interrupted before its time was over".into());
    }
    assemble::fill(&mut report, &executed.outcome, executed.timeline.clone());
    report
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

pub fn write_file(path: &Path, content: &str) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn deliver(report: &Report, executed: &Executed, output: &OutputArgs) -> Result<()> {
    print(&render(report));
    if let Some(path) = &output.json {
        write_file(path, &(serde_json::to_string_pretty(report)? + "\n"))?;
    }
    if let Some(path) = &output.hgrm {
        write_file(path, &hgrm::render(&executed.outcome.latency))?;
    }
    Ok(())
}

pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let pace = match args.rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => {
            bail!("--rate {rate}: expected more than 0 orders per second")
        }
        Some(rate) => Pace::Open(Arrivals { rate, burst: args.burst, poisson: args.poisson }),
        None if args.window == 0 => bail!("--window 0: expected at least one order in flight"),
        None => Pace::Closed { window: args.window },
    };
    let mut plan = plan(&args.target, &args.accounts, &args.flow, &args.time, pace, args.output.quiet)?;
    plan.orders = args.orders;
    plan.cancel_open = !args.leave_orders;
    let started_at = unix_seconds();
    let (executed, port) = execute_over(&plan, &args.target, &interrupt_flag()?)?;
    let report = describe(&plan, &args.target, &args.output, port, &executed, started_at);
    deliver(&report, &executed, &args.output)?;
    Ok(if report.is_clean() && report.orders > 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNCLEAN) })
}

pub fn run_search(args: &SearchArgs) -> Result<ExitCode> {
    let settings = SearchSettings {
        rate_min: args.rate_min,
        rate_max: args.rate_max,
        steps: args.steps,
        precision: args.precision,
        limit_ns: args.limit,
    };
    settings.check().map_err(|problem| anyhow!(problem))?;
    if !(0.0..=100.0).contains(&args.percentile) {
        bail!("--percentile {}: expected 0 to 100", args.percentile);
    }
    let interrupt = interrupt_flag()?;
    let mut best: Option<(Report, Executed)> = None;
    let mut trials = table();
    trials.set_header([
        "intended orders/s",
        "got orders/s",
        &format!("p{}", args.percentile),
        "lost",
        "within the limit",
    ]);
    let found = search(&settings, |rate| {
        let pace = Pace::Open(Arrivals { rate, burst: args.burst, poisson: args.poisson });
        let plan = plan(&args.target, &args.accounts, &args.flow, &args.time, pace, args.output.quiet)?;
        let started_at = unix_seconds();
        let (executed, port) = execute_over(&plan, &args.target, &interrupt)?;
        let report = describe(&plan, &args.target, &args.output, port, &executed, started_at);
        if executed.interrupted {
            bail!("interrupted");
        }
        let trial = Trial {
            orders_per_second: report.orders_per_second,
            latency_ns: executed.outcome.latency.value_at_quantile(args.percentile / 100.0),
            is_clean: report.is_clean(),
        };
        let passed = settings.passes(rate, &trial);
        trials.add_row([
            right(grouped(rate)),
            right(grouped(trial.orders_per_second)),
            right(duration(trial.latency_ns as f64)),
            right(grouped(report.lost as f64)),
            right(if passed { "yes" } else { "no" }),
        ]);
        if passed && best.as_ref().is_none_or(|(held, _)| held.intended_orders_per_second < Some(rate)) {
            best = Some((report, executed));
        }
        Ok(trial)
    })?;
    print(&format!("{trials}\n"));
    match (found, best) {
        (Some(rate), Some((report, executed))) => {
            print(&format!(
                "{} orders/s keep p{} within {} without loss\n",
                grouped(rate),
                args.percentile,
                duration(args.limit as f64)
            ));
            deliver(&report, &executed, &args.output)?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            print(&format!(
                "no rate from {} orders/s on keeps p{} within {} without loss\n",
                grouped(args.rate_min),
                args.percentile,
                duration(args.limit as f64)
            ));
            Ok(ExitCode::from(EXIT_UNCLEAN))
        }
    }
}

pub fn show_reports(args: &ReportArgs) -> Result<ExitCode> {
    let mut reports = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut report: Report = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a report of `pitlane-loadgen run --json`", path.display()))?;
        if report.schema_version == 0 {
            bail!(
                "{} has no schema_version: expected a report of `pitlane-loadgen run --json`",
                path.display()
            );
        }
        if report.label.is_empty() {
            report.label =
                path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        }
        reports.push(report);
    }
    if let [report] = reports.as_slice() {
        print(&render(report));
    } else {
        let mut comparison = table();
        comparison.set_header([
            "run",
            "orders/s",
            "lost",
            "mean",
            "median",
            "p99",
            "p99.9",
            "max",
            "orders/s ratio",
            "median ratio",
        ]);
        let first = &reports[0];
        for report in &reports {
            let latency = &report.latency_ns;
            comparison.add_row([
                comfy_table::Cell::new(&report.label),
                right(grouped(report.orders_per_second)),
                right(grouped(report.lost as f64)),
                right(duration(latency.mean)),
                right(duration(latency.median as f64)),
                right(duration(latency.p99 as f64)),
                right(duration(latency.p99_9 as f64)),
                right(duration(latency.max as f64)),
                right(format!("{:.2}", assemble::ratio(report.orders_per_second, first.orders_per_second))),
                right(format!(
                    "{:.2}",
                    assemble::ratio(latency.median as f64, first.latency_ns.median as f64)
                )),
            ]);
        }
        print(&format!("{comparison}\nratios against the first run\n"));
    }
    if let Some(path) = &args.html {
        let page = html::render(&reports).map_err(|error| anyhow!("cannot draw the plots: {error}"))?;
        write_file(path, &page)?;
    }
    Ok(ExitCode::SUCCESS)
}
