//! What controller and agent say to each other: JSON behind a length, over a stream that somebody else opened. It decides nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::report::merge::Part;
use crate::run::Plan;

/// Both sides have to speak the same.
pub const VERSION: u32 = 1;

/// Longest message: the result of ten thousand clients has some ten megabytes.
const MESSAGE_MAX: usize = 64 << 20;
/// Longest message of somebody who has not shown the token yet.
pub const HELLO_MAX: usize = 4096;

/// How often each side says that it is there, and after how long it is taken for dead.
pub const ALIVE_INTERVAL: Duration = Duration::from_millis(500);
pub const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
pub enum Order {
    Hello {
        version: u32,
        token: String,
    },
    Ping,
    Plan {
        plan: Box<Plan>,
        target: String,
        label: String,
    },
    Start {
        in_ns: u64,
    },
    Alive,
    /// End early, in good order.
    Stop,
}

#[derive(Serialize, Deserialize)]
pub enum Answer {
    Pong,
    Alive,
    LoggedIn,
    Done(Box<Part>),
    Failed(String),
}

pub async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= MESSAGE_MAX);
    let length = length.with_context(|| format!("a message of {} bytes is too long", bytes.len()))?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(&bytes).await?;
    Ok(stream.flush().await?)
}

pub async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> Result<T> {
    receive_short(stream, MESSAGE_MAX).await
}

pub async fn receive_short<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
    longest: usize,
) -> Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let length = u32::from_be_bytes(length) as usize;
    if length > longest {
        bail!("a message of {length} bytes, at most {longest} are expected");
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).context("a message that is none of ours")
}

/// True if the two are equal; takes as long wherever they differ.
pub fn same_token(one: &str, other: &str) -> bool {
    let differing = one.bytes().zip(other.bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    one.len() == other.len() && differing == 0
}

/// The shortest token: it is what stands between a stranger and a load generator.
pub const TOKEN_LENGTH_MIN: usize = 16;

pub fn read_token(path: &std::path::Path) -> Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let token = token.trim().to_owned();
    if token.len() < TOKEN_LENGTH_MIN {
        bail!("{}: expected a token of at least {TOKEN_LENGTH_MIN} characters", path.display());
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_equal_only_whole() {
        assert!(same_token("abc", "abc"));
        assert!(!same_token("abc", "abd") && !same_token("abc", "ab") && !same_token("", "a"));
    }

    #[test]
    fn messages_go_through_a_stream_and_long_ones_are_refused() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut one, mut other) = tokio::io::duplex(1 << 16);
            send(&mut one, &Order::Start { in_ns: 7 }).await.unwrap();
            assert!(matches!(receive(&mut other).await.unwrap(), Order::Start { in_ns: 7 }));
            one.write_all(&[0, 0, 0x20, 0]).await.unwrap();
            let refused = receive_short::<Order>(&mut other, HELLO_MAX).await.err().unwrap().to_string();
            assert!(refused.contains("8192 bytes, at most 4096"), "{refused}");
            one.write_all(b"\0\0\0\x02{}").await.unwrap();
            assert!(receive::<Order>(&mut other).await.is_err());
        });
    }
}
