#!/usr/bin/env bash
# Every check of the repository, one after the other, each reported; `test.sh lint` runs only those that start no test.
# Goes on after a failure, so that one run shows everything that is wrong. Long sweeps are `make sim`, `make kill`, `make bench`.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

only=${1:-all}
logs=$root/target/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log
# A test that cannot run here says so by a line in this file (and passes).
export PITLANE_TEST_SKIP_LOG=$logs/skipped.txt
: >"$PITLANE_TEST_SKIP_LOG"

passed=0 failed=0 skipped=0
failures=()

skip() {
	echo "$1: $2" >>"$PITLANE_TEST_SKIP_LOG"
}

# step NAME COUNTER COMMAND...: runs a check; COUNTER reads its log and prints "passed failed skipped".
step() {
	local name=$1 counter=$2 began=$SECONDS code=0 counts p f s
	shift 2
	say "== $name: $*"
	"$@" 2>&1 | tee "$logs/${name//[^a-z0-9]/-}.log" || code=$?
	counts=$("$counter" "$logs/${name//[^a-z0-9]/-}.log" "$code")
	read -r p f s <<<"$counts"
	# A runner that died without counting a failure has failed all the same.
	if [ "$code" != 0 ] && [ "$f" = 0 ]; then f=1; fi
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	[ "$f" = 0 ] || failures+=("$name (exit code $code, log in target/test-logs)")
	say "== $name: $p passed, $f failed, $s skipped, $((SECONDS - began)) s"
}

count_one() {
	if [ "$2" = 0 ]; then echo 1 0 0; else echo 0 1 0; fi
}
count_nextest() {
	sed -E 's/\x1b\[[0-9;]*m//g' "$1" | awk '
		/^ *Summary \[/ { for (i = 1; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^(failed|timed)/) f += $(i-1); if ($i ~ /^skipped/) s += $(i-1) } }
		END { print p + 0, f + 0, s + 0 }'
}
count_cargo() {
	awk '/^test result:/ { p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$1"
}
count_unittest() {
	awk '
		/^Ran [0-9]+ test/ { n += $2 }
		/^(OK|FAILED)/ { if (match($0, /failures=[0-9]+/)) f += substr($0, RSTART + 9, RLENGTH - 9)
			if (match($0, /errors=[0-9]+/)) f += substr($0, RSTART + 7, RLENGTH - 7)
			if (match($0, /skipped=[0-9]+/)) s += substr($0, RSTART + 8, RLENGTH - 8) }
		END { print n - f - s, f + 0, s + 0 }' "$1"
}

# Cargo's tests and Python's in one log.
count_interop() {
	local cargo python
	read -ra cargo <<<"$(count_cargo "$1")"
	read -ra python <<<"$(count_unittest "$1")"
	echo $((cargo[0] + python[0])) $((cargo[1] + python[1])) $((cargo[2] + python[2]))
}

scripts/deps.sh build test

mapfile -t shell_files < <(git ls-files -z | xargs -0 -r grep -lE '^#!/usr/bin/env bash|^#!/bin/sh|^# shellcheck shell=bash' -- 2>/dev/null | grep -vE '\.(md|rs)$')
step "rustfmt" count_one cargo fmt --all --check
step "shellcheck" count_one shellcheck -x -P SCRIPTDIR "${shell_files[@]}"
step "tidy" count_one scripts/tidy.py
step "cargo-deny" count_one scripts/cargo-deny.sh
skip "cargo-deny" "the advisory database is not in a package registry; 'cargo deny check advisories' was not run"
step "clippy" count_one cargo clippy --workspace --all-targets --locked -q -- -D warnings

if [ "$only" = all ]; then
	# The end-to-end suites run these binaries; building them in the tests' own profile shares every dependency.
	step "build" count_one cargo build --workspace --bins --examples --locked -q
	if cargo nextest --version >/dev/null 2>&1; then
		step "rust tests" count_nextest cargo nextest run --workspace --locked --no-tests=warn --cargo-quiet
		step "doc tests" count_cargo cargo test --workspace --doc --locked -q
	else
		step "rust tests" count_cargo cargo test --workspace --locked --no-fail-fast -- --test-threads=2
	fi
	step "python client" count_unittest python3 -m unittest discover -s clients/python -t clients/python -p 'test_*.py'
	step "page in a browser" count_unittest python3 tests/page/test_page.py
	step "deploy" count_unittest scripts/deploy-tests.sh
	step "standard clients" count_interop scripts/interop.sh
	if [ "$(id -u)" != 0 ]; then
		skip "network namespaces" "not root: the AF_XDP, veth and host-preparation suites did not run; run 'sudo -E make test' for them"
	fi
fi

if [ -s "$PITLANE_TEST_SKIP_LOG" ]; then
	say "SKIPPED, and why:"
	sort "$PITLANE_TEST_SKIP_LOG" | uniq -c | sed 's/^ *1 /  /; s/^ */  /' >&2
	skipped=$((skipped + $(wc -l <"$PITLANE_TEST_SKIP_LOG")))
fi
if [ ${#failures[@]} -gt 0 ]; then
	say "FAILED:"
	printf '  %s\n' "${failures[@]}" >&2
fi
say "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
