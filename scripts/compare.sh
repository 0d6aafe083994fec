#!/usr/bin/env bash
# `make compare BASE=COMMIT [ONLY=PART-OF-A-NAME]`: this version's engine and that commit's in turns, AF_XDP and kernel UDP; fails when this one is more than 2% worse.
# The other version is built in target/compare. Needs root.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

base=$(git rev-parse --verify --short=10 "${1:?the commit to compare with}^{commit}")
folder=$root/target/compare/$base
scripts/deps.sh build run
cargo build --release --locked -p pitlane -p pitlane-loadgen -p pitlane-tests --bins
if [ ! -x "$folder/target/release/pitlane" ]; then
	git worktree prune
	[ -e "$folder/.git" ] || git worktree add --detach "$folder" "$base"
	(cd "$folder" && CARGO_TARGET_DIR="$folder/target" cargo build --release --locked -p pitlane --bin pitlane)
fi
exec target/release/pitlane-compare "$folder/target/release" "${2:-}"
