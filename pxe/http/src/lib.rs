//! An HTTP server for boot images: few files, many machines at once, all of them in a hurry.
//!
//! Images go from the page cache to the card by `sendfile` (plain) or by large records (TLS), so that the network is
//! the limit, not we.  The network is shared by turns: some transfers run at full rate, the others wait in order and
//! are kept awake with a few bytes, because a thousand machines that share a link evenly all time out together.
//!
//! Who may read what is the caller's to say ([`Gate`]).  This room refuses every method but GET and HEAD, decodes no
//! path, believes no header that has two readings, and hands out no file that changed since its digest was taken.
//!
//! Read `server` for the threads, `connection` for one client, `queue` for who is next, `request` for what is refused.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod connection;
mod content;
#[cfg(feature = "https-boot")]
mod firmware;
mod gate;
mod http2;
mod library;
mod queue;
mod range;
mod request;
mod respond;
mod server;
mod tls;
mod turnstile;
mod wire;
mod workers;

#[cfg(feature = "https-boot")]
pub use crate::firmware::{FirmwareTls, FirmwareTlsError};
pub use crate::{
    content::{Content, ContentError},
    gate::{Event, Gate, Grant, Refusal, What, Why},
    library::{Library, LibraryError, image_path},
    queue::{Arrival, Queue, Seat},
    request::{Method, Parsed, Request, parse_request},
    server::{Limits, Server, places_for},
    tls::{TlsError, tls},
};
