//! A verdict for people.

use std::fmt::Write as _;

use attest_verify::{Outcome, Verdict};

/// One line for each check, the two values under each that failed, and what the whole may claim.
#[must_use]
pub fn show(verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    for check in &verdict.checks {
        let mark = match check.outcome {
            Outcome::Pass => "ok  ",
            Outcome::Fail => "FAIL",
            Outcome::NotApplicable => "-   ",
        };
        line(format!("{mark}  {:<26} {}", check.name, check.note));
        if check.outcome == Outcome::Fail {
            line(format!("      measured {}", check.measured));
            line(format!("      expected {}", check.expected));
        }
    }
    let facts = &verdict.facts;
    line(format!("\nnode {} · {} · evidence {}", facts.node, facts.purpose, facts.evidence));
    line(match verdict.accept() {
        Ok(_) => format!("ACCEPTED, tier {}: not higher because {}", verdict.tier, verdict.why_not_higher),
        Err(why) => format!("REFUSED by {}: {why}", why.check),
    });
    text
}
