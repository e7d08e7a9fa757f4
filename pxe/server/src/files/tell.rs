//! What the TFTP and HTTP servers tell, in the recorder's words.

use std::net::SocketAddr;

use appliance_model::Now;
use pxe_http::What as Http;
use pxe_policy::recorder::Note;
use pxe_tftp::{Broken, What as Tftp};

use super::{Door, Tag};
use crate::tally::count;

/// Transfers whose start is remembered, to say how long they took.
const STARTED_MAX: usize = 16_384;

impl Door {
    pub(super) fn told_by_http(&self, event: pxe_http::Event) {
        let pxe_http::Event { from, tag, what } = event;
        let Some(tag) = tag.and_then(Tag::unpack) else {
            if let Http::Refused(why) = what {
                self.http_refused(from, why);
            }
            return;
        };
        let file = || tag.name.as_str().into();
        let note = match what {
            Http::Asked => Note::HttpAsked { file: file(), from: from.ip() },
            Http::Started { bytes, .. } => {
                self.began(from);
                Note::HttpStarted { file: file(), from: from.ip(), of: bytes }
            }
            Http::Queued { place } => Note::HttpQueued { place: u32::try_from(place).unwrap_or(u32::MAX) },
            Http::Sent { first, bytes, of } => {
                if first == 0 && bytes == of {
                    self.fetched(tag);
                }
                Note::HttpSent { file: file(), bytes, millis: self.took(from) }
            }
            Http::Broken { at, of } => {
                self.took(from);
                Note::HttpBroken { file: file(), at, of }
            }
            Http::Refused(why) => {
                self.shared.tally.reason(name(why));
                Note::HttpRefused { file: file(), why: words(why).into() }
            }
            // Its turn came, or was lost for a while: what follows tells enough.
            Http::Admitted | Http::Stalled { .. } => return,
        };
        self.shared.tell(tag.mac, note);
    }

    /// What the gate itself refuses it counts itself.
    fn http_refused(&self, from: SocketAddr, why: pxe_http::Why) {
        if why == pxe_http::Why::Gate {
            return;
        }
        count(&self.shared.tally.odd_requests);
        self.shared.tally.reason(name(why));
        if let Some(mac) = self.shared.who(from.ip()) {
            let note = if why == pxe_http::Why::Handshake {
                Note::TlsFailed
            } else {
                Note::HttpRefused { file: "?".into(), why: words(why).into() }
            };
            self.shared.tell(mac, note);
        }
    }

    pub(super) fn told_by_tftp(&self, event: pxe_tftp::Event) {
        let pxe_tftp::Event { from, tag, what } = event;
        let tag = tag.and_then(Tag::unpack);
        let tally = &self.shared.tally;
        let mac = tag.map(|tag| tag.mac);
        let file = || tag.map_or("?", |tag| tag.name.as_str()).into();
        let note = match what {
            Tftp::Started { granted, file_bytes, .. } => Note::TftpStarted {
                file: file(),
                block_bytes: granted.block_bytes.unwrap_or(512),
                window: granted.window_blocks.unwrap_or(1),
                of: file_bytes,
            },
            Tftp::Lost { block, times, block_bytes, .. } => Note::TftpLost { block, times, block_bytes },
            Tftp::FragmentsPass { block_bytes, next_block_bytes } => {
                tally.reason("tftp_mtu_smaller_than_it_seems");
                Note::TftpNarrow { block_bytes, next_block_bytes }
            }
            Tftp::Done { seconds, bytes, .. } => {
                tag.into_iter().for_each(|tag| self.fetched(tag));
                Note::TftpSent { bytes, millis: millis(seconds) }
            }
            Tftp::Broken { acked, blocks, why, .. } => {
                Note::TftpBroken { at: acked, of: blocks, why: broken(why).into() }
            }
            Tftp::WriteAttempt { name } => {
                tally.reason("tftp_write");
                Note::TftpWrite { file: name.into() }
            }
            Tftp::Malformed(malformed) => {
                tally.reason("tftp_malformed");
                Note::TftpRefused { file: "?".into(), why: malformed.to_string().into(), on_purpose: false }
            }
            Tftp::WrongMode => {
                tally.reason("tftp_wrong_mode");
                let why = "it asked for text mode, which would change the file's bytes".into();
                Note::TftpRefused { file: file(), why, on_purpose: false }
            }
            Tftp::TooMany => {
                tally.reason("tftp_too_many_transfers");
                let why = "it has as many transfers as one address may have".into();
                Note::TftpRefused { file: file(), why, on_purpose: false }
            }
            // Told by the one who refused.
            Tftp::Refused(_) => return,
        };
        if let Some(mac) = mac.or_else(|| self.shared.who(from.ip())) {
            self.shared.tell(mac, note);
        }
    }

    fn began(&self, from: SocketAddr) {
        let mut started = self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if started.len() >= STARTED_MAX {
            started.pop_first();
        }
        started.insert(from, self.shared.clock.now());
    }

    fn took(&self, from: SocketAddr) -> u64 {
        let began = self.started.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&from);
        let Now(now) = self.shared.clock.now();
        began.map_or(0, |Now(began)| now.saturating_sub(began))
    }
}

/// Whose requests are told apart by their address and port.
pub(super) type Started = std::collections::BTreeMap<SocketAddr, Now>;

/// A time that the TFTP server measured; a transfer takes less than a day.
fn millis(seconds: f64) -> u64 {
    let bounded = (seconds * 1000.0).clamp(0.0, 86_400_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
    let whole = bounded as u64;
    whole
}

fn broken(why: Broken) -> String {
    match why {
        Broken::ByClient { code, text } => format!("the client ended it: {text} ({code:?})"),
        Broken::Silent => "the client went silent".into(),
        Broken::NeverAnswered => "the client never answered: a firewall on the way, or it is gone".into(),
        Broken::AskedAgain => "the client started again".into(),
        Broken::Unreachable => "the client's machine says that nobody listens there".into(),
        Broken::Displaced => "too many clients that never answered".into(),
    }
}

fn name(why: pxe_http::Why) -> &'static str {
    match why {
        pxe_http::Why::Gate => "http_gate",
        pxe_http::Why::NotHttp => "http_not_http",
        pxe_http::Why::HeaderTooLarge => "http_header_too_large",
        pxe_http::Why::HeaderTooSlow => "http_header_too_slow",
        pxe_http::Why::Path => "http_path",
        pxe_http::Why::Host => "http_host",
        pxe_http::Why::Body => "http_body",
        pxe_http::Why::Method => "http_method",
        pxe_http::Why::Range => "http_range",
        pxe_http::Why::Changed => "http_file_changed",
        pxe_http::Why::QueueFull => "http_queue_full",
        pxe_http::Why::Connections => "http_connections",
        pxe_http::Why::Handshake => "http_handshake",
    }
}

fn words(why: pxe_http::Why) -> &'static str {
    match why {
        pxe_http::Why::Gate => "not under this ticket",
        pxe_http::Why::NotHttp => "it was no HTTP",
        pxe_http::Why::HeaderTooLarge => "its request was too large",
        pxe_http::Why::HeaderTooSlow => "its request took too long",
        pxe_http::Why::Path => "the path is not one of ours",
        pxe_http::Why::Host => "the request names no host, or two",
        pxe_http::Why::Body => "the request has a body",
        pxe_http::Why::Method => "only GET and HEAD are served",
        pxe_http::Why::Range => "the file has no such range",
        pxe_http::Why::Changed => "the file on disk changed: restart the boot service",
        pxe_http::Why::QueueFull => "too many machines load already; it is to try again",
        pxe_http::Why::Connections => "too many connections from its address",
        pxe_http::Why::Handshake => "the TLS handshake failed",
    }
}
