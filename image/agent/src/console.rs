//! Lines for whoever looks at the console: milliseconds since power-on, then words.

use std::{fmt, io::Write as _};

/// Prints a line.  A console that is gone is no reason to stop, so errors are dropped here and only here.
pub fn say(text: fmt::Arguments<'_>) {
    let line = format!("[{:>8}] {text}\n", up_milliseconds());
    let _ = std::io::stderr().write_all(line.as_bytes());
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
