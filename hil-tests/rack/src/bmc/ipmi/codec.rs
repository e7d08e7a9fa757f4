//! The bytes on the wire: RMCP, the two session headers, IPMI messages with their checksums.

use super::crypto::{Keys, Suite};
use super::{Reply, code};

/// RMCP header of an IPMI message: version, sequence "none", class IPMI.
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];

/// The authentication type that means RMCP+.
const PLUS: u8 = 0x06;

/// Longest payload taken.
const PAYLOAD_MAX: usize = 1024;

/// Payload types (IPMI 2.0, table 13-16).
pub(crate) mod payload {
    pub(crate) const IPMI: u8 = 0x00;
    pub(crate) const SOL: u8 = 0x01;
    pub(crate) const OPEN: u8 = 0x10;
    pub(crate) const OPEN_ANSWER: u8 = 0x11;
    pub(crate) const RAKP1: u8 = 0x12;
    pub(crate) const RAKP2: u8 = 0x13;
    pub(crate) const RAKP3: u8 = 0x14;
    pub(crate) const RAKP4: u8 = 0x15;
}

/// A datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// A message in IPMI 1.5's form without authentication: how clients ask what a BMC can do.
    Plain(Message),
    /// RMCP+; the payload is still sealed if it is of a session.
    Plus { kind: u8, session: u32, payload: Vec<u8> },
}

/// An IPMI message (IPMI 2.0, 13.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    responder: u8,
    pub(crate) function: u8,
    responder_lun: u8,
    requester: u8,
    sequence: u8,
    pub(crate) command: u8,
    pub(crate) data: Vec<u8>,
}

impl Message {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [responder, function, check, requester, sequence, command, data @ .., last] = bytes else {
            return None;
        };
        if checksum(&[*responder, *function]) != *check {
            return None;
        }
        let body = bytes.get(3..bytes.len() - 1)?;
        if checksum(body) != *last {
            return None;
        }
        Some(Self {
            responder: *responder,
            function: function >> 2,
            responder_lun: function & 3,
            requester: *requester,
            sequence: *sequence,
            command: *command,
            data: data.to_vec(),
        })
    }

    /// The bytes of an answer to this message.
    pub(crate) fn answer(&self, reply: Reply) -> Vec<u8> {
        let lun = self.sequence & 3;
        let mut bytes = vec![self.requester, (self.function | 1) << 2 | lun];
        bytes.push(checksum(&bytes));
        let start = bytes.len();
        bytes.extend([self.responder, self.sequence & 0xfc | self.responder_lun, self.command]);
        match reply {
            Ok(data) => {
                bytes.push(code::OK);
                bytes.extend(data);
            }
            Err(code) => bytes.push(code),
        }
        bytes.push(checksum(bytes.get(start..).unwrap_or_default()));
        bytes
    }
}

fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

/// The answer to an ASF presence ping (ASF 2.0, 3.2.4.2), which some clients send first.
pub(crate) fn pong(bytes: &[u8]) -> Option<Vec<u8>> {
    let tag = match bytes {
        [0x06, _, _, 0x06, 0, 0, 0x11, 0xbe, 0x80, tag, ..] => *tag,
        _ => return None,
    };
    let mut pong = vec![0x06, 0, 0xff, 0x06, 0, 0, 0x11, 0xbe, 0x40, tag, 0, 16, 0, 0, 0x11, 0xbe];
    // No OEM word; IPMI is supported; no interactions.
    pong.extend([0, 0, 0, 0, 0x81, 0, 0, 0, 0, 0, 0, 0]);
    Some(pong)
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Packet> {
    let rest = bytes.strip_prefix(&RMCP)?;
    let (kind, rest) = rest.split_first()?;
    if *kind == 0 {
        // Sequence, session, length.
        let length = usize::from(*rest.get(8)?);
        let message = rest.get(9..9 + length)?;
        return Message::parse(message).map(Packet::Plain);
    }
    if *kind != PLUS {
        return None;
    }
    let (kind, session, _, length) = plus_header(rest)?;
    let payload = rest.get(11..11 + length)?.to_vec();
    if session == 0 && kind & 0xc0 != 0 {
        return None;
    }
    Some(Packet::Plus { kind: kind & 0x3f, session, payload })
}

/// Payload type with its flags, session, sequence number, length.
fn plus_header(rest: &[u8]) -> Option<(u8, u32, u32, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let length = usize::from(u16::from_le_bytes(rest.get(9..11)?.try_into().ok()?));
    (length <= PAYLOAD_MAX).then_some((*rest.first()?, number(1)?, number(5)?, length))
}

/// Opens a packet of a session: checks integrity, then decrypts.  Both are demanded.
pub(crate) fn open(bytes: &[u8], suite: Suite, keys: &Keys) -> Option<(u8, u32, Vec<u8>)> {
    let rest = bytes.strip_prefix(&RMCP)?.strip_prefix(&[PLUS])?;
    let (kind, _, sequence, length) = plus_header(rest)?;
    if kind & 0xc0 != 0xc0 {
        return None;
    }
    let sealed = rest.get(11..11 + length)?;
    let code_bytes = suite.code_bytes();
    let signed_end = bytes.len().checked_sub(code_bytes)?;
    // From the authentication type to the "next header" byte.
    let signed = bytes.get(4..signed_end)?;
    let given = bytes.get(signed_end..)?;
    if !super::super::sessions::same(given, &suite.code(keys, signed)) {
        return None;
    }
    let clear = keys.decrypt(sealed)?;
    Some((kind & 0x3f, sequence, clear))
}

/// Seals a packet of a session.
pub(crate) fn seal(
    kind: u8,
    session: u32,
    sequence: u32,
    body: &[u8],
    suite: Suite,
    keys: &Keys,
) -> Option<Vec<u8>> {
    let sealed = keys.encrypt(body)?;
    let mut bytes = RMCP.to_vec();
    bytes.extend(header(kind | 0xc0, session, sequence, sealed.len())?);
    bytes.extend(sealed);
    // The signed part is a multiple of four long.
    let signed = bytes.len() - RMCP.len() + 2;
    let pad = (4 - signed % 4) % 4;
    bytes.extend(std::iter::repeat_n(0xff, pad));
    bytes.extend([u8::try_from(pad).ok()?, 0x07]);
    let code = suite.code(keys, bytes.get(RMCP.len()..)?);
    bytes.extend(code);
    Some(bytes)
}

/// A packet outside any session.
pub(crate) fn plus(kind: u8, session: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = RMCP.to_vec();
    bytes.extend(header(kind, session, sequence, body.len()).unwrap_or_default());
    bytes.extend(body);
    bytes
}

fn header(kind: u8, session: u32, sequence: u32, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![PLUS, kind];
    bytes.extend(session.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(u16::try_from(length).ok()?.to_le_bytes());
    Some(bytes)
}

/// A message in IPMI 1.5's form.
pub(crate) fn plain(message: &[u8]) -> Vec<u8> {
    let mut bytes = RMCP.to_vec();
    bytes.extend([0; 9]);
    bytes.push(u8::try_from(message.len()).unwrap_or(0));
    bytes.extend(message);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_answered() {
        // Get Channel Authentication Capabilities for this channel at administrator level.
        let bytes = [0x20, 0x18, 0xc8, 0x81, 0x04, 0x38, 0x8e, 0x04, 0xb1];
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.function, message.command, message.data.as_slice()), (6, 0x38, &[0x8e, 4][..]));
        let answer = message.answer(Err(0xc1));
        assert_eq!(answer, [0x81, 0x1c, 0x63, 0x20, 0x04, 0x38, 0xc1, 0xe3]);
        for cut in 0..bytes.len() {
            assert_eq!(Message::parse(&bytes[..cut]), None);
        }
    }

    #[test]
    fn garbage_gets_no_answer() {
        for bytes in
            [&[][..], &RMCP, &[6, 0, 0xff, 7, 6], &[6, 0, 0xff, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]]
        {
            assert_eq!(parse(bytes), None);
        }
    }
}
