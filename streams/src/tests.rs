//! Behaviour of each half on its own, step by step. The two against each other on a bad network: `streams/tests/simulation.rs`.

use super::*;
use wire::moldudp64::{MAX_PAYLOAD, Packet};

const NAME: SessionName = *b"DAAAAAAAAA";
const MS: u64 = 1_000_000;

fn push(stream: &mut SendStream, message: &[u8]) -> Result<u64, PushError> {
    stream.push(message.len(), |out| {
        out.copy_from_slice(message);
        message.len()
    })
}

/// Packs the next datagram: (header, messages).
fn pack(stream: &mut SendStream, now: u64, limit: u64) -> Option<(Header, Vec<Vec<u8>>)> {
    let mut out = [0; MAX_PAYLOAD];
    let length = stream.pack(now, limit, &mut out)?;
    let packet = Packet::parse(&out[..length]).expect("a well-formed packet");
    Some((packet.header, packet.blocks().map(<[u8]>::to_vec).collect()))
}

fn small(retention: Retention) -> SendConfig {
    SendConfig { ring_bytes: 256, ring_messages: 8, message_bytes_max: 32, retention, ..SendConfig::engine() }
}

struct Receiver {
    stream: ReceiveStream,
    pool: ParkingPool,
    delivered: Vec<u64>,
}

impl Receiver {
    fn new(config: ReceiveConfig) -> Self {
        Receiver {
            stream: ReceiveStream::new(config, NAME, 1),
            pool: ParkingPool::new(16, 64),
            delivered: vec![],
        }
    }

    fn take(&mut self, sequence: u64, count: u16, now: u64) -> Received {
        let header = Header { session: NAME, sequence, count };
        let blocks: Vec<u8> = if count == END_OF_SESSION {
            vec![]
        } else {
            (0..count).flat_map(|index| [0, 1, (sequence + u64::from(index)) as u8]).collect()
        };
        self.stream.on_datagram(&header, &blocks, now, &mut self.pool, |run| {
            for (sequence, message) in run.messages() {
                assert_eq!(message, [sequence as u8]);
                self.delivered.push(sequence);
            }
        })
    }

    /// Everything it wants to send now: (sequence, count).
    fn answers(&mut self, now: u64) -> Vec<(u64, u16)> {
        self.stream.on_timer(now);
        let mut out = [0; HEADER_LENGTH];
        let mut answers = vec![];
        while self.stream.pack(&self.pool, &mut out).is_some() {
            let header = Header::read(&out).unwrap();
            assert_eq!(header.session, NAME);
            answers.push((header.sequence, header.count));
        }
        answers
    }
}

#[test]
fn whatever_is_ready_goes_together_and_nothing_waits() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    assert_eq!(push(&mut stream, b"a"), Ok(1));
    assert_eq!(push(&mut stream, b""), Ok(2));
    let (header, messages) = pack(&mut stream, 0, u64::MAX).unwrap();
    assert_eq!((header.sequence, header.count), (1, 2));
    assert_eq!(messages, [b"a".to_vec(), vec![]]);
    assert_eq!(pack(&mut stream, 0, u64::MAX), None);
}

#[test]
fn messages_at_or_beyond_the_limit_stay() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    for _ in 0..3 {
        push(&mut stream, b"x").unwrap();
    }
    assert_eq!(pack(&mut stream, 0, 1), None);
    assert!(!stream.wants_to_send(1));
    assert_eq!(pack(&mut stream, 0, 3).unwrap().0.count, 2);
    assert_eq!(stream.unsent(), 1);
    assert_eq!(stream.on_request(3, 1), RequestOutcome::Nothing, "asking does not lift the gate");
}

/// Messages evicted before they were released: that they exist is not told, and they cannot be asked for, until they are.
#[test]
fn what_was_evicted_before_its_release_stays_untold() {
    let mut stream = SendStream::new(small(Retention::Overwrite), NAME, 0);
    for _ in 1..=20 {
        push(&mut stream, b"m").unwrap();
    }
    assert_eq!(stream.first(), 13);
    for limit in [1, 5, 12] {
        assert_eq!(
            pack(&mut stream, 0, limit).map(|(header, _)| header.sequence),
            (limit > 1).then_some(limit)
        );
        assert_eq!(stream.sent(), limit, "no further than released");
        assert_eq!(pack(&mut stream, 0, limit), None);
        assert!(!stream.wants_to_send(limit));
        assert_eq!(stream.on_request(limit, 100), RequestOutcome::Nothing);
        stream.request_heartbeat();
        let (header, _) = pack(&mut stream, 0, limit).unwrap();
        assert_eq!((header.sequence, header.count), (limit, HEARTBEAT));
    }
    assert_eq!(stream.on_request(1, 100), RequestOutcome::TooOld { from: 1, until: 12 });
    // Of what is still there, what was released leaves; the receiver sees the gap before it.
    let (header, messages) = pack(&mut stream, 0, 16).unwrap();
    assert_eq!((header.sequence, messages.len()), (13, 3));
    assert_eq!(stream.on_request(1, 100), RequestOutcome::TooOld { from: 1, until: 13 });
}

/// A login may put a stream where it has not been released to.
#[test]
fn a_stream_resumed_beyond_the_limit_tells_nothing_beyond_it() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    for _ in 1..=20 {
        push(&mut stream, b"m").unwrap();
    }
    stream.resume_from(21, 0).unwrap();
    assert_eq!(stream.on_request(1, 20), RequestOutcome::Queued);
    let (header, messages) = pack(&mut stream, 0, 5).unwrap();
    assert_eq!((header.sequence, messages.len()), (1, 4));
    assert_eq!(pack(&mut stream, 0, 5), None, "the rest of the range is asked for again");
    stream.request_heartbeat();
    assert_eq!(pack(&mut stream, 0, 5).unwrap().0.sequence, 5);
}

#[test]
fn a_datagram_holds_as_many_whole_messages_as_fit() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    for _ in 0..50 {
        push(&mut stream, &[7; 100]).unwrap();
    }
    let counts: Vec<u16> = std::iter::from_fn(|| pack(&mut stream, 0, u64::MAX)).map(|p| p.0.count).collect();
    // (1472 - 20) / 102 = 14.
    assert_eq!(counts, [14, 14, 14, 8]);
}

#[test]
fn an_overwriting_stream_drops_the_oldest_and_says_what_it_no_longer_has() {
    let mut stream = SendStream::new(small(Retention::Overwrite), NAME, 0);
    for sequence in 1..=20 {
        assert_eq!(push(&mut stream, b"m"), Ok(sequence));
        pack(&mut stream, 0, u64::MAX).unwrap();
    }
    assert_eq!(stream.first(), 13);
    assert_eq!(stream.statistics().overwritten_unacknowledged, 12);
    assert_eq!(stream.on_request(5, 10), RequestOutcome::TooOld { from: 5, until: 13 });
    let (header, _) = pack(&mut stream, 0, u64::MAX).expect("the rest is queued");
    assert_eq!((header.sequence, header.count), (13, 2));
    assert_eq!(stream.on_request(1, 3), RequestOutcome::TooOld { from: 1, until: 4 });
    assert_eq!(pack(&mut stream, 0, u64::MAX), None);
}

#[test]
fn a_blocking_stream_refuses_until_acknowledged_by_messages_and_by_bytes() {
    let mut stream = SendStream::new(small(Retention::Block), NAME, 0);
    for _ in 0..7 {
        push(&mut stream, &[1; 32]).unwrap();
    }
    assert_eq!(push(&mut stream, &[1; 32]), Err(PushError::WindowFull { unacknowledged: 7 }), "256 bytes");
    push(&mut stream, b"").unwrap();
    assert_eq!(push(&mut stream, b""), Err(PushError::WindowFull { unacknowledged: 8 }), "8 messages");
    while pack(&mut stream, 0, u64::MAX).is_some() {}
    assert_eq!(stream.on_ack(3, 0), 2);
    push(&mut stream, b"").unwrap();
    let mut stream = SendStream::new(SendConfig { window_messages: 2, ..small(Retention::Block) }, NAME, 0);
    push(&mut stream, b"").unwrap();
    push(&mut stream, b"").unwrap();
    assert_eq!(push(&mut stream, b""), Err(PushError::WindowFull { unacknowledged: 2 }), "the window");
    assert!(matches!(push(&mut stream, &[0; 33]), Err(PushError::MessageTooLong { got: 33, max: 32 })));
}

#[test]
fn a_requested_range_is_sent_again_once_however_often_it_is_asked_for() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    for _ in 0..20 {
        push(&mut stream, b"m").unwrap();
    }
    pack(&mut stream, 0, u64::MAX).unwrap();
    assert_eq!(stream.on_request(5, 3), RequestOutcome::Queued);
    assert_eq!(stream.on_request(5, 3), RequestOutcome::Nothing);
    assert_eq!(stream.on_request(8, 2), RequestOutcome::Queued, "adjacent: merged");
    assert_eq!(stream.on_request(30, 2), RequestOutcome::Nothing, "never sent");
    assert_eq!(stream.on_request(0, 2), RequestOutcome::Nothing, "sequences start at 1");
    assert_eq!(stream.on_request(u64::MAX, 0xFFFE), RequestOutcome::Nothing);
    let (header, _) = pack(&mut stream, 0, u64::MAX).unwrap();
    assert_eq!((header.sequence, header.count), (5, 5));
    assert_eq!(pack(&mut stream, 0, u64::MAX), None);
}

#[test]
fn more_scattered_ranges_than_there_is_room_for_are_refused() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    for _ in 0..100 {
        push(&mut stream, b"m").unwrap();
    }
    pack(&mut stream, 0, u64::MAX).unwrap();
    let outcomes: Vec<_> = (0..12).map(|index| stream.on_request(1 + index * 3, 1)).collect();
    assert_eq!(outcomes.iter().filter(|&&outcome| outcome == RequestOutcome::Queued).count(), 8);
    assert_eq!(stream.statistics().requests_limited, 4);
}

#[test]
fn requests_cannot_make_it_send_more_than_its_budget() {
    let config = SendConfig {
        retransmit_bytes_per_second: 10_000,
        retransmit_burst_bytes: 5_000,
        ..SendConfig::engine()
    };
    let mut stream = SendStream::new(config, NAME, 0);
    for _ in 0..100 {
        push(&mut stream, &[1; 98]).unwrap();
    }
    while pack(&mut stream, 0, u64::MAX).is_some() {}
    stream.on_ack(101, 0);
    let mut bytes = 0;
    let mut out = [0; MAX_PAYLOAD];
    for step in 0..10_000 {
        stream.on_request(1, 100);
        while let Some(length) = stream.pack_retransmission(step * MS / 10, u64::MAX, &mut out) {
            bytes += length;
        }
    }
    // A burst, and one second's worth.
    assert!((10_000..=15_000).contains(&bytes), "{bytes} bytes");
    assert!(stream.next_deadline() > 1_000 * MS, "the next step waits for budget, without spinning");
}

#[test]
fn silence_is_broken_by_a_heartbeat_each_second() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    assert_eq!(stream.next_deadline(), 1_000 * MS);
    stream.on_timer(999 * MS);
    assert_eq!(pack(&mut stream, 999 * MS, u64::MAX), None);
    stream.on_timer(1_000 * MS);
    let (header, _) = pack(&mut stream, 1_000 * MS, u64::MAX).unwrap();
    assert_eq!((header.sequence, header.count), (1, HEARTBEAT));
    assert_eq!(stream.next_deadline(), 2_000 * MS);
}

#[test]
fn an_unacknowledged_tail_is_probed_with_doubling_pauses_until_progress() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    push(&mut stream, b"m").unwrap();
    push(&mut stream, b"m").unwrap();
    pack(&mut stream, 0, u64::MAX).unwrap();
    let mut now = 0;
    let mut pauses = vec![];
    for _ in 0..5 {
        let deadline = stream.next_deadline();
        pauses.push((deadline - now) / MS);
        now = deadline;
        stream.on_timer(now);
        let (header, _) = pack(&mut stream, now, u64::MAX).unwrap();
        assert_eq!((header.sequence, header.count), (3, HEARTBEAT));
    }
    assert_eq!(pauses, [20, 40, 80, 160, 320]);
    assert_eq!(stream.on_ack(2, now), 1);
    assert_eq!(stream.next_deadline(), now + 20 * MS, "the peer is there");
    assert_eq!(stream.on_ack(3, now), 1);
    assert_eq!(stream.next_deadline(), now + 1_000 * MS, "nothing in flight: only the heartbeat is left");
}

#[test]
fn what_is_only_late_is_asked_after_and_not_sent_twice() {
    let mut stream = SendStream::new(SendConfig::client(), NAME, 0);
    for _ in 0..3 {
        push(&mut stream, b"m").unwrap();
    }
    pack(&mut stream, 0, u64::MAX).unwrap();
    stream.on_ack(2, MS);
    stream.on_timer(21 * MS);
    let (header, _) = pack(&mut stream, 21 * MS, u64::MAX).unwrap();
    assert_eq!((header.sequence, header.count), (4, HEARTBEAT));
    stream.on_ack(4, 30 * MS);
    assert_eq!(stream.statistics().retransmitted_messages, 0);
    // It took that long, and so may the next.
    assert_eq!(stream.round_trip().timeout_ns(0), Some(90 * MS));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_ignored() {
    let mut stream = SendStream::new(SendConfig::client(), NAME, 0);
    push(&mut stream, b"m").unwrap();
    assert_eq!(stream.on_ack(2, 0), 0);
    assert_eq!((stream.acked(), stream.statistics().acks_invalid), (1, 1));
}

#[test]
fn a_new_login_replays_from_where_it_asks_if_that_is_retained() {
    let mut stream = SendStream::new(small(Retention::Overwrite), NAME, 0);
    for _ in 0..20 {
        push(&mut stream, b"m").unwrap();
        pack(&mut stream, 0, u64::MAX).unwrap();
    }
    stream.on_ack(21, 0);
    assert_eq!(stream.resume_from(12, 0), Err(NotRetained { wanted: 12, first: 13, next: 21 }));
    assert!(stream.resume_from(22, 0).is_err());
    stream.resume_from(15, 0).unwrap();
    let (header, messages) = pack(&mut stream, 0, u64::MAX).unwrap();
    assert_eq!((header.sequence, messages.len()), (15, 6));
}

#[test]
fn a_restored_stream_goes_on_where_it_stopped() {
    let mut stream = SendStream::restore(SendConfig::engine(), NAME, 41, 0);
    assert_eq!(push(&mut stream, b"m"), Ok(41));
    assert_eq!(pack(&mut stream, 0, u64::MAX).unwrap().0.sequence, 41);
    assert_eq!(stream.on_request(40, 1), RequestOutcome::TooOld { from: 40, until: 41 });
}

#[test]
fn an_ended_stream_says_so_after_its_last_message() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    push(&mut stream, b"m").unwrap();
    stream.end();
    assert_eq!(push(&mut stream, b"m"), Err(PushError::Ended));
    assert_eq!(pack(&mut stream, 0, u64::MAX).unwrap().0.count, 1);
    let (header, _) = pack(&mut stream, 0, u64::MAX).unwrap();
    assert_eq!((header.sequence, header.count), (2, END_OF_SESSION));
    assert_eq!(stream.on_request(1, 1), RequestOutcome::Queued, "still answered");
}

#[test]
fn messages_are_delivered_in_order_once_whatever_the_order_of_arrival() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    assert_eq!(receiver.take(1, 2, 0), Received::Delivered(2));
    assert_eq!(receiver.take(6, 2, 0), Received::Parked);
    assert_eq!(receiver.take(6, 2, 0), Received::Duplicate);
    assert_eq!(receiver.take(1, 2, 0), Received::Duplicate);
    assert_eq!(receiver.take(2, 2, 0), Received::Delivered(1), "the old part is skipped");
    assert_eq!(receiver.take(4, 3, 0), Received::Delivered(4), "and so is the part that was parked");
    assert_eq!(receiver.delivered, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(receiver.pool.free(), receiver.pool.capacity());
}

#[test]
fn what_is_beyond_the_window_changes_nothing() {
    let mut receiver = Receiver::new(ReceiveConfig { window_messages: 10, ..ReceiveConfig::default() });
    assert_eq!(receiver.take(10, 2, 0), Received::FarAhead);
    assert_eq!(receiver.take(u64::MAX - 1, 1, 0), Received::FarAhead);
    assert_eq!(receiver.stream.next_deadline(), u64::MAX);
    assert_eq!(receiver.stream.behind(), 0);
    assert_eq!(receiver.take(9, 2, 0), Received::Parked);
    assert_eq!(
        receiver.take(1, 12, 0),
        Received::Delivered(12),
        "the window does not bound what is in order"
    );
}

#[test]
fn malformed_datagrams_change_nothing() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    for (sequence, count, blocks) in
        [(1, 2, &[0, 0][..]), (1, 1, &[0, 9, 1]), (0, 1, &[0, 0]), (1, 0, &[1]), (u64::MAX, 1, &[0, 0])]
    {
        let header = Header { session: NAME, sequence, count };
        let received =
            receiver.stream.on_datagram(&header, blocks, 0, &mut receiver.pool, |_| panic!("delivered"));
        assert_eq!(received, Received::Malformed, "{sequence} {count} {blocks:?}");
    }
    assert_eq!((receiver.stream.next(), receiver.stream.next_deadline()), (1, u64::MAX));
    assert!(!receiver.stream.wants_to_send());
}

#[test]
fn parking_is_bounded_per_stream_and_by_the_pool() {
    let mut receiver = Receiver::new(ReceiveConfig { parked_datagrams_max: 2, ..ReceiveConfig::default() });
    assert_eq!(receiver.take(3, 1, 0), Received::Parked);
    assert_eq!(receiver.take(5, 1, 0), Received::Parked);
    assert_eq!(receiver.take(7, 1, 0), Received::Dropped);
    assert_eq!(receiver.stream.statistics().dropped_no_room, 1);
    receiver.stream.clear(&mut receiver.pool);
    assert_eq!(receiver.pool.free(), 16);
    receiver.pool = ParkingPool::new(1, 64);
    assert_eq!(receiver.take(3, 1, 0), Received::Parked);
    assert_eq!(receiver.take(5, 1, 0), Received::Dropped);
}

#[test]
fn holes_are_asked_for_after_the_grace_period_and_again_with_growing_pauses() {
    let config =
        ReceiveConfig { reorder_grace_ns: MS, retry_ns: 2 * MS, retry_ns_max: 8 * MS, ..Default::default() };
    let mut receiver = Receiver::new(config);
    receiver.take(3, 2, 0);
    receiver.take(8, 1, 0);
    assert_eq!(receiver.answers(MS - 1), []);
    assert_eq!(receiver.stream.next_deadline(), MS);
    assert_eq!(receiver.answers(MS), [(1, 2), (5, 3)], "every hole at once");
    let mut at = MS;
    let mut pauses = vec![];
    for _ in 0..4 {
        let deadline = receiver.stream.next_deadline();
        pauses.push((deadline - at) / MS);
        at = deadline;
        assert_eq!(receiver.answers(at), [(1, 2), (5, 3)]);
    }
    assert_eq!(pauses, [2, 2, 4, 8]);
    receiver.take(10, 1, at);
    assert_eq!(receiver.answers(at + MS), [(9, 1)], "only the new hole: the others were asked for just now");
}

#[test]
fn a_hole_that_closes_by_itself_within_the_grace_period_is_not_asked_for() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    receiver.take(2, 1, 0);
    receiver.take(1, 1, 10);
    assert_eq!(receiver.delivered, [1, 2]);
    assert_eq!(receiver.answers(ReceiveConfig::default().reorder_grace_ns), []);
}

#[test]
fn new_holes_do_not_put_off_the_repetition_for_older_ones() {
    let config = ReceiveConfig { reorder_grace_ns: MS, retry_ns: 10 * MS, ..Default::default() };
    let mut receiver = Receiver::new(config);
    receiver.take(2, 1, 0);
    assert_eq!(receiver.answers(MS), [(1, 1)]);
    let mut again = None;
    for step in 2..14 {
        receiver.take(2 * step, 1, step * MS);
        if receiver.answers(step * MS).contains(&(1, 1)) {
            again = Some(step);
        }
    }
    assert_eq!(again, Some(11));
}

#[test]
fn a_heartbeat_reveals_a_lost_tail_and_is_answered() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    assert_eq!(receiver.take(4, HEARTBEAT, 0), Received::Heartbeat);
    let grace = ReceiveConfig::default().reorder_grace_ns;
    assert_eq!(receiver.answers(0), [(1, 0)], "what we have");
    assert_eq!(receiver.answers(grace), [(1, 3)], "what we lack");
}

#[test]
fn acknowledgements_wait_for_a_number_of_messages_or_a_moment_but_duplicates_get_one_at_once() {
    let config = ReceiveConfig { ack_every_messages: 4, ack_delay_ns: MS, ..Default::default() };
    let mut receiver = Receiver::new(config);
    receiver.take(1, 3, 0);
    assert_eq!(receiver.answers(0), []);
    receiver.take(4, 1, 0);
    assert_eq!(receiver.answers(0), [(5, 0)]);
    receiver.take(5, 1, 100);
    receiver.take(6, 1, 200);
    assert_eq!(receiver.stream.next_deadline(), 100 + MS, "counted from the first unacknowledged");
    assert_eq!(receiver.answers(100 + MS), [(7, 0)]);
    assert_eq!(receiver.stream.next_deadline(), u64::MAX);
    receiver.take(5, 1, 2 * MS);
    assert_eq!(receiver.answers(2 * MS), [(7, 0)]);
}

#[test]
fn the_end_is_reached_when_everything_before_it_was_delivered() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    receiver.take(1, 1, 0);
    assert_eq!(receiver.take(3, END_OF_SESSION, 0), Received::Heartbeat);
    assert!(!receiver.stream.is_ended());
    receiver.take(2, 1, 0);
    assert!(receiver.stream.is_ended());
    assert_eq!(receiver.take(3, END_OF_SESSION, 0), Received::Ended);
}

#[test]
fn datagrams_are_told_apart_by_name_count_and_length() {
    let (own, peer) = (*b"UAAAAAAAAA", *b"DAAAAAAAAA");
    let kind =
        |session, count, length| classify(&Header { session, sequence: 1, count }, length, &own, &peer);
    assert_eq!(kind(peer, 1, 30), Kind::Stream);
    assert_eq!(kind(peer, 0, 20), Kind::Stream);
    assert_eq!(kind(own, 0, 20), Kind::Acknowledgement);
    assert_eq!(kind(own, 5, 20), Kind::Request);
    assert_eq!(kind(own, 5, 30), Kind::Malformed, "our own data reflected");
    assert_eq!(kind(own, END_OF_SESSION, 20), Kind::Malformed);
    assert_eq!(kind(*b"UBBBBBBBBB", 1, 30), Kind::Foreign);
}

#[test]
fn the_first_probe_waits_as_long_as_acknowledgements_were_measured_to_take() {
    let mut stream = SendStream::new(SendConfig::client(), NAME, 0);
    for round in 0..50 {
        push(&mut stream, b"m").unwrap();
        pack(&mut stream, round * 100 * MS, u64::MAX).unwrap();
        stream.on_ack(stream.next(), round * 100 * MS + 40 * MS);
    }
    push(&mut stream, b"m").unwrap();
    pack(&mut stream, 0, u64::MAX).unwrap();
    assert!((45 * MS..48 * MS).contains(&stream.next_deadline()), "{} ns", stream.next_deadline());
}

#[test]
fn what_was_sent_twice_is_not_timed() {
    let mut stream = SendStream::new(SendConfig::client(), NAME, 0);
    push(&mut stream, b"m").unwrap();
    pack(&mut stream, 0, u64::MAX).unwrap();
    stream.on_timer(20 * MS);
    pack(&mut stream, 20 * MS, u64::MAX).unwrap();
    stream.on_request(1, 1);
    pack(&mut stream, 20 * MS, u64::MAX).unwrap();
    // Of the first one or the second? Nobody knows.
    stream.on_ack(2, 21 * MS);
    assert_eq!(stream.round_trip(), RoundTrip::default());
    push(&mut stream, b"m").unwrap();
    pack(&mut stream, 100 * MS, u64::MAX).unwrap();
    assert_eq!(stream.next_deadline(), 120 * MS);
    stream.on_ack(3, 101 * MS);
    push(&mut stream, b"m").unwrap();
    pack(&mut stream, 200 * MS, u64::MAX).unwrap();
    assert_eq!(stream.next_deadline(), 206 * MS, "one millisecond, and what a peer may be away");
}

#[test]
fn duplicates_are_answered_once_per_round_trip() {
    let mut receiver = Receiver::new(ReceiveConfig::default());
    receiver.take(1, 1, 0);
    let mut acknowledgements = 0;
    for step in 1..=100 {
        let now = step * MS / 10;
        receiver.take(1, 1, now);
        receiver.stream.on_timer(now);
        let mut out = [0; 20];
        while receiver.stream.pack(&receiver.pool, &mut out).is_some() {
            acknowledgements += 1;
        }
    }
    assert!((18..=22).contains(&acknowledgements), "{acknowledgements} in 10 ms, one each 0.5 ms");
}

/// Both ends of a session that asks a question and gets an answer, again and again; datagrams each way.
fn datagrams_of_a_conversation(rides: bool, rounds: u64) -> (u64, u64) {
    const OTHER: SessionName = *b"U123456789";
    let mut client = Duplex::new((SendConfig::client(), OTHER, 1), (ReceiveConfig::default(), NAME, 1), 0);
    let mut engine = Duplex::new((SendConfig::engine(), NAME, 1), (ReceiveConfig::default(), OTHER, 1), 0);
    let mut pools = [ParkingPool::new(4, 64), ParkingPool::new(4, 64)];
    engine.set_rides(rides);
    let (mut up, mut down) = (0, 0);
    let mut out = [0; 1472];
    for round in 0..rounds {
        let now = round * 2 * MS;
        client.send.push(5, |_| 5).unwrap();
        // Timers twice a round, as acknowledgements wait for a millisecond.
        for now in [now, now + MS] {
            client.on_timer(now);
            while let Some(length) = client.pack(now, u64::MAX, &pools[0], &mut out) {
                up += 1;
                let mut orders = 0;
                engine.on_datagram(&out[..length], now, &mut pools[1], |run| orders += u64::from(run.count));
                (0..orders).for_each(|_| {
                    engine.send.push(5, |_| 5).unwrap();
                });
            }
            engine.on_timer(now);
            while let Some(length) = engine.pack(now, u64::MAX, &pools[1], &mut out) {
                down += 1;
                client.on_datagram(&out[..length], now, &mut pools[0], |_| {});
            }
        }
    }
    assert_eq!((engine.receive.next(), client.receive.next()), (rounds + 1, rounds + 1));
    assert!(client.send.unacknowledged() <= 1 && engine.send.unacknowledged() <= 1);
    (up, down)
}

#[test]
fn an_acknowledgement_that_rides_takes_no_datagram() {
    let (up, down) = datagrams_of_a_conversation(false, 100);
    assert!(up >= 190 && down >= 190, "each takes one of its own a millisecond later: {up} up, {down} down");
    let (up, down) = datagrams_of_a_conversation(true, 100);
    assert!(down == 100, "{down} down: every answer acknowledges its order");
    assert!((100..=102).contains(&up), "{up} up: the next order acknowledges the answer before");
}

#[test]
fn acknowledgements_ride_no_more_often_than_is_of_use() {
    let mut pool = ParkingPool::new(4, 64);
    let mut riders = |apart_ns: u64, messages: u64| {
        let mut stream = ReceiveStream::new(ReceiveConfig::default(), NAME, 1);
        let mut out = [0; RIDER_LENGTH];
        let mut last = 0;
        let count = (1..=messages).filter(|sequence| {
            let header = Header { session: NAME, sequence: *sequence, count: 1 };
            let now = sequence * apart_ns;
            stream.on_datagram(&header, b"\0\x01a", now, &mut pool, |_| {});
            let rode = stream.ride(u64::MAX, now, &mut out) > 0;
            last = if rode { *sequence } else { last };
            rode
        });
        (count.count(), messages - last)
    };
    assert_eq!(riders(2 * MS, 100), (100, 0), "one of many clients: each answer acknowledges its order");
    let (count, owed) = riders(4_000, 1_000);
    assert!((62..=63).contains(&count) && owed < 16, "{count} of 1,000 orders 4 us apart, {owed} owed");
    let (count, _) = riders(50_000, 1_000);
    assert_eq!(count, 500, "two within each interval");
}

#[test]
fn a_rider_is_told_from_blocks_and_from_nonsense() {
    let blocks = [0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let (run, rider) =
        Run::parse_ridden(7, 1, &blocks[..11]).map(|(run, rider)| (run.blocks, rider)).unwrap();
    assert_eq!((run, rider), (&b"\0\x01a"[..], Some(0)));
    assert!(Run::parse_ridden(7, 1, &blocks).is_err(), "nine bytes are no rider");
    assert!(Run::parse(7, 1, &blocks[..11]).is_err(), "not where it was not agreed on");
    assert_eq!(Run::parse_ridden(7, 1, &blocks[..3]).unwrap().1, None);
    assert!(Run::parse_ridden(7, 0, &[0; 8]).is_err(), "nothing rides behind nothing");
}

#[test]
fn a_probe_is_answered_with_how_far_the_stream_is_while_something_is_unacknowledged() {
    let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
    let mut out = [0; 1472];
    stream.on_probe();
    assert_eq!(stream.pack(0, u64::MAX, &mut out), None, "nothing can be lost");
    stream.push(5, |_| 5).unwrap();
    stream.pack(0, u64::MAX, &mut out).unwrap();
    stream.on_probe();
    assert_eq!(stream.pack(1, u64::MAX, &mut out), Some(HEADER_LENGTH));
    assert_eq!(Header::read(&out).unwrap(), Header { session: NAME, sequence: 2, count: HEARTBEAT });
}

#[test]
fn a_stream_whose_peer_waits_to_ride_probes_that_much_later() {
    let first_probe = |waits: bool| {
        let mut stream = SendStream::new(SendConfig::engine(), NAME, 0);
        stream.set_peer_waits_to_ride(waits);
        stream.push(5, |_| 5).unwrap();
        stream.pack(0, u64::MAX, &mut [0; 1472]).unwrap();
        stream.next_deadline()
    };
    assert_eq!(first_probe(true) - first_probe(false), 5 * MS);
}
