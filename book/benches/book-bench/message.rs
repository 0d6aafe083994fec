//! A message as the flows of the measurements have it, and a flow: what fills a book, then what is measured. Generates nothing.

pub const TICK: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A day order at a limit.
    Enter,
    /// An immediate order at a limit.
    Take,
    /// The whole order goes.
    Cancel,
    /// The order shrinks in place to `quantity` (executed shares included).
    Reduce,
    /// `original` is replaced by `user_ref`.
    Replace,
}

/// One message, 32 bytes: two to a cache line, so that reading the flow costs little beside the book.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub action: Action,
    pub buy: bool,
    pub owner: u32,
    pub user_ref: u32,
    pub original: u32,
    pub instrument: u32,
    pub quantity: u32,
    pub price: u32,
}

const _: () = assert!(size_of::<Message>() <= 32);

pub struct Flow {
    pub instruments: u32,
    pub owners: u32,
    pub orders: u32,
    /// Builds the resting orders.
    pub preload: Vec<Message>,
    pub messages: Vec<Message>,
}
