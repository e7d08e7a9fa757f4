//! One client: a connection, a request, an answer that is counted and dropped.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{setsockopt_impl, sockopt_impl, sys::socket::setsockopt};
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, Interest},
    net::{TcpSocket, TcpStream},
};

use super::{Plan, now, tls};

/// The largest head of an answer.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Dropped in one call.
const DROP_BYTES: usize = 1 << 20;
/// A client sleeps until so much has come: on one machine each waking is work of the sender, which over a cable it is not.
const WAKE_BYTES: usize = 512 << 10;
/// Decrypted in one call.
const TLS_BYTES: usize = 64 << 10;

sockopt_impl!(
    /// How many bytes a socket has before it says that it can be read.
    WakeBytes,
    SetOnly,
    libc::SOL_SOCKET,
    libc::SO_RCVLOWAT,
    i32
);

pub(super) enum Client {
    /// And what its socket was last told to wait for.
    Plain(TcpStream, usize),
    Tls(Box<tls::Stream>),
}

impl Client {
    pub(super) async fn connect(
        plan: &Plan,
        connector: &Option<tls::Connector>,
        source: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let socket = if plan.target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream =
            socket.connect(plan.target).await.with_context(|| format!("connecting to {}", plan.target))?;
        stream.set_nodelay(true)?;
        Ok(match connector {
            None => Self::Plain(stream, 1),
            Some(connector) => Self::Tls(Box::new(connector.connect(stream).await?)),
        })
    }

    /// Asks for it and never reads the answer.
    pub(super) async fn hold(mut self, path: String) {
        let _ = self.write(format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n").as_bytes()).await;
        tokio::time::sleep(Duration::MAX).await;
    }

    /// One request and the whole answer; `bytes` grows as the body comes.  Returns the longest time without a byte.
    pub(super) async fn fetch(&mut self, plan: &Plan, bytes: &mut u64) -> anyhow::Result<Duration> {
        let range =
            plan.bytes.map(|n| format!("Range: bytes=0-{}\r\n", n.saturating_sub(1))).unwrap_or_default();
        self.write(format!("GET {} HTTP/1.1\r\nHost: load\r\n{range}\r\n", plan.path).as_bytes()).await?;
        let mut head = Vec::with_capacity(1024);
        let end = loop {
            let mut part = [0; 1024];
            let count = self.read(&mut part).await?;
            ensure!(count > 0, "the server ended the connection before it answered");
            head.extend_from_slice(part.get(..count).unwrap_or_default());
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(head.len() < HEAD_BYTES_MAX, "the head of the answer has no end");
        };
        let (head, start) = head.split_at(end);
        let length = promised(head, plan.bytes.is_some())?;
        *bytes = u64::try_from(start.len())?;
        let (mut silence, mut heard) = (Duration::ZERO, now());
        while *bytes < length {
            self.wake_at(if plan.attentive { 1 } else { length - *bytes })?;
            let count = self.drop_some(length - *bytes).await?;
            ensure!(count > 0, "the server ended the connection after {bytes} of {length} bytes");
            *bytes += u64::try_from(count)?;
            silence = silence.max(heard.elapsed());
            heard = now();
        }
        self.wake_at(1)?;
        ensure!(*bytes == length, "more came than was promised");
        Ok(silence)
    }

    /// Sleeps until this many bytes are there, or many.
    fn wake_at(&mut self, left: u64) -> anyhow::Result<()> {
        if let Self::Plain(stream, told) = self {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, WAKE_BYTES);
            if wanted != *told {
                setsockopt(&*stream, WakeBytes, &i32::try_from(wanted)?).context("SO_RCVLOWAT")?;
                *told = wanted;
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream, _) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream, _) => stream.read(into).await,
            Self::Tls(stream) => stream.read(into).await,
        }
    }

    async fn drop_some(&mut self, left: u64) -> io::Result<usize> {
        let most = usize::try_from(left).unwrap_or(usize::MAX);
        match self {
            // The kernel throws the bytes away and copies nothing.
            Self::Plain(stream, _) => {
                stream
                    .async_io(Interest::READABLE, || {
                        DROPPED.with_borrow_mut(|buffer| {
                            let part = buffer.get_mut(..most.min(DROP_BYTES)).unwrap_or_default();
                            SockRef::from(&*stream).recv_with_flags(part, libc::MSG_TRUNC)
                        })
                    })
                    .await
            }
            Self::Tls(stream) => {
                let mut buffer = DECRYPTED.take();
                buffer.resize(TLS_BYTES, 0);
                let count = stream.read(buffer.get_mut(..most.min(TLS_BYTES)).unwrap_or_default()).await;
                DECRYPTED.set(buffer);
                count
            }
        }
    }
}

thread_local! {
    static DROPPED: std::cell::RefCell<Vec<MaybeUninit<u8>>> =
        std::cell::RefCell::new(vec![MaybeUninit::uninit(); DROP_BYTES]);
    static DECRYPTED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The length that the head of a good answer promises.
pub(super) fn promised(head: &[u8], part: bool) -> anyhow::Result<u64> {
    let text = str::from_utf8(head).context("the head of the answer is not text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let wanted = if part { "HTTP/1.1 206 " } else { "HTTP/1.1 200 " };
    ensure!(status.starts_with(wanted), "the answer is `{status}`");
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return value.trim().parse().context("Content-Length");
        }
    }
    bail!("the answer does not say its length")
}
