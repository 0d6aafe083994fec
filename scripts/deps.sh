#!/usr/bin/env bash
# Installs the Debian packages that Pitlane needs: `deps.sh build`, `deps.sh run`, `deps.sh test`, `deps.sh bench`, `deps.sh zerocopy`, or several.
# Does nothing when all are there. Rust itself is not installed: that is rustup's job.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# what proves it is there (a command, or lib: for a development package) = the Debian package
build_needs="cc=gcc make=make clang=clang m4=m4 pkg-config=pkg-config lib:libelf-dev lib:zlib1g-dev lib:libc6-dev"
run_needs="ip=iproute2 nft=nftables ethtool=ethtool taskset=util-linux python3=python3"
bench_needs="valgrind=valgrind"
zerocopy_needs="qemu-system-x86_64=qemu-system-x86 busybox=busybox-static cpio=cpio xz=xz-utils file=file"
test_needs="$run_needs shellcheck=shellcheck lib:python3-yaml pip3=python3-pip tshark=tshark lib:python3-venv lib:nats-server chromium=chromium chromedriver=chromium-driver"

missing() {
	local need
	for need in "$@"; do
		case $need in
		lib:*) dpkg-query -W -f='${db:Status-Abbrev}' "${need#lib:}" 2>/dev/null | grep -q '^ii' || echo "${need#lib:}" ;;
		*) command -v "${need%%=*}" >/dev/null || echo "${need#*=}" ;;
		esac
	done
}

command -v cargo >/dev/null || die "cargo is not on the PATH: install Rust 1.95 or newer with rustup (https://rustup.rs)"

wanted=()
for group in "${@:-build}"; do
	case $group in
	build) needs=$build_needs ;;
	run) needs=$run_needs ;;
	test) needs=$test_needs ;;
	bench) needs=$bench_needs ;;
	zerocopy) needs=$zerocopy_needs ;;
	*) die "deps.sh: unknown group '$group' (build, run, test, bench, zerocopy)" ;;
	esac
	if ! command -v dpkg-query >/dev/null; then
		say "not a Debian system: this script cannot tell whether these are installed: $needs"
		exit 0
	fi
	# shellcheck disable=SC2086 # a list of words
	mapfile -t more < <(missing $needs)
	wanted+=("${more[@]}")
done
[ ${#wanted[@]} -eq 0 ] && exit 0

say "installing: ${wanted[*]}"
as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends "${wanted[@]}"
