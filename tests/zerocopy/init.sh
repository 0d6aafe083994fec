#!/bin/busybox sh
# shellcheck shell=dash
# Process 1 of the zero-copy test's guest: brings two virtio-net devices up, runs the checks, powers off. Not for any other machine.
busybox=/bin/busybox
for applet in mount insmod ip cat sleep ls poweroff kill grep sed dmesg unshare nsenter mkdir seq wget; do
    $busybox ln -s busybox "/bin/$applet"
done
export PATH=/bin

mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
# Huge pages for the umems; without them they would be ordinary ones, which the other suites cover.
echo 64 >/proc/sys/vm/nr_hugepages
for module in failover net_failover virtio_net; do
    insmod "/modules/$module.ko"
done
sleep 1
failed=0
ip link set lo up
ip link set eth0 up
ip link set eth1 up
ip link set eth2 up
sleep 1

echo "== an interface without zero-copy: the ladder steps down"
zerocopy_echo eth2 || failed=1
# Nobody is on its hub: it would only complain about what it cannot send.
ip link set eth2 down

echo "== echo, both ends zero-copy"
zerocopy_echo eth0 eth1 "$(cat /etc/datagrams)" 2048 || failed=1

echo "== echo, both drivers short of frames: they have to be woken to receive"
zerocopy_echo eth0 eth1 "$(cat /etc/datagrams)" 64 || failed=1

# The generator on a host of its own: otherwise the kernel would find that both addresses are its own, and resolve neither.
if [ -x /bin/pitlane ] && [ -x /bin/pitlane-loadgen ]; then
    echo "== engine and generator, both ends zero-copy"
    unshare -n sleep 3600 &
    client=$!
    sleep 1
    ip link set eth1 netns "$client"
    ip addr add 10.77.0.1/24 dev eth0
    nsenter -t "$client" -n ip addr add 10.77.0.2/24 dev eth1
    nsenter -t "$client" -n ip link set eth1 up
    sleep 1
    # Fewer frames than the driver's ring holds: it runs dry, and has to be woken to receive.
    pitlane run --config /etc/demo.toml --set network.port=xdp --set network.zero_copy=require --set network.interface=eth0 \
        --set network.listen=10.77.0.1 --set network.ring_depth=128 --set engine.idle=yield --set journal.durability=memory \
        --set journal.directory=/tmp/journal >/tmp/engine.log 2>&1 &
    engine=$!
    for _ in $(seq 60); do
        if grep -q ' ready' /tmp/engine.log; then break; fi
        sleep 1
    done
    nsenter -t "$client" -n pitlane-loadgen run --target 10.77.0.1:26400 --port xdp --interface eth1 --idle yield \
        --password demo --first-user 0 --clients 2 --window 4 --warmup 1s --duration 15s --quiet --delivery-only >/tmp/generator.log 2>&1 || failed=1
    # The engine's own view: bound as zero-copy, fed by its program, woken by its driver's wish, and no ring entry refused.
    wget -qO /tmp/metrics http://127.0.0.1:26480/metrics || failed=1
    for wanted in '^pitlane_port_info[{].*port="xdp".*mode="native",copy="zero-copy"' \
        '^pitlane_xdp_verdicts_total[{]verdict="redirected"[}] [1-9]' \
        '^pitlane_xdp_rx_wakeups_total[{]shard="0"[}] ([2-9]|[1-9][0-9])' \
        '^pitlane_xdp_rx_invalid_descriptors_total[{]shard="0"[}] 0$' \
        '^pitlane_xdp_tx_invalid_descriptors_total[{]shard="0"[}] 0$'; do
        if ! grep -Eq "$wanted" /tmp/metrics; then
            echo "/metrics has no $wanted"
            failed=1
        fi
    done
    grep -E '^pitlane_(port_info|xdp_)' /tmp/metrics
    kill -TERM "$engine"
    wait "$engine" || failed=1
    cat /tmp/engine.log /tmp/generator.log
    # Both say how they were bound.
    for log in /tmp/engine.log /tmp/generator.log; do
        if ! grep -q 'native XDP, zero-copy' "$log"; then
            echo "$log does not say zero-copy"
            failed=1
        fi
    done
fi

if [ $failed = 0 ]; then
    echo "ZEROCOPY PASSED"
else
    dmesg | $busybox tail -20
    echo "ZEROCOPY FAILED"
fi
poweroff -f
