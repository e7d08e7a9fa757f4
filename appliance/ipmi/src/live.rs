//! A session that stands: what goes out is encrypted and authenticated, what comes in must be both, once (IPMI 2.0,
//! 6.12.13, 13.28 to 13.32).  No socket, clock or dice.

use crate::{
    crypto::{self, BLOCK, Suite},
    packet::{self, Kind},
};

/// What a session is protected with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    suite: Suite,
    session: Vec<u8>,
    integrity: Vec<u8>,
    confidentiality: [u8; BLOCK],
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.suite)
    }
}

impl Keys {
    /// The session's key (13.31), and from it those of integrity and encryption (13.32).
    pub(crate) fn derive(suite: Suite, key: &[u8], parts: &[&[u8]]) -> Self {
        let session = suite.hmac(key, parts);
        let integrity = suite.hmac(&session, &[&[1; 20]]);
        let second = suite.hmac(&session, &[&[2; 20]]);
        // Both hashes are longer than a block.
        let confidentiality = second.first_chunk().copied().unwrap_or_default();
        Self { suite, session, integrity, confidentiality }
    }

    /// Whether RAKP 4's code is right.
    pub(crate) fn confirms(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        // RAKP 4 and the packets' codes have the same truncated length in both suites.
        self.suite.verifies_truncated(&self.session, parts, code)
    }
}

/// Why a datagram was not taken.  It may be anybody's: the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Not a packet of RMCP+.
    Format,
    /// Of another session.
    Session,
    /// Not authenticated or not encrypted: what weakens a session is not taken.
    Bare,
    /// Its code is wrong.
    Code,
    /// Its number was there already, or is too old.
    Replay,
    /// Its padding is wrong.
    Padding,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Format => "no packet of RMCP+",
            Self::Session => "a packet of another session",
            Self::Bare => "a packet without encryption or code",
            Self::Code => "a packet with a wrong code",
            Self::Replay => "a packet that was there before",
            Self::Padding => "a packet with wrong padding",
        })
    }
}

/// How far behind the newest packet another may come, as 6.12.13 has it.
const WINDOW: u32 = 32;

/// Which packets were there.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    highest: u32,
    /// Bit n: `highest - n` was there.
    seen: u32,
}

impl Window {
    /// Whether this number is new; it is not after.
    fn take(&mut self, number: u32) -> bool {
        if number == 0 {
            return false;
        }
        if number > self.highest {
            // Ahead by any distance: packets get lost, and the code was checked before.
            self.seen = self.seen.checked_shl(number - self.highest).unwrap_or(0) | 1;
            self.highest = number;
            return true;
        }
        let behind = self.highest - number;
        let fresh = behind < WINDOW && self.seen & (1 << behind) == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

/// A session.
#[derive(Debug)]
pub struct Live {
    keys: Keys,
    ours: u32,
    theirs: u32,
    guid: [u8; 16],
    sent: u32,
    window: Window,
}

impl Live {
    pub(crate) fn new(keys: Keys, ours: u32, theirs: u32, guid: [u8; 16]) -> Self {
        Self { keys, ours, theirs, guid, sent: 0, window: Window::default() }
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.keys.suite
    }

    /// The controller's session id, as Close Session wants it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.theirs
    }

    /// The GUID that the controller logged in with, bytes as sent.
    #[must_use]
    pub fn guid(&self) -> [u8; 16] {
        self.guid
    }

    /// A datagram with the next number; `None` after four thousand million of them: open another session.
    pub fn seal(&mut self, kind: Kind, payload: &[u8], iv: [u8; BLOCK]) -> Option<Vec<u8>> {
        self.sent = self.sent.checked_add(1)?;
        let sealed = crypto::encrypt(self.keys.confidentiality, iv, payload);
        let Keys { suite, integrity, .. } = &self.keys;
        Some(packet::sealed(kind, self.theirs, self.sent, &sealed, |covered| {
            let mut code = suite.hmac(integrity, &[covered]);
            code.truncate(suite.code_length());
            code
        }))
    }

    /// The payload of a datagram.
    ///
    /// # Errors
    /// When it is not a new packet of this session with the right code.
    pub fn open(&mut self, datagram: &[u8]) -> Result<(Kind, Vec<u8>), Unfit> {
        let Keys { suite, integrity, confidentiality, .. } = &self.keys;
        let packet = packet::read(datagram, suite.code_length()).ok_or(Unfit::Format)?;
        if packet.session != self.ours {
            return Err(Unfit::Session);
        }
        if !packet.authenticated || !packet.encrypted {
            return Err(Unfit::Bare);
        }
        if !suite.verifies_truncated(integrity, &[packet.covered], packet.code) {
            return Err(Unfit::Code);
        }
        if !self.window.take(packet.sequence) {
            return Err(Unfit::Replay);
        }
        let payload = crypto::decrypt(*confidentiality, packet.payload).ok_or(Unfit::Padding)?;
        Ok((packet.kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_taken_once() {
        let mut window = Window::default();
        for (number, taken) in [
            (0, false),
            (1, true),
            (1, false),
            (3, true),
            (2, true),
            (2, false),
            (40, true),
            (9, true),
            (8, false),
            (9, false),
            (0, false),
            (39, true),
            (100_000, true),
            (40, false),
            (u32::MAX, true),
            (u32::MAX, false),
            (1, false),
        ] {
            assert_eq!(window.take(number), taken, "{number}");
        }
    }

    /// Two ends of one session.
    fn ends(suite: Suite) -> (Live, Live) {
        let keys = Keys::derive(suite, b"key", &[b"parts"]);
        (Live::new(keys.clone(), 5, 7, [0; 16]), Live::new(keys, 7, 5, [0; 16]))
    }

    #[test]
    fn what_one_end_seals_the_other_opens_once() {
        for suite in [Suite::Seventeen, Suite::Three] {
            let (mut one, mut other) = ends(suite);
            let datagram = one.seal(Kind::Message, b"hello", [3; 16]).unwrap();
            let mut stranger = ends(suite).0;
            assert_eq!(stranger.open(&datagram), Err(Unfit::Session));
            for at in 4..datagram.len() {
                let mut bent = datagram.clone();
                bent[at] ^= 1;
                assert!(other.open(&bent).is_err(), "{at}");
            }
            for cut in 0..datagram.len() {
                assert!(other.open(&datagram[..cut]).is_err(), "{cut}");
            }
            assert_eq!(other.open(&datagram), Ok((Kind::Message, b"hello".to_vec())));
            assert_eq!(other.open(&datagram), Err(Unfit::Replay));
        }
    }

    #[test]
    fn nothing_bare_is_taken_in_a_session() {
        let (_, mut other) = ends(Suite::Three);
        let mut bare = packet::opening(Kind::Message, b"hello");
        bare[6..10].copy_from_slice(&7u32.to_le_bytes());
        bare[10] = 1;
        assert_eq!(other.open(&bare), Err(Unfit::Bare));
    }
}
