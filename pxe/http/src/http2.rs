//! HTTP/2, which only comes by TLS: hyper does the protocol, the rules are those of HTTP/1.1.
//!
//! A stream that waits for its turn gets its head at once and a few bytes now and then, as on HTTP/1.1: no firmware
//! speaks HTTP/2, but installers and proxies give up after a silence too.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderName, HeaderValue},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

use crate::{
    Grant, Method, Request, What, Why,
    connection::TRICKLE_BYTES,
    gate::Event,
    request::{HEADER_BYTES_MAX, plain},
    respond::{Answer, Status, answer, content_range},
    server::Shared,
    turnstile::Pass,
};

/// Streams at once in one connection: an installer fetches a few files beside each other.
const STREAMS_MAX: u32 = 8;
/// One frame of a body as we make it; HTTP/2 cuts it as the client wishes.
const CHUNK_BYTES: usize = 64 << 10;
/// What one stream may have waiting for its client.
const SEND_BYTES_MAX: usize = 256 << 10;

/// Whether the client chose it.
pub(crate) fn chosen(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

pub(crate) async fn serve(stream: TlsStream<TcpStream>, from: SocketAddr, shared: Arc<Shared>) {
    let active = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let response = respond(&request, from, &shared, &active);
        async move { Ok::<_, Infallible>(response) }
    });
    let header_bytes = u32::try_from(HEADER_BYTES_MAX).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(header_bytes)
        .max_send_buf_size(SEND_BYTES_MAX)
        .keep_alive_interval(shared.limits.header)
        .keep_alive_timeout(shared.limits.header)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut idle = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%from, %error, "boot HTTP/2 connection ended");
                }
                return;
            }
            // Answering pings is no use of a connection: two looks without a stream end it.
            () = sleep(shared.limits.header) => {
                let quiet = active.load(Ordering::Relaxed) == 0;
                if quiet && idle {
                    connection.as_mut().graceful_shutdown();
                }
                idle = quiet;
            }
        }
    }
}

fn respond(
    request: &hyper::Request<Incoming>,
    from: SocketAddr,
    shared: &Arc<Shared>,
    active: &Arc<AtomicUsize>,
) -> Response<Sending> {
    let refused = |why| {
        shared.gate.tell(Event { from, tag: None, what: What::Refused(why) });
        empty(&Status::of(why))
    };
    if !request.body().is_end_stream() {
        return refused(Why::Body);
    }
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    let Some(path) = plain(path) else { return refused(Why::Path) };
    let once = |name| one(request.headers(), name);
    let request = Request {
        method: match *request.method() {
            hyper::Method::GET => Method::Get,
            hyper::Method::HEAD => Method::Head,
            _ => Method::Other,
        },
        path,
        keep_alive: true,
        range: once(header::RANGE),
        if_range: once(header::IF_RANGE),
        if_none_match: once(header::IF_NONE_MATCH),
    };
    let (grant, part, first, bytes, body) = match answer(&request, from, &*shared.gate) {
        Answer::Empty(status) => return empty(&status),
        Answer::Content { grant, part, first, bytes, body } => (grant, part, first, bytes, body),
    };
    let pass = if body && bytes > shared.limits.small_bytes_max {
        let Some(pass) = shared.turnstile.arrive(from.ip()) else {
            let what = What::Refused(Why::QueueFull);
            shared.gate.tell(Event { from, tag: Some(grant.tag), what });
            return empty(&Status::Busy { retry_seconds: shared.limits.retry_seconds });
        };
        Some(pass)
    } else {
        None
    };
    let mut response = Response::new(Sending::Nothing);
    *response.status_mut() = if part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_LENGTH, &bytes.to_string());
    insert(headers, header::CONTENT_TYPE, grant.content_type);
    insert(headers, header::ACCEPT_RANGES, "bytes");
    insert(headers, header::ETAG, &grant.content.tag);
    if part {
        insert(headers, header::CONTENT_RANGE, &content_range(first, bytes, grant.content.length()));
    }
    if body {
        *response.body_mut() = Sending::Some(Stream::start(grant, from, first, bytes, pass, shared, active));
    }
    response
}

fn one(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?.trim().to_owned();
    values.next().is_none().then_some(value)
}

fn empty(status: &Status) -> Response<Sending> {
    let mut response = Response::new(Sending::Nothing);
    *response.status_mut() = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::BAD_REQUEST);
    if let Some((name, value)) = status.header()
        && let Ok(name) = HeaderName::try_from(name)
    {
        insert(response.headers_mut(), name, &value);
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// A body.
enum Sending {
    Nothing,
    Some(Stream),
}

/// One body on its way; tells how far it came.
struct Stream {
    shared: Arc<Shared>,
    grant: Grant,
    from: SocketAddr,
    first: u64,
    bytes: u64,
    at: u64,
    active: Arc<AtomicUsize>,
    progress: Arc<Mutex<Progress>>,
    /// Until a stream that waits gets its next few bytes.
    pause: Option<Pin<Box<Sleep>>>,
}

struct Progress {
    /// None for small answers, and after a stall.
    pass: Option<Pass>,
    /// It lost its place and must line up again.
    stalled: bool,
    /// Since the last look.
    moved: u64,
}

impl Stream {
    fn start(
        grant: Grant,
        from: SocketAddr,
        first: u64,
        bytes: u64,
        pass: Option<Pass>,
        shared: &Arc<Shared>,
        active: &Arc<AtomicUsize>,
    ) -> Self {
        active.fetch_add(1, Ordering::Relaxed);
        let place = pass.as_ref().map_or(0, |pass| pass.place);
        let watched = pass.is_some();
        let progress = Arc::new(Mutex::new(Progress { pass, stalled: false, moved: 0 }));
        let stream = Self {
            shared: Arc::clone(shared),
            grant,
            from,
            first,
            bytes,
            at: 0,
            active: Arc::clone(active),
            progress,
            pause: None,
        };
        stream.tell(What::Started { first, bytes, of: stream.grant.content.length() });
        if place > 0 {
            stream.tell(What::Queued { place });
        }
        if watched {
            tokio::spawn(watch(
                Arc::downgrade(&stream.progress),
                shared.limits.stall,
                shared.limits.stall_bytes_min,
            ));
        }
        stream
    }

    /// Ready when it may send.
    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut progress = lock(&self.progress);
        if progress.stalled {
            let pass = self.shared.turnstile.arrive(self.from.ip()).ok_or(io::ErrorKind::QuotaExceeded)?;
            progress.pass = Some(pass);
            progress.stalled = false;
            self.tell(What::Stalled { at: self.at });
        }
        if let Some(pass) = &mut progress.pass
            && pass.waits()
        {
            ready!(pass.poll_turn(cx));
            self.tell(What::Admitted);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready with how much it may send now.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(turn) = self.poll_turn(cx) {
            self.pause = None;
            return Poll::Ready(turn.map(|()| CHUNK_BYTES));
        }
        let trickle = self.shared.limits.trickle;
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(trickle)));
        ready!(pause.as_mut().poll(cx));
        pause.as_mut().reset(Instant::now() + trickle);
        // The last byte is for the turn itself, so that the end of a transfer is where it seems to be.
        let little = self.bytes.saturating_sub(self.at).saturating_sub(1).min(TRICKLE_BYTES);
        if little == 0 {
            // Asked again at its turn, which has its waker by now.
            return Poll::Pending;
        }
        Poll::Ready(usize::try_from(little).map_err(io::Error::other))
    }

    fn chunk(&mut self, most: usize) -> io::Result<Bytes> {
        let left = self.bytes.saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(most);
        let mut chunk = vec![0; count];
        let filled = self.grant.content.read_at(&mut chunk, self.first.saturating_add(self.at))?;
        if filled == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !self.grant.content.unchanged() {
            self.tell(What::Refused(Why::Changed));
            return Err(io::Error::other("the file changed while it was sent"));
        }
        chunk.truncate(filled);
        let moved = u64::try_from(filled).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(moved);
        let mut progress = lock(&self.progress);
        progress.moved = progress.moved.saturating_add(moved);
        Ok(chunk.into())
    }

    fn tell(&self, what: What) {
        self.shared.gate.tell(Event { from: self.from, tag: Some(self.grant.tag), what });
    }
}

/// Takes the place of a stream whose client does not read, which is never asked for more and so cannot see it itself.
async fn watch(progress: Weak<Mutex<Progress>>, window: std::time::Duration, bytes_min: u64) {
    loop {
        sleep(window).await;
        let Some(progress) = progress.upgrade() else { return };
        let mut progress = lock(&progress);
        let holds = progress.pass.as_ref().is_some_and(|pass| !pass.waits());
        if holds && progress.moved < bytes_min {
            progress.pass = None;
            progress.stalled = true;
        }
        progress.moved = 0;
    }
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Nothing => Poll::Ready(None),
            Self::Some(stream) if stream.at >= stream.bytes => Poll::Ready(None),
            Self::Some(stream) => {
                let most = ready!(stream.poll_room(cx))?;
                Poll::Ready(Some(stream.chunk(most).map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Some(stream) => stream.at >= stream.bytes,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Some(stream) => SizeHint::with_exact(stream.bytes.saturating_sub(stream.at)),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        let whole = self.at >= self.bytes;
        let (first, bytes) = (self.first, self.bytes);
        self.tell(if whole {
            What::Sent { first, bytes, of: self.grant.content.length() }
        } else {
            What::Broken { at: self.at, of: bytes }
        });
    }
}
