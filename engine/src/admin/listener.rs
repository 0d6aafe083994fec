//! The admin server's listener: connections with bounded places and bounded time, as axum's own neither counts nor times them. Not what is
//! asked over them.

use crate::doors::{LOGIN_TIMEOUT, Place, Places};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Connections at once, and of one source: a few scrapers, probes and operators. An answer is made from memory in a millisecond.
const MAX_CONNECTIONS: usize = 64;
const MAX_PER_SOURCE: usize = 16;
/// From a request's first byte (or the connection's start) to its answer, and for each step of a client that takes the answer.
const REQUEST_TIMEOUT: Duration = LOGIN_TIMEOUT;
/// Between two requests of a connection: longer than scrapers usually pause.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

pub struct AdminListener {
    socket: TcpListener,
    places: Arc<Places>,
}

impl AdminListener {
    pub fn new(socket: TcpListener) -> Self {
        let places =
            Places::new("admin".to_owned(), "64 in all, 16 of a source", MAX_CONNECTIONS, MAX_PER_SOURCE);
        Self { socket, places }
    }
}

impl Listener for AdminListener {
    type Io = TimedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TimedStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, from)) => {
                    if let Some(place) = self.places.admit(from) {
                        return (TimedStream::new(stream, place), from);
                    }
                }
                Err(error) => sleep(self.places.after_failure(&error)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker(pub SocketAddr);

impl Connected<IncomingStream<'_, AdminListener>> for Asker {
    fn connect_info(stream: IncomingStream<'_, AdminListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// A connection that ends by itself when its client takes too long: no byte that it sends gives it more time, only a whole request does.
pub struct TimedStream {
    stream: TcpStream,
    deadline: Pin<Box<Sleep>>,
    /// No part of a request has come since the last answer.
    idle: bool,
    _place: Place,
}

impl TimedStream {
    fn new(stream: TcpStream, place: Place) -> Self {
        Self { stream, deadline: Box::pin(sleep(REQUEST_TIMEOUT)), idle: false, _place: place }
    }

    fn allow(&mut self, time: Duration) {
        self.deadline.set(sleep_until(Instant::now() + time));
    }

    /// Nothing moves: an error once the time is over.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => {
                if std::mem::take(&mut self.idle) {
                    self.allow(REQUEST_TIMEOUT);
                } else if self.deadline.is_elapsed() {
                    // Whoever sends all the time is never waited for: the time is over all the same.
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.wait(context),
            done @ Poll::Ready(_) => done,
        }
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(Ok(written)) => {
                // An answer leaves, so the request was whole.
                self.idle = true;
                self.allow(IDLE_TIMEOUT);
                Poll::Ready(Ok(written))
            }
            Poll::Pending => self.wait(context),
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
