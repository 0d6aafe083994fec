//! A NATS server of a test's own, and just enough of the NATS protocol to look into its streams: not the client library that the engine uses,
//! so that what the two agree on is what the server has.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::free_port;
use crate::process::Process;

/// The server recovers its streams at a start; on a busy machine that takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
const STREAM_API: &str = "$JS.API.STREAM.INFO";

/// `nats-server`, where Debian puts it. `None`: not installed.
pub fn program() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("nats-server"))
        .find(|program| program.is_file())
}

/// A running server with JetStream, on loopback.
pub struct Server {
    program: PathBuf,
    folder: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Server {
    /// Keeps its streams in `folder`.
    pub fn start(program: &Path, folder: &Path) -> io::Result<Server> {
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let mut server = Server { program, folder, port: free_port(), process: None };
        server.start_again()?;
        Ok(server)
    }

    pub fn start_again(&mut self) -> io::Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["--addr", "127.0.0.1", "--port", &self.port.to_string(), "--jetstream", "--store_dir"]);
        command.arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::new(command.spawn()?));
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) =
            self.connect().and_then(|mut client| client.request("$JS.API.INFO", &json!({})))
        {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it in order, or as a crash would.
    pub fn stop(&mut self, crash: bool) -> io::Result<()> {
        match &mut self.process {
            Some(process) if crash => process.crash().map(|_| ()),
            Some(process) => process.terminate(PATIENCE).map(|_| ()),
            None => Ok(()),
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn connect(&self) -> io::Result<Client> {
        Client::connect(([127, 0, 0, 1], self.port).into())
    }

    /// Messages that a stream has; 0 if there is no such stream.
    pub fn count(&self, stream: &str) -> io::Result<u64> {
        let info = self.connect()?.request(&format!("{STREAM_API}.{stream}"), &json!({}))?;
        Ok(info.pointer("/state/messages").and_then(Value::as_u64).unwrap_or(0))
    }

    /// Everything in a stream, from its first message on.
    pub fn messages(&self, stream: &str) -> io::Result<Vec<Message>> {
        let count = self.count(stream)?;
        let mut client = self.connect()?;
        // Of this connection alone: an earlier consumer goes on for a while after its reader has gone.
        let delivery = format!("delivery.{}", client.stream.get_ref().local_addr()?.port());
        client.subscribe(&delivery, 2)?;
        let config = json!({"deliver_subject": delivery, "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant"});
        let consumer = json!({"stream_name": stream, "config": config});
        client.publish(
            &format!("$JS.API.CONSUMER.CREATE.{stream}"),
            Some("answers"),
            &consumer.to_string(),
        )?;
        let mut messages = Vec::new();
        while (messages.len() as u64) < count {
            let (sid, message) = client.next()?;
            match sid {
                2 => messages.push(message),
                _ if message.payload.get("error").is_some() => {
                    return Err(io::Error::other(message.payload.to_string()));
                }
                _ => {}
            }
        }
        Ok(messages)
    }

    /// Puts a message of somebody else's into a stream, and returns where it is.
    pub fn publish(&self, subject: &str) -> io::Result<u64> {
        let taken = self.connect()?.request(subject, &json!({}))?;
        taken.pointer("/seq").and_then(Value::as_u64).ok_or_else(|| io::Error::other(taken.to_string()))
    }

    /// Removes all messages of a stream, which keeps counting.
    pub fn purge(&self, stream: &str) -> io::Result<()> {
        self.connect()?.request(&format!("$JS.API.STREAM.PURGE.{stream}"), &json!({})).map(|_| ())
    }
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub subject: String,
    pub headers: String,
    pub payload: Value,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// A connection with a subscription to `answers`, number 1.
    fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut client = Client { stream: BufReader::new(stream) };
        client.line()?;
        client.write("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")?;
        client.subscribe("answers", 1)?;
        Ok(client)
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    fn subscribe(&mut self, subject: &str, sid: u32) -> io::Result<()> {
        self.write(&format!("SUB {subject} {sid}\r\n"))
    }

    fn publish(&mut self, subject: &str, reply: Option<&str>, payload: &str) -> io::Result<()> {
        let reply = reply.unwrap_or_default();
        self.write(&format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len()))
    }

    fn request(&mut self, subject: &str, payload: &Value) -> io::Result<Value> {
        self.publish(subject, Some("answers"), &payload.to_string())?;
        let (_, answer) = self.next()?;
        if answer.headers.contains("503") {
            return Err(io::Error::other(format!("{subject}: no JetStream")));
        }
        Ok(answer.payload)
    }

    /// The next message, and the number of its subscription.
    fn next(&mut self) -> io::Result<(u32, Message)> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
            let (headers, total) = match words.first() {
                Some(&"MSG") => (0, number(words.last())),
                Some(&"HMSG") => (number(words.get(words.len() - 2)), number(words.last())),
                Some(&"PING") => {
                    self.write("PONG\r\n")?;
                    continue;
                }
                Some(&"-ERR") => return Err(io::Error::other(line)),
                _ => continue,
            };
            let mut bytes = vec![0; total + 2];
            self.stream.read_exact(&mut bytes)?;
            let payload = &bytes[headers..total];
            let message = Message {
                subject: words.get(1).map_or_else(String::new, |&subject| subject.to_owned()),
                headers: String::from_utf8_lossy(&bytes[..headers]).into_owned(),
                payload: if payload.is_empty() { Value::Null } else { serde_json::from_slice(payload)? },
            };
            return Ok((number(words.get(2)) as u32, message));
        }
    }
}
