//! Up to the agent's hello: found, switched on, booting; and the quarantine that a person ends.

use super::*;

pub(super) fn booting(attempt: u32, until: Now, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("booting", why),
        Event::Hello(boot) | Event::Moved(boot) => to(Stage::Discovering { boot }),
        Event::PoweredOn(_) => {
            Step::Wait { on: "the server to boot and its agent to say hello", until: Some(until) }
        }
        Event::Retry => power_on(1, now),
        Event::PowerLost | Event::Tick if now < until => {
            Step::Wait { on: "the server to boot and its agent to say hello", until: Some(until) }
        }
        Event::PowerLost | Event::Tick if attempt < BOOT_ATTEMPTS_MAX => power_on(attempt + 1, now),
        Event::PowerLost | Event::Tick => quarantine(
            "booting",
            Refusal {
                rule: "boot".into(),
                text: format!(
                    "the server was switched on {BOOT_ATTEMPTS_MAX} times and its agent never said hello within {} s. \
                     Look at its console: does the firmware try the network, does it get an address, does it load \
                     the image? Then `host retry`",
                    BOOT_SECONDS_MAX.0
                ),
            },
        ),
        said_of_a_stake!()
        | Event::Wanted
        | Event::Inventory { .. }
        | Event::Identity { .. }
        | Event::ChallengeMade { .. }
        | Event::IdentityRefused(_)
        | Event::AnswerRight
        | Event::AnswerWrong
        | Event::Quoted { .. }
        | Event::Attested(_)
        | Event::Bound(_)
        | Event::Rejected(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::Unfit(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn quarantined(event: Event, now: Now) -> Step {
    match event {
        Event::Retry => power_on(1, now),
        // A node that drifted may leave like any other.
        Event::Retired { node, by, transaction, block } => {
            to(Stage::Retired { node, by, transaction, block })
        }
        Event::Tick => Step::Wait { on: "a technician", until: None },
        asked_before_the_proof!()
        | Event::Priced(_)
        | Event::Approved
        | Event::Registered { .. }
        | Event::RegistrationRefused(_)
        | Event::Drifted(_)
        | Event::Moved(_)
        | Event::Foreign(_) => STALE,
    }
}

pub(super) fn found(event: Event, now: Now) -> Step {
    match event {
        Event::Wanted | Event::Retry => power_on(1, now),
        Event::Hello(boot) | Event::Moved(boot) => to(Stage::Discovering { boot }),
        Event::Tick => Step::Wait { on: "a decision to enrol this server", until: None },
        said_of_a_stake!()
        | Event::PoweredOn(_)
        | Event::PowerLost
        | Event::Inventory { .. }
        | Event::Identity { .. }
        | Event::ChallengeMade { .. }
        | Event::IdentityRefused(_)
        | Event::AnswerRight
        | Event::AnswerWrong
        | Event::Quoted { .. }
        | Event::Attested(_)
        | Event::Bound(_)
        | Event::Rejected(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::Unfit(_)
        | Event::AgentFailed { .. }
        | Event::Foreign(_) => STALE,
    }
}
