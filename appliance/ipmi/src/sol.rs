//! Serial over LAN: packets and who owes whom an acknowledgement (IPMI 2.0, 15.9 to 15.11).  No socket or clock.

use std::collections::VecDeque;

/// What the controller says beside the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one bit of the packet, independent of the others")]
pub struct Status {
    /// The other side refused what was sent.
    pub refused: bool,
    /// The port cannot take bytes now: the machine is off or resets.
    pub unavailable: bool,
    /// SOL was switched off there.
    pub deactivated: bool,
    /// Bytes were lost on the way to us.
    pub overrun: bool,
}

/// A packet of the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its number, 1 to 15; 0 is a mere acknowledgement.
    pub number: u8,
    /// Number of ours that it acknowledges; 0 is none.
    pub acknowledges: u8,
    /// How many of our bytes it took.
    pub taken: u8,
    /// What it says.
    pub status: Status,
    /// Bytes of the console.
    pub bytes: Vec<u8>,
}

impl Packet {
    /// Reads a payload.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let ([number, acknowledges, taken, status], bytes) = payload.split_first_chunk()?;
        let status = Status {
            refused: status & 0x40 != 0,
            unavailable: status & 0x20 != 0,
            deactivated: status & 0x10 != 0,
            overrun: status & 0x08 != 0,
        };
        let (number, acknowledges) = (number & 0x0f, acknowledges & 0x0f);
        Some(Self { number, acknowledges, taken: *taken, status, bytes: bytes.to_vec() })
    }
}

/// Keystrokes that wait; a terminal's paste fits.
pub const KEYS_MAX: usize = 64 * 1024;

/// Our end of a console: one packet of ours is on its way at a time.
#[derive(Debug, Default)]
pub struct Port {
    /// Number of the last packet taken from the controller.
    theirs: u8,
    /// Number of our last packet with bytes.
    ours: u8,
    /// What it carried, until it is acknowledged.
    sent: Vec<u8>,
    waiting: VecDeque<u8>,
    /// The most bytes that the controller takes in one packet.
    room: usize,
}

impl Port {
    /// `payload_max`: what the controller takes in one payload, four bytes of header included.
    #[must_use]
    pub fn new(payload_max: u16) -> Self {
        Self { room: usize::from(payload_max).saturating_sub(4).clamp(1, 200), ..Self::default() }
    }

    /// Takes keystrokes; returns how many fitted.
    pub fn type_in(&mut self, keys: &[u8]) -> usize {
        let fits = keys.len().min(KEYS_MAX.saturating_sub(self.waiting.len()));
        self.waiting.extend(keys.iter().take(fits));
        fits
    }

    /// Whether all keystrokes were acknowledged.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    /// The next packet with keystrokes, unless one is on its way.
    pub fn due(&mut self) -> Option<Vec<u8>> {
        if !self.sent.is_empty() || self.waiting.is_empty() {
            return None;
        }
        let count = self.room.min(self.waiting.len());
        self.sent = self.waiting.drain(..count).collect();
        self.ours = if self.ours >= 15 { 1 } else { self.ours + 1 };
        self.again()
    }

    /// The packet that is on its way, once more under the same number.
    #[must_use]
    pub fn again(&self) -> Option<Vec<u8>> {
        (!self.sent.is_empty()).then(|| [&[self.ours, 0, 0, 0][..], &self.sent].concat())
    }

    /// Takes in a packet.  Returns new bytes of the console, and the acknowledgement to send.
    pub fn receive(&mut self, packet: &Packet) -> (Vec<u8>, Option<Vec<u8>>) {
        if packet.acknowledges != 0 && packet.acknowledges == self.ours && !self.sent.is_empty() {
            // What was not taken goes first in the next packet.
            let taken = usize::from(packet.taken).min(self.sent.len());
            for byte in self.sent.drain(..).skip(taken).collect::<Vec<_>>().into_iter().rev() {
                self.waiting.push_front(byte);
            }
        }
        if packet.number == 0 {
            return (Vec::new(), None);
        }
        let count = u8::try_from(packet.bytes.len()).unwrap_or(u8::MAX);
        let acknowledgement = vec![0, packet.number, count, 0];
        // The same number again is the same packet: our acknowledgement was lost.
        let fresh = packet.number != self.theirs;
        self.theirs = packet.number;
        let bytes = if fresh { packet.bytes.clone() } else { Vec::new() };
        (bytes, Some(acknowledgement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_one_packet_at_a_time_and_again_what_was_not_taken() {
        let mut port = Port::new(7);
        assert_eq!(port.type_in(b"hello"), 5);
        assert_eq!(port.due().unwrap(), b"\x01\0\0\0hel");
        assert_eq!(port.due(), None);
        assert_eq!(port.again().unwrap(), b"\x01\0\0\0hel");
        let acknowledge = |number, taken| Packet::read(&[0, number, taken, 0]).unwrap();
        assert_eq!(port.receive(&acknowledge(2, 3)), (vec![], None));
        assert_eq!(port.due(), None, "an acknowledgement of another packet");
        port.receive(&acknowledge(1, 1));
        assert_eq!(port.due().unwrap(), b"\x02\0\0\0ell");
        port.receive(&acknowledge(2, 200));
        assert_eq!(port.due().unwrap(), b"\x03\0\0\0o");
        port.receive(&acknowledge(3, 1));
        assert!(port.idle());
        for round in 4..40u8 {
            port.type_in(b"x");
            let number = port.due().unwrap()[0];
            assert_eq!(number, (round - 1) % 15 + 1);
            port.receive(&acknowledge(number, 1));
        }
    }

    #[test]
    fn bytes_are_taken_once_and_acknowledged_always() {
        let mut port = Port::new(200);
        let packet = Packet::read(b"\x05\0\0\0boot").unwrap();
        assert_eq!(port.receive(&packet), (b"boot".to_vec(), Some(vec![0, 5, 4, 0])));
        assert_eq!(port.receive(&packet), (vec![], Some(vec![0, 5, 4, 0])));
        assert_eq!(Packet::read(&[1, 2, 3]), None);
        assert_eq!(port.type_in(&vec![0; KEYS_MAX + 9]), KEYS_MAX);
    }
}
