//! What can be wrong with received bytes, with the failing value; not what can be wrong with an order.

use std::fmt;

/// Why bytes were refused. Carries no reference to them, so that it can outlive the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the fixed part of `what` (bytes).
    TooShort { what: &'static str, need: usize, got: usize },
    /// The length is possible, but is not the one that the content claims (bytes).
    BadLength { what: &'static str, need: usize, got: usize },
    /// The first byte names no message of this protocol and direction.
    UnknownType(u8),
    /// An element of an OUCH appendage is malformed or does not belong to this message.
    BadAppendage { what: &'static str, tag: u8, fault: AppendageFault },
    /// A field whose bytes are not a value of its type, such as letters in an ASCII number.
    BadField { what: &'static str, field: &'static str },
    /// A well-formed thing that this crate does not carry, such as an IPv6 extension header; `found` is its code.
    Unsupported { what: &'static str, found: u16 },
}

/// What is wrong with one element of an OUCH appendage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendageFault {
    /// The element's length runs past the end of the appendage.
    Truncated,
    /// The element's length byte is 0, so it has no tag; reported with tag 0.
    NoTag,
    /// No such tag in the specification.
    UnknownTag,
    /// The tag exists, but is not allowed in this message.
    ForbiddenTag,
    /// The value is not as long as the tag's type.
    ValueLength,
    /// The tag was there before: which of two values is meant cannot be known.
    DuplicateTag,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { what, need, got } => write!(f, "{what}: needs at least {need} bytes, got {got}"),
            Self::BadLength { what, need, got } => {
                write!(f, "{what}: its content says {need} bytes, got {got}")
            }
            Self::UnknownType(byte) => {
                write!(f, "unknown message type 0x{byte:02x} ('{}')", byte.escape_ascii())
            }
            Self::BadAppendage { what, tag, fault } => write!(f, "{what}: appendage tag {tag} {fault}"),
            Self::BadField { what, field } => write!(f, "{what}: field {field} holds no valid value"),
            Self::Unsupported { what, found } => write!(f, "unsupported {what}: 0x{found:04x}"),
        }
    }
}

impl fmt::Display for AppendageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "runs past the end of the appendage",
            Self::NoTag => "stands for an element of length 0, which has no tag",
            Self::UnknownTag => "is unknown",
            Self::ForbiddenTag => "is not allowed in this message",
            Self::ValueLength => "has a value of the wrong length",
            Self::DuplicateTag => "occurs twice",
        })
    }
}

impl std::error::Error for DecodeError {}
