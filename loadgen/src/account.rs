//! The books of one client: every request sent, its one answer, and what is still open. No bytes, no sockets.
//!
//! Both tables are rings indexed by arithmetic, sized at the start: nothing is hashed or allocated while orders flow.
//!
//! Requests are answered in the order they were sent, because a session is processed in order and its answers are a sequenced
//! stream. OUCH leaves a cancel or replace unanswered in one case only: the order it names was gone before it arrived. So a request
//! that is passed over by a later answer is either *overtaken* (the order had been executed or cancelled away, and we were told) or *lost*.

use hdrhistogram::Histogram;

use crate::counts::{Counts, Events, REJECT_CODES, RequestKind};
use crate::histograms::{Recorder, Timing};
use crate::mix::{Action, Mix, Side};

/// Answers noted for the thread's histograms before it takes them: those of a full datagram, each with a time of its own. What waited
/// for a lost datagram comes in one piece, and takes more for once.
const ANSWERED_CAPACITY: usize = 128;

const UNLISTED: u32 = u32::MAX;
const NO_ORDER: u32 = 0;

/// A request ready to be written to the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    Enter { urn: u32, symbol: u16, side: Side, quantity: u32, price: u64, immediate: bool },
    Cancel { urn: u32 },
    Replace { original: u32, urn: u32, quantity: u32, price: u64 },
}

/// What keeps a client from another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Requests wait for their answers; the oldest of them is this one.
    Unanswered { count: u32, kind: RequestKind, urn: u32, sent_ns: u64 },
    /// UserRefNum ends at 2^32 - 1.
    NumbersUsedUp,
    /// All is answered, and yet the next number's place is held by this order: a fault of the books.
    PlaceHeld { urn: u32 },
}

impl Obstacle {
    /// Nothing that the engine may still say takes it away.
    pub fn is_final(&self) -> bool {
        !matches!(self, Obstacle::Unanswered { .. })
    }

    pub fn describe(&self, now_ns: u64) -> String {
        match *self {
            Obstacle::Unanswered { count, kind, urn, sent_ns } => format!(
                "{count} of its requests wait for an answer, the oldest ({} {urn}) for {:.1} s",
                kind.name(),
                now_ns.saturating_sub(sent_ns) as f64 / 1e9
            ),
            Obstacle::NumbersUsedUp => "its order numbers are used up: UserRefNum ends at 2^32 - 1".into(),
            Obstacle::PlaceHeld { urn } => {
                format!(
                    "the place of its next order is held by order {urn}, a fault of the generator's books"
                )
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    /// Sent as an Enter or as the new number of a Replace, not answered.
    Entering,
    Live,
    /// Live, with a Cancel or Replace under way.
    Changing,
    /// Executed or cancelled away while a Cancel or Replace was under way.
    Gone,
}

#[derive(Debug, Clone, Copy)]
struct Order {
    urn: u32,
    remaining: u32,
    /// Place in the list of orders that may be picked.
    listed_at: u32,
    /// While changing: the new number of the Replace under way, or none for a Cancel.
    /// While entering: the number that the Replace names, or none for an Enter.
    linked: u32,
    state: State,
    side: Side,
    immediate: bool,
}

const FREE_ORDER: Order = Order {
    urn: NO_ORDER,
    remaining: 0,
    listed_at: UNLISTED,
    linked: NO_ORDER,
    state: State::Free,
    side: Side::Buy,
    immediate: false,
};

#[derive(Debug, Clone, Copy)]
struct Request {
    timing: Timing,
    urn: u32,
    kind: RequestKind,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Account {
    orders: Box<[Order]>,
    order_mask: u32,
    /// Numbers of the live orders that a cancel or replace may pick.
    listed: Vec<u32>,
    requests: Box<[Request]>,
    request_mask: u32,
    request_head: u32,
    request_tail: u32,
    next_urn: u32,
    /// Requests intended in this time are measured; before, they are warm-up, after it clean-up.
    measure_from_ns: u64,
    measure_until_ns: u64,
    last_answer_ns: u64,
    pub warmup: Counts,
    pub measured: Counts,
    pub cleanup: Counts,
    pub events: Events,
    latency: Recorder,
    /// Answers of measured requests since the last look: when they were sent, and how many of one time.
    answered: Vec<(Timing, u64)>,
}

impl Account {
    /// Room for `in_flight` unanswered requests and `open_orders` resting orders; latencies with `digits` significant digits.
    pub fn new(in_flight: u32, open_orders: u32, digits: u8) -> Self {
        let requests = in_flight.clamp(1, 1 << 24).next_power_of_two();
        let orders = (2 * (requests + open_orders)).next_power_of_two();
        let empty = Request { timing: Timing::default(), urn: NO_ORDER, kind: RequestKind::Enter };
        Account {
            orders: vec![FREE_ORDER; orders as usize].into_boxed_slice(),
            order_mask: orders - 1,
            listed: Vec::with_capacity(orders as usize),
            requests: vec![empty; requests as usize].into_boxed_slice(),
            request_mask: requests - 1,
            request_head: 0,
            request_tail: 0,
            next_urn: 1,
            measure_from_ns: u64::MAX,
            measure_until_ns: u64::MAX,
            last_answer_ns: 0,
            warmup: Counts::default(),
            measured: Counts::default(),
            cleanup: Counts::default(),
            events: Events::default(),
            latency: Recorder::new(digits),
            answered: Vec::with_capacity(ANSWERED_CAPACITY),
        }
    }

    pub fn measure_from(&mut self, from_ns: u64) {
        self.measure_from_ns = from_ns;
    }

    /// Requests intended from here on are no longer measured: the run is over, open orders are cancelled.
    pub fn measure_until(&mut self, until_ns: u64) {
        self.measure_until_ns = until_ns;
    }

    pub fn has_room(&self) -> bool {
        self.in_flight() <= self.request_mask
    }

    pub fn in_flight(&self) -> u32 {
        self.request_tail.wrapping_sub(self.request_head)
    }

    /// The number that the next Enter or Replace will carry.
    pub fn next_urn(&self) -> u32 {
        self.next_urn
    }

    /// After a login that continues an account which has been used before.
    pub fn start_at(&mut self, next_urn: u32) {
        self.next_urn = next_urn.max(1);
    }

    pub fn open_orders(&self) -> u32 {
        self.listed.len() as u32
    }

    /// Numbers of all orders that a final clean-up has to cancel.
    pub fn listed_orders(&self) -> &[u32] {
        &self.listed
    }

    /// When the last measured request was answered.
    pub fn last_answer_ns(&self) -> u64 {
        self.last_answer_ns
    }

    /// The latencies of the measured requests.
    pub fn latency(&mut self) -> &Histogram<u64> {
        self.latency.histogram()
    }

    /// The measured requests answered since this was asked last.
    #[inline]
    pub fn drain_answered(&mut self) -> std::vec::Drain<'_, (Timing, u64)> {
        self.answered.drain(..)
    }

    /// Whether the next number has a place: none but the last number is left, or the ring has come round to an order not done with.
    fn is_next_place_free(&self) -> bool {
        let occupant = &self.orders[(self.next_urn & self.order_mask) as usize];
        occupant.state == State::Free && self.next_urn != u32::MAX
    }

    #[cfg(test)]
    fn places_taken(&self) -> usize {
        self.orders.iter().filter(|order| order.state != State::Free).count()
    }

    /// Draws the next request; `None` when there is no room until an answer comes.
    #[inline]
    pub fn draw(&self, mix: &mut Mix) -> Option<Action> {
        if !self.has_room() {
            return None;
        }
        if !self.is_next_place_free() {
            let occupant = self.orders[(self.next_urn & self.order_mask) as usize];
            // The ring has come round to an order that is still open: it has to go first, which keeps the table bounded.
            let cancels = occupant.state == State::Live && occupant.listed_at != UNLISTED;
            return cancels.then_some(Action::Cancel { pick: occupant.listed_at });
        }
        Some(mix.next(self.listed.len() as u32))
    }

    /// Enters what was just drawn into the books.
    #[inline]
    pub fn begin(&mut self, action: Action, mix: &Mix, timing: impl Into<Timing>) -> Outgoing {
        let timing = timing.into();
        match action {
            Action::Enter { symbol, side, quantity, price, immediate } => {
                let urn = self.begin_order(side, immediate, NO_ORDER, timing);
                Outgoing::Enter { urn, symbol, side, quantity, price, immediate }
            }
            Action::Cancel { pick } => self.begin_cancel(self.listed[pick as usize], timing),
            Action::Replace { pick, quantity, offset_ticks } => {
                let original = self.listed[pick as usize];
                let side = self.orders[(original & self.order_mask) as usize].side;
                let urn = self.begin_order(side, false, original, timing);
                self.unlist(original);
                let order = &mut self.orders[(original & self.order_mask) as usize];
                order.state = State::Changing;
                order.linked = urn;
                Outgoing::Replace { original, urn, quantity, price: mix.price(side, offset_ticks) }
            }
        }
    }

    /// Enters a cancel of `urn` into the books, for the clean-up at the end of a run. `urn` must be listed.
    pub fn begin_cancel(&mut self, urn: u32, timing: impl Into<Timing>) -> Outgoing {
        self.unlist(urn);
        let order = &mut self.orders[(urn & self.order_mask) as usize];
        order.state = State::Changing;
        order.linked = NO_ORDER;
        self.push_request(urn, RequestKind::Cancel, timing.into());
        Outgoing::Cancel { urn }
    }

    fn begin_order(&mut self, side: Side, immediate: bool, linked: u32, timing: Timing) -> u32 {
        let urn = self.next_urn;
        self.next_urn += 1;
        self.orders[(urn & self.order_mask) as usize] =
            Order { urn, remaining: 0, listed_at: UNLISTED, linked, state: State::Entering, side, immediate };
        let kind = if linked == NO_ORDER { RequestKind::Enter } else { RequestKind::Replace };
        self.push_request(urn, kind, timing);
        urn
    }

    fn push_request(&mut self, urn: u32, kind: RequestKind, timing: Timing) {
        self.requests[(self.request_tail & self.request_mask) as usize] = Request { timing, urn, kind };
        self.request_tail = self.request_tail.wrapping_add(1);
        self.counts(timing.intended_ns).sent[kind as usize] += 1;
    }

    #[inline]
    pub fn on_accepted(&mut self, urn: u32, quantity: u32, live: bool, now_ns: u64) {
        let index = (urn & self.order_mask) as usize;
        let order = self.orders[index];
        if order.urn != urn || order.state != State::Entering || order.linked != NO_ORDER {
            return self.unexpected(order.urn == urn);
        }
        self.answer(RequestKind::Enter, urn, now_ns);
        self.establish(urn, quantity, live);
    }

    #[inline]
    pub fn on_replaced(&mut self, original: u32, urn: u32, quantity: u32, live: bool, now_ns: u64) {
        let order = self.orders[(urn & self.order_mask) as usize];
        if order.urn != urn
            || order.state != State::Entering
            || order.linked != original
            || original == NO_ORDER
        {
            return self.unexpected(order.urn == urn);
        }
        self.answer(RequestKind::Replace, urn, now_ns);
        self.orders[(original & self.order_mask) as usize].state = State::Free;
        self.establish(urn, quantity, live);
    }

    #[inline]
    pub fn on_rejected(&mut self, urn: u32, reason: u16, now_ns: u64) {
        let index = (urn & self.order_mask) as usize;
        let order = self.orders[index];
        if order.urn != urn || order.state != State::Entering {
            return self.unexpected(order.urn == urn);
        }
        let kind = if order.linked == NO_ORDER { RequestKind::Enter } else { RequestKind::Replace };
        let intended_ns = self.answer(kind, urn, now_ns);
        self.counts(intended_ns).rejected[usize::from(reason).min(REJECT_CODES - 1)] += 1;
        self.orders[index].state = State::Free;
        if order.linked != NO_ORDER {
            // A rejected Replace leaves the original as it was.
            self.restore(order.linked);
        }
    }

    #[inline]
    pub fn on_canceled(&mut self, urn: u32, quantity: u32, by_user: bool, now_ns: u64) {
        let index = (urn & self.order_mask) as usize;
        let order = self.orders[index];
        if order.urn != urn || !matches!(order.state, State::Live | State::Changing) {
            return self.unexpected(order.urn == urn);
        }
        self.reduce(index, quantity);
        let emptied = self.orders[index].remaining == 0;
        if order.state == State::Live {
            self.events.cancels_unrequested += 1;
            if emptied {
                self.unlist(urn);
                self.orders[index].state = State::Free;
            }
        } else if emptied && order.linked != NO_ORDER && (by_user || self.is_next_answered(order.linked)) {
            // A Replace with invalid details cancels the original, and that is its answer. While requests before it are unanswered
            // the cancel is somebody else's.
            self.orders[(order.linked & self.order_mask) as usize].state = State::Free;
            self.orders[index].state = State::Free;
            self.answer(RequestKind::Replace, order.linked, now_ns);
        } else if by_user && order.linked == NO_ORDER {
            self.answer(RequestKind::Cancel, urn, now_ns);
            self.orders[index].state = State::Free;
            if !emptied {
                self.establish(urn, self.orders[index].remaining, true);
            }
        } else {
            self.events.cancels_unrequested += 1;
            if emptied {
                self.orders[index].state = State::Gone;
                self.settle_front();
            }
        }
    }

    #[inline]
    pub fn on_executed(&mut self, urn: u32, quantity: u32) {
        let index = (urn & self.order_mask) as usize;
        let order = self.orders[index];
        if order.urn != urn || !matches!(order.state, State::Live | State::Changing) {
            return self.unexpected(order.urn == urn);
        }
        self.events.executions += 1;
        self.events.executed_quantity += u64::from(quantity);
        self.reduce(index, quantity);
        if self.orders[index].remaining > 0 {
            return;
        }
        if order.state == State::Live {
            self.unlist(urn);
            self.orders[index].state = State::Free;
        } else {
            self.orders[index].state = State::Gone;
            self.settle_front();
        }
    }

    /// Why no request is drawn, if none is.
    pub fn obstacle(&self) -> Option<Obstacle> {
        let front = self.requests[(self.request_head & self.request_mask) as usize];
        let next = &self.orders[(self.next_urn & self.order_mask) as usize];
        if self.in_flight() > 0 {
            let Request { kind, urn, timing } = front;
            Some(Obstacle::Unanswered { count: self.in_flight(), kind, urn, sent_ns: timing.sent_ns })
        } else if self.next_urn == u32::MAX {
            Some(Obstacle::NumbersUsedUp)
        } else if next.state != State::Free && next.listed_at == UNLISTED {
            Some(Obstacle::PlaceHeld { urn: next.urn })
        } else {
            None
        }
    }

    /// Closes the books: what is still unanswered now was lost.
    pub fn close(&mut self) {
        while let Some(request) = self.pop_request() {
            self.pass_over(request);
        }
    }

    fn counts(&mut self, intended_ns: u64) -> &mut Counts {
        if intended_ns < self.measure_from_ns {
            &mut self.warmup
        } else if intended_ns < self.measure_until_ns {
            &mut self.measured
        } else {
            &mut self.cleanup
        }
    }

    fn unexpected(&mut self, known: bool) {
        if known {
            self.events.duplicated += 1;
        } else {
            self.events.unknown += 1;
        }
    }

    fn establish(&mut self, urn: u32, quantity: u32, live: bool) {
        let listed_at = self.listed.len() as u32;
        let order = &mut self.orders[(urn & self.order_mask) as usize];
        order.remaining = quantity;
        order.linked = NO_ORDER;
        if !live {
            order.state = State::Free;
            return;
        }
        order.state = State::Live;
        if !order.immediate {
            order.listed_at = listed_at;
            self.listed.push(urn);
        }
    }

    /// Ends a change that left the order as it was.
    fn restore(&mut self, urn: u32) {
        let order = self.orders[(urn & self.order_mask) as usize];
        match order.state {
            State::Changing => self.establish(urn, order.remaining, true),
            State::Gone => self.orders[(urn & self.order_mask) as usize].state = State::Free,
            State::Free | State::Entering | State::Live => {}
        }
    }

    fn reduce(&mut self, index: usize, quantity: u32) {
        let order = &mut self.orders[index];
        if quantity > order.remaining {
            self.events.duplicated += 1;
        }
        order.remaining = order.remaining.saturating_sub(quantity);
    }

    fn unlist(&mut self, urn: u32) {
        let at = self.orders[(urn & self.order_mask) as usize].listed_at;
        if at == UNLISTED {
            return;
        }
        self.orders[(urn & self.order_mask) as usize].listed_at = UNLISTED;
        self.listed.swap_remove(at as usize);
        if let Some(&moved) = self.listed.get(at as usize) {
            self.orders[(moved & self.order_mask) as usize].listed_at = at;
        }
    }

    /// Whether the oldest unanswered request is the Enter or Replace that carries this number.
    fn is_next_answered(&self, urn: u32) -> bool {
        let front = self.requests[(self.request_head & self.request_mask) as usize];
        self.in_flight() > 0 && front.urn == urn && front.kind != RequestKind::Cancel
    }

    fn pop_request(&mut self) -> Option<Request> {
        if self.request_head == self.request_tail {
            return None;
        }
        let request = self.requests[(self.request_head & self.request_mask) as usize];
        self.request_head = self.request_head.wrapping_add(1);
        Some(request)
    }

    /// Takes the answered request, and all those before it, off the queue. Returns its intended time.
    fn answer(&mut self, kind: RequestKind, urn: u32, now_ns: u64) -> u64 {
        while let Some(request) = self.pop_request() {
            if request.kind != kind || request.urn != urn {
                self.pass_over(request);
                continue;
            }
            let timing = request.timing;
            self.counts(timing.intended_ns).answered[kind as usize] += 1;
            // What waits behind it may be of an order that went meanwhile: nothing else would release that.
            self.settle_front();
            if (self.measure_from_ns..self.measure_until_ns).contains(&timing.intended_ns) {
                self.last_answer_ns = now_ns;
                self.latency.record(now_ns.saturating_sub(timing.intended_ns), 1);
                match self.answered.last_mut() {
                    Some((last, count)) if *last == timing => *count += 1,
                    _ => self.answered.push((timing, 1)),
                }
            }
            return timing.intended_ns;
        }
        0
    }

    /// A request that will have no answer: overtaken if its order is gone, lost if not.
    fn pass_over(&mut self, request: Request) {
        let index = (request.urn & self.order_mask) as usize;
        let target = match request.kind {
            RequestKind::Enter => NO_ORDER,
            RequestKind::Cancel => request.urn,
            RequestKind::Replace => self.orders[index].linked,
        };
        let gone =
            target != NO_ORDER && self.orders[(target & self.order_mask) as usize].state == State::Gone;
        if gone {
            self.counts(request.timing.intended_ns).overtaken += 1;
        } else {
            self.counts(request.timing.intended_ns).lost += 1;
        }
        if request.kind != RequestKind::Cancel {
            self.orders[index].state = State::Free;
        }
        if target != NO_ORDER {
            self.restore(target);
        }
    }

    /// Requests at the front whose order is gone wait for nothing any more; in a closed loop nothing else would release them.
    fn settle_front(&mut self) {
        while self.request_head != self.request_tail {
            let request = self.requests[(self.request_head & self.request_mask) as usize];
            let target = match request.kind {
                RequestKind::Enter => return,
                RequestKind::Cancel => request.urn,
                RequestKind::Replace => self.orders[(request.urn & self.order_mask) as usize].linked,
            };
            if self.orders[(target & self.order_mask) as usize].state != State::Gone {
                return;
            }
            self.request_head = self.request_head.wrapping_add(1);
            self.pass_over(request);
        }
    }
}

#[cfg(test)]
#[path = "account_interleavings.rs"]
mod interleavings;
#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
