#!/bin/busybox sh
# Process 1 of the zero-copy test's guest: brings two virtio-net devices up, runs the checks, powers off. Not for any other machine.
busybox=/bin/busybox
for applet in mount insmod ip cat sleep ls poweroff kill grep sed dmesg unshare nsenter mkdir; do
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

if [ $failed = 0 ]; then
    echo "ZEROCOPY PASSED"
else
    dmesg | $busybox tail -20
    echo "ZEROCOPY FAILED"
fi
poweroff -f
