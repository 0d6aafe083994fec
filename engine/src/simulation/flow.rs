//! What a simulated client asks for: plain day limit orders around one price, so that many trade, and cancels and replaces of what it
//! entered lately, some of which are gone by then. Not how that reaches the engine.

use netio::random::Random;
use wire::ouch::inbound::{CancelOrder, EnterOrder, ReplaceOrder};
use wire::ouch::{MAX_MESSAGE_LENGTH, side, time_in_force};

/// One client's numbering: the messages follow from it and from chance, not from any answer.
#[derive(Default)]
pub struct Flow {
    last_user_ref_num: u32,
}

impl Flow {
    /// The next message, as OUCH.
    pub fn next(&mut self, random: &mut Random, symbols: &[[u8; 8]]) -> Vec<u8> {
        let mut out = [0; MAX_MESSAGE_LENGTH];
        let last = self.last_user_ref_num;
        let recent = last.saturating_sub(random.below(20) as u32);
        let length = match random.below(10) {
            0..=1 if last > 0 => {
                let quantity = if random.chance(0.3) { random.between(1, 50) as u32 } else { 0 };
                CancelOrder { user_ref_num: recent, quantity }.write(&[], &mut out)
            }
            2..=3 if last > 0 => ReplaceOrder {
                orig_user_ref_num: recent,
                user_ref_num: self.number(),
                quantity: random.between(1, 100) as u32,
                price: price(random),
                time_in_force: time_in_force::DAY,
                display: b'Y',
                inter_market_sweep_eligibility: b'N',
                cl_ord_id: [b' '; 14],
            }
            .write(&[], &mut out),
            _ => EnterOrder {
                user_ref_num: self.number(),
                side: if random.chance(0.5) { side::BUY } else { side::SELL },
                quantity: random.between(1, 100) as u32,
                symbol: symbols[random.index(symbols.len())],
                price: price(random),
                time_in_force: time_in_force::DAY,
                display: b'Y',
                capacity: b'P',
                inter_market_sweep_eligibility: b'N',
                cross_type: b'N',
                cl_ord_id: [b' '; 14],
            }
            .write(&[], &mut out),
        };
        out[..length].to_vec()
    }

    fn number(&mut self) -> u32 {
        self.last_user_ref_num += 1;
        self.last_user_ref_num
    }
}

fn price(random: &mut Random) -> u64 {
    1_000_000 + random.below(8) * 100
}
