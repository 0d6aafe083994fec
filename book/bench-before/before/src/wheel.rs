//! Which orders end at which second: a timer wheel with one slot per second, wide enough that no order laps it. No clock.

use crate::ladder::NIL;
use crate::order::Orders;
use crate::types::TIME_TO_LIVE_MAX;

/// The next power of two above the longest time to live: an order's slot holds orders of its own second only.
const SLOTS: usize = 1 << 17;
const _: () = assert!(SLOTS as u32 > TIME_TO_LIVE_MAX + 1);

#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    tail: u32,
}

pub(crate) struct Wheel {
    slots: Vec<Slot>,
    /// Every second up to and including this one has been dealt with.
    now: u32,
    waiting: u32,
}

impl Wheel {
    pub fn new() -> Self {
        Self { slots: vec![Slot { head: NIL, tail: NIL }; SLOTS], now: 0, waiting: 0 }
    }

    #[inline]
    pub fn now(&self) -> u32 {
        self.now
    }

    pub fn set_now(&mut self, now: u32) {
        self.now = now;
    }

    /// Orders in the wheel.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Whether an order may wait until `second`.
    pub fn reaches(&self, second: u32) -> bool {
        second <= self.now.saturating_add(TIME_TO_LIVE_MAX)
    }

    /// `second` is later than now and within reach.
    pub fn insert(&mut self, orders: &mut Orders, handle: u32, second: u32) {
        let slot = &mut self.slots[second as usize % SLOTS];
        let tail = slot.tail;
        slot.tail = handle;
        let extra = orders.extra_mut(handle);
        extra.wheel_previous = tail;
        extra.wheel_next = NIL;
        if tail == NIL {
            slot.head = handle;
        } else {
            orders.extra_mut(tail).wheel_next = handle;
        }
        self.waiting += 1;
    }

    pub fn remove(&mut self, orders: &mut Orders, handle: u32) {
        let extra = *orders.extra_mut(handle);
        let slot = &mut self.slots[extra.expires_at as usize % SLOTS];
        if extra.wheel_previous == NIL {
            slot.head = extra.wheel_next;
        } else {
            orders.extra_mut(extra.wheel_previous).wheel_next = extra.wheel_next;
        }
        if extra.wheel_next == NIL {
            slot.tail = extra.wheel_previous;
        } else {
            orders.extra_mut(extra.wheel_next).wheel_previous = extra.wheel_previous;
        }
        self.waiting -= 1;
    }

    /// The next order to expire until `second`, the earliest second first, in the order of insertion. The caller removes it
    /// and asks again; `None` means that time has advanced to `second`. Visits each second once, and at most all slots.
    pub fn due(&mut self, second: u32) -> Option<u32> {
        while self.now < second {
            if self.waiting == 0 {
                self.now = second;
                return None;
            }
            let head = self.slots[(self.now + 1) as usize % SLOTS].head;
            if head != NIL {
                return Some(head);
            }
            self.now += 1;
        }
        None
    }

    /// The orders that expire at `second`, in the order of insertion.
    pub fn at<'a>(&'a self, orders: &'a Orders, second: u32) -> impl Iterator<Item = u32> + 'a {
        let head = self.slots[second as usize % SLOTS].head;
        core::iter::successors((head != NIL).then_some(head), move |&handle| {
            let next = orders.extra(handle).wheel_next;
            (next != NIL).then_some(next)
        })
    }
}
