//! Serial over LAN (IPMI 2.0, chapter 15): numbered pieces of output, each kept until it is acknowledged.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::bmc::power::SerialLine;

/// Longest piece in one packet.
pub(super) const PIECE_MAX: u16 = 200;

/// Most output that waits for a slow client; what is older is lost, as on a real line.
const WAITING_MAX: usize = 64 * 1024;

/// Most times that a piece is sent again.
const RETRIES_MAX: u8 = 20;

/// One activated console.
#[derive(Debug)]
pub(crate) struct Console {
    input: mpsc::Sender<Vec<u8>>,
    waiting: VecDeque<u8>,
    number: u8,
    pending: Option<(u8, Vec<u8>, u8)>,
    last_taken: u8,
    task: AbortHandle,
}

impl Console {
    /// Connects to the serial line; output arrives by `sender` with the session's id.
    pub(super) fn start(id: u32, line: SerialLine, sender: mpsc::Sender<(u32, Vec<u8>)>) -> Self {
        let SerialLine { mut output, input } = line;
        let task = tokio::spawn(async move {
            loop {
                match output.recv().await {
                    Ok(bytes) => {
                        if sender.send((id, bytes)).await.is_err() {
                            return;
                        }
                    }
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Self {
            input,
            waiting: VecDeque::new(),
            number: 0,
            pending: None,
            last_taken: 0,
            task: task.abort_handle(),
        }
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
        let over = self.waiting.len().saturating_sub(WAITING_MAX);
        self.waiting.drain(..over);
    }

    /// A packet of the client: acknowledgement, keys, or both; says what to answer.
    pub(super) fn take(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        let [number, acknowledged, _, operation, keys @ ..] = body else { return None };
        let (number, acknowledged) = (number & 0x0f, acknowledged & 0x0f);
        if self.pending.as_ref().is_some_and(|(pending, ..)| *pending == acknowledged) {
            self.pending = None;
        }
        if number == 0 {
            return None;
        }
        // A piece that is sent again is acknowledged again and not typed again.
        if number != self.last_taken && operation & 0x40 == 0 && !keys.is_empty() {
            if self.input.try_send(keys.to_vec()).is_err() {
                // Refused for now: the client sends it again.
                return Some(vec![0, number, 0, 0x40]);
            }
            self.last_taken = number;
        }
        let count = u8::try_from(keys.len()).unwrap_or(u8::MAX);
        Some(vec![0, number, count, 0])
    }

    /// The packet that is to be sent now, if any.
    pub(super) fn due(&mut self) -> Option<Vec<u8>> {
        if let Some((_, packet, tries)) = &mut self.pending {
            if *tries < RETRIES_MAX {
                *tries += 1;
                return Some(packet.clone());
            }
            self.pending = None;
        }
        if self.waiting.is_empty() {
            return None;
        }
        let count = self.waiting.len().min(usize::from(PIECE_MAX));
        self.number = if self.number >= 15 { 1 } else { self.number + 1 };
        let mut packet = vec![self.number, 0, 0, 0];
        packet.extend(self.waiting.drain(..count));
        self.pending = Some((self.number, packet.clone(), 0));
        Some(packet)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_waits_for_its_acknowledgement_and_keys_are_typed_once() {
        let (output, receiver) = tokio::sync::broadcast::channel(4);
        let (input, mut typed) = mpsc::channel(4);
        let (sender, mut pieces) = mpsc::channel(4);
        let mut console = Console::start(9, SerialLine { output: receiver, input }, sender);
        output.send(b"hello".to_vec()).unwrap();
        let (id, text) = pieces.recv().await.unwrap();
        assert_eq!((id, text.as_slice()), (9, &b"hello"[..]));
        console.queue(&text);
        let first = console.due().unwrap();
        assert_eq!(first, [&[1, 0, 0, 0][..], b"hello"].concat());
        console.queue(b"more");
        assert_eq!(console.due().unwrap(), first, "not acknowledged: the same again");
        assert_eq!(console.take(&[0, 1, 5, 0]), None);
        assert_eq!(console.due().unwrap()[0], 2);
        for _ in 0..2 {
            assert_eq!(console.take(&[3, 0, 0, 0, b'x']), Some(vec![0, 3, 1, 0]));
        }
        assert_eq!(typed.recv().await.unwrap(), b"x");
        assert!(typed.try_recv().is_err());
    }
}
