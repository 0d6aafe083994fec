//! ITCH 5.0 messages, one table each; not how a book is built from them.

/// An ITCH table: the message table after the header that all of them share.
macro_rules! itch_message {
    ($(#[$doc:meta])* $type:literal $name:ident $view:ident $length:literal { $($rows:tt)* }) => {
        message! {
            $(#[$doc])*
            $type $name $view $length [none] {
                /// Index of the instrument, valid for the day; 0 in messages that are about none.
                1 stock_locate: u16,
                /// Internal to the venue.
                3 tracking_number: u16,
                /// Nanoseconds since midnight, 48 bits.
                5 timestamp: u48,
                $($rows)*
            }
        }
    };
}

itch_message! {
    /// System Event.
    b'S' SystemEvent SystemEventView 12 {
        /// O start of messages, S start of system hours, Q start of market hours, M end of market hours, E end of system
        /// hours, C end of messages.
        11 event_code: char,
    }
}

itch_message! {
    /// Stock Directory.
    b'R' StockDirectory StockDirectoryView 39 {
        11 stock: alpha(8),
        /// Q, G, S, N, A, P, M, Z, V, space.
        19 market_category: char,
        /// D, E, Q, S, G, H, J, K, C, N, space.
        20 financial_status: char,
        21 round_lot_size: u32,
        /// Y, N.
        25 round_lots_only: char,
        26 issue_classification: char,
        27 issue_sub_type: alpha(2),
        /// P live, T test.
        29 authenticity: char,
        /// Y, N, space.
        30 short_sale_threshold: char,
        /// Y, N, Z, space.
        31 ipo_flag: char,
        /// 1, 2, space.
        32 luld_tier: char,
        /// Y, N, space.
        33 etp_flag: char,
        34 etp_leverage_factor: u32,
        /// Y, N.
        38 inverse_indicator: char,
    }
}

itch_message! {
    /// Stock Trading Action.
    b'H' StockTradingAction StockTradingActionView 25 {
        11 stock: alpha(8),
        /// H halted, P paused, Q quotation only, T trading.
        19 trading_state: char,
        20 reserved: char,
        21 reason: alpha(4),
    }
}

itch_message! {
    /// Reg SHO Restriction.
    b'Y' RegShoRestriction RegShoRestrictionView 20 {
        11 stock: alpha(8),
        /// 0, 1, 2.
        19 reg_sho_action: char,
    }
}

itch_message! {
    /// Market Participant Position.
    b'L' MarketParticipantPosition MarketParticipantPositionView 26 {
        11 mpid: alpha(4),
        15 stock: alpha(8),
        /// Y, N.
        23 primary_market_maker: char,
        /// N, P, S, R, L.
        24 market_maker_mode: char,
        /// A, E, W, S, D.
        25 state: char,
    }
}

itch_message! {
    /// Market-Wide Circuit Breaker Decline Level.
    b'V' MwcbDeclineLevel MwcbDeclineLevelView 35 {
        /// 8 implied decimals.
        11 level_1: u64,
        /// 8 implied decimals.
        19 level_2: u64,
        /// 8 implied decimals.
        27 level_3: u64,
    }
}

itch_message! {
    /// Market-Wide Circuit Breaker Status.
    b'W' MwcbStatus MwcbStatusView 12 {
        /// 1, 2, 3.
        11 breached_level: char,
    }
}

itch_message! {
    /// IPO Quoting Period Update.
    b'K' IpoQuotingPeriodUpdate IpoQuotingPeriodUpdateView 28 {
        11 stock: alpha(8),
        /// Seconds since midnight.
        19 release_time: u32,
        /// A, C.
        23 release_qualifier: char,
        /// 4 implied decimals.
        24 ipo_price: u32,
    }
}

itch_message! {
    /// Limit Up / Limit Down Auction Collar.
    b'J' LuldAuctionCollar LuldAuctionCollarView 35 {
        11 stock: alpha(8),
        /// 4 implied decimals.
        19 reference_price: u32,
        /// 4 implied decimals.
        23 upper_price: u32,
        /// 4 implied decimals.
        27 lower_price: u32,
        31 extension: u32,
    }
}

itch_message! {
    /// Operational Halt.
    b'h' OperationalHalt OperationalHaltView 21 {
        11 stock: alpha(8),
        /// Q, B, X.
        19 market_code: char,
        /// H halted, T trading.
        20 action: char,
    }
}

itch_message! {
    /// Add Order without a market participant.
    b'A' AddOrder AddOrderView 36 {
        11 order_ref: u64,
        /// B, S.
        19 side: char,
        20 shares: u32,
        24 stock: alpha(8),
        /// 4 implied decimals.
        32 price: u32,
    }
}

itch_message! {
    /// Add Order with its market participant.
    b'F' AddOrderMpid AddOrderMpidView 40 {
        11 order_ref: u64,
        /// B, S.
        19 side: char,
        20 shares: u32,
        24 stock: alpha(8),
        /// 4 implied decimals.
        32 price: u32,
        36 attribution: alpha(4),
    }
}

itch_message! {
    /// Order Executed, at its displayed price.
    b'E' OrderExecuted OrderExecutedView 31 {
        11 order_ref: u64,
        19 executed_shares: u32,
        23 match_number: u64,
    }
}

itch_message! {
    /// Order Executed With Price: at another than its displayed price.
    b'C' OrderExecutedWithPrice OrderExecutedWithPriceView 36 {
        11 order_ref: u64,
        19 executed_shares: u32,
        23 match_number: u64,
        /// Y, N; N means: do not count it in the volume.
        31 printable: char,
        /// 4 implied decimals.
        32 execution_price: u32,
    }
}

itch_message! {
    /// Order Cancel: of a part of it.
    b'X' OrderCancel OrderCancelView 23 {
        11 order_ref: u64,
        19 cancelled_shares: u32,
    }
}

itch_message! {
    /// Order Delete: of all of it.
    b'D' OrderDelete OrderDeleteView 19 {
        11 order_ref: u64,
    }
}

itch_message! {
    /// Order Replace: same side, stock and attribution, new place in the queue.
    b'U' OrderReplace OrderReplaceView 35 {
        11 original_order_ref: u64,
        19 new_order_ref: u64,
        27 shares: u32,
        /// 4 implied decimals.
        31 price: u32,
    }
}

itch_message! {
    /// Trade against an order that was not displayed; does not change the displayed book.
    b'P' Trade TradeView 44 {
        /// Always 0.
        11 order_ref: u64,
        /// Always B.
        19 side: char,
        20 shares: u32,
        24 stock: alpha(8),
        /// 4 implied decimals.
        32 price: u32,
        36 match_number: u64,
    }
}

itch_message! {
    /// Cross Trade.
    b'Q' CrossTrade CrossTradeView 40 {
        11 shares: u64,
        19 stock: alpha(8),
        /// 4 implied decimals.
        27 cross_price: u32,
        31 match_number: u64,
        /// O, C, H, A; I in old files.
        39 cross_type: char,
    }
}

itch_message! {
    /// Broken Trade.
    b'B' BrokenTrade BrokenTradeView 19 {
        11 match_number: u64,
    }
}

itch_message! {
    /// Net Order Imbalance Indicator.
    b'I' NetOrderImbalance NetOrderImbalanceView 50 {
        11 paired_shares: u64,
        19 imbalance_shares: u64,
        /// B, S, N, O, P.
        27 imbalance_direction: char,
        28 stock: alpha(8),
        /// 4 implied decimals.
        36 far_price: u32,
        /// 4 implied decimals.
        40 near_price: u32,
        /// 4 implied decimals.
        44 current_reference_price: u32,
        48 cross_type: char,
        49 price_variation: char,
    }
}

itch_message! {
    /// Retail Price Improvement Indicator.
    b'N' RetailPriceImprovement RetailPriceImprovementView 20 {
        11 stock: alpha(8),
        /// B, S, A, N.
        19 interest_flag: char,
    }
}

itch_message! {
    /// Direct Listing with Capital Raise Price Discovery.
    b'O' DlcrPriceDiscovery DlcrPriceDiscoveryView 48 {
        11 stock: alpha(8),
        /// Y, N.
        19 open_eligibility: char,
        /// 4 implied decimals.
        20 min_allowable_price: u32,
        /// 4 implied decimals.
        24 max_allowable_price: u32,
        /// 4 implied decimals.
        28 near_execution_price: u32,
        32 near_execution_time: u64,
        /// 4 implied decimals.
        40 lower_price_range_collar: u32,
        /// 4 implied decimals.
        44 upper_price_range_collar: u32,
    }
}

message_enum! {
    /// Any ITCH 5.0 message.
    Message {
        SystemEvent SystemEventView,
        StockDirectory StockDirectoryView,
        StockTradingAction StockTradingActionView,
        RegShoRestriction RegShoRestrictionView,
        MarketParticipantPosition MarketParticipantPositionView,
        MwcbDeclineLevel MwcbDeclineLevelView,
        MwcbStatus MwcbStatusView,
        IpoQuotingPeriodUpdate IpoQuotingPeriodUpdateView,
        LuldAuctionCollar LuldAuctionCollarView,
        OperationalHalt OperationalHaltView,
        AddOrder AddOrderView,
        AddOrderMpid AddOrderMpidView,
        OrderExecuted OrderExecutedView,
        OrderExecutedWithPrice OrderExecutedWithPriceView,
        OrderCancel OrderCancelView,
        OrderDelete OrderDeleteView,
        OrderReplace OrderReplaceView,
        Trade TradeView,
        CrossTrade CrossTradeView,
        BrokenTrade BrokenTradeView,
        NetOrderImbalance NetOrderImbalanceView,
        RetailPriceImprovement RetailPriceImprovementView,
        DlcrPriceDiscovery DlcrPriceDiscoveryView,
    }
}
