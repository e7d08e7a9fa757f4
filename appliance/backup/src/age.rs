//! age-encryption.org/v1 with one scrypt recipient (C2SP's specification "The age file encryption format"), on ring: a
//! file key wrapped under the passphrase, then chunks of 64 KiB, each sealed, the last one marked.
//!
//! The `age` crate brings fifty others, half of them to translate messages; the format is this page.

use std::io::{self, Read, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD as BASE64};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};

const VERSION: &str = "age-encryption.org/v1";
/// Plain bytes of a chunk.
const CHUNK: usize = 64 << 10;
const TAG: usize = 16;
/// What `age` takes at most from others, too: 2²² would want 4 GiB of memory.
const LOG_N_MAX: u8 = 20;
/// A header of one scrypt recipient has less than 200 bytes.
const HEADER_BYTES_MAX: usize = 512;

/// 32 bytes by HKDF-SHA-256.
fn derived(file_key: &[u8], salt: &[u8], info: &[u8]) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(file_key);
    prk.expand(&[info], hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
    Some(key)
}

fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new)
}

/// The key that wraps the file key.
fn wrapping(passphrase: &str, salt: &[u8], log_n: u8) -> Option<LessSafeKey> {
    let salt = [format!("{VERSION}/scrypt").as_bytes(), salt].concat();
    let mut key = [0; 32];
    scrypt::scrypt(passphrase.as_bytes(), &salt, &scrypt::Params::new(log_n, 8, 1).ok()?, &mut key).ok()?;
    cipher(&key)
}

/// Eleven bytes count, the twelfth says whether it is the last.
fn nonce(counter: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes.iter_mut().skip(3).zip(counter.to_be_bytes()).for_each(|(at, byte)| *at = byte);
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

fn no(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Seals what is written to it.
pub(crate) struct Sealer<W> {
    out: W,
    key: LessSafeKey,
    counter: u64,
    chunk: Vec<u8>,
}

/// Fresh random bytes of a file: its key, the salt, the nonce.
pub(crate) type Entropy = [[u8; 16]; 3];

impl<W: Write> Sealer<W> {
    /// Writes the header.
    pub(crate) fn new(mut out: W, passphrase: &str, log_n: u8, fresh: &Entropy) -> io::Result<Self> {
        let [file_key, salt, start] = fresh;
        let mut wrapped = file_key.to_vec();
        let key = wrapping(passphrase, salt, log_n).ok_or_else(|| no("scrypt refused its parameters"))?;
        let zero = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_append_tag(zero, Aad::empty(), &mut wrapped)
            .map_err(|_| no("the key was not wrapped"))?;
        let head =
            format!("{VERSION}\n-> scrypt {} {log_n}\n{}\n---", BASE64.encode(salt), BASE64.encode(&wrapped));
        let mac = derived(file_key, &[], b"header").ok_or_else(|| no("no key for the header"))?;
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac), head.as_bytes());
        out.write_all(format!("{head} {}\n", BASE64.encode(mac.as_ref())).as_bytes())?;
        out.write_all(start)?;
        let key = derived(file_key, start, b"payload").and_then(|key| cipher(&key));
        let key = key.ok_or_else(|| no("no key for the payload"))?;
        Ok(Self { out, key, counter: 0, chunk: Vec::with_capacity(CHUNK + TAG) })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        self.key
            .seal_in_place_append_tag(nonce(self.counter, last), Aad::empty(), &mut self.chunk)
            .map_err(|_| no("a chunk was not sealed"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.counter = self.counter.checked_add(1).ok_or_else(|| no("too long"))?;
        Ok(())
    }

    /// Marks the end, without which the file does not open.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until it is known that it is not the last.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let room = CHUNK.saturating_sub(self.chunk.len()).min(bytes.len());
        self.chunk.extend(bytes.iter().take(room));
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Opens what is read through it.  What it gives was authenticated; that it was all, only its end says.
pub(crate) struct Opener<R> {
    input: R,
    key: LessSafeKey,
    counter: u64,
    /// The next sealed chunk.
    sealed: Vec<u8>,
    open: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the header.
    pub(crate) fn new(mut input: R, passphrase: &str) -> io::Result<Self> {
        let header = header(&mut input)?;
        let (head, mac) = header.rsplit_once(' ').ok_or_else(|| no("no header"))?;
        let mut lines = head.split('\n');
        let recipient = lines.next().filter(|line| *line == VERSION).and(lines.next());
        let recipient =
            recipient.and_then(|line| line.strip_prefix("-> scrypt ")).ok_or_else(|| no("no passphrase"))?;
        let (salt, log_n) = recipient.split_once(' ').ok_or_else(|| no("no salt"))?;
        let log_n: u8 = log_n.parse().map_err(|_| no("no cost"))?;
        let decode = |text: &str| BASE64.decode(text).map_err(|_| no("no base64"));
        let (salt, mut wrapped) = (decode(salt)?, decode(lines.next().unwrap_or_default())?);
        if salt.len() != 16 || wrapped.len() != 32 || log_n > LOG_N_MAX || lines.next() != Some("---") {
            return Err(no("a header that is not for a passphrase"));
        }
        let key = wrapping(passphrase, &salt, log_n).ok_or_else(|| no("its cost"))?;
        let zero = Nonce::assume_unique_for_key([0; 12]);
        let file_key =
            key.open_in_place(zero, Aad::empty(), &mut wrapped).map_err(|_| no("another passphrase"))?;
        let mac_key = derived(file_key, &[], b"header").ok_or_else(|| no("no key"))?;
        let mac_key = hmac::Key::new(hmac::HMAC_SHA256, &mac_key);
        hmac::verify(&mac_key, head.as_bytes(), &decode(mac)?).map_err(|_| no("a changed header"))?;
        let mut start = [0; 16];
        input.read_exact(&mut start)?;
        let key = derived(file_key, &start, b"payload").and_then(|key| cipher(&key));
        let key = key.ok_or_else(|| no("no key"))?;
        let mut opener =
            Self { input, key, counter: 0, sealed: Vec::new(), open: Vec::new(), at: 0, ended: false };
        opener.sealed = opener.chunk()?;
        Ok(opener)
    }

    /// The next sealed chunk, shorter or empty at the end.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::new();
        let most = u64::try_from(CHUNK + TAG).unwrap_or(u64::MAX);
        self.input.by_ref().take(most).read_to_end(&mut chunk)?;
        Ok(chunk)
    }

    fn advance(&mut self) -> io::Result<()> {
        let next = self.chunk()?;
        let last = next.is_empty();
        let mut sealed = std::mem::replace(&mut self.sealed, next);
        let open = self.key.open_in_place(nonce(self.counter, last), Aad::empty(), &mut sealed);
        let open = open.map_err(|_| no("a changed or cut chunk"))?;
        if open.is_empty() && self.counter > 0 {
            return Err(no("an empty chunk"));
        }
        (self.open, self.at, self.ended) = (open.to_vec(), 0, last);
        self.counter = self.counter.checked_add(1).ok_or_else(|| no("too long"))?;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.open.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let rest = self.open.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.at = self.at.saturating_add(count);
        Ok(count)
    }
}

/// The header's lines, to the end of the one with the MAC.
fn header(input: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while bytes.len() < HEADER_BYTES_MAX {
        input.read_exact(&mut byte)?;
        let ended = byte == [b'\n']
            && bytes.rsplit(|byte| *byte == b'\n').next().is_some_and(|line| line.starts_with(b"---"));
        if ended {
            return String::from_utf8(bytes).map_err(|_| no("no text"));
        }
        bytes.extend(byte);
    }
    Err(no("no header"))
}
