//! The books of a client under answers of every kind, sensible or not.

use super::*;
use crate::mix::MixSettings;
use crate::random::Random;
use proptest::prelude::*;

fn enter_only() -> Mix {
    Mix::new(&MixSettings { cancel_weight: 0, replace_weight: 0, crossing: 0.0, ..Default::default() }, 0, 1)
}

fn account() -> Account {
    let mut account = Account::new(16, 8, 3);
    account.measure_from(0);
    account
}

fn next_request(account: &mut Account, mix: &mut Mix, at_ns: u64) -> Option<Outgoing> {
    account.draw(mix).map(|action| account.begin(action, mix, at_ns))
}

fn enter(account: &mut Account, mix: &mut Mix, at_ns: u64) -> u32 {
    match next_request(account, mix, at_ns) {
        Some(Outgoing::Enter { urn, .. }) => urn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn latency_runs_from_the_intended_time_to_the_first_answer() {
    let (mut account, mut mix) = (account(), enter_only());
    let urn = enter(&mut account, &mut mix, 1000);
    account.on_accepted(urn, 100, true, 1000 + 5_000_000);
    assert_eq!(account.in_flight(), 0);
    let latency = account.latency();
    assert_eq!(latency.len(), 1);
    assert!(latency.equivalent(latency.max(), 5_000_000));
}

#[test]
fn a_second_answer_is_a_duplicate_and_a_strange_one_is_unknown() {
    let (mut account, mut mix) = (account(), enter_only());
    let urn = enter(&mut account, &mut mix, 0);
    account.on_accepted(urn, 100, true, 10);
    account.on_accepted(urn, 100, true, 20);
    assert_eq!((account.events.duplicated, account.events.unknown), (1, 0));
    account.on_accepted(999, 100, true, 20);
    account.on_canceled(998, 100, true, 20);
    account.on_executed(997, 100);
    account.on_rejected(996, 1, 20);
    assert_eq!((account.events.duplicated, account.events.unknown), (1, 4));
    account.on_executed(urn, 100);
    account.on_executed(urn, 1);
    assert_eq!(account.events.duplicated, 2, "executed beyond its quantity");
    assert_eq!(account.measured.answered_total(), 1);
}

#[test]
fn requests_passed_over_by_a_later_answer_are_lost() {
    let (mut account, mut mix) = (account(), enter_only());
    let first = enter(&mut account, &mut mix, 0);
    let second = enter(&mut account, &mut mix, 0);
    account.on_accepted(second, 100, true, 10);
    assert_eq!((account.measured.lost, account.in_flight()), (1, 0));
    account.on_accepted(first, 100, true, 20);
    assert_eq!(account.events.duplicated, 1, "an answer after the books were settled is not counted as one");
}

#[test]
fn unanswered_requests_are_lost_when_the_books_close() {
    let (mut account, mut mix) = (account(), enter_only());
    for _ in 0..3 {
        enter(&mut account, &mut mix, 0);
    }
    account.close();
    assert_eq!((account.measured.sent_total(), account.measured.lost), (3, 3));
}

#[test]
fn a_cancel_that_an_execution_overtook_is_not_lost() {
    let (mut account, mut mix) = (account(), enter_only());
    let urn = enter(&mut account, &mut mix, 0);
    account.on_accepted(urn, 100, true, 10);
    account.begin_cancel(urn, 20);
    account.on_executed(urn, 60);
    assert_eq!(account.in_flight(), 1);
    account.on_executed(urn, 40);
    assert_eq!((account.in_flight(), account.measured.overtaken, account.measured.lost), (0, 1, 0));
    assert_eq!(account.measured.answered_total(), account.measured.sent_total());
}

#[test]
fn a_cancel_of_a_live_order_that_stays_unanswered_is_lost() {
    let (mut account, mut mix) = (account(), enter_only());
    let urn = enter(&mut account, &mut mix, 0);
    account.on_accepted(urn, 100, true, 10);
    account.begin_cancel(urn, 20);
    let next = enter(&mut account, &mut mix, 20);
    account.on_accepted(next, 100, true, 30);
    assert_eq!((account.measured.overtaken, account.measured.lost), (0, 1));
    assert_eq!(account.open_orders(), 2, "the order is still there to be cancelled again");
}

#[test]
fn a_full_window_gives_no_request_until_an_answer_comes() {
    let (mut account, mut mix) = (Account::new(2, 8, 2), enter_only());
    let first = enter(&mut account, &mut mix, 0);
    enter(&mut account, &mut mix, 0);
    assert_eq!(next_request(&mut account, &mut mix, 0), None);
    account.on_rejected(first, 0x17, 5);
    assert_eq!(account.warmup.rejected[0x17], 1);
    assert!(next_request(&mut account, &mut mix, 0).is_some());
}

/// The answers of an engine that executes and cancels at random: the books must balance whatever happens.
#[test]
fn books_balance_over_random_lives_of_orders() {
    let seed = std::env::var("PITLANE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5EED);
    println!("PITLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let settings = MixSettings { seed, open_orders_max: 8, ..Default::default() };
    let mut mix = Mix::new(&settings, 0, 3);
    let mut account = account();
    let mut in_engine: Vec<Outgoing> = Vec::new();
    let mut open: Vec<(u32, u32)> = Vec::new();
    for step in 0..210_000u64 {
        if step < 200_000 && random.below(2) == 0 {
            in_engine.extend(next_request(&mut account, &mut mix, step));
        } else if !in_engine.is_empty() {
            match in_engine.remove(0) {
                Outgoing::Enter { urn, quantity, immediate, .. } => {
                    if random.below(20) == 0 {
                        account.on_rejected(urn, 0x1d, step);
                    } else {
                        account.on_accepted(urn, quantity, true, step);
                        if immediate {
                            account.on_executed(urn, 100);
                            if quantity > 100 {
                                account.on_canceled(urn, quantity - 100, false, step);
                            }
                        } else {
                            open.push((urn, quantity));
                        }
                    }
                }
                Outgoing::Cancel { urn } => {
                    if let Some(at) = open.iter().position(|order| order.0 == urn) {
                        let (_, remaining) = open.remove(at);
                        account.on_canceled(urn, remaining, true, step);
                    }
                }
                Outgoing::Replace { original, urn, quantity, .. } => {
                    if let Some(at) = open.iter().position(|order| order.0 == original) {
                        match random.below(10) {
                            0 => account.on_rejected(urn, 0x15, step),
                            1 => {
                                let (_, remaining) = open.remove(at);
                                account.on_canceled(original, remaining, false, step);
                            }
                            _ => {
                                open[at] = (urn, quantity);
                                account.on_replaced(original, urn, quantity, true, step);
                            }
                        }
                    }
                }
            }
        }
        if !open.is_empty() && random.below(8) == 0 {
            let at = random.below(open.len() as u64) as usize;
            let (urn, remaining) = open[at];
            let executed = random.below(u64::from(remaining)) as u32 + 1;
            account.on_executed(urn, executed);
            if executed == remaining {
                open.remove(at);
            } else {
                open[at].1 -= executed;
            }
        }
    }
    let counts = account.measured.clone();
    assert_eq!((account.events.duplicated, account.events.unknown, counts.lost), (0, 0, 0));
    assert_eq!(counts.sent_total(), counts.answered_total() + u64::from(account.in_flight()));
    assert!(counts.overtaken > 100 && counts.rejected_total() > 100 && account.events.executions > 1000);
}

proptest! {
    /// Any messages in any order: no panic, and never more answers than requests.
    #[test]
    fn no_sequence_of_messages_breaks_the_books(steps in proptest::collection::vec((0u8..7, 0u32..40, 0u32..600), 1..400)) {
        let mut mix = Mix::new(&MixSettings { open_orders_max: 4, ..Default::default() }, 0, 1);
        let mut account = Account::new(4, 4, 2);
        account.measure_from(0);
        for (kind, urn, quantity) in steps {
            match kind {
                0 | 1 => { next_request(&mut account, &mut mix, 0); }
                2 => account.on_accepted(urn, quantity, quantity % 7 != 0, 1),
                3 => account.on_replaced(urn, urn + 1, quantity, quantity % 7 != 0, 1),
                4 => account.on_canceled(urn, quantity, quantity % 2 == 0, 1),
                5 => account.on_executed(urn, quantity),
                _ => account.on_rejected(urn, quantity as u16, 1),
            }
        }
        account.close();
        let counts = &account.measured;
        prop_assert_eq!(counts.sent_total(), counts.answered_total() + counts.lost);
    }
}
