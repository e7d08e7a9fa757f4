//! The appliance's own screen, on its first virtual terminal and its serial port: addresses, the code of its page to
//! scan, health, and the first run.
//!
//! [`Console`] is all of it without a terminal: keys and news go in, a picture and wishes come out.  [`run`] puts it on a
//! terminal and asks the [`Machine`] that the caller brings.  What is asked in the first run and what follows is decided
//! by `appliance/first-run`; this room refuses to know addresses, files or services by itself.  Whoever sits at this
//! screen can set up a machine that has no site, look at one that has, and install what was started from a live medium:
//! nothing here changes a site.  Read next: `wizard.rs`, `installer.rs`, `draw.rs`.

mod draw;
mod installer;
mod qr;
mod run;
mod wizard;

#[cfg(test)]
mod tests;

use appliance_first_run::{Facts, Plan};
use installer::Installer;
pub use installer::Target;
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
    /// Whether it was started from a live medium, which can be put onto a drive.
    pub live: bool,
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

impl Key {
    /// Writes on, or takes back, in a text of at most so many letters; every other key leaves it alone.
    fn write_in(self, text: &mut String, most: usize) {
        match self {
            Key::Letter(letter) if text.chars().count() < most => text.push(letter),
            Key::Back => {
                text.pop();
            }
            Key::Letter(_)
            | Key::Up
            | Key::Down
            | Key::First
            | Key::Last
            | Key::Enter
            | Key::Tab
            | Key::Escape
            | Key::Quit => {}
        }
    }
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
    /// Say which drives there are.
    Drives,
    /// Put the system onto the drive that these words name.
    Install(String),
    /// Restart the machine.
    Restart,
    /// End: the terminal's owner starts it again.
    Quit,
}

/// The screen without a terminal.
#[derive(Debug, Default)]
pub struct Console {
    seen: Option<Seen>,
    wizard: Option<Wizard>,
    installer: Option<Installer>,
    busy: Option<String>,
    done: Option<Result<Done, String>>,
    installed: Option<Result<String, String>>,
}

impl Console {
    /// News of the machine.
    pub fn show(&mut self, seen: Seen) {
        if self.busy.as_deref() == Some(LISTENING) {
            self.busy = None;
        }
        self.seen = Some(seen);
    }

    /// What came of [`Want::Drives`].
    pub fn drives(&mut self, found: Result<Vec<Target>, String>) {
        self.busy = None;
        match found {
            Ok(targets) => self.installer = Some(Installer::new(targets)),
            Err(why) => self.installed = Some(Err(why)),
        }
    }

    /// How far [`Want::Install`] is.
    pub fn progress(&mut self, words: String) {
        self.busy = Some(words);
    }

    /// What came of [`Want::Install`].
    pub fn installed(&mut self, done: Result<String, String>) {
        self.busy = None;
        self.installer = None;
        self.installed = Some(done);
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
        if let Some(installed) = &self.installed {
            if key != Key::Enter {
                return None;
            }
            let restart = installed.is_ok().then_some(Want::Restart);
            match &restart {
                Some(_) => self.busy = Some(RESTARTING.to_owned()),
                None => self.installed = None,
            }
            return restart;
        }
        if let Some(installer) = &mut self.installer {
            match installer.key(key) {
                installer::Went::On => {}
                installer::Went::Back => self.installer = None,
                installer::Went::Install(words) => {
                    self.busy = Some(INSTALLING.to_owned());
                    return Some(Want::Install(words));
                }
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
                    self.busy = Some(MAKING.to_owned());
                    Some(Want::Make(plan))
                }
            };
        }
        self.overview(key)
    }

    /// A key where nothing was begun.
    fn overview(&mut self, key: Key) -> Option<Want> {
        let seen = self.seen.as_ref()?;
        let (live, bare) = (seen.live, seen.site.is_none());
        match key {
            Key::Letter('i') if live => {
                self.busy = Some(LOOKING.to_owned());
                return Some(Want::Drives);
            }
            Key::Enter if bare => self.wizard = Some(Wizard::default()),
            Key::Letter('l') if bare => {
                self.busy = Some(LISTENING.to_owned());
                return Some(Want::Listen);
            }
            Key::Enter
            | Key::Up
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
const LOOKING: &str = "looking at the drives…";
const INSTALLING: &str = "installing…";
const RESTARTING: &str = "restarting…";
