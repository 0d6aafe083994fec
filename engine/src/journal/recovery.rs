//! Turns the end of a journal that was read into a journal that is written: the torn tail removed, everything read made durable. Decides
//! nothing about damage; a damaged journal never gets here, since [`Reader`](super::Reader) refuses.

use std::sync::{Arc, mpsc};

use super::{
    crc::Crc,
    error::JournalError,
    format::{DATA_OFFSET, Lsn, MARK_OFFSETS, RECORD_HEADER_LENGTH, SegmentHeader, SyncMark, segment_name},
    keeper::{KeptSegment, Preparer, Step, Syncer},
    reader::{End, Place},
    settings::Settings,
    shared::{Position, Progress},
    storage::Storage,
    tail::Tail,
    writer::{Continuation, ReadySegment, Writer},
};

/// Zeros written at a time when a tail is removed.
const ERASE_CHUNK: usize = 64 << 10;

/// A journal and what has to be done for it in the background, by threads ([`start`](super::start)) or step by step.
pub struct Parts<S: Storage> {
    pub writer: Writer<S>,
    pub preparer: Preparer<S>,
    pub syncer: Syncer<S>,
}

/// Prepares to write after `end`, in the thread that calls.
pub fn assemble<S: Storage>(
    storage: S,
    shard: u32,
    end: End,
    settings: Settings,
) -> Result<Parts<S>, JournalError> {
    settings.check()?;
    for leftover in &end.leftovers {
        storage.remove(&leftover.name)?;
    }
    if !end.leftovers.is_empty() {
        storage.sync_directory()?;
    }
    let boot_id = storage.boot_id();
    let reopened = match &end.place {
        None => None,
        Some(place) => {
            if matches!(&end.tail, Tail::Torn { .. }) && !place.sealed {
                erase(&storage, place)?;
            }
            let generation = make_durable(&storage, place, boot_id)?;
            (!place.sealed).then_some((place, generation))
        }
    };
    let continuation = match &end.place {
        Some(place) => {
            let journal_id = place.header.journal_id;
            Continuation { shard, journal_id, next: end.last.next(), chain: place.chain }
        }
        None => {
            let journal_id = storage.fresh_id();
            let chain = Crc::new().u64(journal_id).value();
            Continuation { shard, journal_id, next: Lsn::FIRST, chain }
        }
    };
    let next_ordinal = end.place.as_ref().map_or(0, |place| place.header.ordinal + 1);
    let position = match &reopened {
        Some((place, _)) => Position::new(place.header.ordinal, place.offset),
        None => Position::new(next_ordinal, 0),
    };
    let progress = Arc::new(Progress::starting_after(end.last, position));
    let (to_writer, ready) = mpsc::sync_channel(settings.segments_ahead as usize);
    // All that can be on their way: those ahead, the one in use, and the one reopened.
    let (to_syncer, from_preparer) = mpsc::sync_channel(settings.segments_ahead as usize + 2);
    let first = match reopened {
        None => None,
        Some((
            Place { header: SegmentHeader { ordinal, segment_size: size, .. }, name, offset, .. },
            generation,
        )) => {
            let (ordinal, size, offset) = (*ordinal, *size, *offset);
            let (memory, keeper) = storage.reopen(name, size, offset)?;
            // The receiver is in this function: the queue, empty so far, takes it.
            let _ = to_syncer.try_send(KeptSegment { ordinal, size, synced: offset, generation, keeper });
            Some((ReadySegment { ordinal, size, memory }, offset))
        }
    };
    let mut preparer = Preparer::new(
        storage,
        shard,
        settings.segment_size,
        settings.segments_ahead,
        next_ordinal,
        to_writer,
        to_syncer,
        progress.clone(),
    );
    let syncer = Syncer::new(from_preparer, progress.clone(), settings.durability, boot_id);
    let (segment, offset) = match first {
        Some(first) => first,
        None => loop {
            let step = preparer.step()?;
            if let Ok(segment) = ready.try_recv() {
                break (segment, 0);
            }
            debug_assert_eq!(step, Step::Worked, "the first segment is never put off");
        },
    };
    let writer = Writer::new(segment, offset, continuation, progress, ready, &settings);
    Ok(Parts { writer, preparer, syncer })
}

/// Zeros from the end of the records on. The header of the torn record goes last: killed in between, the tail is still a torn one.
fn erase<S: Storage>(storage: &S, place: &Place) -> Result<(), JournalError> {
    let zeros = vec![0; ERASE_CHUNK];
    let size = place.header.segment_size;
    let header_end = (place.offset + RECORD_HEADER_LENGTH as u64).min(size);
    let mut offset = header_end;
    while offset < size {
        let length = ERASE_CHUNK.min((size - offset) as usize);
        storage.overwrite(&place.name, offset, &zeros[..length])?;
        offset += length as u64;
    }
    storage.overwrite(&place.name, place.offset, &zeros[..(header_end - place.offset) as usize])?;
    Ok(())
}

/// Syncs all that was read, then says so in both marks, for this boot. Returns the next mark's generation.
fn make_durable<S: Storage>(storage: &S, place: &Place, boot_id: u64) -> Result<u64, JournalError> {
    // Segments before were synced before, unless they were written with durability `process`: reading them proved what is in the page
    // cache, and syncing a clean file costs nothing.
    for ordinal in (0..=place.header.ordinal).rev() {
        let name = segment_name(place.header.shard, ordinal);
        if storage.length(&name).is_err() {
            break;
        }
        storage.sync(&name)?;
    }
    let offset = if place.sealed { place.header.segment_size } else { place.offset };
    debug_assert!(offset >= DATA_OFFSET as u64);
    for generation in place.generation + 1..=place.generation + MARK_OFFSETS.len() as u64 {
        let mark = SyncMark { generation, offset, boot_id };
        storage.overwrite(&place.name, mark.slot() as u64, &mark.encode())?;
        storage.sync(&place.name)?;
    }
    Ok(place.generation + MARK_OFFSETS.len() as u64 + 1)
}
