#!/bin/sh
# AF_XDP zero-copy without the hardware: boots a Debian kernel in QEMU with two virtio-net devices on one hub and runs
# both ends of the echo, then engine and generator, inside. Correctness only: two busy threads share one emulation thread, so times mean
# nothing. Downloads (about 125 MB, once) go to target/zerocopy; nothing is installed.
#
# Needs qemu-system-x86_64, busybox (static), cpio, xz, apt and a Rust build. Exit 0: every check passed.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$root/target/zerocopy
profile=${PITLANE_PROFILE:-release}
binaries=${CARGO_TARGET_DIR:-$root/target}/$profile
datagrams=${PITLANE_ZEROCOPY_DATAGRAMS:-20000}
# Longest the guest may take: it boots in about 20 s under emulation.
boot_timeout=${PITLANE_ZEROCOPY_TIMEOUT:-420}

for tool in qemu-system-x86_64 busybox cpio xz apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || {
        echo "test-zerocopy needs $tool (Debian: apt install qemu-system-x86 busybox-static cpio xz-utils)" >&2
        exit 2
    }
done
busybox=$(command -v busybox)
case $(file -L "$busybox" 2>/dev/null || ldd "$busybox" 2>&1) in
*"statically linked"* | *"not a dynamic"*) ;;
*) echo "busybox has to be the static one (Debian: busybox-static)" >&2 && exit 2 ;;
esac

# A kernel of Debian sid, by an apt of our own: its lists, cache and sources are in $work, the system's stay as they are.
apt() {
    command=$1
    shift
    "apt-$command" -qq -o Dir::State::lists="$work/apt/lists" -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$work/apt/sources" -o Dir::Cache="$work/apt/cache" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=root "$@"
}
if ! [ -e "$work/kernel/ready" ]; then
    rm -rf "$work/kernel" "$work/packages"
    mkdir -p "$work/kernel" "$work/packages" "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/apt/sources"
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    # shellcheck disable=SC2016 # apt expands it
    mirror=${PITLANE_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Label: Debian" | head -1)}
    echo "deb [signed-by=$keyring] $mirror sid main" >"$work/apt/sources/sid.list"
    apt get update
    binary=$(apt cache search --names-only '^linux-binary-[0-9].*-amd64$' | grep -Ev 'cloud|-rt-' | cut -d' ' -f1 | sort -V | tail -1)
    modules=linux-modules-${binary#linux-binary-}
    echo "kernel: $binary"
    (cd "$work/packages" && apt get download "$binary" "$modules")
    for package in "$work"/packages/*.deb; do
        dpkg-deb -x "$package" "$work/kernel"
    done
    touch "$work/kernel/ready"
fi
vmlinuz=$(find "$work/kernel" -name 'vmlinuz*' | head -1)

# The initramfs: busybox, the three modules of virtio-net, our binaries with the libraries they ask for.
tree=$work/initramfs
rm -rf "$tree"
mkdir -p "$tree/bin" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/tmp" "$tree/modules" "$tree/etc"
cp "$busybox" "$tree/bin/busybox"
for module in failover net_failover virtio_net; do
    found=$(find "$work/kernel" -name "$module.ko*" | head -1)
    case $found in
    *.xz) xz -dc "$found" >"$tree/modules/$module.ko" ;;
    *.ko) cp "$found" "$tree/modules/$module.ko" ;;
    *) echo "the kernel package has no module $module" >&2 && exit 2 ;;
    esac
done
install_binary() {
    echo "guest: $1"
    cp "$1" "$tree/bin/"
    ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$tree$(dirname "$library")"
        cp -L "$library" "$tree$library"
    done
}
install_binary "$binaries/examples/zerocopy_echo"
for name in pitlane pitlane-loadgen; do
    if [ -x "$binaries/$name" ]; then
        install_binary "$binaries/$name"
    fi
done
cp "$root/tests/zerocopy/init.sh" "$tree/init"
# The demo's password at the least cost that Argon2 allows: emulation is slow enough.
# shellcheck disable=SC2016 # the dollars belong to the hash
cheap='$argon2id$v=19$m=8,t=1,p=1$WV32HnkeHd51Hyunu9rwgA$/i2OsYvymuUmDzLaHHfKceWR/3MB1UsjH7fq9m8x7oQ'
sed "s|^password_hash = .*|password_hash = \"$cheap\"|" "$root/deploy/demo.toml" >"$tree/etc/demo.toml"
chmod +x "$tree/init"
echo "$datagrams" >"$tree/etc/datagrams"
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"

# One emulation thread: with several this kernel dies at boot while it patches its own code. Without iommu_platform the driver
# does not use the DMA interface, and a zero-copy bind gives EINVAL, which is what the third device is for; the offloads
# would merge what arrives.
device() { # number, hub, further properties
    echo "-netdev hubport,id=h$1,hubid=$2 -device virtio-net-pci,netdev=h$1,mac=52:54:00:00:00:0$1,disable-legacy=on$3,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,romfile="
}
log=$work/console.log
# shellcheck disable=SC2046 # the devices are words of their own
timeout "$boot_timeout" qemu-system-x86_64 -M q35 -accel tcg,thread=single -cpu max -smp 2 -m 2048 -nographic -no-reboot \
    -kernel "$vmlinuz" -initrd "$work/initramfs.gz" -append "console=ttyS0 quiet panic=-1" \
    $(device 0 0 ,iommu_platform=on) $(device 1 0 ,iommu_platform=on) $(device 2 1 '') </dev/null | tr -d '\r' | tee "$log" || true

grep -q '^ZEROCOPY PASSED$' "$log" || {
    echo "test-zerocopy failed: see $log" >&2
    exit 1
}
