//! A running engine for a test or a measurement: its configuration, its start until it is ready, its metrics. It may run here or on a host of a
//! [`crate::veth::VethPair`]; it is killed, and its folder removed, on drop.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::veth::Host;

/// Password of every account.
pub const PASSWORD: &str = "demo";
/// Its hash, at the least cost that Argon2 allows: the tests are not about the hash.
pub const PASSWORD_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$WV32HnkeHd51Hyunu9rwgA$/i2OsYvymuUmDzLaHHfKceWR/3MB1UsjH7fq9m8x7oQ";
pub const ADMIN_TOKEN: &str = "admin-token";
/// How long an engine may take to be ready. Unoptimised and on a busy machine it takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What to run. `Default` is one shard over kernel UDP on loopback without a journal.
#[derive(Debug, Clone)]
pub struct Settings {
    pub port: &'static str,
    pub listen: IpAddr,
    pub base_port: u16,
    pub admin_port: u16,
    pub interface: Option<String>,
    pub shards: usize,
    pub cores: Vec<usize>,
    pub idle: &'static str,
    /// `kill`: a system call that the list has forgotten ends the engine, and with it the test. Empty: not set.
    pub sandbox: &'static str,
    pub durability: &'static str,
    /// Kept when the engine goes, for the one that recovers from it. None: a folder that goes with the engine.
    pub journal: Option<PathBuf>,
    pub accounts: usize,
    pub symbols: Vec<String>,
    /// More lines for a section: `("session", "timeout_seconds = 2")`.
    pub more: Vec<(&'static str, String)>,
    /// Of the accounts' password: [`PASSWORD`].
    pub password_hash: String,
    /// Text for the end of the file: more `[[account]]` or `[[firm]]`.
    pub after_accounts: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port: "udp",
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            base_port: free_port(),
            admin_port: free_port(),
            interface: None,
            shards: 1,
            cores: Vec::new(),
            idle: "yield",
            sandbox: "kill",
            durability: "memory",
            journal: None,
            accounts: 16,
            symbols: vec!["AAPL".to_owned()],
            more: Vec::new(),
            password_hash: PASSWORD_HASH.to_owned(),
            after_accounts: String::new(),
        }
    }
}

impl Settings {
    /// On one end of a veth pair, over AF_XDP or kernel UDP.
    pub fn on(host: &Host, port: &'static str) -> Settings {
        Settings {
            port,
            listen: IpAddr::V4(host.ipv4),
            base_port: 26_400,
            admin_port: 26_480,
            interface: (port != "udp").then(|| host.interface.clone()),
            ..Settings::default()
        }
    }

    pub fn with(mut self, section: &'static str, line: impl Into<String>) -> Settings {
        self.more.push((section, line.into()));
        self
    }

    /// The configuration file's text.
    pub fn to_toml(&self, journal: &Path) -> String {
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        let mut line = |section: &'static str, text: String| {
            let lines = sections.entry(section).or_default();
            lines.push_str(&text);
            lines.push('\n');
        };
        line("engine", format!("shards = {}\ncores = {:?}\nidle = {:?}", self.shards, self.cores, self.idle));
        if !self.sandbox.is_empty() {
            line("engine", format!("sandbox = {:?}", self.sandbox));
        }
        line(
            "network",
            format!("port = {:?}\nlisten = \"{}\"\nbase_port = {}", self.port, self.listen, self.base_port),
        );
        if let Some(interface) = &self.interface {
            line("network", format!("interface = {interface:?}"));
        }
        line("journal", format!("durability = {:?}\ndirectory = {journal:?}", self.durability));
        line("admin", format!("listen = \"127.0.0.1:{}\"\ntoken = {ADMIN_TOKEN:?}", self.admin_port));
        line("session", format!("max_sessions = {}", self.accounts.max(16)));
        for (section, text) in &self.more {
            line(section, text.clone());
        }
        let mut out = String::new();
        for (section, text) in &sections {
            let _ = write!(out, "[{section}]\n{text}\n");
        }
        for symbol in &self.symbols {
            let _ = write!(out, "[[instrument]]\nsymbol = {symbol:?}\n\n");
        }
        let _ = write!(
            out,
            "[[firm]]\nname = \"DEMO\"\n\n[[account]]\nuser = \"C00001\"\ncount = {}\nfirm = \"DEMO\"\npassword_hash = {:?}\n",
            self.accounts, self.password_hash
        );
        out.push_str(&self.after_accounts);
        out
    }

    pub fn address(&self, shard: usize) -> SocketAddr {
        SocketAddr::new(self.listen, self.base_port + u16::try_from(shard).unwrap_or(0))
    }
}

/// A running engine.
pub struct Engine {
    pub settings: Settings,
    pub process: Process,
    pub log: PathBuf,
    host: Option<Host>,
    /// Removed on drop, after the process.
    _folder: Folder,
}

impl Engine {
    /// Starts `binary run` here, and waits until it is ready.
    pub fn start(binary: &Path, settings: Settings) -> io::Result<Engine> {
        Engine::start_as(Command::new(binary), None, settings)
    }

    /// Starts it on a host.
    pub fn start_on(host: &Host, binary: &Path, settings: Settings) -> io::Result<Engine> {
        Engine::start_as(host.command(binary), Some(host.clone()), settings)
    }

    /// Starts `command run --config FILE`: the command may pin or trace the engine.
    pub fn start_as(mut command: Command, host: Option<Host>, settings: Settings) -> io::Result<Engine> {
        let folder = Folder::new("engine")?;
        let journal = settings.journal.clone().unwrap_or_else(|| folder.path.join("journal"));
        std::fs::create_dir_all(&journal)?;
        let config = folder.path.join("pitlane.toml");
        std::fs::write(&config, settings.to_toml(&journal))?;
        let log = folder.path.join("log");
        let output = std::fs::File::create(&log)?;
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let mut engine =
            Engine { settings, process: Process::new(command.spawn()?), log, host, _folder: folder };
        engine.await_ready()?;
        Ok(engine)
    }

    fn await_ready(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.process.ended()? {
                return Err(io::Error::other(format!(
                    "the engine ended at once ({status}):\n{}",
                    self.log_text()
                )));
            }
            if matches!(self.get("/ready"), Ok((200, _))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "not ready in {START_TIMEOUT:?}:\n{}",
                    self.log_text()
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn address(&self) -> SocketAddr {
        self.settings.address(0)
    }

    /// GET on the admin port: status and body.
    pub fn get(&self, path: &str) -> io::Result<(u16, String)> {
        self.http("GET", path)
    }

    /// POST with the admin token.
    pub fn post(&self, path: &str) -> io::Result<(u16, String)> {
        self.http("POST", path)
    }

    fn http(&self, method: &str, path: &str) -> io::Result<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.settings.admin_port));
        match &self.host {
            Some(host) => host.inside(|| http(address, method, path))?,
            None => http(address, method, path),
        }
    }

    /// Every metric of `/metrics`, by name with its labels.
    pub fn metrics(&self) -> io::Result<BTreeMap<String, f64>> {
        let (status, body) = self.get("/metrics")?;
        if status != 200 {
            return Err(io::Error::other(format!("/metrics answered {status}")));
        }
        Ok(body
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }

    /// Sum over all label sets of a metric whose name and labels contain every one of `parts`.
    pub fn metric(&self, parts: &[&str]) -> io::Result<f64> {
        let metrics = self.metrics()?;
        Ok(metrics
            .iter()
            .filter(|(name, _)| parts.iter().all(|part| name.contains(part)))
            .map(|(_, value)| value)
            .sum())
    }

    /// Waits until such a metric, which shards publish ten times a second, has reached `least`, and returns it; after `patience` as it is.
    pub fn await_metric(&self, parts: &[&str], least: f64, patience: Duration) -> io::Result<f64> {
        let deadline = Instant::now() + patience;
        loop {
            let value = self.metric(parts)?;
            if value >= least || Instant::now() >= deadline {
                return Ok(value);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn http(address: SocketAddr, method: &str, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: pitlane\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let status = response.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    status.map(|status| (status, body.to_owned())).ok_or_else(|| io::Error::other("not an HTTP answer"))
}

/// A folder that goes when it is dropped.
#[derive(Debug)]
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(purpose: &str) -> io::Result<Folder> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("pitlane-{purpose}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{}: not removed: {error}", self.path.display());
        }
    }
}

/// A port of the loopback that was free a moment ago, for UDP and for TCP.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        if let Ok(socket) = std::net::UdpSocket::bind("127.0.0.1:0")
            && let Ok(address) = socket.local_addr()
            && std::net::TcpListener::bind(address).is_ok()
        {
            return address.port();
        }
    }
    0
}
