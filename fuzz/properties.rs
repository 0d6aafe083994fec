//! What must hold for any bytes: one function for each kind of input that comes from outside. The fuzz targets call these with what libFuzzer
//! thinks of, `engine/tests/fuzz_properties.rs` with the seeds and random changes to them. No test framework here.

use engine::config;
use engine::history::snapshot;
use engine::inputs::{
    FirmRights, Genesis, Input, InstrumentInput, MAX_ENCODED, Messages, Rules, SessionOpened,
};
use engine::log::format::segment_name;
use engine::log::reopen::{Parts, assemble};
use engine::log::sim::Faults;
use engine::log::{Durability, JournalSettings, Lsn, Reader, SimStorage};
use engine::shard::Shard;
use streams::{ParkingPool, ReceiveConfig, ReceiveStream};
use wire::ouch::{Inbound, MAX_MESSAGE_LENGTH, Outbound};
use wire::{itch, moldudp64, net, soupbintcp};

/// A property takes any bytes and panics when it does not hold.
pub type Property = fn(&[u8]);

/// Every property by the name of its folder of seeds.
pub const ALL: [(&str, Property); 11] = [
    ("frame", frame),
    ("moldudp64", moldudp64),
    ("soupbintcp", soupbintcp),
    ("ouch", ouch),
    ("itch", itch),
    ("stream", stream),
    ("journal", journal),
    ("input", input),
    ("snapshot", snapshot),
    ("configuration", configuration),
    ("shard", shard),
];

/// Ethernet, IP and UDP headers: whatever is accepted lies within the frame.
pub fn frame(data: &[u8]) {
    if let Ok(datagram) = net::Datagram::parse(data) {
        let range = datagram.payload_range();
        assert!(range.start <= range.end && range.end <= data.len(), "{range:?} of {}", data.len());
        let _ = datagram.checksum_state(data);
    }
}

/// A packet that is accepted has exactly the blocks it claims.
pub fn moldudp64(data: &[u8]) {
    if let Ok(packet) = moldudp64::Packet::parse(data) {
        let (mut count, mut bytes) = (0, moldudp64::HEADER_LENGTH);
        for block in packet.blocks() {
            count += 1;
            bytes += 2 + block.len();
        }
        assert_eq!((count, bytes), (packet.header.block_count(), data.len()));
    }
}

/// What is decoded encodes to something that decodes to the same.
pub fn soupbintcp(data: &[u8]) {
    if let Ok(packet) = soupbintcp::Packet::decode(data) {
        let mut out = vec![0; data.len() + 64];
        let length = packet.write(&mut out);
        assert_eq!(soupbintcp::Packet::decode(&out[..length]), Ok(packet));
    }
    let mut rest = data;
    while let Ok(Some((body, consumed))) = soupbintcp::split_frame(rest, 256) {
        assert!(consumed > body.len() && consumed <= rest.len());
        rest = &rest[consumed..];
    }
}

/// Both directions of order entry, appendages included.
pub fn ouch(data: &[u8]) {
    let mut out = [0; MAX_MESSAGE_LENGTH];
    if data.len() <= MAX_MESSAGE_LENGTH {
        if let Ok(Inbound::EnterOrder(order)) = Inbound::decode(data) {
            let length = order.to_owned().write(order.appendage().bytes(), &mut out);
            let again = Inbound::decode(&out[..length]);
            assert!(
                matches!(again, Ok(Inbound::EnterOrder(again)) if again.to_owned() == order.to_owned()),
                "{data:02x?}"
            );
        }
        if let Ok(Outbound::OrderExecuted(executed)) = Outbound::decode(data) {
            let length = executed.to_owned().write(executed.appendage().bytes(), &mut out);
            let again = Outbound::decode(&out[..length]);
            assert!(
                matches!(again, Ok(Outbound::OrderExecuted(again)) if again.to_owned() == executed.to_owned()),
                "{data:02x?}"
            );
        }
    }
    let _ = (Inbound::decode(data).is_ok(), Outbound::decode(data).is_ok());
}

/// Market data, and the files it comes in.
pub fn itch(data: &[u8]) {
    let _ = itch::Message::decode(data).is_ok();
    let _ = itch::GlimpseSnapshot::parse(data).is_ok();
    let mut frames = itch::file::Frames::new(data);
    let mut bytes = 0;
    while let Ok(Some(frame)) = frames.next_frame() {
        bytes += 2 + frame.len();
        assert!(bytes <= data.len());
    }
}

/// Datagrams of a stream, each preceded by its length: what is delivered is in order, once, without gaps.
pub fn stream(data: &[u8]) {
    const NAME: [u8; 10] = *b"UAAAAAAAAA";
    let mut pool = ParkingPool::new(4, 256);
    let mut stream = ReceiveStream::new(ReceiveConfig::default(), NAME, 1);
    let (mut rest, mut next, mut now_ns) = (data, 1, 0);
    while let Some((&[sequence, count, length], after)) = rest.split_first_chunk::<3>() {
        let (blocks, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        now_ns += 1_000_000;
        let header =
            moldudp64::Header { session: NAME, sequence: sequence.into(), count: u16::from(count % 16) };
        stream.on_datagram(&header, blocks, now_ns, &mut pool, |run| {
            for (sequence, _) in run.messages() {
                assert_eq!(sequence, next);
                next += 1;
            }
        });
        stream.on_timer(now_ns);
    }
    assert_eq!(stream.next(), next);
    stream.clear(&mut pool);
    assert_eq!(pool.free(), pool.capacity());
}

const RECORDS: u64 = 8;
/// As in the seed that the first version wrote.
const SHARD: u32 = 1;

/// Damage of any kind to a journal, as (offset, change) pairs of three bytes; data of more than 4 KiB is a whole segment of its own. The reader gives back
/// the records that were written, or some of the first, or refuses.
pub fn journal(data: &[u8]) {
    let storage = SimStorage::new(1, Durability::Process, Faults::default());
    let payload = |lsn: u64| vec![lsn as u8; lsn as usize * 7];
    let name = segment_name(SHARD, 0);
    if data.len() > 4096 {
        storage.put(&name, data.to_vec());
    } else {
        let settings = JournalSettings { segment_size: 8192, ..JournalSettings::default() };
        let Ok(reader) = Reader::open(storage.clone(), SHARD, Lsn(1)) else {
            panic!("an empty folder is a journal")
        };
        let Some(end) = drain(reader, |_, _| {}) else { panic!("an empty journal has an end") };
        let Ok(Parts { mut writer, .. }) = assemble(storage.clone(), SHARD, end, settings) else {
            panic!("an empty journal can be written")
        };
        for lsn in 1..=RECORDS {
            assert_eq!(writer.append(1, lsn, &payload(lsn)).map_err(|error| error.to_string()), Ok(Lsn(lsn)));
        }
        let Some(mut bytes) = storage.contents(&name) else { panic!("the segment exists") };
        for change in data.as_chunks::<3>().0 {
            let offset = usize::from(u16::from_be_bytes([change[0], change[1]])) % bytes.len();
            bytes[offset] ^= change[2];
        }
        storage.put(&name, bytes);
    }
    let Ok(reader) = Reader::open(storage, SHARD, Lsn(1)) else { return };
    let mut next = 1;
    drain(reader, |lsn, found| {
        assert_eq!(lsn, next);
        assert!(data.len() > 4096 || found == payload(lsn), "record {lsn} is not what was written");
        next += 1;
    });
}

fn drain(mut reader: Reader<SimStorage>, mut record: impl FnMut(u64, &[u8])) -> Option<engine::log::End> {
    while let Ok(found) = reader.next() {
        let Some(found) = found else { return reader.into_end() };
        record(found.lsn.0, found.payload);
    }
    None
}

/// A record's payload, its type in front: what is decoded encodes to something that decodes to the same.
pub fn input(data: &[u8]) {
    let Some((&kind, payload)) = data.split_first() else { return };
    if let Ok(input) = Input::decode(kind, payload) {
        let mut out = [0; MAX_ENCODED];
        let length = input.encode(&mut out);
        let encoded = [&out[..length], input.tail()].concat();
        assert_eq!(Input::decode(kind, &encoded), Ok(input));
    }
}

/// A snapshot's file as it is; then a state of which the sizes of the tables are given, since what claims to be large may be: it is refused, or it
/// is a state that is written and read again.
pub fn snapshot(data: &[u8]) {
    let storage = SimStorage::new(1, Durability::Process, Faults::default());
    let name = snapshot::file_name(SHARD, Lsn(12));
    storage.put(&name, data.to_vec());
    if let Ok(found) = snapshot::read(&storage, &name) {
        assert_eq!(found.payload.len() + snapshot::HEADER_LENGTH, data.len());
    }
    let mut state = Vec::new();
    Shard::new(SMALL).write_state(&mut state);
    state.truncate(SIZES_END);
    state.extend_from_slice(data);
    if let Ok(shard) = Shard::restore(&state) {
        let mut again = Vec::new();
        shard.write_state(&mut again);
        match Shard::restore(&again) {
            Ok(restored) => assert_eq!(restored.state_hash(), shard.state_hash()),
            Err(error) => panic!("its own state is refused: {error}"),
        }
    }
}

/// Of a state: its version, and the first record with its length.
const SIZES_END: usize = 2 + 4 + 32;
const SMALL: Genesis = Genesis {
    shard: 0,
    utc_offset_seconds: 0,
    max_orders: 64,
    max_price_levels: 32,
    max_sessions: 4,
    max_instruments: 4,
    feed_session: *b"FAAAAAAAAA",
};

/// A configuration file is read or refused with a reason.
pub fn configuration(data: &[u8]) {
    let path = std::env::temp_dir().join(format!("pitlane-fuzz-{}.toml", std::process::id()));
    if std::fs::write(&path, data).is_ok() {
        if let Err(error) = config::load(&path, &[]) {
            assert!(!error.to_string().is_empty());
        }
        let _ = std::fs::remove_file(&path);
    }
}

/// Messages from clients, each preceded by session and length: nothing stops a shard, a replay of the same gives the same state, and so does the
/// state written and read.
pub fn shard(data: &[u8]) {
    let (one, two) = (play(data), play(data));
    assert_eq!(one.state_hash(), two.state_hash());
    let mut state = Vec::new();
    one.write_state(&mut state);
    match Shard::restore(&state) {
        Ok(restored) => assert_eq!(restored.state_hash(), one.state_hash()),
        Err(error) => panic!("its own state is refused: {error}"),
    }
}

fn play(data: &[u8]) -> Shard {
    let mut shard = Shard::new(SMALL);
    let mut timestamp_ns = 1_767_787_200_000_000_000;
    let mut apply = |shard: &mut Shard, input: &Input<'_>| {
        timestamp_ns += 1_000_000;
        shard.apply(input, timestamp_ns, &mut ()).map_err(|error| error.to_string())
    };
    let firm = *b"FUZZ";
    let rules = Rules { version: Rules::VERSION, session_share_percent: 50 };
    let mut ready = apply(&mut shard, &Input::Rules(rules));
    ready = ready.and(apply(&mut shard, &Input::Firm { firm, risk: config::RiskConfig::default() }));
    for symbol in [*b"AAPL    ", *b"MSFT    "] {
        ready = ready.and(apply(
            &mut shard,
            &Input::Instrument(
                InstrumentInput {
                    symbol,
                    tick: 100,
                    lot: 1,
                    max_quantity: 999_999,
                    reference_price: 1_000_000,
                    collar_basis_points: 0,
                    state: book::TradingState::Open,
                },
                FirmRights::NONE,
            ),
        ));
    }
    for session in 0..2 {
        ready = ready.and(apply(
            &mut shard,
            &Input::SessionOpened(SessionOpened {
                session,
                user: [b'A' + session as u8; 6],
                firm,
                name: [b'D' + session as u8; 10],
                cancel_on_disconnect: session == 0,
                drop_copy: false,
                risk: config::RiskConfig::default(),
            }),
        ));
    }
    assert_eq!(ready, Ok(()));
    let mut next = [1, 1];
    let mut rest = data;
    while let Some((&[session, length], after)) = rest.split_first_chunk::<2>() {
        let (message, after) = after.split_at(usize::from(length).min(after.len()));
        rest = after;
        let session = u32::from(session % 2);
        let mut blocks = (message.len() as u16).to_be_bytes().to_vec();
        blocks.extend_from_slice(message);
        let first_sequence = next[session as usize];
        next[session as usize] += 1;
        let messages = Messages { session, first_sequence, count: 1, blocks: &blocks };
        assert_eq!(apply(&mut shard, &Input::Messages(messages)), Ok(()));
    }
    shard
}
