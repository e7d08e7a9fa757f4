//! TCG PC Client firmware event logs: what the firmware says it measured into which PCR.
//!
//! A log is hostile input: whoever owns the machine can write any bytes.  The parser is strict, needs no allocation
//! that a declared length could inflate, and never panics.  What a log says counts only after its replay
//! ([`EventLog::replay`]) gives the PCR values that a TPM signed, and even then an event's *type* and *data* are
//! vouched for only where the digest is the hash of the data ([`Event::data_is_measured`]).
//! Format: TCG PC Client Platform Firmware Profile, chapter 10 ("Event Logging"); both the crypto-agile form and the
//! SHA-1-only form of TPM 1.2 days are read.  Numbers are little-endian.  Next: [`boot_url`], `attest/verify`.

use alloc::{string::String, vec::Vec};
use core::fmt;

mod attempts;
mod boot;
mod replay;
#[cfg(test)]
mod tests;

pub use attempts::{
    BOOT_ATTEMPTS_MAX, CALLING_BOOT_OPTION, EV_EFI_ACTION, RETURNING_FROM_BOOT_OPTION, StraightBoot,
};
pub use boot::{LoadedImage, URL_BYTES_MAX, boot_url, loaded_images};
pub use replay::Replay;

/// The largest log that is read, bytes.  Real ones are 15 to 75 KiB.
pub const LOG_BYTES_MAX: usize = 1 << 20;
/// The most events of one log.  Real ones have 30 to 200.
pub const EVENTS_MAX: usize = 8192;
/// The most digest algorithms of one log; TPMs have at most six banks.
const ALGORITHMS_MAX: usize = 8;

/// `EV_NO_ACTION`: says something, extends nothing.
pub const EV_NO_ACTION: u32 = 0x3;
/// `EV_SEPARATOR`: end of what firmware measures before it hands over.
pub const EV_SEPARATOR: u32 = 0x4;
/// `EV_EFI_BOOT_SERVICES_APPLICATION`: an EFI application was loaded; digest is its Authenticode hash.
pub const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
/// `EV_EFI_HCRTM_EVENT`: what hardware measured before the first instruction.
pub const EV_EFI_HCRTM_EVENT: u32 = 0x8000_0010;

/// A PCR bank, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bank {
    /// SHA-1: 20 bytes.  Readable, never proof.
    Sha1,
    /// SHA-256: 32 bytes.
    Sha256,
    /// SHA-384: 48 bytes.
    Sha384,
}

impl Bank {
    /// Length of a digest, bytes.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
        }
    }

    /// `TPM_ALG_ID` of the hash.
    #[must_use]
    pub fn algorithm(self) -> u16 {
        match self {
            Self::Sha1 => 0x0004,
            Self::Sha256 => 0x000b,
            Self::Sha384 => 0x000c,
        }
    }

    /// A PCR's next state, zeros behind it: the hash of the state before and what is extended.
    fn extend(self, before: &[u8], digest: &[u8]) -> [u8; 48] {
        fn over<D: sha2::Digest>(before: &[u8], digest: &[u8]) -> [u8; 48] {
            let mut state = [0; 48];
            let next = D::new().chain_update(before).chain_update(digest).finalize();
            state.iter_mut().zip(next).for_each(|(to, from)| *to = from);
            state
        }
        match self {
            Self::Sha1 => over::<sha1::Sha1>(before, digest),
            Self::Sha256 => over::<sha2::Sha256>(before, digest),
            Self::Sha384 => over::<sha2::Sha384>(before, digest),
        }
    }

    /// The hash of `data`, [`Bank::digest_bytes`] long.
    #[must_use]
    pub fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        fn over<D: sha2::Digest>(parts: &[&[u8]]) -> Vec<u8> {
            let mut hash = D::new();
            parts.iter().for_each(|part| hash.update(part));
            hash.finalize().to_vec()
        }
        match self {
            Self::Sha1 => over::<sha1::Sha1>(parts),
            Self::Sha256 => over::<sha2::Sha256>(parts),
            Self::Sha384 => over::<sha2::Sha384>(parts),
        }
    }
}

impl fmt::Display for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
        })
    }
}

/// Why a log was refused, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Byte offset in the log at which reading stopped.
    pub offset: usize,
    /// What is wrong there.
    pub what: Fault,
}

/// What can be wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The log is empty.
    Empty,
    /// The log is larger than [`LOG_BYTES_MAX`].
    TooLarge,
    /// More than [`EVENTS_MAX`] events.
    TooManyEvents,
    /// The log ends inside a field.
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// An event says it has more data than the log has left.
    EventSize {
        /// Bytes it says.
        declared: u32,
        /// Bytes there are.
        left: usize,
    },
    /// A measuring event for a PCR that no TPM has.
    PcrIndex(u32),
    /// The header names too many algorithms, none, one twice, or one with a wrong digest length.
    Algorithms,
    /// The header is of a version this parser does not know, or has bytes left over.
    Header,
    /// An event has another number of digests than the header names algorithms.
    DigestCount(u32),
    /// An event has a digest of an algorithm that the header does not name, or the same twice.
    DigestAlgorithm(u16),
    /// A `StartupLocality` event that is malformed, repeated, or late.
    StartupLocality,
    /// The log has no digests of this bank.
    NoSuchBank(Bank),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event log, byte {}: ", self.offset)?;
        match self.what {
            Fault::Empty => f.write_str("the log is empty"),
            Fault::TooLarge => write!(f, "larger than {LOG_BYTES_MAX} bytes"),
            Fault::TooManyEvents => write!(f, "more than {EVENTS_MAX} events"),
            Fault::Truncated { field } => write!(f, "ends inside {field}"),
            Fault::EventSize { declared, left } => {
                write!(f, "an event declares {declared} bytes of data where {left} are left")
            }
            Fault::PcrIndex(pcr) => write!(f, "measures into PCR {pcr}, which no TPM has"),
            Fault::Algorithms => f.write_str("the header's list of digest algorithms is not acceptable"),
            Fault::Header => f.write_str("the header event is malformed"),
            Fault::DigestCount(count) => write!(f, "an event has {count} digests, not one per algorithm"),
            Fault::DigestAlgorithm(id) => {
                write!(f, "an event has a digest of algorithm {id:#06x}, repeated or not in the header")
            }
            Fault::StartupLocality => f.write_str("StartupLocality is malformed, repeated or late"),
            Fault::NoSuchBank(bank) => write!(f, "the log has no {bank} digests"),
        }
    }
}

impl core::error::Error for Error {}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Where it starts in the log, bytes.
    pub offset: usize,
    /// The PCR it extends (0 to 23), or any number in an [`EV_NO_ACTION`].
    pub pcr: u32,
    /// `EV_…` number.
    pub kind: u32,
    /// What the event says was measured; form depends on `kind`.
    pub data: &'a [u8],
    digests: [Option<&'a [u8]>; 3],
}

impl<'a> Event<'a> {
    /// What was extended into the PCR of `bank`; `None` if the log has no such bank.
    #[must_use]
    pub fn digest(&self, bank: Bank) -> Option<&'a [u8]> {
        let [sha1, sha256, sha384] = self.digests;
        match bank {
            Bank::Sha1 => sha1,
            Bank::Sha256 => sha256,
            Bank::Sha384 => sha384,
        }
    }

    /// Whether the event extends its PCR.
    #[must_use]
    pub fn extends(&self) -> bool {
        self.kind != EV_NO_ACTION
    }

    /// Whether the digest is the hash of the data, so that a replayed digest vouches for the data.
    #[must_use]
    pub fn data_is_measured(&self, bank: Bank) -> bool {
        self.digest(bank).is_some_and(|digest| digest == bank.hash(&[self.data]))
    }
}

/// A parsed log: it borrows the bytes it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
    banks: Vec<Bank>,
    uintn_bytes: usize,
    crypto_agile: bool,
}

impl<'a> EventLog<'a> {
    /// Reads a whole log.
    ///
    /// # Errors
    /// The first [`Fault`] and its offset; nothing of a faulty log is returned.
    pub fn parse(log: &'a [u8]) -> Result<Self, Error> {
        if log.is_empty() {
            return Err(Error { offset: 0, what: Fault::Empty });
        }
        if log.len() > LOG_BYTES_MAX {
            return Err(Error { offset: LOG_BYTES_MAX, what: Fault::TooLarge });
        }
        let mut reader = Reader { bytes: log, at: 0 };
        let first = reader.sha1_event()?;
        let header = if first.kind == EV_NO_ACTION { Header::of(&first)? } else { None };
        let (algorithms, uintn_bytes, crypto_agile) = match header {
            Some(header) if header.crypto_agile => (header.algorithms, header.uintn_bytes, true),
            Some(header) => (Vec::new(), header.uintn_bytes, false),
            None => (Vec::new(), 8, false),
        };
        // A real event has some 300 bytes; by what is there, not by what is declared.
        let mut events = Vec::with_capacity((log.len() / 256).min(EVENTS_MAX));
        if header_is_absent(&first) {
            events.push(first);
        }
        while reader.at < log.len() {
            if events.len() >= EVENTS_MAX {
                return Err(Error { offset: reader.at, what: Fault::TooManyEvents });
            }
            events.push(if crypto_agile { reader.agile_event(&algorithms)? } else { reader.sha1_event()? });
        }
        let banks = if crypto_agile {
            [Bank::Sha1, Bank::Sha256, Bank::Sha384]
                .into_iter()
                .filter(|bank| algorithms.iter().any(|(id, _)| *id == bank.algorithm()))
                .collect()
        } else {
            Vec::from([Bank::Sha1])
        };
        Ok(Self { events, banks, uintn_bytes, crypto_agile })
    }

    /// The events in order, without the header.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The banks that every event has a digest for.
    #[must_use]
    pub fn banks(&self) -> &[Bank] {
        &self.banks
    }

    /// Whether the log has the form of TPM 2.0; the older form knows SHA-1 only.
    #[must_use]
    pub fn is_crypto_agile(&self) -> bool {
        self.crypto_agile
    }

    /// Size of the firmware's `UINTN`, bytes: 4 or 8.
    pub(crate) fn uintn_bytes(&self) -> usize {
        self.uintn_bytes
    }
}

/// The "Spec ID Event" that opens a log of TPM 2.0 and most of TPM 1.2.
struct Header {
    crypto_agile: bool,
    algorithms: Vec<(u16, usize)>,
    uintn_bytes: usize,
}

fn header_is_absent(first: &Event<'_>) -> bool {
    first.kind != EV_NO_ACTION || !first.data.starts_with(b"Spec ID Event")
}

impl Header {
    /// `None` where the first event is no Spec ID event: a SHA-1 log without one.
    fn of(event: &Event<'_>) -> Result<Option<Self>, Error> {
        /// pcrIndex, eventType, SHA-1 digest and eventDataSize stand before the data.
        const BEFORE_DATA: usize = 4 + 4 + 20 + 4;
        if header_is_absent(event) {
            return Ok(None);
        }
        let base = event.offset + BEFORE_DATA;
        let wrong = |what| Error { offset: base, what };
        let mut reader = Reader { bytes: event.data, at: 0 };
        let mut read = || -> Result<Self, Error> {
            let signature = reader.take(16, "header signature")?;
            reader.take(4, "platformClass")?;
            reader.take(3, "specification version")?;
            let uintn_bytes = match reader.u8("uintnSize")? {
                1 => 4,
                2 => 8,
                _ => return Err(wrong(Fault::Header)),
            };
            let crypto_agile = match signature {
                b"Spec ID Event03\0" => true,
                b"Spec ID Event00\0" | b"Spec ID Event02\0" => false,
                _ => return Err(wrong(Fault::Header)),
            };
            let algorithms = if crypto_agile { reader.algorithms()? } else { Vec::new() };
            let vendor = usize::from(reader.u8("vendorInfoSize")?);
            reader.take(vendor, "vendorInfo")?;
            if reader.at != event.data.len() {
                return Err(Error { offset: reader.at, what: Fault::Header });
            }
            Ok(Self { crypto_agile, algorithms, uintn_bytes })
        };
        read().map(Some).map_err(|error| Error {
            offset: if error.offset >= base { error.offset } else { base + error.offset },
            what: error.what,
        })
    }
}

/// Walks over bytes; every step is checked.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let fault = Error { offset: self.at, what: Fault::Truncated { field } };
        let end = self.at.checked_add(count).ok_or_else(|| fault.clone())?;
        let taken = self.bytes.get(self.at..end).ok_or(fault)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let offset = self.at;
        let taken = self.take(N, field)?;
        taken.try_into().map_err(|_| Error { offset, what: Fault::Truncated { field } })
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, Error> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, Error> {
        self.array(field).map(u16::from_le_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// The header's list of (algorithm, digest length in bytes).
    fn algorithms(&mut self) -> Result<Vec<(u16, usize)>, Error> {
        let offset = self.at;
        let wrong = Error { offset, what: Fault::Algorithms };
        let count = self.u32("numberOfAlgorithms")?;
        let count = usize::try_from(count).map_err(|_| wrong.clone())?;
        if count == 0 || count > ALGORITHMS_MAX {
            return Err(wrong);
        }
        let mut list: Vec<(u16, usize)> = Vec::new();
        for _ in 0..count {
            let id = self.u16("algorithmId")?;
            let bytes = usize::from(self.u16("digestSize")?);
            // Algorithms we do not compute (SM3, SHA-512, SHA-3) are stepped over, so only their length matters.
            let known =
                [Bank::Sha1, Bank::Sha256, Bank::Sha384].into_iter().find(|bank| bank.algorithm() == id);
            let length_is_wrong = known.map_or(bytes == 0 || bytes > 64, |bank| bank.digest_bytes() != bytes);
            if length_is_wrong || list.iter().any(|(other, _)| *other == id) {
                return Err(wrong);
            }
            list.push((id, bytes));
        }
        Ok(list)
    }

    fn sha1_event(&mut self) -> Result<Event<'a>, Error> {
        let offset = self.at;
        let pcr = self.u32("pcrIndex")?;
        let kind = self.u32("eventType")?;
        let digest = self.take(20, "digest")?;
        let data = self.event_data()?;
        check_pcr(offset, pcr, kind)?;
        Ok(Event { offset, pcr, kind, data, digests: [Some(digest), None, None] })
    }

    fn agile_event(&mut self, algorithms: &[(u16, usize)]) -> Result<Event<'a>, Error> {
        let offset = self.at;
        let pcr = self.u32("pcrIndex")?;
        let kind = self.u32("eventType")?;
        check_pcr(offset, pcr, kind)?;
        let count_at = self.at;
        let count = self.u32("digest count")?;
        if usize::try_from(count) != Ok(algorithms.len()) {
            return Err(Error { offset: count_at, what: Fault::DigestCount(count) });
        }
        let mut digests = [None; 3];
        let mut seen = [false; ALGORITHMS_MAX];
        for _ in algorithms {
            let id_at = self.at;
            let id = self.u16("digest algorithm")?;
            let wrong = Error { offset: id_at, what: Fault::DigestAlgorithm(id) };
            let place = algorithms.iter().position(|(known, _)| *known == id).ok_or_else(|| wrong.clone())?;
            let mark = seen.get_mut(place).ok_or_else(|| wrong.clone())?;
            if core::mem::replace(mark, true) {
                return Err(wrong);
            }
            let bytes = algorithms.get(place).map_or(0, |(_, bytes)| *bytes);
            let digest = self.take(bytes, "digest")?;
            let banks = [Bank::Sha1, Bank::Sha256, Bank::Sha384];
            for (slot, bank) in digests.iter_mut().zip(banks) {
                if bank.algorithm() == id {
                    *slot = Some(digest);
                }
            }
        }
        let data = self.event_data()?;
        Ok(Event { offset, pcr, kind, data, digests })
    }

    fn event_data(&mut self) -> Result<&'a [u8], Error> {
        let offset = self.at;
        let declared = self.u32("eventSize")?;
        let left = self.bytes.len().saturating_sub(self.at);
        let fault = Error { offset, what: Fault::EventSize { declared, left } };
        match usize::try_from(declared) {
            Ok(count) if count <= left => self.take(count, "event data"),
            Ok(_) | Err(_) => Err(fault),
        }
    }
}

/// The highest PCR of a PC Client TPM.
const PCR_MAX: u32 = 23;

fn check_pcr(offset: usize, pcr: u32, kind: u32) -> Result<(), Error> {
    // Informational events are seen with index -1 (TCG PC Client 1.06, 10.4.5.3): they touch no PCR.
    if pcr > PCR_MAX && kind != EV_NO_ACTION {
        return Err(Error { offset, what: Fault::PcrIndex(pcr) });
    }
    Ok(())
}

/// Text of at most `limit` bytes of printable ASCII: what may be shown or parsed as a URL.
fn printable(bytes: &[u8], limit: usize) -> Option<String> {
    let sane = !bytes.is_empty() && bytes.len() <= limit && bytes.iter().all(u8::is_ascii_graphic);
    let text = core::str::from_utf8(bytes).ok()?;
    sane.then(|| String::from(text))
}
