//! What an order costs between the streams, in instructions: they repeat exactly, so that a change of one in a hundred is seen on any machine.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use crate::bench::results::Budget::AtMost;
use crate::bench::{Context, Figure, Samples, Suite};
use crate::engine::Folder;

const FIGURES: &[Figure] = &[
    Figure {
        name: "shard.instructions_per_order",
        unit: "instructions",
        budget: Some(AtMost(640.0)),
        about: "decoding, limits, book and encoding of a message: half enters (one in ten takes another order), 30% cancels, 20% replacements",
    },
    Figure {
        name: "shard.instructions_per_order.enter",
        unit: "instructions",
        budget: None,
        about: "of an order that rests",
    },
    Figure {
        name: "shard.instructions_per_order.cancel",
        unit: "instructions",
        budget: None,
        about: "of a cancel",
    },
    Figure {
        name: "shard.instructions_per_order.replace",
        unit: "instructions",
        budget: None,
        about: "of a replacement",
    },
    Figure {
        name: "shard.instructions_per_order.trade",
        unit: "instructions",
        budget: None,
        about: "of an order that takes another",
    },
    Figure {
        name: "core.instructions_per_order",
        unit: "instructions",
        budget: None,
        about: "the mix with the sessions' streams behind it",
    },
    Figure {
        name: "core.instructions_per_order.enter",
        unit: "instructions",
        budget: None,
        about: "of an order that rests",
    },
    Figure {
        name: "core.instructions_per_order.cancel",
        unit: "instructions",
        budget: None,
        about: "of a cancel",
    },
    Figure {
        name: "core.instructions_per_order.replace",
        unit: "instructions",
        budget: None,
        about: "of a replacement",
    },
    Figure {
        name: "core.instructions_per_order.trade",
        unit: "instructions",
        budget: None,
        about: "of an order that takes another",
    },
];

pub fn suite() -> Suite {
    Suite {
        title: "Shard alone",
        method: "`cargo run --release -p pitlane --example shard-bench`: callgrind counts, one message in each input, 30,000 resting orders of ten sessions.",
        figures: FIGURES,
        run,
    }
}

fn run(context: &Context<'_>) -> anyhow::Result<Samples> {
    let folder = Folder::new("shard-bench")?;
    let path = folder.path.join("shard.json");
    let mut command = Command::new("cargo");
    command
        .current_dir(context.repository)
        .args(["run", "-q", "--release", "-p", "pitlane", "--example", "shard-bench", "--", "--json"])
        .arg(&path)
        .stdin(Stdio::null())
        // What it prints is progress; the report is the result.
        .stdout(Stdio::from(std::io::stderr()));
    let status = command.status()?;
    anyhow::ensure!(status.success(), "{command:?} ended with {status}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
    FIGURES
        .iter()
        .map(|figure| {
            let (through, rest) = figure.name.split_once('.').context("a name with its layer")?;
            let kind = rest.split_once('.').map_or("mix", |(_, kind)| kind);
            let key = format!("{through}.{kind}");
            let value = report[&key].as_f64().with_context(|| format!("shard-bench reports no {key}"))?;
            Ok((figure.name, vec![value]))
        })
        .collect()
}
