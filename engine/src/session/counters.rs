//! What a shard's reception took and what it did not, a counter each. What was not taken changed no state.

/// Everything refused at the door, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IngressCounters {
    pub datagrams: u64,
    /// Shorter than a MoldUDP64 header.
    pub short: u64,
    /// Names a session that does not exist.
    pub unknown_token: u64,
    /// Names a session that is bound to another address or port, or to none.
    pub foreign_source: u64,
    /// Not the claimed number of whole blocks, or neither data nor acknowledgement nor request.
    pub malformed: u64,
    /// Beyond the receive window.
    pub far_ahead: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Early, and kept until its predecessors arrive.
    pub parked: u64,
    /// Early, and no buffer was free to keep it.
    pub parking_full: u64,
    /// Of a session so many of whose answers are unacknowledged that more would overwrite them.
    pub held_back: u64,
    /// A control datagram that is not one SoupBinTCP packet a client may send.
    pub control_malformed: u64,
    pub logins: u64,
    pub logins_repeated: u64,
    pub logins_rejected: u64,
    /// Whose password was known to be right without hashing it.
    pub logins_remembered: u64,
    /// Asked to show that their source receives.
    pub logins_challenged: u64,
    /// After too many wrong ones of the source or at the account, or while too many wait for verification.
    pub logins_limited: u64,
    pub logouts: u64,
    /// Logouts that name no session and so end none.
    pub logouts_unnamed: u64,
    pub timeouts: u64,
    /// Requests for messages older than the resend window.
    pub replays: u64,
}
