//! `pitlane-loadgen agent`: waits for a controller, takes its share of a run, carries it out from here, and hands back what was measured.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::wire::{
    ALIVE_INTERVAL, Answer, HELLO_MAX, Order, SILENCE_MAX, VERSION, read_token, receive, receive_short,
    same_token, send,
};
use crate::cli::{AgentArgs, TargetArgs};
use crate::launch::{describe, execute_over};
use crate::output::{self, interrupt_flag, print};
use crate::ports::idle_strategy;
use crate::report::merge::Part;
use crate::report::{HostFacts, assemble};
use crate::run::{Executed, Plan, Starter};

/// How long a stranger has to show that it is none.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an agent looks whether it is to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// The start as the controller's word sets it.
#[derive(Default)]
struct Ordered {
    is_ready: AtomicBool,
    at: OnceLock<Instant>,
}

impl Starter for Ordered {
    fn start_ns(&self, now_ns: u64) -> Option<u64> {
        self.is_ready.store(true, Ordering::Release);
        let left = self.at.get()?.saturating_duration_since(Instant::now());
        Some(now_ns + left.as_nanos() as u64)
    }
}

pub fn execute(args: &AgentArgs) -> Result<ExitCode> {
    let token = read_token(&args.token_file)?;
    let acceptor = acceptor(args)?;
    let stop = interrupt_flag()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(&args.listen).await.with_context(|| format!("--listen {}", args.listen))?;
        print(&format!("agent: waiting on {}\n", listener.local_addr()?));
        while !stop.load(Ordering::Relaxed) {
            let Ok(accepted) = tokio::time::timeout(LOOK_INTERVAL, listener.accept()).await else { continue };
            let (stream, from) = accepted?;
            // One controller at a time: two runs from one host would measure each other.
            match serve(args, &token, &acceptor, stream, &stop).await {
                Ok(()) => print(&format!("agent: a run for {from} is done\n")),
                Err(error) => tracing::warn!("{from}: {error:#}"),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn acceptor(args: &AgentArgs) -> Result<TlsAcceptor> {
    let (certificate, key) = (&args.tls_cert, &args.tls_key);
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| format!("--tls-cert {}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("--tls-key {}", key.display()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("--tls-cert and --tls-key")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(
    args: &AgentArgs,
    token: &str,
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream =
        tokio::time::timeout(HELLO_TIMEOUT, acceptor.accept(stream)).await.context("no TLS")??;
    let hello = tokio::time::timeout(HELLO_TIMEOUT, receive_short(&mut stream, HELLO_MAX)).await;
    match hello.context("no hello")?? {
        Order::Hello { token: theirs, .. } if !same_token(token, &theirs) => {
            send(&mut stream, &Answer::Failed("the token is not that of this agent".into())).await?;
            bail!("a wrong token");
        }
        Order::Hello { version, .. } if version != VERSION => {
            let text = format!("it speaks version {version}, this agent {VERSION}");
            send(&mut stream, &Answer::Failed(text.clone())).await?;
            bail!(text);
        }
        // Before anything else is asked: what stands unread when a connection is closed takes the answer with it.
        Order::Hello { .. } => send(&mut stream, &Answer::Pong).await?,
        _ => bail!("expected a hello"),
    }
    loop {
        match tokio::time::timeout(SILENCE_MAX, receive(&mut stream))
            .await
            .context("the controller is silent")??
        {
            Order::Ping => send(&mut stream, &Answer::Pong).await?,
            Order::Plan { plan, target, label } => {
                return carry_out(args, *plan, target, label, stream, stop).await;
            }
            _ => bail!("expected a plan"),
        }
    }
}

/// Runs the plan on a thread of its own, and talks to the controller meanwhile.
async fn carry_out(
    args: &AgentArgs,
    mut plan: Plan,
    target: String,
    label: String,
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let place = TargetArgs { target, ..args.place.as_target() };
    plan.idle = idle_strategy(&place, plan.threads);
    plan.cores.clone_from(&place.cores);
    plan.quiet = true;
    let ordered = Arc::new(Ordered::default());
    let interrupt = Arc::new(AtomicBool::new(false));
    let (starter, ending) = (Arc::clone(&ordered), Arc::clone(&interrupt));
    let mut work = tokio::task::spawn_blocking(move || run(&plan, &place, &label, &ending, &starter));
    let (mut reader, mut writer) = tokio::io::split(stream);
    // Read on a task of its own: half a message must not be given up because the time came to say that we are there.
    let (orders, mut incoming) = tokio::sync::mpsc::channel(16);
    let reading = tokio::spawn(async move {
        while let Ok(Ok(order)) = tokio::time::timeout(SILENCE_MAX, receive::<Order>(&mut reader)).await {
            if orders.send(order).await.is_err() {
                return;
            }
        }
    });
    let mut said_ready = false;
    let result = loop {
        tokio::select! {
            done = &mut work => break done?,
            order = incoming.recv() => match order {
                Some(Order::Start { in_ns }) => {
                    let _ = ordered.at.set(Instant::now() + Duration::from_nanos(in_ns));
                }
                Some(Order::Alive | Order::Ping) => {}
                // Nobody is left to hear of it, or it was called off.
                _ => interrupt.store(true, Ordering::Relaxed),
            },
            () = tokio::time::sleep(Duration::from_millis(20)), if !said_ready => {
                if ordered.is_ready.load(Ordering::Acquire) {
                    said_ready = true;
                    send(&mut writer, &Answer::LoggedIn).await?;
                } else {
                    send(&mut writer, &Answer::Alive).await?;
                }
            },
            () = tokio::time::sleep(ALIVE_INTERVAL), if said_ready => send(&mut writer, &Answer::Alive).await?,
        }
        if stop.load(Ordering::Relaxed) {
            interrupt.store(true, Ordering::Relaxed);
        }
    };
    reading.abort();
    let answer = match result {
        Ok(part) => Answer::Done(Box::new(part)),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    send(&mut writer, &answer).await
}

fn run(
    plan: &Plan,
    place: &TargetArgs,
    label: &str,
    interrupt: &Arc<AtomicBool>,
    starter: &Ordered,
) -> Result<Part> {
    let started_at = output::unix_seconds();
    let (executed, port) = execute_over(plan, place, interrupt, starter)?;
    let Executed { mut outcome, interrupted } = executed;
    let mut report = describe(plan, &place.target, label, port, started_at);
    report.interrupted = interrupted;
    report.host = HostFacts::collect_for(&plan.cores, place.interface.as_deref());
    assemble::fill(&mut report, &mut outcome);
    Ok(Part::new(report, &mut outcome.measurements))
}
