//! Bodies of control datagrams, order entry's logins and logouts over UDP: SoupBinTCP's, and what Pitlane adds where a
//! datagram proves less than a connection. Not the datagram: that is one block of a MoldUDP64 session of ten spaces.
//!
//! | body | bytes | from | meaning |
//! |---|---|---|---|
//! | `L` | 47 | client | Login Request as in SoupBinTCP |
//! | `L`, cookie | 47 + 16 | client | the same, with the cookie of a challenge to the same user |
//! | `O`, session | 1 + 10 | client | Logout Request of the downstream session named |
//! | `O` | 1 | client | proves nothing, and does nothing |
//! | `R`, session | 1 + 10 | client | acknowledgements may ride behind the messages of the downstream session named |
//! | `C`, cookie | 1 + 16 | engine | Challenge: log in again with this cookie |
//! | `A` | 31 | engine | Login Accepted |
//! | `J`, reason | 2 | engine | Login Rejected |
//! | `Z`, session | 1 + 10 | engine | End of Session of the downstream session named |

use crate::DecodeError;
use crate::soupbintcp::{self, LoginAccepted, LoginRequest};

/// Opaque to a client.
pub type Cookie = [u8; 16];
/// Name of a downstream session.
pub type SessionName = [u8; 10];

/// Bytes of the longest body.
pub const MAX_LENGTH: usize = LoginRequest::LENGTH + size_of::<Cookie>();
const CHALLENGE: u8 = b'C';
const END_OF_SESSION: u8 = b'Z';
const LOGOUT_REQUEST: u8 = b'O';
const RIDE_REQUEST: u8 = b'R';

/// What a client may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Login {
        request: LoginRequest,
        cookie: Option<Cookie>,
    },
    Logout {
        session: Option<SessionName>,
    },
    /// The client understands acknowledgements that ride behind messages.
    Ride {
        session: SessionName,
    },
}

impl Request {
    /// Takes exactly one body.
    ///
    /// # Errors
    /// It is none of these, or not as long.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match body.first() {
            Some(&LoginRequest::TYPE) => {
                let (login, cookie) = match body.split_at_checked(LoginRequest::LENGTH) {
                    Some((login, [])) => (login, None),
                    Some((login, cookie)) => (login, Some(exact("login cookie", cookie)?)),
                    None => (body, None),
                };
                match soupbintcp::Packet::decode(login)? {
                    soupbintcp::Packet::LoginRequest(request) => Ok(Self::Login { request, cookie }),
                    _ => Err(DecodeError::UnknownType(LoginRequest::TYPE)),
                }
            }
            Some(&LOGOUT_REQUEST) => match &body[1..] {
                [] => Ok(Self::Logout { session: None }),
                name => Ok(Self::Logout { session: Some(exact("logged out session", name)?) }),
            },
            Some(&RIDE_REQUEST) => Ok(Self::Ride { session: exact("ridden session", &body[1..])? }),
            other => Err(unknown(other)),
        }
    }

    /// Writes the body; returns its length, or 0 when `out` is too short.
    pub fn write(&self, out: &mut [u8]) -> usize {
        match self {
            Self::Login { request, cookie: None } => request.write(out),
            Self::Login { request, cookie: Some(cookie) } => {
                let Some(out) = out.get_mut(..MAX_LENGTH) else { return 0 };
                let (login, rest) = out.split_at_mut(LoginRequest::LENGTH);
                rest.copy_from_slice(cookie);
                request.write(login) + cookie.len()
            }
            Self::Logout { session } => write(LOGOUT_REQUEST, session.as_ref().map_or(&[], |name| name), out),
            Self::Ride { session } => write(RIDE_REQUEST, session, out),
        }
    }
}

/// What the engine may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Challenge { cookie: Cookie },
    Accepted(LoginAccepted),
    Rejected { reason: u8 },
    EndOfSession { session: SessionName },
}

impl Reply {
    /// Takes exactly one body. A client ignores what it does not know.
    ///
    /// # Errors
    /// It is none of these, or not as long.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        match body.first() {
            Some(&CHALLENGE) => Ok(Self::Challenge { cookie: exact("challenge", &body[1..])? }),
            Some(&END_OF_SESSION) => Ok(Self::EndOfSession { session: exact("ended session", &body[1..])? }),
            other => match soupbintcp::Packet::decode(body)? {
                soupbintcp::Packet::LoginAccepted(accepted) => Ok(Self::Accepted(accepted)),
                soupbintcp::Packet::LoginRejected { reason } => Ok(Self::Rejected { reason }),
                _ => Err(unknown(other)),
            },
        }
    }

    /// Writes the body; returns its length, or 0 when `out` is too short.
    pub fn write(&self, out: &mut [u8]) -> usize {
        match self {
            Self::Challenge { cookie } => write(CHALLENGE, cookie, out),
            Self::Accepted(accepted) => accepted.write(out),
            Self::Rejected { reason } => soupbintcp::Packet::LoginRejected { reason: *reason }.write(out),
            Self::EndOfSession { session } => write(END_OF_SESSION, session, out),
        }
    }
}

fn unknown(first: Option<&u8>) -> DecodeError {
    match first {
        Some(&first) => DecodeError::UnknownType(first),
        None => DecodeError::TooShort { what: "control body", need: 1, got: 0 },
    }
}

fn exact<const LENGTH: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; LENGTH], DecodeError> {
    bytes.try_into().map_err(|_| DecodeError::BadLength { what, need: LENGTH, got: bytes.len() })
}

fn write(first: u8, rest: &[u8], out: &mut [u8]) -> usize {
    let Some(out) = out.get_mut(..1 + rest.len()) else { return 0 };
    out[0] = first;
    out[1..].copy_from_slice(rest);
    out.len()
}

// A challenge is no longer than what asked for it: nobody is answered with more than was sent in his name.
const _: () = assert!(size_of::<Cookie>() < LoginRequest::LENGTH);
