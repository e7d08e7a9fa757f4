//! What the server asks of its owner, and what it tells it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::Content;

/// Decides who may read what, and hears what came of it.  Called from the server's threads: both must be quick.
pub trait Gate: Send + Sync + 'static {
    /// What `path` is for the client at `from`.  The path is as it was sent, but for slashes that followed each other: they are
    /// one.  It starts with `/`, has no `%`, `?` or dot segments (requests with those never come this far), and nothing was
    /// decoded.
    ///
    /// # Errors
    /// A [`Refusal`], which the client sees as a status.
    fn resolve(&self, path: &str, from: IpAddr) -> Result<Grant, Refusal>;

    /// Something happened.
    fn tell(&self, event: Event);
}

/// What a client may have.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The bytes.
    pub content: Arc<Content>,
    /// Comes back in every event about this answer.
    pub tag: u64,
    /// `Content-Type`.
    pub content_type: &'static str,
}

/// Why a client may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 404: there is nothing here, or nothing for this client.
    Missing,
    /// 403: there is, but not for this client.
    Forbidden,
    /// 503 with `Retry-After`: not yet.
    Busy {
        /// When to try again.
        retry_seconds: u32,
    },
}

/// Something that happened to one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose connection.
    pub from: SocketAddr,
    /// Of the [`Grant`]; none where it did not come to one.
    pub tag: Option<u64>,
    /// What happened.
    pub what: What,
}

/// What happened.  Bytes are counted when the kernel has taken them, which is shortly before the client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// HEAD, or a GET whose copy is still good (304).
    Asked,
    /// The answer goes out: `bytes` from byte `first` of a file of `of` bytes.
    Started {
        /// First byte of the file.
        first: u64,
        /// How many are asked for.
        bytes: u64,
        /// The whole file.
        of: u64,
    },
    /// It waits for its turn.
    Queued {
        /// How many go before it, itself included.
        place: usize,
    },
    /// Its turn came, after waiting.
    Admitted,
    /// It took too little for too long and lost its turn; it waits again.
    Stalled {
        /// Bytes that went out so far.
        at: u64,
    },
    /// All of it went out.
    Sent {
        /// First byte of the file.
        first: u64,
        /// How many.
        bytes: u64,
        /// The whole file.
        of: u64,
    },
    /// It ended early: the client left or took nothing for too long.
    Broken {
        /// Bytes that went out.
        at: u64,
        /// Bytes that were asked for.
        of: u64,
    },
    /// It was not served.
    Refused(Why),
}

/// Why a request or a connection was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// The gate says no.
    Gate,
    /// Not HTTP/1.x at all, HTTP/0.9 included.
    NotHttp,
    /// The request line and headers are too long or too many.
    HeaderTooLarge,
    /// They did not come in time.
    HeaderTooSlow,
    /// The path is not a plain one: absolute, encoded, with dots, a query, control characters, or too long.
    Path,
    /// `Host` is missing or doubled.
    Host,
    /// A body, or two readings of where the request ends.
    Body,
    /// A method other than GET and HEAD.
    Method,
    /// No such range.
    Range,
    /// The file changed since its digest was taken.
    Changed,
    /// Too many clients wait already, or too many at this address.
    QueueFull,
    /// Too many connections from this address.
    Connections,
    /// The TLS handshake failed.
    Handshake,
}
