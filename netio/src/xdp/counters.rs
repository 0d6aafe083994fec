//! What an AF_XDP socket counts and other ports do not, and what metrics call it. Not the XDP program's verdicts.

use crate::port::{DeviceCounter, DeviceCounters};

/// In the order of [`XdpCounters::device`].
pub const COUNTERS: [DeviceCounter; 9] = [
    DeviceCounter {
        name: "xdp_rx_wakeups",
        help: "System calls that the driver asked for to go on receiving",
    },
    DeviceCounter {
        name: "xdp_rx_dropped",
        help: "Packets for which the kernel found no frame, or none long enough",
    },
    DeviceCounter { name: "xdp_rx_ring_full", help: "Packets dropped because the receive ring was full" },
    DeviceCounter { name: "xdp_fill_ring_empty", help: "Times the kernel found no frame in the fill ring" },
    DeviceCounter { name: "xdp_rx_invalid_descriptors", help: "Fill ring entries that the kernel refused" },
    DeviceCounter {
        name: "xdp_tx_invalid_descriptors",
        help: "Transmit ring entries that the kernel refused",
    },
    DeviceCounter { name: "xdp_tx_ring_empty", help: "Times the kernel found nothing to send" },
    DeviceCounter {
        name: "xdp_checksum_partial",
        help: "Datagrams whose sender left the checksum to hardware that is not there",
    },
    DeviceCounter { name: "xdp_checksum_absent", help: "Datagrams without a checksum" },
];

/// The kernel's own are those of XDP_STATISTICS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XdpCounters {
    /// Datagrams of a kernel on the same host whose checksum was never finished (veth, virtual machines).
    pub checksum_partial: u64,
    /// Datagrams without a checksum (IPv4).
    pub checksum_absent: u64,
    /// Calls into the kernel that the driver asked for to go on receiving.
    pub receive_wakeups: u64,
    /// Packets for which the kernel found no frame or that did not fit one.
    pub rx_dropped: u64,
    /// Packets that found the receive ring full: the thread is too slow.
    pub rx_ring_full: u64,
    /// Times the kernel found no frame in the fill ring.
    pub rx_fill_ring_empty: u64,
    pub rx_invalid_descriptors: u64,
    pub tx_invalid_descriptors: u64,
    /// Times the kernel looked for something to send and found nothing: not a fault.
    pub tx_ring_empty: u64,
}

impl XdpCounters {
    pub(super) fn device(&self) -> DeviceCounters {
        DeviceCounters::new(
            &COUNTERS,
            [
                self.receive_wakeups,
                self.rx_dropped,
                self.rx_ring_full,
                self.rx_fill_ring_empty,
                self.rx_invalid_descriptors,
                self.tx_invalid_descriptors,
                self.tx_ring_empty,
                self.checksum_partial,
                self.checksum_absent,
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_name() {
        let counters = XdpCounters {
            checksum_partial: 8,
            checksum_absent: 9,
            receive_wakeups: 1,
            rx_dropped: 2,
            rx_ring_full: 3,
            rx_fill_ring_empty: 4,
            rx_invalid_descriptors: 5,
            tx_invalid_descriptors: 6,
            tx_ring_empty: 7,
        };
        let device = counters.device();
        for (counter, value) in COUNTERS.iter().zip(1..) {
            assert_eq!(device.get(counter.name), value, "{}", counter.name);
        }
        assert_eq!(device.get("xdp_no_such_counter"), 0);
        assert_eq!(DeviceCounters::default().get("xdp_rx_dropped"), 0);
    }
}
