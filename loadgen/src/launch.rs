//! From arguments to a plan, from a plan to a report: what `run`, `search`, `curve`, `scale` and `agent` share. It judges nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use netio::PortKind;

use crate::cli::{AccountArgs, FlowArgs, TargetArgs, TimeArgs};
use crate::client::Credentials;
use crate::judge::{Limits, Times, judge};
use crate::mix::MixSettings;
use crate::pace::{Arrivals, Pace};
use crate::ports::{PortName, idle_strategy};
use crate::profile::FlowProfile;
use crate::report::assemble::{self, Outcome};
use crate::report::host::interrupts;
use crate::report::{HostFacts, Report};
use crate::run::{AtOnce, Executed, Plan, Share, Starter, execute};
use crate::{credentials, output, parse, ports};

pub fn accounts(args: &AccountArgs, count: usize) -> Result<Vec<Credentials>> {
    let accounts = match &args.credentials {
        Some(file) => credentials::from_file(file, count),
        None => credentials::numbered(&args.user_prefix, args.first_user, count, &args.password),
    };
    accounts.map_err(|problem| anyhow!(problem))
}

fn flow_of(flow: &FlowArgs) -> Result<MixSettings> {
    let mut mix = MixSettings {
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
        ..MixSettings::default()
    };
    if let Some(path) = &flow.profile {
        let profile = FlowProfile::read(path)?;
        profile.apply(&mut mix).map_err(|problem| anyhow!("--profile {}: {problem}", path.display()))?;
    }
    Ok(mix)
}

/// What is to be done, apart from how it is judged and shown.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    pub target: &'a TargetArgs,
    pub accounts: &'a AccountArgs,
    pub flow: &'a FlowArgs,
    pub time: &'a TimeArgs,
    pub quiet: bool,
}

/// A run that has been judged, with what its report was made of.
pub struct Measured {
    pub report: Report,
    pub outcome: Outcome,
}

impl Job<'_> {
    pub fn plan(&self, pace: Pace) -> Result<Plan> {
        let Job { target, flow, time, .. } = self;
        let symbols = parse::symbols(&flow.symbols).map_err(|problem| anyhow!("--symbols {problem}"))?;
        Ok(Plan {
            clients: accounts(self.accounts, flow.clients)?,
            share: Share::default(),
            threads: flow.threads,
            symbols: parse::symbols_by_shard(&symbols, flow.shards.max(1)),
            mix: flow_of(flow)?,
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
            quiet: self.quiet,
        })
    }

    /// Runs the plan here and now.
    pub fn measure(
        &self,
        plan: &Plan,
        label: &str,
        limits: &Limits,
        interrupt: &Arc<AtomicBool>,
    ) -> Result<Measured> {
        let started_at = output::unix_seconds();
        let (before, began) = (interrupts(&plan.cores), Instant::now());
        let (executed, port) = execute_over(plan, self.target, interrupt, &AtOnce)?;
        let Executed { mut outcome, interrupted } = executed;
        let mut report = describe(plan, &self.target.target, label, port, started_at);
        report.interrupted = interrupted;
        report.host = HostFacts::collect_for(&plan.cores, self.target.interface.as_deref());
        report.host.interrupts_per_second = (before.zip(interrupts(&plan.cores))).map(|(before, after)| {
            after.saturating_sub(before) as f64 / began.elapsed().as_secs_f64().max(1e-9)
        });
        assemble::fill(&mut report, &mut outcome);
        report.verdict = judge(&report, &Times::of(&mut outcome.measurements), limits);
        Ok(Measured { report, outcome })
    }
}

/// A closed loop of `window`, or an open one of `arrivals` orders per second.
pub fn pace(window: u32, rate: Option<f64>, burst: u32, poisson: bool) -> Result<Pace> {
    match rate {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => {
            bail!("--rate {rate}: expected more than 0 orders per second")
        }
        Some(rate) => Ok(Pace::Open(Arrivals { rate, burst, poisson })),
        None if window == 0 => bail!("--window 0: expected at least one order in flight"),
        None => Ok(Pace::Closed { window }),
    }
}

/// Opens the ports and runs the plan over them. Also returns what the port calls itself.
pub fn execute_over(
    plan: &Plan,
    target: &TargetArgs,
    interrupt: &Arc<AtomicBool>,
    starter: &dyn Starter,
) -> Result<(Executed, PortName)> {
    let targets = parse::targets(&target.target, plan.symbols.len()).map_err(|problem| anyhow!(problem))?;
    match target.port {
        PortKind::Udp => {
            let clients = plan.clients_per_thread();
            let executed = match ports::open_udp(&targets, plan.threads, clients, !target.no_udp_offload)? {
                ports::Udp::One(opened) => execute(plan, opened, interrupt, starter)?,
                ports::Udp::Many(opened) => execute(plan, opened, interrupt, starter)?,
            };
            Ok((executed, PortName::udp()))
        }
        #[cfg(feature = "xdp")]
        PortKind::Xdp => {
            let (device, opened) =
                ports::open_xdp(target, &targets, plan.threads, plan.clients_per_thread(), true)?;
            // The device stays open until the last answer: its program steers the datagrams.
            let executed = execute(plan, opened, interrupt, starter)?;
            Ok((executed, PortName::xdp(&device)))
        }
    }
}

/// What a report says of the plan.
pub fn describe(plan: &Plan, target: &str, label: &str, port: PortName, started_at: u64) -> Report {
    let symbols = plan.symbols.iter().map(Vec::len).sum();
    let (intended, window) = match plan.pace {
        Pace::Closed { window } => (None, Some(window)),
        Pace::Open(arrivals) => (Some(arrivals.rate), None),
    };
    Report {
        label: if label.is_empty() {
            format!("{}, {}", port.kind, plan.pace.describe())
        } else {
            label.to_owned()
        },
        started_at,
        port: port.kind.into(),
        port_mode: port.mode,
        target: target.to_owned(),
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
    }
}
