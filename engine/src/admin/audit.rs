//! The audit log: who asked for which command, and what came of it, refused attempts too. Not the journal, which holds what was done and
//! not who wanted it.
//!
//! A JSON object per line, in `admin.audit_file` and in the log. The file is opened for each line, so that it may be renamed at any time.

use super::listener::Asker;
use crate::counter::Counter;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// Threads that write: a disk that hangs holds up who gave a command, not who looks at /metrics.
pub const THREADS: usize = 2;
/// Commands at once, those included whose sender has hung up.
const COMMANDS_MAX: usize = 64;
/// A command's answer is a line per shard; a longer one is recorded cut.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Who has no token cannot fill the disk: of refused attempts so many are recorded in a minute, the others counted.
const REFUSED_PER_MINUTE: u32 = 60;
/// A longer name or address of a command is recorded cut.
const TEXT_MAX: usize = 1024;
/// Header in which a client says for whom it asks. It proves nothing, and is recorded as what was said.
pub const ON_BEHALF_OF: &str = "pitlane-operator";

pub static FAILURES: Counter =
    Counter::new("audit_failures", "Commands that the audit log did not take; they were carried out");
pub static OMITTED: Counter = Counter::new(
    "audit_omitted",
    "Attempts that the audit log left out: without the token, or not carried out as too many waited",
);

pub struct Audit {
    path: Option<PathBuf>,
    refused: Mutex<Refused>,
    places: Arc<Semaphore>,
}

/// Refused attempts of the current minute.
struct Refused {
    since: Instant,
    count: u32,
}

impl Audit {
    /// # Errors
    /// The file cannot be written to.
    pub fn open(path: Option<PathBuf>) -> io::Result<Self> {
        if let Some(path) = &path {
            open(path)?;
        }
        let refused = Mutex::new(Refused { since: Instant::now(), count: 0 });
        Ok(Self { path, refused, places: Arc::new(Semaphore::new(COMMANDS_MAX)) })
    }

    /// Whether a refused attempt is still recorded.
    fn has_room(&self) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.since.elapsed() >= Duration::from_secs(60) {
            *refused = Refused { since: Instant::now(), count: 0 };
        }
        refused.count += 1;
        refused.count <= REFUSED_PER_MINUTE
    }

    async fn write(&self, line: String) -> Result<(), String> {
        tracing::info!(target: "audit", "audit: {line}");
        let Some(path) = self.path.clone() else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || append(&path, &line)).await;
        written.map_err(io::Error::other).flatten().map_err(|error| {
            FAILURES.count();
            tracing::error!(%error, "admin.audit_file: not written");
            error.to_string()
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write to {}: {error}", path.display())))
}

/// One write, so that two threads' lines never mix; on the disk before the answer leaves.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_data()
}

/// Records what becomes of the request.
pub async fn record(
    State(audit): State<Arc<Audit>>,
    ConnectInfo(Asker(from)): ConnectInfo<Asker>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(place) = Arc::clone(&audit.places).try_acquire_owned() else {
        OMITTED.count();
        return (StatusCode::SERVICE_UNAVAILABLE, "NOT done: too many commands are waiting; try again\n")
            .into_response();
    };
    // A task of its own: whoever gives a command and hangs up is recorded all the same.
    let recorded = tokio::spawn(async move {
        let response = recorded(&audit, from, request, next).await;
        drop(place);
        response
    });
    recorded.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a command's handler ended");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    })
}

async fn recorded(audit: &Audit, from: SocketAddr, request: Request, next: Next) -> Response {
    let time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let asked = request.uri().path_and_query().map_or("", |asked| asked.as_str());
    let asked = cut(asked.strip_prefix("/commands/").unwrap_or(asked));
    let claimed = claimed(request.headers());
    let response = next.run(request).await;
    let (parts, body) = response.into_parts();
    let is_refused = matches!(
        parts.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    );
    let body = to_bytes(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    if is_refused && !audit.has_room() {
        OMITTED.count();
        return Response::from_parts(parts, Body::from(body));
    }
    let line = serde_json::json!({
        "time_ns": time_ns,
        "from": from.to_string(),
        "says_it_is": claimed,
        "authorized": !is_refused,
        "command": asked,
        "status": parts.status.as_u16(),
        "answer": String::from_utf8_lossy(&body).trim_end(),
    });
    let mut answer = body.to_vec();
    if let Err(error) = audit.write(line.to_string()).await {
        answer.extend_from_slice(format!("NOT in the audit log: {error}\n").as_bytes());
    }
    let mut response = Response::from_parts(parts, Body::from(answer));
    // What it was before the line above.
    response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
    response
}

fn claimed(headers: &HeaderMap) -> Option<String> {
    headers.get(ON_BEHALF_OF).and_then(|value| value.to_str().ok()).map(cut)
}

/// At most [`TEXT_MAX`] bytes of ASCII, as URIs and visible headers are.
fn cut(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_attempts_are_recorded_up_to_a_number() {
        let audit = Audit::open(None).expect("no file");
        let recorded = (0..1000).filter(|_| audit.has_room()).count();
        assert_eq!(recorded as u32, REFUSED_PER_MINUTE);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = Audit::open(Some("/proc/no/audit".into())).err().expect("an error").to_string();
        assert!(error.contains("/proc/no/audit"), "{error}");
    }
}
