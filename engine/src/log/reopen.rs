//! Turns the end of a journal that was read into a journal that is written: the torn tail removed, everything read made durable. Decides
//! nothing about damage; a damaged journal never gets here, since [`Reader`](super::Reader) refuses.

use std::sync::{Arc, mpsc};

use super::{
    crc::Crc,
    end::{End, Ending, Place, Segment},
    error::JournalError,
    format::{DATA_OFFSET, HEADER_LENGTH, Lsn, MARK_OFFSETS, RECORD_HEADER_LENGTH, SegmentHeader, SyncMark},
    keeper::{KeptSegment, Preparer, Step, Syncer},
    reader::{CHUNK, segments},
    settings::JournalSettings,
    shared::{Position, Progress},
    storage::Storage,
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
    settings: JournalSettings,
) -> Result<Parts<S>, JournalError> {
    settings.check()?;
    // From the last on, each for good: whatever a crash leaves has no gap. What follows a seal stays until its replacement takes its name: a
    // seal without a next segment is a journal that has lost its end.
    let follows_a_seal = usize::from(end.place.as_ref().is_some_and(|place| place.sealed));
    for leftover in end.leftovers.iter().skip(follows_a_seal).rev() {
        storage.remove(&leftover.name)?;
        storage.sync_directory()?;
    }
    let boot_id = storage.boot_id();
    let reopened = match &end.place {
        None => None,
        Some(place) => {
            if let Ending::Torn { file, offset, record, bytes, what } = &end.tail {
                tracing::warn!(%file, offset, %record, bytes, %what, "the journal has a torn tail, never acknowledged: removed");
                if !place.sealed {
                    erase(&storage, place)?;
                }
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
    let progress = Arc::new(Progress::starting_after(end.last, position, settings.durability));
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
            let _ = to_syncer.try_send(KeptSegment {
                ordinal,
                size,
                synced: offset,
                generation,
                keeper,
                unmarked: 0,
            });
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
        Some(first) => {
            // Clients that come back together bring in one batch more than what may be left of a segment. Without another one the
            // engine would stop, and be no further the next time. Where there is no room for one, it runs as far as it gets.
            while preparer.is_urgent() && preparer.step().is_ok() {}
            first
        }
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

/// Zeros from the end of the records on. The header of the torn record goes last and from its end, so that wherever this is cut short
/// the tail is still a torn one: its first word says that something was written until nothing is left. And it goes when the disk has the
/// other zeros: after a failed sync the kernel takes them for written, and the next start, which would find a clean end, would not know that
/// old bytes may come back from the disk between new records.
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
    storage.sync(&place.name)?;
    for word in (place.offset / 4..header_end / 4).rev() {
        storage.overwrite(&place.name, word * 4, &zeros[..4])?;
    }
    Ok(())
}

/// Makes all that was read durable, and says so in the marks, for this boot. Returns the last segment's next generation.
///
/// What no mark vouches for is written once more, with the bytes that are there: after a failed sync the kernel may hold pages that it
/// takes for written and the disk never got, and would not write again by itself.
fn make_durable<S: Storage>(storage: &S, place: &Place, boot_id: u64) -> Result<u64, JournalError> {
    // Oldest first: a mark says that everything before it is durable, segments before included.
    for segment in segments(storage, place.header.shard)? {
        if segment.ordinal < place.header.ordinal && segment.synced() < segment.length {
            let generation = write_again(storage, &segment, segment.length)? + 1;
            let mark = SyncMark { generation, offset: segment.length, boot_id };
            storage.overwrite(&segment.name, mark.slot() as u64, &mark.encode())?;
            storage.sync(&segment.name)?;
        }
    }
    let end = if place.sealed { place.header.segment_size } else { place.offset };
    let segment = Segment::examine(storage, place.name.clone(), place.header.ordinal)?;
    let mut generation = write_again(storage, &segment, end)?;
    for _ in MARK_OFFSETS {
        generation += 1;
        let mark = SyncMark { generation, offset: end, boot_id };
        storage.overwrite(&place.name, mark.slot() as u64, &mark.encode())?;
        storage.sync(&place.name)?;
    }
    Ok(generation + 1)
}

/// Writes and syncs what lies between the segment's mark and `end`. Returns the mark's generation.
fn write_again<S: Storage>(storage: &S, segment: &Segment, end: u64) -> Result<u64, JournalError> {
    let name = &segment.name;
    let mut buffer = vec![0; CHUNK];
    let header = storage.read(name, 0, &mut buffer[..HEADER_LENGTH])?;
    storage.overwrite(name, 0, &buffer[..header])?;
    let mut offset = segment.synced().max(DATA_OFFSET as u64);
    while offset < end {
        let wanted = CHUNK.min((end - offset) as usize);
        let count = storage.read(name, offset, &mut buffer[..wanted])?;
        storage.overwrite(name, offset, &buffer[..count])?;
        if count < wanted {
            break;
        }
        offset += count as u64;
    }
    storage.sync(name)?;
    Ok(segment.mark.map_or(0, |mark| mark.generation))
}
