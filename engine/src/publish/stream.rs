//! The JetStream stream as a log that is appended to: where it ends, and the next message after that end. Not what the messages say.
//!
//! Every message carries `Nats-Expected-Last-Sequence`, so the server takes it only in its place: a message that was sent twice, by us or by
//! another publisher, or that a reconnection delivered late, does not fit and is refused. The place alone is not enough while several are
//! under way: a foreign message takes the place of one, which is refused, and those behind it find the number that they expect. So each also
//! names the one before it, `Nats-Expected-Last-Msg-Id`, and nothing behind a refused message can be stored.

use super::message::{Message, MessageId, Place};
use async_nats::connection::State;
use async_nats::jetstream::context::{Context, ContextBuilder, PublishAckFuture};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, LastRawMessageErrorKind, StorageType};
use async_nats::{Client, ConnectOptions, ServerAddr};
use std::fmt::Display;
use std::time::Duration;

/// For an answer or an acknowledgement; after it the end of the stream is asked for anew.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// CRC of the record that a message comes from, eight hexadecimal digits.
pub const CHAIN_HEADER: &str = "Pitlane-Chain";

/// Which stream, and where.
#[derive(Debug, Clone)]
pub struct Target {
    pub servers: Vec<ServerAddr>,
    pub stream: String,
    /// All subjects of the shard begin with this and a dot.
    pub subjects: String,
    /// Copies in a cluster, if the stream has to be made.
    pub replicas: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It may work later.
    #[error("{0}")]
    Unavailable(String),
    #[error(
        "stream {stream} takes {found:?}: expected only subjects that begin with {expected}. A shard needs a stream of its own, since its place \
         in the journal is the stream's last message"
    )]
    Subjects { stream: String, expected: String, found: Vec<String> },
    #[error(
        "stream {stream}: message {sequence} is not of this publisher (Nats-Msg-Id, {CHAIN_HEADER}, match_number, complete): somebody else \
         writes to {subject}"
    )]
    Foreign { stream: String, sequence: u64, subject: String },
    #[error("cannot connect to {servers:?}: {cause}")]
    Connect { servers: Vec<String>, cause: String },
}

fn unavailable(what: &str, cause: impl Display) -> StreamError {
    StreamError::Unavailable(format!("{what}: {cause}"))
}

/// Where the stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Sequence of the last message that it ever took.
    pub sequence: u64,
    /// `None` if no message is left.
    pub last: Option<Place>,
}

/// A connection to the server and the stream there.
pub struct Stream {
    client: Client,
    context: Context,
    target: Target,
}

impl Stream {
    /// Does not wait for the server: the client connects, and connects again, by itself.
    ///
    /// # Errors
    /// The address or TLS cannot be used at all.
    pub async fn connect(target: Target, in_flight_max: usize) -> Result<Self, StreamError> {
        let options = ConnectOptions::new()
            .name(format!("pitlane publish {}", target.subjects))
            .retry_on_initial_connect()
            .request_timeout(Some(ANSWER_MAX));
        let client = options.connect(target.servers.clone()).await.map_err(|error| StreamError::Connect {
            servers: target.servers.iter().map(|server| server.host().to_owned()).collect(),
            cause: error.to_string(),
        })?;
        // Those of an attempt that was given up count until they have timed out.
        let context = ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .ack_timeout(ANSWER_MAX)
            .max_ack_inflight(4 * in_flight_max)
            .build(client.clone());
        Ok(Self { client, context, target })
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Where the stream ends; it is made if it is not there.
    pub async fn end(&self) -> Result<End, StreamError> {
        let Target { stream: name, subjects, replicas, .. } = &self.target;
        let all = format!("{subjects}.>");
        let config = Config {
            name: name.clone(),
            description: Some("Pitlane: trades and executions of one shard".to_owned()),
            subjects: vec![all.clone()],
            storage: StorageType::File,
            num_replicas: *replicas,
            ..Config::default()
        };
        let stream = self
            .context
            .get_or_create_stream(config)
            .await
            .map_err(|error| unavailable(&format!("stream {name}"), error))?;
        let info = stream.cached_info();
        let prefix = format!("{subjects}.");
        if info.config.subjects.iter().any(|subject| !subject.starts_with(&prefix)) {
            let found = info.config.subjects.clone();
            return Err(StreamError::Subjects { stream: name.clone(), expected: prefix, found });
        }
        let sequence = info.state.last_sequence;
        let message = match stream.get_last_raw_message_by_subject(&all).await {
            Ok(message) => message,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(End { sequence, last: None });
            }
            Err(error) => return Err(unavailable("the stream's last message", error)),
        };
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        let id = header("Nats-Msg-Id").and_then(MessageId::parse);
        let chain = header(CHAIN_HEADER).and_then(|text| u32::from_str_radix(text, 16).ok());
        let payload: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
        let (match_number, complete) = (payload["match_number"].as_u64(), payload["complete"].as_bool());
        match (id, chain, match_number, complete) {
            (Some(id), Some(chain), Some(match_number), Some(complete)) => {
                let place = Place { id, chain, match_number, complete };
                Ok(End { sequence: sequence.max(message.sequence), last: Some(place) })
            }
            _ => Err(StreamError::Foreign {
                stream: name.clone(),
                sequence: message.sequence,
                subject: message.subject.to_string(),
            }),
        }
    }

    /// Sends a message that has to come after message `after` of the stream, whose name is `predecessor`. Without a name none other may be under way.
    pub async fn send(
        &self,
        message: &Message,
        after: u64,
        predecessor: Option<MessageId>,
    ) -> Result<PublishAckFuture, StreamError> {
        let mut publish = PublishMessage::build()
            .payload(message.payload.clone().into())
            .message_id(message.place.id.to_string())
            .header(CHAIN_HEADER, format!("{:08x}", message.place.chain))
            .expected_stream(&self.target.stream)
            .expected_last_sequence(after);
        if let Some(predecessor) = predecessor {
            publish = publish.expected_last_message_id(predecessor.to_string());
        }
        let sent = self.context.send_publish(message.subject.clone(), publish).await;
        sent.map_err(|error| unavailable(&format!("message {}", message.place.id), error))
    }
}

/// Waits for the acknowledgement of the message that has to have become message `sequence`.
pub async fn acknowledgement(sent: PublishAckFuture, sequence: u64) -> Result<(), StreamError> {
    let acknowledged = sent.await.map_err(|error| unavailable("not acknowledged", error))?;
    // As a duplicate it is named where it was first, which is here unless somebody else was.
    if acknowledged.sequence == sequence {
        Ok(())
    } else {
        let found = acknowledged.sequence;
        Err(StreamError::Unavailable(format!("message {sequence} of the stream was acknowledged as {found}")))
    }
}
