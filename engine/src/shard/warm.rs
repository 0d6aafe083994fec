//! A light pass over the messages of a run before they are applied: with thousands of instruments most of what they concern
//! is in main memory, and is fetched for all of them together. Changes nothing, decides nothing.

use super::entry::parse_side;
use super::requests::channel_of;
use super::{Shard, next_message};
use crate::inputs::SessionId;
use book::{OrderKey, WARM_INSTRUMENTS, WARM_MAX};
use std::hint::black_box;
use wire::ouch::Inbound;

/// Fewer messages have too little to overlap.
const WARM_MESSAGES: u16 = 4;

impl Shard {
    #[inline]
    pub(super) fn warming_pays(&self, messages: u16) -> bool {
        messages >= WARM_MESSAGES && self.market.instrument_count() >= WARM_INSTRUMENTS
    }

    /// Touches what the first [`WARM_MAX`] messages will need.
    pub(super) fn warm(&mut self, session: SessionId, mut messages: &[u8]) {
        for _ in 0..WARM_MAX {
            let Some(message) = next_message(&mut messages) else { break };
            let (appendage, reference) = match Inbound::decode(message) {
                Ok(Inbound::EnterOrder(order)) => {
                    if let (Some(instrument), Ok(side)) =
                        (self.symbols.get(&order.symbol()), parse_side(order.side()))
                    {
                        black_box(self.instruments.get(instrument as usize).map(|found| found.tick));
                        let party = OrderKey::new(session, channel_of(order.appendage()), 0).party;
                        self.warm_list.push_new(party, instrument, side, order.price());
                    }
                    continue;
                }
                Ok(Inbound::CancelOrder(request)) => (request.appendage(), request.user_ref_num()),
                Ok(Inbound::ModifyOrder(request)) => (request.appendage(), request.user_ref_num()),
                Ok(Inbound::ReplaceOrder(request)) => (request.appendage(), request.orig_user_ref_num()),
                _ => continue,
            };
            self.warm_list.push_known(OrderKey::new(session, channel_of(appendage), reference));
        }
        self.market.warm(&mut self.warm_list);
    }
}
