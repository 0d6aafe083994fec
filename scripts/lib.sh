# Shell helpers shared by the scripts of this folder: messages, and the repository's own paths. Sourced, never run.
# shellcheck shell=bash

set -euo pipefail
export LC_ALL=C.UTF-8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# `sbin` holds ip, nft and ethtool; a plain user's PATH leaves it out.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() {
	printf '\033[1;31m%s\033[0m\n' "$*" >&2
	exit 1
}

# Runs a command as root: directly when we are, by sudo when we are not.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		say "needs root, using sudo: $*"
		sudo "$@"
	else
		die "needs root and there is no sudo; run as root: $*"
	fi
}
