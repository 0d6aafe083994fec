//! Market data over SoupBinTCP: the whole feed from any sequence on, and GLIMPSE snapshots. A thread for each connection,
//! few of them; they look at the feed thread's state and never at the shard.

use super::allowance::ProvenSources;
use super::deep;
use super::state::Feed;
use crate::accounts::verify::{Door, Verdict};
use crate::doors::{Place, Places};
use crate::history::source::LogFiles;
use crate::soup::{Connection, SoupError, push_sequenced};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::itch::GlimpseSnapshot;
use wire::soupbintcp::{ANY_SESSION, LoginAccepted, LoginRequest, Packet, login_reject_reason};

/// Connections of one service, and those of one source: each has a thread. The next is closed at once.
const MAX_CONNECTIONS: usize = 32;
const MAX_PER_SOURCE: usize = 8;
/// Replays from the journal at once over all connections of a service: each has a shard's tables.
const MAX_DEEP_REPLAYS: usize = 2;
/// Bytes of frames written at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// How often a listener looks whether it should stop, and a replay whether there is more.
const POLL: Duration = Duration::from_millis(20);
/// How long a client may be kept waiting while the feed's past is read from the journal.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may keep the connection of a snapshot that it has.
const LINGER: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Services {
    pub feed: Feed,
    pub journal: Option<LogFiles>,
    pub accounts: Door,
    pub proven: ProvenSources,
    pub stop: Arc<AtomicBool>,
}

/// One of the few replays from the journal, until it is dropped.
struct DeepReplay(Arc<AtomicUsize>);

impl DeepReplay {
    fn begin(running: &Arc<AtomicUsize>) -> Option<Self> {
        running
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < MAX_DEEP_REPLAYS).then_some(count + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(running)))
    }
}

impl Drop for DeepReplay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Services {
    /// Listens for GLIMPSE clients.
    pub fn snapshots(self, address: SocketAddr) -> io::Result<JoinHandle<()>> {
        self.listen("glimpse", address, |services, connection| services.snapshot(connection))
    }

    /// Listens for clients that want the feed itself.
    pub fn replays(self, address: SocketAddr) -> io::Result<JoinHandle<()>> {
        let deep = Arc::new(AtomicUsize::new(0));
        self.listen("feed-replay", address, move |services, connection| services.replay(connection, &deep))
    }

    fn listen<F>(self, name: &'static str, address: SocketAddr, serve: F) -> io::Result<JoinHandle<()>>
    where
        F: Fn(&Self, &mut Connection) -> Result<(), SoupError> + Clone + Send + 'static,
    {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        tracing::info!(%address, "listening: {name}");
        let places = Places::new(
            format!("{name} {address}"),
            "32 in all, 8 of a source",
            MAX_CONNECTIONS,
            MAX_PER_SOURCE,
        );
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while !self.stop.load(Ordering::Acquire) {
                match listener.accept() {
                    Ok((stream, from)) => {
                        if let Some(place) = places.admit(from) {
                            self.serve(name, stream, from, place, serve.clone());
                        }
                    }
                    // No connection yet, or one that was gone before it was taken, or no descriptor.
                    Err(error) => std::thread::sleep(POLL.max(places.after_failure(&error))),
                }
            }
        })
    }

    fn serve<F>(&self, name: &'static str, stream: TcpStream, from: SocketAddr, place: Place, serve: F)
    where
        F: Fn(&Self, &mut Connection) -> Result<(), SoupError> + Send + 'static,
    {
        let services = self.clone();
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _place = place;
            let ended = Connection::server(stream).map_err(SoupError::from).and_then(|mut connection| {
                let ended = serve(&services, &mut connection);
                connection.end();
                ended
            });
            match ended {
                Ok(()) | Err(SoupError::Closed) => tracing::debug!(%from, "{name}: done"),
                Err(error) => tracing::info!(%from, %error, "{name}: connection ended"),
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "{name}: no thread for a connection");
        }
    }

    /// Takes the login. Any account may see market data: all of it is public to the venue's participants.
    fn admit(&self, connection: &mut Connection) -> Result<LoginRequest, SoupError> {
        let request = connection.await_login()?;
        let source = connection.source()?;
        match self.accounts.check(source, request.username, &request.password) {
            Verdict::Correct(_) => self.proven.add(source),
            Verdict::Wrong | Verdict::Limited => {
                return Err(self.refuse(connection, login_reject_reason::NOT_AUTHORIZED));
            }
        }
        let deadline = Instant::now() + CATCH_UP_TIMEOUT;
        while self.feed.lock().catching_up {
            if Instant::now() > deadline {
                return Err(self.refuse(connection, login_reject_reason::SESSION_NOT_AVAILABLE));
            }
            std::thread::sleep(POLL);
        }
        let session = self.feed.lock().session;
        if request.requested_session != ANY_SESSION && request.requested_session != session {
            return Err(self.refuse(connection, login_reject_reason::SESSION_NOT_AVAILABLE));
        }
        Ok(request)
    }

    fn refuse(&self, connection: &mut Connection, reason: u8) -> SoupError {
        match connection.send(&Packet::LoginRejected { reason }) {
            Ok(()) => SoupError::Rejected(reason),
            Err(error) => error,
        }
    }

    fn snapshot(&self, connection: &mut Connection) -> Result<(), SoupError> {
        self.admit(connection)?;
        let mut frames = Vec::new();
        let (session, sequence) = {
            let state = self.feed.lock();
            if state.broken.is_some() {
                drop(state);
                return Err(self.refuse(connection, login_reject_reason::SESSION_NOT_AVAILABLE));
            }
            state.books.snapshot(|message| push_sequenced(message, &mut frames));
            (state.session, state.next())
        };
        let mut end = [0; GlimpseSnapshot::LENGTH];
        GlimpseSnapshot { sequence }.write(&mut end);
        push_sequenced(&end, &mut frames);
        connection.send(&Packet::LoginAccepted(LoginAccepted { session, sequence: 1 }))?;
        for chunk in frames.chunks(CHUNK_BYTES) {
            connection.send_frames(chunk)?;
        }
        let deadline = Instant::now() + LINGER;
        while Instant::now() < deadline && !self.stop.load(Ordering::Acquire) {
            if let Some(Packet::LogoutRequest) = connection.receive(POLL)? {
                return Ok(());
            }
        }
        connection.send(&Packet::EndOfSession)
    }

    fn replay(&self, connection: &mut Connection, deep: &Arc<AtomicUsize>) -> Result<(), SoupError> {
        let request = self.admit(connection)?;
        let (session, first, next) = {
            let state = self.feed.lock();
            (state.session, state.history.first(), state.next())
        };
        let mut at = if request.requested_sequence == 0 { next } else { request.requested_sequence };
        if at > next || (at < first && self.journal.is_none()) {
            return Err(self.refuse(connection, login_reject_reason::SESSION_NOT_AVAILABLE));
        }
        connection.send(&Packet::LoginAccepted(LoginAccepted { session, sequence: at }))?;
        let mut frames = Vec::with_capacity(CHUNK_BYTES + 256);
        loop {
            frames.clear();
            let (first, ended) = {
                let state = self.feed.lock();
                while let Some(message) = state.history.message(at)
                    && frames.len() < CHUNK_BYTES
                {
                    push_sequenced(message, &mut frames);
                    at += 1;
                }
                (state.history.first(), state.ended && at == state.next())
            };
            if !frames.is_empty() {
                connection.send_frames(&frames)?;
                continue;
            }
            if at < first {
                at = self.replay_deep(connection, at, deep)?;
                continue;
            }
            if ended || self.stop.load(Ordering::Acquire) {
                return connection.send(&Packet::EndOfSession);
            }
            if let Some(Packet::LogoutRequest) = connection.receive(POLL)? {
                return Ok(());
            }
        }
    }

    /// Sends what only the journal has, from `at` on; returns where it ended. A place must be free.
    fn replay_deep(
        &self,
        connection: &mut Connection,
        at: u64,
        deep: &Arc<AtomicUsize>,
    ) -> Result<u64, SoupError> {
        let (Some(journal), Some(_place)) = (&self.journal, DeepReplay::begin(deep)) else {
            // Heartbeats go on while it waits for its turn; without a journal nothing will ever come.
            if self.journal.is_none() {
                return Err(SoupError::Closed);
            }
            connection.receive(POLL)?;
            return Ok(at);
        };
        let mut next = at;
        let mut frames = Vec::with_capacity(CHUNK_BYTES + 256);
        let mut failure = None;
        let mut send = |frames: &mut Vec<u8>| {
            let sent = connection.send_frames(frames);
            frames.clear();
            sent.map_err(|error| failure = Some(error)).is_ok()
        };
        let replayed = deep::replay(journal, at, |_, message| {
            push_sequenced(message, &mut frames);
            next += 1;
            if frames.len() >= CHUNK_BYTES && (!send(&mut frames) || self.stop.load(Ordering::Acquire)) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let _sent = send(&mut frames);
        if let Some(error) = failure {
            return Err(error);
        }
        match replayed {
            Ok(_) if next > at => Ok(next),
            Ok(_) => Err(SoupError::Closed),
            Err(error) => {
                tracing::warn!(at, %error, "the feed cannot be replayed from the journal");
                Err(SoupError::Closed)
            }
        }
    }
}
