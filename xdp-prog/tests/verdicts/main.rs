//! Every verdict of the XDP program, packet by packet, by BPF_PROG_TEST_RUN. Not a test of attaching: no interface is touched.
//! The object is loaded through libbpf, which proves that it is no private dialect of the aya loader. The rules in Rust are given every packet
//! too, and have to agree.
mod packet;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, Object, ObjectBuilder, ProgramInput};
use packet::{Ip, LISTENED_V4, LISTENED_V6, Packet, mold};
use xdp_prog::{PROGRAM, Queue, SoftwareSteering, SteeringSettings, Verdict};

const PORT: u16 = 26_000;
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;
const AF_XDP: i32 = 44;
const SOCK_RAW: i32 = 3;

struct Bench {
    object: Object,
    /// What the maps say, as the rules in Rust are told it.
    told: RefCell<Told>,
    _socket: OwnedFd,
}

/// Nothing when not root, said aloud.
fn bench(test: &str) -> Option<Bench> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED (needs root): {test}");
        return None;
    }
    let mut builder = ObjectBuilder::default();
    let object = builder.open_memory(PROGRAM).expect("libbpf opens").load().expect("libbpf loads");
    // A test run never delivers, so a socket that is bound to nothing will do to make the redirect succeed.
    let socket =
        socket2::Socket::new(AF_XDP.into(), socket2::Type::from(SOCK_RAW), None).expect("AF_XDP socket");
    let bench = Bench { object, told: RefCell::default(), _socket: socket.into() };
    let fd = bench._socket.as_raw_fd() as u32;
    bench.set("xsks", &0u32.to_ne_bytes(), &fd.to_ne_bytes());
    bench.port(PORT, 1);
    bench.listen(Ipv4Addr::from(LISTENED_V4).to_ipv6_mapped().octets());
    bench.listen(LISTENED_V6);
    bench.settings([1, 0, 0, 0]);
    Some(bench)
}

#[derive(Default)]
struct Told {
    ports: BTreeMap<u16, Queue>,
    addresses: BTreeSet<[u8; 16]>,
    check_mold: bool,
}

impl Told {
    fn judge(&self, frame: &[u8]) -> Verdict {
        let settings = SteeringSettings::new().check_mold(self.check_mold);
        let settings =
            self.ports.iter().fold(settings, |settings, (port, queue)| settings.port(*port, *queue));
        let address = |octets: &[u8; 16]| {
            let address = Ipv6Addr::from(*octets);
            address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
        };
        let settings =
            self.addresses.iter().fold(settings, |settings, octets| settings.address(address(octets)));
        SoftwareSteering::new(&settings).judge(frame, 0).err().unwrap_or(Verdict::Redirected)
    }
}

/// Who may send, and whether a socket is there, others than these rules decide, and last.
fn without_sources(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::PassedNoSocket | Verdict::DroppedNotAllowed | Verdict::DroppedOverRate => {
            Verdict::Redirected
        }
        other => other,
    }
}

impl Bench {
    fn map(&self, name: &str) -> MapHandle {
        let map = self.object.maps().find(|map| map.name() == name).expect("map of the program");
        MapHandle::try_from(&map).expect("handle")
    }

    fn set(&self, name: &str, key: &[u8], value: &[u8]) {
        self.map(name).update(key, value, MapFlags::ANY).expect("update");
    }

    fn port(&self, port: u16, queue_plus_one: u32) {
        let queue = if queue_plus_one == u32::MAX { Queue::Any } else { Queue::Index(queue_plus_one - 1) };
        self.told.borrow_mut().ports.insert(port, queue);
        self.set("ports", &u32::from(port).to_ne_bytes(), &queue_plus_one.to_ne_bytes());
    }

    fn listen(&self, address: [u8; 16]) {
        self.told.borrow_mut().addresses.insert(address);
        self.set("addresses", &address, &1u32.to_ne_bytes());
    }

    /// What is listened on no longer.
    fn unlisten(&self, address: [u8; 16]) {
        self.told.borrow_mut().addresses.remove(&address);
        self.map("addresses").delete(&address).expect("delete");
    }

    fn settings(&self, settings: [u64; 4]) {
        self.told.borrow_mut().check_mold = settings[0] != 0;
        let value: Vec<u8> = settings.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.set("settings", &0u32.to_ne_bytes(), &value);
    }

    fn allow(&self, map: &str, prefix_length: u32, address: &[u8]) {
        let mut key = prefix_length.to_ne_bytes().to_vec();
        key.extend_from_slice(address);
        self.set(map, &key, &1u32.to_ne_bytes());
    }

    fn count(&self, verdict: Verdict) -> u64 {
        let values = self
            .map("verdicts")
            .lookup_percpu(&(verdict as u32).to_ne_bytes(), MapFlags::ANY)
            .expect("lookup")
            .expect("counter");
        values.iter().map(|value| u64::from_ne_bytes(value[..8].try_into().expect("eight bytes"))).sum()
    }

    fn run(&self, frame: &[u8]) -> u32 {
        let program = self.object.progs_mut().next().expect("program");
        let mut out = vec![0; frame.len().max(64)];
        let input =
            ProgramInput { data_in: Some(frame), data_out: Some(&mut out), ..ProgramInput::default() };
        let action = program.test_run(input).expect("test run").return_value;
        assert_eq!(&out[..frame.len()], frame, "the program must not change a packet");
        action
    }

    /// Runs one packet and demands this verdict and no other.
    #[track_caller]
    fn expect(&self, what: &str, frame: &[u8], verdict: Verdict) {
        let before: Vec<_> = Verdict::ALL.iter().map(|verdict| self.count(*verdict)).collect();
        let action = self.run(frame);
        let rose: Vec<_> = Verdict::ALL
            .into_iter()
            .zip(before)
            .filter(|(verdict, before)| self.count(*verdict) > *before)
            .map(|(verdict, _)| verdict)
            .collect();
        assert_eq!(rose, [verdict], "{what}");
        assert_eq!(self.told.borrow().judge(frame), without_sources(verdict), "{what}: in Rust");
        let expected = match verdict {
            Verdict::Redirected => XDP_REDIRECT,
            other if other.name().starts_with("dropped") => XDP_DROP,
            _ => XDP_PASS,
        };
        assert_eq!(action, expected, "{what}");
    }
}

fn order() -> Vec<u8> {
    mold(1, &[(47, 47)])
}

fn tagged(mut packet: Packet, tags: &[(u16, u16)]) -> Vec<u8> {
    packet.tags = tags.to_vec();
    packet.bytes()
}

#[test]
fn datagrams_for_a_port_in_the_map_are_redirected() {
    let Some(bench) = bench("datagrams_for_a_port_in_the_map_are_redirected") else { return };
    bench.expect("IPv4", &Packet::v4(PORT, order()).bytes(), Verdict::Redirected);
    bench.expect("IPv6", &Packet::v6(PORT, order()).bytes(), Verdict::Redirected);
    bench.expect("VLAN", &tagged(Packet::v4(PORT, order()), &[(0x8100, 7)]), Verdict::Redirected);
    bench.expect("VLAN, IPv6", &tagged(Packet::v6(PORT, order()), &[(0x8100, 7)]), Verdict::Redirected);
    bench.expect(
        "QinQ",
        &tagged(Packet::v4(PORT, order()), &[(0x88a8, 3), (0x8100, 7)]),
        Verdict::Redirected,
    );
    let mut padded = Packet::v4(PORT, mold(0, &[])).bytes();
    padded.resize(90, 0);
    bench.expect("Ethernet padding after the datagram", &padded, Verdict::Redirected);
    let mut jumbo_free = Packet::v4(PORT, mold(1, &[(1450, 1450)]));
    jumbo_free.payload.truncate(1472);
    bench.expect("largest datagram of MTU 1500", &jumbo_free.bytes(), Verdict::Redirected);
}

#[test]
fn everything_that_is_not_ours_passes_untouched() {
    let Some(bench) = bench("everything_that_is_not_ours_passes_untouched") else { return };
    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&[2, 0, 0, 0, 0, 2, 8, 6]);
    arp.resize(60, 0);
    bench.expect("ARP", &arp, Verdict::PassedNotUdp);
    let tcp = Packet { protocol: 6, ..Packet::v4(PORT, order()) };
    bench.expect("TCP to the same port number", &tcp.bytes(), Verdict::PassedNotUdp);
    let tcp = Packet { protocol: 6, ..Packet::v6(PORT, order()) };
    bench.expect("TCP over IPv6", &tcp.bytes(), Verdict::PassedNotUdp);
    let icmp = Packet { protocol: 58, ..Packet::v6(PORT, order()) };
    bench.expect("neighbour discovery", &icmp.bytes(), Verdict::PassedNotUdp);
    bench.expect("wrong port", &Packet::v4(PORT + 1, order()).bytes(), Verdict::PassedOtherPort);
    bench.expect("wrong port, IPv6", &Packet::v6(PORT - 1, order()).bytes(), Verdict::PassedOtherPort);
    let three = tagged(Packet::v4(PORT, order()), &[(0x88a8, 1), (0x8100, 2), (0x8100, 3)]);
    bench.expect("three tags", &three, Verdict::PassedNotUdp);
}

#[test]
fn datagrams_to_other_addresses_are_left_to_the_kernel() {
    let Some(bench) = bench("datagrams_to_other_addresses_are_left_to_the_kernel") else { return };
    let v4 = |destination| Packet {
        ip: Ip::V4 { source: [10, 0, 0, 2], destination, options: 0, fragment: 0 },
        ..Packet::v4(PORT, order())
    };
    let v6 = |destination| Packet {
        ip: Ip::V6 { source: [0xfd; 16], destination, extension: None },
        ..Packet::v6(PORT, order())
    };
    bench.expect("ours", &v4(LISTENED_V4).bytes(), Verdict::Redirected);
    for (what, destination) in [
        ("another address of the host, or one that it forwards to", [10, 0, 0, 9]),
        ("a group", [239, 1, 1, 1]),
        ("broadcast", [255, 255, 255, 255]),
        ("the network's broadcast", [10, 0, 0, 255]),
        ("none", [0, 0, 0, 0]),
    ] {
        bench.expect(what, &v4(destination).bytes(), Verdict::PassedOtherAddress);
        let vlan = tagged(v4(destination), &[(0x8100, 7)]);
        bench.expect(what, &vlan, Verdict::PassedOtherAddress);
    }
    bench.expect("ours, IPv6", &v6(LISTENED_V6).bytes(), Verdict::Redirected);
    let mapped = Ipv4Addr::from(LISTENED_V4).to_ipv6_mapped().octets();
    let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (what, destination) in [("another", [0xfd; 16]), ("all nodes", group), ("unspecified", [0; 16])] {
        bench.expect(what, &v6(destination).bytes(), Verdict::PassedOtherAddress);
    }
    bench.unlisten(mapped);
    bench.expect("no longer ours", &v4(LISTENED_V4).bytes(), Verdict::PassedOtherAddress);
    // What would be dropped for its content is not ours to drop when it is not for us.
    let other = Packet { payload: vec![], ..v4([10, 0, 0, 9]) };
    bench.expect("short, to another address", &other.bytes(), Verdict::PassedOtherAddress);
}

#[test]
fn packets_cut_inside_their_headers_pass_to_the_kernel() {
    let Some(bench) = bench("packets_cut_inside_their_headers_pass_to_the_kernel") else { return };
    for (what, frame, headers) in [
        ("IPv4", Packet::v4(PORT, order()).bytes(), 42),
        ("IPv6", Packet::v6(PORT, order()).bytes(), 62),
        ("VLAN", tagged(Packet::v4(PORT, order()), &[(0x8100, 7)]), 46),
        ("QinQ", tagged(Packet::v6(PORT, order()), &[(0x88a8, 3), (0x8100, 7)]), 70),
    ] {
        // The kernel refuses test packets shorter than an Ethernet header.
        for length in 14..headers {
            bench.expect(what, &frame[..length], Verdict::PassedNotUdp);
        }
    }
}

#[test]
fn options_fragments_and_extension_headers_are_left_to_the_kernel() {
    let Some(bench) = bench("options_fragments_and_extension_headers_are_left_to_the_kernel") else { return };
    let v4 = |options, fragment| Packet {
        ip: Ip::V4 { source: [10, 0, 0, 2], destination: LISTENED_V4, options, fragment },
        ..Packet::v4(PORT, order())
    };
    for options in 1..=10 {
        bench.expect("options", &v4(options, 0).bytes(), Verdict::PassedIpOptions);
    }
    bench.expect("first fragment", &v4(0, 0x2000).bytes(), Verdict::PassedFragment);
    bench.expect("middle fragment", &v4(0, 0x2010).bytes(), Verdict::PassedFragment);
    bench.expect("last fragment", &v4(0, 0x0010).bytes(), Verdict::PassedFragment);
    bench.expect("fragmentation allowed, none done", &v4(0, 0).bytes(), Verdict::Redirected);
    for extension in [0, 43, 44, 50, 51, 60, 135, 139, 140] {
        let ip = Ip::V6 { source: [0xfd; 16], destination: LISTENED_V6, extension: Some(extension) };
        let packet = Packet { ip, ..Packet::v6(PORT, order()) };
        bench.expect("extension header", &packet.bytes(), Verdict::PassedExtensionHeader);
    }
}

#[test]
fn a_datagram_on_a_queue_without_its_socket_passes_to_the_kernel() {
    let Some(bench) = bench("a_datagram_on_a_queue_without_its_socket_passes_to_the_kernel") else { return };
    let frame = Packet::v4(PORT, order()).bytes();
    bench.port(PORT, 6);
    bench.expect("port of another queue", &frame, Verdict::PassedOtherQueue);
    bench.port(PORT, u32::MAX);
    bench.expect("port of any queue", &frame, Verdict::Redirected);
    bench.map("xsks").delete(&0u32.to_ne_bytes()).expect("delete");
    bench.expect("no socket", &frame, Verdict::PassedNoSocket);
}

#[test]
fn a_udp_length_that_cannot_be_is_dropped() {
    let Some(bench) = bench("a_udp_length_that_cannot_be_is_dropped") else { return };
    let real = 8 + order().len() as u16;
    for (what, packet) in [("IPv4", Packet::v4(PORT, order())), ("IPv6", Packet::v6(PORT, order()))] {
        for length in [0, 1, 7, real + 1, 0xffff] {
            let lying = Packet { udp_length: Some(length), ..packet.clone() };
            bench.expect(what, &lying.bytes(), Verdict::DroppedBadLength);
        }
        let lying = Packet { udp_length: Some(real + 4), ip_length: Some(2000), ..packet.clone() };
        bench.expect("beyond the frame", &lying.bytes(), Verdict::DroppedBadLength);
        let lying = Packet { ip_length: Some(27), ..packet };
        bench.expect("beyond the IP packet", &lying.bytes(), Verdict::DroppedBadLength);
    }
}

#[test]
fn a_datagram_shorter_than_the_mold_header_is_dropped() {
    let Some(bench) = bench("a_datagram_shorter_than_the_mold_header_is_dropped") else { return };
    for length in 0..20 {
        bench.expect("IPv4", &Packet::v4(PORT, vec![b' '; length]).bytes(), Verdict::DroppedShort);
        bench.expect("IPv6", &Packet::v6(PORT, vec![b' '; length]).bytes(), Verdict::DroppedShort);
    }
}

#[test]
fn mold_packets_that_hold_what_they_claim_pass_the_check() {
    let Some(bench) = bench("mold_packets_that_hold_what_they_claim_pass_the_check") else { return };
    let walked = vec![(30, 30); 32];
    let beyond: Vec<_> = vec![(20, 20); 60];
    for (what, payload) in [
        ("heartbeat or acknowledgement", mold(0, &[])),
        ("end of session", mold(0xffff, &[])),
        ("request for one", mold(1, &[])),
        ("request for the most", mold(0xfffe, &[])),
        ("control", mold(1, &[(47, 47)])),
        ("zero-length message", mold(1, &[(0, 0)])),
        ("several", mold(3, &[(47, 47), (0, 0), (14, 14)])),
        ("all blocks walked", mold(32, &walked)),
        ("more blocks than are walked", mold(60, &beyond)),
        ("trailing bytes", mold(1, &[(4, 9)])),
    ] {
        bench.expect(what, &Packet::v4(PORT, payload.clone()).bytes(), Verdict::Redirected);
        bench.expect(what, &Packet::v6(PORT, payload).bytes(), Verdict::Redirected);
    }
}

#[test]
fn mold_packets_that_lie_about_their_length_are_dropped() {
    let Some(bench) = bench("mold_packets_that_lie_about_their_length_are_dropped") else { return };
    let mut last_of_walked = vec![(30, 30); 32];
    last_of_walked[31] = (31, 30);
    let unwalked = vec![(0, 0); 39];
    for (what, payload) in [
        ("heartbeat with a block", mold(0, &[(4, 4)])),
        ("end of session with a block", mold(0xffff, &[(4, 4)])),
        ("block longer than the datagram", mold(1, &[(48, 47)])),
        ("largest length there is", mold(1, &[(0xffff, 47)])),
        ("one block too few", mold(2, &[(47, 47)])),
        ("half a length", {
            let mut cut = mold(2, &[(47, 47), (0, 0)]);
            cut.pop();
            cut
        }),
        ("more blocks than bytes", mold(0xfffe, &[(47, 47)])),
        ("second block too long", mold(2, &[(4, 4), (5, 4)])),
        ("last walked block too long", mold(32, &last_of_walked)),
        ("no room for the blocks after the walk", mold(40, &unwalked)),
    ] {
        bench.expect(what, &Packet::v4(PORT, payload.clone()).bytes(), Verdict::DroppedMoldLength);
        bench.expect(what, &Packet::v6(PORT, payload).bytes(), Verdict::DroppedMoldLength);
    }
    bench.settings([0, 0, 0, 0]);
    bench.expect("checks off", &Packet::v4(PORT, mold(1, &[(48, 47)])).bytes(), Verdict::Redirected);
    bench.expect("checks off, empty", &Packet::v4(PORT, vec![]).bytes(), Verdict::Redirected);
}

#[test]
fn sources_outside_the_allow_list_are_dropped() {
    let Some(bench) = bench("sources_outside_the_allow_list_are_dropped") else { return };
    let v4 = Packet::v4(PORT, order()).bytes();
    let v6 = Packet::v6(PORT, order()).bytes();
    bench.allow("allowed_v4", 24, &[10, 0, 0, 0]);
    bench.expect("list not switched on", &v6, Verdict::Redirected);
    bench.settings([1, 1, 0, 0]);
    bench.expect("inside", &v4, Verdict::Redirected);
    bench.expect("the other family", &v6, Verdict::DroppedNotAllowed);
    let mut network = [0; 16];
    network[0] = 0xfd;
    bench.allow("allowed_v6", 8, &network);
    bench.expect("inside, IPv6", &v6, Verdict::Redirected);
    let outside = Packet { ip: Ip::v4([10, 0, 1, 2]), ..Packet::v4(PORT, order()) };
    bench.expect("next network", &outside.bytes(), Verdict::DroppedNotAllowed);
    let outside = Packet { ip: Ip::v6([0xfc; 16]), ..Packet::v6(PORT, order()) };
    bench.expect("next network, IPv6", &outside.bytes(), Verdict::DroppedNotAllowed);
    bench.expect(
        "other traffic of a stranger",
        &Packet { protocol: 6, ..outside }.bytes(),
        Verdict::PassedNotUdp,
    );
}

#[test]
fn a_source_over_its_rate_is_dropped_and_others_are_not() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let Some(bench) = bench("a_source_over_its_rate_is_dropped_and_others_are_not") else { return };
    // One an hour, three at once: no clock of a test machine refills that.
    bench.settings([1, 0, HOUR_NS, 2 * HOUR_NS]);
    for (what, packet) in [("IPv4", Packet::v4(PORT, order())), ("IPv6", Packet::v6(PORT, order()))] {
        let frame = packet.bytes();
        for _ in 0..3 {
            bench.expect(what, &frame, Verdict::Redirected);
        }
        for _ in 0..3 {
            bench.expect(what, &frame, Verdict::DroppedOverRate);
        }
    }
    let neighbour = Packet { ip: Ip::v4([10, 0, 0, 3]), ..Packet::v4(PORT, order()) };
    bench.expect("another source", &neighbour.bytes(), Verdict::Redirected);
    bench.settings([1, 0, 0, 0]);
    bench.expect("switched off", &Packet::v4(PORT, order()).bytes(), Verdict::Redirected);
}

#[test]
fn a_bucket_refills_at_its_rate() {
    let Some(bench) = bench("a_bucket_refills_at_its_rate") else { return };
    let interval = std::time::Duration::from_millis(200);
    bench.settings([1, 0, interval.as_nanos() as u64, 0]);
    let frame = Packet::v4(PORT, order()).bytes();
    bench.expect("first", &frame, Verdict::Redirected);
    bench.expect("at once again", &frame, Verdict::DroppedOverRate);
    std::thread::sleep(interval);
    bench.expect("after the interval", &frame, Verdict::Redirected);
}

/// Damaged in one or two places each, so that every check is met with something that just fails it.
#[test]
fn the_rules_in_rust_agree_with_the_program_on_damaged_packets() {
    let Some(bench) = bench("the_rules_in_rust_agree_with_the_program_on_damaged_packets") else { return };
    let seed = seed_of_this_run();
    println!("PITLANE_SEED={seed}");
    let mut state = seed | 1;
    let mut random = |below: usize| {
        // xorshift64: any sequence will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let whole = [
        Packet::v4(PORT, mold(3, &[(47, 47), (0, 0), (14, 14)])).bytes(),
        Packet::v6(PORT, mold(3, &[(47, 47), (0, 0), (14, 14)])).bytes(),
        tagged(Packet::v4(PORT, order()), &[(0x8100, 7)]),
        tagged(Packet::v6(PORT, order()), &[(0x88a8, 3), (0x8100, 7)]),
    ];
    for _ in 0..20_000 {
        let mut frame = whole[random(whole.len())].clone();
        for _ in 0..=random(2) {
            // The headers, mostly.
            let at = random(frame.len().min(110));
            frame[at] = [0, 1, 0xff, random(256) as u8][random(4)];
        }
        frame.truncate(14.max(frame.len() - random(3) * random(40)));
        let before: Vec<_> = Verdict::ALL.iter().map(|verdict| bench.count(*verdict)).collect();
        bench.run(&frame);
        let rose =
            Verdict::ALL.into_iter().zip(before).find(|(verdict, before)| bench.count(*verdict) > *before);
        let (verdict, _) = rose.expect("one verdict");
        assert_eq!(bench.told.borrow().judge(&frame), without_sources(verdict), "{frame:02x?}");
    }
}

/// The seed of this run, or that of `PITLANE_SEED`.
fn seed_of_this_run() -> u64 {
    let given = std::env::var("PITLANE_SEED").ok().and_then(|text| text.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    given.unwrap_or_else(|| now.map_or(1, |now| now.as_nanos() as u64))
}
