//! The shard's side of a session and of a firm: numbering, permissions, limits. Not the transport: addresses, windows
//! and timers are the session's, and are not journaled.

use super::risk::Exposure;
use crate::inputs::RiskConfig;
use crate::inputs::{SessionId, SessionOpened};

/// Order-flow channels of a session (OUCH tag 28 is one byte).
pub const CHANNELS: usize = 256;

/// What the shard knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trader {
    pub user: [u8; 6],
    /// Downstream session name.
    pub name: [u8; 10],
    pub firm: FirmIndex,
    pub cancel_on_disconnect: bool,
    pub drop_copy: bool,
    pub connected: bool,
    /// The session itself disabled order entry (OUCH section 2.6).
    pub disabled: bool,
    pub killed: bool,
    /// Next upstream and downstream sequence numbers.
    pub next_upstream: u64,
    pub next_downstream: u64,
    pub risk: RiskConfig,
    pub exposure: Exposure,
    /// Highest UserRefNum taken, by channel.
    pub last_user_ref: Box<[u32; CHANNELS]>,
}

pub type FirmIndex = u16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firm {
    pub name: [u8; 4],
    pub killed: bool,
    pub risk: RiskConfig,
    pub exposure: Exposure,
    /// Instruments this firm may not trade, ascending.
    pub restricted: Vec<u32>,
    /// Instruments in which this firm is registered as a market maker, ascending; true where it is the primary one.
    pub registered: Vec<(u32, bool)>,
    /// Drop-copy sessions, in the order they first logged in.
    pub drop_copies: Vec<SessionId>,
}

impl Trader {
    pub fn new(opened: &SessionOpened, firm: FirmIndex) -> Self {
        Self {
            user: opened.user,
            name: opened.name,
            firm,
            cancel_on_disconnect: opened.cancel_on_disconnect,
            drop_copy: opened.drop_copy,
            connected: true,
            disabled: false,
            killed: false,
            next_upstream: 1,
            next_downstream: 1,
            risk: opened.risk,
            exposure: Exposure::default(),
            last_user_ref: Box::new([0; CHANNELS]),
        }
    }

    /// Takes `user_ref` in `channel` if it is new: numbers at or below the last one are retransmissions.
    #[inline]
    pub fn take_user_ref(&mut self, channel: u8, user_ref: u32) -> bool {
        let last = &mut self.last_user_ref[usize::from(channel)];
        let new = user_ref > *last;
        if new {
            *last = user_ref;
        }
        new
    }

    #[inline]
    pub fn is_new_user_ref(&self, channel: u8, user_ref: u32) -> bool {
        user_ref > self.last_user_ref[usize::from(channel)]
    }
}

impl Firm {
    pub fn new(name: [u8; 4], risk: RiskConfig) -> Self {
        Self {
            name,
            killed: false,
            risk,
            exposure: Exposure::default(),
            restricted: Vec::new(),
            registered: Vec::new(),
            drop_copies: Vec::new(),
        }
    }

    #[inline]
    pub fn is_restricted(&self, instrument: u32) -> bool {
        !self.restricted.is_empty() && self.restricted.binary_search(&instrument).is_ok()
    }

    pub fn restrict(&mut self, instrument: u32, restricted: bool) {
        match (self.restricted.binary_search(&instrument), restricted) {
            (Err(place), true) => self.restricted.insert(place, instrument),
            (Ok(place), false) => {
                self.restricted.remove(place);
            }
            _ => {}
        }
    }
}
