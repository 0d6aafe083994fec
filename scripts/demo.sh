#!/usr/bin/env bash
# `make demo`: builds, starts the engine on loopback (deploy/demo.toml), runs ten clients for ten seconds, prints the report and
# leaves it in target/demo/report.json. No root. The engine is stopped by its process id, also on Ctrl-C.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

clients=${CLIENTS:-10} seconds=${SECONDS_OF_LOAD:-10} window=${WINDOW:-256}
out=$root/target/demo

scripts/deps.sh build
say "building (the first time takes minutes)"
cargo build --release --locked -p pitlane -p pitlane-loadgen

rm -rf "$out/journal"
mkdir -p "$out/journal"
trap stop_server EXIT
trap 'exit 130' INT TERM

say "starting: pitlane run --config deploy/demo.toml (log in target/demo/engine.log)"
start_server "$out/engine.log" target/release/pitlane run --config deploy/demo.toml

say "running $clients clients for $seconds seconds, each with $window orders in flight"
# Engine and generator share a laptop's cores here: pauses that do not reach the median make nothing invalid.
target/release/pitlane-loadgen run --quote 50 --target 127.0.0.1:26400 --password demo --first-user 0 --clients "$clients" --window "$window" \
	--duration "${seconds}s" --label demo --json "$out/report.json"
stop_server
say "report: target/demo/report.json; engine log: target/demo/engine.log"
