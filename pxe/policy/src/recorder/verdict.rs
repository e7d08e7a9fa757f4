//! The answer to "why does it not boot": what is believed, on what evidence, and what to do.

use std::fmt;

use appliance_model::{Mac, Now};

use super::{rules::RULES, story::Story};

/// How a machine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It booted, or it does what it was told to.
    Fine,
    /// It is on its way; nothing is wrong yet.
    Waiting,
    /// Something is wrong that will not mend itself.
    Trouble,
}

/// Something that happened, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: Now,
    /// What.
    pub text: String,
}

/// What one rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule's name: stays the same from version to version.
    pub code: &'static str,
    /// How the machine is doing, as far as this rule sees.
    pub state: State,
    /// What is the matter, in a sentence.
    pub headline: String,
    /// What shows it, oldest first.
    pub evidence: Vec<Line>,
    /// What a person should do next.
    pub next: String,
}

/// Why a machine is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The machine's port.
    pub mac: Mac,
    /// When this was judged.
    pub at: Now,
    /// The answer.
    pub main: Finding,
    /// What else was noticed.
    pub also: Vec<Finding>,
}

/// Lines of evidence that a person reads.  The first shows where it began, the others are the latest.
const EVIDENCE_MAX: usize = 8;

/// A rule's raw result: places in the story instead of lines.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: State,
    pub(super) headline: String,
    pub(super) places: Vec<usize>,
    pub(super) next: String,
}

/// Asks every rule.  The table's order says whose answer comes first.
pub(super) fn judge(story: &Story<'_>) -> Verdict {
    let mut findings: Vec<Finding> = RULES
        .iter()
        .filter_map(|rule| {
            let found = (rule.check)(story)?;
            let evidence = evidence(story, found.places);
            let Found { state, headline, next, .. } = found;
            Some(Finding { code: rule.code, state, headline, evidence, next })
        })
        .collect();
    let also = findings.split_off(findings.len().min(1));
    let main = findings.pop().unwrap_or_else(|| nothing(story));
    Verdict { mac: story.mac, at: story.now, main, also }
}

fn evidence(story: &Story<'_>, mut places: Vec<usize>) -> Vec<Line> {
    places.sort_unstable();
    places.dedup();
    if places.len() > EVIDENCE_MAX {
        let surplus = places.len().saturating_sub(EVIDENCE_MAX);
        places.drain(1..surplus.saturating_add(1));
    }
    places.into_iter().filter_map(|place| story.line(place)).collect()
}

/// No rule fits: say what was last seen.
fn nothing(story: &Story<'_>) -> Finding {
    let last = story.moments.len().saturating_sub(1);
    Finding {
        code: "nothing-wrong",
        state: State::Waiting,
        headline: format!("nothing is wrong so far; it was last heard {} s ago", story.ago(last)),
        evidence: evidence(story, (last.saturating_sub(3)..=last).collect()),
        next: "wait; if this stays, look at its console".into(),
    }
}

/// The verdict on a machine of which nothing was ever seen.  `near` is another port that was, and looks like the same
/// machine's.
pub(super) fn unseen(mac: Mac, now: Now, near: Option<Mac>) -> Verdict {
    let mut next = "check, in this order: is it powered on and set to boot from the network; is the cable in this port; \
                    is the switch port in the provisioning VLAN and does it forward at once (edge port, no spanning tree \
                    delay); if it sits behind a router, does that relay DHCP to us"
        .to_owned();
    if let Some(near) = near {
        next = format!(
            "its neighbour {near} was seen: is this another port of the same machine? ask `boot why {near}`. Otherwise {next}"
        );
    }
    let main = Finding {
        code: "never-seen",
        state: State::Trouble,
        headline: "no packet of this machine was ever seen here".into(),
        evidence: Vec::new(),
        next,
    };
    Verdict { mac, at: now, main, also: Vec::new() }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fine => "fine",
            Self::Waiting => "waiting",
            Self::Trouble => "trouble",
        })
    }
}
