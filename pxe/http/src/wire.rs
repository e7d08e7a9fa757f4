//! One connection as bytes: plain TCP, where files go out by `sendfile`, or TLS, where they are read and encrypted.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::content::{Content, Source};

/// One call of `sendfile`: as much as the kernel lets a socket hold (`tcp_wmem`), so few calls.
pub(crate) const SEND_BYTES: usize = 4 << 20;
/// Plain text of one write to TLS: eight records.  Measured: a third less processor time than by 32 KiB, and more than
/// this leaves the core's cache.
const TLS_BYTES: usize = 128 << 10;
/// One read of a request.
const READ_BYTES: usize = 4 << 10;
/// What a client may still send after it was refused, so that the refusal is not lost to a reset.
const LINGER_BYTES_MAX: usize = 256 << 10;
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    /// What is between the page cache and TLS; never kept over a wait, so one for each thread is enough.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; TLS_BYTES]);
}

#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    #[cfg(feature = "https-boot")]
    Firmware(Box<tokio_openssl::SslStream<TcpStream>>),
}

impl Wire {
    /// Appends what came; 0 at the end.
    pub(crate) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|cx| {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(match self {
                Self::Plain(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                Self::Tls(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
                #[cfg(feature = "https-boot")]
                Self::Firmware(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            })?;
            into.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// Sends the head of an answer; `more` says that a body follows at once, so that both share a packet.
    pub(crate) async fn head(&mut self, mut bytes: &[u8], more: bool) -> io::Result<()> {
        match self {
            Self::Plain(stream) => {
                while !bytes.is_empty() {
                    let sent = stream
                        .async_io(Interest::WRITABLE, || {
                            let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
                            SockRef::from(&*stream).send_with_flags(bytes, flags)
                        })
                        .await?;
                    bytes = bytes.get(sent..).unwrap_or_default();
                }
                Ok(())
            }
            Self::Tls(stream) => stream.write_all(bytes).await,
            #[cfg(feature = "https-boot")]
            Self::Firmware(stream) => stream.write_all(bytes).await,
        }
    }

    /// Sends some of `content` from byte `at`, at most `left` bytes; says how many.
    pub(crate) fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        content: &Content,
        at: u64,
        left: u64,
    ) -> Poll<io::Result<u64>> {
        let sent = ready!(match self {
            Self::Plain(stream) => poll_plain(stream, cx, content, at, left),
            Self::Tls(stream) => poll_copied(Pin::new(stream), cx, content, at, left),
            #[cfg(feature = "https-boot")]
            Self::Firmware(stream) => poll_copied(Pin::new(stream), cx, content, at, left),
        })?;
        if sent == 0 {
            // The file ended before its length: it was cut.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(u64::try_from(sent).unwrap_or(u64::MAX)))
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
            #[cfg(feature = "https-boot")]
            Self::Firmware(stream) => stream.flush().await,
        }
    }

    /// Ends the connection so that what was sent last arrives.
    pub(crate) async fn finish(mut self) {
        let ended = async {
            match &mut self {
                Self::Plain(stream) => stream.shutdown().await,
                Self::Tls(stream) => stream.shutdown().await,
                #[cfg(feature = "https-boot")]
                Self::Firmware(stream) => stream.shutdown().await,
            }?;
            let mut rest = Vec::new();
            let mut total = 0_usize;
            loop {
                let count = self.read(&mut rest).await?;
                total = total.saturating_add(count);
                rest.clear();
                if count == 0 || total > LINGER_BYTES_MAX {
                    return Ok::<_, io::Error>(());
                }
            }
        };
        // Either the client hears the end in time or it does not.
        let _ = tokio::time::timeout(LINGER, ended).await;
    }
}

fn poll_plain(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    content: &Content,
    at: u64,
    left: u64,
) -> Poll<io::Result<usize>> {
    let file = match &content.source {
        Source::File { file, .. } => file,
        Source::Bytes(bytes) => {
            let part = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
            return Pin::new(stream).poll_write(cx, part.get(..count).unwrap_or_default());
        }
    };
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(SEND_BYTES);
    let mut offset = i64::try_from(at).map_err(io::Error::other)?;
    loop {
        ready!(stream.poll_write_ready(cx))?;
        let sent = stream.try_io(Interest::WRITABLE, || {
            nix::sys::sendfile::sendfile(&*stream, file, Some(&mut offset), count).map_err(io::Error::from)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return Poll::Ready(sent),
        }
    }
}

/// Reads no more before all that was encrypted is with the kernel: a slow client costs one buffer, not two.
fn poll_copied<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    content: &Content,
    at: u64,
    left: u64,
) -> Poll<io::Result<usize>> {
    ready!(stream.as_mut().poll_flush(cx))?;
    SCRATCH.with_borrow_mut(|scratch| {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(scratch.len());
        let part = scratch.get_mut(..count).unwrap_or_default();
        let filled = content.read_at(part, at)?;
        match part.get(..filled) {
            None | Some([]) => Poll::Ready(Ok(0)),
            Some(part) => stream.poll_write(cx, part),
        }
    })
}
