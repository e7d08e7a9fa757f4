//! Who may talk: each connection and each datagram carries an HMAC-SHA256 under the match's token.
//!
//! The listener speaks first, with a nonce; the dialler answers with a nonce of its own and its proof, and gets the
//! listener's.  Which end made a proof is part of it, so that none can be sent back.

use std::{
    fs, io,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use appliance_model::burn_in::aid::Token;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// First bytes of a connection: what this is.
const MAGIC: &[u8; 8] = b"SFmatch1";
const NONCE_BYTES: usize = 16;
const PROOF_BYTES: usize = 32;
/// Of the proof in a datagram.
pub(super) const TAG_BYTES: usize = 16;

/// How long a stranger may keep us busy.
const STRANGER: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Control,
    Stream,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Stream => 2,
        }
    }
}

/// The token in the hands of one end.
#[derive(Clone)]
pub(super) struct Secret {
    key: Hmac<Sha256>,
    dials: bool,
}

impl Secret {
    pub(super) fn new(token: &Token, dials: bool) -> Self {
        #[expect(clippy::unreachable, reason = "HMAC takes keys of any length; this one has 32 bytes")]
        let key = Hmac::new_from_slice(&token.0).unwrap_or_else(|_| unreachable!());
        Self { key, dials }
    }

    pub(super) fn dials(&self) -> bool {
        self.dials
    }

    /// A connection proof of the dialling or the listening end.
    fn proof(&self, dialler: bool, kind: Kind, listens: &[u8], dials: &[u8]) -> Hmac<Sha256> {
        let mut key = self.key.clone();
        key.update(&[b'c', u8::from(dialler), kind.byte()]);
        key.update(listens);
        key.update(dials);
        key
    }

    /// The listener's half.
    pub(super) fn answer(&self, mut stream: &TcpStream, kind: Kind) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        timeouts(stream, STRANGER)?;
        let ours = nonce()?;
        stream.write_all(&[&MAGIC[..], &ours].concat())?;
        let mut theirs = [0; NONCE_BYTES + PROOF_BYTES];
        stream.read_exact(&mut theirs)?;
        let (nonce, proof) = theirs.split_at(NONCE_BYTES);
        self.proof(true, kind, &ours, nonce).verify_slice(proof).map_err(|_| stranger())?;
        stream.write_all(&self.proof(false, kind, &ours, nonce).finalize().into_bytes())
    }

    /// The dialler's half; the listener may be busy for `patience`.
    pub(super) fn ask(&self, mut stream: &TcpStream, kind: Kind, patience: Duration) -> io::Result<()> {
        timeouts(stream, patience)?;
        let mut hello = [0; MAGIC.len() + NONCE_BYTES];
        stream.read_exact(&mut hello)?;
        let (magic, theirs) = hello.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(stranger());
        }
        let ours = nonce()?;
        let proof = self.proof(true, kind, theirs, &ours).finalize().into_bytes();
        stream.write_all(&[&ours[..], &proof].concat())?;
        let mut answer = [0; PROOF_BYTES];
        stream.read_exact(&mut answer)?;
        self.proof(false, kind, theirs, &ours).verify_slice(&answer).map_err(|_| stranger())
    }

    /// The proof in a datagram with this head that we send.
    pub(super) fn tag(&self, head: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [0; TAG_BYTES];
        let whole = self.datagram(self.dials, head).finalize().into_bytes();
        tag.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        tag
    }

    /// Whether the partner made it.
    pub(super) fn is_partners(&self, tag: &[u8], head: &[u8]) -> bool {
        tag.len() == TAG_BYTES && self.datagram(!self.dials, head).verify_truncated_left(tag).is_ok()
    }

    fn datagram(&self, dialler: bool, head: &[u8]) -> Hmac<Sha256> {
        let mut key = self.key.clone();
        key.update(&[b'd', u8::from(dialler)]);
        key.update(head);
        key
    }
}

fn timeouts(stream: &TcpStream, time: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(time))?;
    stream.set_write_timeout(Some(time))
}

fn nonce() -> io::Result<[u8; NONCE_BYTES]> {
    let mut nonce = [0; NONCE_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut nonce)?;
    Ok(nonce)
}

fn stranger() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it does not know the token")
}
