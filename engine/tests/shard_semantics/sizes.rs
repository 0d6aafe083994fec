//! Tables that grow: what was there stays as it was, and the shard goes on as one that began with the larger ones.
//!
//! `PITLANE_SEED=n` repeats a run.

use book::TradingState;
use engine::inputs::{FirmRights, Genesis, Input, Sizes};
use engine::shard::{ApplyError, Shard};
use netio::random::{Random, seed_from_environment};

use crate::ask::{Request, TEN, buy, cancel, sell};
use crate::venue::{Raw, SECOND, Venue, genesis, instrument, opened};

const LARGE: Sizes = Sizes { max_orders: 1_000, max_price_levels: 600, max_sessions: 8, max_instruments: 8 };

fn small() -> Genesis {
    Genesis { max_orders: 2, max_price_levels: 2, max_sessions: 1, max_instruments: 1, ..genesis() }
}

#[test]
fn what_was_full_has_room_and_what_rested_keeps_its_place() {
    let mut v = Venue::empty(small());
    v.input(Input::Instrument(instrument("AAA", TradingState::Open), FirmRights::NONE));
    v.input(Input::SessionOpened(opened(0, "FRMA")));
    v.given(0, &[&sell(1, 10, TEN), &sell(2, 10, TEN), &sell(3, 10, TEN)]);
    assert_eq!(v.shard.market().live_orders(), 2, "full");
    let second = Input::SessionOpened(opened(1, "FRMA"));
    assert!(v.try_input(second).is_err(), "full");
    let before = v.shard.state_hash();
    let smaller = Sizes { max_orders: 1, ..LARGE };
    assert!(matches!(v.try_input(Input::Sizes(smaller)), Err(ApplyError::Shrinks { .. })));
    assert_eq!(v.shard.state_hash(), before, "a refused input changes nothing");
    v.when(Input::Sizes(LARGE), "", "");
    v.input(second);
    v.input(Input::Instrument(instrument("BBB", TradingState::Open), FirmRights::NONE));
    v.given(0, &[&sell(4, 10, TEN)]);
    assert_eq!(v.shard.market().live_orders(), 3);
    v.send(1, &[buy(1, 15, TEN).bytes()]);
    let (answers, _) = v.words();
    let first = answers.find("0: executed 1 10@10.00").expect("the first in the queue, whole");
    let second = answers.find("0: executed 2 5@10.00").expect("then the second");
    assert!(first < second, "{answers}");
}

/// The same flow into a shard that grows somewhere on the way, one that began large, and one restored from the grown one's state.
#[test]
fn a_shard_that_grew_is_one_that_began_so_large() {
    let seed = seed_from_environment().unwrap_or_else(|| u64::from(std::process::id()));
    println!("PITLANE_SEED={seed}");
    let mut random = Random::new(seed);
    for _ in 0..20 {
        // Room for the flow before it grows, so that both shards take everything.
        let before = Genesis { max_orders: 300, max_price_levels: 300, ..genesis() };
        let mut grown = Venue::empty(before);
        let mut large = Venue::empty(genesis());
        let (steps, growth) = (200, random.below(200));
        for v in [&mut grown, &mut large] {
            v.input(Input::Instrument(instrument("AAA", TradingState::Open), FirmRights::NONE));
            for session in 0..3 {
                v.input(Input::SessionOpened(opened(session, "FRMA")));
            }
            v.raw = Raw::default();
        }
        for step in 0..steps {
            if step == growth {
                grown.when(Input::Sizes(LARGE), "", "");
            }
            let number = step as u32 + 1;
            let price = TEN + (random.below(20)) * 100;
            let quantity = random.between(1, 50) as u32;
            let request = match random.below(4) {
                0 => cancel(random.between(1, u64::from(number)) as u32, 0).bytes(),
                1 => buy(number, quantity, price).bytes(),
                _ => sell(number, quantity, price).bytes(),
            };
            let session = random.below(3) as u32;
            for v in [&mut grown, &mut large] {
                v.pass(SECOND / 7);
                v.send(session, std::slice::from_ref(&request));
            }
            assert_eq!(grown.words(), large.words(), "step {step}, grown at {growth}");
        }
        assert_eq!(grown.shard.state_hash(), large.shard.state_hash());
        let mut state = Vec::new();
        grown.shard.write_state(&mut state);
        let restored = Shard::restore(&state).expect("its own state");
        assert_eq!(restored.state_hash(), large.shard.state_hash());
        assert_eq!(restored.genesis, genesis(), "the state has the larger sizes");
    }
}
