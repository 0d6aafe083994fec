//! What strangers do to a venue's logins, and how long its clients then wait: a flood of wrong logins from many addresses, and a
//! thousand clients that come back at once. Over loopback, whose addresses (127.0.0.0/8) stand for spoofed ones: who sends from
//! them does not read what comes back.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netio::random::Random;
use wire::control::{Cookie, Reply, Request};
use wire::moldudp64::{CONTROL_SESSION, HEARTBEAT};
use wire::soupbintcp::{ANY_SESSION, pad_right};

use crate::client::{control_body, datagram, header, login_request, user};

/// How often a client repeats what is not answered.
const REPEAT: Duration = Duration::from_millis(250);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Addresses that a flood comes from: as many sockets.
const SOURCES: usize = 256;
/// How finely a flood is spread over time.
const BURST: Duration = Duration::from_millis(1);

/// Wrong logins of known accounts, from many addresses. Ends when it is dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// `rate` logins a second, each of one of `accounts` accounts.
    pub fn start(target: SocketAddr, rate: u64, accounts: usize, seed: u64) -> io::Result<Flood> {
        let mut random = Random::new(seed);
        let sockets: Vec<UdpSocket> = (0..SOURCES)
            .map(|_| {
                let [_, second, third, fourth] = random.next_u64().to_le_bytes()[..4] else { unreachable!() };
                let address = Ipv4Addr::new(127, second.max(1), third, fourth.clamp(1, 254));
                let socket = UdpSocket::bind((address, 0))?;
                socket.connect(target)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .collect::<io::Result<_>>()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new().name("flood".to_owned()).spawn(move || {
            let began = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                for _ in counted.load(Ordering::Relaxed)..due {
                    let account = random.between(1, accounts as u64) as usize;
                    let password = format!("{:010}", random.below(10_000_000_000));
                    let request = login_request(&user(account), &password, 1);
                    let socket = &sockets[random.index(sockets.len())];
                    // What the kernel does not take is not there.
                    let _ = socket.send(&control(&Request::Login { request, cookie: None }));
                }
                counted.fetch_max(due, Ordering::Relaxed);
                std::thread::sleep(BURST);
            }
        })?;
        Ok(Flood { stop, sent, thread: Some(thread) })
    }

    /// Logins sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn control(request: &Request) -> Vec<u8> {
    let mut body = [0; wire::control::MAX_LENGTH];
    let length = request.write(&mut body);
    datagram(CONTROL_SESSION, 0, &[&body[..length]])
}

/// Many clients, each with a socket of its own, driven by one thread.
pub struct Fleet {
    members: Vec<Member>,
    password: String,
}

struct Member {
    user: String,
    socket: UdpSocket,
    session: [u8; 10],
    cookie: Option<Cookie>,
    in_since: Option<Instant>,
    /// When it last said something.
    spoke: Option<Instant>,
}

/// How a fleet's clients log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// They name their session and answer challenges.
    Own,
    /// They know nothing of challenges, nor of the session that they had.
    Old,
}

impl Fleet {
    /// Clients of the accounts 1 to `count`, not logged in.
    pub fn new(target: SocketAddr, count: usize, password: &str) -> io::Result<Fleet> {
        let members = (1..=count)
            .map(|account| {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.connect(target)?;
                socket.set_nonblocking(true)?;
                let user = user(account);
                Ok(Member { user, socket, session: ANY_SESSION, cookie: None, in_since: None, spoke: None })
            })
            .collect::<io::Result<_>>()?;
        Ok(Fleet { members, password: password.to_owned() })
    }

    /// All of them are out: the engine is another.
    pub fn lose(&mut self) {
        for member in &mut self.members {
            (member.cookie, member.in_since, member.spoke) = (None, None, None);
        }
    }

    /// How many are logged in.
    pub fn count(&self) -> usize {
        self.members.iter().filter(|member| member.in_since.is_some()).count()
    }

    /// Logs all in that are not, and keeps the others alive. Returns how long it took until the last one was in, or none if it
    /// took longer than `patience`.
    pub fn log_in(&mut self, manners: Manners, patience: Duration) -> io::Result<Option<Duration>> {
        let began = Instant::now();
        while self.count() < self.members.len() {
            if began.elapsed() > patience {
                return Ok(None);
            }
            self.turn(manners)?;
        }
        Ok(Some(began.elapsed()))
    }

    /// Keeps all alive for a while.
    pub fn idle(&mut self, duration: Duration) -> io::Result<()> {
        let began = Instant::now();
        while began.elapsed() < duration {
            self.turn(Manners::Own)?;
        }
        Ok(())
    }

    fn turn(&mut self, manners: Manners) -> io::Result<()> {
        let password = pad_right(&self.password).ok_or_else(|| io::Error::other("password too long"))?;
        for member in &mut self.members {
            member.receive(manners);
            member.speak(manners, password);
        }
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }
}

impl Member {
    fn receive(&mut self, manners: Manners) {
        let mut buffer = [0; 2048];
        // An error is an engine that is away: what is due is sent again.
        while let Ok(length) = self.socket.recv(&mut buffer) {
            match control_body(&buffer[..length]) {
                Some(Reply::Accepted(accepted)) => {
                    self.session = accepted.session;
                    self.in_since.get_or_insert_with(Instant::now);
                    self.spoke = None;
                }
                Some(Reply::Challenge { cookie }) if manners == Manners::Own => {
                    self.cookie = Some(cookie);
                    self.spoke = None;
                }
                Some(Reply::EndOfSession { session }) if session == self.session => self.in_since = None,
                _ => {}
            }
        }
    }

    fn speak(&mut self, manners: Manners, password: [u8; 10]) {
        let interval = if self.in_since.is_some() { HEARTBEAT_EVERY } else { REPEAT };
        if self.spoke.is_some_and(|spoke| spoke.elapsed() < interval) {
            return;
        }
        self.spoke = Some(Instant::now());
        let bytes = if self.in_since.is_some() {
            header(self.session, 1, HEARTBEAT)
        } else {
            let mut request = login_request(&self.user, "", 0);
            request.password = password;
            if manners == Manners::Own {
                request.requested_session = self.session;
            }
            control(&Request::Login { request, cookie: self.cookie })
        };
        let _ = self.socket.send(&bytes);
    }
}

/// A password's hash at the default cost, made by the engine's own command.
pub fn default_hash(pitlane: &Path, password: &str) -> io::Result<String> {
    let mut child =
        Command::new(pitlane).arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{password}")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("hash-password: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
