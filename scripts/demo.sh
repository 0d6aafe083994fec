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
engine=''
stop() {
	if [ -n "$engine" ]; then
		kill -TERM "$engine" 2>/dev/null || say "the engine had already ended"
		wait "$engine" || say "the engine ended with code $?"
		engine=''
	fi
}
trap stop EXIT
trap 'exit 130' INT TERM

say "starting: pitlane run --config deploy/demo.toml (log in target/demo/engine.log)"
target/release/pitlane run --config deploy/demo.toml >"$out/engine.log" 2>&1 &
engine=$!
for _ in $(seq 400); do
	if ! kill -0 "$engine" 2>/dev/null; then
		cat "$out/engine.log" >&2
		engine=''
		die "the engine did not start"
	fi
	if grep -q ' ready' "$out/engine.log"; then break; fi
	sleep 0.05
done

say "running $clients clients for $seconds seconds, each with $window orders in flight"
target/release/pitlane-loadgen run --target 127.0.0.1:26400 --password demo --first-user 0 --clients "$clients" --window "$window" \
	--duration "${seconds}s" --label demo --json "$out/report.json"
stop
say "report: target/demo/report.json; engine log: target/demo/engine.log"
