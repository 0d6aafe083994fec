//! Snapshots of the state taken, damaged and restored; and that warming changes nothing. That restored markets behave the
//! same is part of `agrees_with_model.rs`.

use book::random::Random;
use book::{
    CrossType, InstrumentSpec, Limits, Market, NewOrder, OrderKey, Party, RestoreError, Side, TimeInForce,
    TradingState, WarmList,
};

fn limits() -> Limits {
    Limits::new(3, 5, 60)
}

/// A market with orders of every kind at rest.
fn market() -> Market {
    let mut market = Market::new(limits());
    for state in [TradingState::Open, TradingState::Open, TradingState::PreOpen] {
        market.add_instrument(InstrumentSpec { state, ..InstrumentSpec::default() }).expect("room");
    }
    market.expire(1_000, &mut ());
    for user_ref in 0..40 {
        let side = if user_ref % 2 == 0 { Side::Buy } else { Side::SellShort };
        let cents = if side.is_buy() { 900 } else { 1_000 } + user_ref / 4;
        let key = OrderKey::new(user_ref % 5, 0, user_ref);
        let mut order = NewOrder::limit(key, user_ref % 3, side, 100, u64::from(cents) * 100);
        match user_ref % 7 {
            1 => order.hidden = true,
            2 => order.max_floor = 30,
            3 => order.time_in_force = TimeInForce::GoodTill(1_010 + user_ref % 3),
            4 if user_ref % 3 == 2 => order.cross = CrossType::Opening,
            5 => order.group_id = 9,
            _ => {}
        }
        market.enter(&order, &mut ()).expect("a valid order");
    }
    market
}

fn state(market: &Market) -> Vec<u8> {
    let mut state = Vec::new();
    market.write_state(&mut state);
    state
}

#[test]
fn a_restored_market_is_the_same() {
    let market = market();
    let restored = Market::restore(limits(), &state(&market)).expect("own state");
    assert_eq!(restored.state_hash(), market.state_hash());
    assert_eq!(state(&restored), state(&market));
}

#[test]
fn the_hash_sees_every_byte_of_the_state() {
    let market = market();
    let whole = state(&market);
    for at in 8..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        if let Ok(other) = Market::restore(limits(), &changed) {
            assert_ne!(other.state_hash(), market.state_hash(), "byte {at}");
        }
    }
}

#[test]
fn a_state_cut_short_is_refused() {
    let whole = state(&market());
    for length in 0..whole.len() {
        let refused = Market::restore(limits(), &whole[..length]).err();
        assert!(matches!(refused, Some(RestoreError::Truncated { .. })), "{length}: {refused:?}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(matches!(Market::restore(limits(), &longer), Err(RestoreError::Inconsistent { .. })));
}

#[test]
fn a_damaged_state_is_refused_or_works() {
    let mut random = Random::from_environment();
    let whole = state(&market());
    let mut refused = 0;
    for _ in 0..4_000 {
        let mut damaged = whole.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.next_u64() as u8;
        }
        match Market::restore(limits(), &damaged) {
            Err(_) => refused += 1,
            Ok(mut market) => {
                for owner in 0..5 {
                    market.cancel_owner(
                        owner,
                        &book::MassCancel::default(),
                        book::CancelReason::User,
                        &mut (),
                    );
                }
                market.expire(2_000_000, &mut ());
                assert_eq!(market.live_orders(), 0);
            }
        }
    }
    assert!(refused > 2_000, "only {refused} of 4,000 were refused");
}

#[test]
fn other_versions_and_other_files_are_named() {
    let mut bytes = state(&market());
    bytes[4] = 9;
    assert_eq!(Market::restore(limits(), &bytes).err(), Some(RestoreError::UnsupportedVersion(9)));
    bytes[0] = b'x';
    assert!(matches!(Market::restore(limits(), &bytes), Err(RestoreError::NotAState { .. })));
    let small = Limits { orders: 10, ..limits() };
    assert_eq!(Market::restore(small, &state(&market())).err(), Some(RestoreError::BeyondLimits("orders")));
}

#[test]
fn warming_takes_any_values_and_changes_nothing() {
    let mut random = Random::from_environment();
    let market = market();
    let before = market.state_hash();
    let mut list = WarmList::default();
    for _ in 0..1_000 {
        for _ in 0..random.below(80) {
            let key = OrderKey::new(random.below(8) as u32, 0, random.below(50) as u32);
            if random.chance(1, 2) {
                list.push_known(key);
            } else {
                let price = if random.chance(1, 4) { random.next_u64() } else { 90_000 };
                let instrument = if random.chance(1, 4) { u32::MAX } else { random.below(4) as u32 };
                list.push_new(Party::new(key.user_ref, 0), instrument, Side::Sell, price);
            }
        }
        market.warm(&mut list);
    }
    assert_eq!(market.state_hash(), before);
}
