//! Operator commands: read by the table of inputs, applied by the shards they concern, and answered with
//! what came of it in each. Nothing is guessed: a command that is not exactly one changes nothing.

use super::{Admin, AdminRequest, ShardHandle};
use crate::core::CoreError;
use crate::inputs::Input;
use crate::inputs::command::{CommandError, Given, SNAPSHOT};
use crate::inputs::{KillScope, SessionId};
use crate::shard::ApplyError;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A shard answers within one turn of its loop; one that does not for this long is not running.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Answer = (StatusCode, String);

/// Why a command was not carried out, or not known to have been.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(
        "a command's parameters belong in its address, as in /commands/halt?symbol=AAPL; the request has a body"
    )]
    Body,
    #[error("parameters cannot be read: {0}")]
    Query(String),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("symbol is {0:?}; expected one that a shard has")]
    UnknownSymbol(String),
    #[error("shard is {found}; expected less than {shards}")]
    UnknownShard { found: usize, shards: usize },
    #[error("sessions are numbered in each shard, and there are {shards}; expected shard beside session")]
    WhichShard { shards: usize },
    #[error("there is nothing to take a snapshot of: journal.durability is \"memory\"")]
    NoJournal,
    #[error("NOT done: the shards are still being brought up; try again when /ready says so")]
    NotReady,
    #[error("NOT done: {0}")]
    Refused(CoreError),
    #[error("NOT done: too many commands are waiting; try again")]
    Busy,
    #[error("NOT KNOWN whether done: no answer within {} s; see the log", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
}

impl OperatorError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Refused(CoreError::Apply(
                ApplyError::UnknownFirm(_) | ApplyError::UnknownSymbol(_) | ApplyError::UnknownSession(_),
            )) => StatusCode::BAD_REQUEST,
            Self::Refused(CoreError::Apply(_)) | Self::NoJournal => StatusCode::CONFLICT,
            Self::Refused(_) | Self::Busy | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoAnswer => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// `POST /commands/NAME?key=value`: see `docs/operations.md` for the names.
pub async fn command(
    State(admin): State<Arc<Admin>>,
    Path(command): Path<String>,
    parameters: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Answer {
    match carry_out(
        &admin,
        command,
        parameters.map(|Query(pairs)| pairs).map_err(|error| error.to_string()),
        &headers,
    )
    .await
    {
        Ok(answer) => answer,
        Err(error) => (error.status(), format!("{error}\n")),
    }
}

async fn carry_out(
    admin: &Admin,
    command: String,
    parameters: Result<Vec<(String, String)>, String>,
    headers: &HeaderMap,
) -> Result<Answer, OperatorError> {
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_body {
        return Err(OperatorError::Body);
    }
    let given = Given::new(command, parameters.map_err(OperatorError::Query)?)?;
    if given.command() == SNAPSHOT.name {
        given.nothing()?;
        let asked = admin.shards.iter().filter(|shard| shard.ask_snapshot()).count();
        if asked == 0 {
            return Err(OperatorError::NoJournal);
        }
        return Ok((
            StatusCode::ACCEPTED,
            "snapshots asked for; the log says when they are taken\n".to_owned(),
        ));
    }
    let input = given.input()?;
    let concerned = concerned(&admin.shards, &given, &input)?;
    tracing::info!(%input, shards = ?concerned, "operator command");
    let mut outcomes = Vec::with_capacity(concerned.len());
    for shard in concerned {
        outcomes.push((shard, tell(&admin.shards[shard], input).await));
    }
    Ok(report(&input, &outcomes))
}

/// The shards that the command is for: the one that has the symbol or the session, else all.
fn concerned(shards: &[ShardHandle], given: &Given, input: &Input<'_>) -> Result<Vec<usize>, OperatorError> {
    if let Some(symbol) = given.symbol() {
        let mut having = Vec::new();
        for (shard, handle) in shards.iter().enumerate() {
            if handle.symbols.get().ok_or(OperatorError::NotReady)?.contains(&symbol) {
                having.push(shard);
            }
        }
        if having.is_empty() {
            return Err(OperatorError::UnknownSymbol(symbol.trim_ascii_end().escape_ascii().to_string()));
        }
        return Ok(having);
    }
    match (session_of(input), given.shard()?) {
        (Some(_), None) if shards.len() > 1 => Err(OperatorError::WhichShard { shards: shards.len() }),
        (_, Some(shard)) if shard >= shards.len() => {
            Err(OperatorError::UnknownShard { found: shard, shards: shards.len() })
        }
        (_, Some(shard)) => Ok(vec![shard]),
        (_, None) => Ok((0..shards.len()).collect()),
    }
}

fn session_of(input: &Input<'_>) -> Option<SessionId> {
    match input {
        Input::KillSwitch { scope: KillScope::Session(session), .. } | Input::SessionRisk { session, .. } => {
            Some(*session)
        }
        _ => None,
    }
}

/// Gives a shard the input and waits for what came of it.
async fn tell(shard: &ShardHandle, input: Input<'static>) -> Result<String, OperatorError> {
    let (answer, answered) = oneshot::channel();
    let pushed =
        shard.requests.lock().is_ok_and(|mut ring| ring.push(AdminRequest { input, answer }).is_ok());
    if !pushed {
        return Err(OperatorError::Busy);
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(outcome)) => outcome.map_err(OperatorError::Refused),
        _ => Err(OperatorError::NoAnswer),
    }
}

/// A line per shard. Where some did it and some did not, the first line says so.
fn report(input: &Input<'_>, outcomes: &[(usize, Result<String, OperatorError>)]) -> Answer {
    let failed: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    let mut text = String::new();
    let status = match failed.first() {
        None => StatusCode::OK,
        Some(_) if failed.len() < outcomes.len() => {
            let done = outcomes.len() - failed.len();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "PARTIAL: done in {done} of {} shards", outcomes.len());
            StatusCode::CONFLICT
        }
        Some(first) => first.status(),
    };
    for (shard, outcome) in outcomes {
        let _ = match outcome {
            Ok(remark) if remark.is_empty() => writeln!(text, "shard {shard}: done: {input}"),
            Ok(remark) => writeln!(text, "shard {shard}: done: {input}; {remark}"),
            Err(error) => writeln!(text, "shard {shard}: {error}"),
        };
    }
    if status != StatusCode::OK {
        tracing::warn!(%input, outcome = text.trim_end(), "operator command not carried out");
    }
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_shards_did_and_some_did_not_is_said() {
        let input = Input::SetState { symbol: None, state: book::TradingState::Halted };
        let done = || Ok(String::new());
        let all = report(&input, &[(0, done()), (1, done())]);
        assert_eq!((all.0, all.1.matches("done").count()), (StatusCode::OK, 2));
        let stopped = || Err(OperatorError::Refused(CoreError::Stopped));
        let (status, text) = report(&input, &[(0, done()), (1, stopped())]);
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(text.starts_with("PARTIAL: done in 1 of 2 shards\nshard 0: done"), "{text}");
        assert!(text.contains("shard 1: NOT done"), "{text}");
        let (status, text) = report(&input, &[(0, stopped()), (1, Err(OperatorError::NoAnswer))]);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("shard 1: NOT KNOWN"), "{text}");
    }
}
