//! Packets: RMCP, and the session header and trailer around a payload (IPMI 2.0, 13.6 and 13.28).

use crate::bytes::Reader;

/// RMCP: version 1.0, no acknowledgement, class IPMI.
const RMCP: [u8; 4] = [0x06, 0x00, 0xff, 0x07];
/// "Authentication type" of RMCP+.
const FORMAT_PLUS: u8 = 0x06;
/// "Authentication type" of what is sent outside of any session.
const FORMAT_NONE: u8 = 0x00;
/// The byte between integrity padding and code.
const NEXT_HEADER: u8 = 0x07;
/// A datagram to us is at most this long: the largest payload that a controller offers for SOL fits.
pub const DATAGRAM_BYTES_MAX: usize = 2048;

/// What a packet carries (table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPMI message.
    Message,
    /// Serial over LAN.
    Sol,
    /// Open Session Request.
    OpenRequest,
    /// Open Session Response.
    OpenResponse,
    /// RAKP Message 1.
    Rakp1,
    /// RAKP Message 2.
    Rakp2,
    /// RAKP Message 3.
    Rakp3,
    /// RAKP Message 4.
    Rakp4,
}

const KINDS: [(Kind, u8); 8] = [
    (Kind::Message, 0x00),
    (Kind::Sol, 0x01),
    (Kind::OpenRequest, 0x10),
    (Kind::OpenResponse, 0x11),
    (Kind::Rakp1, 0x12),
    (Kind::Rakp2, 0x13),
    (Kind::Rakp3, 0x14),
    (Kind::Rakp4, 0x15),
];

impl Kind {
    fn number(self) -> u8 {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, number)| *number)
    }

    fn of(number: u8) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == number).map(|(kind, _)| *kind)
    }
}

/// A packet of RMCP+, its code not yet checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it carries.
    pub kind: Kind,
    /// Whether it says that it is encrypted.
    pub encrypted: bool,
    /// Whether it says that it is authenticated.
    pub authenticated: bool,
    /// Session of the receiver.
    pub session: u32,
    /// Number within the session.
    pub sequence: u32,
    /// The payload, maybe encrypted.
    pub payload: &'a [u8],
    /// What the code covers.
    pub covered: &'a [u8],
    /// The code; empty if not authenticated.
    pub code: &'a [u8],
}

/// Reads a packet of RMCP+ whose code, if it has one, has `code_length` bytes.
#[must_use]
pub fn read(datagram: &[u8], code_length: usize) -> Option<Packet<'_>> {
    let body = datagram.strip_prefix(&RMCP).filter(|_| datagram.len() <= DATAGRAM_BYTES_MAX)?;
    let mut reader = Reader::new(body);
    let [format, flags] = reader.array()?;
    if format != FORMAT_PLUS {
        return None;
    }
    let (session, sequence, length) = (reader.u32()?, reader.u32()?, usize::from(reader.u16()?));
    let payload = reader.take(length)?;
    let (encrypted, authenticated) = (flags & 0x80 != 0, flags & 0x40 != 0);
    let kind = Kind::of(flags & 0x3f)?;
    let trailer = reader.rest();
    let (mut covered, mut code) = (&[][..], &[][..]);
    if authenticated {
        let pad = trailer.len().checked_sub(2 + code_length).filter(|pad| *pad < 4)?;
        let [told, next] = trailer.get(pad..pad + 2)? else { return None };
        if usize::from(*told) != pad || *next != NEXT_HEADER {
            return None;
        }
        (covered, code) = body.split_at_checked(body.len().checked_sub(code_length)?)?;
    }
    Some(Packet { kind, encrypted, authenticated, session, sequence, payload, covered, code })
}

/// A packet outside of any session: what opens one.
#[must_use]
pub fn opening(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&RMCP[..], &head(kind.number(), 0, 0, payload), payload].concat()
}

/// A packet of a session, encrypted already; `code` makes the code over what it is given.
pub(crate) fn sealed(
    kind: Kind,
    session: u32,
    sequence: u32,
    payload: &[u8],
    code: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut body = [&head(0xc0 | kind.number(), session, sequence, payload), payload].concat();
    // From the format byte to the next header the bytes are a multiple of four (table 13-8).
    let mut pad = 0u8;
    while !(body.len() + 2).is_multiple_of(4) {
        body.push(0xff);
        pad += 1;
    }
    body.extend_from_slice(&[pad, NEXT_HEADER]);
    let code = code(&body);
    [&RMCP[..], &body, &code].concat()
}

fn head(flags: u8, session: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    // Payloads are made here, of a few hundred bytes at most.
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut head = vec![FORMAT_PLUS, flags];
    head.extend_from_slice(&session.to_le_bytes());
    head.extend_from_slice(&sequence.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head
}

/// A message outside of any session, in the one form that 13.6 has for it.
#[must_use]
pub fn outside(message: &[u8]) -> Vec<u8> {
    let length = u8::try_from(message.len()).unwrap_or(u8::MAX);
    [&RMCP[..], &[FORMAT_NONE, 0, 0, 0, 0, 0, 0, 0, 0, length], message].concat()
}

/// The message of such a packet.
#[must_use]
pub fn read_outside(datagram: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(datagram.strip_prefix(&RMCP)?);
    let head: [u8; 9] = reader.array()?;
    let length = usize::from(reader.byte()?);
    let message = reader.take(length)?;
    (head == [0; 9]).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_can_be_read() {
        for length in 0..40 {
            let payload = vec![0x55; length];
            let bytes = sealed(Kind::Sol, 0x1122_3344, 7, &payload, |covered| {
                assert!(covered.len().is_multiple_of(4));
                vec![0xcc; 12]
            });
            let packet = read(&bytes, 12).unwrap();
            assert_eq!((packet.kind, packet.session, packet.sequence), (Kind::Sol, 0x1122_3344, 7));
            assert!(packet.encrypted && packet.authenticated);
            assert_eq!((packet.payload, packet.code), (&payload[..], &[0xcc; 12][..]));
            assert!(read(&bytes, 16).is_none());
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut], 12).is_none());
            }
        }
    }

    #[test]
    fn a_message_outside_of_a_session_is_read() {
        let bytes = outside(&[1, 2, 3]);
        assert_eq!(read_outside(&bytes), Some(&[1, 2, 3][..]));
        assert_eq!(read_outside(&bytes[..bytes.len() - 1]), None);
        assert!(read(&bytes, 12).is_none(), "it is none of a session");
        assert_eq!(read_outside(&opening(Kind::Rakp1, &[0; 30])), None);
        assert!(read(&[0x06, 0, 0xff, 0x06], 0).is_none(), "ASF is not spoken");
    }
}
