//! The books of one client: every request sent, its one answer, and what is still open. No bytes, no sockets.
//!
//! Both tables are rings indexed by arithmetic, sized at the start: nothing is hashed or allocated while orders flow.
//!
//! Requests are answered in the order they were sent, because a session is processed in order and its answers are a sequenced
//! stream. OUCH leaves a cancel or replace unanswered in one case only: the order it names was gone before it arrived. So a request
//! that is passed over by a later answer is either *overtaken* (the order had been executed or cancelled away, and we were told) or *lost*.

use hdrhistogram::Histogram;

use crate::mix::{Action, Mix, Side};

/// Latencies above this are recorded as this.
pub const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Reject codes are counted one by one up to the highest that OUCH 5.0 lists; stranger ones share the last place.
pub const REJECT_CODES: usize = 0x42;

const UNLISTED: u32 = u32::MAX;
const NO_ORDER: u32 = 0;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    Enter,
    Cancel,
    Replace,
}

impl RequestKind {
    pub const ALL: [RequestKind; 3] = [RequestKind::Enter, RequestKind::Cancel, RequestKind::Replace];

    pub fn name(self) -> &'static str {
        match self {
            RequestKind::Enter => "enter",
            RequestKind::Cancel => "cancel",
            RequestKind::Replace => "replace",
        }
    }
}

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
    Unanswered { count: u32, kind: RequestKind, urn: u32, intended_ns: u64 },
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
            Obstacle::Unanswered { count, kind, urn, intended_ns } => format!(
                "{count} of its requests wait for an answer, the oldest ({} {urn}) for {:.1} s",
                kind.name(),
                now_ns.saturating_sub(intended_ns) as f64 / 1e9
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
    intended_ns: u64,
    urn: u32,
    kind: RequestKind,
}

/// Counters of one part of a run (warm-up or measured).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// By [`RequestKind`].
    pub sent: [u64; 3],
    pub answered: [u64; 3],
    /// Cancels and replaces of orders that were gone before they arrived: the protocol leaves them unanswered.
    pub overtaken: u64,
    /// Requests that were never answered, although they had to be.
    pub lost: u64,
    pub rejected: [u64; REJECT_CODES],
}

impl Default for Counts {
    fn default() -> Self {
        Counts { sent: [0; 3], answered: [0; 3], overtaken: 0, lost: 0, rejected: [0; REJECT_CODES] }
    }
}

impl Counts {
    pub fn sent_total(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Requests that had their answer: the message itself, or the execution that made it superfluous.
    pub fn answered_total(&self) -> u64 {
        self.answered.iter().sum::<u64>() + self.overtaken
    }

    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().sum()
    }

    pub fn add(&mut self, other: &Counts) {
        for kind in 0..3 {
            self.sent[kind] += other.sent[kind];
            self.answered[kind] += other.answered[kind];
        }
        self.overtaken += other.overtaken;
        self.lost += other.lost;
        for (mine, theirs) in self.rejected.iter_mut().zip(&other.rejected) {
            *mine += theirs;
        }
    }
}

/// What came downstream that is no answer, over the whole run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Events {
    pub executions: u64,
    pub executed_quantity: u64,
    /// Orders taken off by someone else than their owner's cancel: the rest of an immediate order, a timeout, a supervisor.
    pub cancels_unrequested: u64,
    /// A second answer to one request, or more executed or cancelled than the order had.
    pub duplicated: u64,
    /// Messages about orders that were never sent.
    pub unknown: u64,
    /// Message types that this generator has no use for (system events, restatements, ...).
    pub other: u64,
    /// Undecodable messages.
    pub malformed: u64,
}

impl Events {
    pub fn add(&mut self, other: &Events) {
        self.executions += other.executions;
        self.executed_quantity += other.executed_quantity;
        self.cancels_unrequested += other.cancels_unrequested;
        self.duplicated += other.duplicated;
        self.unknown += other.unknown;
        self.other += other.other;
        self.malformed += other.malformed;
    }
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
    latency: Histogram<u64>,
    /// Answers of one datagram mostly share their latency: they are recorded together.
    run_value: u64,
    run_count: u64,
}

impl Account {
    /// Room for `in_flight` unanswered requests and `open_orders` resting orders; latencies with `digits` significant digits.
    pub fn new(in_flight: u32, open_orders: u32, digits: u8) -> Self {
        let requests = in_flight.clamp(1, 1 << 24).next_power_of_two();
        let orders = (2 * (requests + open_orders)).next_power_of_two();
        let empty = Request { intended_ns: 0, urn: NO_ORDER, kind: RequestKind::Enter };
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits.clamp(1, 5))
            .unwrap_or_else(|_| unreachable!("the bounds are constants that the histogram accepts"));
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
            latency,
            run_value: 0,
            run_count: 0,
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
        self.record_run();
        &self.latency
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
    pub fn begin(&mut self, action: Action, mix: &Mix, intended_ns: u64) -> Outgoing {
        match action {
            Action::Enter { symbol, side, quantity, price, immediate } => {
                let urn = self.begin_order(side, immediate, NO_ORDER, intended_ns);
                Outgoing::Enter { urn, symbol, side, quantity, price, immediate }
            }
            Action::Cancel { pick } => self.begin_cancel(self.listed[pick as usize], intended_ns),
            Action::Replace { pick, quantity, offset_ticks } => {
                let original = self.listed[pick as usize];
                let side = self.orders[(original & self.order_mask) as usize].side;
                let urn = self.begin_order(side, false, original, intended_ns);
                self.unlist(original);
                let order = &mut self.orders[(original & self.order_mask) as usize];
                order.state = State::Changing;
                order.linked = urn;
                Outgoing::Replace { original, urn, quantity, price: mix.price(side, offset_ticks) }
            }
        }
    }

    /// Enters a cancel of `urn` into the books, for the clean-up at the end of a run. `urn` must be listed.
    pub fn begin_cancel(&mut self, urn: u32, intended_ns: u64) -> Outgoing {
        self.unlist(urn);
        let order = &mut self.orders[(urn & self.order_mask) as usize];
        order.state = State::Changing;
        order.linked = NO_ORDER;
        self.push_request(urn, RequestKind::Cancel, intended_ns);
        Outgoing::Cancel { urn }
    }

    fn begin_order(&mut self, side: Side, immediate: bool, linked: u32, intended_ns: u64) -> u32 {
        let urn = self.next_urn;
        self.next_urn += 1;
        self.orders[(urn & self.order_mask) as usize] =
            Order { urn, remaining: 0, listed_at: UNLISTED, linked, state: State::Entering, side, immediate };
        let kind = if linked == NO_ORDER { RequestKind::Enter } else { RequestKind::Replace };
        self.push_request(urn, kind, intended_ns);
        urn
    }

    fn push_request(&mut self, urn: u32, kind: RequestKind, intended_ns: u64) {
        self.requests[(self.request_tail & self.request_mask) as usize] = Request { intended_ns, urn, kind };
        self.request_tail = self.request_tail.wrapping_add(1);
        self.counts(intended_ns).sent[kind as usize] += 1;
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
            let Request { kind, urn, intended_ns } = front;
            Some(Obstacle::Unanswered { count: self.in_flight(), kind, urn, intended_ns })
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
        self.record_run();
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
            self.counts(request.intended_ns).answered[kind as usize] += 1;
            // What waits behind it may be of an order that went meanwhile: nothing else would release that.
            self.settle_front();
            if (self.measure_from_ns..self.measure_until_ns).contains(&request.intended_ns) {
                self.last_answer_ns = now_ns;
                let latency_ns = now_ns.saturating_sub(request.intended_ns);
                if latency_ns == self.run_value {
                    self.run_count += 1;
                } else {
                    self.record_run();
                    self.run_value = latency_ns;
                    self.run_count = 1;
                }
            }
            return request.intended_ns;
        }
        0
    }

    fn record_run(&mut self) {
        if self.run_count > 0 {
            self.latency.saturating_record_n(self.run_value.clamp(1, LATENCY_NS_MAX), self.run_count);
            self.run_count = 0;
        }
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
            self.counts(request.intended_ns).overtaken += 1;
        } else {
            self.counts(request.intended_ns).lost += 1;
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
