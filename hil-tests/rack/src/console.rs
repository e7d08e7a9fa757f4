//! The serial console of a virtual server: every line with the time since power-on.
//!
//! Lines go to `console.log` in the host's folder and stay in memory (bounded) for tests to search.  Escape sequences
//! are taken out, since OVMF paints even on a serial line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, watch};

use crate::bmc::SerialLine;
use crate::error::RackError;

/// Most lines kept in memory per power-on; a panicking kernel in a loop must not eat the test machine.
const LINES_MAX: usize = 20_000;

/// Longest line; longer ones are split.
const LINE_BYTES_MAX: usize = 4096;

/// Pieces of raw output that a slow onlooker may be behind.
const RAW_BEHIND_MAX: usize = 256;

/// One line of console output.
#[derive(Clone, Debug)]
pub struct Line {
    /// Time since the last power-on (not since a reset).
    pub at: Duration,
    /// The text, without control characters.
    pub text: String,
}

/// The console of one server, over all its power-ons.
#[derive(Debug)]
pub struct Console {
    host: String,
    shown: Mutex<Shown>,
    changed: watch::Sender<u64>,
    /// Raw output, for whoever looks over the BMC.
    raw: broadcast::Sender<Vec<u8>>,
    typed: mpsc::Sender<Vec<u8>>,
    keyboard: tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>,
}

#[derive(Debug)]
struct Shown {
    power_on: Instant,
    lines: Vec<Line>,
    partial: String,
    partial_at: Duration,
    escape: Escape,
    log: std::fs::File,
}

/// Where the filter stands inside an ANSI escape sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    No,
    Started,
    Control,
}

impl Console {
    pub(crate) fn open(host: &str, log: &Path) -> Result<Self, RackError> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(RackError::io("open", log))?;
        let shown = Shown {
            power_on: now(),
            lines: Vec::new(),
            partial: String::new(),
            partial_at: Duration::ZERO,
            escape: Escape::No,
            log,
        };
        let (typed, keyboard) = mpsc::channel(64);
        Ok(Self {
            host: host.to_owned(),
            shown: Mutex::new(shown),
            changed: watch::Sender::new(0),
            raw: broadcast::Sender::new(RAW_BEHIND_MAX),
            typed,
            keyboard: tokio::sync::Mutex::new(keyboard),
        })
    }

    /// Forgets the lines of the power-on before; the clock starts anew.
    pub(crate) fn restart(&self) {
        let mut shown = self.shown();
        shown.power_on = now();
        shown.lines.clear();
        shown.partial.clear();
        shown.escape = Escape::No;
        drop(writeln!(shown.log, "---- power-on ----"));
    }

    /// Both directions of the line, for one more who looks.
    pub(crate) fn line(&self) -> SerialLine {
        SerialLine { output: self.raw.subscribe(), input: self.typed.clone() }
    }

    /// Sends keys, as somebody who sits there.
    pub(crate) async fn types(&self, keys: &str) {
        // The keyboard lives as long as `self`.
        drop(self.typed.send(keys.as_bytes().to_vec()).await);
    }

    /// Copies what the server prints until it stops, and types what others send.
    pub(crate) async fn follow(&self, stream: UnixStream) {
        let (mut screen, mut keys) = stream.into_split();
        let mut keyboard = self.keyboard.lock().await;
        let mut bytes = [0_u8; 4096];
        loop {
            tokio::select! {
                read = screen.read(&mut bytes) => {
                    let Ok(count @ 1..) = read else { return };
                    let new = bytes.get(..count).unwrap_or_default();
                    self.shown().take(new);
                    self.changed.send_modify(|turn| *turn = turn.wrapping_add(1));
                    // Mostly nobody looks.
                    drop(self.raw.send(new.to_vec()));
                }
                typed = keyboard.recv() => {
                    if keys.write_all(&typed.unwrap_or_default()).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// When a line with `pattern` in it was first printed since the last power-on.
    ///
    /// The unfinished last line counts too: a prompt has no newline.
    #[must_use]
    pub fn first_line_matching(&self, pattern: &str) -> Option<Duration> {
        self.find(pattern).map(|line| line.at)
    }

    /// The first line with `pattern` in it since the last power-on.
    #[must_use]
    pub fn find(&self, pattern: &str) -> Option<Line> {
        let shown = self.shown();
        let complete = shown.lines.iter().find(|line| line.text.contains(pattern)).cloned();
        complete.or_else(|| {
            let partial = shown.partial.contains(pattern);
            partial.then(|| Line { at: shown.partial_at, text: shown.partial.clone() })
        })
    }

    /// How long ago the last power-on was.
    #[must_use]
    pub fn since_power_on(&self) -> Duration {
        self.shown().power_on.elapsed()
    }

    /// Waits until a line with `pattern` in it has been printed since the last power-on.
    ///
    /// # Errors
    /// When `limit` passes first; the error holds the last lines.
    pub async fn wait(&self, pattern: &str, limit: Duration) -> Result<Line, RackError> {
        let mut changes = self.changed.subscribe();
        let search = async {
            loop {
                if let Some(line) = self.find(pattern) {
                    return line;
                }
                // The sender lives as long as `self`.
                drop(changes.changed().await);
            }
        };
        tokio::time::timeout(limit, search).await.map_err(|_| RackError::Timeout {
            host: self.host.clone(),
            what: format!("`{pattern}` on the console"),
            waited: limit,
            tail: self.tail(12),
        })
    }

    /// All lines since the last power-on.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shown().lines.clone()
    }

    /// The last `count` lines in one text.
    #[must_use]
    pub fn tail(&self, count: usize) -> String {
        let shown = self.shown();
        let skip = shown.lines.len().saturating_sub(count);
        let mut text = String::new();
        for line in shown.lines.iter().skip(skip) {
            let _ = write!(text, "\n  {:>7} ms  {}", line.at.as_millis(), line.text);
        }
        if !shown.partial.is_empty() {
            let _ = write!(text, "\n  {:>7} ms  {}", shown.partial_at.as_millis(), shown.partial);
        }
        text
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    fn take(&mut self, bytes: &[u8]) {
        let at = self.power_on.elapsed();
        for &byte in bytes {
            match (self.escape, byte) {
                (Escape::No, 0x1b) => self.escape = Escape::Started,
                (Escape::No, b'\n' | b'\r') => self.end_line(),
                (Escape::No, 0x20..=0x7e) => self.push(at, byte),
                (Escape::No, _) => {}
                (Escape::Started, b'[') => self.escape = Escape::Control,
                // The cursor jumps or the screen is cleared: what follows does not continue the line.
                (Escape::Control, b'H' | b'J') => {
                    self.escape = Escape::No;
                    self.end_line();
                }
                (Escape::Started, _) | (Escape::Control, 0x40..=0x7e) => self.escape = Escape::No,
                (Escape::Control, _) => {}
            }
        }
    }

    fn push(&mut self, at: Duration, byte: u8) {
        if self.partial.is_empty() {
            self.partial_at = at;
        }
        self.partial.push(char::from(byte));
        if self.partial.len() >= LINE_BYTES_MAX {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let text = std::mem::take(&mut self.partial);
        if text.trim().is_empty() {
            return;
        }
        // The log is for people; losing a line of it to a full disk must not end the test.
        drop(writeln!(self.log, "{:>8} ms  {text}", self.partial_at.as_millis()));
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line { at: self.partial_at, text });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the console is a stopwatch: it measures boot times")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console() -> (tempfile::TempDir, Console) {
        let folder = tempfile::tempdir().unwrap();
        let console = Console::open("LAB00001", &folder.path().join("console.log")).unwrap();
        (folder, console)
    }

    #[test]
    fn paint_is_removed_and_lines_are_found() {
        let (_folder, console) = console();
        console.shown().take(b"\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001\r\n\x1b[0mShell> ");
        assert_eq!(console.lines().len(), 1);
        assert_eq!(console.find("Boot0001").unwrap().text, "BdsDxe: loading Boot0001");
        assert!(console.first_line_matching("Shell>").is_some());
        assert!(console.first_line_matching("login").is_none());
        console.restart();
        assert!(console.first_line_matching("Boot0001").is_none());
    }

    #[test]
    fn a_cleared_screen_ends_the_line_that_a_reset_cut_off() {
        let (_folder, console) = console();
        console.shown().take(b">>Start HTTP Boot...\x1b[2J\x1b[01;01H>>Start HTTP Boot");
        assert_eq!(console.lines().len(), 1);
        assert_eq!(console.find(">>Start").unwrap().text, ">>Start HTTP Boot...");
    }

    #[test]
    fn endless_output_stays_bounded() {
        let (_folder, console) = console();
        console.shown().take(&vec![b'x'; LINE_BYTES_MAX * 3 + 1]);
        assert_eq!(console.lines().len(), 3);
        console.shown().take(&b"y\n".repeat(LINES_MAX + 10));
        assert_eq!(console.lines().len(), LINES_MAX);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_line_or_with_the_tail() {
        let (_folder, console) = console();
        console.shown().take(b"hello\n");
        assert_eq!(console.wait("hell", Duration::from_secs(60)).await.unwrap().text, "hello");
        let error = console.wait("never", Duration::from_millis(1)).await.unwrap_err();
        assert!(error.to_string().contains("hello"), "{error}");
    }
}
