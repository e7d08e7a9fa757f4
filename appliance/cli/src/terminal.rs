//! The operator's terminal: passwords without an echo, and a serial console's raw keys.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// A terminal in another mode; it is put back when this ends.
#[derive(Debug)]
pub(crate) struct Changed(Termios);

impl Changed {
    /// Every key goes through as it is, none is shown.  `None` if standard input is no terminal.
    pub(crate) fn raw() -> anyhow::Result<Option<Self>> {
        Self::with(cfmakeraw)
    }

    fn with(change: impl FnOnce(&mut Termios)) -> anyhow::Result<Option<Self>> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input).context("the terminal does not say how it is set")?;
        let mut after = before.clone();
        change(&mut after);
        tcsetattr(&input, SetArg::TCSAFLUSH, &after).context("the terminal cannot be set")?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// A password: the first line of a file, else asked for at the terminal.
pub(crate) fn password(file: Option<&Path>, whose: &str) -> anyhow::Result<String> {
    let text = match file {
        Some(file) => {
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
        }
        None => {
            let hidden = Changed::with(|terminal| terminal.local_flags.remove(LocalFlags::ECHO))?;
            if hidden.is_none() {
                bail!(
                    "standard input is no terminal to ask for a password at; name a file with --password-file or --passphrase-file"
                );
            }
            eprint!("password of {whose}: ");
            std::io::stderr().flush()?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).context("the password could not be read")?;
            eprintln!();
            line
        }
    };
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
