//! What happened and is not in a datagram.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::heard::without_ticket;

/// Words of ours (`&'static str`) or words made for the occasion.
pub type Words = Cow<'static, str>;

/// Longest words kept: file names and reasons are shown in one line.
const WORDS_BYTES_MAX: usize = 200;

/// Why a request got no answer, as far as a rule has to tell the reasons apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    /// It came through a relay that the configuration does not name.
    Relay(Ipv4Addr),
    /// There is no address left.
    NoAddress,
    /// It asks to boot an architecture (option 93) that we have no image for.
    NoImage(u16),
    /// It took this other server's offer.
    OtherServer(Ipv4Addr),
    /// We are told to be silent: the interface only listens.
    Listening,
    /// We are told to be silent to this machine: ignored, to boot from disk, or a stranger where strangers get nothing.
    Told,
    /// The lease or ticket could not be written to disk.
    NotDurable,
    /// The answer could not be sent.
    NotSent,
    /// Anything else; the words say what.
    Other,
}

/// One thing that happened to one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An answer was decided on: an address, a boot file, both.
    Offered {
        /// The address, if one was offered.
        address: Option<IpAddr>,
        /// Name or URL of the file to boot, if there was one.  A ticket in it is not kept.
        boot: Option<Words>,
        /// Why this answer.
        why: Words,
    },
    /// Its address, or the options it asked for, were confirmed.
    Confirmed {
        /// The address; `None` where only options were asked for.
        address: Option<IpAddr>,
        /// Why.
        why: Words,
    },
    /// Its request was refused (NAK).
    Refused {
        /// Why.
        why: Words,
    },
    /// It got no answer.
    Unanswered {
        /// Which kind of reason.
        quiet: Quiet,
        /// Why, in words.
        why: Words,
    },
    /// An address meant for it is in use by somebody else.
    Conflict {
        /// The address.
        address: Ipv4Addr,
        /// Who answered, as far as known: a MAC.
        by: Option<appliance_model::Mac>,
    },
    /// It asked TFTP for a file and gets it.
    TftpStarted {
        /// Which file.
        file: Words,
        /// Bytes in a block, as negotiated.
        block_bytes: u16,
        /// Blocks in a window, as negotiated.
        window: u16,
        /// Size of the file.
        of: u64,
    },
    /// A TFTP block had to be sent again.
    TftpLost {
        /// Which block, from 1.
        block: u64,
        /// How often by now.
        times: u32,
        /// Bytes in a block, as negotiated.
        block_bytes: u16,
    },
    /// A file went out by TFTP in full.
    TftpSent {
        /// Size.
        bytes: u64,
        /// How long it took.
        millis: u64,
    },
    /// Blocks began to arrive only when they were allowed to be cut into fragments: the path's MTU is smaller than both
    /// ends believe, and nothing on the way says so.
    TftpNarrow {
        /// Bytes in a block that did not arrive whole.
        block_bytes: u16,
        /// Bytes in a block that this address gets from now on.
        next_block_bytes: u16,
    },
    /// A TFTP transfer ended early.
    TftpBroken {
        /// Blocks acknowledged.
        at: u64,
        /// Blocks wanted.
        of: u64,
        /// What ended it: our patience, or the client's own error message.
        why: Words,
    },
    /// A TFTP request was refused.
    TftpRefused {
        /// Which file it asked for.
        file: Words,
        /// Why.
        why: Words,
        /// Refused on purpose, so that firmware goes on to HTTP boot.
        on_purpose: bool,
    },
    /// It tried to write by TFTP.
    TftpWrite {
        /// Which file.
        file: Words,
    },
    /// It asked how long a file is (HTTP HEAD).
    HttpAsked {
        /// Which file.
        file: Words,
        /// From which address.
        from: IpAddr,
    },
    /// It waits for its turn to load.
    HttpQueued {
        /// Its place.
        place: u32,
    },
    /// It started to load a file by HTTP.
    HttpStarted {
        /// Which file.
        file: Words,
        /// From which address.
        from: IpAddr,
        /// Bytes wanted.
        of: u64,
    },
    /// A file went out by HTTP in full.
    HttpSent {
        /// Which file.
        file: Words,
        /// Bytes.
        bytes: u64,
        /// How long it took.
        millis: u64,
    },
    /// An HTTP transfer ended early.
    HttpBroken {
        /// Which file.
        file: Words,
        /// Bytes sent.
        at: u64,
        /// Bytes wanted.
        of: u64,
    },
    /// An HTTP request was refused.
    HttpRefused {
        /// Which file.
        file: Words,
        /// Why.
        why: Words,
    },
    /// It began HTTPS and ended it before it asked for anything.
    TlsFailed,
    /// Its agent came up and showed its ticket.
    AgentUp {
        /// Whether the ticket reached the agent by DHCP and not by its measured boot URL.
        by_dhcp: bool,
    },
}

impl Note {
    /// Bytes this note costs beyond its place in the ring.
    pub(super) fn cost(&self) -> usize {
        self.words().iter().map(|words| if let Cow::Owned(text) = words { text.capacity() } else { 0 }).sum()
    }

    /// With words no longer than is kept, and no boot ticket in them.
    pub(super) fn bounded(mut self) -> Self {
        for words in self.words_mut() {
            if words.contains("boot/") {
                *words = without_ticket(words).into();
            }
            if words.len() > WORDS_BYTES_MAX || words.chars().any(char::is_control) {
                *words = short(words).into();
            }
        }
        self
    }

    fn words(&self) -> Vec<&Words> {
        match self {
            Self::Offered { boot, why, .. } => boot.iter().chain([why]).collect(),
            Self::Confirmed { why, .. } | Self::Refused { why } | Self::Unanswered { why, .. } => vec![why],
            Self::TftpStarted { file, .. }
            | Self::TftpWrite { file }
            | Self::HttpAsked { file, .. }
            | Self::HttpStarted { file, .. }
            | Self::HttpSent { file, .. }
            | Self::HttpBroken { file, .. } => vec![file],
            Self::TftpRefused { file, why, .. } | Self::HttpRefused { file, why } => vec![file, why],
            Self::TftpBroken { why, .. } => vec![why],
            Self::Conflict { .. }
            | Self::TftpLost { .. }
            | Self::TftpNarrow { .. }
            | Self::TftpSent { .. }
            | Self::HttpQueued { .. }
            | Self::TlsFailed
            | Self::AgentUp { .. } => Vec::new(),
        }
    }

    fn words_mut(&mut self) -> Vec<&mut Words> {
        match self {
            Self::Offered { boot, why, .. } => boot.iter_mut().chain([why]).collect(),
            Self::Confirmed { why, .. } | Self::Refused { why } | Self::Unanswered { why, .. } => vec![why],
            Self::TftpStarted { file, .. }
            | Self::TftpWrite { file }
            | Self::HttpAsked { file, .. }
            | Self::HttpStarted { file, .. }
            | Self::HttpSent { file, .. }
            | Self::HttpBroken { file, .. } => vec![file],
            Self::TftpRefused { file, why, .. } | Self::HttpRefused { file, why } => vec![file, why],
            Self::TftpBroken { why, .. } => vec![why],
            Self::Conflict { .. }
            | Self::TftpLost { .. }
            | Self::TftpNarrow { .. }
            | Self::TftpSent { .. }
            | Self::HttpQueued { .. }
            | Self::TlsFailed
            | Self::AgentUp { .. } => Vec::new(),
        }
    }
}

/// One line, bounded, without control characters: these words come from machines nobody knows and end on a terminal.
fn short(words: &str) -> String {
    let mut text = String::new();
    for c in words.chars().map(|c| if c.is_control() { '?' } else { c }) {
        if text.len().saturating_add(c.len_utf8()) > WORDS_BYTES_MAX {
            break;
        }
        text.push(c);
    }
    text
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offered { address, boot, why } => {
                f.write_str("answered with")?;
                match address {
                    Some(address) => write!(f, " address {address}")?,
                    None => f.write_str(" no address")?,
                }
                match boot {
                    Some(boot) => write!(f, " and {boot} to boot ({why})"),
                    None => write!(f, " ({why})"),
                }
            }
            Self::Confirmed { address: Some(address), why } => {
                write!(f, "confirmed address {address} ({why})")
            }
            Self::Confirmed { address: None, why } => write!(f, "answered options ({why})"),
            Self::Refused { why } => write!(f, "refused: {why}"),
            Self::Unanswered { why, .. } => write!(f, "not answered: {why}"),
            Self::Conflict { address, by: Some(by) } => write!(f, "{address} is in use by {by}"),
            Self::Conflict { address, by: None } => write!(f, "{address} is in use by somebody else"),
            Self::TftpStarted { file, block_bytes, window, of } => {
                write!(f, "TFTP sends {file}: {of} bytes in blocks of {block_bytes}, {window} to a window")
            }
            Self::TftpLost { block, times, .. } => {
                write!(f, "TFTP sent block {block} again, {times} times by now")
            }
            Self::TftpSent { bytes, millis } => write!(f, "TFTP sent {bytes} bytes in {millis} ms"),
            Self::TftpNarrow { block_bytes, next_block_bytes } => write!(
                f,
                "TFTP blocks of {block_bytes} bytes arrive in fragments only; from now on it gets {next_block_bytes}"
            ),
            Self::TftpBroken { at, of, why } => write!(f, "TFTP broke off after block {at} of {of}: {why}"),
            Self::TftpRefused { file, why, .. } => write!(f, "TFTP refused {file}: {why}"),
            Self::TftpWrite { file } => write!(f, "tried to write {file} by TFTP"),
            Self::HttpAsked { file, from } => write!(f, "asked from {from} how long {file} is"),
            Self::HttpQueued { place } => write!(f, "waits in place {place} for its turn to load"),
            Self::HttpStarted { file, from, of } => {
                write!(f, "started from {from} to load {file}, {of} bytes")
            }
            Self::HttpSent { file, bytes, millis } => {
                write!(f, "loaded {file}, {bytes} bytes in {millis} ms")
            }
            Self::HttpBroken { file, at, of } => write!(f, "{file} broke off after {at} of {of} bytes"),
            Self::HttpRefused { file, why } => write!(f, "HTTP refused {file}: {why}"),
            Self::TlsFailed => f.write_str("HTTPS ended in the TLS handshake"),
            Self::AgentUp { by_dhcp: false } => f.write_str("its agent came up and showed its boot ticket"),
            Self::AgentUp { by_dhcp: true } => {
                f.write_str("its agent came up with a boot ticket given by DHCP")
            }
        }
    }
}
