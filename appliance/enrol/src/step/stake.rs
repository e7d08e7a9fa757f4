//! The chain: terms, approval, registration.

use super::*;

pub(super) fn pricing(bound: &BoundRecord, carved: &Carved, event: Event) -> Step {
    match event {
        Event::Priced(price) => to(Stage::Approving { bound: bound.clone(), carved: carved.clone(), price }),
        Event::RegistrationRefused(why) => quarantine("pricing", why),
        Event::Retry => go(Stage::Pricing { bound: bound.clone(), carved: carved.clone() }, Effect::Price),
        Event::Tick => Step::Wait { on: "the chain's terms", until: None },
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
        | Event::Approved
        | Event::Registered { .. }
        | Event::Drifted(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn approving(bound: &BoundRecord, carved: &Carved, price: &Price, event: Event) -> Step {
    match event {
        Event::Approved if price.shortfall().0 > 0 => {
            Step::Wait { on: "enough ICNT on the operator's account", until: None }
        }
        Event::Approved => go(
            Stage::Registering { bound: bound.clone(), carved: carved.clone(), price: price.clone() },
            Effect::Register,
        ),
        // Terms move: a price is read anew whenever somebody asks.
        Event::Retry => go(Stage::Pricing { bound: bound.clone(), carved: carved.clone() }, Effect::Price),
        Event::Tick => Step::Wait { on: "the operator to approve the stake", until: None },
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
        | Event::Priced(_)
        | Event::Registered { .. }
        | Event::RegistrationRefused(_)
        | Event::Drifted(_)
        | Event::AgentFailed { .. } => STALE,
    }
}

pub(super) fn registering(bound: &BoundRecord, carved: &Carved, price: &Price, event: Event) -> Step {
    match event {
        Event::Registered { transaction, block } => to(Stage::Registered {
            bound: bound.clone(),
            carved: carved.clone(),
            price: price.clone(),
            transaction,
            block,
        }),
        Event::RegistrationRefused(why) => quarantine("registering", why),
        Event::Tick => Step::Wait { on: "the chain to confirm the registration", until: None },
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
        | Event::Priced(_)
        | Event::Approved
        | Event::AgentFailed { .. }
        | Event::Drifted(_)
        | Event::Retry => STALE,
    }
}

pub(super) fn registered(event: Event) -> Step {
    match event {
        // A node's collateral stays where it is: what a drift costs is the registry's and the HyperNodes' to say.
        Event::Drifted(why) => quarantine("registered", why),
        Event::Tick => Step::Wait { on: "nothing: this is a ScalerNode", until: None },
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
        | Event::Priced(_)
        | Event::Approved
        | Event::Registered { .. }
        | Event::RegistrationRefused(_)
        | Event::AgentFailed { .. }
        | Event::Retry => STALE,
    }
}
