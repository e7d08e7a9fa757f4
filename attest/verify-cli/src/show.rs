//! A verdict for people.

use std::fmt::Write as _;

use attest_verify::{Check, Outcome, Verdict};

/// Enough digits to tell two digests apart by eye.
const DIGITS_SHOWN: usize = 16;

/// Other measured values fit a line of a terminal beside the check's name.
const TEXT_SHOWN: usize = 60;

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
        line(format!("{mark}  {:<26} {}", check.name, remark(check)).trim_end().to_owned());
        // Whole: whoever compares them by eye or by program needs every digit.
        for (what, value) in [("measured", &check.measured), ("expected", &check.expected)] {
            if check.outcome == Outcome::Fail && !value.is_empty() {
                line(format!("      {what} {value}"));
            }
        }
    }
    let facts = &verdict.facts;
    line(format!("\nnode {} · {} · evidence {}", facts.node, facts.purpose, facts.evidence));
    if let Some(made) = made(facts.not_before, facts.not_after) {
        line(made);
    }
    line(match verdict.accept() {
        Ok(_) => format!("ACCEPTED, tier {}: not higher because {}", verdict.tier, verdict.why_not_higher),
        Err(why) => format!("REFUSED by {}: {why}", why.check),
    });
    text
}

/// Between which moments the quote was made, as far as blocks say.
fn made(not_before: Option<u64>, not_after: Option<u64>) -> Option<String> {
    let blocks = "by the times of the blocks, seconds since 1970";
    match (not_before, not_after) {
        (Some(from), Some(to)) => {
            Some(format!("made between {from} and {to}: {} s apart, {blocks}", to.saturating_sub(from)))
        }
        (Some(from), None) => Some(format!("made after {from}, {blocks}")),
        (None, Some(to)) => Some(format!("made before {to}, {blocks}")),
        (None, None) => None,
    }
}

/// What is said beside a check's name: why it failed or was left out, else what was measured, shortened.
fn remark(check: &Check) -> String {
    if !check.note.is_empty() || check.outcome != Outcome::Pass {
        let words: Vec<String> = check.note.split(' ').map(|word| cut(word, word.len())).collect();
        return words.join(" ");
    }
    match &*check.measured {
        "[]" => "none".into(),
        measured => cut(measured, TEXT_SHOWN),
    }
}

/// The first digits of a long hex string, the first `chars` characters of other text.
fn cut(text: &str, chars: usize) -> String {
    let is_hex = text.len() > DIGITS_SHOWN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match text.char_indices().nth(if is_hex { DIGITS_SHOWN } else { chars }) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
