//! IPMI messages: what is asked and answered inside a session (IPMI 2.0, 13.8 and 5.1).

use crate::bytes::{Reader, checksum};

/// The controller's address on its own bus.
const CONTROLLER: u8 = 0x20;
/// Our address: a remote console's software id.
const CONSOLE: u8 = 0x81;

/// Network function: the family of a command (table 5-1).  The even number, of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Power and boot.
    Chassis,
    /// Sensors.
    Sensor,
    /// Device, session, channel and user.
    App,
    /// SEL, SDR and FRU.
    Storage,
    /// LAN and serial over LAN.
    Transport,
}

impl Family {
    /// The number of the request.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Chassis => 0x00,
            Self::Sensor => 0x04,
            Self::App => 0x06,
            Self::Storage => 0x0a,
            Self::Transport => 0x0c,
        }
    }
}

/// A command and its data.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What is done, for errors.
    pub what: &'static str,
    /// Its family.
    pub family: Family,
    /// Its number.
    pub command: u8,
    /// The logical unit, 0 to 3; 0 but for sensors of other units.
    pub unit: u8,
    /// What goes with it.
    pub data: Vec<u8>,
}

impl Request {
    /// A command of unit 0.
    #[must_use]
    pub fn new(what: &'static str, family: Family, command: u8, data: &[u8]) -> Self {
        Self { what, family, command, unit: 0, data: data.to_vec() }
    }

    /// The bytes on the wire; `number` is the request's own, six bits.
    #[must_use]
    pub fn frame(&self, number: u8) -> Vec<u8> {
        let head = [CONTROLLER, (self.family.number() << 2) | (self.unit & 3)];
        let mut tail = vec![CONSOLE, (number & 0x3f) << 2, self.command];
        tail.extend_from_slice(&self.data);
        [&head[..], &[checksum(&head)], &tail, &[checksum(&tail)]].concat()
    }
}

impl std::fmt::Debug for Request {
    /// Without the data, which may be a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({}, {} bytes)", self.what, self.data.len())
    }
}

/// A completion code and what came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Zero is success (table 5-2).
    pub code: u8,
    /// The data after the code.
    pub data: Vec<u8>,
}

/// An answer, and whose question it says it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    family: u8,
    command: u8,
    number: u8,
    /// The answer.
    pub answer: Answer,
}

impl Reply {
    /// Reads a message; `None` if a checksum, an address or the length is not that of an answer to us.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [to, family, sum] = reader.array()?;
        let (body, last) = reader.rest().split_last().map(|(last, body)| (body, *last))?;
        if to != CONSOLE || checksum(&[to, family]) != sum || checksum(body) != last {
            return None;
        }
        let mut reader = Reader::new(body);
        let [from, number, command, code] = reader.array()?;
        let answer = Answer { code, data: reader.rest().to_vec() };
        (from == CONTROLLER).then_some(Self { family: family >> 2, command, number: number >> 2, answer })
    }

    /// Whether it answers this request.
    #[must_use]
    pub fn answers(&self, request: &Request, number: u8) -> bool {
        self.family == request.family.number() + 1
            && self.command == request.command
            && self.number == number & 0x3f
    }
}

/// A completion code in words (table 5-2).
#[must_use]
pub fn completion(code: u8) -> &'static str {
    match code {
        0x00 => "done",
        0xc0 => "the controller is busy",
        0xc1 => "it does not know this command",
        0xc2 => "it does not know this command for that unit",
        0xc3 => "it timed out by itself",
        0xc4 => "it is out of space",
        0xc5 => "the reservation was cancelled",
        0xc6 => "the data was cut short",
        0xc7 => "the data has the wrong length",
        0xc8 => "the data is too long",
        0xc9 => "a parameter is out of range",
        0xca => "it cannot return that many bytes",
        0xcb => "there is no such sensor, record or parameter",
        0xcc => "a field of the data is invalid",
        0xcd => "the command is not for that sensor or record",
        0xce => "it could not answer",
        0xcf => "it takes the request for a duplicate",
        0xd0 => "its sensor data is being updated",
        0xd1 => "its firmware is being updated",
        0xd2 => "it is still starting",
        0xd3 => "the destination cannot be reached",
        0xd4 => "the session's privilege does not suffice, or its firmware firewall forbids it",
        0xd5 => "it cannot do this in its present state",
        0xd6 => "the function is switched off",
        0xff => "an error without a name",
        _ => "a code of this command or this maker",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed_as_on_the_wire() {
        // Get Device ID with request number 1, as ipmitool sends it.
        let request = Request::new("x", Family::App, 0x01, &[]);
        assert_eq!(request.frame(1), [0x20, 0x18, 0xc8, 0x81, 0x04, 0x01, 0x7a]);
    }

    #[test]
    fn an_answer_is_read_or_nothing() {
        let bytes = {
            let tail = [0x20, 0x04, 0x01, 0x00, 0x20, 0x01];
            [&[0x81, 0x1c, 0x63][..], &tail, &[checksum(&tail)]].concat()
        };
        let reply = Reply::read(&bytes).unwrap();
        assert_eq!(reply.answer, Answer { code: 0, data: vec![0x20, 0x01] });
        let request = Request::new("x", Family::App, 0x01, &[]);
        assert!(reply.answers(&request, 1) && reply.answers(&request, 65) && !reply.answers(&request, 2));
        assert!(!reply.answers(&Request { command: 2, ..request.clone() }, 1));
        for cut in 0..bytes.len() {
            assert_eq!(Reply::read(&bytes[..cut]), None, "{cut}");
        }
        for at in 0..bytes.len() {
            let mut bent = bytes.clone();
            bent[at] ^= 0x10;
            assert_eq!(Reply::read(&bent), None, "{at}");
        }
    }
}
