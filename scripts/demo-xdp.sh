#!/usr/bin/env bash
# `make demo-xdp` (root): engine and generator in two network namespaces on a veth pair, both on AF_XDP, beside the limit of that path
# (an echo) and the same over kernel UDP. Leaves target/demo-xdp/*.json; removes hosts, links and processes, also on Ctrl-C.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || die "AF_XDP and network namespaces need root: sudo -E make demo-xdp"
clients=${CLIENTS:-10} seconds=${SECONDS_OF_LOAD:-5}
out=$root/target/demo-xdp
ns_engine=pl-$$-engine ns_client=pl-$$-client

scripts/deps.sh build run
say "building (the first time takes minutes)"
cargo build --release --locked -p pitlane -p pitlane-loadgen
mkdir -p "$out"

clean() {
	stop_server
	local namespace
	for namespace in "$ns_engine" "$ns_client"; do
		if [ -e "/run/netns/$namespace" ]; then ip netns del "$namespace"; fi
	done
}
trap clean EXIT
trap 'exit 130' INT TERM

ip netns add "$ns_engine"
ip netns add "$ns_client"
ip link add veth-e netns "$ns_engine" type veth peer name veth-c netns "$ns_client"
ip -n "$ns_engine" addr add 10.77.0.1/24 dev veth-e
ip -n "$ns_client" addr add 10.77.0.2/24 dev veth-c
for end in "$ns_engine lo" "$ns_engine veth-e" "$ns_client lo" "$ns_client veth-c"; do
	read -r namespace link <<<"$end"
	ip -n "$namespace" link set "$link" up
done

# serve NAME COMMAND...: starts a server on the engine's host and core.
serve() {
	local name=$1
	shift
	start_server "$out/$name.log" ip netns exec "$ns_engine" taskset -c 0 "$@"
}
# What is shown here is the median beside its limit: pauses of a busy machine that reach no further make nothing invalid.
generate() {
	ip netns exec "$ns_client" taskset -c 1 target/release/pitlane-loadgen "$@" --quote 50
}

engine_settings=(--set network.listen=10.77.0.1 --set network.interface=veth-e --set engine.idle=spin --set 'engine.cores=[0]'
	--set network.udp_offload=false --set journal.durability=memory --set "journal.directory=$out/journal")
for port in xdp udp; do
	options=(--port "$port") echo_options=(--port "$port" --listen 10.77.0.1:26900)
	if [ "$port" = xdp ]; then
		options+=(--interface veth-c) echo_options+=(--interface veth-e)
	else
		# With GSO and GRO one sender's datagrams cross a veth pair joined, which no wire does.
		options+=(--no-udp-offload) echo_options+=(--no-udp-offload)
	fi

	say "$port: the limit of this path, an echo of datagrams: one in flight, then 256"
	serve "echo-$port" target/release/pitlane echo "${echo_options[@]}"
	for window in 1 256; do
		generate echo --target 10.77.0.1:26900 "${options[@]}" --window "$window" --duration "${seconds}s" --quiet \
			--json "$out/echo-$port-$window.json"
	done
	stop_server

	say "$port: the engine, one order in flight, then $clients clients with 32 each"
	serve "engine-$port" target/release/pitlane run --config deploy/demo.toml --set "network.port=$port" "${engine_settings[@]}"
	generate run --target 10.77.0.1:26400 "${options[@]}" --password demo --first-user 0 --clients 1 --window 1 --duration "${seconds}s" \
		--quiet --label "$port, one in flight" --json "$out/$port-one.json" >"$out/$port-one.txt"
	generate run --target 10.77.0.1:26400 "${options[@]}" --password demo --first-user 0 --clients "$clients" --window 32 --duration "${seconds}s" \
		--label "$port, $clients clients" --json "$out/report-$port.json"
	stop_server
done

say "AF_XDP beside kernel UDP, on the same veth pair"
target/release/pitlane-loadgen report "$out"/xdp-one.json "$out"/udp-one.json "$out"/report-xdp.json "$out"/report-udp.json
python3 - "$out" <<'PYTHON'
import json, pathlib, sys

out = pathlib.Path(sys.argv[1])
read = lambda name: json.loads((out / f"{name}.json").read_text())
print(f"{'':24}{'AF_XDP':>14}{'kernel UDP':>14}")
for title, name, value, digits in (
    ("echo p50, us", "echo-{}-1", lambda r: r["latency_ns"]["median"] / 1000, 1),
    ("order p50, us", "{}-one", lambda r: r["latency_ns"]["median"] / 1000, 1),
    ("echoes/s, one each", "echo-{}-256", lambda r: r["round_trips_per_second"], 0),
    ("orders/s, many each", "report-{}", lambda r: r["orders_per_second"], 0),
):
    xdp, udp = (value(read(name.format(port))) for port in ("xdp", "udp"))
    print(f"{title:24}{xdp:>14,.{digits}f}{udp:>14,.{digits}f}")
print("one each, many each: to a datagram. Kernel UDP takes each datagram by itself (no GSO or GRO)")
PYTHON
say "reports: target/demo-xdp/"
