//! What the caller provides: the files, and an ear for what happens to them.

use std::{borrow::Cow, net::SocketAddr};

use bytes::Bytes;
use pxe_wire::tftp::{Code, Malformed, Options};

/// Which files there are.  Both functions run on the server's only thread: they answer from memory and never wait.
pub trait Files: Send + Sync + 'static {
    /// The file of this name for this client.  `name` is printable ASCII, not empty, and nothing else is known of it.
    ///
    /// # Errors
    /// What the client is to be told.
    fn open(&self, name: &str, from: SocketAddr) -> Result<Opened, Refusal>;

    /// Something happened.
    fn tell(&self, event: Event);
}

/// A file.
#[derive(Debug, Clone)]
pub struct Opened {
    /// All of it: memory or a mapped file, shared by all its transfers.
    pub bytes: Bytes,
    /// The caller's own name for it; comes back in events.
    pub tag: u64,
}

/// An answer of "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// TFTP's reason.  Firmware goes on to its next boot entry at once after [`Code::NotFound`] and [`Code::Access`].
    pub code: Code,
    /// In words; printed on the server's console by most firmware.  Cut to 120 bytes.
    pub text: Cow<'static, str>,
}

/// Something that happened to a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The client.
    pub from: SocketAddr,
    /// [`Opened::tag`], where a file was opened.
    pub tag: Option<u64>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A transfer begins.
    Started {
        /// What the client asked for.
        asked: Options,
        /// What it was granted; empty: blocks of 512 bytes, one at a time.
        granted: Options,
        /// Bytes of the file.
        file_bytes: u64,
        /// What the kernel thinks fits on the way to the client, bytes of an IP packet.
        path_mtu: u16,
    },
    /// A block was sent several times and is still not acknowledged.  Told at the third loss and at each doubling.
    Lost {
        /// Which, from 1 without wrapping; 0 is the OACK.
        block: u64,
        /// How often.
        times: u32,
        /// Data bytes in a block of this transfer.
        block_bytes: u16,
        /// What the kernel now thinks fits on the way, bytes of an IP packet: less than at the start if a router said so.
        path_mtu: u16,
        /// Whether no full block of this transfer has arrived while small packets did: the path's MTU is smaller than
        /// both ends believe, and nothing on the way says so.
        only_small_pass: bool,
    },
    /// Blocks began to arrive after fragments were allowed: the path's MTU is smaller than both ends believe.  The next
    /// transfers to this address get blocks of at most `next_block_bytes`.
    FragmentsPass {
        /// Data bytes in a block that did not arrive whole.
        block_bytes: u16,
        /// What this address gets from now on, data bytes in a block.
        next_block_bytes: u16,
    },
    /// The last block was acknowledged.
    Done {
        /// From the request to the last ACK.
        seconds: f64,
        /// Bytes of the file.
        bytes: u64,
        /// Blocks that were sent more than once, each repetition counted.
        resent_blocks: u64,
    },
    /// The transfer ended before that.
    Broken {
        /// Last block acknowledged, from 1 without wrapping; 0 is none.
        acked: u64,
        /// Blocks of the file.
        blocks: u64,
        /// From the request to now.
        seconds: f64,
        /// Blocks that were sent more than once, each repetition counted.
        resent_blocks: u64,
        /// Why.
        why: Broken,
    },
    /// The client got an ERROR from [`Files::open`].
    Refused(Code),
    /// The client wanted to write `name`, and was refused.
    WriteAttempt {
        /// The name, printable ASCII.
        name: String,
    },
    /// A request was no TFTP, or asked for something else than bytes as they are.
    Malformed(Malformed),
    /// The request was for netascii or mail, which would change a boot file's bytes.
    WrongMode,
    /// The client has as many transfers as one address may have; the request was dropped.  Told once for each 1,000.
    TooMany,
}

/// Why a transfer ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The client sent an ERROR.  Firmware that only wanted to know the file's size does it with [`Code::Options`].
    ByClient {
        /// Its code.
        code: Code,
        /// Its words: printable ASCII, at most 80 bytes.
        text: String,
    },
    /// The client went silent.
    Silent,
    /// It never answered at all: a filter on the way, a forged request, or a client that left.
    NeverAnswered,
    /// The client asked again from the same port: it restarted.
    AskedAgain,
    /// The client's machine said that nobody listens there (ICMP).
    Unreachable,
    /// Room was needed for others, and this client had not answered yet.
    Displaced,
}
