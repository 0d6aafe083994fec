//! OUCH 5.0 messages from the client to the engine, one table each; sections are those of the specification.

message! {
    /// Enter Order (section 2.1).
    b'O' EnterOrder EnterOrderView 47 [always 2 3 4 5 6 7 9 10 11 12 13 15 16 17 24 25 26 28 29 30] {
        1 user_ref_num: u32,
        /// B, S, T, E.
        5 side: char,
        /// Shares, 1..=999,999.
        6 quantity: u32,
        10 symbol: alpha(8),
        /// 4 implied decimals.
        18 price: u64,
        /// 0, 3, 5, 6, E.
        26 time_in_force: char,
        /// Y, N, A.
        27 display: char,
        /// A, P, R, O.
        28 capacity: char,
        /// Y, N.
        29 inter_market_sweep_eligibility: char,
        /// N, O, C, H, S, R, E, A.
        30 cross_type: char,
        31 cl_ord_id: alpha(14),
    }
}

message! {
    /// Replace Order Request (section 2.2).
    b'U' ReplaceOrder ReplaceOrderView 40 [always 3 5 6 7 9 10 11 12 13 15 16 17 25 26 27 28 29 30] {
        1 orig_user_ref_num: u32,
        5 user_ref_num: u32,
        /// Shares the whole chain is liable for, 1..=999,999.
        9 quantity: u32,
        /// 4 implied decimals.
        13 price: u64,
        /// 0, 3, 5, 6.
        21 time_in_force: char,
        /// Y, N, A.
        22 display: char,
        /// Y, N.
        23 inter_market_sweep_eligibility: char,
        24 cl_ord_id: alpha(14),
    }
}

message! {
    /// Cancel Order Request (section 2.3).
    b'X' CancelOrder CancelOrderView 11 [optional 28] {
        /// Of the existing order.
        1 user_ref_num: u32,
        /// New intended size of the order, executed shares included; 0 cancels all that is left.
        5 quantity: u32,
    }
}

message! {
    /// Modify Order Request (section 2.4).
    b'M' ModifyOrder ModifyOrderView 12 [optional 25 26 28] {
        /// Of the existing order.
        1 user_ref_num: u32,
        /// Only S, T and E may change into one another.
        5 side: char,
        /// New intended size; an increase is ignored.
        6 quantity: u32,
    }
}

message! {
    /// Mass Cancel Request (section 2.5).
    b'C' MassCancel MassCancelView 19 [always 24 27 28] {
        1 user_ref_num: u32,
        5 firm: alpha(4),
        /// Spaces = all symbols.
        9 symbol: alpha(8),
    }
}

message! {
    /// Disable Order Entry Request (section 2.6).
    b'D' DisableOrderEntry DisableOrderEntryView 11 [always 28] {
        1 user_ref_num: u32,
        5 firm: alpha(4),
    }
}

message! {
    /// Enable Order Entry Request (section 2.7).
    b'E' EnableOrderEntry EnableOrderEntryView 11 [always 28] {
        1 user_ref_num: u32,
        5 firm: alpha(4),
    }
}

message! {
    /// Account Query Request (section 2.8).
    b'Q' AccountQuery AccountQueryView 3 [optional 28] {}
}

message_enum! {
    /// Any message from the client.
    Inbound {
        EnterOrder EnterOrderView,
        ReplaceOrder ReplaceOrderView,
        CancelOrder CancelOrderView,
        ModifyOrder ModifyOrderView,
        MassCancel MassCancelView,
        DisableOrderEntry DisableOrderEntryView,
        EnableOrderEntry EnableOrderEntryView,
        AccountQuery AccountQueryView,
    }
}
