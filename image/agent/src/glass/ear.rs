//! What the SSH server says, line by line: who came, with which key, when he went.  Whoever knocks can make it say
//! things, so that lines, letters and their number are bounded, and nothing in them is believed.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use appliance_api::agent::glass::{LINE_CHARS_MAX, LINES_ALL_MAX, LINES_MAX};

use crate::say;

/// What was heard, and how much of it was told.
#[derive(Debug)]
pub(super) struct Ear {
    lines: Arc<Mutex<Vec<String>>>,
    told: usize,
}

impl Ear {
    /// Listens until the other end is closed.
    pub(super) fn new(said: impl Read + Send + 'static) -> Self {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&lines);
        thread::spawn(move || {
            listen(said, |line| {
                let mut lines = heard.lock().unwrap_or_else(PoisonError::into_inner);
                let count = u64::try_from(lines.len()).unwrap_or(u64::MAX);
                if count < LINES_ALL_MAX {
                    say!("break-glass: {line}");
                    lines.push(line);
                } else if count == LINES_ALL_MAX {
                    lines.push("more was said, and is not told".into());
                }
            });
        });
        Self { lines, told: 0 }
    }

    /// The next lines that were not told, and how many there were before.
    pub(super) fn untold(&self) -> Option<(u64, Vec<String>)> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let next: Vec<String> = lines.iter().skip(self.told).take(LINES_MAX).cloned().collect();
        (!next.is_empty()).then(|| (u64::try_from(self.told).unwrap_or(u64::MAX), next))
    }

    /// So many more were told.
    pub(super) fn told(&mut self, count: usize) {
        self.told += count;
    }
}

/// Gives each line, as far as a line is long, without control characters.
fn listen(mut said: impl Read, mut take: impl FnMut(String)) {
    let mut line: Vec<u8> = Vec::new();
    let mut done = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        let text: String = text.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect();
        line.clear();
        if !text.trim().is_empty() {
            take(text);
        }
    };
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = said.read(&mut piece) {
        for byte in piece.iter().take(count) {
            match byte {
                b'\n' => done(&mut line),
                // Bytes of a letter are four at most; the rest of a longer line is not kept.
                byte if line.len() < LINE_CHARS_MAX * 4 => line.push(*byte),
                _ => {}
            }
        }
    }
    done(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_plain() {
        let mut heard = Vec::new();
        let long = "x".repeat(LINE_CHARS_MAX * 9);
        let said = format!("one\r\n\n\x1b[2Jtwo\n{long}\nlast");
        listen(said.as_bytes(), |line| heard.push(line));
        assert_eq!(heard[..2], ["one", "[2Jtwo"]);
        assert_eq!((heard[2].len(), heard[3].as_str()), (LINE_CHARS_MAX, "last"));
    }

    #[test]
    fn what_was_told_is_not_told_again_and_a_flood_ends() {
        let said = "knock\n".repeat(usize::try_from(LINES_ALL_MAX).unwrap() * 3);
        let mut ear = Ear::new(std::io::Cursor::new(said.into_bytes()));
        let (mut all, mut looks) = (Vec::new(), 0);
        while all.len() <= usize::try_from(LINES_ALL_MAX).unwrap() && looks < 100_000 {
            looks += 1;
            let Some((from, lines)) = ear.untold() else {
                thread::yield_now();
                continue;
            };
            assert_eq!(usize::try_from(from).unwrap(), all.len());
            ear.told(lines.len());
            all.extend(lines);
        }
        assert_eq!(all.last().map(String::as_str), Some("more was said, and is not told"));
    }
}
