//! What market data costs the order path: the same orders with the feed off and on, in turn. Not the feed's own speed.

use crate::bench::machine::{Machine, number};
use crate::bench::results::Budget::AtMost;
use crate::bench::{Context, Figure, Samples, Suite};
use crate::engine::Settings;

const SECONDS: u32 = 3;
/// A group of the administratively scoped block: nobody else listens.
const GROUP: &str = "239.77.1.1:26600";

const FIGURES: &[Figure] = &[
    Figure {
        name: "feed.rtt_p50_cost",
        unit: "ratio",
        budget: Some(AtMost(1.1)),
        about: "order to Accepted over AF_XDP, one in flight: median with the feed multicast over the median without",
    },
    Figure {
        name: "feed.rtt_p50_cost_followed",
        unit: "ratio",
        budget: None,
        about: "the same with the feed thread (retransmission, snapshots) on the engine's core as well",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Market data beside the order path",
        method: "`pitlane run` on core 0 and `pitlane-loadgen` on core 1, in two network namespaces joined by a veth pair; AF_XDP in copy mode, no \
                 journal, one client with one order in flight. The variants take turns in each round.",
        figures: FIGURES,
        run,
    }
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let machine = Machine::new(context)?;
    let mut samples = Samples::new();
    let median = |settings: Settings| -> anyhow::Result<f64> {
        let _engine = machine.engine_with(settings)?;
        number(
            &machine.load("xdp", SECONDS, &["--clients", "1", "--window", "1"])?,
            &["latency_ns", "median"],
        )
    };
    for _ in 0..context.rounds {
        let without = || Settings::on(&machine.pair.engine, "xdp");
        let with = || without().with("feed", format!("receivers = [{GROUP:?}]"));
        let base = median(without())?;
        samples.entry("feed.rtt_p50_cost").or_default().push(median(with())? / base);
        if context.wants("feed.rtt_p50_cost_followed") {
            let followed = with().with("feed", "retransmit_listen = \"127.0.0.1:26620\"");
            samples.entry("feed.rtt_p50_cost_followed").or_default().push(median(followed)? / base);
        }
    }
    Ok(samples)
}
