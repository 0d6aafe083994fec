#!/usr/bin/env bash
# Tests with software that we did not write: PyPI clients and parsers in a virtual environment under target/, tshark, the crates slouch
# and moldudp.
# `interop.sh` makes what is missing and runs all; the binaries must have been built (PITLANE_TEST_BINARIES, default target/debug).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

environment=$(virtual_environment interop nasdaq-protocols==1.3.0 itchfeed==1.6.4 meatpy==0.5.0)
# Their own workspace and lock file: what they depend on is no part of Pitlane's build.
export PITLANE_TEST_BINARIES=${PITLANE_TEST_BINARIES:-$root/target/debug}
export CARGO_TARGET_DIR=$root/target/interop-crates
cargo test --manifest-path tests/interop/crates/Cargo.toml --locked -q || code=$?
"$environment/bin/python" -W ignore -m unittest discover -s tests/interop -t tests/interop -p 'test_*.py' || code=$?
exit "${code:-0}"
