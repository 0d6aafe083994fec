//! Operator commands: read by the table of inputs, applied by the shards they concern, and answered with
//! what came of it in each. Nothing is guessed: a command that is not exactly one changes nothing.

use super::{Admin, AdminRequest, ShardHandle};
use crate::core::CoreError;
use crate::inputs::Input;
use crate::inputs::command::{CommandError, DRY_RUN, Given, SNAPSHOT};
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

/// What the answer says of a shard.
const DONE: &str = "done";
const WOULD_BE_DONE: &str = "would be done";

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
    #[error("{DRY_RUN} is {0:?}; expected true or false")]
    DryRun(String),
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
    let mut parameters = parameters.map_err(OperatorError::Query)?;
    let dry_run = take_dry_run(&mut parameters)?;
    let given = Given::new(command, parameters)?;
    if given.command() == SNAPSHOT.name {
        given.nothing()?;
        if admin.shards.iter().all(|shard| shard.snapshot.is_none()) {
            return Err(OperatorError::NoJournal);
        }
        if dry_run {
            return Ok((StatusCode::OK, "would be asked for: a snapshot of every shard\n".to_owned()));
        }
        admin.shards.iter().for_each(ShardHandle::ask_snapshot);
        return Ok((
            StatusCode::ACCEPTED,
            "snapshots asked for; the log says when they are taken\n".to_owned(),
        ));
    }
    let input = given.input()?;
    let concerned = concerned(&admin.shards, &given, &input)?;
    if !dry_run {
        tracing::info!(%input, shards = ?concerned, "operator command");
    }
    let mut outcomes = Vec::with_capacity(concerned.len());
    for shard in concerned {
        outcomes.push((shard, tell(&admin.shards[shard], input, dry_run).await));
    }
    Ok(report(&input, &outcomes, if dry_run { WOULD_BE_DONE } else { DONE }))
}

/// Takes out what is no command's parameter but says that nothing is to be changed.
fn take_dry_run(parameters: &mut Vec<(String, String)>) -> Result<bool, OperatorError> {
    let mut dry_run = None;
    for (_, value) in parameters.extract_if(.., |(name, _)| name == DRY_RUN) {
        // One that is not understood must never become a command that is carried out.
        let understood = value.parse().map_err(|_| OperatorError::DryRun(value))?;
        if dry_run.replace(understood).is_some() {
            return Err(CommandError::Twice(DRY_RUN.to_owned()).into());
        }
    }
    Ok(dry_run.unwrap_or(false))
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
async fn tell(shard: &ShardHandle, input: Input<'static>, dry_run: bool) -> Result<String, OperatorError> {
    let (answer, answered) = oneshot::channel();
    let pushed = shard
        .requests
        .lock()
        .is_ok_and(|mut ring| ring.push(AdminRequest { input, dry_run, answer }).is_ok());
    if !pushed {
        return Err(OperatorError::Busy);
    }
    match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
        Ok(Ok(outcome)) => outcome.map_err(OperatorError::Refused),
        _ => Err(OperatorError::NoAnswer),
    }
}

/// A line per shard. Where some did it and some did not, the first line says so.
fn report(
    input: &Input<'_>,
    outcomes: &[(usize, Result<String, OperatorError>)],
    word: &'static str,
) -> Answer {
    let failed: Vec<_> = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
    let mut text = String::new();
    let status = match failed.first() {
        None => StatusCode::OK,
        Some(_) if failed.len() < outcomes.len() => {
            let done = outcomes.len() - failed.len();
            // Writing to a String cannot fail.
            let _ = writeln!(text, "PARTIAL: {word} in {done} of {} shards", outcomes.len());
            StatusCode::CONFLICT
        }
        Some(first) => first.status(),
    };
    for (shard, outcome) in outcomes {
        let _ = match outcome {
            Ok(remark) if remark.is_empty() => writeln!(text, "shard {shard}: {word}: {input}"),
            Ok(remark) => writeln!(text, "shard {shard}: {word}: {input}; {remark}"),
            Err(error) => writeln!(text, "shard {shard}: {error}"),
        };
    }
    if status != StatusCode::OK && word == DONE {
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
        let all = report(&input, &[(0, done()), (1, done())], DONE);
        assert_eq!((all.0, all.1.matches("done").count()), (StatusCode::OK, 2));
        let stopped = || Err(OperatorError::Refused(CoreError::Stopped));
        let (status, text) = report(&input, &[(0, done()), (1, stopped())], DONE);
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(text.starts_with("PARTIAL: done in 1 of 2 shards\nshard 0: done"), "{text}");
        assert!(text.contains("shard 1: NOT done"), "{text}");
        let (status, text) = report(&input, &[(0, stopped()), (1, Err(OperatorError::NoAnswer))], DONE);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(text.contains("shard 1: NOT KNOWN"), "{text}");
    }
}
