//! The machine works and is carved: burn-in, units, the statement that the TPM signs.

use super::*;

pub(super) fn admitted(boot: &Boot, attested: &AttestedRecord, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("admitted", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Planned { steps, done } => {
            to(Stage::BurningIn { boot: boot.clone(), attested: attested.clone(), done, steps })
        }
        Event::Unfit(why) => quarantine("admitted", why),
        Event::Tick => ON_US,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
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
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn burning_in(
    boot: &Boot,
    attested: &AttestedRecord,
    (before, steps): (u32, u32),
    event: Event,
    now: Now,
) -> Step {
    match event {
        Event::Foreign(why) => quarantine("burning-in", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::StepDone { done } if done > before => {
            to(Stage::BurningIn { boot: boot.clone(), attested: attested.clone(), done, steps })
        }
        Event::StepDone { .. } => Step::Ignore { why: "a step that was already counted" },
        Event::BurnInDone { verdict, .. } => burnt_in(boot, attested, verdict),
        Event::AgentFailed { why } => agent_failed("burning-in", &why),
        Event::Unfit(why) => quarantine("burning-in", why),
        Event::Tick => ON_AGENT,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
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
        | Event::Carved(_)
        | Event::Shaped => STALE,
    }
}

pub(super) fn carving(boot: &Boot, attested: &AttestedRecord, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("carving", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Carved(carved) => {
            to(Stage::Shaping { boot: boot.clone(), attested: attested.clone(), carved })
        }
        Event::Unfit(why) => quarantine("carving", why),
        Event::Tick => ON_US,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
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
        | Event::Shaped
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn shaping(
    boot: &Boot,
    attested: &AttestedRecord,
    carved: &Carved,
    event: Event,
    now: Now,
) -> Step {
    match event {
        Event::Foreign(why) => quarantine("shaping", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Shaped => {
            to(Stage::Binding { boot: boot.clone(), attested: attested.clone(), carved: carved.clone() })
        }
        Event::Unfit(why) => quarantine("shaping", why),
        Event::AgentFailed { why } => agent_failed("shaping", &why),
        Event::Tick => ON_AGENT,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
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
        | Event::Carved(_) => STALE,
    }
}

pub(super) fn binding(
    boot: &Boot,
    attested: &AttestedRecord,
    carved: &Carved,
    event: Event,
    now: Now,
) -> Step {
    match event {
        Event::Foreign(why) => quarantine("binding", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Quoted { evidence } => go(
            Stage::Sealing {
                boot: boot.clone(),
                attested: attested.clone(),
                carved: carved.clone(),
                evidence,
            },
            Effect::VerifyRegistration { evidence },
        ),
        Event::Rejected(why) => rejected("binding", &why),
        Event::Unfit(why) => quarantine("binding", why),
        Event::AgentFailed { why } => agent_failed("binding", &why),
        Event::Tick => ON_AGENT,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
        | Event::Inventory { .. }
        | Event::Identity { .. }
        | Event::ChallengeMade { .. }
        | Event::IdentityRefused(_)
        | Event::AnswerRight
        | Event::AnswerWrong
        | Event::Attested(_)
        | Event::Bound(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped => STALE,
    }
}

pub(super) fn sealing(boot: &Boot, carved: &Carved, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("sealing", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Bound(proof) => {
            go(Stage::Pricing { bound: BoundRecord::from(&*proof), carved: carved.clone() }, Effect::Price)
        }
        Event::Rejected(why) => rejected("sealing", &why),
        Event::IdentityRefused(why) => quarantine("sealing", why),
        Event::Tick => ON_US,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
        | Event::Inventory { .. }
        | Event::Identity { .. }
        | Event::ChallengeMade { .. }
        | Event::AnswerRight
        | Event::AnswerWrong
        | Event::Quoted { .. }
        | Event::Attested(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::Unfit(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

/// Only a pass goes on: what was not measured is not a pass.
fn burnt_in(boot: &Boot, attested: &AttestedRecord, verdict: Verdict) -> Step {
    let (rule, reasons) = match verdict {
        Verdict::Pass { .. } => {
            return go(Stage::Carving { boot: boot.clone(), attested: attested.clone() }, Effect::Carve);
        }
        Verdict::Fail { reasons } => ("burn-in-failed", reasons),
        Verdict::Inconclusive { reasons } => ("burn-in-inconclusive", reasons),
    };
    let text = format!("{}. Mend or replace what is named, then `host retry`", reasons.join("; "));
    quarantine("burning-in", Refusal { rule: rule.into(), text })
}
