//! A shard with so many instruments that it looks over the messages of a datagram before it applies them: nothing that it
//! says may depend on that.

use book::random::Random;
use book::{TradingState, WARM_INSTRUMENTS};
use engine::inputs::{FirmRights, Genesis, Input};

use crate::ask::{CENT, Request, TEN, alpha, buy, cancel, modify, replace};
use crate::venue::{Raw, Venue, genesis, instrument, opened};

fn venue() -> Venue {
    let mut v = Venue::empty(Genesis { max_instruments: WARM_INSTRUMENTS, ..genesis() });
    for number in 0..WARM_INSTRUMENTS {
        v.input(Input::Instrument(instrument(&format!("S{number}"), TradingState::Open), FirmRights::NONE));
    }
    for session in 0..2 {
        v.input(Input::SessionOpened(opened(session, "FRMA")));
    }
    v.raw = Raw::default();
    v
}

/// A datagram's messages: orders that rest and trade, changes of live and of dead ones, and what cannot be read.
fn datagram(random: &mut Random, user_ref: &mut u32) -> Vec<Vec<u8>> {
    let request = |random: &mut Random, user_ref: &mut u32| -> Vec<u8> {
        *user_ref += 1;
        let known = user_ref.saturating_sub(1 + random.below(40) as u32).max(1);
        let price = TEN + CENT * random.below(8);
        let quantity = 1 + random.below(20) as u32;
        match random.below(12) {
            0..6 => buy(*user_ref, quantity, price)
                .with(|order| {
                    // Some of the symbols do not exist.
                    order.symbol = alpha(&format!("S{}", random.below(12) * 97));
                    order.side = *b"BSTE".get(random.below(5) as usize).unwrap_or(&b'?');
                })
                .bytes(),
            6..8 => cancel(known, random.below(8) as u32).bytes(),
            8 => modify(known, b'S', quantity).bytes(),
            9 | 10 => replace(known, *user_ref, quantity, price).bytes(),
            _ => vec![b"OXU?"[random.below(4) as usize]; random.below(50) as usize],
        }
    };
    (0..random.below(150)).map(|_| request(random, user_ref)).collect()
}

#[test]
fn messages_of_one_datagram_fare_as_if_each_had_come_alone() {
    let mut random = Random::from_environment();
    let (mut together, mut alone) = (venue(), venue());
    let mut user_refs = [0; 2];
    let mut executions = 0;
    for _ in 0..200 {
        let session = random.below(2) as u32;
        let messages = datagram(&mut random, &mut user_refs[session as usize]);
        together.send(session, &messages);
        messages.iter().for_each(|message| alone.send(session, std::slice::from_ref(message)));
        assert_eq!(together.raw, alone.raw);
        executions +=
            together.raw.sessions.iter().filter(|(_, answer)| answer.first() == Some(&b'E')).count();
        (together.raw, alone.raw) = (Raw::default(), Raw::default());
        assert_eq!(together.shard.state_hash(), alone.shard.state_hash());
    }
    assert_eq!(together.shard.counters(), alone.shard.counters());
    assert!(executions > 100 && together.shard.market().live_orders() > 50);
}
