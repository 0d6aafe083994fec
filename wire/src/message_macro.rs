//! Turns a message table (`offset field: type`) into a struct of values, a zero-copy view and their codecs.
//! It knows field types and appendage rules, but no message.
//!
//! ```text
//! message! {
//!     /// Documentation, with the section of the table.
//!     b'X' CancelOrder CancelOrderView 11 [optional 28] {   // type, value, view, length, appendage rule and tags
//!         1 user_ref_num: u32,
//!         5 quantity: u32,
//!     }
//! }
//! ```
//! The length is the table's: it counts the type byte and, where the message has one, AppendageLength.
//! Appendage rules: `none`; `always` (AppendageLength is always on the wire); `optional` (AppendageLength may be absent,
//! and is written only in front of a non-empty appendage).
//! Field types: `char` and `u8` (u8), `u16`, `u32`, `u48` (u64 with the upper 16 bits zero), `u64`, `alpha(n)` ([u8; n]).
//! A table whose offsets do not meet, or whose length differs from its rows, does not compile.

use crate::DecodeError;

/// Bytes `OFFSET..OFFSET + WIDTH`; the bounds are checked at compile time.
#[inline(always)]
pub(crate) fn read<const OFFSET: usize, const WIDTH: usize, const LENGTH: usize>(
    bytes: &[u8; LENGTH],
) -> [u8; WIDTH] {
    const { assert!(OFFSET + WIDTH <= LENGTH) };
    let mut value = [0; WIDTH];
    value.copy_from_slice(&bytes[OFFSET..OFFSET + WIDTH]);
    value
}

/// The counterpart of [`read`].
#[inline(always)]
pub(crate) fn write<const OFFSET: usize, const WIDTH: usize, const LENGTH: usize>(
    bytes: &mut [u8; LENGTH],
    value: [u8; WIDTH],
) {
    const { assert!(OFFSET + WIDTH <= LENGTH) };
    bytes[OFFSET..OFFSET + WIDTH].copy_from_slice(&value);
}

#[inline(always)]
pub(crate) fn u48_from_be_bytes(bytes: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = bytes;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The upper 16 bits are dropped: a count of nanoseconds since midnight needs 47.
#[inline(always)]
pub(crate) fn u48_to_be_bytes(value: u64) -> [u8; 6] {
    let [_, _, a, b, c, d, e, f] = value.to_be_bytes();
    [a, b, c, d, e, f]
}

/// The fixed part of a message and what follows it, after a look at the type byte.
#[inline(always)]
pub(crate) fn split_fixed<'a, const FIXED: usize>(
    what: &'static str,
    message_type: u8,
    bytes: &'a [u8],
) -> Result<(&'a [u8; FIXED], &'a [u8]), DecodeError> {
    match bytes.split_first_chunk::<FIXED>() {
        Some((fixed, _)) if fixed[0] != message_type => Err(DecodeError::UnknownType(fixed[0])),
        Some(parts) => Ok(parts),
        None => Err(DecodeError::TooShort { what, need: FIXED, got: bytes.len() }),
    }
}

macro_rules! field_type {
    (char) => {
        u8
    };
    (u8) => {
        u8
    };
    (u16) => {
        u16
    };
    (u32) => {
        u32
    };
    (u48) => {
        u64
    };
    (u64) => {
        u64
    };
    (alpha($width:literal)) => {
        [u8; $width]
    };
}

macro_rules! field_width {
    (char) => {
        1
    };
    (u8) => {
        1
    };
    (u16) => {
        2
    };
    (u32) => {
        4
    };
    (u48) => {
        6
    };
    (u64) => {
        8
    };
    (alpha($width:literal)) => {
        $width
    };
}

macro_rules! field_read {
    ($bytes:expr, $offset:literal, char) => {
        $crate::message_macro::read::<$offset, 1, _>($bytes)[0]
    };
    ($bytes:expr, $offset:literal, u8) => {
        $crate::message_macro::read::<$offset, 1, _>($bytes)[0]
    };
    ($bytes:expr, $offset:literal, u16) => {
        u16::from_be_bytes($crate::message_macro::read::<$offset, 2, _>($bytes))
    };
    ($bytes:expr, $offset:literal, u32) => {
        u32::from_be_bytes($crate::message_macro::read::<$offset, 4, _>($bytes))
    };
    ($bytes:expr, $offset:literal, u48) => {
        $crate::message_macro::u48_from_be_bytes($crate::message_macro::read::<$offset, 6, _>($bytes))
    };
    ($bytes:expr, $offset:literal, u64) => {
        u64::from_be_bytes($crate::message_macro::read::<$offset, 8, _>($bytes))
    };
    ($bytes:expr, $offset:literal, alpha($width:literal)) => {
        $crate::message_macro::read::<$offset, $width, _>($bytes)
    };
}

macro_rules! field_write {
    ($bytes:expr, $value:expr, $offset:literal, char) => {
        $crate::message_macro::write::<$offset, 1, _>($bytes, [$value])
    };
    ($bytes:expr, $value:expr, $offset:literal, u8) => {
        $crate::message_macro::write::<$offset, 1, _>($bytes, [$value])
    };
    ($bytes:expr, $value:expr, $offset:literal, u48) => {
        $crate::message_macro::write::<$offset, 6, _>($bytes, $crate::message_macro::u48_to_be_bytes($value))
    };
    ($bytes:expr, $value:expr, $offset:literal, alpha($width:literal)) => {
        $crate::message_macro::write::<$offset, $width, _>($bytes, $value)
    };
    ($bytes:expr, $value:expr, $offset:literal, $integer:ident) => {
        $crate::message_macro::write::<$offset, { field_width!($integer) }, _>($bytes, $value.to_be_bytes())
    };
}

macro_rules! message {
    (
        $(#[$doc:meta])*
        $type:literal $name:ident $view:ident $length:literal [$rule:ident $($tag:literal)*] {
            $( $(#[$row:meta])* $offset:literal $field:ident: $kind:ident $(($width:literal))? ),* $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$row])* pub $field: field_type!($kind $(($width))?), )*
        }

        // The rows follow each other without a hole from offset 1 (0 is the type) to the table's length.
        const _: () = {
            let end = 1;
            $(
                assert!($offset == end);
                let end = end + field_width!($kind $(($width))?);
            )*
            assert!(end == $name::FIXED);
        };

        impl $name {
            /// First byte of the message.
            pub const TYPE: u8 = $type;
            /// Bytes of the table: type, fields and, where the message has one, AppendageLength.
            pub const LENGTH: usize = $length;
            const FIXED: usize = $length - message!(@appendage_length_width $rule);
            const NAME: &'static str = stringify!($name);

            #[inline]
            fn write_fixed(&self, fixed: &mut [u8; Self::FIXED]) {
                fixed[0] = Self::TYPE;
                $( field_write!(fixed, self.$field, $offset, $kind $(($width))?); )*
            }
        }

        impl<'a> $view<'a> {
            $(
                $(#[$row])*
                #[inline]
                pub fn $field(&self) -> field_type!($kind $(($width))?) {
                    field_read!(self.fixed, $offset, $kind $(($width))?)
                }
            )*

            /// The values, copied out of the receive buffer; without the appendage.
            // By reference although the view is Copy: taken by value, `reference.to_owned()` would find
            // `ToOwned` first and copy the view instead of the message.
            #[allow(clippy::wrong_self_convention)]
            #[inline]
            pub fn to_owned(&self) -> $name {
                $name { $( $field: self.$field(), )* }
            }

            /// Type byte and fields as they came, without AppendageLength.
            #[inline]
            pub fn fixed_bytes(&self) -> &'a [u8] {
                self.fixed
            }
        }

        message!(@codec $rule $name $view [$($tag)*]);
    };

    (@appendage_length_width none) => { 0 };
    (@appendage_length_width always) => { 2 };
    (@appendage_length_width optional) => { 2 };

    (@codec none $name:ident $view:ident []) => {
        #[doc = concat!("A received [`", stringify!($name), "`], borrowed.")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $view<'a> {
            fixed: &'a [u8; $name::FIXED],
        }

        impl $name {
            /// Writes the message; returns `LENGTH`, or 0 with nothing written when `out` is shorter.
            #[inline]
            pub fn write(&self, out: &mut [u8]) -> usize {
                let Some(fixed) = out.first_chunk_mut() else { return 0 };
                self.write_fixed(fixed);
                Self::LENGTH
            }
        }

        impl<'a> $view<'a> {
            /// Takes exactly one message.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, $crate::DecodeError> {
                let (fixed, rest) = $crate::message_macro::split_fixed($name::NAME, $name::TYPE, bytes)?;
                if !rest.is_empty() {
                    let (need, got) = ($name::LENGTH, bytes.len());
                    return Err($crate::DecodeError::BadLength { what: $name::NAME, need, got });
                }
                Ok(Self { fixed })
            }

            /// Writes the same message again; returns its length, or 0 when `out` is too short.
            #[inline]
            pub fn rewrite(&self, out: &mut [u8]) -> usize {
                self.to_owned().write(out)
            }
        }

        impl std::fmt::Debug for $view<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.to_owned().fmt(f)
            }
        }
    };

    (@codec $rule:ident $name:ident $view:ident [$($tag:literal)*]) => {
        #[doc = concat!("A received [`", stringify!($name), "`], borrowed, with its validated appendage.")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub struct $view<'a> {
            fixed: &'a [u8; $name::FIXED],
            appendage: $crate::ouch::Appendage<'a>,
        }

        impl $name {
            /// The tags that the table allows in the appendage.
            pub const ALLOWED_TAGS: $crate::ouch::TagSet = $crate::ouch::TagSet::of(&[$($tag),*]);

            #[doc = concat!(
                "Writes the message with the elements of `appendage` (AppendageLength is ", stringify!($rule),
                "); returns the length, at most `LENGTH + appendage.len()`, or 0 when `out` is too short."
            )]
            #[inline]
            pub fn write(&self, appendage: &[u8], out: &mut [u8]) -> usize {
                let Some((fixed, rest)) = out.split_first_chunk_mut() else { return 0 };
                self.write_fixed(fixed);
                match message!(@write_appendage $rule appendage, rest) {
                    Some(length) => Self::FIXED + length,
                    None => 0,
                }
            }
        }

        impl<'a> $view<'a> {
            /// Takes exactly one message; refuses an appendage that is malformed or holds a tag not allowed here.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, $crate::DecodeError> {
                let (fixed, rest) = $crate::message_macro::split_fixed($name::NAME, $name::TYPE, bytes)?;
                let appendage = message!(@read_appendage $rule $name rest)?;
                Ok(Self { fixed, appendage })
            }

            /// The optional elements, already validated.
            #[inline]
            pub fn appendage(&self) -> $crate::ouch::Appendage<'a> {
                self.appendage
            }

            /// Writes the message again with its appendage: the same bytes, except that an AppendageLength of 0 is
            /// left out where the table lets it be absent.
            #[inline]
            pub fn rewrite(&self, out: &mut [u8]) -> usize {
                self.to_owned().write(self.appendage.bytes(), out)
            }
        }

        impl std::fmt::Debug for $view<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{:?} {:?}", self.to_owned(), self.appendage)
            }
        }
    };

    (@write_appendage always $appendage:ident, $rest:ident) => {
        $crate::ouch::appendage::write($appendage, $rest)
    };
    (@write_appendage optional $appendage:ident, $rest:ident) => {
        if $appendage.is_empty() { Some(0) } else { $crate::ouch::appendage::write($appendage, $rest) }
    };
    (@read_appendage always $name:ident $rest:ident) => {
        $crate::ouch::appendage::read($name::NAME, $name::FIXED, $rest, $name::ALLOWED_TAGS)
    };
    (@read_appendage optional $name:ident $rest:ident) => {
        if $rest.is_empty() {
            Ok($crate::ouch::Appendage::EMPTY)
        } else {
            $crate::ouch::appendage::read($name::NAME, $name::FIXED, $rest, $name::ALLOWED_TAGS)
        }
    };
}

/// The messages of one direction as an enum over their views, told apart by the type byte.
macro_rules! message_enum {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $view:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name<'a> {
            $( $variant($view<'a>), )*
        }

        impl<'a> $name<'a> {
            /// Takes exactly one message.
            #[inline(always)]
            pub fn decode(bytes: &'a [u8]) -> Result<Self, $crate::DecodeError> {
                match bytes.first() {
                    $( Some(&$variant::TYPE) => Ok(Self::$variant($view::parse(bytes)?)), )*
                    Some(&other) => Err($crate::DecodeError::UnknownType(other)),
                    None => Err($crate::DecodeError::TooShort { what: stringify!($name), need: 1, got: 0 }),
                }
            }

            /// The message's name, for logs and counters.
            pub fn name(&self) -> &'static str {
                match self {
                    $( Self::$variant(_) => stringify!($variant), )*
                }
            }

            /// Writes the message again; see the views' `rewrite`.
            #[inline]
            pub fn rewrite(&self, out: &mut [u8]) -> usize {
                match self {
                    $( Self::$variant(view) => view.rewrite(out), )*
                }
            }
        }
    };
}
