//! What the messages alone say is in the books and is live, and that they make sense: not what the shard or the reference think.

use std::collections::{BTreeMap, BTreeSet};

use book::Side;

use crate::answers::{Answer, Feed, Tick};

/// The readers' side: what the messages alone say is in the books and what is live.
#[derive(Default)]
pub struct Ledger {
    /// Reference: locate, side, shares, price.
    pub shown: BTreeMap<u64, (u16, u8, u32, u32)>,
    /// Session, channel, number: shares open.
    pub live: BTreeMap<(u32, u8, u32), u32>,
    /// Half of a trade, waiting for the other: match number, shares, price.
    pub half: Option<(u64, u32, u64)>,
    match_number: u64,
    order_ref: u64,
    pub bought: u64,
    pub seen: BTreeSet<String>,
}

impl Ledger {
    fn take(&mut self, session: u32, channel: u8, user_ref: u32, quantity: u32) {
        let key = (session, channel, user_ref);
        let left = self.live.get_mut(&key).unwrap_or_else(|| panic!("{key:?} has ended"));
        *left = left.checked_sub(quantity).unwrap_or_else(|| panic!("{key:?} loses more than it has"));
        assert!(quantity > 0, "{key:?}");
        if *left == 0 {
            self.live.remove(&key);
        }
    }

    fn begin(&mut self, session: u32, channel: u8, user_ref: u32, quantity: u32, order_ref: u64) {
        assert!(order_ref > self.order_ref, "references count up");
        self.order_ref = order_ref;
        let before = self.live.insert((session, channel, user_ref), quantity);
        assert_eq!(before, None, "a number names one order");
    }

    pub fn answer(&mut self, session: u32, answer: &Answer) {
        match *answer {
            Answer::Accepted { user_ref, quantity, order_ref, channel, .. } => {
                self.begin(session, channel, user_ref, quantity, order_ref);
            }
            Answer::Replaced { original, user_ref, quantity, order_ref, channel, .. } => {
                let ended = self.live.remove(&(session, channel, original));
                assert!(ended.is_some(), "only a live order is replaced");
                self.begin(session, channel, user_ref, quantity, order_ref);
            }
            Answer::Canceled { user_ref, quantity, channel, reason } => {
                self.take(session, channel, user_ref, quantity);
                self.seen.insert(format!("canceled {}", reason as char));
            }
            Answer::SelfMatch { user_ref, quantity, channel, strategy, .. } => {
                self.take(session, channel, user_ref, quantity);
                self.seen.insert(format!("self-match {}", strategy as char));
            }
            Answer::Modified { user_ref, quantity, channel, .. } => {
                let open =
                    self.live.get_mut(&(session, channel, user_ref)).expect("only a live order is modified");
                assert!(quantity > 0 && quantity <= *open, "a modify never increases");
                *open = quantity;
            }
            Answer::Executed { user_ref, quantity, price, match_number, channel, liquidity } => {
                self.take(session, channel, user_ref, quantity);
                self.seen.insert(format!("executed {}", liquidity as char));
                let this = (match_number, quantity, price);
                match self.half.take() {
                    Some(other) => {
                        assert_eq!(this, other, "both sides of a trade");
                        self.bought += u64::from(quantity);
                    }
                    None => {
                        assert!(match_number > self.match_number, "match numbers count up");
                        self.match_number = match_number;
                        self.half = Some(this);
                    }
                }
            }
            Answer::Restated { order_ref, .. } => {
                assert!(order_ref > self.order_ref, "references count up");
                self.order_ref = order_ref;
                self.seen.insert("restated".to_owned());
            }
            Answer::Rejected { reason, .. } => {
                self.seen.insert(format!("rejected 0x{reason:04X}"));
            }
            _ => {}
        }
    }

    fn reduce(&mut self, order_ref: u64, quantity: u32, locate: u16) {
        let order = self.shown.get_mut(&order_ref).unwrap_or_else(|| panic!("#{order_ref} is not shown"));
        assert_eq!(order.0, locate);
        order.2 =
            order.2.checked_sub(quantity).unwrap_or_else(|| panic!("#{order_ref} loses more than it has"));
        if order.2 == 0 {
            self.shown.remove(&order_ref);
        }
    }

    pub fn tick(&mut self, tick: &Tick) {
        let locate = tick.locate;
        match tick.what {
            Feed::Add { order_ref, side, quantity, price, .. } => {
                assert!(quantity > 0);
                let before = self.shown.insert(order_ref, (locate, side, quantity, price));
                assert_eq!(before, None, "#{order_ref} is shown already");
            }
            Feed::Executed { order_ref, quantity, .. }
            | Feed::ExecutedWithPrice { order_ref, quantity, .. } => {
                self.reduce(order_ref, quantity, locate);
            }
            Feed::Reduced { order_ref, quantity } => {
                self.reduce(order_ref, quantity, locate);
                assert!(self.shown.contains_key(&order_ref), "a reduction to nothing is a deletion");
            }
            Feed::Deleted { order_ref } => {
                assert!(self.shown.remove(&order_ref).is_some(), "#{order_ref} is not shown");
            }
            Feed::Replaced { original, order_ref, quantity, price } => {
                let (_, side, ..) = self.shown.remove(&original).expect("the original is shown");
                self.shown.insert(order_ref, (locate, side, quantity, price));
            }
            Feed::Cross { kind, .. } => {
                self.seen.insert(format!("cross {}", kind as char));
            }
            _ => {}
        }
    }

    /// Shares shown by price, best first, as a reader of the feed adds them up.
    pub fn depth(&self, locate: u16, side: Side) -> Vec<(u64, u64)> {
        let code = if side.is_buy() { b'B' } else { b'S' };
        let mut levels: BTreeMap<u64, u64> = BTreeMap::new();
        for &(_, _, shares, price) in self.shown.values().filter(|it| (it.0, it.1) == (locate, code)) {
            *levels.entry(u64::from(price)).or_default() += u64::from(shares);
        }
        if side.is_buy() { levels.into_iter().rev().collect() } else { levels.into_iter().collect() }
    }
}
