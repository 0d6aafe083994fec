//! What operators and monitoring talk to: health, metrics and commands over HTTP, on a thread of its own. Not the order
//! path: a command reaches its shard as a journaled input, through a bounded ring.

pub mod audit;
mod authorization;
mod commands;
mod listener;
mod metrics;

use crate::accounts::verify::Door;
use crate::config::Secret;
use crate::core::CoreError;
use crate::history::snapshot::thread::SnapshotRequest;
use crate::inputs::Input;
use crate::runner::SharedReport;
use anyhow::Context;
use audit::Audit;
use authorization::{Authority, authorize};
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use listener::{AdminListener, Asker};
use rtrb::{Consumer, Producer, RingBuffer};
use std::future::IntoFuture;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Commands that may wait for a shard.
pub const COMMANDS_WAITING: usize = 64;
/// Time for answers that are on their way when the server stops. Half a request is not waited for.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A command on its way to a shard; the answer is what came of it.
pub struct AdminRequest {
    pub input: Input<'static>,
    /// Only say what would come of it.
    pub dry_run: bool,
    /// What there is to say beyond that it was done, often nothing.
    pub answer: oneshot::Sender<Result<String, CoreError>>,
}

/// How a shard's port was opened, as names and values.
pub type PortLabels = Vec<(&'static str, String)>;

/// Reads how often the XDP program came to each verdict. Asked only when somebody looks: it takes system calls.
pub type Verdicts = Box<dyn Fn() -> anyhow::Result<Vec<(&'static str, u64)>> + Send + Sync>;

/// The instruments that a shard has: known once it has read its journal.
pub type Symbols = Arc<OnceLock<Vec<[u8; 8]>>>;

/// What the admin server knows of a shard.
pub struct ShardHandle {
    pub report: SharedReport,
    port: PortLabels,
    requests: Mutex<Producer<AdminRequest>>,
    symbols: Symbols,
    /// Absent without a journal.
    snapshot: Option<SnapshotRequest>,
}

impl ShardHandle {
    /// A shard's two ends: the server's handle, and the ring that the shard's thread reads.
    pub fn new(
        report: SharedReport,
        symbols: Symbols,
        snapshot: Option<SnapshotRequest>,
        port: PortLabels,
    ) -> (Self, Consumer<AdminRequest>) {
        let (requests, consumer) = RingBuffer::new(COMMANDS_WAITING);
        (Self { report, port, requests: Mutex::new(requests), symbols, snapshot }, consumer)
    }

    /// Asks for a snapshot, where there is a journal to take one of.
    fn ask_snapshot(&self) {
        if let Some(snapshot) = &self.snapshot {
            snapshot.ask();
        }
    }
}

/// The server's state, shared by its handlers.
pub struct Admin {
    pub shards: Vec<ShardHandle>,
    authority: Arc<Authority>,
    audit: Arc<Audit>,
    /// Absent without an XDP program.
    verdicts: Option<Verdicts>,
}

/// The running server; it stops when this is dropped.
pub struct AdminServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Binds and serves.
    ///
    /// # Errors
    /// The address cannot be bound, or the audit log not be written.
    pub fn start(
        listen: SocketAddr,
        token: Option<Secret>,
        audit: Option<PathBuf>,
        door: Door,
        shards: Vec<ShardHandle>,
        verdicts: Option<Verdicts>,
    ) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)
            .with_context(|| format!("admin.listen: cannot bind {listen}"))?;
        listener.set_nonblocking(true)?;
        let audit = Arc::new(Audit::open(audit).context("admin.audit_file")?);
        let authority = Arc::new(Authority { token, door });
        let admin = Arc::new(Admin { shards, authority, audit, verdicts });
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(audit::THREADS)
            .build()?;
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            let served = runtime.block_on(async move {
                let listener = AdminListener::new(tokio::net::TcpListener::from_std(listener)?);
                let (stopping, mut stops) = tokio::sync::watch::channel(false);
                let stopped = async move {
                    // Dropped or sent: both mean stop.
                    let _ = stopped.await;
                    let _ = stopping.send(true);
                };
                let service = router(admin).into_make_service_with_connect_info::<Asker>();
                let late = async move {
                    let _ = stops.changed().await;
                    tokio::time::sleep(STOP_TIMEOUT).await;
                };
                tokio::select! {
                    served = axum::serve(listener, service).with_graceful_shutdown(stopped).into_future() => served,
                    () = late => Ok(()),
                }
            });
            if let Err(error) = served {
                tracing::error!(%error, "the admin server ended");
            }
        })?;
        tracing::info!(%listen, "admin: /live /ready /metrics");
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The server may have ended before.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/report", get(metrics::report))
        .route(
            "/commands/{command}",
            post(commands::command)
                .layer(from_fn_with_state(Arc::clone(&admin.authority), authorize))
                // Outside of it: attempts that were refused are recorded too.
                .layer(from_fn_with_state(Arc::clone(&admin.audit), audit::record)),
        )
        .with_state(admin)
}
