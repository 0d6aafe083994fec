//! What firms may and are in an instrument from its first moment on: the end of an instrument's record. In one record with
//! it, so that no crash can come between. Not the commands that change it later.

use super::{InputError, Role, kind};
use std::fmt;

/// What a firm may and is in an instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirmRight {
    pub firm: [u8; 4],
    pub restricted: bool,
    pub role: Role,
}

/// Firm, then one byte: role, and [`FirmRights::RESTRICTED`].
const RIGHT_LENGTH: usize = 5;

/// [`FirmRight`]s as they stand in the record.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FirmRights<'a>(&'a [u8]);

impl fmt::Debug for FirmRights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> FirmRights<'a> {
    pub const NONE: FirmRights<'static> = FirmRights(&[]);
    const RESTRICTED: u8 = 0x80;

    /// Adds one to the bytes that [`FirmRights::new`] takes.
    pub fn push(bytes: &mut Vec<u8>, right: FirmRight) {
        bytes.extend(right.firm);
        bytes.push(right.role as u8 | if right.restricted { Self::RESTRICTED } else { 0 });
    }

    /// # Errors
    /// Not a whole number of rights, or a role that is not defined.
    pub fn new(bytes: &'a [u8]) -> Result<Self, InputError> {
        Self::after(0, bytes)
    }

    /// As [`FirmRights::new`], of a record in which so many bytes come before.
    pub(super) fn after(before: usize, record: &'a [u8]) -> Result<Self, InputError> {
        let kind = kind::INSTRUMENT;
        let bytes = &record[before..];
        if !bytes.len().is_multiple_of(RIGHT_LENGTH) {
            let expected = before + bytes.len().next_multiple_of(RIGHT_LENGTH);
            return Err(InputError::Length { kind, found: record.len(), expected });
        }
        let rights = FirmRights(bytes);
        match rights.roles().find(|&role| role_of(role).is_none()) {
            Some(value) => Err(InputError::Value { kind, field: "role", value: value.into() }),
            None => Ok(rights),
        }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.0
    }

    fn roles(&self) -> impl Iterator<Item = u8> + 'a {
        self.0.chunks_exact(RIGHT_LENGTH).map(|right| right[4] & !Self::RESTRICTED)
    }

    pub fn iter(&self) -> impl Iterator<Item = FirmRight> + 'a {
        self.0.chunks_exact(RIGHT_LENGTH).map(|right| FirmRight {
            firm: [right[0], right[1], right[2], right[3]],
            restricted: right[4] & Self::RESTRICTED != 0,
            role: role_of(right[4] & !Self::RESTRICTED).unwrap_or(Role::Trader),
        })
    }
}

fn role_of(code: u8) -> Option<Role> {
    [Role::Trader, Role::MarketMaker, Role::PrimaryMarketMaker].into_iter().find(|role| *role as u8 == code)
}
