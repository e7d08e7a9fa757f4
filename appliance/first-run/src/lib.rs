//! The first run of an appliance: what people answer, what is wrong with it, which files follow, and in words what will
//! happen then.
//!
//! Console, web page and `first-run.toml` are three faces of this one room; each looks around ([`Facts`]), collects
//! texts ([`Answers`]) and shows what [`plan`] says.  Nothing is looked up, listened to or written here.  A LAN is never
//! taken: where another server gives addresses, what is proposed leaves them to it, and whoever wants it otherwise has to
//! name that server.  Read next: `answers.rs` (the questions), `sheet.rs` (the file), `lan.rs` (modes), `files.rs` (what is written),
//! `notices.rs` (what a person must know beside).

mod answers;
mod facts;
mod files;
mod lan;
mod net;
mod notices;
mod sheet;

#[cfg(test)]
mod tests;

pub use answers::{ANSWER_BYTES_MAX, Answers, Field, NoAnswers, QUESTIONS, Question, form};
pub use facts::{Facts, Heard, Images, Nic, Storage, Tpm};
pub use files::{File, SITE_FILE};
pub use lan::Mode;
pub use notices::{Notice, clock, of_machine};
use serde::Serialize;
pub use sheet::{Fault, SHEET_BYTES_MAX, Sheet};

/// Why answers cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{key}: {what}; {next}")]
pub struct Problem {
    /// The question, as in [`QUESTIONS`]; or what else is in the way.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub next: String,
}

/// What follows from answers.  Nothing was done yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is written, in this order: the site file is last, so that a site is there when all of it is.
    pub files: Vec<File>,
    /// What will happen, in words, one sentence each.
    pub will: Vec<String>,
    /// What a person must know beside, each with the next step.
    pub notices: Vec<Notice>,
    /// Where the appliance's page will be; `None` where its address comes by DHCP.
    pub page: Option<String>,
}

/// What follows from `answers` on the machine of `facts`.
///
/// # Errors
/// All that is wrong, so that a person corrects it in one go.
pub fn plan(answers: &Answers, facts: &Facts) -> Result<Plan, Vec<Problem>> {
    let mut problems = Vec::new();
    let wish = files::Wish::read(answers, facts, &mut problems);
    notices::in_the_way(facts, &mut problems);
    match wish {
        Some(wish) if problems.is_empty() => Ok(Plan {
            files: wish.files(facts),
            will: wish.will(),
            notices: notices::notices(&wish, facts),
            page: wish.page(),
        }),
        Some(_) | None => Err(problems),
    }
}
