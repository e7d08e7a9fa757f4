//! What can happen in a run, what it asks for, and what a look at a controller shows.

use std::collections::BTreeSet;

use appliance_model::{Now, Ticket};

use super::{Remedy, Restart};

/// What one look at a controller shows of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// All of it is as the step wants it.
    pub there: bool,
    /// All of it waits for the next start.
    pub waiting: bool,
    /// Its tasks.
    pub tasks: BTreeSet<String>,
    /// The image was fetched by the order's own path.
    pub fetched: bool,
    /// What it shows instead, in words.
    pub shows: String,
    /// When the machine was reset last, as the controller tells; only equality counts.
    pub reset: Option<String>,
}

/// How a controller took an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It said yes, with a task if it told one.
    Accepted(Option<String>),
    /// It said no.
    Refused(String),
    /// It was certainly never told.
    NotSent(String),
    /// It may have heard it.
    NoAnswer,
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// It goes on.
    Running,
    /// It is done.
    Done,
    /// It waits for the machine's next start.
    AwaitsRestart,
    /// It vanished.
    Lost,
    /// It failed.
    Failed(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemedyHappened {
    /// We started, or time has passed.
    Woke,
    /// A look, and a path that nobody can guess for the order that may follow.
    Looked(Sight, Ticket),
    /// The controller was told of the change.
    Told(Reply),
    /// Its task was looked at.
    Task(TaskEnd),
    /// The restart was ordered.
    Restarted(Reply),
    /// The inventory was read and compared.
    Closed,
    /// A look got no answer.
    NoAnswer(String),
    /// The host is in a stage that forbids to go on; nothing was ordered.
    Barred(String),
}

/// What to do, after the state was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemedyAct {
    /// Read back what the step is about.
    Look,
    /// Tell the controller, once.
    Send(Ticket),
    /// Look at the task.
    Follow(String),
    /// Restart the machine, once.
    Restart(Restart),
    /// Read the inventory, compare it, and let the host go on.
    Close,
    /// Nothing before then.
    Wait(Now),
    /// Nothing more.
    Rest,
}

/// The next state, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemedyTurn {
    /// To be stored.
    pub to: Remedy,
    /// To be done next.
    pub act: RemedyAct,
    /// For the run's journal, where something is to be told.
    pub line: Option<String>,
}
