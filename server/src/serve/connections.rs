//! Accepts connections, bounds them in number and time, and at the end lets them finish.
//!
//! A connection is in one of four phases. It is timed in all but `Working`, where the request's
//! own deadline counts, and whenever its client takes no more of an answer. At the limit of
//! connections the one that has rested for longest is closed to make room, so that clients which
//! hold connections without need (slow heads, slow bodies, slow readers, idlers) cannot keep
//! others out. Where none rests, new ones are answered 503 without becoming a connection of ours.

use std::collections::HashMap;
use std::future::pending;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::metrics::Metrics;
use super::settings::ServeArgs;

/// A connection younger in its phase than this is not closed to make room, nor at the end: it may be
/// about to ask.
const SETTLED: Duration = Duration::from_secs(1);

/// How often a connection that may be about to ask is looked at when the end has come.
const LOOK_WHETHER_IT_ASKS: Duration = Duration::from_millis(20);

/// How long a look for room that found none counts.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long a farewell waits for the request that it answers.
const FIRST_WORD: Duration = Duration::from_millis(250);

/// How long a farewell may take in all.
const FAREWELL: Duration = Duration::from_millis(500);

/// Farewells that wait for their clients at the same time; in a flood the others do not wait.
pub(crate) const FAREWELLS_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request begun.
    Idle,
    /// Some of a request's head has come, or the TLS handshake is going on.
    Head,
    /// The head has come, the body not all of it.
    Body,
    /// The request is worked on or its answer is being sent.
    Working,
}

/// What is known about one connection.
pub(crate) struct Connection {
    pub(crate) peer: SocketAddr,
    state: Mutex<State>,
    leave: Notify,
}

#[derive(Clone, Copy)]
struct State {
    phase: Phase,
    since: Instant,
    /// Something was sent since this request began.
    answering: bool,
    /// Since when the client takes no more of its answer.
    stalled: Option<Instant>,
    /// Chosen to make room.
    leaving: bool,
}

impl Connection {
    fn new(peer: SocketAddr, phase: Phase) -> Arc<Self> {
        let since = Instant::now();
        let state = State { phase, since, answering: false, stalled: None, leaving: false };
        Arc::new(Self { peer, state: Mutex::new(state), leave: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, next: Phase) {
        self.state().enter(next);
    }

    fn pass(&self, from: Phase, next: Phase) {
        let mut state = self.state();
        if state.phase == from {
            state.enter(next);
        }
    }

    fn wrote(&self, at_once: bool) {
        let mut state = self.state();
        state.answering = true;
        state.stalled = if at_once { None } else { state.stalled.or_else(|| Some(Instant::now())) };
    }

    /// No request has begun, but one may be on its way: the client has just come, or has just been
    /// answered.
    fn may_be_asking(&self) -> bool {
        let state = self.state();
        state.phase == Phase::Idle && state.since.elapsed() < SETTLED
    }

    /// A stream of lines says that it is alive.
    pub(crate) fn touch(&self) {
        self.pass(Phase::Body, Phase::Body);
    }
}

impl State {
    fn enter(&mut self, next: Phase) {
        self.answering &= next != Phase::Head;
        (self.phase, self.since) = (next, Instant::now());
    }

    /// Since when nothing is done for this connection; `None` while it is worked on.
    fn resting(&self) -> Option<Instant> {
        match self.phase {
            _ if self.leaving => None,
            Phase::Working => self.stalled,
            _ => Some(self.since),
        }
    }
}

/// The open connections of all listeners.
pub(crate) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// Until when no room is looked for: in a flood, each refusal would look at all connections.
    full_until: Mutex<Instant>,
    next: AtomicU64,
    most: usize,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        let full_until = Mutex::new(Instant::now());
        Self { open: Mutex::default(), full_until, next: AtomicU64::new(0), most }
    }

    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes a connection in; `None` when there is no room and none can be made.
    fn enter(&'static self, connection: &Arc<Connection>, metrics: &Metrics) -> Option<Entered> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= self.most {
            let mut full_until = self.full_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            if now < *full_until {
                return None;
            }
            let oldest = open
                .values()
                .filter_map(|other| Some((other.state().resting()?, other)))
                .min_by_key(|(since, _)| *since)
                .filter(|(since, _)| now.duration_since(*since) >= SETTLED);
            let Some((_, oldest)) = oldest else {
                *full_until = now + LOOK_AGAIN;
                return None;
            };
            oldest.state().leaving = true;
            oldest.leave.notify_one();
            metrics.connections_evicted.inc();
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(id, connection.clone());
        Some(Entered { id, connections: self })
    }
}

/// Removes a connection from the open ones when it ends.
struct Entered {
    id: u64,
    connections: &'static Connections,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.id);
    }
}

/// One address to listen on, and what answers there.
pub(crate) struct Listener {
    pub(crate) tcp: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) routes: Router,
    pub(crate) connections: &'static Connections,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: &'static ServeArgs,
}

/// How the connections ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    Completely,
    CutOff,
}

impl Listener {
    /// Serves until `stop`. From then on new connections are refused, and those under way have
    /// the shutdown timeout to end.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) -> Drained {
        let (stopping, stopped) = watch::channel(false);
        let patience = self.settings.shutdown_timeout;
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = self.tcp.accept() => match accepted {
                    Ok((stream, peer)) => self.accepted(stream, peer, stopped.clone()),
                    // Out of file descriptors, most likely: connections must end first.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                },
            }
        }
        drop((self, stopped));
        let _ = stopping.send(true);
        match timeout(patience, stopping.closed()).await {
            Ok(()) => Drained::Completely,
            Err(_) => Drained::CutOff,
        }
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr, stopped: watch::Receiver<bool>) {
        // Answers are small and complete: waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let phase = if self.tls.is_some() { Phase::Head } else { Phase::Idle };
        let connection = Connection::new(peer, phase);
        let Some(entered) = self.connections.enter(&connection, &self.metrics) else {
            self.metrics.connections_refused.inc();
            self.turn_away(stream);
            return;
        };
        let (routes, settings) = (self.routes.clone(), self.settings);
        match self.tls.clone() {
            None => {
                tokio::spawn(async move {
                    let _entered = entered;
                    serve_one(stream, connection, routes, settings, stopped).await;
                });
            }
            Some(tls) => {
                tokio::spawn(async move {
                    let _entered = entered;
                    if let Ok(Ok(stream)) =
                        timeout(settings.header_timeout, tls.accept(stream)).await
                    {
                        connection.enter(Phase::Idle);
                        serve_one(stream, connection, routes, settings, stopped).await;
                    }
                });
            }
        }
    }

    /// Tells a client for which there is no room to come back.
    fn turn_away(&self, stream: TcpStream) {
        match (FAREWELLS.try_acquire(), self.tls.clone()) {
            (Ok(leave), None) => {
                tokio::spawn(async move {
                    let _leave = leave;
                    let _ = timeout(FAREWELL, farewell(stream, BUSY)).await;
                });
            }
            (Ok(leave), Some(tls)) => {
                tokio::spawn(async move {
                    let _leave = leave;
                    let encrypted = async { farewell(tls.accept(stream).await?, BUSY).await };
                    let _ = timeout(FAREWELL, encrypted).await;
                });
            }
            (Err(_), None) => {
                let _ = farewell_at_once(stream, BUSY);
            }
            // Handshakes for a flood would cost more than what the flood asks for.
            (Err(_), Some(_)) => {}
        }
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    connection: Arc<Connection>,
    routes: Router,
    settings: &'static ServeArgs,
    mut stopped: watch::Receiver<bool>,
) {
    let watched = Watched { stream, connection: connection.clone() };
    let answering = connection.clone();
    let ending = stopped.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (routes, connection, ending) = (routes.clone(), answering.clone(), ending.clone());
        connection.enter(Phase::Body);
        let received = OnDrop(connection.clone(), Phase::Body, Phase::Working);
        let mut request = request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = &received;
                frame
            }))
        });
        request.extensions_mut().insert(connection.clone());
        async move {
            let response = routes.oneshot(request).await;
            let sent = OnDrop(connection, Phase::Working, Phase::Idle);
            response.map(|mut response| {
                // Else the client might ask again while the connection is being closed.
                if *ending.borrow() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                response.map(|body| {
                    body.map_frame(move |frame| {
                        let _ = &sent;
                        frame
                    })
                })
            })
        }
    });
    let mut http = http1::Builder::new();
    // Our own clock below also answers.
    http.header_read_timeout(None);
    let mut serving = http.serve_connection(TokioIo::new(watched), service);
    let mut clock = interval((settings.header_timeout / 2).max(Duration::from_millis(50)));
    let mut stopping = false;
    let last_words = loop {
        tokio::select! {
            // An error is the client's: it went away, or spoke no HTTP.
            _ = &mut serving => break None,
            () = connection.leave.notified() => break Some(BUSY),
            () = stop(&mut stopped, stopping, &connection) => {
                stopping = true;
                Pin::new(&mut serving).graceful_shutdown();
            }
            _ = clock.tick() => {
                let state = *connection.state();
                let reached = |limit| state.since.elapsed() >= limit;
                match state.phase {
                    _ if state.stalled.is_some_and(|at| at.elapsed() >= settings.body_timeout) => {
                        break None;
                    }
                    Phase::Head if reached(settings.header_timeout) => break Some(HEAD_TOO_SLOW),
                    Phase::Idle if reached(settings.idle_timeout) => break None,
                    _ => {}
                }
            }
        }
    };
    let Some(words) = last_words else { return };
    let state = *connection.state();
    let mut stream = serving.into_parts().io.into_inner().stream;
    let has_asked = match state.phase {
        // A request may have come just now.
        Phase::Idle => stream.read_u8().now_or_never().is_some_and(|byte| byte.is_ok()),
        // Words in the midst of an answer would be taken for a part of it.
        _ => !state.answering,
    };
    if has_asked {
        let farewell = answer_and_close(stream, words);
        if let Ok(_leave) = FAREWELLS.try_acquire() {
            let _ = timeout(FAREWELL, farewell).await;
        } else {
            let _ = farewell.now_or_never();
        }
    }
}

/// Waits for the stop, once, and for a request that may be on its way.
async fn stop(stopped: &mut watch::Receiver<bool>, known: bool, connection: &Connection) {
    if known || stopped.wait_for(|stop| *stop).await.is_err() {
        pending::<()>().await;
    }
    while connection.may_be_asking() {
        sleep(LOOK_WHETHER_IT_ASKS).await;
    }
}

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\ncontent-length: 46\r\nconnection: close\r\n\r\n\
    {\"code\":501,\"title\":\"overloaded\",\"status\":503}";
const HEAD_TOO_SLOW: &str = "HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/problem+json\r\ncontent-length: 57\r\nconnection: close\r\n\r\n\
    {\"code\":507,\"title\":\"request took too long\",\"status\":408}";

/// Bounds the connections that are open besides those counted.
static FAREWELLS: Semaphore = Semaphore::const_new(FAREWELLS_MAX);

/// Answers a new connection that no request is answered on, and closes it.
async fn farewell(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    words: &str,
) -> std::io::Result<()> {
    match timeout(FIRST_WORD, stream.read_u8()).await {
        Ok(Err(gone)) => Err(gone),
        _ => answer_and_close(stream, words).await,
    }
}

async fn answer_and_close(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    words: &str,
) -> std::io::Result<()> {
    stream.write_all(words.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and may destroy the answer.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// As [`farewell`], with what has come so far and without waiting for anything: some system calls
/// and no memory, so that a flood of any size can be told.
fn farewell_at_once(stream: TcpStream, words: &str) -> std::io::Result<()> {
    let mut stream = stream.into_std()?;
    let mut rest = [0; 4096];
    for _ in 0..16 {
        if !stream.read(&mut rest).is_ok_and(|bytes| bytes == rest.len()) {
            break;
        }
    }
    stream.write_all(words.as_bytes())?;
    stream.shutdown(Shutdown::Write)
}

/// Changes the phase when what it belongs to ends.
struct OnDrop(Arc<Connection>, Phase, Phase);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // A request whose body nobody read goes from `Body` straight to the end.
        if self.2 == Phase::Idle {
            self.0.pass(Phase::Body, Phase::Working);
        }
        self.0.pass(self.1, self.2);
    }
}

/// A stream that notices the first byte of a request.
struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.pass(Phase::Idle, Phase::Head);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.connection.wrote(result.is_ready());
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.connection.wrote(result.is_ready());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
