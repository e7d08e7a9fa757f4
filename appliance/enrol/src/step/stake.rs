//! The chain: terms, approval, registration.

use appliance_model::NodeId;

use super::*;

pub(super) fn pricing(bound: &BoundRecord, carved: &Carved, event: Event) -> Step {
    match event {
        Event::Foreign(why) => quarantine("pricing", why),
        // What it was bound as was another system: everything that an agent vouches for is shown anew.
        Event::Moved(boot) => to(Stage::Discovering { boot }),
        Event::Priced(price) => to(Stage::Approving { bound: bound.clone(), carved: carved.clone(), price }),
        Event::RegistrationRefused(why) => quarantine("pricing", why),
        Event::Retry => go(Stage::Pricing { bound: bound.clone(), carved: carved.clone() }, Effect::Price),
        Event::Tick => Step::Wait { on: "the chain's terms", until: None },
        asked_before_the_proof!()
        | Event::Approved
        | Event::Registered { .. }
        | Event::Retired { .. }
        | Event::Drifted(_) => STALE,
    }
}

pub(super) fn approving(bound: &BoundRecord, carved: &Carved, price: &Price, event: Event) -> Step {
    match event {
        Event::Foreign(why) => quarantine("approving", why),
        // What it was bound as was another system: everything that an agent vouches for is shown anew.
        Event::Moved(boot) => to(Stage::Discovering { boot }),
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
        asked_before_the_proof!()
        | Event::Priced(_)
        | Event::Registered { .. }
        | Event::Retired { .. }
        | Event::RegistrationRefused(_)
        | Event::Drifted(_) => STALE,
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
        asked_before_the_proof!()
        | Event::Priced(_)
        | Event::Approved
        | Event::Retired { .. }
        | Event::Drifted(_)
        | Event::Retry
        | Event::Moved(_)
        | Event::Foreign(_) => STALE,
    }
}

pub(super) fn registered(known: NodeId, event: Event) -> Step {
    match event {
        // A node's collateral stays where it is: what a drift costs is the registry's and the HyperNodes' to say.
        Event::Drifted(why) | Event::Foreign(why) => quarantine("registered", why),
        Event::Retired { node, by, transaction, block } if node == known => {
            to(Stage::Retired { node, by, transaction, block })
        }
        Event::Tick => Step::Wait { on: "nothing: this is a ScalerNode", until: None },
        asked_before_the_proof!()
        | Event::Priced(_)
        | Event::Approved
        | Event::Registered { .. }
        | Event::Retired { .. }
        | Event::RegistrationRefused(_)
        | Event::Retry
        | Event::Moved(_) => STALE,
    }
}

/// Nothing follows any more: a node id never comes back, so neither does this machine's way.
pub(super) fn retired(event: Event) -> Step {
    match event {
        Event::Tick | Event::Retry => {
            Step::Wait { on: "nothing: it was a ScalerNode, and its TPM is no node again", until: None }
        }
        asked_before_the_proof!()
        | Event::Priced(_)
        | Event::Approved
        | Event::Registered { .. }
        | Event::RegistrationRefused(_)
        | Event::Retired { .. }
        | Event::Drifted(_)
        | Event::Foreign(_)
        | Event::Moved(_) => STALE,
    }
}
