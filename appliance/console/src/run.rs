//! The screen on a terminal.

use std::{
    io,
    sync::mpsc::{Receiver, Sender, TryRecvError, channel},
    time::Duration,
};

use appliance_first_run::Plan;
use ratatui::{
    Terminal, TerminalOptions, Viewport,
    backend::CrosstermBackend,
    crossterm::{
        cursor::Show,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute,
        terminal::{
            Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
        },
    },
    layout::Rect,
};

use crate::{Console, Done, Key, Seen, Target, Want};

/// How often a key is waited for before news are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often the machine is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// A serial line does not say how large the terminal at its end is.
const SERIAL: Rect = Rect { x: 0, y: 0, width: 80, height: 24 };

/// The machine that the screen is of.
pub trait Machine: Send {
    /// What there is to see.  It may take seconds where it listens.
    fn look(&mut self, listen: bool) -> Seen;

    /// Makes the site.
    ///
    /// # Errors
    /// Why not, in words for the screen.
    fn make(&mut self, plan: &Plan) -> Result<Done, String>;

    /// The drives that a live system could be put onto.
    ///
    /// # Errors
    /// Why not, in words for the screen.
    fn drives(&mut self) -> Result<Vec<Target>, String>;

    /// Puts it onto the drive that these words name, and says how far it is; gives what to do next.
    ///
    /// # Errors
    /// Why not, in words for the screen.
    fn install(&mut self, words: &str, tell: &mut dyn FnMut(&str)) -> Result<String, String>;

    /// Restarts the machine.
    fn restart(&mut self);
}

enum News {
    Seen(Box<Seen>),
    Made(Result<Done, String>),
    Drives(Result<Vec<Target>, String>),
    Progress(String),
    Installed(Result<String, String>),
}

/// Puts the screen on this process's terminal until Ctrl-C.
///
/// # Errors
/// If the terminal cannot be used.
pub fn run(machine: impl Machine + 'static) -> io::Result<()> {
    let _restored = Restored::enter()?;
    let backend = CrosstermBackend::new(io::stdout());
    let known = ratatui::crossterm::terminal::size().is_ok_and(|(width, height)| width > 0 && height > 0);
    let viewport = if known { Viewport::Fullscreen } else { Viewport::Fixed(SERIAL) };
    let mut terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
    let (wants, asked) = channel();
    let (tell, news) = channel();
    // Looking takes seconds; keys do not wait for it.
    std::thread::spawn(move || attend(machine, &asked, &tell));
    let mut console = Console::default();
    loop {
        while let Some(news) = next(&news)? {
            match news {
                News::Seen(seen) => console.show(*seen),
                News::Made(done) => console.made(done),
                News::Drives(found) => console.drives(found),
                News::Progress(words) => console.progress(words),
                News::Installed(done) => console.installed(done),
            }
        }
        terminal.draw(|frame| console.draw(frame))?;
        if !event::poll(TICK)? {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            match key_of(key).and_then(|key| console.key(key)) {
                Some(Want::Quit) => return Ok(()),
                Some(want) => wants.send(want).map_err(|_| gone())?,
                None => {}
            }
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "terminals have a hundred keys that mean nothing here")]
fn key_of(key: KeyEvent) -> Option<Key> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Key::Quit);
    }
    Some(match key.code {
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::First,
        KeyCode::End => Key::Last,
        KeyCode::Enter => Key::Enter,
        KeyCode::Tab => Key::Tab,
        KeyCode::Backspace => Key::Back,
        KeyCode::Esc => Key::Escape,
        KeyCode::Char(letter) => Key::Letter(letter),
        _ => return None,
    })
}

fn next(news: &Receiver<News>) -> io::Result<Option<News>> {
    match news.try_recv() {
        Ok(news) => Ok(Some(news)),
        Err(TryRecvError::Empty) => Ok(None),
        Err(TryRecvError::Disconnected) => Err(gone()),
    }
}

fn gone() -> io::Error {
    io::Error::other("the part that looks at the machine has ended; start the console again")
}

/// Looks and makes, until nobody listens any more.
fn attend(mut machine: impl Machine, asked: &Receiver<Want>, tell: &Sender<News>) {
    let mut listen = true;
    loop {
        let seen = machine.look(listen);
        listen = false;
        if tell.send(News::Seen(Box::new(seen))).is_err() {
            return;
        }
        let news = match asked.recv_timeout(LOOK_EVERY) {
            Ok(Want::Listen) => {
                listen = true;
                continue;
            }
            Ok(Want::Make(plan)) => News::Made(machine.make(&plan)),
            Ok(Want::Drives) => News::Drives(machine.drives()),
            Ok(Want::Install(words)) => {
                // Who is gone need not be told how far it is; it goes on.
                let mut on = |words: &str| drop(tell.send(News::Progress(words.to_owned())));
                News::Installed(machine.install(&words, &mut on))
            }
            Ok(Want::Restart) => {
                machine.restart();
                continue;
            }
            Ok(Want::Quit) | Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => continue,
        };
        if tell.send(news).is_err() {
            return;
        }
    }
}

/// Puts the terminal back, whatever ends this.
struct Restored;

impl Restored {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        let restored = Self;
        // Cleared by hand: what the library does asks the terminal where its cursor is, and a serial line does not answer.
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
        Ok(restored)
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
