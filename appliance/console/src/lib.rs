//! The appliance's own screen, on its first virtual terminal and its serial port: addresses, the code of its page to
//! scan, health, and the first run.
//!
//! [`Console`] is all of it without a terminal: keys and news go in, a picture and wishes come out.  [`run`] puts it on a
//! terminal and asks the [`Machine`] that the caller brings.  What is asked in the first run and what follows is decided
//! by `appliance/first-run`; this room refuses to know addresses, files or services by itself.  Whoever sits at this
//! screen can set up a machine that has no site, and look at one that has: nothing here changes a site.  Read next:
//! `wizard.rs`, `draw.rs`.

mod draw;
mod qr;
mod run;
mod wizard;

#[cfg(test)]
mod tests;

use appliance_first_run::{Facts, Plan};
pub use run::{Machine, run};
use wizard::Wizard;

/// What there is to see now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The machine.
    pub facts: Facts,
    /// The site's name; `None` before the first run.
    pub site: Option<String>,
    /// Where a browser goes, whole: it is also the code to scan.  `None` while there is no address.
    pub page: Option<String>,
    /// What that page asks for.
    pub secret: Option<String>,
    /// How it goes, the gravest first.
    pub health: Vec<Line>,
}

/// One thing about the appliance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How grave it is.
    pub level: Level,
    /// What it is, and the next step where there is one.
    pub text: String,
}

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// As it should be.
    Good,
    /// To know.
    Warn,
    /// It does not work.
    Bad,
}

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// One line up.
    Up,
    /// One line down.
    Down,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// Takes it.
    Enter,
    /// The next choice.
    Tab,
    /// Takes a letter back.
    Back,
    /// Leaves it.
    Escape,
    /// A letter.
    Letter(char),
    /// Ctrl-C.
    Quit,
}

/// What came of a first run.
#[derive(Debug, Clone)]
pub struct Done {
    /// The admin's password, shown this once.
    pub password: String,
}

/// What the screen wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// Look around again, and listen on the LANs for other DHCP servers.
    Listen,
    /// Make the site.
    Make(Box<Plan>),
    /// End: the terminal's owner starts it again.
    Quit,
}

/// The screen without a terminal.
#[derive(Debug, Default)]
pub struct Console {
    seen: Option<Seen>,
    wizard: Option<Wizard>,
    busy: Option<&'static str>,
    done: Option<Result<Done, String>>,
}

impl Console {
    /// News of the machine.
    pub fn show(&mut self, seen: Seen) {
        if self.busy == Some(LISTENING) {
            self.busy = None;
        }
        self.seen = Some(seen);
    }

    /// What came of [`Want::Make`].
    pub fn made(&mut self, done: Result<Done, String>) {
        self.busy = None;
        if done.is_ok() {
            self.wizard = None;
        }
        self.done = Some(done);
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key) -> Option<Want> {
        if key == Key::Quit {
            return Some(Want::Quit);
        }
        if self.busy.is_some() {
            return None;
        }
        if self.done.is_some() {
            if key == Key::Enter {
                self.done = None;
            }
            return None;
        }
        let seen = self.seen.as_ref()?;
        if let Some(wizard) = &mut self.wizard {
            return match wizard.key(key, &seen.facts) {
                wizard::Went::On => None,
                wizard::Went::Back => {
                    self.wizard = None;
                    None
                }
                wizard::Went::Make(plan) => {
                    self.busy = Some(MAKING);
                    Some(Want::Make(plan))
                }
            };
        }
        if seen.site.is_some() {
            return None;
        }
        match key {
            Key::Enter => self.wizard = Some(Wizard::default()),
            Key::Letter('l') => {
                self.busy = Some(LISTENING);
                return Some(Want::Listen);
            }
            Key::Up
            | Key::Down
            | Key::First
            | Key::Last
            | Key::Tab
            | Key::Back
            | Key::Escape
            | Key::Letter(_)
            | Key::Quit => {}
        }
        None
    }
}

const LISTENING: &str = "listening for other DHCP servers…";
const MAKING: &str = "making the site…";
