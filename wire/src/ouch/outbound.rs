//! OUCH 5.0 messages from the engine to the client, one table each; sections are those of the specification.

message! {
    /// System Event (section 3.1).
    b'S' SystemEvent SystemEventView 10 [none] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        /// S start of day, E end of day.
        9 event_code: char,
    }
}

message! {
    /// Order Accepted (section 3.2).
    b'A' OrderAccepted OrderAcceptedView 64
        [always 2 3 4 5 6 7 9 10 11 12 13 14 15 16 17 18 24 25 28 29 30] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 side: char,
        14 quantity: u32,
        18 symbol: alpha(8),
        /// 4 implied decimals; the accepted price, which may differ from the entered one.
        26 price: u64,
        34 time_in_force: char,
        /// Y, N, A, Z.
        35 display: char,
        36 order_reference_number: u64,
        44 capacity: char,
        45 inter_market_sweep_eligibility: char,
        46 cross_type: char,
        /// L live, D dead: accepted and at once cancelled, no further messages.
        47 order_state: char,
        48 cl_ord_id: alpha(14),
    }
}

message! {
    /// Order Replaced (section 3.3).
    b'U' OrderReplaced OrderReplacedView 68 [always 2 3 5 6 12 15 16 17 18 28 29 30] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 orig_user_ref_num: u32,
        13 user_ref_num: u32,
        17 side: char,
        /// Shares now exposed.
        18 quantity: u32,
        22 symbol: alpha(8),
        /// 4 implied decimals.
        30 price: u64,
        38 time_in_force: char,
        39 display: char,
        40 order_reference_number: u64,
        48 capacity: char,
        49 inter_market_sweep_eligibility: char,
        50 cross_type: char,
        /// L live, D dead.
        51 order_state: char,
        52 cl_ord_id: alpha(14),
    }
}

message! {
    /// Order Canceled (section 3.4).
    b'C' OrderCanceled OrderCanceledView 20 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        /// Shares taken off by this cancel.
        13 quantity: u32,
        /// Appendix B; [`cancel_reason`](super::cancel_reason).
        17 reason: char,
    }
}

message! {
    /// AIQ (self-match prevention) Canceled (section 3.5).
    b'D' AiqCanceled AiqCanceledView 34 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        /// Shares taken off by this cancel.
        13 decrement_shares: u32,
        /// Always Q.
        17 reason: char,
        18 quantity_prevented_from_trading: u32,
        /// 4 implied decimals.
        22 execution_price: u64,
        30 liquidity_flag: char,
        31 aiq_strategy: char,
    }
}

message! {
    /// Order Executed (section 3.6).
    b'E' OrderExecuted OrderExecutedView 36 [always 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        /// Shares of this execution.
        13 quantity: u32,
        /// 4 implied decimals.
        17 price: u64,
        /// Appendix D; [`liquidity`](super::liquidity).
        25 liquidity_flag: char,
        /// The same on both sides of the trade.
        26 match_number: u64,
    }
}

message! {
    /// Broken Trade (section 3.7).
    b'B' BrokenTrade BrokenTradeView 38 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 match_number: u64,
        /// E, C, S, X.
        21 reason: char,
        22 cl_ord_id: alpha(14),
    }
}

message! {
    /// Rejected (section 3.8).
    b'J' OrderRejected OrderRejectedView 31 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        /// Consumed by the rejection.
        9 user_ref_num: u32,
        /// Appendix C; [`reject_reason`](super::reject_reason).
        13 reason: u16,
        15 cl_ord_id: alpha(14),
    }
}

message! {
    /// Cancel Pending (section 3.9).
    b'P' CancelPending CancelPendingView 15 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
    }
}

message! {
    /// Cancel Reject (section 3.10).
    b'I' CancelReject CancelRejectView 15 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
    }
}

message! {
    /// Order Priority Update (section 3.11).
    b'T' OrderPriorityUpdate OrderPriorityUpdateView 32 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        /// 4 implied decimals.
        13 price: u64,
        21 display: char,
        /// The new one.
        22 order_reference_number: u64,
    }
}

message! {
    /// Order Modified (section 3.12).
    b'M' OrderModified OrderModifiedView 20 [optional 25 26 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 side: char,
        /// Total shares outstanding.
        14 quantity: u32,
    }
}

message! {
    /// Order Restated (section 3.13).
    b'R' OrderRestated OrderRestatedView 16 [always 1 22 23 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        /// R refresh of the display, P update of the displayed price.
        13 reason: char,
    }
}

message! {
    /// Mass Cancel Response (section 3.14).
    b'X' MassCancelResponse MassCancelResponseView 27 [always 24 27 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 firm: alpha(4),
        17 symbol: alpha(8),
    }
}

message! {
    /// Disable Order Entry Response (section 3.15).
    b'G' DisableOrderEntryResponse DisableOrderEntryResponseView 19 [always 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 firm: alpha(4),
    }
}

message! {
    /// Enable Order Entry Response (section 3.16).
    b'K' EnableOrderEntryResponse EnableOrderEntryResponseView 19 [always 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        9 user_ref_num: u32,
        13 firm: alpha(4),
    }
}

message! {
    /// Account Query Response (section 3.17).
    b'Q' AccountQueryResponse AccountQueryResponseView 15 [optional 28] {
        /// Nanoseconds since midnight.
        1 timestamp: u64,
        /// The lowest number that would be accepted.
        9 next_user_ref_num: u32,
    }
}

message_enum! {
    /// Any message to the client.
    Outbound {
        SystemEvent SystemEventView,
        OrderAccepted OrderAcceptedView,
        OrderReplaced OrderReplacedView,
        OrderCanceled OrderCanceledView,
        AiqCanceled AiqCanceledView,
        OrderExecuted OrderExecutedView,
        BrokenTrade BrokenTradeView,
        OrderRejected OrderRejectedView,
        CancelPending CancelPendingView,
        CancelReject CancelRejectView,
        OrderPriorityUpdate OrderPriorityUpdateView,
        OrderModified OrderModifiedView,
        OrderRestated OrderRestatedView,
        MassCancelResponse MassCancelResponseView,
        DisableOrderEntryResponse DisableOrderEntryResponseView,
        EnableOrderEntryResponse EnableOrderEntryResponseView,
        AccountQueryResponse AccountQueryResponseView,
    }
}
