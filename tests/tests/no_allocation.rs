//! The whole way of an order, from port to port, allocates nothing: a shard as it is assembled for a start, under a real generator, on the
//! calling thread of a test whose allocator counts. The generator is a process of its own. What streams do alone: `streams/tests/no_allocation.rs`.
#![allow(unsafe_code)] // A global allocator cannot be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::accounts::{Accounts, LoginSettings, verify::Verifier};
use engine::assembly::{Assembly, Parts};
use engine::clock::{Clock, Now};
use engine::config::{Config, load};
use engine::core::Core;
use engine::log::writer::{Log, NoJournal};
use engine::log::{self, FileStorage, JournalDirectory, JournalSettings};
use engine::runner::SharedReport;
use netio::Port;
use netio::udp::{UdpOptions, UdpPort};
use pitlane_tests::engine::{Folder, PASSWORD, Settings};
use pitlane_tests::process::{Process, binary};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only a thread-local integer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages after which everything that is made once has been made, and how many more are watched.
const WARM: u64 = 2_000;
const WATCHED: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);
const FLOW: &[&str] =
    &["--clients", "4", "--window", "16", "--mix", "50,30,20", "--warmup", "100ms", "--duration", "60s"];

/// Allocations of the shard's thread over [`WATCHED`] messages.
fn allocations<P: Port, L: Log>(
    config: &Config,
    port: P,
    mut core: Core<L>,
    assembly: Assembly<'_>,
    generator: &mut Command,
) -> u64 {
    let mut clock = Clock::new(0);
    let now = clock.now();
    assembly.configure(&mut core, now.timestamp_ns).expect("an instrument and a firm");
    let accounts = Accounts::new(config.expanded_accounts().into());
    let (_verifier, mut handles) =
        Verifier::start(&accounts, 1, &LoginSettings::of(config)).expect("threads that verify");
    let (_operator, requests) = rtrb::RingBuffer::new(1);
    let parts = Parts {
        clock: Clock::new(0),
        accounts,
        verifier: handles.remove(0),
        stop: Arc::default(),
        report: SharedReport::default(),
        requests,
        replays: None,
        gateway: None,
        publisher: None,
    };
    let mut runner = assembly.runner(port, core, parts);
    runner.begin();
    let mut generator = Process::new(generator.spawn().expect("the generator"));
    let began = Instant::now();
    let (mut counted, mut counted_before) = (0, 0);
    let seen = |runner: &engine::runner::Runner<P, L>| runner.core.shard.counters().messages;
    while seen(&runner) < WARM + WATCHED {
        let Now { monotonic_ns, timestamp_ns } = clock.now();
        let watched = seen(&runner) >= WARM;
        let before = ALLOCATIONS.with(Cell::get);
        let received = runner.receive().expect("the port goes on");
        let busy = runner.turn_at(received, Now { monotonic_ns, timestamp_ns }).expect("the shard goes on");
        let allocated = ALLOCATIONS.with(Cell::get) - before;
        *(if watched { &mut counted } else { &mut counted_before }) += allocated;
        if !busy {
            std::thread::yield_now();
        }
        assert!(began.elapsed() < PATIENCE, "{} messages in {PATIENCE:?}", seen(&runner));
    }
    assert!(generator.ended().expect("its status").is_none(), "the generator ended early");
    generator.crash().expect("ended");
    assert!(counted_before > 0, "a login makes a session, which takes memory: the counter counts");
    let session = &runner.core.sessions[0];
    assert!(session.downstream.stream.acked() > 1, "answers were sent and acknowledged");
    counted
}

fn generator(target: SocketAddr) -> Vec<String> {
    let target = target.to_string();
    let words =
        ["run", "--target", &target, "--password", PASSWORD, "--quiet", "--delivery-only", "--idle", "yield"];
    words.iter().chain(FLOW).map(|word| (*word).to_owned()).collect()
}

/// Over `port`, with each durability.
fn nothing_is_allocated_over<P: Port>(
    settings: &Settings,
    mut open: impl FnMut() -> P,
    generator: impl Fn() -> Command,
) {
    for durability in ["memory", "process", "disk"] {
        let folder = Folder::new("no-allocation").expect("a folder");
        let settings = Settings { durability, ..settings.clone() };
        let file = folder.path.join("pitlane.toml");
        std::fs::write(&file, settings.to_toml(&folder.path.join("journal"))).expect("written");
        let config = load(&file, &[]).expect("a configuration");
        let mut assembly = Assembly::new(&config, 0);
        let now = Clock::new(0).now().timestamp_ns;
        let counted = if durability == "memory" {
            let core = assembly.core(None, NoJournal::default(), now).expect("a core");
            allocations(&config, open(), core, assembly, &mut generator())
        } else {
            let directory = Arc::new(JournalDirectory::lock(&config.journal.directory).expect("locked"));
            let storage = FileStorage::open_in(&directory, 0, config.journal.durability).expect("a journal");
            let recovered = assembly.recover(storage.clone()).expect("an empty one");
            let settings =
                JournalSettings { durability: config.journal.durability, ..JournalSettings::default() };
            let opened = log::start(storage, 0, recovered.end, settings).expect("threads");
            let core = assembly.core(recovered.core, opened.writer, now).expect("a core");
            let counted = allocations(&config, open(), core, assembly, &mut generator());
            opened.background.close().expect("closed");
            counted
        };
        assert_eq!(counted, 0, "durability {durability}, {WATCHED} messages");
    }
}

#[test]
fn an_order_allocates_nothing_over_kernel_udp() {
    for offload in [false, true] {
        let free = UdpPort::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &UdpOptions::default())
            .expect("a port")
            .local();
        let address = SocketAddr::from(free);
        let settings = Settings { base_port: address.port(), ..Settings::default() };
        let open = || {
            let options =
                UdpOptions { receive_offload: offload, send_offload: offload, ..UdpOptions::default() };
            UdpPort::bind(address, &options).expect("the port again")
        };
        nothing_is_allocated_over(&settings, open, || {
            let mut command = Command::new(binary("pitlane-loadgen"));
            command.args(generator(address));
            command
        });
    }
}

#[cfg(feature = "xdp")]
#[test]
fn an_order_allocates_nothing_over_af_xdp() {
    use netio::xdp::{DeviceConfig, XdpDevice};
    use pitlane_tests::{skip::can_make_hosts, veth::VethPair};

    if !can_make_hosts("allocations over AF_XDP") {
        return;
    }
    let pair = VethPair::new(1).expect("a veth pair");
    let settings = Settings::on(&pair.engine, "xdp");
    let address = settings.address(0);
    let mut devices = Vec::new();
    let open = || {
        // The one before lets go of the interface first.
        devices.clear();
        let config =
            DeviceConfig::new(&pair.engine.interface).queue(0, address.ip(), address.port()..=address.port());
        let opened = pair.engine.inside(|| XdpDevice::open(&config)).expect("the namespace");
        let (device, mut ports) = opened.expect("AF_XDP");
        devices.push(device);
        ports.pop().expect("one port")
    };
    nothing_is_allocated_over(&settings, open, || {
        let mut command = pair.client.command(binary("pitlane-loadgen"));
        command.args(generator(address)).args(["--port", "xdp", "--interface", &pair.client.interface]);
        command
    });
}
