//! Loads the program, attaches it, tells it things while it runs. Not the hot path: nothing here is called per packet.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, XskMap, lpm_trie::Key},
    programs::{
        ProgramError, Xdp,
        links::FdLink,
        xdp::{XdpLink, XdpMode as AyaMode},
    },
};

use caps::Capability;
use ipnet::IpNet;

use crate::{
    ADDRESSES_MAX, ALLOW_LIST_MAX, Counters, ModeChoice, PROGRAM, QUEUES_MAX, Queue, SteeringError,
    SteeringSettings, StepDown, Verdict, XdpMode,
    capability::{FOR_PROGRAM, first_missing},
    netlink,
};

const PROGRAM_NAME: &str = "steer";

/// Names the first of `wanted` that is missing.
pub fn demand_capabilities(wanted: &[Capability]) -> Result<(), SteeringError> {
    match first_missing(wanted) {
        Some(capability) => Err(SteeringError::MissingCapability { capability }),
        None => Ok(()),
    }
}

/// An interface by its name: its index and what is known of it.
pub fn find_interface(interface: &str) -> Result<(u32, netlink::Interface), SteeringError> {
    let none = || SteeringError::NoInterface(interface.to_owned());
    let index = nix::net::if_::if_nametoindex(interface).map_err(|_| none())?;
    let link = netlink::link(index)
        .map_err(|source| SteeringError::System { what: "reading the interface's state", source })?;
    Ok((index, link.ok_or_else(none)?))
}

/// The same, if no XDP program holds it.
pub fn free_interface(interface: &str) -> Result<(u32, netlink::Interface), SteeringError> {
    let (index, link) = find_interface(interface)?;
    match link.program {
        Some(held) => Err(SteeringError::Held {
            interface: interface.to_owned(),
            program_id: held.program_id,
            mode: held.mode,
        }),
        None => Ok((index, link)),
    }
}

/// The program on one interface. Attached by a bpf_link that this value owns: dropped or killed, the kernel detaches it.
#[derive(Debug)]
pub struct Steering {
    interface: String,
    mode: XdpMode,
    steps: Vec<StepDown>,
    /// `None` only while the link changes programs in `replace`.
    link: Option<FdLink>,
    loaded: Ebpf,
    applied: SteeringSettings,
    /// Duplicates of the registered sockets, for `replace`. A socket stays bound to its queue until it is unregistered here too.
    sockets: BTreeMap<u32, OwnedFd>,
}

impl Steering {
    /// Loads the program, tells it `settings`, and attaches it in the best mode allowed. Packets reach a socket only after
    /// `register`; until then they fall through to the kernel.
    pub fn attach(
        interface: &str,
        settings: &SteeringSettings,
        choice: ModeChoice,
    ) -> Result<Self, SteeringError> {
        demand_capabilities(&FOR_PROGRAM)?;
        let (index, _) = free_interface(interface)?;
        let mut loaded = load(PROGRAM)?;
        apply_difference(&mut loaded, &SteeringSettings::new().check_mold(false), settings)?;
        let modes: &[XdpMode] = match choice {
            ModeChoice::Best => &[XdpMode::Native, XdpMode::Generic],
            ModeChoice::Only(XdpMode::Native) => &[XdpMode::Native],
            ModeChoice::Only(XdpMode::Generic) => &[XdpMode::Generic],
        };
        let mut steps = Vec::new();
        for &mode in modes {
            match attach_in(&mut loaded, index, mode) {
                Ok(link) => {
                    tracing::info!(interface, %mode, "XDP program attached");
                    let link = Some(FdLink::try_from(link).map_err(|_| SteeringError::NoBpfLink)?);
                    let applied = settings.clone();
                    return Ok(Self {
                        interface: interface.to_owned(),
                        mode,
                        steps,
                        link,
                        loaded,
                        applied,
                        sockets: BTreeMap::new(),
                    });
                }
                Err(reason) => {
                    tracing::warn!(interface, %mode, reason, "XDP program not attached in this mode");
                    steps.push(StepDown { mode, reason });
                }
            }
        }
        Err(SteeringError::Attach { interface: interface.to_owned(), steps })
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    pub const fn mode(&self) -> XdpMode {
        self.mode
    }

    /// The modes that were tried before the one in use.
    pub fn steps(&self) -> &[StepDown] {
        &self.steps
    }

    /// The kernel's id of the program, as `bpftool prog` shows it; 0 when the kernel does not tell.
    pub fn program_id(&self) -> u32 {
        self.loaded.program(PROGRAM_NAME).and_then(|program| program.info().ok()).map_or(0, |info| info.id())
    }

    pub const fn settings(&self) -> &SteeringSettings {
        &self.applied
    }

    /// Gives the packets of a receive queue to an AF_XDP socket bound to that queue.
    pub fn register(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), SteeringError> {
        if queue >= QUEUES_MAX {
            return Err(SteeringError::QueueOutOfRange { queue, max: QUEUES_MAX });
        }
        let duplicate = socket
            .try_clone_to_owned()
            .map_err(|source| SteeringError::System { what: "duplicating the AF_XDP socket", source })?;
        set_socket(&mut self.loaded, queue, &duplicate)?;
        self.sockets.insert(queue, duplicate);
        Ok(())
    }

    /// The packets of this queue go to the kernel again.
    pub fn unregister(&mut self, queue: u32) -> Result<(), SteeringError> {
        if self.sockets.remove(&queue).is_some() {
            let mut map = map::<XskMap<_>>(&mut self.loaded, "xsks")?;
            // A socket that was closed has left the map by itself.
            match map.unset(queue) {
                Ok(()) => {}
                Err(aya::maps::MapError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(map_error("xsks")(error)),
            }
        }
        Ok(())
    }

    /// Changes ports, allow-list and rate of the running program. What widens access takes effect
    /// before what narrows it; counters live on.
    pub fn apply(&mut self, settings: &SteeringSettings) -> Result<(), SteeringError> {
        apply_difference(&mut self.loaded, &self.applied, settings)?;
        self.applied = settings.clone();
        Ok(())
    }

    /// Sums over all CPUs since the program was loaded.
    pub fn counters(&self) -> Result<Counters, SteeringError> {
        let map = self.loaded.map("verdicts").ok_or_else(|| missing_map("verdicts"))?;
        let verdicts = PerCpuArray::<_, u64>::try_from(map).map_err(map_error("verdicts"))?;
        let mut counters = Counters::default();
        for verdict in Verdict::ALL {
            let per_cpu = verdicts.get(&(verdict as u32), 0).map_err(map_error("verdicts"))?;
            counters.add(verdict, per_cpu.iter().sum());
        }
        Ok(counters)
    }

    /// Replaces the running program by `object` (as built from bpf/steer.c; usually [`PROGRAM`]) without a gap: each packet
    /// sees the old one or the new one, with the same settings and sockets. Counters and buckets start afresh.
    pub fn replace(&mut self, object: &[u8]) -> Result<(), SteeringError> {
        let mut fresh = load(object)?;
        apply_difference(&mut fresh, &SteeringSettings::new().check_mold(false), &self.applied)?;
        for (queue, socket) in &self.sockets {
            set_socket(&mut fresh, *queue, socket)?;
        }
        let program = program(&mut fresh)?;
        let link = self.link.take().ok_or(SteeringError::NoBpfLink)?;
        let link = XdpLink::try_from(link).map_err(|_| SteeringError::NoBpfLink)?;
        let id = program.attach_to_link(link).map_err(|error| SteeringError::Load(reason(&error)))?;
        let link = program.take_link(id).map_err(|error| SteeringError::Load(reason(&error)))?;
        self.link = Some(FdLink::try_from(link).map_err(|_| SteeringError::NoBpfLink)?);
        self.loaded = fresh;
        Ok(())
    }

    /// What dropping does too, said aloud.
    pub fn detach(self) {
        drop(self);
    }
}

fn load(object: &[u8]) -> Result<Ebpf, SteeringError> {
    let mut loaded =
        EbpfLoader::new().load(object).map_err(|error| SteeringError::Load(with_sources(&error)))?;
    program(&mut loaded)?.load().map_err(|error| SteeringError::Load(reason(&error)))?;
    Ok(loaded)
}

fn program(loaded: &mut Ebpf) -> Result<&mut Xdp, SteeringError> {
    loaded
        .program_mut(PROGRAM_NAME)
        .ok_or_else(|| SteeringError::Load(format!("the object has no program {PROGRAM_NAME:?}")))?
        .try_into()
        .map_err(|error: ProgramError| SteeringError::Load(reason(&error)))
}

fn attach_in(loaded: &mut Ebpf, interface_index: u32, mode: XdpMode) -> Result<XdpLink, String> {
    let program = program(loaded).map_err(|error| error.to_string())?;
    let flag = match mode {
        XdpMode::Native => AyaMode::Driver,
        XdpMode::Generic => AyaMode::Skb,
    };
    let id = program.attach_to_if_index(interface_index, flag).map_err(|error| explained(&error))?;
    program.take_link(id).map_err(|error| reason(&error))
}

/// The errors that drivers really give, said in words.
fn explained(error: &ProgramError) -> String {
    let hint = match error {
        ProgramError::SyscallError(call) => match call.io_error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => " (the driver has no native XDP)",
            Some(libc::ERANGE) => {
                " (the MTU is too large for XDP; 3498 is veth's limit, most NICs' is near it)"
            }
            Some(libc::EBUSY) => " (another XDP program holds the interface)",
            Some(libc::ENOSPC | libc::ENOMEM) => {
                " (the NIC has too few free queues for XDP: use fewer channels)"
            }
            _ => "",
        },
        _ => "",
    };
    format!("{}{hint}", reason(error))
}

fn reason(error: &ProgramError) -> String {
    with_sources(error)
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn missing_map(map: &'static str) -> SteeringError {
    SteeringError::Map { map, reason: "the object does not have it".to_owned() }
}

fn map_error(map: &'static str) -> impl Fn(aya::maps::MapError) -> SteeringError {
    move |error| SteeringError::Map { map, reason: with_sources(&error) }
}

fn map<'a, T>(loaded: &'a mut Ebpf, name: &'static str) -> Result<T, SteeringError>
where
    T: TryFrom<&'a mut Map, Error = aya::maps::MapError>,
{
    T::try_from(loaded.map_mut(name).ok_or_else(|| missing_map(name))?).map_err(map_error(name))
}

fn set_socket(loaded: &mut Ebpf, queue: u32, socket: &OwnedFd) -> Result<(), SteeringError> {
    map::<XskMap<_>>(loaded, "xsks")?.set(queue, socket.as_raw_fd(), 0).map_err(map_error("xsks"))
}

/// An address as the program compares it: IPv4 in its v4-mapped form.
fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Brings the maps from one state to another. Order matters while packets flow: what widens access comes first, what
/// narrows it last, and the allow-list is filled before it is switched on.
fn apply_difference(
    loaded: &mut Ebpf,
    from: &SteeringSettings,
    to: &SteeringSettings,
) -> Result<(), SteeringError> {
    if to.allowed.len() > ALLOW_LIST_MAX {
        return Err(SteeringError::TooManyNetworks { count: to.allowed.len(), max: ALLOW_LIST_MAX });
    }
    if to.addresses.len() > ADDRESSES_MAX {
        return Err(SteeringError::TooManyAddresses { count: to.addresses.len(), max: ADDRESSES_MAX });
    }
    for queue in to.ports.values() {
        if let Queue::Index(queue) = *queue
            && queue >= QUEUES_MAX
        {
            return Err(SteeringError::QueueOutOfRange { queue, max: QUEUES_MAX });
        }
    }
    let removed: BTreeSet<_> = from.allowed.difference(&to.allowed).copied().collect();
    let added: BTreeSet<_> = to.allowed.difference(&from.allowed).copied().collect();
    // Entries go before the new ones come only when both would not fit together; the sources in question are refused meanwhile.
    let fits = from.allowed.len() + added.len() <= ALLOW_LIST_MAX;
    if !fits {
        removed.iter().try_for_each(|network| forget(loaded, *network))?;
    }
    added.iter().try_for_each(|network| allow(loaded, *network))?;
    map::<Array<_, [u64; 4]>>(loaded, "settings")?.set(0, to.to_map(), 0).map_err(map_error("settings"))?;
    if fits {
        removed.iter().try_for_each(|network| forget(loaded, *network))?;
    }
    if from.rate != to.rate {
        forget_buckets(loaded)?;
    }
    let mut addresses = map::<HashMap<_, [u8; 16], u32>>(loaded, "addresses")?;
    for address in from.addresses.difference(&to.addresses) {
        addresses.remove(&mapped(*address)).map_err(map_error("addresses"))?;
    }
    for address in to.addresses.difference(&from.addresses) {
        addresses.insert(mapped(*address), 1, 0).map_err(map_error("addresses"))?;
    }
    let mut ports = map::<Array<_, u32>>(loaded, "ports")?;
    for port in from.ports.keys().filter(|port| !to.ports.contains_key(port)) {
        ports.set(u32::from(*port), 0, 0).map_err(map_error("ports"))?;
    }
    for (port, queue) in to.ports.iter().filter(|(port, queue)| from.ports.get(port) != Some(queue)) {
        ports.set(u32::from(*port), queue.to_map(), 0).map_err(map_error("ports"))?;
    }
    Ok(())
}

fn allow(loaded: &mut Ebpf, network: IpNet) -> Result<(), SteeringError> {
    let prefix = u32::from(network.prefix_len());
    match network.network() {
        IpAddr::V4(address) => map::<LpmTrie<&mut MapData, [u8; 4], u32>>(loaded, "allowed_v4")?
            .insert(&Key::new(prefix, address.octets()), 1, 0)
            .map_err(map_error("allowed_v4")),
        IpAddr::V6(address) => map::<LpmTrie<&mut MapData, [u8; 16], u32>>(loaded, "allowed_v6")?
            .insert(&Key::new(prefix, address.octets()), 1, 0)
            .map_err(map_error("allowed_v6")),
    }
}

fn forget(loaded: &mut Ebpf, network: IpNet) -> Result<(), SteeringError> {
    let prefix = u32::from(network.prefix_len());
    match network.network() {
        IpAddr::V4(address) => map::<LpmTrie<&mut MapData, [u8; 4], u32>>(loaded, "allowed_v4")?
            .remove(&Key::new(prefix, address.octets()))
            .map_err(map_error("allowed_v4")),
        IpAddr::V6(address) => map::<LpmTrie<&mut MapData, [u8; 16], u32>>(loaded, "allowed_v6")?
            .remove(&Key::new(prefix, address.octets()))
            .map_err(map_error("allowed_v6")),
    }
}

/// A debt run up at the old rate means nothing at the new one.
fn forget_buckets(loaded: &mut Ebpf) -> Result<(), SteeringError> {
    let mut buckets = map::<HashMap<&mut MapData, [u32; 5], u64>>(loaded, "buckets")?;
    let sources: Vec<_> = buckets.keys().filter_map(Result::ok).collect();
    for source in sources {
        // Already gone: the least recently seen leave by themselves.
        let _ = buckets.remove(&source);
    }
    Ok(())
}
