//! Small requests to one controller: HTTP/1.1 over TLS, on connections that are kept.
//!
//! A sweep holds thousands of these connections at once, so each has one buffer and no task: a client made for many
//! hosts took twice the processor time and four times the memory.  Long bodies (images, event streams) go another way.
//! Every length is bounded, and what is malformed ends the connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use reqwest::Url;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::lost::Lost;

/// Connections to one controller.
pub(crate) struct Wire {
    tls: TlsConnector,
    name: Option<ServerName<'static>>,
    host: String,
    port: u16,
    idle: Mutex<Vec<Kept>>,
    limits: Limits,
}

/// How long is waited, and how many connections are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connect: Duration,
    pub(crate) request: Duration,
    pub(crate) body_bytes_max: usize,
    pub(crate) idle_max: usize,
}

/// What came back.  Header values are the first of their name.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) etag: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<String>,
    pub(crate) token: Option<String>,
    /// `None` when it is longer than what is read.
    pub(crate) body: Option<Vec<u8>>,
}

type Kept = Box<Line<TlsStream<TcpStream>>>;

/// Longest head of an answer: large ones carry policies for browsers, 2 KiB of them.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Most headers of an answer.
const HEADERS_MAX: usize = 100;
/// Longest header value that is taken over.
const HEADER_BYTES_MAX: usize = 2048;
/// Longest line before a chunk, its extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Heads that only say that another follows (100, 103).
const PRELIMINARY_MAX: usize = 4;
/// Read at once; most resources of controllers are shorter.
const READ_BYTES: usize = 4096;

impl std::fmt::Debug for Reply {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Wire {
    pub(crate) fn new(base: &Url, config: ClientConfig, limits: Limits) -> Self {
        let host = base.host_str().unwrap_or_default();
        // An IPv6 address stands in brackets in a URL only.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(host.clone()).ok(),
            host,
            port: base.port_or_known_default().unwrap_or(443),
            idle: Mutex::default(),
            limits,
        }
    }

    /// Sends a request (its head with the empty line, and its body) and reads the answer.  `again`: it may be sent a
    /// second time when a kept connection turns out to be closed.
    pub(crate) async fn exchange(&self, request: &[u8], method: &str, again: bool) -> Result<Reply, Lost> {
        let seconds = self.limits.request.as_secs();
        match timeout(self.limits.request, self.either(request, method, again)).await {
            Ok(reply) => reply,
            Err(_) => Err(Lost::Time { seconds }),
        }
    }

    async fn either(&self, request: &[u8], method: &str, again: bool) -> Result<Reply, Lost> {
        if let Some(mut line) = self.kept() {
            match line.exchange(request, method, self.limits.body_bytes_max).await {
                Ok(reply) => return Ok(self.keep(line, reply)),
                Err(Lost::Broken(_)) if again && !line.answered => {}
                Err(lost) => return Err(lost),
            }
        }
        let mut line = self.connect().await?;
        let reply = line.exchange(request, method, self.limits.body_bytes_max).await?;
        Ok(self.keep(line, reply))
    }

    /// A connection that was kept and is still quiet.
    fn kept(&self) -> Option<Kept> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut line) = idle.pop() {
            if line.is_quiet() {
                return Some(line);
            }
        }
        None
    }

    fn keep(&self, line: Kept, reply: Reply) -> Reply {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if line.stays && idle.len() < self.limits.idle_max {
            idle.push(line);
        }
        reply
    }

    async fn connect(&self) -> Result<Kept, Lost> {
        let at = || format!("{}:{}", self.host, self.port);
        let failed = |source| Lost::Connect { at: at(), source };
        let open = async {
            let name = self.name.clone();
            let name = name.ok_or_else(|| io::Error::other("this is no host name"))?;
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(name, stream).await
        };
        // Boxed, so that requests on kept connections do not carry its room.
        match timeout(self.limits.connect, Box::pin(open)).await {
            Ok(Ok(stream)) => Ok(Box::new(Line::new(stream))),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(Lost::ConnectTime { at: at(), seconds: self.limits.connect.as_secs() }),
        }
    }
}

/// One connection.
struct Line<S> {
    stream: S,
    /// What was read; from `at` on it was not used yet.
    buffer: Vec<u8>,
    at: usize,
    /// Whether anything of the present answer came.
    answered: bool,
    /// Whether another request can be sent on it.
    stays: bool,
}

/// The head of an answer.
struct Head {
    /// Its own length.
    bytes: usize,
    reply: Reply,
    length: Length,
    /// Whether the connection stays.
    stays: bool,
}

/// How an answer's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Bytes(usize),
    Chunks,
    UntilClosed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(READ_BYTES), at: 0, answered: false, stays: false }
    }

    /// Whether nothing came since the last answer: neither the end nor something nobody asked for.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0_u8];
        let mut room = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        self.at == self.buffer.len()
            && matches!(Pin::new(&mut self.stream).poll_read(&mut context, &mut room), Poll::Pending)
    }

    async fn exchange(&mut self, request: &[u8], method: &str, max: usize) -> Result<Reply, Lost> {
        (self.answered, self.stays, self.at) = (false, false, 0);
        self.buffer.clear();
        self.stream.write_all(request).await.map_err(Lost::Broken)?;
        self.stream.flush().await.map_err(Lost::Broken)?;
        for _ in 0..=PRELIMINARY_MAX {
            let Head { mut reply, length, stays, .. } = self.head(method).await?;
            if (100..200).contains(&reply.status) {
                continue;
            }
            reply.body = self.body(length, max).await?;
            // What is too long was not read to its end.
            self.stays = stays && reply.body.is_some() && length != Length::UntilClosed;
            if self.buffer.capacity() > 4 * READ_BYTES {
                self.buffer = self.buffer.split_off(self.at);
                self.at = 0;
            }
            return Ok(reply);
        }
        Err(Lost::NotHttp("one preliminary answer after the other"))
    }

    /// More of what the controller says.
    async fn more(&mut self) -> Result<(), Lost> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        self.buffer.reserve(READ_BYTES / 4);
        if self.stream.read_buf(&mut self.buffer).await.map_err(Lost::Broken)? == 0 {
            return Err(Lost::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        self.answered = true;
        Ok(())
    }

    async fn head(&mut self, method: &str) -> Result<Head, Lost> {
        loop {
            let unread = self.buffer.get(self.at..).unwrap_or_default();
            if !unread.is_empty()
                && let Some(head) = parse(unread, method)?
            {
                self.at += head.bytes;
                return Ok(head);
            }
            if unread.len() > HEAD_BYTES_MAX {
                return Err(Lost::NotHttp("its head has no end"));
            }
            self.more().await?;
        }
    }

    /// The body; `None` when it is longer than `max`.
    async fn body(&mut self, length: Length, max: usize) -> Result<Option<Vec<u8>>, Lost> {
        let mut body = Vec::new();
        let all = match length {
            Length::Bytes(bytes) => {
                let fits = bytes <= max;
                if fits {
                    self.take(bytes, &mut body).await?;
                }
                fits
            }
            Length::Chunks => loop {
                let bytes = self.chunk_length().await?;
                if bytes > max.saturating_sub(body.len()) {
                    break false;
                }
                self.take(bytes, &mut body).await?;
                if bytes == 0 {
                    // Trailers, of which none matters, up to the empty line.
                    let mut lines = 0;
                    while !self.text_line().await?.is_empty() {
                        lines += 1;
                        if lines > HEADERS_MAX {
                            return Err(Lost::NotHttp("too many trailers"));
                        }
                    }
                    break true;
                }
                if !self.text_line().await?.is_empty() {
                    return Err(Lost::NotHttp("a chunk is longer than it said"));
                }
            },
            Length::UntilClosed => loop {
                body.extend_from_slice(self.buffer.get(self.at..).unwrap_or_default());
                self.at = self.buffer.len();
                if body.len() > max {
                    break false;
                }
                match self.more().await {
                    Ok(()) => {}
                    // Many close without TLS's own word of it; whether the body is whole, its JSON tells.
                    Err(Lost::Broken(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break true,
                    Err(lost) => return Err(lost),
                }
            },
        };
        Ok(all.then_some(body))
    }

    /// So many bytes of the body.
    async fn take(&mut self, bytes: usize, body: &mut Vec<u8>) -> Result<(), Lost> {
        let end = body.len().saturating_add(bytes);
        // What is only announced gets no room yet.
        body.reserve(bytes.min(1 << 20));
        loop {
            let unread = self.buffer.get(self.at..).unwrap_or_default();
            let part = unread.len().min(end - body.len());
            body.extend_from_slice(unread.get(..part).unwrap_or_default());
            self.at += part;
            if body.len() == end {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn chunk_length(&mut self) -> Result<usize, Lost> {
        let line = self.text_line().await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let text =
            std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let length = text.and_then(|text| usize::from_str_radix(text, 16).ok());
        length.ok_or(Lost::NotHttp("a chunk says no length"))
    }

    /// A line without its end.
    async fn text_line(&mut self) -> Result<Vec<u8>, Lost> {
        loop {
            let unread = self.buffer.get(self.at..).unwrap_or_default();
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = unread.get(..end).unwrap_or_default();
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.at += end + 1;
                return Ok(line);
            }
            if unread.len() > CHUNK_LINE_BYTES_MAX {
                return Err(Lost::NotHttp("a line has no end"));
            }
            self.more().await?;
        }
    }
}

/// A whole head at the start of these bytes; `None` while some is missing.
fn parse(bytes: &[u8], method: &str) -> Result<Option<Head>, Lost> {
    let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut room);
    let mut parser = httparse::ParserConfig::default();
    parser
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    let used = match parser.parse_response(&mut head, bytes) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Lost::NotHttp("its head cannot be read")),
    };
    let mut reply = Reply { status: head.code.unwrap_or_default(), ..Reply::default() };
    let (mut length, mut chunks, mut stays) = (None, false, head.version == Some(1));
    for header in head.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else { continue };
        let value = value.trim();
        let first = |place: &mut Option<String>| {
            if place.is_none() && value.len() <= HEADER_BYTES_MAX && !value.contains(char::is_control) {
                *place = Some(value.to_owned());
            }
        };
        let says = |word: &str| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word));
        match header.name {
            name if name.eq_ignore_ascii_case("etag") => first(&mut reply.etag),
            name if name.eq_ignore_ascii_case("location") => first(&mut reply.location),
            name if name.eq_ignore_ascii_case("retry-after") => first(&mut reply.retry_after),
            name if name.eq_ignore_ascii_case("x-auth-token") => first(&mut reply.token),
            name if name.eq_ignore_ascii_case("transfer-encoding") => chunks |= says("chunked"),
            name if name.eq_ignore_ascii_case("connection") => {
                stays = (stays || says("keep-alive")) && !says("close");
            }
            name if name.eq_ignore_ascii_case("content-length") => {
                let told: usize = value.parse().map_err(|_| Lost::NotHttp("its length is no number"))?;
                if length.replace(told).is_some_and(|before| before != told) {
                    return Err(Lost::NotHttp("it says two lengths"));
                }
            }
            _ => {}
        }
    }
    let bodiless = method == "HEAD" || matches!(reply.status, 100..=199 | 204 | 304);
    let length = match (bodiless, chunks, length) {
        (true, _, _) => Length::Bytes(0),
        (false, true, _) => Length::Chunks,
        (false, false, Some(bytes)) => Length::Bytes(bytes),
        (false, false, None) => Length::UntilClosed,
    };
    Ok(Some(Head { bytes: used, reply, length, stays }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a request meets when these bytes come, in pieces of this size, and whether the connection stays.
    async fn answer(bytes: &str, piece: usize) -> (Result<Reply, Lost>, bool) {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut line = Line::new(ours);
        let says = async move {
            for piece in bytes.as_bytes().chunks(piece) {
                let _ = theirs.write_all(piece).await;
                tokio::task::yield_now().await;
            }
        };
        let (reply, ()) = tokio::join!(line.exchange(b"GET", "GET", 20), says);
        (reply, line.stays)
    }

    fn told(reply: Result<Reply, Lost>) -> String {
        match reply {
            Ok(Reply { status, body: Some(body), .. }) => {
                format!("{status} {}", String::from_utf8_lossy(&body))
            }
            Ok(Reply { status, body: None, .. }) => format!("{status} too long"),
            Err(lost) => lost.to_string(),
        }
    }

    #[tokio::test]
    async fn table_of_answers() {
        let broken = "the connection broke off";
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "200 {}", true),
            ("HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", "200 {}", true),
            ("HTTP/1.1 200\r\ncontent-length: 2\r\nconnection: Close\r\n\r\n{}", "200 {}", false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "200 {}", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", "200 {}", true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", "204 ", true),
            ("HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", "304 ", true),
            ("HTTP/1.1 200 OK\r\n\r\n{} ", "200 {} ", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\nB\r\n0123456789}\r\n0\r\nT: x\r\n\r\n",
                "200 {0123456789}",
                true,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n", "a chunk is longer", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "a chunk says no length", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                "200 too long",
                false,
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n", "200 too long", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "two lengths", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n", "its length is no number", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", broken, false),
            ("HTTP/1.1 200 OK\r\nContent-", broken, false),
            ("", broken, false),
            ("SSH-2.0-dropbear\r\n", "its head cannot be read", false),
        ];
        for (bytes, expected, stays) in rows {
            for piece in [1, 7, 1000] {
                let (reply, stayed) = answer(bytes, piece).await;
                let got = told(reply);
                let same = if expected.starts_with(char::is_numeric) {
                    got == expected
                } else {
                    got.contains(expected)
                };
                assert!(same && stayed == stays, "{bytes:?} by {piece}: {got}, stays: {stayed}");
            }
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert!(told(answer(&endless, 4096).await.0).contains("its head has no end"));
        let preliminary = "HTTP/1.1 103 Early\r\n\r\n".repeat(PRELIMINARY_MAX + 1);
        assert!(told(answer(&preliminary, 4096).await.0).contains("preliminary"));
    }
}
