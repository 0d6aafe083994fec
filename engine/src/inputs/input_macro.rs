//! Turns the tables of `table.rs` into types with their codecs, texts and operator commands. Knows field types, but no input.
//!
//! ```text
//! inputs! { 'a:
//!     /// Documentation.
//!     8 SET_STATE "trading state" SetState { symbol: Option<[u8; 8]>, state: TradingState }    // record type, constant, name, variant
//!         command "halt" [symbol: SymbolOrEveryone] [state = TradingState::Halted]              // read from a parameter, or fixed
//!         "what it does, for docs/operations.md";
//! }
//! ```
//! A record is its fields one after the other. What a table changes is seen by the tests below it: the bytes of a kind that
//! exists never change, and the documentation and the fuzz seeds follow.

/// A byte with named values: the type, or an implementation for one that is there.
macro_rules! codes {
    ($(#[$doc:meta])* enum $name:ident { $($(#[$value_doc:meta])* $code:literal $value:ident $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$value_doc])* $value = $code),+
        }

        codes!(for $name { $($code $value $text),+ });
    };
    (for $name:ident { $($code:literal $value:ident $text:literal),+ $(,)? }) => {
        impl<'a> Field<'a> for $name {
            const WIDTH: usize = 1;

            fn put(&self, out: &mut Writer<'_>) {
                out.put(&[match self { $(Self::$value => $code),+ }]);
            }

            fn take(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, InputError> {
                match reader.bytes()? {
                    $([$code] => Ok(Self::$value),)+
                    [code] => Err(reader.undefined(field, code)),
                }
            }

            fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, " {field}={}", match self { $(Self::$value => $text),+ })
            }

            fn sample() -> Self {
                [$(Self::$value),+][0]
            }
        }
    };
}

/// A group of fields that lie one after the other.
macro_rules! group {
    (
        $(#[$doc:meta])*
        struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type),+
        }

        impl<'a> Field<'a> for $name {
            const WIDTH: usize = 0 $(+ <$type as Field<'static>>::WIDTH)+;

            fn put(&self, out: &mut Writer<'_>) {
                $(Field::put(&self.$field, out);)+
            }

            fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
                // In the order of the table, which is the record's.
                Ok(Self { $($field: Field::take(reader, stringify!($field))?),+ })
            }

            fn show(&self, _: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(Field::show(&self.$field, stringify!($field), out)?;)+
                Ok(())
            }

            fn sample() -> Self {
                Self { $($field: Field::sample()),+ }
            }
        }
    };
}

macro_rules! inputs {
    ($lifetime:lifetime: $(
        $(#[doc = $doc:literal])+
        $kind:literal $constant:ident $name:literal
        $variant:ident $(($($place:ident: $place_type:ty),+))? $({ $($field:ident: $field_type:ty),+ })?
        $(command $command:literal $([$parameter:ident $($how:tt)+])+ $effect:literal)*
    ;)+) => {
        /// Journal record types. A number is never reused.
        pub mod kind {
            $(pub const $constant: u8 = $kind;)+
        }

        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Input<$lifetime> {
            $(
                $(#[doc = $doc])+
                $variant $(($($place_type),+))? $({ $($field: $field_type),+ })?,
            )+
        }

        /// Longest encoded input but for its tail, which the journal takes apart.
        pub const MAX_ENCODED: usize = 96;
        /// Every record type with its name and what it says, in the order of the table.
        pub const KINDS: &[(u8, &str, &str)] = &[$(($kind, $name, concat!($($doc),+))),+];

        impl<$lifetime> Input<$lifetime> {
            const FITS: () = {
                $(assert!(
                    0 $($(+ <$place_type as Field<$lifetime>>::WIDTH)+)?
                        $($(+ <$field_type as Field<$lifetime>>::WIDTH)+)? < MAX_ENCODED
                );)+
            };

            pub fn kind(&self) -> u8 {
                match self {
                    $(Self::$variant { .. } => $kind,)+
                }
            }

            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)+
                }
            }

            /// What follows the bytes that [`Input::encode`] writes.
            pub fn tail(&self) -> &$lifetime [u8] {
                let tail: &$lifetime [u8] = &[];
                match self {
                    $(Self::$variant $(($($place),+))? $({ $($field),+ })? => {
                        // The last field's: no other has one.
                        $($(let tail = if tail.is_empty() { Field::tail($place) } else { tail };)+)?
                        $($(let tail = if tail.is_empty() { Field::tail($field) } else { tail };)+)?
                        tail
                    })+
                }
            }

            /// Writes the payload of the journal record but for its [`tail`](Input::tail), and returns its length.
            pub fn encode(&self, out: &mut [u8; MAX_ENCODED]) -> usize {
                let () = Self::FITS;
                let mut writer = Writer { out, length: 0 };
                match self {
                    $(Self::$variant $(($($place),+))? $({ $($field),+ })? => {
                        $($(Field::put($place, &mut writer);)+)?
                        $($(Field::put($field, &mut writer);)+)?
                    })+
                }
                writer.length
            }

            /// # Errors
            /// A type, length or value that this version does not define; the record is intact (its CRC held) but not ours.
            pub fn decode(kind: u8, payload: &$lifetime [u8]) -> Result<Self, InputError> {
                let mut reader = Reader { kind, payload, at: 0 };
                let input = match kind {
                    $($kind => {
                        $($(let $place = Field::take(&mut reader, stringify!($place))?;)+)?
                        $($(let $field = Field::take(&mut reader, stringify!($field))?;)+)?
                        Self::$variant $(($($place),+))? $({ $($field),+ })?
                    })+
                    unknown => return Err(InputError::UnknownKind(unknown)),
                };
                if reader.at != payload.len() {
                    return Err(InputError::Length { kind, found: payload.len(), expected: reader.at });
                }
                Ok(input)
            }

            /// One of every kind, in the order of the table: where tests and fuzzing begin.
            pub fn samples() -> Vec<Input<'static>> {
                vec![$({
                    $($(let $place = Field::sample();)+)?
                    $($(let $field = Field::sample();)+)?
                    Input::$variant $(($($place),+))? $({ $($field),+ })?
                }),+]
            }
        }

        /// As `pitlane inspect` and the log of operator commands show it: the name, then `field=value` each.
        impl fmt::Display for Input<'_> {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(self.name())?;
                match self {
                    $(Self::$variant $(($($place),+))? $({ $($field),+ })? => {
                        $($(Field::show($place, stringify!($place), out)?;)+)?
                        $($(Field::show($field, stringify!($field), out)?;)+)?
                    })+
                }
                Ok(())
            }
        }

        /// Every operator command that becomes an input. Two may have one name; then what is given decides.
        pub const COMMANDS: &[Command] = &[$($(Command {
            name: $command,
            kind: $kind,
            effect: $effect,
            parameters: &[$(argument!(@described $($how)+)),+],
            read: |given| Ok(Input::$variant { $($parameter: argument!(@read given, $($how)+)),+ }),
        },)*)+];
    };
}

/// One field of a command's input: `[firm: Firm]` is read, `[engaged = true]` is what the command says.
macro_rules! argument {
    (@described : $reader:ty) => {
        Some(&<$reader as Parameter>::DESCRIPTION)
    };
    (@described = $fixed:expr) => {
        None
    };
    (@read $given:ident, : $reader:ty) => {
        <$reader as Parameter>::read($given)?
    };
    (@read $given:ident, = $fixed:expr) => {
        $fixed
    };
}
