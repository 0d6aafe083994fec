//! Requests to build: OUCH inbound as bytes. Not what is answered: `answers`.

use wire::ouch::inbound::{
    AccountQuery, CancelOrder, DisableOrderEntry, EnableOrderEntry, EnterOrder, MassCancel, ModifyOrder,
    ReplaceOrder,
};
use wire::ouch::{AppendageBuilder, MAX_MESSAGE_LENGTH, tag};

/// 10.00 in four decimals: where most tests trade.
pub const TEN: u64 = 100_000;
/// One cent.
pub const CENT: u64 = 100;

/// The text of a symbol or firm, padded as alpha fields are.
pub fn alpha<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [b' '; N];
    out[..text.len()].copy_from_slice(text.as_bytes());
    out
}

/// Anything that can be sent.
pub trait Request {
    fn bytes(&self) -> Vec<u8>;
}

impl Request for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

fn written(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = [0; MAX_MESSAGE_LENGTH];
    let length = write(&mut out);
    out[..length].to_vec()
}

/// An Enter Order or a Replace Order: both take the same instructions.
#[derive(Clone)]
pub struct Order {
    /// The order that it replaces.
    pub original: Option<u32>,
    pub enter: EnterOrder,
    pub appendage: AppendageBuilder,
}

pub fn buy(user_ref: u32, quantity: u32, price: u64) -> Order {
    Order {
        original: None,
        enter: EnterOrder {
            user_ref_num: user_ref,
            side: b'B',
            quantity,
            symbol: alpha("AAA"),
            price,
            time_in_force: b'0',
            display: b'Y',
            capacity: b'A',
            inter_market_sweep_eligibility: b'N',
            cross_type: b'N',
            cl_ord_id: alpha(&format!("c{user_ref}")),
        },
        appendage: AppendageBuilder::new(),
    }
}

pub fn sell(user_ref: u32, quantity: u32, price: u64) -> Order {
    buy(user_ref, quantity, price).with(|order| order.side = b'S')
}

pub fn replace(original: u32, user_ref: u32, quantity: u32, price: u64) -> Order {
    Order { original: Some(original), ..buy(user_ref, quantity, price) }
}

impl Order {
    pub fn with(mut self, change: impl FnOnce(&mut EnterOrder)) -> Self {
        change(&mut self.enter);
        self
    }

    pub fn tagged(mut self, change: impl FnOnce(&mut AppendageBuilder)) -> Self {
        change(&mut self.appendage);
        self
    }

    pub fn of(self, symbol: &str) -> Self {
        self.with(|order| order.symbol = alpha(symbol))
    }

    pub fn market(self) -> Self {
        self.with(|order| order.price = wire::ouch::MARKET_PRICE)
    }

    pub fn immediate(self) -> Self {
        self.with(|order| order.time_in_force = b'3')
    }

    pub fn until(self, seconds: u32) -> Self {
        self.with(|order| order.time_in_force = b'6').tagged(|tags| {
            tags.u32(tag::EXPIRE_TIME, seconds);
        })
    }

    pub fn hidden(self) -> Self {
        self.with(|order| order.display = b'N')
    }

    pub fn cross(self, cross: u8) -> Self {
        self.with(|order| order.cross_type = cross)
    }

    pub fn shows(self, quantity: u32) -> Self {
        self.tagged(|tags| {
            tags.u32(tag::MAX_FLOOR, quantity);
        })
    }

    pub fn minimum(self, quantity: u32) -> Self {
        self.tagged(|tags| {
            tags.u32(tag::MIN_QTY, quantity);
        })
    }

    pub fn post_only(self) -> Self {
        self.tagged(|tags| {
            tags.u8(tag::POST_ONLY, b'P');
        })
    }

    pub fn channel(self, channel: u8) -> Self {
        self.tagged(|tags| {
            tags.u8(tag::USER_REF_IDX, channel);
        })
    }

    pub fn group(self, group: u16) -> Self {
        self.tagged(|tags| {
            tags.u16(tag::GROUP_ID, group);
        })
    }

    pub fn aiq(self, group: [u8; 2], strategy: u8) -> Self {
        self.tagged(|tags| {
            tags.alpha2(tag::AIQ_GROUP_ID, group).u8(tag::AIQ_STRATEGY, strategy);
        })
    }
}

impl Request for Order {
    fn bytes(&self) -> Vec<u8> {
        let enter = &self.enter;
        match self.original {
            None => written(|out| enter.write(self.appendage.as_bytes(), out)),
            Some(original) => {
                let request = ReplaceOrder {
                    orig_user_ref_num: original,
                    user_ref_num: enter.user_ref_num,
                    quantity: enter.quantity,
                    price: enter.price,
                    time_in_force: enter.time_in_force,
                    display: enter.display,
                    inter_market_sweep_eligibility: enter.inter_market_sweep_eligibility,
                    cl_ord_id: enter.cl_ord_id,
                };
                written(|out| request.write(self.appendage.as_bytes(), out))
            }
        }
    }
}

/// The requests with at most one channel in their appendage.
fn channel_tag(channel: u8) -> AppendageBuilder {
    let mut tags = AppendageBuilder::new();
    if channel != 0 {
        tags.u8(tag::USER_REF_IDX, channel);
    }
    tags
}

pub fn cancel(user_ref: u32, total: u32) -> Vec<u8> {
    cancel_in(0, user_ref, total)
}

pub fn cancel_in(channel: u8, user_ref: u32, total: u32) -> Vec<u8> {
    let request = CancelOrder { user_ref_num: user_ref, quantity: total };
    written(|out| request.write(channel_tag(channel).as_bytes(), out))
}

pub fn modify(user_ref: u32, side: u8, total: u32) -> Vec<u8> {
    modify_in(0, user_ref, side, total)
}

pub fn modify_in(channel: u8, user_ref: u32, side: u8, total: u32) -> Vec<u8> {
    let request = ModifyOrder { user_ref_num: user_ref, side, quantity: total };
    written(|out| request.write(channel_tag(channel).as_bytes(), out))
}

pub fn mass_cancel(user_ref: u32, symbol: &str, tags: impl FnOnce(&mut AppendageBuilder)) -> Vec<u8> {
    mass_cancel_of(user_ref, "", symbol, tags)
}

pub fn mass_cancel_of(
    user_ref: u32,
    firm: &str,
    symbol: &str,
    tags: impl FnOnce(&mut AppendageBuilder),
) -> Vec<u8> {
    let mut appendage = AppendageBuilder::new();
    tags(&mut appendage);
    let request = MassCancel { user_ref_num: user_ref, firm: alpha(firm), symbol: alpha(symbol) };
    written(|out| request.write(appendage.as_bytes(), out))
}

pub fn disable(user_ref: u32, firm: &str, channel: u8) -> Vec<u8> {
    let request = DisableOrderEntry { user_ref_num: user_ref, firm: alpha(firm) };
    written(|out| request.write(channel_tag(channel).as_bytes(), out))
}

pub fn enable(user_ref: u32, firm: &str, channel: u8) -> Vec<u8> {
    let request = EnableOrderEntry { user_ref_num: user_ref, firm: alpha(firm) };
    written(|out| request.write(channel_tag(channel).as_bytes(), out))
}

pub fn account_query(channel: u8) -> Vec<u8> {
    written(|out| AccountQuery {}.write(channel_tag(channel).as_bytes(), out))
}
