//! The loop: hello, next, do, report; for ever.  An appliance that is away is waited for, a session it has forgotten
//! is opened again with the same hello, an order it repeats is answered with the same outcome.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use appliance_api::agent::{Hello, Order, Outcome, Report, Welcome, Work};
use appliance_model::Digest;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::{CallError, Client},
    console::{self, chain},
    erase,
    glass::Glass,
    identity::{self, Lent},
    residence, say,
    state::State,
    system::{self, Leave},
    work::Hands,
};

/// Pauses between tries while the appliance is away: the last one repeats.
const PAUSE_MILLISECONDS: [u64; 6] = [200, 500, 1000, 2000, 5000, 10_000];

/// Between two looks at whether this machine is still held.
const HOLD: Duration = Duration::from_secs(3);

/// What the loop is given.
#[derive(Debug)]
pub struct Talk {
    /// The appliance.
    pub client: Arc<Client>,
    /// What is remembered within this boot.
    pub state: State,
    /// Where `/sys`, `/proc` and `/dev` are.
    pub root: PathBuf,
    /// Device or socket of the TPM.
    pub tpm: PathBuf,
    /// Tickets found elsewhere than in the log, for boots whose URL no log shows.
    pub lent: Lent,
    /// This machine's door, where a person broke the glass.
    pub glass: Glass,
    hello: Mutex<Option<Hello>>,
}

impl Talk {
    /// Puts the parts together.
    pub fn new(client: Client, state: State, root: PathBuf, tpm: PathBuf, lent: Lent) -> Self {
        let (client, glass, hello) = (Arc::new(client), Glass::default(), Mutex::new(None));
        Self { client, state, root, tpm, lent, glass, hello }
    }

    /// Takes and answers orders until one says to leave.  `ready` returns when all hardware has its drivers; it is
    /// called before the first order, and the hello goes out before that.
    pub fn run(&self, ready: impl FnOnce()) -> Leave {
        self.greet();
        ready();
        let mut last: Option<(u64, Outcome)> = None;
        let erased = erase::Told::default();
        let mut held = String::new();
        loop {
            let order: Order = self.insist("next", |client| client.ask("next", &()));
            console::wish(wanted(&order.work));
            match order.work {
                Work::Wait => {}
                Work::Hold { why } => {
                    if held != why {
                        say!("{why}; Enter shows what can be asked here");
                        held = why;
                    }
                    thread::sleep(HOLD);
                }
                Work::Switch => match (Hands { talk: self, order: order.id }).switch() {
                    Ok(how) => return self.go(order.id, how),
                    Err(why) => self.report(order.id, Outcome::Failed { why }),
                },
                Work::Reboot => return self.go(order.id, Leave::Reboot),
                Work::PowerOff => return self.go(order.id, Leave::PowerOff),
                Work::Erase(drives) => Hands { talk: self, order: order.id }.erase(&drives, &erased),
                work @ (Work::Inventory { .. }
                | Work::Identify
                | Work::Activate { .. }
                | Work::Quote(_)
                | Work::NodeConsent(_)
                | Work::Carve(_)
                | Work::Uncarve(_)
                | Work::BurnIn(_)
                | Work::Install(_)
                | Work::Plant(_)
                | Work::Unlock(_)
                | Work::Lock
                | Work::Promote { .. }) => {
                    let outcome = match last {
                        Some((id, outcome)) if id == order.id => outcome,
                        Some(_) | None => Hands { talk: self, order: order.id }.carry_out(work),
                    };
                    self.report(order.id, outcome.clone());
                    last = Some((order.id, outcome));
                }
            }
        }
    }

    fn go(&self, order: u64, how: Leave) -> Leave {
        self.report(order, Outcome::Leaving);
        how
    }

    /// Delivers an outcome, however long that takes.
    pub fn report(&self, order: u64, outcome: Outcome) {
        if let Outcome::Failed { why } = &outcome {
            say!("order {order}: {why}");
        }
        if let Err(why) = self.deliver(order, outcome) {
            say!("report on order {order}: {why}");
        }
    }

    /// The same; why the appliance will not have it, where it won't: saying it again would change nothing.
    pub fn deliver(&self, order: u64, outcome: Outcome) -> Result<(), String> {
        let report = Report { order, outcome };
        self.insist("report", |client| taken(client.tell("report", &report)))
    }

    /// Asks for something that an order needs, however long that takes.
    pub fn fetch<A: DeserializeOwned>(&self, call: &str, question: &impl Serialize) -> Result<A, String> {
        self.insist(call, |client| taken(client.ask(call, question)))
    }

    /// Bytes `from..until` of a part of a release, however long that takes.
    pub fn part(&self, sha256: Digest, from: u64, until: u64) -> Result<Vec<u8>, String> {
        self.insist("part", |client| taken(client.part(sha256, from, until)))
    }

    /// Opens a session.
    fn greet(&self) {
        let mut hello = {
            let mut known = self.hello.lock().unwrap_or_else(PoisonError::into_inner);
            known
                .get_or_insert_with(|| identity::hello(&self.root, self.state.boot_nonce(), self.lent))
                .clone()
        };
        // What changes while a system runs: it is promoted.
        hello.residence = residence::residence(&self.root, &self.tpm);
        let mut pauses = Pauses::default();
        loop {
            self.client.use_session(None);
            match self.client.ask::<Welcome>("hello", &hello) {
                Ok(welcome) => match welcome.session.parse() {
                    Ok(session) => {
                        self.client.use_session(Some(session));
                        if let Some(date) = self.client.date() {
                            system::set_clock(&date);
                        }
                        say!(
                            "the appliance at {} knows this machine as {}",
                            self.client.base(),
                            welcome.host
                        );
                        return;
                    }
                    Err(_) => pauses.wait("hello: the appliance gave no session that can be read"),
                },
                Err(error) => pauses.wait(&format!("hello: {}", chain(&error))),
            }
        }
    }

    /// Calls until it works, with a new session where the old one is not known any more.
    fn insist<A>(&self, what: &str, call: impl Fn(&Client) -> Result<A, CallError>) -> A {
        let mut pauses = Pauses::default();
        loop {
            match call(&self.client) {
                Ok(answer) => return answer,
                Err(CallError::Session) => {
                    // An appliance that takes a hello and forgets it at once must not be asked without pause.
                    pauses.wait("the appliance has forgotten this session");
                    self.greet();
                }
                Err(error) => pauses.wait(&format!("{what}: {}", chain(&error))),
            }
        }
    }
}

/// An order in words, for a person at the console.
fn wanted(work: &Work) -> String {
    match work {
        Work::Wait => "nothing now".into(),
        Work::Hold { why } => why.clone(),
        Work::Inventory { .. } => "an inventory".into(),
        Work::Identify | Work::Activate { .. } => "to know whose TPM this is".into(),
        Work::Quote(_) => "a quote".into(),
        Work::BurnIn(_) => "the burn-in".into(),
        Work::NodeConsent(_) => "consent to the registration".into(),
        Work::Carve(_) | Work::Uncarve(_) => "units to be made, or unmade".into(),
        Work::Erase(order) => format!("{} drives to be erased", order.drives.len()),
        Work::Install(_) => "a system to be installed".into(),
        Work::Promote { .. } | Work::Switch => "the system in the other slot, or this one kept".into(),
        Work::Plant(_) | Work::Unlock(_) => "SSH to be opened for a person (break-glass)".into(),
        Work::Lock => "SSH to be closed".into(),
        Work::Reboot => "a restart".into(),
        Work::PowerOff => "the power off".into(),
    }
}

/// A refusal is an answer too.
fn taken<A>(result: Result<A, CallError>) -> Result<Result<A, String>, CallError> {
    match result {
        Ok(answer) => Ok(Ok(answer)),
        Err(error @ CallError::Declined { .. }) => Ok(Err(chain(&error))),
        Err(error @ (CallError::Unreachable { .. } | CallError::Session)) => Err(error),
    }
}

/// Growing pauses, and one line on the console for each new reason.
#[derive(Default)]
struct Pauses {
    tries: usize,
    said: String,
}

impl Pauses {
    fn wait(&mut self, why: &str) {
        let pause = PAUSE_MILLISECONDS.get(self.tries).or(PAUSE_MILLISECONDS.last()).copied().unwrap_or(1000);
        if self.said != why {
            say!("{why}; trying again");
            why.clone_into(&mut self.said);
        }
        self.tries += 1;
        thread::sleep(Duration::from_millis(pause));
    }
}
