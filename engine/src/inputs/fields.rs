//! How the fields of inputs lie in a journal record, how they read as text, and a value of each for tests. Knows no input.
//! Integers are big-endian, as everywhere on the wire.

use super::{FirmRights, InputError, KillScope, MAX_ENCODED};
use std::fmt;

/// A field of an input, or a group of them.
pub(super) trait Field<'a>: Sized {
    /// Bytes, without those of its tail.
    const WIDTH: usize;
    fn put(&self, out: &mut Writer<'_>);
    fn take(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, InputError>;
    /// Writes ` name=value`.
    fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Any value that is allowed.
    fn sample() -> Self;
    /// What follows the record's fixed part. Only its last field has one.
    fn tail(&self) -> &'a [u8] {
        &[]
    }
}

pub(super) struct Writer<'a> {
    pub out: &'a mut [u8; MAX_ENCODED],
    pub length: usize,
}

impl Writer<'_> {
    pub fn put(&mut self, bytes: &[u8]) {
        self.out[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }
}

pub(super) struct Reader<'a> {
    pub kind: u8,
    pub payload: &'a [u8],
    pub at: usize,
}

impl<'a> Reader<'a> {
    pub fn bytes<const N: usize>(&mut self) -> Result<[u8; N], InputError> {
        let bytes = self.payload.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(
            InputError::Length { kind: self.kind, found: self.payload.len(), expected: self.at + N },
        )?;
        self.at += N;
        Ok(*bytes)
    }

    /// Everything that is left.
    pub fn tail(&mut self) -> &'a [u8] {
        let tail = self.payload.get(self.at..).unwrap_or(&[]);
        self.at = self.payload.len();
        tail
    }

    pub fn undefined(&self, field: &'static str, value: impl Into<u64>) -> InputError {
        InputError::Value { kind: self.kind, field, value: value.into() }
    }
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl<'a> Field<'a> for $type {
            const WIDTH: usize = size_of::<$type>();

            fn put(&self, out: &mut Writer<'_>) {
                out.put(&self.to_be_bytes());
            }

            fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
                Ok(<$type>::from_be_bytes(reader.bytes()?))
            }

            fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, " {field}={self}")
            }

            fn sample() -> Self {
                1
            }
        })*
    };
}

integers!(u16, u32, u64, i32);

impl<'a> Field<'a> for bool {
    const WIDTH: usize = 1;

    fn put(&self, out: &mut Writer<'_>) {
        out.put(&[u8::from(*self)]);
    }

    fn take(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, InputError> {
        match reader.bytes()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [value] => Err(reader.undefined(field, value)),
        }
    }

    fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, " {field}={self}")
    }

    fn sample() -> Self {
        true
    }
}

/// A name, padded with spaces.
impl<'a, const N: usize> Field<'a> for [u8; N] {
    const WIDTH: usize = N;

    fn put(&self, out: &mut Writer<'_>) {
        out.put(self);
    }

    fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
        reader.bytes()
    }

    fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, " {field}={}", self.trim_ascii_end().escape_ascii())
    }

    fn sample() -> Self {
        [b'A'; N]
    }
}

/// A symbol, or every one: eight spaces.
impl<'a> Field<'a> for Option<[u8; 8]> {
    const WIDTH: usize = 8;

    fn put(&self, out: &mut Writer<'_>) {
        out.put(&self.unwrap_or([b' '; 8]));
    }

    fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
        let symbol = reader.bytes()?;
        Ok((symbol != [b' '; 8]).then_some(symbol))
    }

    fn show(&self, field: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Some(symbol) => symbol.show(field, out),
            None => write!(out, " everyone"),
        }
    }

    fn sample() -> Self {
        Some(Field::sample())
    }
}

impl<'a> Field<'a> for KillScope {
    const WIDTH: usize = 5;

    fn put(&self, out: &mut Writer<'_>) {
        let (code, value) = match self {
            Self::All => (0, [0; 4]),
            Self::Firm(firm) => (1, *firm),
            Self::Session(session) => (2, session.to_be_bytes()),
        };
        out.put(&[code]);
        out.put(&value);
    }

    fn take(reader: &mut Reader<'a>, field: &'static str) -> Result<Self, InputError> {
        let [code] = reader.bytes()?;
        let value = reader.bytes()?;
        match code {
            0 => Ok(Self::All),
            1 => Ok(Self::Firm(value)),
            2 => Ok(Self::Session(u32::from_be_bytes(value))),
            code => Err(reader.undefined(field, code)),
        }
    }

    fn show(&self, _: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => write!(out, " everyone"),
            Self::Firm(firm) => firm.show("firm", out),
            Self::Session(session) => session.show("session", out),
        }
    }

    fn sample() -> Self {
        Self::Firm(Field::sample())
    }
}

impl<'a> Field<'a> for FirmRights<'a> {
    const WIDTH: usize = 0;

    fn put(&self, _: &mut Writer<'_>) {}

    fn take(reader: &mut Reader<'a>, _: &'static str) -> Result<Self, InputError> {
        let (before, record) = (reader.at, reader.payload);
        reader.tail();
        FirmRights::after(before, record)
    }

    fn show(&self, _: &'static str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for right in self.iter() {
            right.firm.show("firm", out)?;
            right.role.show("role", out)?;
            right.restricted.show("restricted", out)?;
        }
        Ok(())
    }

    fn sample() -> Self {
        Self::NONE
    }

    fn tail(&self) -> &'a [u8] {
        self.bytes()
    }
}
