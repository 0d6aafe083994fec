//! Who may give commands: whoever has the token, with few tries for whoever has not. Not the commands.

use super::listener::Asker;
use crate::accounts::attempts::Source;
use crate::accounts::verify::Door;
use crate::config::Secret;
use crate::counter::Counter;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

pub static REFUSED: Counter = Counter::new(
    "tokens_refused",
    "Commands without the token, or from whoever has shown too many wrong ones",
);

/// The token, and the door that counts who shows wrong ones: one source has as many tries as for a password.
pub struct Authority {
    pub token: Option<Secret>,
    pub door: Door,
}

impl Authority {
    fn judge(&self, from: SocketAddr, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let Some(token) = &self.token else {
            return Err((StatusCode::FORBIDDEN, "commands are off: admin.token is not set\n"));
        };
        let (attempts, source) = (self.door.attempts(), Source::from(from));
        // Before the token is looked at: otherwise guessing would go on.
        if !attempts.take_source(source) {
            let refusal = "too many wrong tokens or passwords from this address: wait a minute\n";
            return Err((StatusCode::TOO_MANY_REQUESTS, refusal));
        }
        match presented(headers) {
            Some(presented) if equal_in_constant_time(token.reveal().as_bytes(), presented) => {
                attempts.give_back_source(source);
                Ok(())
            }
            presented => {
                let shown = if presented.is_some() { "a wrong token" } else { "no token" };
                tracing::warn!(%from, "a command is refused: {shown}");
                Err((StatusCode::UNAUTHORIZED, "expected the header Authorization: Bearer TOKEN\n"))
            }
        }
    }
}

/// Lets a command through if it comes with the token.
pub async fn authorize(
    State(authority): State<Arc<Authority>>,
    ConnectInfo(Asker(from)): ConnectInfo<Asker>,
    request: Request,
    next: Next,
) -> Response {
    match authority.judge(from, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            REFUSED.count();
            refusal.into_response()
        }
    }
}

/// What follows `Bearer`, a word in any case (RFC 9110 section 11.1).
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

/// Whether two secrets are the same, in a time that tells nothing about where they differ.
fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_scheme_is_a_word_in_any_case() {
        let shown = |value| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            presented(&headers).map(<[u8]>::to_vec)
        };
        for right in ["Bearer secret", "bearer secret", "BEARER  secret "] {
            assert_eq!(shown(right).as_deref(), Some(&b"secret"[..]), "{right}");
        }
        for wrong in ["secret", "Basic secret", "Bearer", ""] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
        assert_eq!(presented(&HeaderMap::new()), None);
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(equal_in_constant_time(b"secret", b"secret"));
        assert!(!equal_in_constant_time(b"secret", b"secreT"));
        assert!(!equal_in_constant_time(b"secret", b"secre"));
    }
}
