//! SoupBinTCP 3.00/4.00 packets: bodies (type + payload), and their u16-length framing on TCP; not the session's rules.
//!
//! The same bodies travel alone in the one block of a MoldUDP64 control datagram. Numbers are ASCII, user names and
//! passwords are case-insensitive and padded right, session names are padded left.

use crate::DecodeError;
use crate::message_macro::{read, write};

/// Bytes of the length in front of each body on TCP.
pub const LENGTH_FIELD: usize = 2;
/// Bytes of an ASCII sequence number.
pub const SEQUENCE_LENGTH: usize = 20;
/// A requested session of spaces: the current one, whatever its name.
pub const ANY_SESSION: [u8; 10] = [b' '; 10];

/// Why a login was rejected.
pub mod login_reject_reason {
    /// User name or password wrong, or not allowed here.
    pub const NOT_AUTHORIZED: u8 = b'A';
    /// There is no session of the requested name.
    pub const SESSION_NOT_AVAILABLE: u8 = b'S';
}

/// Login Request `L`, client to server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LoginRequest {
    pub username: [u8; 6],
    pub password: [u8; 10],
    /// [`ANY_SESSION`] or a session's name.
    pub requested_session: [u8; 10],
    /// The next sequenced message wanted; 0 = only new ones.
    pub requested_sequence: u64,
}

impl LoginRequest {
    pub const TYPE: u8 = b'L';
    /// Bytes of the body.
    pub const LENGTH: usize = 47;

    #[inline]
    fn read(body: &[u8; Self::LENGTH]) -> Result<Self, DecodeError> {
        Ok(Self {
            username: read::<1, 6, _>(body),
            password: read::<7, 10, _>(body),
            requested_session: read::<17, 10, _>(body),
            requested_sequence: parse_number(&read::<27, SEQUENCE_LENGTH, _>(body))
                .ok_or(DecodeError::BadField { what: "LoginRequest", field: "requested sequence number" })?,
        })
    }

    /// Writes the body; returns [`LENGTH`](Self::LENGTH), or 0 with nothing written when `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(body) = out.first_chunk_mut::<{ Self::LENGTH }>() else { return 0 };
        body[0] = Self::TYPE;
        write::<1, 6, _>(body, self.username);
        write::<7, 10, _>(body, self.password);
        write::<17, 10, _>(body, self.requested_session);
        write::<27, SEQUENCE_LENGTH, _>(body, format_number(self.requested_sequence));
        Self::LENGTH
    }
}

/// Without the password, which must not reach a log.
impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRequest")
            .field("username", &self.username.escape_ascii().to_string())
            .field("requested_session", &self.requested_session.escape_ascii().to_string())
            .field("requested_sequence", &self.requested_sequence)
            .finish_non_exhaustive()
    }
}

/// Login Accepted `A`, server to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAccepted {
    pub session: [u8; 10],
    /// The next sequenced message to be sent.
    pub sequence: u64,
}

impl LoginAccepted {
    pub const TYPE: u8 = b'A';
    /// Bytes of the body.
    pub const LENGTH: usize = 31;

    #[inline]
    fn read(body: &[u8; Self::LENGTH]) -> Result<Self, DecodeError> {
        Ok(Self {
            session: read::<1, 10, _>(body),
            sequence: parse_number(&read::<11, SEQUENCE_LENGTH, _>(body))
                .ok_or(DecodeError::BadField { what: "LoginAccepted", field: "sequence number" })?,
        })
    }

    /// Writes the body; returns [`LENGTH`](Self::LENGTH), or 0 with nothing written when `out` is shorter.
    pub fn write(&self, out: &mut [u8]) -> usize {
        let Some(body) = out.first_chunk_mut::<{ Self::LENGTH }>() else { return 0 };
        body[0] = Self::TYPE;
        write::<1, 10, _>(body, self.session);
        write::<11, SEQUENCE_LENGTH, _>(body, format_number(self.sequence));
        Self::LENGTH
    }
}

/// A packet body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `+`: text to ignore.
    Debug(&'a [u8]),
    /// `L`
    LoginRequest(LoginRequest),
    /// `A`
    LoginAccepted(LoginAccepted),
    /// `J`: see [`login_reject_reason`].
    LoginRejected { reason: u8 },
    /// `S`: one numbered message; both ends count them.
    SequencedData(&'a [u8]),
    /// `U`: one message that may get lost with the connection.
    UnsequencedData(&'a [u8]),
    /// `H`
    ServerHeartbeat,
    /// `R`
    ClientHeartbeat,
    /// `Z`
    EndOfSession,
    /// `O`
    LogoutRequest,
}

impl<'a> Packet<'a> {
    /// Takes exactly one body, without the length of the TCP framing.
    #[inline]
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((&packet_type, payload)) = body.split_first() else {
            return Err(DecodeError::TooShort { what: "SoupBinTCP packet", need: 1, got: 0 });
        };
        match packet_type {
            b'+' => Ok(Self::Debug(payload)),
            b'S' => Ok(Self::SequencedData(payload)),
            b'U' => Ok(Self::UnsequencedData(payload)),
            b'L' => LoginRequest::read(exact("LoginRequest", body)?).map(Self::LoginRequest),
            b'A' => LoginAccepted::read(exact("LoginAccepted", body)?).map(Self::LoginAccepted),
            b'J' => exact("LoginRejected", body).map(|&[_, reason]| Self::LoginRejected { reason }),
            b'H' => exact::<1>("ServerHeartbeat", body).map(|_| Self::ServerHeartbeat),
            b'R' => exact::<1>("ClientHeartbeat", body).map(|_| Self::ClientHeartbeat),
            b'Z' => exact::<1>("EndOfSession", body).map(|_| Self::EndOfSession),
            b'O' => exact::<1>("LogoutRequest", body).map(|_| Self::LogoutRequest),
            other => Err(DecodeError::UnknownType(other)),
        }
    }

    /// Writes the body; returns its length, or 0 when `out` is too short.
    #[inline]
    pub fn write(&self, out: &mut [u8]) -> usize {
        match self {
            Self::Debug(text) => write_data(b'+', text, out),
            Self::LoginRequest(request) => request.write(out),
            Self::LoginAccepted(accepted) => accepted.write(out),
            Self::LoginRejected { reason } => write_data(b'J', &[*reason], out),
            Self::SequencedData(message) => write_data(b'S', message, out),
            Self::UnsequencedData(message) => write_data(b'U', message, out),
            Self::ServerHeartbeat => write_data(b'H', &[], out),
            Self::ClientHeartbeat => write_data(b'R', &[], out),
            Self::EndOfSession => write_data(b'Z', &[], out),
            Self::LogoutRequest => write_data(b'O', &[], out),
        }
    }

    /// Writes length and body as TCP carries them; returns the length of both, or 0 when `out` is too short or the body
    /// longer than 65,535 bytes.
    #[inline]
    pub fn write_frame(&self, out: &mut [u8]) -> usize {
        let Some((length_field, rest)) = out.split_first_chunk_mut::<LENGTH_FIELD>() else { return 0 };
        match u16::try_from(self.write(rest)) {
            Ok(length) if length > 0 => {
                *length_field = length.to_be_bytes();
                LENGTH_FIELD + usize::from(length)
            }
            _ => 0,
        }
    }
}

/// The first body in a TCP stream's unread bytes, and how many bytes it takes with its length field; `None` when more
/// bytes must arrive first. A length of 0 (a body has a type) or above `max_body` (the reader's buffer) is an error, after
/// which the stream cannot be followed any more.
#[inline]
pub fn split_frame(stream: &[u8], max_body: usize) -> Result<Option<(&[u8], usize)>, DecodeError> {
    const WHAT: &str = "SoupBinTCP frame";
    let Some((&length, rest)) = stream.split_first_chunk::<LENGTH_FIELD>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes(length));
    if length == 0 {
        return Err(DecodeError::TooShort { what: WHAT, need: 1, got: 0 });
    }
    if length > max_body {
        return Err(DecodeError::BadLength { what: WHAT, need: length, got: max_body });
    }
    Ok(rest.get(..length).map(|body| (body, LENGTH_FIELD + length)))
}

/// A user name or password as it is compared and hashed: ASCII lower case, blanks only at the right.
pub fn canonical<const WIDTH: usize>(field: [u8; WIDTH]) -> [u8; WIDTH] {
    let mut out = [b' '; WIDTH];
    for (to, from) in out.iter_mut().zip(field.trim_ascii()) {
        *to = from.to_ascii_lowercase();
    }
    out
}

/// `text` at the left of a field, the rest spaces; `None` when it is too long or not printable ASCII.
pub fn pad_right<const WIDTH: usize>(text: &str) -> Option<[u8; WIDTH]> {
    let mut out = [b' '; WIDTH];
    printable(text)?;
    out.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(out)
}

/// `text` at the right of a field, the rest spaces; `None` when it is too long or not printable ASCII.
pub fn pad_left<const WIDTH: usize>(text: &str) -> Option<[u8; WIDTH]> {
    let mut out = [b' '; WIDTH];
    printable(text)?;
    out.get_mut(WIDTH.checked_sub(text.len())?..)?.copy_from_slice(text.as_bytes());
    Some(out)
}

fn printable(text: &str) -> Option<()> {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()).then_some(())
}

/// Digits with spaces around them; `None` for anything else, for no digits, and above `u64::MAX`.
pub fn parse_number(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The number in ASCII, padded left with spaces. `u64::MAX` has exactly 20 digits.
pub fn format_number(number: u64) -> [u8; SEQUENCE_LENGTH] {
    let mut out = [b' '; SEQUENCE_LENGTH];
    let mut rest = number;
    for byte in out.iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out
}

#[inline]
fn exact<'a, const LENGTH: usize>(
    what: &'static str,
    body: &'a [u8],
) -> Result<&'a [u8; LENGTH], DecodeError> {
    body.try_into().map_err(|_| DecodeError::BadLength { what, need: LENGTH, got: body.len() })
}

#[inline]
fn write_data(packet_type: u8, payload: &[u8], out: &mut [u8]) -> usize {
    let Some((first, rest)) = out.split_first_mut() else { return 0 };
    let Some(rest) = rest.get_mut(..payload.len()) else { return 0 };
    *first = packet_type;
    rest.copy_from_slice(payload);
    1 + payload.len()
}
