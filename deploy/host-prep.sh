#!/usr/bin/env bash
# Prepares one NIC of a host for the engine's AF_XDP shards, and puts everything back. Not for the engine itself: that needs
# no preparation to run, only to run at its best. Stages, in order; `host-prep.sh why` prints the reason for each.
#
#   host-prep.sh check --interface eth1 --port 9000 --shards 2     what is, beside what is wanted; exit code 1 if they differ
#   host-prep.sh apply --interface eth1 --port 9000 --shards 2     makes it so; the former values go to the state folder
#   host-prep.sh undo  --interface eth1                            restores every one of them
#
# Shard k gets queue k and UDP port PORT+k. Options: --cores 2,3 (one for each shard: where the queue's interrupt goes),
# --user pitlane (whose memlock limit is lifted), --state DIR (default /var/lib/pitlane/host-prep).
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# Overridden by the tests, which emulate hardware that a test machine does not have.
sys=${HOST_PREP_SYS:-/sys} proc=${HOST_PREP_PROC:-/proc} limits=${HOST_PREP_LIMITS:-/etc/security/limits.d}

stages="mtu offloads channels ntuple rss steering affinity napi memlock"

why() {
	case $1 in
	mtu) echo "one frame must fit a page beside the XDP headroom: the program takes no multi-buffer frames" ;;
	offloads) echo "GRO, LRO and UDP GRO forwarding merge datagrams of several orders before anyone can see their boundaries" ;;
	channels) echo "a queue for each shard, and at least one more for everything else on the interface" ;;
	ntuple) echo "steering rules need the NIC's ntuple filters, which are off by default and must be on before RSS is edited" ;;
	rss) echo "ordinary traffic must not be hashed onto a shard's queue, nor orders onto a queue without a shard" ;;
	steering) echo "orders of shard k (UDP port + k) go to queue k, whatever their source address" ;;
	affinity) echo "the interrupt of a shard's queue belongs on the shard's core, where its cache lines are" ;;
	napi) echo "busy polling on a zero-copy NIC needs its interrupts deferred; on other drivers this costs latency, so they are left alone" ;;
	memlock) echo "AF_XDP packet memory is locked; the limit of a login shell is far too low (the systemd unit sets its own)" ;;
	esac
}

# Drivers with AF_XDP zero-copy. On any other, deferring interrupts only delays packets (measured on veth: 4.7 -> 212 us).
zero_copy_drivers="ixgbe i40e mlx5_core ice stmmac igc gve virtio_net igb idpf"
max_mtu=3498

usage() {
	sed -n '2,12s/^# \{0,1\}//p' "$0"
	exit 2
}
note() { printf '%-10s %s\n' "$1" "$2"; }
die() {
	echo "host-prep: $*" >&2
	exit 2
}

command=${1:-}
[ $# -gt 0 ] && shift
interface='' port=9000 shards=1 cores='' user=pitlane state_root=/var/lib/pitlane/host-prep
while [ $# -gt 0 ]; do
	[ $# -ge 2 ] || usage
	case $1 in
	--interface) interface=$2 ;;
	--port) port=$2 ;;
	--shards) shards=$2 ;;
	--cores) cores=$2 ;;
	--user) user=$2 ;;
	--state) state_root=$2 ;;
	*) usage ;;
	esac
	shift 2
done

number() {
	if [[ $2 =~ ^[0-9]{1,5}$ ]] && [ "$2" -ge "$3" ] && [ "$2" -le "$4" ]; then return; fi
	die "$1 must be a number from $3 to $4, not '$2'"
}

# --- state: one file for each stage, written once, before the first change -----------------------------------------
save() { # STAGE, value on standard input; keeps what an earlier apply saved
	mkdir -p "$state"
	if [ -e "$state/$1" ]; then cat >/dev/null; else cat >"$state/$1.new" && mv "$state/$1.new" "$state/$1"; fi
}
saved() { [ -e "$state/$1" ]; }

# --- what the interface is -------------------------------------------------------------------------------------
driver() { basename "$(readlink "$sys/class/net/$interface/device/driver" 2>/dev/null || echo none)"; }
is_zero_copy() { [[ " $zero_copy_drivers " == *" $(driver) "* ]]; }
# channels FIELD(Combined|RX) current|maximum: the count, or nothing where the driver has none
channels() {
	ethtool -l "$interface" 2>/dev/null | awk -v want="$1:" -v part="$2" '
		/Pre-set maximums/ { where = "maximum" } /Current hardware/ { where = "current" }
		where == part && $1 == want && $2 ~ /^[0-9]+$/ { print $2; exit }' || true
}
channel_kind() { # NICs share receive and transmit channels, or (veth) count them apart
	local count
	count=$(channels Combined maximum)
	if [ -n "$count" ] && [ "$count" -gt 0 ]; then echo Combined; else echo RX; fi
}
# How many channels there should be: one to spare if the NIC has them.
channels_wanted() {
	local most
	most=$(channels "$(channel_kind)" maximum)
	[ -n "$most" ] || return 0
	if [ "$most" -gt "$shards" ]; then echo $((shards + 1)); else echo "$shards"; fi
}
channels_now() { channels "$(channel_kind)" current; }
feature() { ethtool -k "$interface" 2>/dev/null | awk -v f="$1:" '$1 == f { print $2, $3; exit }' | sed 's/ $//' || true; }
can_change() { local now; now=$(feature "$1"); [ -n "$now" ] && [[ $now != *fixed* ]]; }

# --- stages: check_X prints what differs and fails; apply_X; undo_X --------------------------------------------------
check_mtu() {
	local mtu
	mtu=$(cat "$sys/class/net/$interface/mtu")
	[ "$mtu" -le "$max_mtu" ] || { echo "MTU is $mtu, at most $max_mtu: set it with 'ip link set $interface mtu 1500'"; return 1; }
}
apply_mtu() { check_mtu; } # an MTU is a decision about the network, not ours to take
undo_mtu() { :; }

offloads="generic-receive-offload large-receive-offload rx-udp-gro-forwarding rx-gro-list"
check_offloads() {
	local name bad=0
	for name in $offloads; do
		if can_change "$name" && [ "$(feature "$name")" != off ]; then echo "$name is on"; bad=1; fi
	done
	return $bad
}
apply_offloads() {
	local name
	for name in $offloads; do
		if can_change "$name"; then echo "$name $(feature "$name")"; fi
	done | save offloads
	for name in $offloads; do
		if can_change "$name"; then ethtool -K "$interface" "$name" off; fi
	done
}
undo_offloads() {
	local name value
	while read -r name value; do ethtool -K "$interface" "$name" "$value"; done <"$state/offloads"
}

channel_option() { if [ "$(channel_kind)" = Combined ]; then echo combined; else echo rx; fi; }
check_channels() {
	local now wanted
	now=$(channels_now) wanted=$(channels_wanted)
	[ -n "$wanted" ] || { echo "the driver does not tell its channels; shards need queues 0 to $((shards - 1))"; return 2; }
	[ "$wanted" -ge "$shards" ] || { echo "at most $wanted channels, $shards shards need as many"; return 1; }
	# More than wanted is fine where the rest is kept away from the shards by RSS; without that, an exact count is.
	if has_rss; then [ "$now" -gt "$shards" ] || [ "$now" = "$wanted" ] || { echo "$now channels, wanted $wanted"; return 1; }
	else [ "$now" -ge "$shards" ] || { echo "$now channels, wanted $wanted"; return 1; }; fi
}
apply_channels() {
	local wanted
	check_channels >/dev/null && return 0
	wanted=$(channels_wanted)
	[ "${wanted:-0}" -ge "$shards" ] || { check_channels; return 1; }
	echo "$(channel_option) $(channels_now)" | save channels
	# A change of channels resets the table, or is refused while a hand-made one is there.
	if has_rss; then
		rss_table | save rss
		ethtool -X "$interface" default
	fi
	ethtool -L "$interface" "$(channel_option)" "$wanted"
}
undo_channels() {
	local kind count
	read -r kind count <"$state/channels"
	if saved rss; then ethtool -X "$interface" default; fi # undo_rss follows
	ethtool -L "$interface" "$kind" "$count"
}

check_ntuple() {
	can_change ntuple-filters || { echo "no ntuple filters on this driver ($(driver)): datagrams are spread by hash, and every shard needs its own port set"; return 2; }
	[ "$(feature ntuple-filters)" = on ] || { echo "ntuple filters are off"; return 1; }
}
apply_ntuple() {
	feature ntuple-filters | save ntuple
	ethtool -K "$interface" ntuple on
}
undo_ntuple() { ethtool -K "$interface" ntuple "$(cat "$state/ntuple")"; }

# The RSS indirection table as one line of queue numbers; nothing where there is none.
rss_table() { ethtool -x "$interface" 2>/dev/null | awk '/^ *[0-9]+:/ { for (i = 2; i <= NF; i++) printf "%s ", $i } END { print "" }' || true; }
has_rss() { [ -n "$(rss_table)" ]; }
check_rss() {
	local queue
	has_rss || { echo "no RSS table on this driver ($(driver))"; return 2; }
	[ "$(channels_now)" -gt "$shards" ] || { echo "no queue to spare: ordinary traffic shares the shards' queues"; return 2; }
	for queue in $(rss_table); do
		if [ "$queue" -lt "$shards" ]; then echo "ordinary traffic is hashed onto queue $queue, which is a shard's"; return 1; fi
	done
}
apply_rss() {
	rss_table | save rss
	ethtool -X "$interface" start "$shards" equal $(($(channels_now) - shards))
}
undo_rss() {
	local table first last count at expected
	read -r -a table <"$state/rss"
	first=${table[0]} last=$first
	for at in "${table[@]}"; do
		if [ "$at" -gt "$last" ]; then last=$at; fi
		if [ "$at" -lt "$first" ]; then first=$at; fi
	done
	count=$((last - first + 1))
	for at in "${!table[@]}"; do
		expected=$((first + at % count))
		if [ "${table[$at]}" != "$expected" ]; then
			echo "the former RSS table was hand-made and is not restorable by ethtool: set to the driver's default; it was: ${table[*]}"
			ethtool -X "$interface" default
			return 0
		fi
	done
	if [ "$first" = 0 ] && [ "$count" = "$(channels_now)" ]; then ethtool -X "$interface" default
	else ethtool -X "$interface" start "$first" equal "$count"; fi
}

# Rules in place as "family port queue id" lines.
rules() {
	ethtool -n "$interface" 2>/dev/null | awk '
		/^Filter:/ { id = $2; family = ""; port = "" }
		/Rule Type: UDP over IPv4/ { family = "udp4" } /Rule Type: UDP over IPv6/ { family = "udp6" }
		/Dest port:/ { port = $3 }
		/Action: Direct to queue/ { print family, port, $NF, id }' || true
}
check_steering() {
	local shard family bad=0
	can_change ntuple-filters || { echo "no ntuple filters on this driver ($(driver))"; return 2; }
	for ((shard = 0; shard < shards; shard++)); do
		for family in udp4 udp6; do
			if ! rules | grep -q "^$family $((port + shard)) $shard "; then echo "no rule: $family port $((port + shard)) to queue $shard"; bad=1; fi
		done
	done
	return $bad
}
apply_steering() {
	local shard family out
	mkdir -p "$state"
	for ((shard = 0; shard < shards; shard++)); do
		for family in udp4 udp6; do
			if rules | grep -q "^$family $((port + shard)) $shard "; then continue; fi
			out=$(ethtool -N "$interface" flow-type "$family" dst-port $((port + shard)) action "$shard")
			# Remembered one by one: an apply that fails half-way can be undone.
			sed -n 's/^Added rule with ID \([0-9]*\).*/\1/p' <<<"$out" >>"$state/steering"
		done
	done
}
undo_steering() {
	local id
	while read -r id; do ethtool -N "$interface" delete "$id"; done <"$state/steering"
}

# The interrupt of queue N: drivers name theirs "...-N" ("ice-eth1-TxRx-0", "mlx5_comp0@...", "virtio0-input.0").
interrupt_of() {
	local irq
	while read -r irq; do
		if [ -e "$sys/class/net/$interface/device/msi_irqs/$irq" ]; then
			echo "$irq"
			return 0
		fi
	done < <(awk -v name="([-.]|comp|input\\\\.|rx-?)$1(@.*)?\$" '$NF ~ name { sub(":", "", $1); print $1 }' "$proc/interrupts")
}
core_of() { # the core that --cores gives to a shard
	local list
	IFS=, read -r -a list <<<"$cores"
	echo "${list[$1]:-}"
}
check_affinity() {
	local shard irq bad=0
	[ -n "$cores" ] || { echo "no --cores given: interrupts stay where they are"; return 2; }
	[ -n "$(interrupt_of 0)" ] || { echo "no per-queue interrupts on this driver ($(driver))"; return 2; }
	for ((shard = 0; shard < shards; shard++)); do
		irq=$(interrupt_of "$shard")
		[ "$(cat "$proc/irq/$irq/smp_affinity_list")" = "$(core_of "$shard")" ] || { echo "interrupt $irq of queue $shard is not on core $(core_of "$shard")"; bad=1; }
	done
	if [ -z "${HOST_PREP_PROC:-}" ] && command -v systemctl >/dev/null && systemctl -q is-active irqbalance 2>/dev/null; then
		echo "irqbalance is running and will move them: ban these interrupts in its configuration"
		bad=1
	fi
	return $bad
}
apply_affinity() {
	local shard irq
	mkdir -p "$state"
	for ((shard = 0; shard < shards; shard++)); do
		irq=$(interrupt_of "$shard")
		if ! grep -qs "^$irq " "$state/affinity"; then echo "$irq $(cat "$proc/irq/$irq/smp_affinity_list")" >>"$state/affinity"; fi
		core_of "$shard" >"$proc/irq/$irq/smp_affinity_list"
	done
}
undo_affinity() {
	local irq list
	while read -r irq list; do echo "$list" >"$proc/irq/$irq/smp_affinity_list"; done <"$state/affinity"
}

napi_settings="napi_defer_hard_irqs=2 gro_flush_timeout=200000"
check_napi() {
	local pair bad=0
	is_zero_copy || { echo "not a zero-copy driver ($(driver)): left alone"; return 2; }
	for pair in $napi_settings; do
		[ "$(cat "$sys/class/net/$interface/${pair%=*}")" = "${pair#*=}" ] || { echo "${pair%=*} is $(cat "$sys/class/net/$interface/${pair%=*}"), wanted ${pair#*=}"; bad=1; }
	done
	return $bad
}
apply_napi() {
	local pair
	for pair in $napi_settings; do echo "${pair%=*} $(cat "$sys/class/net/$interface/${pair%=*}")"; done | save napi
	for pair in $napi_settings; do echo "${pair#*=}" >"$sys/class/net/$interface/${pair%=*}"; done
}
undo_napi() {
	local name value
	while read -r name value; do echo "$value" >"$sys/class/net/$interface/$name"; done <"$state/napi"
}

memlock_file() { echo "$limits/90-pitlane-$interface.conf"; }
check_memlock() {
	grep -qs "^$user - memlock unlimited$" "$(memlock_file)" || { echo "no memlock limit set for user $user"; return 1; }
}
apply_memlock() {
	memlock_file | save memlock
	mkdir -p "$limits"
	printf '# Written by host-prep.sh for %s; undo removes it.\n%s - memlock unlimited\n' "$interface" "$user" >"$(memlock_file)"
}
undo_memlock() { rm -f "$(cat "$state/memlock")"; }

# --- commands ------------------------------------------------------------------------------------------------------
run_check() {
	local stage out code differ=0
	for stage in $stages; do
		code=0
		out=$("check_$stage") || code=$?
		case $code in
		0) note ok "$stage" ;;
		2) note skipped "$stage: $out" ;;
		*)
			differ=1
			while read -r line; do note differs "$stage: $line"; done <<<"$out"
			;;
		esac
	done
	return $differ
}
run_apply() {
	local stage code out
	for stage in $stages; do
		code=0
		out=$("check_$stage") || code=$?
		case $code in
		0) note ok "$stage" ;;
		2) note skipped "$stage: $out" ;;
		*)
			note apply "$stage: $(why "$stage")"
			"apply_$stage"
			;;
		esac
	done
}
run_undo() {
	local stage backwards=''
	[ -d "$state" ] || { note nothing "$interface was not prepared by this script"; return 0; }
	for stage in $stages; do backwards="$stage $backwards"; done
	# The RSS table depends on the channel count, so it is restored after it.
	backwards=${backwards/rss ntuple channels/ntuple channels rss}
	for stage in $backwards; do
		if saved "$stage"; then
			note undo "$stage"
			"undo_$stage"
			rm "$state/$stage"
		fi
	done
	rmdir "$state"
}

case $command in
why)
	for stage in $stages; do
		note "$stage" "$(why "$stage")"
	done
	exit 0
	;;
check | apply | undo) ;;
*) usage ;;
esac
[[ $interface =~ ^[A-Za-z0-9._-]{1,15}$ ]] || die "--interface is required"
[ -d "$sys/class/net/$interface" ] || die "no interface '$interface' in this network namespace"
command -v ethtool >/dev/null || die "ethtool is missing (Debian package ethtool)"
number --port "$port" 1 65535
number --shards "$shards" 1 64
[ -z "$cores" ] || [ "$(tr -cd , <<<"$cores" | wc -c)" -eq $((shards - 1)) ] || die "--cores needs one core for each of the $shards shards"
state=$state_root/$interface
"run_$command"
