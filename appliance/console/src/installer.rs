//! The live medium's installer at the screen: a list of drives, and the words that name one.

use crate::Key;

/// Longer than any drive's words.
const LINE_CHARS_MAX: usize = 128;

/// A drive that the system could be put onto.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What people call it: its serial.
    pub called: String,
    /// Size, and what is on it.
    pub what: String,
    /// What is typed to allow it.
    pub words: String,
    /// Whether it can be had at all; if not, `what` says why.
    pub possible: bool,
}

/// Where one is.
#[derive(Debug)]
pub(crate) struct Installer {
    pub(crate) targets: Vec<Target>,
    pub(crate) at: usize,
    /// The words so far, once a drive was taken.
    pub(crate) typed: Option<String>,
}

/// What a key led to.
#[derive(Debug)]
pub(crate) enum Went {
    On,
    Back,
    Install(String),
}

impl Installer {
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        Self { targets, at: 0, typed: None }
    }

    pub(crate) fn chosen(&self) -> Option<&Target> {
        self.targets.get(self.at)
    }

    pub(crate) fn key(&mut self, key: Key) -> Went {
        match self.typed.take() {
            None => self.list(key),
            Some(typed) => self.write(key, typed),
        }
    }

    fn list(&mut self, key: Key) -> Went {
        let last = self.targets.len().saturating_sub(1);
        match key {
            Key::Up => self.at = self.at.saturating_sub(1),
            Key::Down => self.at = self.at.saturating_add(1).min(last),
            Key::First => self.at = 0,
            Key::Last => self.at = last,
            Key::Enter => {
                self.typed = self.chosen().filter(|target| target.possible).map(|_| String::new());
            }
            Key::Escape => return Went::Back,
            Key::Tab | Key::Back | Key::Letter(_) | Key::Quit => {}
        }
        Went::On
    }

    fn write(&mut self, key: Key, mut typed: String) -> Went {
        if key == Key::Escape {
            return Went::On;
        }
        if key == Key::Enter && self.chosen().is_some_and(|target| target.words == typed) {
            return Went::Install(typed);
        }
        key.write_in(&mut typed, LINE_CHARS_MAX);
        self.typed = Some(typed);
        Went::On
    }
}
