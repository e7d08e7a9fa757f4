//! From hello to proof: inventory, identity, credential challenge, admission evidence.

use super::*;

pub(super) fn discovering(boot: &Boot, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("discovering", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Inventory { .. } => to(Stage::Identifying { boot: boot.clone() }),
        Event::Unfit(why) => quarantine("discovering", why),
        Event::AgentFailed { why } => agent_failed("discovering", &why),
        Event::Tick => ON_AGENT,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
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
        | Event::Shaped => STALE,
    }
}

pub(super) fn identifying(boot: &Boot, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("identifying", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Identity { identity } => {
            go(Stage::Challenging { boot: boot.clone(), identity }, Effect::MakeChallenge { identity })
        }
        Event::AgentFailed { why } => agent_failed("identifying", &why),
        Event::Tick => ON_AGENT,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
        | Event::Inventory { .. }
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
        | Event::Unfit(_) => STALE,
    }
}

pub(super) fn challenging(identity: Digest, boot: &Boot, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("challenging", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::ChallengeMade { transcript } => to(Stage::Challenged {
            boot: boot.clone(),
            identity,
            transcript,
            until: now.after(CHALLENGE_SECONDS_MAX),
        }),
        Event::IdentityRefused(why) => quarantine("challenging", why),
        Event::Rejected(why) => rejected("challenging", &why),
        Event::Tick => ON_US,
        said_of_a_stake!()
        | Event::Wanted
        | Event::PoweredOn(_)
        | Event::Inventory { .. }
        | Event::Identity { .. }
        | Event::AnswerRight
        | Event::AnswerWrong
        | Event::Quoted { .. }
        | Event::Attested(_)
        | Event::Bound(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::Unfit(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn challenged(identity: Digest, boot: &Boot, until: Now, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("challenged", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::AnswerRight if now <= until => to(Stage::Admitting { boot: boot.clone(), identity }),
        // A late answer proves nothing any more, and a silent TPM deserves a fresh question.
        Event::AnswerRight => ask_again(boot, identity),
        Event::Tick if now > until => ask_again(boot, identity),
        Event::Tick => Step::Wait { on: "the TPM to open its credential", until: Some(until) },
        Event::AnswerWrong => quarantine(
            "challenged",
            Refusal {
                rule: "credential".into(),
                text: "the TPM did not open the credential made for its endorsement key: the attestation key it \
                       showed is not in the TPM that the certificate names. Do not trust this machine; if the TPM was \
                       just replaced, power the server off and on, then `host retry`"
                    .into(),
            },
        ),
        Event::AgentFailed { why } => agent_failed("challenged", &why),
        said_of_a_stake!() | Event::Wanted | Event::PoweredOn(_) | Event::Inventory { .. } | Event::Identity { .. } | Event::ChallengeMade { .. } | Event::IdentityRefused(_) | Event::Quoted { .. } | Event::Attested(_) | Event::Bound(_) | Event::Rejected(_) | Event::Planned { .. } | Event::StepDone { .. } | Event::BurnInDone { .. } | Event::Carved(_) | Event::Shaped | Event::Unfit(_) => STALE,
    }
}

pub(super) fn admitting(identity: Digest, boot: &Boot, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("admitting", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Quoted { evidence } => go(
            Stage::Verifying { boot: boot.clone(), identity, evidence },
            Effect::VerifyAdmission { evidence },
        ),
        Event::Rejected(why) => rejected("admitting", &why),
        Event::AgentFailed { why } => agent_failed("admitting", &why),
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
        | Event::Shaped
        | Event::Unfit(_) => STALE,
    }
}

pub(super) fn verifying(boot: &Boot, event: Event, now: Now) -> Step {
    match event {
        Event::Foreign(why) => quarantine("verifying", why),
        Event::Hello(new) | Event::Moved(new) => hello(boot, new),
        Event::PowerLost | Event::Retry => power_on(1, now),
        Event::Attested(proof) => go(
            Stage::Admitted { boot: boot.clone(), attested: AttestedRecord::from(&*proof) },
            Effect::PlanBurnIn,
        ),
        Event::Rejected(why) => rejected("verifying", &why),
        Event::IdentityRefused(why) => quarantine("verifying", why),
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
        | Event::Bound(_)
        | Event::Planned { .. }
        | Event::StepDone { .. }
        | Event::BurnInDone { .. }
        | Event::Carved(_)
        | Event::Shaped
        | Event::Unfit(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

fn ask_again(boot: &Boot, identity: Digest) -> Step {
    go(Stage::Challenging { boot: boot.clone(), identity }, Effect::MakeChallenge { identity })
}
