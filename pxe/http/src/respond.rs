//! What a request is answered with, and how that looks on HTTP/1.1.

use std::{fmt::Write as _, net::SocketAddr, time::SystemTime};

use crate::{
    Gate, Grant, Method, Refusal, Request, What, Why,
    gate::Event,
    range::{Wanted, wanted},
};

/// An answer, not yet on its way.
#[derive(Debug)]
pub(crate) enum Answer {
    /// No body.
    Empty(Status),
    /// A file or a part of it: `bytes` from `first`.
    Content { grant: Grant, part: bool, first: u64, bytes: u64, body: bool },
}

/// Answers without a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    NotModified { tag: String },
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RangeNotSatisfiable { of: u64 },
    HeaderTooLarge,
    Busy { retry_seconds: u32 },
}

impl Status {
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::NotModified { .. } => 304,
            Self::BadRequest => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RangeNotSatisfiable { .. } => 416,
            Self::HeaderTooLarge => 431,
            Self::Busy { .. } => 503,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotModified { .. } => "Not Modified",
            Self::BadRequest => "Bad Request",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RangeNotSatisfiable { .. } => "Range Not Satisfiable",
            Self::HeaderTooLarge => "Request Header Fields Too Large",
            Self::Busy { .. } => "Service Unavailable",
        }
    }

    /// What goes with it.
    pub(crate) fn header(&self) -> Option<(&'static str, String)> {
        match self {
            Self::NotModified { tag } => Some(("ETag", tag.clone())),
            Self::MethodNotAllowed => Some(("Allow", "GET, HEAD".to_owned())),
            Self::RangeNotSatisfiable { of } => Some(("Content-Range", format!("bytes */{of}"))),
            Self::Busy { retry_seconds } => Some(("Retry-After", retry_seconds.to_string())),
            Self::BadRequest | Self::Forbidden | Self::NotFound | Self::HeaderTooLarge => None,
        }
    }

    /// For a request that was not understood.
    pub(crate) fn of(why: Why) -> Self {
        if why == Why::HeaderTooLarge { Self::HeaderTooLarge } else { Self::BadRequest }
    }
}

/// Asks the gate, and reads what the request says about ranges and copies.
pub(crate) fn answer(request: &Request, from: SocketAddr, gate: &dyn Gate) -> Answer {
    let refused = |tag, why, status| {
        gate.tell(Event { from, tag, what: What::Refused(why) });
        Answer::Empty(status)
    };
    if request.method == Method::Other {
        return refused(None, Why::Method, Status::MethodNotAllowed);
    }
    let grant = match gate.resolve(&request.path, from.ip()) {
        Ok(grant) => grant,
        Err(Refusal::Missing) => return refused(None, Why::Gate, Status::NotFound),
        Err(Refusal::Forbidden) => return refused(None, Why::Gate, Status::Forbidden),
        Err(Refusal::Busy { retry_seconds }) => {
            return refused(None, Why::Gate, Status::Busy { retry_seconds });
        }
    };
    let tag = Some(grant.tag);
    if !grant.content.unchanged() {
        return refused(tag, Why::Changed, Status::Busy { retry_seconds: 30 });
    }
    if request.if_none_match.as_deref().is_some_and(|tags| matches_tag(tags, &grant.content.tag)) {
        gate.tell(Event { from, tag, what: What::Asked });
        return Answer::Empty(Status::NotModified { tag: grant.content.tag.clone() });
    }
    let of = grant.content.length();
    let same = request.if_range.as_ref().is_none_or(|tag| *tag == grant.content.tag);
    let range = request.range.as_deref().filter(|_| same);
    let (part, first, end) = match wanted(range, of) {
        Wanted::All => (false, 0, of),
        Wanted::Part(first, end) => (true, first, end),
        Wanted::Impossible => return refused(tag, Why::Range, Status::RangeNotSatisfiable { of }),
    };
    let body = request.method == Method::Get;
    if !body {
        gate.tell(Event { from, tag, what: What::Asked });
    }
    Answer::Content { grant, part, first, bytes: end.saturating_sub(first), body }
}

/// `If-None-Match`: a list, `*`, or weak forms of our tag.
fn matches_tag(list: &str, tag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// The head of an answer without a body.
pub(crate) fn empty_head(status: &Status, keep_alive: bool) -> Vec<u8> {
    let mut head = start(status.code(), status.reason(), keep_alive);
    if !matches!(status, Status::NotModified { .. }) {
        head.push_str("Content-Length: 0\r\n");
    }
    if let Some((name, value)) = status.header() {
        line(&mut head, name, &value);
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// The head of a file or of a part of one.
pub(crate) fn content_head(grant: &Grant, part: bool, first: u64, bytes: u64, keep_alive: bool) -> Vec<u8> {
    let (code, reason) = if part { (206, "Partial Content") } else { (200, "OK") };
    let mut head = start(code, reason, keep_alive);
    line(&mut head, "Content-Length", &bytes.to_string());
    line(&mut head, "Content-Type", grant.content_type);
    line(&mut head, "Accept-Ranges", "bytes");
    line(&mut head, "ETag", &grant.content.tag);
    if part {
        line(&mut head, "Content-Range", &content_range(first, bytes, grant.content.length()));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

pub(crate) fn content_range(first: u64, bytes: u64, of: u64) -> String {
    format!("bytes {first}-{}/{of}", first.saturating_add(bytes).saturating_sub(1))
}

fn start(code: u16, reason: &str, keep_alive: bool) -> String {
    let mut head = String::with_capacity(320);
    // Writing to a string cannot fail.
    let _ = write!(head, "HTTP/1.1 {code} {reason}\r\n");
    line(&mut head, "Date", &httpdate::fmt_http_date(now()));
    if !keep_alive {
        head.push_str("Connection: close\r\n");
    }
    head
}

fn line(head: &mut String, name: &str, value: &str) {
    let _ = write!(head, "{name}: {value}\r\n");
}

#[expect(
    clippy::disallowed_methods,
    reason = "HTTP wants the date in every answer; nothing is decided by it"
)]
fn now() -> SystemTime {
    SystemTime::now()
}
