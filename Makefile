# The commands of this repository. Each target is a script in scripts/ that can also be run by hand.

.DEFAULT_GOAL := help
.PHONY: help deps build test lint demo demo-xdp bench compare test-zerocopy sim attack kill

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 24

deps: ## install what building and testing need from Debian's packages (nothing when present)
	@scripts/deps.sh build test

build: ## release binaries: target/release/pitlane and target/release/pitlane-loadgen
	@scripts/deps.sh build
	cargo build --release --workspace --bins

test: ## everything CI runs: formatting, lints, licences, unit, property, end-to-end and client tests
	@scripts/test.sh

lint: ## formatting, clippy, shellcheck and cargo-deny only
	@scripts/test.sh lint

demo: ## engine on loopback, ten clients for ten seconds, the report (no root)
	@scripts/demo.sh

demo-xdp: ## the same over AF_XDP between two network namespaces, beside its limit and kernel UDP (root)
	@scripts/demo-xdp.sh

bench: ## measure everything that has a budget (root); ONLY=prefix for a part. Writes benchmarks.md
	@scripts/bench.sh $(ONLY)

compare: ## BASE=COMMIT: this engine and that commit's in turns (root, five minutes and a build); fails when this one is 2% worse
	@scripts/compare.sh $(BASE) $(if $(ONLY),"$(ONLY)")

test-zerocopy: ## the zero-copy path on virtio-net in an emulated machine (downloads a Debian kernel, once)
	@scripts/deps.sh build zerocopy
	cargo build --release --locked -p pitlane -p pitlane-loadgen -p pitlane-tests --bins --example zerocopy_echo
	tests/zerocopy/run.sh

sim: ## simulate 10,000 seeds of crashes, loss and bad disks, from a random one on (SEEDS=, STEPS=, SEED= change that; every processor works)
	cargo run --release --locked -p pitlane --bin pitlane -- sim $(if $(SEED),--seed $(SEED)) --seeds $(or $(SEEDS),10000) --steps $(or $(STEPS),1000)

attack: ## 10,000 spoofed logins a second for 20 s, and 1,000 clients that come back at once: how long logins take (no root, three minutes)
	cargo build --release --locked -p pitlane -p pitlane-tests --bins
	target/release/pitlane-attack

kill: ## kill the engine -9 under load, 200 times (KILLS=) in each mode, over UDP and, as root, AF_XDP
	cargo build --locked --workspace --bins
	PITLANE_TEST_KILLS=$(or $(KILLS),200) cargo test --locked -p pitlane-tests --test kill -- --nocapture --test-threads=4
