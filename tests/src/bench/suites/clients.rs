//! Many clients beside few: what each further one costs, and whether all are served alike. Not the port's own limit: `ports` has that.

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::machine::{Machine, number};
use crate::bench::results::Budget::AtMost;
use crate::bench::{Context, Figure, Samples, Suite};
use crate::engine::{Engine, Settings};

const SECONDS: u32 = 3;
/// What `pitlane-loadgen` sends unmeasured before that, unless told otherwise.
const WARM_UP_SECONDS: f64 = 1.0;
const ACCOUNTS: usize = 10_000;

const FIGURES: &[Figure] = &[
    Figure {
        name: "clients.cost_1000",
        unit: "ratio",
        budget: Some(AtMost(1.1)),
        about: "orders/s of ten clients over those of 1,000, one in flight each, AF_XDP",
    },
    Figure {
        name: "clients.cost_10000",
        unit: "ratio",
        budget: Some(AtMost(1.25)),
        about: "of ten over those of 10,000",
    },
    Figure {
        name: "clients.cost_100_batched",
        unit: "ratio",
        budget: Some(AtMost(1.15)),
        about: "ten clients with 256 in flight over 100 with 25",
    },
    Figure {
        name: "clients.spread_1000",
        unit: "ratio",
        budget: Some(AtMost(1.1)),
        about: "of 1,000 clients the fastest over the slowest",
    },
    Figure {
        name: "clients.datagrams_out_per_order_1000",
        unit: "datagrams",
        budget: Some(AtMost(1.1)),
        about: "what 1,000 clients send for an order, one in flight each",
    },
    Figure {
        name: "clients.datagrams_in_per_order_1000",
        unit: "datagrams",
        budget: Some(AtMost(1.1)),
        about: "what they get for one",
    },
    Figure {
        name: "clients.retransmitted_share",
        unit: "ratio",
        budget: Some(AtMost(0.001)),
        about: "messages that clients sent twice over orders: the most of any of these loads",
    },
    Figure {
        name: "clients.orders_per_second_10",
        unit: "orders/s",
        budget: None,
        about: "ten clients, one in flight each, AF_XDP",
    },
    Figure { name: "clients.orders_per_second_100", unit: "orders/s", budget: None, about: "a hundred" },
    Figure { name: "clients.orders_per_second_1000", unit: "orders/s", budget: None, about: "a thousand" },
    Figure { name: "clients.orders_per_second_10000", unit: "orders/s", budget: None, about: "ten thousand" },
    Figure {
        name: "clients.p99_1000_us",
        unit: "us",
        budget: None,
        about: "response of 1,000 clients, 99th percentile",
    },
    Figure { name: "clients.p99_10000_us", unit: "us", budget: None, about: "of 10,000" },
    Figure {
        name: "clients.udp_cost_1000",
        unit: "ratio",
        budget: None,
        about: "ten clients over 1,000, one in flight each, kernel UDP",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Many clients",
        method: "`pitlane run` with 10,000 accounts on core 0 and `pitlane-loadgen` with all clients on core 1, each in a network namespace of its own, joined by a \
                 veth pair; without a journal. Loads take turns in each round.",
        figures: FIGURES,
        run,
    }
}

/// A closed loop of so many clients with so many orders in flight each.
#[derive(Clone, Copy)]
struct Load {
    clients: usize,
    window: usize,
}

const FEW: Load = Load { clients: 10, window: 1 };
const HUNDRED: Load = Load { clients: 100, window: 1 };
const THOUSAND: Load = Load { clients: 1000, window: 1 };
const TEN_THOUSAND: Load = Load { clients: 10_000, window: 1 };
const FEW_BATCHED: Load = Load { clients: 10, window: 256 };
const HUNDRED_BATCHED: Load = Load { clients: 100, window: 25 };

struct Reading {
    per_second: f64,
    spread: f64,
    p99_us: f64,
    datagrams_out: f64,
    datagrams_in: f64,
    repeated: f64,
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let machine = Machine::new(context)?;
    let mut samples = Samples::new();
    for _ in 0..context.rounds {
        round(&machine, &mut samples)?;
        if context.wants("clients.udp_cost_1000") {
            let _engine = engine(&machine, "udp")?;
            let few = measure(&machine, "udp", FEW)?;
            let thousand = measure(&machine, "udp", THOUSAND)?;
            samples.entry("clients.udp_cost_1000").or_default().push(few.per_second / thousand.per_second);
        }
    }
    Ok(samples)
}

fn round(machine: &Machine, samples: &mut Samples) -> anyhow::Result<()> {
    let _engine = engine(machine, "xdp")?;
    let [few, hundred, thousand, ten_thousand, few_batched, hundred_batched] =
        [FEW, HUNDRED, THOUSAND, TEN_THOUSAND, FEW_BATCHED, HUNDRED_BATCHED]
            .map(|load| measure(machine, "xdp", load));
    let (few, hundred, thousand, ten_thousand) = (few?, hundred?, thousand?, ten_thousand?);
    let (few_batched, hundred_batched) = (few_batched?, hundred_batched?);
    let all = [&few, &hundred, &thousand, &ten_thousand, &few_batched, &hundred_batched];
    let repeated = all.iter().map(|reading| reading.repeated).fold(0.0, f64::max);
    let mut push = |name, value| samples.entry(name).or_default().push(value);
    push("clients.cost_1000", few.per_second / thousand.per_second);
    push("clients.cost_10000", few.per_second / ten_thousand.per_second);
    push("clients.cost_100_batched", few_batched.per_second / hundred_batched.per_second);
    push("clients.spread_1000", thousand.spread);
    push("clients.datagrams_out_per_order_1000", thousand.datagrams_out);
    push("clients.datagrams_in_per_order_1000", thousand.datagrams_in);
    push("clients.retransmitted_share", repeated);
    push("clients.orders_per_second_10", few.per_second);
    push("clients.orders_per_second_100", hundred.per_second);
    push("clients.orders_per_second_1000", thousand.per_second);
    push("clients.orders_per_second_10000", ten_thousand.per_second);
    push("clients.p99_1000_us", thousand.p99_us);
    push("clients.p99_10000_us", ten_thousand.p99_us);
    Ok(())
}

fn engine(machine: &Machine, port: &'static str) -> anyhow::Result<Engine> {
    let settings = Settings::on(&machine.pair.engine, port).with("network", "udp_offload = false");
    machine.engine_with(Settings { accounts: ACCOUNTS, ..settings })
}

fn measure(machine: &Machine, port: &'static str, load: Load) -> anyhow::Result<Reading> {
    let Load { clients, window } = load;
    let words = ["--clients", &clients.to_string(), "--window", &window.to_string()];
    let report = machine.load(port, SECONDS, &words).with_context(|| format!("{clients} x {window}"))?;
    read(&report)
}

fn read(report: &Value) -> anyhow::Result<Reading> {
    let per_second = number(report, &["orders_per_second"])?;
    // The port counts from the start of the warm-up on.
    let orders = (per_second * (f64::from(SECONDS) + WARM_UP_SECONDS)).max(1.0);
    let transport = |name| number(report, &["transport", name]);
    let slowest = number(report, &["per_client_range", "min"])?;
    Ok(Reading {
        per_second,
        spread: number(report, &["per_client_range", "max"])? / slowest.max(f64::MIN_POSITIVE),
        p99_us: number(report, &["latency_ns", "p99"])? / 1000.0,
        datagrams_out: transport("sent_datagrams")? / orders,
        datagrams_in: transport("received_datagrams")? / orders,
        repeated: transport("retransmitted_messages")? / orders,
    })
}
