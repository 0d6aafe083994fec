//! A client with its books and its order flow: turns drawn requests into OUCH, and OUCH answers into entries of the books.

use streams::{ParkingPool, Run};
use wire::ouch::inbound::{AccountQuery, CancelOrder, EnterOrder, ReplaceOrder};
use wire::ouch::outbound::{AccountQueryResponse, AccountQueryResponseView};
use wire::ouch::{Outbound, cancel_reason, capacity, cross_type, display, order_state, time_in_force};

use crate::account::{Account, Outgoing};
use crate::client::{Client, Outcome};
use crate::histograms::Timing;
use crate::mix::{Action, Mix};

/// Longest request that is sent: an Enter without appendage.
const REQUEST_LENGTH_MAX: usize = EnterOrder::LENGTH;

/// What became of an attempt to send one more order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    Yes,
    /// The stream's window or the books are full until an answer comes.
    NoRoom,
}

pub struct Participant {
    pub client: Client,
    pub account: Account,
    mix: Mix,
    /// Instruments of the shard this participant speaks to.
    symbols: Box<[[u8; 8]]>,
    client_order_id: [u8; 14],
    /// Before the first order the engine is asked which UserRefNum comes next: an account may have been used before.
    numbered: bool,
}

impl Participant {
    pub fn new(client: Client, account: Account, mix: Mix, symbols: Box<[[u8; 8]]>) -> Self {
        let mut client_order_id = [b' '; 14];
        client_order_id[..6].copy_from_slice(&client.credentials().username);
        Participant { client, account, mix, symbols, client_order_id, numbered: false }
    }

    /// Logged in, and the next order number is known.
    pub fn is_ready(&self) -> bool {
        self.numbered && self.client.is_active()
    }

    /// Asks for the next order number; the answer comes through [`Participant::on_datagram`].
    pub fn query_number(&mut self) {
        if !self.numbered {
            // Refused only while inactive; then the activation to come asks again.
            let _ = self.client.push(AccountQuery::LENGTH, |out| AccountQuery {}.write(&[], out));
        }
    }

    /// Draws one order, if there is room for it.
    #[inline]
    pub fn draw(&mut self) -> Option<Action> {
        if self.client.has_room() { self.account.draw(&mut self.mix) } else { None }
    }

    /// Why this client sends nothing, if it cannot.
    pub fn obstacle(&self, now_ns: u64) -> Option<String> {
        if !self.client.is_active() {
            return Some(format!("its session is {:?}", self.client.state()));
        }
        if !self.client.has_room() {
            let unacknowledged = self.client.duplex().map_or(0, |duplex| duplex.send.unacknowledged());
            return Some(format!("the engine has not acknowledged {unacknowledged} of its messages"));
        }
        self.account.obstacle().map(|obstacle| obstacle.describe(now_ns))
    }

    /// Hands an order just drawn to the stream.
    #[inline]
    pub fn place(&mut self, action: Action, timing: Timing) -> Placed {
        let outgoing = self.account.begin(action, &self.mix, timing);
        self.send(outgoing)
    }

    /// Draws one order and hands it to the stream.
    #[inline]
    pub fn place_next(&mut self, timing: Timing) -> Placed {
        self.draw().map_or(Placed::NoRoom, |action| self.place(action, timing))
    }

    /// Cancels one of the orders still open, for the clean-up at the end.
    pub fn cancel_one(&mut self, now_ns: u64) -> Placed {
        let Some(&urn) = self.account.listed_orders().first() else { return Placed::NoRoom };
        if !self.client.has_room() || !self.account.has_room() {
            return Placed::NoRoom;
        }
        let outgoing = self.account.begin_cancel(urn, now_ns);
        self.send(outgoing)
    }

    #[inline]
    fn send(&mut self, outgoing: Outgoing) -> Placed {
        let (symbols, client_order_id) = (&self.symbols, self.client_order_id);
        let pushed = self.client.push(REQUEST_LENGTH_MAX, |out| match outgoing {
            Outgoing::Enter { urn, symbol, side, quantity, price, immediate } => EnterOrder {
                user_ref_num: urn,
                side: side.wire(),
                quantity,
                symbol: symbols.get(usize::from(symbol)).copied().unwrap_or([b' '; 8]),
                price,
                time_in_force: if immediate { time_in_force::IOC } else { time_in_force::DAY },
                display: display::VISIBLE,
                capacity: capacity::AGENCY,
                inter_market_sweep_eligibility: b'N',
                cross_type: cross_type::CONTINUOUS,
                cl_ord_id: client_order_id,
            }
            .write(&[], out),
            Outgoing::Cancel { urn } => CancelOrder { user_ref_num: urn, quantity: 0 }.write(&[], out),
            Outgoing::Replace { original, urn, quantity, price } => ReplaceOrder {
                orig_user_ref_num: original,
                user_ref_num: urn,
                quantity,
                price,
                time_in_force: time_in_force::DAY,
                display: display::VISIBLE,
                inter_market_sweep_eligibility: b'N',
                cl_ord_id: client_order_id,
            }
            .write(&[], out),
        });
        // Room was there before the books were written, and nothing came between.
        debug_assert!(pushed.is_ok());
        if pushed.is_ok() { Placed::Yes } else { Placed::NoRoom }
    }

    /// Takes a datagram of this participant's session.
    #[inline]
    pub fn on_datagram(&mut self, payload: &[u8], now_ns: u64, pool: &mut ParkingPool) -> Outcome {
        let Participant { client, account, numbered, .. } = self;
        let outcome = client.on_datagram(payload, now_ns, pool, |run| book(account, numbered, &run, now_ns));
        if outcome == Outcome::Activated {
            self.query_number();
        }
        outcome
    }
}

/// Enters every message of a run into the books.
#[inline]
fn book(account: &mut Account, numbered: &mut bool, run: &Run<'_>, now_ns: u64) {
    for (_, message) in run.messages() {
        match Outbound::decode(message) {
            Ok(Outbound::OrderAccepted(accepted)) => {
                let live = accepted.order_state() == order_state::LIVE;
                account.on_accepted(accepted.user_ref_num(), accepted.quantity(), live, now_ns);
            }
            Ok(Outbound::OrderExecuted(executed)) => {
                account.on_executed(executed.user_ref_num(), executed.quantity());
            }
            Ok(Outbound::OrderCanceled(canceled)) => {
                let by_user = canceled.reason() == cancel_reason::USER;
                account.on_canceled(canceled.user_ref_num(), canceled.quantity(), by_user, now_ns);
            }
            Ok(Outbound::AiqCanceled(canceled)) => {
                account.on_canceled(canceled.user_ref_num(), canceled.decrement_shares(), false, now_ns);
            }
            Ok(Outbound::OrderReplaced(replaced)) => {
                let live = replaced.order_state() == order_state::LIVE;
                let (original, urn) = (replaced.orig_user_ref_num(), replaced.user_ref_num());
                account.on_replaced(original, urn, replaced.quantity(), live, now_ns);
            }
            Ok(Outbound::OrderRejected(rejected)) => {
                account.on_rejected(rejected.user_ref_num(), rejected.reason(), now_ns);
            }
            Ok(Outbound::AccountQueryResponse(response)) => number(account, numbered, &response),
            Ok(_) => account.events.other += 1,
            Err(_) => account.events.malformed += 1,
        }
    }
}

fn number(account: &mut Account, numbered: &mut bool, response: &AccountQueryResponseView<'_>) {
    if *numbered {
        account.events.other += 1;
        return;
    }
    let AccountQueryResponse { next_user_ref_num, .. } = response.to_owned();
    account.start_at(next_user_ref_num);
    *numbered = true;
}
