//! `pitlane-loadgen run --agents`: gives each agent its share, starts them together, and makes one report of theirs.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::{ALIVE_INTERVAL, Answer, Order, SILENCE_MAX, VERSION, read_token, receive, send};
use crate::cli::FleetArgs;
use crate::report::AgentReport;
use crate::report::merge::Part;
use crate::report::table::duration;
use crate::run::{Plan, Share};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest of these is taken for the way there and back.
const PINGS: usize = 8;
/// From the last login to the start: longer than any way there, so that all hear of it in time.
const START_IN: Duration = Duration::from_millis(500);

/// What became of one agent.
pub struct Returned {
    pub agent: AgentReport,
    pub part: Option<Part>,
}

/// What all agents wait for.
struct Together {
    agents: usize,
    ready: AtomicUsize,
    gone: AtomicUsize,
    go: watch::Sender<bool>,
    interrupt: Arc<AtomicBool>,
}

impl Together {
    /// Starts once everybody who is left is there.
    fn look(&self) {
        let there = self.ready.load(Ordering::Acquire) + self.gone.load(Ordering::Acquire);
        if there == self.agents {
            self.go.send_replace(true);
        }
    }
}

/// Divides a plan: every agent has as many threads as the plan says, and its share of clients, rate and orders.
fn divide(plan: &Plan, agents: usize) -> Result<Vec<Plan>> {
    let count = plan.clients.len();
    if count < agents * plan.threads {
        bail!(
            "--clients {count} for {agents} agents of {} threads: every thread needs a client",
            plan.threads
        );
    }
    let first = |agent: usize| agent * count / agents;
    Ok((0..agents)
        .map(|agent| Plan {
            clients: plan.clients[first(agent)..first(agent + 1)].to_vec(),
            share: Share { generator: agent, generators: agents, first_client: first(agent) },
            ..plan.clone()
        })
        .collect())
}

/// Runs the plan on all agents. An error only if no run came about; an agent that dies is among what is returned.
pub fn run(
    plan: &Plan,
    target: &str,
    label: &str,
    fleet: &FleetArgs,
    interrupt: &Arc<AtomicBool>,
) -> Result<Vec<Returned>> {
    let token =
        read_token(fleet.agents_token_file.as_deref().context("--agents needs --agents-token-file")?)?;
    let connector = connector(fleet)?;
    let plans = divide(plan, fleet.agents.len())?;
    let together = Arc::new(Together {
        agents: plans.len(),
        ready: AtomicUsize::new(0),
        gone: AtomicUsize::new(0),
        go: watch::Sender::new(false),
        interrupt: Arc::clone(interrupt),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Nobody is given work before everybody has been reached.
        let mut streams = Vec::new();
        for address in &fleet.agents {
            let greeted = greet(address, &connector, &token).await;
            streams.push(greeted.with_context(|| format!("agent {address}"))?);
        }
        let mut tasks = Vec::new();
        for ((plan, address), (stream, round_trip)) in plans.into_iter().zip(&fleet.agents).zip(streams) {
            let order =
                Order::Plan { plan: Box::new(plan), target: target.to_owned(), label: label.to_owned() };
            let (address, together) = (address.clone(), Arc::clone(&together));
            tasks.push(tokio::spawn(
                async move { follow(address, order, stream, round_trip, &together).await },
            ));
        }
        let mut returned = Vec::new();
        for task in tasks {
            returned.push(task.await?);
        }
        if returned.iter().all(|one| one.part.is_none()) {
            let reasons: Vec<String> = (returned.iter())
                .map(|one| {
                    format!("{}: {}", one.agent.address, one.agent.failure.clone().unwrap_or_default())
                })
                .collect();
            return Err(anyhow!("no agent brought a result: {}", reasons.join("; ")));
        }
        Ok(returned)
    })
}

fn connector(fleet: &FleetArgs) -> Result<TlsConnector> {
    let path = fleet.agents_ca.as_deref().context("--agents needs --agents-ca")?;
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(path).with_context(|| format!("--agents-ca {}", path.display()))?
    {
        roots.add(certificate?).with_context(|| format!("--agents-ca {}", path.display()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects, shows the token, and measures the way there and back.
async fn greet(
    address: &str,
    connector: &TlsConnector,
    token: &str,
) -> Result<(TlsStream<TcpStream>, Duration)> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).with_context(|| format!("`{host}` is no host name"))?;
    let found = address.to_socket_addrs().context("expected HOST:PORT")?.next().context("no address")?;
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(found)).await;
    let stream = connected.context("no connection within 10 s")?.context("no connection")?;
    stream.set_nodelay(true)?;
    let mut stream = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect(name, stream))
        .await
        .context("no TLS within 10 s; another controller may have the agent")??;
    send(&mut stream, &Order::Hello { version: VERSION, token: token.to_owned() }).await?;
    pong(&mut stream).await?;
    let mut shortest = Duration::MAX;
    for _ in 0..PINGS {
        let asked = Instant::now();
        send(&mut stream, &Order::Ping).await?;
        pong(&mut stream).await?;
        shortest = shortest.min(asked.elapsed());
    }
    Ok((stream, shortest))
}

/// The agent is there, or says why it will not be.
async fn pong(stream: &mut TlsStream<TcpStream>) -> Result<()> {
    match tokio::time::timeout(CONNECT_TIMEOUT, receive(stream)).await.context("no answer")?? {
        Answer::Pong => Ok(()),
        Answer::Failed(reason) => bail!(reason),
        _ => bail!("an answer to nothing that was asked"),
    }
}

async fn follow(
    address: String,
    order: Order,
    stream: TlsStream<TcpStream>,
    round_trip: Duration,
    together: &Together,
) -> Returned {
    let mut is_ready = false;
    let outcome = converse(order, stream, round_trip, together, &mut is_ready).await;
    if !is_ready {
        together.gone.fetch_add(1, Ordering::AcqRel);
        together.look();
    }
    let mut agent =
        AgentReport { address, round_trip_ns: round_trip.as_nanos() as u64, ..Default::default() };
    match outcome {
        Ok(part) => {
            let report = &part.report;
            (agent.clients, agent.orders) = (report.clients, report.orders);
            (agent.orders_per_second, agent.latency_ns) = (report.orders_per_second, report.latency_ns);
            Returned { agent, part: Some(part) }
        }
        Err(error) => {
            agent.failure = Some(format!("{error:#}"));
            Returned { agent, part: None }
        }
    }
}

async fn converse(
    order: Order,
    stream: TlsStream<TcpStream>,
    round_trip: Duration,
    together: &Together,
    is_ready: &mut bool,
) -> Result<Part> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    send(&mut writer, &order).await?;
    let (answers, mut incoming) = tokio::sync::mpsc::channel(16);
    let reading = tokio::spawn(async move {
        loop {
            let answer = match tokio::time::timeout(SILENCE_MAX, receive::<Answer>(&mut reader)).await {
                Ok(answer) => answer,
                Err(_) => Err(anyhow!("it has been silent for {} s", SILENCE_MAX.as_secs())),
            };
            let is_last = answer.is_err();
            if answers.send(answer).await.is_err() || is_last {
                return;
            }
        }
    });
    let mut go = together.go.subscribe();
    let (mut started, mut stopped) = (false, false);
    let result = loop {
        tokio::select! {
            answer = incoming.recv() => match answer.context("it is gone")?.context("it died")? {
                Answer::Done(part) => break Ok(*part),
                Answer::Failed(reason) => break Err(anyhow!(reason)),
                Answer::LoggedIn if !*is_ready => {
                    *is_ready = true;
                    together.ready.fetch_add(1, Ordering::AcqRel);
                    together.look();
                }
                _ => {}
            },
            () = async { let _ = go.wait_for(|go| *go).await; }, if *is_ready && !started => {
                started = true;
                // Half of the way there and back is gone when it hears of it.
                let left = START_IN.saturating_sub(round_trip / 2);
                send(&mut writer, &Order::Start { in_ns: left.as_nanos() as u64 }).await?;
            },
            () = tokio::time::sleep(ALIVE_INTERVAL) => {
                let word = if together.interrupt.load(Ordering::Relaxed) && !stopped {
                    stopped = true;
                    Order::Stop
                } else {
                    Order::Alive
                };
                send(&mut writer, &word).await?;
            },
        }
    };
    reading.abort();
    result
}

/// One line for each agent.
pub fn render(agents: &[AgentReport]) -> String {
    let line = |agent: &AgentReport| match &agent.failure {
        Some(failure) => format!("agent       {}: DIED, {failure}\n", agent.address),
        None => format!(
            "agent       {}: {} clients, {:.0} orders/s, median {}, {} away\n",
            agent.address,
            agent.clients,
            agent.orders_per_second,
            duration(agent.latency_ns.median as f64),
            duration(agent.round_trip_ns as f64)
        ),
    };
    agents.iter().map(line).collect()
}
