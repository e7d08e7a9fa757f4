//! A new system on trial: marked good once it is well, given up where it is not, so that the boot loader's count goes on
//! and the other slot comes back.

/// How a system is, by its own service's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its page answers; why not, otherwise.
    pub page: Result<(), String>,
    /// Its database opens and answers; why not, otherwise.
    pub database: Result<(), String>,
}

impl Health {
    /// What is not well, in words; nothing for a system that is.
    #[must_use]
    pub fn ill(&self) -> Option<String> {
        let said =
            |what: &str, how: &Result<(), String>| how.as_ref().err().map(|why| format!("{what}: {why}"));
        let all: Vec<String> = [said("the page", &self.page), said("the database", &self.database)]
            .into_iter()
            .flatten()
            .collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// Where a system stands on its drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Tries its entry has left; absent once it is marked good.
    pub tries_left: Option<u8>,
    /// Whether the other slot holds a system that the boot loader would go back to.
    pub other: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was marked good before; how it is, is for people to see.
    Settled,
    /// Mark it good.
    Good,
    /// Look again.
    Wait(String),
    /// Restart: this try was in vain.
    GiveUp(String),
    /// Not well, and nothing to go back to: keep looking.
    Alone(String),
}

/// What follows from a look after `waited_seconds` of at most `patience_seconds`.
#[must_use]
pub fn verdict(standing: Standing, health: &Health, waited_seconds: u64, patience_seconds: u64) -> Verdict {
    if standing.tries_left.is_none() {
        return Verdict::Settled;
    }
    match health.ill() {
        None => Verdict::Good,
        Some(why) if waited_seconds < patience_seconds => Verdict::Wait(why),
        Some(why) if standing.other => Verdict::GiveUp(why),
        Some(why) => Verdict::Alone(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_good_when_it_is_well_and_given_up_when_there_is_another() {
        let well = Health { page: Ok(()), database: Ok(()) };
        let no_page = Health { page: Err("refused".into()), ..well.clone() };
        let nothing = Health { database: Err("made by a newer version".into()), ..no_page.clone() };
        let on = |tries_left, other| Standing { tries_left, other };
        let words = "the page: refused".to_owned();
        for (standing, health, waited, expected) in [
            (on(Some(2), true), &well, 0, Verdict::Good),
            (on(Some(0), false), &well, 900, Verdict::Good),
            (on(None, true), &nothing, 900, Verdict::Settled),
            (on(Some(2), true), &no_page, 599, Verdict::Wait(words.clone())),
            (on(Some(2), true), &no_page, 600, Verdict::GiveUp(words.clone())),
            (on(Some(2), false), &no_page, 600, Verdict::Alone(words)),
        ] {
            assert_eq!(verdict(standing, health, waited, 600), expected, "{standing:?} {health:?} {waited}");
        }
        assert_eq!(nothing.ill().unwrap(), "the page: refused; the database: made by a newer version");
    }
}
