//! The values of OUCH 5.0 fields: one module per enumeration; not which of them an engine supports.

/// A module of constants and `name`, which turns a value back into words.
macro_rules! codes {
    ($(#[$doc:meta])* $module:ident: $type:ty { $( $value:literal $constant:ident $words:literal; )* }) => {
        $(#[$doc])*
        pub mod $module {
            $( #[doc = $words] pub const $constant: $type = $value; )*

            /// The value in words; "Unknown" when the specification does not list it.
            pub fn name(value: $type) -> &'static str {
                match value {
                    $( $value => $words, )*
                    _ => "Unknown",
                }
            }
        }
    };
}

/// As `codes!`, and a type that has these values and no other.
macro_rules! typed_codes {
    ($(#[$doc:meta])* $module:ident $name:ident: $type:ty { $( $value:literal $constant:ident $words:literal; )* }) => {
        codes! { $(#[$doc])* $module: $type { $( $value $constant $words; )* } }

        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name($type);

        impl $name {
            $( #[doc = $words] pub const $constant: Self = Self($value); )*

            /// `None` for a value that is not listed.
            pub const fn from_code(code: $type) -> Option<Self> {
                match code {
                    $( $value => Some(Self::$constant), )*
                    _ => None,
                }
            }

            /// The value on the wire.
            pub const fn code(self) -> $type {
                self.0
            }
        }
    };
}

codes! {
    /// Side of an order.
    side: u8 {
        b'B' BUY "Buy";
        b'S' SELL "Sell";
        b'T' SELL_SHORT "Sell short";
        b'E' SELL_SHORT_EXEMPT "Sell short exempt";
    }
}

codes! {
    /// How long an order stands.
    time_in_force: u8 {
        b'0' DAY "Day";
        b'3' IOC "Immediate or cancel";
        b'5' GTX "Extended hours";
        b'6' GTT "Until its ExpireTime";
        b'E' AFTER_HOURS "After hours";
    }
}

codes! {
    /// Whether an order is shown.
    display: u8 {
        b'Y' VISIBLE "Visible";
        b'N' HIDDEN "Hidden";
        b'A' ATTRIBUTABLE "Visible and attributable";
        b'Z' CONFORMANT "Shown at a conformant price (outbound only)";
    }
}

codes! {
    /// For whom an order is.
    capacity: u8 {
        b'A' AGENCY "Agency";
        b'P' PRINCIPAL "Principal";
        b'R' RISKLESS "Riskless";
        b'O' OTHER "Other";
    }
}

codes! {
    /// Which cross an order takes part in.
    cross_type: u8 {
        b'N' CONTINUOUS "Continuous market";
        b'O' OPENING "Opening cross";
        b'C' CLOSING "Closing cross";
        b'H' HALT "Halt or IPO cross";
        b'S' SUPPLEMENTAL "Supplemental";
        b'R' RETAIL "Retail";
        b'E' EXTENDED_LIFE "Extended life";
        b'A' AFTER_HOURS_CLOSE "After hours close";
    }
}

codes! {
    /// State of an order when it is acknowledged.
    order_state: u8 {
        b'L' LIVE "Live";
        b'D' DEAD "Dead";
    }
}

codes! {
    /// System Event codes (section 3.1).
    event_code: u8 {
        b'S' START_OF_DAY "Start of day";
        b'E' END_OF_DAY "End of day";
    }
}

codes! {
    /// Why shares were taken off an order (appendix B).
    cancel_reason: u8 {
        b'D' REGULATORY "Regulatory restriction";
        b'E' CLOSED "Closed";
        b'F' POST_ONLY_SLIDE "Post-only, would have slid (NMS)";
        b'G' POST_ONLY_CONTRA "Post-only, contra is displayed";
        b'H' HALTED "Halted";
        b'I' IMMEDIATE_OR_CANCEL "Immediate or cancel";
        b'K' MARKET_COLLARS "Market collars";
        b'Q' SELF_MATCH_PREVENTION "Self-match prevention";
        b'S' SUPERVISORY "Supervisory";
        b'T' TIMEOUT "Timeout";
        b'U' USER "User";
        b'X' OPEN_PROTECTION "Open protection";
        b'Z' SYSTEM "System";
        b'e' DLCR_SHARES_EXCEEDED "DLCR shares exceeded";
    }
}

codes! {
    /// Why a trade was broken (section 3.7).
    broken_trade_reason: u8 {
        b'E' ERRONEOUS "Erroneous";
        b'C' CONSENT "Consent";
        b'S' SUPERVISORY "Supervisory";
        b'X' EXTERNAL "External";
    }
}

codes! {
    /// Why an order was restated (section 3.13).
    restate_reason: u8 {
        b'R' DISPLAY_REFRESH "Refresh of the display";
        b'P' DISPLAY_PRICE_UPDATE "Update of the displayed price";
    }
}

codes! {
    /// How an execution came about (appendix D).
    liquidity: u8 {
        b'A' ADDED "Added";
        b'R' REMOVED "Removed";
        b'C' CLOSING_CROSS "Closing cross";
        b'O' OPENING_CROSS "Opening cross";
        b'H' HALT_OR_IPO_CROSS "Halt or IPO cross";
        b'K' HALT_CROSS "Halt cross";
        b'L' CLOSING_IMBALANCE_ONLY "Closing imbalance-only";
        b'M' OPENING_IMBALANCE_ONLY "Opening imbalance-only";
        b'J' NON_DISPLAYED_ADDED "Non-displayed, added";
        b'u' RESERVE_NON_DISPLAYED_ADDED "Reserve, non-displayed, added";
        b'k' MIDPOINT_ADDED "Midpoint, added";
        b'm' MIDPOINT_REMOVED "Midpoint, removed";
        b'N' MIDPOINT_PASSIVE "Passive midpoint";
        b'n' MIDPOINT_EXTENDED_LIFE "Midpoint extended life";
        b'i' AFTER_HOURS_CLOSE "After hours close";
        b'0' SUPPLEMENTAL "Supplemental";
        b'7' SETS_NBBO "Displayed, sets the national best";
        b'8' SETS_QBBO "Displayed, sets the venue best and joins the national best";
    }
}

typed_codes! {
    /// What happens when orders of one group meet (tag 29): Nasdaq's letters of the firm's own level; B is Pitlane's.
    aiq_strategy AiqStrategy: u8 {
        b'N' NONE "None";
        b'W' CANCEL_NEWEST "Cancel the newest";
        b'O' CANCEL_OLDEST "Cancel the oldest";
        b'B' CANCEL_BOTH "Cancel both";
        b'D' DECREMENT "Decrement both";
    }
}

typed_codes! {
    /// Why an order was rejected (appendix C).
    reject_reason RejectReason: u16 {
        0x0001 QUOTE_UNAVAILABLE "Quote Unavailable";
        0x0002 DESTINATION_CLOSED "Destination Closed";
        0x0003 INVALID_DISPLAY "Invalid Display";
        0x0004 INVALID_MAX_FLOOR "Invalid Max Floor";
        0x0005 INVALID_PEG_TYPE "Invalid Peg Type";
        0x0006 FAT_FINGER "Fat Finger";
        0x0007 HALTED "Halted";
        0x0008 ISO_NOT_ALLOWED "ISO Not Allowed";
        0x0009 INVALID_SIDE "Invalid Side";
        0x000A PROCESSING_ERROR "Processing Error";
        0x000B CANCEL_PENDING "Cancel Pending";
        0x000C FIRM_NOT_AUTHORIZED "Firm Not Authorized";
        0x000D INVALID_MIN_QUANTITY "Invalid Min Quantity";
        0x000E NO_CLOSING_REFERENCE_PRICE "No Closing Reference Price";
        0x000F OTHER "Other";
        0x0010 CANCEL_NOT_ALLOWED "Cancel Not Allowed";
        0x0011 PEGGING_NOT_ALLOWED "Pegging Not Allowed";
        0x0012 CROSSED_MARKET "Crossed Market";
        0x0013 INVALID_QUANTITY "Invalid Quantity";
        0x0014 INVALID_CROSS_ORDER "Invalid Cross Order";
        0x0015 REPLACE_NOT_ALLOWED "Replace Not Allowed";
        0x0016 ROUTING_NOT_ALLOWED "Routing Not Allowed";
        0x0017 INVALID_SYMBOL "Invalid Symbol";
        0x0018 TEST "Test";
        0x0019 LATE_LOC_TOO_AGGRESSIVE "Late LOC Too Aggressive";
        0x001A RETAIL_NOT_ALLOWED "Retail Not Allowed";
        0x001B INVALID_MIDPOINT_POST_ONLY_PRICE "Invalid Midpoint Post Only Price";
        0x001C INVALID_DESTINATION "Invalid Destination";
        0x001D INVALID_PRICE "Invalid Price";
        0x001E SHARES_EXCEED_THRESHOLD "Shares Exceed Threshold";
        0x001F EXCEEDS_MAXIMUM_ALLOWED_NOTIONAL_VALUE "Exceeds Maximum Allowed Notional Value";
        0x0020 RISK_AGGREGATE_EXPOSURE_EXCEEDED "Risk: Aggregate Exposure Exceeded";
        0x0021 RISK_MARKET_IMPACT "Risk: Market Impact";
        0x0022 RISK_RESTRICTED_STOCK "Risk: Restricted Stock";
        0x0023 RISK_SHORT_SELL_RESTRICTED "Risk: Short Sell Restricted";
        0x0024 RISK_ISO_NOT_ALLOWED "Risk: ISO Not Allowed";
        0x0025 RISK_EXCEEDS_ADV_LIMIT "Risk: Exceeds ADV Limit";
        0x0026 RISK_FAT_FINGER "Risk: Fat Finger";
        0x0027 RISK_LOCATE_REQUIRED "Risk: Locate Required";
        0x0028 RISK_SYMBOL_MESSAGE_RATE_RESTRICTION "Risk: Symbol Message Rate Restriction";
        0x0029 RISK_PORT_MESSAGE_RATE_RESTRICTION "Risk: Port Message Rate Restriction";
        0x002A RISK_DUPLICATE_MESSAGE_RATE_RESTRICTION "Risk: Duplicate Message Rate Restriction";
        0x002B RISK_SHORT_SELL_NOT_ALLOWED "Risk: Short Sell Not Allowed";
        0x002C RISK_MARKET_ORDER_NOT_ALLOWED "Risk: Market Order Not Allowed";
        0x002D RISK_PRE_MARKET_NOT_ALLOWED "Risk: Pre-Market Not Allowed";
        0x002E RISK_POST_MARKET_NOT_ALLOWED "Risk: Post-Market Not Allowed";
        0x002F RISK_SHORT_SELL_EXEMPT_NOT_ALLOWED "Risk: Short Sell Exempt Not Allowed";
        0x0030 RISK_SINGLE_ORDER_NOTIONAL_EXCEEDED "Risk: Single Order Notional Exceeded";
        0x0031 RISK_MAX_QUANTITY_EXCEEDED "Risk: Max Quantity Exceeded";
        0x0032 REG_SHO_STATE_NOT_AVAILABLE "Reg SHO State Not Available";
        0x0033 RISK_IPO_MARKET_BUY_NOT_ALLOWED "Risk: IPO Market Buy Not Allowed";
        0x0040 INVALID_AIQ "Invalid AIQ (revision 1.05)";
    }
}
