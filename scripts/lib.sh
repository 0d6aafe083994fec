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

# The one server that a script has running, if any.
server=''
# `start_server LOG COMMAND...`: starts it, and waits until its log says that it is ready.
start_server() {
	local log=$1
	shift
	"$@" >"$log" 2>&1 &
	server=$!
	for _ in $(seq 400); do
		if grep -q ' ready' "$log"; then return 0; fi
		if ! kill -0 "$server" 2>/dev/null; then break; fi
		sleep 0.05
	done
	cat "$log" >&2
	die "did not start: $*"
}
stop_server() {
	if [ -n "$server" ]; then
		kill -TERM "$server" 2>/dev/null || say "the server had already ended"
		wait "$server" || say "the server ended with code $?"
		server=''
	fi
}

# `virtual_environment NAME PACKAGE==VERSION...`: makes target/NAME-venv with these PyPI packages unless it is there, and prints its path.
virtual_environment() {
	local environment=$root/target/$1-venv
	local stamp=$environment/.installed
	shift
	if [ "$(cat "$stamp" 2>/dev/null)" != "$*" ]; then
		say "installing into ${environment#"$root/"}: $*"
		python3 -m venv "$environment" >&2
		"$environment/bin/pip" install -q --disable-pip-version-check "$@" >&2 || return
		echo "$*" >"$stamp"
	fi
	echo "$environment"
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
