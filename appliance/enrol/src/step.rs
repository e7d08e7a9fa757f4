//! One function per stage, one `match` inside it, no catch-all: a new event must break the build.  Events that have no
//! meaning in many stages are named once, in two patterns.

/// What answers a question of a stage before the price, or an agent's word from there: too late for every stage from then on,
/// and for a quarantined host.
macro_rules! asked_before_the_proof {
    () => {
        Event::Wanted
            | Event::PoweredOn(_)
            | Event::Hello(_)
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
    };
}

/// What the chain, the network or a person says of a stake: too early for every stage before the price.
macro_rules! said_of_a_stake {
    () => {
        Event::Priced(_)
            | Event::Approved
            | Event::Registered { .. }
            | Event::RegistrationRefused(_)
            | Event::Retired { .. }
            | Event::Drifted(_)
    };
}

mod boot;
mod stake;
mod trust;
mod work;

use appliance_model::{Digest, Now, Seconds, burn_in::Verdict};

use crate::{
    effect::Effect,
    event::{Event, Refusal},
    registration::Price,
    stage::{AttestedRecord, Boot, BoundRecord, Carved, Stage},
};

/// How long a machine may take from power-on to the agent's hello: two and a half minutes of memory training on a
/// large server, a network boot that first waits out PXE (130 s measured in OVMF), and room.
const BOOT_SECONDS_MAX: Seconds = Seconds(420);

/// Power-ons before a person is called.
const BOOT_ATTEMPTS_MAX: u32 = 5;

/// How long a challenge is good.  A cold TPM needs about 10 s to make a key, 40 s have been seen; a restart of the
/// appliance in between costs less than a minute.
const CHALLENGE_SECONDS_MAX: Seconds = Seconds(300);

/// What follows when an event meets a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a step lives for one transaction and is never kept in numbers; a box would only hide the stage"
)]
pub enum Step {
    /// Go to a stage (perhaps the same with other contents) and do these effects.
    Move {
        /// The next stage.
        to: Stage,
        /// What to do.
        effects: Vec<Effect>,
    },
    /// Stay: something is awaited.
    Wait {
        /// What.
        on: &'static str,
        /// When that wait ends by itself.
        until: Option<Now>,
    },
    /// Stay: the event has no meaning here.
    Ignore {
        /// Why.
        why: &'static str,
    },
}

/// Says what follows when `event` meets `stage`.  Reads no clock and does no IO.
#[must_use]
pub fn step(stage: &Stage, event: Event, now: Now) -> Step {
    use self::{boot as first, stake, trust, work};
    match stage {
        Stage::Found => first::found(event, now),
        Stage::Booting { attempt, until } => first::booting(*attempt, *until, event, now),
        Stage::Discovering { boot } => trust::discovering(boot, event, now),
        Stage::Identifying { boot } => trust::identifying(boot, event, now),
        Stage::Challenging { boot, identity } => trust::challenging(*identity, boot, event, now),
        Stage::Challenged { boot, identity, until, .. } => {
            trust::challenged(*identity, boot, *until, event, now)
        }
        Stage::Admitting { boot, identity } => trust::admitting(*identity, boot, event, now),
        Stage::Verifying { boot, .. } => trust::verifying(boot, event, now),
        Stage::Admitted { boot, attested } => work::admitted(boot, attested, event, now),
        Stage::BurningIn { boot, attested, done, steps } => {
            work::burning_in(boot, attested, (*done, *steps), event, now)
        }
        Stage::Carving { boot, attested } => work::carving(boot, attested, event, now),
        Stage::Shaping { boot, attested, carved } => work::shaping(boot, attested, carved, event, now),
        Stage::Binding { boot, attested, carved } => work::binding(boot, attested, carved, event, now),
        Stage::Sealing { boot, carved, .. } => work::sealing(boot, carved, event, now),
        Stage::Pricing { bound, carved } => stake::pricing(bound, carved, event),
        Stage::Approving { bound, carved, price } => stake::approving(bound, carved, price, event),
        Stage::Registering { bound, carved, price } => stake::registering(bound, carved, price, event),
        Stage::Registered { bound, .. } => stake::registered(bound.node(), event),
        Stage::Retired { .. } => stake::retired(event),
        Stage::Quarantined { .. } => first::quarantined(event, now),
    }
}

fn to(stage: Stage) -> Step {
    Step::Move { to: stage, effects: Vec::new() }
}

fn go(stage: Stage, effect: Effect) -> Step {
    Step::Move { to: stage, effects: vec![effect] }
}

fn power_on(attempt: u32, now: Now) -> Step {
    go(Stage::Booting { attempt, until: now.after(BOOT_SECONDS_MAX) }, Effect::PowerOn { attempt })
}

fn quarantine(was: &str, refusal: Refusal) -> Step {
    to(Stage::Quarantined { was: was.into(), rule: refusal.rule, why: refusal.text })
}

fn rejected(was: &str, why: &attest_verify::Rejection) -> Step {
    quarantine(was, why.into())
}

fn agent_failed(was: &str, why: &str) -> Step {
    let text = format!(
        "the agent could not do what it was asked in stage {was}: {why}. Look at the server's console, mend it, then `host retry`"
    );
    quarantine(was, Refusal { rule: "agent".into(), text })
}

/// A hello in a stage that relies on an agent: the same boot again says nothing new; another boot means that the
/// machine restarted, and what only that boot could vouch for has to be shown again.
fn hello(old: &Boot, new: Boot) -> Step {
    if old.nonce == new.nonce {
        return Step::Ignore { why: "the same agent, in the same boot" };
    }
    to(Stage::Discovering { boot: new })
}

const STALE: Step = Step::Ignore { why: "an answer to a question that is no longer open" };
const ON_AGENT: Step = Step::Wait { on: "the agent on the server", until: None };
const ON_US: Step = Step::Wait { on: "the appliance's own check", until: None };
