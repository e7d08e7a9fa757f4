//! Boot HTTP: `/boot/TICKET/discovery.efi` and nothing else, from memory.
//!
//! Plain HTTP on purpose: firmware's TLS is often too old for ours, and what is booted is judged by its measurements.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use appliance_model::{Mac, Ticket};
use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

use crate::{
    events::What,
    handle::{Shared, count},
};

/// Connections at once; one more waits in the kernel's queue.  One a host for a fleet that boots in one minute.
const CONNECTIONS_MAX: usize = 1024;
/// A request line and headers come within this; idle connections end by it too.
const HEADER_SECONDS_MAX: u64 = 15;
/// A whole connection ends after this: 256 MiB at 3 Mbit/s, slower than any provisioning LAN.
const CONNECTION_SECONDS_MAX: u64 = 900;
/// Firmware sends a dozen short headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// One write: large enough for few system calls, small enough to notice a transfer that broke off.
const CHUNK_BYTES: usize = 256 << 10;

/// Serves until the listener fails.  Connections end with it.
pub(crate) async fn run(listener: TcpListener, image: Bytes, shared: Arc<Shared>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            // The client left again, or we are out of file handles for a moment: neither ends the service.
            Err(error) => {
                tracing::warn!(%error, "boot HTTP connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        connections.spawn(connection(stream, from, image.clone(), Arc::clone(&shared), place));
    }
}

async fn connection(
    stream: TcpStream,
    from: SocketAddr,
    image: Bytes,
    shared: Arc<Shared>,
    _place: OwnedSemaphorePermit,
) {
    let from = match from.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => return,
    };
    // Small answers should not wait for more; a failure here only makes it slower.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let response =
            respond(request.method(), request.uri().path(), range(&request), from, &image, &shared);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEADER_SECONDS_MAX))
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(Duration::from_secs(CONNECTION_SECONDS_MAX), served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %error, "boot HTTP connection ended"),
        Err(_) => tracing::warn!(%from, "boot HTTP connection ended: it took too long"),
    }
}

fn range<T>(request: &Request<T>) -> Option<String> {
    let value = request.headers().get(header::RANGE)?.to_str().ok()?;
    Some(value.to_owned())
}

/// `/boot/TICKET/discovery.efi`, byte for byte: no decoding, no dots, no query.
fn ticket(path: &str) -> Option<Ticket> {
    let digits = path.strip_prefix("/boot/")?.strip_suffix("/discovery.efi")?;
    let strict = digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    strict.then(|| digits.parse().ok()).flatten()
}

fn respond(
    method: &Method,
    path: &str,
    range: Option<String>,
    from: Ipv4Addr,
    image: &Bytes,
    shared: &Arc<Shared>,
) -> Response<ImageBody> {
    let Some(ticket) = ticket(path) else {
        count(&shared.tally.odd_requests);
        return refuse(StatusCode::NOT_FOUND);
    };
    let get = *method == Method::GET;
    if !get && *method != Method::HEAD {
        count(&shared.tally.odd_requests);
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    let now = shared.clock.now();
    let Some(mac) = shared.desk().open_ticket(ticket, now) else {
        count(&shared.tally.unknown_tickets);
        return refuse(StatusCode::NOT_FOUND);
    };
    let total = image.len();
    let (status, start, end) = match wanted(range.as_deref(), total) {
        Wanted::All => (StatusCode::OK, 0, total),
        Wanted::Part(start, end) => (StatusCode::PARTIAL_CONTENT, start, end),
        Wanted::Impossible => {
            let mut response = refuse(StatusCode::RANGE_NOT_SATISFIABLE);
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{total}"));
            return response;
        }
    };
    let part = image.slice(start..end);
    let mut response = Response::new(if get {
        shared.tell(mac, What::ImageStarted { from });
        ImageBody { length: part.len(), rest: part, report: Some((Arc::clone(shared), mac)) }
    } else {
        shared.tell(mac, What::ImageAsked { from });
        // `Content-Length` is what GET would have, the body is empty.
        ImageBody::empty()
    });
    *response.status_mut() = status;
    insert(&mut response, header::CONTENT_LENGTH, &end.saturating_sub(start).to_string());
    insert(&mut response, header::CONTENT_TYPE, "application/efi");
    insert(&mut response, header::ACCEPT_RANGES, "bytes");
    if status == StatusCode::PARTIAL_CONTENT {
        let last = end.saturating_sub(1);
        insert(&mut response, header::CONTENT_RANGE, &format!("bytes {start}-{last}/{total}"));
    }
    response
}

fn refuse(status: StatusCode) -> Response<ImageBody> {
    let mut response = Response::new(ImageBody::empty());
    *response.status_mut() = status;
    response
}

fn insert(response: &mut Response<ImageBody>, name: header::HeaderName, value: &str) {
    if let Ok(value) = header::HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// From the first to before the second.
    Part(usize, usize),
    Impossible,
}

/// RFC 9110, 14.2: one range of bytes; anything else we do not understand means all of it.
fn wanted(range: Option<&str>, total: usize) -> Wanted {
    let Some((start, end)) = range.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Wanted::All;
    };
    match (start.parse::<usize>(), end.parse::<usize>()) {
        (Ok(start), Ok(end)) if start <= end && start < total => {
            Wanted::Part(start, end.saturating_add(1).min(total))
        }
        (Ok(start), Err(_)) if end.is_empty() && start < total => Wanted::Part(start, total),
        (Err(_), Ok(last)) if start.is_empty() && last > 0 => Wanted::Part(total.saturating_sub(last), total),
        (Ok(start), _) if start >= total => Wanted::Impossible,
        (Err(_), Ok(0)) if start.is_empty() => Wanted::Impossible,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Wanted::All,
    }
}

/// A part of the image on its way out; tells how far it came.
struct ImageBody {
    rest: Bytes,
    length: usize,
    report: Option<(Arc<Shared>, Mac)>,
}

impl ImageBody {
    fn empty() -> Self {
        Self { rest: Bytes::new(), length: 0, report: None }
    }
}

impl Body for ImageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let chunk = self.rest.len().min(CHUNK_BYTES);
        let chunk = self.rest.split_to(chunk);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}

impl Drop for ImageBody {
    fn drop(&mut self) {
        let Some((shared, mac)) = self.report.take() else { return };
        let sent = self.length.saturating_sub(self.rest.len());
        let what = if self.rest.is_empty() {
            What::ImageSent { bytes: sent }
        } else {
            What::ImageBroken { bytes: sent, of: self.length }
        };
        shared.tell(mac, what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_of_ranges() {
        let rows = [
            (None, Wanted::All),
            (Some("bytes=0-9"), Wanted::Part(0, 10)),
            (Some("bytes=90-"), Wanted::Part(90, 100)),
            (Some("bytes=90-200"), Wanted::Part(90, 100)),
            (Some("bytes=-10"), Wanted::Part(90, 100)),
            (Some("bytes=-1000"), Wanted::Part(0, 100)),
            (Some("bytes=100-"), Wanted::Impossible),
            (Some("bytes=100-200"), Wanted::Impossible),
            (Some("bytes=-0"), Wanted::Impossible),
            (Some("bytes=9-3"), Wanted::All),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("bytes=99999999999999999999-"), Wanted::All),
            (Some("items=0-9"), Wanted::All),
        ];
        for (range, expected) in rows {
            assert_eq!(wanted(range, 100), expected, "{range:?}");
        }
    }

    #[test]
    fn only_the_exact_path_is_a_ticket() {
        let good = "/boot/0123456789abcdef0123456789abcdef/discovery.efi";
        assert!(ticket(good).is_some());
        for bad in [
            "/",
            "/boot//discovery.efi",
            "/boot/0123456789ABCDEF0123456789abcdef/discovery.efi",
            "/boot/0x23456789abcdef0123456789abcdef01/discovery.efi",
            "/boot/0123456789abcdef0123456789abcdef/discovery.efi/",
            "/boot/../boot/0123456789abcdef0123456789abcdef/discovery.efi",
            "//boot/0123456789abcdef0123456789abcdef/discovery.efi",
            "/boot/0123456789abcdef0123456789abcde%66/discovery.efi",
        ] {
            assert!(ticket(bad).is_none(), "{bad}");
        }
    }
}
