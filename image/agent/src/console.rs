//! Lines for whoever looks at the console: milliseconds since power-on, then words.

use std::{
    collections::VecDeque,
    fmt,
    io::Write as _,
    sync::{Mutex, PoisonError},
};

/// As many lines as two screens show.
const LINES_MAX: usize = 48;

/// What the menu shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What the appliance wants of this machine.
    pub wish: String,
    /// The last lines.
    pub lines: Vec<String>,
}

static WISH: Mutex<String> = Mutex::new(String::new());
static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Remembers what the appliance wants, for whoever asks; said once for each change.
pub fn wish(text: String) {
    let mut wish = WISH.lock().unwrap_or_else(PoisonError::into_inner);
    if *wish != text {
        *wish = text;
    }
}

/// What is remembered.
pub fn seen() -> Seen {
    let wish = WISH.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let wish = if wish.is_empty() { "no appliance has answered yet" } else { wish.as_str() };
    Seen { wish: wish.to_owned(), lines: lines.iter().cloned().collect() }
}

/// Prints a line.  A console that is gone is no reason to stop, so errors are dropped here and only here.
pub fn say(text: fmt::Arguments<'_>) {
    let line = format!("[{:>8}] {text}\n", up_milliseconds());
    let _ = std::io::stderr().write_all(line.as_bytes());
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() >= LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(line.trim_end().to_owned());
}

/// `say!("{} ports", n)`.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => { $crate::console::say(format_args!($($part)*)) };
}

/// An error and what caused it, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Milliseconds since the kernel started.
pub fn up_milliseconds() -> i64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
    now.map_or(0, |now| now.tv_sec() * 1000 + now.tv_nsec() / 1_000_000)
}
