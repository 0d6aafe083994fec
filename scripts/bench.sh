#!/usr/bin/env bash
# `make bench [ONLY=prefix]`: measures the figures that have a budget; writes target/bench/results.json and benchmarks.md.
# As root it measures everything; without root the figures that need two hosts are reported as not measured, and the run fails.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

scripts/deps.sh build run bench
cargo build --release --workspace --bins --examples --locked
exec target/release/pitlane-bench "${1:-}"
