//! The tags of optional elements, how long their values are, and sets of them; not the elements' encoding.

/// One row per tag: constant, number, bytes of the value.
macro_rules! tags {
    ($( $(#[$doc:meta])* $name:ident = $tag:literal, $width:literal; )*) => {
        /// Tags of OUCH 5.0 appendage elements ("TagValue").
        pub mod tag {
            $( $(#[$doc])* pub const $name: u8 = $tag; )*

            /// The name of the tag's constant; "unknown" for a number that is no tag.
            pub fn name(tag: u8) -> &'static str {
                match tag {
                    $( $tag => stringify!($name), )*
                    _ => "unknown",
                }
            }
        }

        /// Bytes of each tag's value, 0 where there is no such tag.
        const VALUE_LENGTHS: [u8; TAG_LIMIT] = {
            let mut lengths = [0; TAG_LIMIT];
            $( lengths[$tag] = $width; )*
            lengths
        };

        /// Bytes of an appendage that holds every tag once.
        pub const MAX_APPENDAGE_LENGTH: usize = 0 $( + 2 + $width )*;
    };
}

/// Tags are below this number.
const TAG_LIMIT: usize = 32;

tags! {
    /// u64, on Restated only.
    SECONDARY_ORD_REF_NUM = 1, 8;
    /// alpha(4); blank = the account's default.
    FIRM = 2, 4;
    /// u32; 0 = none.
    MIN_QTY = 3, 4;
    /// char R (retail), N (not); space = the port's default.
    CUSTOMER_TYPE = 4, 1;
    /// u32, the displayed portion; 0 = none.
    MAX_FLOOR = 5, 4;
    /// char L, P, M, R, Q, m; L (limit) when absent.
    PRICE_TYPE = 6, 1;
    /// i32, 4 implied decimals.
    PEG_OFFSET = 7, 4;
    /// u64, 4 implied decimals; 0 = none.
    DISCRETION_PRICE = 9, 8;
    /// char L, P, M, R.
    DISCRETION_PRICE_TYPE = 10, 1;
    /// i32, 4 implied decimals.
    DISCRETION_PEG_OFFSET = 11, 4;
    /// char P (post only), N.
    POST_ONLY = 12, 1;
    /// u32.
    RANDOM_RESERVES = 13, 4;
    /// alpha(4), on Accepted only.
    ROUTE = 14, 4;
    /// u32, seconds to live, below 86,400; needed for time in force 6.
    EXPIRE_TIME = 15, 4;
    /// char Y, N, space.
    TRADE_NOW = 16, 1;
    /// char I, O, T, Q, B, D, space.
    HANDLE_INST = 17, 1;
    /// char 0, 1, 2, 3, space, S, N; outbound only.
    BBO_WEIGHT_INDICATOR = 18, 1;
    /// u32, on Restated only.
    DISPLAY_QUANTITY = 22, 4;
    /// u64, 4 implied decimals, on Restated only.
    DISPLAY_PRICE = 23, 8;
    /// u16; 0 = none.
    GROUP_ID = 24, 2;
    /// char Y, N; must be sent again on every Replace.
    SHARES_LOCATED = 25, 1;
    /// alpha(4); must be sent again on every Replace.
    LOCATE_BROKER = 26, 4;
    /// char B, S, T, E.
    SIDE = 27, 1;
    /// u8, the order-flow channel whose UserRefNum series this is.
    USER_REF_IDX = 28, 1;
    /// char, the self-match strategy (revision 1.05).
    AIQ_STRATEGY = 29, 1;
    /// alpha(2), the self-match group (revision 1.05).
    AIQ_GROUP_ID = 30, 2;
}

/// Bytes of the tag's value; `None` when there is no such tag.
#[inline]
pub const fn value_length(tag: u8) -> Option<usize> {
    if tag as usize >= TAG_LIMIT || VALUE_LENGTHS[tag as usize] == 0 {
        return None;
    }
    Some(VALUE_LENGTHS[tag as usize] as usize)
}

/// A set of tags; the bit is the tag's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagSet(u32);

impl TagSet {
    /// No tag.
    pub const EMPTY: TagSet = TagSet(0);

    /// The set of `tags`. In a constant, a number that is no tag does not compile.
    pub const fn of(tags: &[u8]) -> TagSet {
        let mut bits = 0;
        let mut index = 0;
        while index < tags.len() {
            assert!(value_length(tags[index]).is_some(), "no such tag");
            bits |= 1 << tags[index];
            index += 1;
        }
        TagSet(bits)
    }

    /// Whether `tag` is in the set; false for every number that is no tag.
    #[inline]
    pub const fn contains(self, tag: u8) -> bool {
        (tag as usize) < TAG_LIMIT && self.0 >> tag & 1 == 1
    }

    /// The set with `tag`; unchanged for a number that is no tag.
    #[inline]
    pub const fn with(self, tag: u8) -> TagSet {
        if value_length(tag).is_none() { self } else { TagSet(self.0 | 1 << tag) }
    }
}
