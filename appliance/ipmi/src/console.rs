//! The serial console over a session: [`Console::next`] is a stream of what the machine prints.
//!
//! It takes the session over: while the console is read, the session stays alive by itself.

use std::{collections::VecDeque, time::Duration};

use tokio::time;

use crate::{
    Session,
    bytes::Reader,
    command::{Link, data, odd},
    error::IpmiError,
    message::{Family, Request},
    packet::Kind,
    session::KEEP_ALIVE_SECONDS,
    sol::{Packet, Port},
};

/// SOL's payload type and instance.
const PAYLOAD: u8 = 1;
const INSTANCE: u8 = 1;
/// Encryption and authentication on, alerts on a shared serial port succeed (24.1).
const PROTECTED: u8 = 0xc8;
/// Wait for an acknowledgement of keystrokes, and how often they are sent.
const ACKNOWLEDGE_MILLISECONDS: u64 = 500;
const SENDS_MAX: u32 = 12;

/// What the console tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Bytes that the machine printed.
    Bytes(Vec<u8>),
    /// The port takes no bytes now: the machine is off or resets.
    Unavailable,
    /// The controller switched the console off, or lets another have it.
    Ended,
}

/// An open console.
#[derive(Debug)]
pub struct Console {
    session: Session,
    port: Port,
    /// Heard while something else was awaited.
    heard: VecDeque<Heard>,
    sends: u32,
    resend: Option<time::Instant>,
    alive: time::Instant,
}

impl Console {
    /// Activates SOL on a session.
    ///
    /// # Errors
    /// When the controller refuses: code 0x80 is "another has it", 0x81 "it is switched off".
    pub async fn open(mut session: Session) -> Result<Self, IpmiError> {
        let body = [PAYLOAD, INSTANCE, PROTECTED, 0, 0, 0];
        let request = Request::new("opening the serial console", Family::App, 0x48, &body);
        let bytes = data(&mut session, &request).await?;
        let mut reader = Reader::new(&bytes);
        // Four bytes of the payload's own, what it takes, what it sends, its port.  The port is not followed: it
        // is ours already, or is meant for another network than the one that got us here.
        let room = reader.skip(4).and_then(|()| reader.u16());
        let room = room.ok_or_else(|| odd(&session, &request, bytes.len(), "twelve are expected"))?;
        let (port, heard) = (Port::new(room), VecDeque::new());
        Ok(Self { session, port, heard, sends: 0, resend: None, alive: alive() })
    }

    /// Takes the console from whoever has it, then opens it.
    ///
    /// # Errors
    /// When the controller refuses.
    pub async fn take(mut session: Session) -> Result<Self, IpmiError> {
        let request = deactivation();
        session.ask(&request).await?;
        Self::open(session).await
    }

    /// Waits for the next thing that the console tells, and sends keystrokes meanwhile.  May be dropped and called
    /// again: nothing is lost.
    ///
    /// # Errors
    /// When the session is lost, or keystrokes are not acknowledged.
    pub async fn next(&mut self) -> Result<Heard, IpmiError> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            if let Some(payload) = self.session.serial.pop_front() {
                self.take_in(&payload).await?;
                continue;
            }
            self.push().await?;
            let until = self.resend.map_or(self.alive, |resend| resend.min(self.alive));
            match self.session.hear_serial(until).await {
                Some((Kind::Sol, payload)) => self.session.keep_serial(payload),
                Some(_) => {}
                None if time::Instant::now() >= self.alive => {
                    self.session.keep_alive().await?;
                    self.alive = alive();
                }
                None => {}
            }
        }
    }

    /// Takes keystrokes, which [`Console::next`] sends; returns how many fitted.
    pub fn type_in(&mut self, keys: &[u8]) -> usize {
        self.port.type_in(keys)
    }

    /// Whether all keystrokes arrived.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.port.idle()
    }

    /// Ends the console and gives the session back.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub async fn close(mut self) -> Result<Session, IpmiError> {
        self.session.ask(&deactivation()).await?;
        Ok(self.session)
    }

    /// Sends what is due.
    async fn push(&mut self) -> Result<(), IpmiError> {
        let due = self.resend.is_some_and(|resend| time::Instant::now() >= resend);
        let payload = match self.port.due() {
            Some(payload) => {
                self.sends = 0;
                Some(payload)
            }
            None if due => self.port.again(),
            None => return Ok(()),
        };
        let Some(payload) = payload else {
            self.resend = None;
            return Ok(());
        };
        self.sends += 1;
        if self.sends > SENDS_MAX {
            let (host, what) = (self.session.host().to_owned(), "keystrokes".to_owned());
            return Err(IpmiError::NoAnswer { host, what, tries: SENDS_MAX, heard: String::new() });
        }
        self.resend = Some(time::Instant::now() + Duration::from_millis(ACKNOWLEDGE_MILLISECONDS));
        self.session.send(Kind::Sol, &payload).await
    }

    async fn take_in(&mut self, payload: &[u8]) -> Result<(), IpmiError> {
        let Some(packet) = Packet::read(payload) else { return Ok(()) };
        let (bytes, acknowledgement) = self.port.receive(&packet);
        if !bytes.is_empty() {
            self.heard.push_back(Heard::Bytes(bytes));
        }
        if packet.status.deactivated {
            self.heard.push_back(Heard::Ended);
        } else if packet.status.unavailable {
            self.heard.push_back(Heard::Unavailable);
        }
        match acknowledgement {
            Some(acknowledgement) => self.session.send(Kind::Sol, &acknowledgement).await,
            None => Ok(()),
        }
    }
}

fn alive() -> time::Instant {
    time::Instant::now() + Duration::from_secs(KEEP_ALIVE_SECONDS)
}

fn deactivation() -> Request {
    Request::new("closing the serial console", Family::App, 0x49, &[PAYLOAD, INSTANCE, 0, 0, 0, 0])
}
