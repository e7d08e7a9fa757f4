//! One row for each thing that may happen to a host.

use appliance_model::{NodeId, Now, Seconds, burn_in::Verdict};
use proptest::prelude::*;

use super::*;
use crate::{Effect, Step, step};

/// What a row expects.
#[expect(clippy::large_enum_variant, reason = "a row of a table")]
enum Expect {
    /// Exactly this stage and these effects.
    To(Stage, Vec<Effect>),
    /// Quarantine under this rule, with this in the reason.
    Quarantine(&'static str, &'static str),
    /// Stay, and say what for.
    Wait,
    /// Stay: the event means nothing here.
    Ignore,
}
use Expect::{Ignore, Quarantine, To, Wait};

#[track_caller]
fn check(stage: &Stage, event: Event, now: Now, expected: &Expect) {
    let row = format!("{} meets {event:?}", stage.name());
    let step = step(stage, event, now);
    match (expected, &step) {
        (To(stage, wanted), Step::Move { to, effects }) => {
            assert_eq!((to, effects), (stage, wanted), "{row}")
        }
        (
            Quarantine(rule, words),
            Step::Move { to: Stage::Quarantined { was, rule: found, why }, effects },
        ) => {
            assert_eq!((was.as_str(), found.as_str()), (stage.name(), *rule), "{row}");
            assert!(why.contains(words), "{row}: {why}");
            assert!(effects.is_empty(), "{row}");
        }
        (Wait, Step::Wait { on, .. }) => assert!(!on.is_empty(), "{row}"),
        (Ignore, Step::Ignore { why }) => assert!(!why.is_empty(), "{row}"),
        (To(..) | Quarantine(..) | Wait | Ignore, _) => panic!("{row}: {step:?}"),
    }
}

fn power_on(attempt: u32, now: Now) -> Expect {
    let until = now.after(Seconds(420));
    To(Stage::Booting { attempt, until }, vec![Effect::PowerOn { attempt }])
}

fn discovering(byte: u8) -> Expect {
    To(Stage::Discovering { boot: boot(byte) }, vec![])
}

/// Stages that rely on an agent.
fn booted() -> impl Iterator<Item = Stage> {
    stages().into_iter().filter(|stage| stage.boot().is_some())
}

#[test]
fn the_way_up_to_the_first_proof() {
    let (boot, identity) = (boot(1), digest(2));
    let first = Stage::Booting { attempt: 1, until: NOW.after(Seconds(420)) };
    let challenged = challenged(NOW.after(Seconds(300)));
    let challenging = Stage::Challenging { boot: boot.clone(), identity };
    let admitting = Stage::Admitting { boot: boot.clone(), identity };
    let evidence = digest(4);
    let verifying = Stage::Verifying { boot: boot.clone(), identity, evidence };
    let rows = [
        (Stage::Found, Event::Wanted, first.clone(), vec![Effect::PowerOn { attempt: 1 }]),
        (first, Event::Hello(boot.clone()), stage("discovering"), vec![]),
        (stage("discovering"), Event::Inventory { inventory: digest(9) }, stage("identifying"), vec![]),
        (
            stage("identifying"),
            Event::Identity { identity },
            challenging.clone(),
            vec![Effect::MakeChallenge { identity }],
        ),
        (challenging, Event::ChallengeMade { transcript: digest(3) }, challenged.clone(), vec![]),
        (challenged, Event::AnswerRight, admitting.clone(), vec![]),
        (admitting, Event::Quoted { evidence }, verifying, vec![Effect::VerifyAdmission { evidence }]),
    ];
    for (from, event, to, effects) in rows {
        check(&from, event, NOW, &To(to, effects));
    }
}

#[test]
fn the_way_from_the_first_proof_to_the_chain() {
    let (boot, attested, carved, bound) = (boot(1), attested(), carved(), bound());
    let burning =
        |done, steps| Stage::BurningIn { boot: boot.clone(), attested: attested.clone(), done, steps };
    let carving = stage("carving");
    let evidence = digest(5);
    let pass = Verdict::Pass { coverage: vec!["4 CPUs".into()] };
    let price = price(100, 100);
    let approving = Stage::Approving { bound: bound.clone(), carved: carved.clone(), price: price.clone() };
    let (transaction, block) = (digest(6), 9);
    let rows = [
        (stage("admitted"), Event::Planned { steps: 3, done: 1 }, burning(1, 3), vec![]),
        (burning(1, 3), Event::StepDone { done: 2 }, burning(2, 3), vec![]),
        (
            burning(3, 3),
            Event::BurnInDone { report: digest(8), verdict: pass },
            carving.clone(),
            vec![Effect::Carve],
        ),
        (carving, Event::Carved(carved), stage("shaping"), vec![]),
        (stage("shaping"), Event::Shaped, stage("binding"), vec![]),
        (
            stage("binding"),
            Event::Quoted { evidence },
            stage("sealing"),
            vec![Effect::VerifyRegistration { evidence }],
        ),
        (stage("pricing"), Event::Priced(price), approving.clone(), vec![]),
        (approving, Event::Approved, stage("registering"), vec![Effect::Register]),
        (stage("registering"), Event::Registered { transaction, block }, stage("registered"), vec![]),
    ];
    for (from, event, to, effects) in rows {
        check(&from, event, NOW, &To(to, effects));
    }
}

#[test]
fn a_hello_counts_when_it_is_a_new_boot() {
    for name in ["found", "booting"] {
        check(&stage(name), Event::Hello(boot(7)), NOW, &discovering(7));
    }
    for stage in booted() {
        check(&stage, Event::Hello(boot(1)), NOW, &Ignore);
        // Same nonce, later hello: an answer was lost, nothing else.
        check(&stage, Event::Hello(Boot { at: NOW, ..boot(1) }), NOW, &Ignore);
        check(&stage, Event::Hello(boot(7)), NOW, &discovering(7));
    }
    for name in ["pricing", "approving", "registering", "registered", "retired", "quarantined"] {
        check(&stage(name), Event::Hello(boot(7)), NOW, &Ignore);
    }
}

#[test]
fn power_that_is_lost_is_switched_on_again() {
    for stage in booted() {
        check(&stage, Event::PowerLost, NOW, &power_on(1, NOW));
        check(&stage, Event::Retry, NOW, &power_on(1, NOW));
    }
    for name in ["found", "pricing", "approving", "registering", "registered", "retired", "quarantined"] {
        check(&stage(name), Event::PowerLost, NOW, &Ignore);
    }
}

#[test]
fn a_server_that_does_not_boot_is_tried_five_times() {
    let mut now = NOW;
    let mut current = Stage::Found;
    let mut event = Event::Wanted;
    for attempt in 1..=5 {
        check(&current, event, now, &power_on(attempt, now));
        let until = now.after(Seconds(420));
        current = Stage::Booting { attempt, until };
        check(&current, Event::PoweredOn(Rung::Pxe), now, &Wait);
        check(&current, Event::Tick, Now(until.0 - 1), &Wait);
        check(&current, Event::PowerLost, Now(until.0 - 1), &Wait);
        (now, event) = (until, Event::Tick);
    }
    check(&current, Event::Tick, now, &Quarantine("boot", "switched on 5 times"));
    check(&current, Event::PowerLost, now, &Quarantine("boot", "Look at its console"));
    check(&current, Event::Hello(boot(1)), now, &discovering(1));
    check(&current, Event::Retry, now, &power_on(1, now));
}

#[test]
fn a_challenge_is_answered_in_time_or_asked_again() {
    let stage = challenged(NOW);
    let again = || To(self::stage("challenging"), vec![Effect::MakeChallenge { identity: digest(2) }]);
    let late = Now(NOW.0 + 1);
    check(&stage, Event::AnswerRight, NOW, &To(self::stage("admitting"), vec![]));
    check(&stage, Event::AnswerRight, late, &again());
    check(&stage, Event::Tick, NOW, &Wait);
    check(&stage, Event::Tick, late, &again());
    for now in [NOW, late] {
        check(&stage, Event::AnswerWrong, now, &Quarantine("credential", "did not open the credential"));
    }
}

#[test]
fn refused_evidence_is_a_drift_with_both_values() {
    let why = Event::Drifted(rejection().as_ref().into());
    check(&stage("registered"), why, NOW, &Quarantine("pcr-11", "Measured aa, expected bb"));
}

#[test]
fn what_is_wrong_with_a_machine_is_a_quarantine_that_says_it() {
    let verdict = |verdict| Event::BurnInDone { report: digest(8), verdict };
    let slow = || vec!["drive S1: 40 MiB/s, 500 wanted".to_owned(), "memory: 3 errors".to_owned()];
    let rows = [
        ("challenging", Event::IdentityRefused(refusal("ek-taken")), "ek-taken", "ek-taken says no"),
        ("challenging", Event::Rejected(rejection()), "pcr-11", "PCR 11 is aa"),
        ("admitting", Event::Rejected(rejection()), "pcr-11", "PCR 11 is aa"),
        ("verifying", Event::Rejected(rejection()), "pcr-11", "reference says bb"),
        ("verifying", Event::IdentityRefused(refusal("ek-taken")), "ek-taken", "says no"),
        ("discovering", Event::Unfit(refusal("serial")), "serial", "serial says no"),
        ("admitted", Event::Unfit(refusal("no-drive")), "no-drive", "no-drive says no"),
        ("burning-in", verdict(Verdict::Fail { reasons: slow() }), "burn-in-failed", "memory: 3 errors"),
        (
            "burning-in",
            verdict(Verdict::Inconclusive { reasons: slow() }),
            "burn-in-inconclusive",
            "drive S1: 40 MiB/s",
        ),
        ("carving", Event::Unfit(refusal("no-class")), "no-class", "says no"),
        ("shaping", Event::Unfit(refusal("carve-differs")), "carve-differs", "says no"),
        ("binding", Event::Unfit(refusal("carve-differs")), "carve-differs", "says no"),
        ("binding", Event::Rejected(rejection()), "pcr-11", "PCR 11"),
        ("sealing", Event::Rejected(rejection()), "pcr-11", "PCR 11"),
        ("sealing", Event::IdentityRefused(refusal("moved")), "moved", "says no"),
        ("pricing", Event::RegistrationRefused(refusal("NoSuchClass")), "NoSuchClass", "says no"),
        ("registering", Event::RegistrationRefused(refusal("NodeKnown")), "NodeKnown", "says no"),
    ];
    for (name, event, rule, words) in rows {
        check(&stage(name), event, NOW, &Quarantine(rule, words));
    }
    for name in ["discovering", "identifying", "challenged", "admitting", "burning-in", "shaping", "binding"]
    {
        let failed = Event::AgentFailed { why: "no /dev/tpmrm0".into() };
        check(&stage(name), failed, NOW, &Quarantine("agent", "no /dev/tpmrm0"));
    }
    check(&stage("quarantined"), Event::Retry, NOW, &power_on(1, NOW));
    check(&stage("quarantined"), Event::Wanted, NOW, &Ignore);
}

#[test]
fn a_stake_waits_for_funds_and_for_a_person() {
    let approving = |price| Stage::Approving { bound: bound(), carved: carved(), price };
    check(&approving(price(100, 99)), Event::Approved, NOW, &Wait);
    check(
        &approving(price(100, 100)),
        Event::Approved,
        NOW,
        &To(stage("registering"), vec![Effect::Register]),
    );
    check(&approving(price(100, 99)), Event::Retry, NOW, &To(stage("pricing"), vec![Effect::Price]));
    check(&stage("pricing"), Event::Retry, NOW, &To(stage("pricing"), vec![Effect::Price]));
    // A registration that may be on its way is not started again by anybody.
    check(&stage("registering"), Event::Retry, NOW, &Ignore);
    check(&stage("registering"), Event::Approved, NOW, &Ignore);
}

#[test]
fn a_step_counts_once() {
    for done in [0, 1] {
        check(&stage("burning-in"), Event::StepDone { done }, NOW, &Ignore);
    }
}

#[test]
fn time_alone_moves_nobody_before_a_limit() {
    for stage in stages() {
        check(&stage, Event::Tick, NOW, &Wait);
    }
}

#[test]
fn only_drift_and_retirement_end_a_scaler_node() {
    for index in 0..EVENTS {
        let event = event(index, 1);
        let expected = if matches!(event, Event::Tick) {
            Wait
        } else if matches!(event, Event::Drifted(_)) {
            Quarantine("drift", "drift says no")
        } else if matches!(event, Event::Foreign(_)) {
            Quarantine("host-image", "host-image says no")
        } else if let Event::Retired { transaction, .. } = event {
            To(Stage::Retired { node: bound().node(), by: "kim".into(), transaction, block: 12 }, vec![])
        } else {
            Ignore
        };
        check(&stage("registered"), event, NOW, &expected);
    }
    let other = Event::Retired { node: NodeId([9; 32]), by: "kim".into(), transaction: digest(7), block: 12 };
    check(&stage("registered"), other, NOW, &Ignore);
}

#[test]
fn a_node_that_left_stays_so() {
    for name in ["registered", "quarantined"] {
        let left =
            Event::Retired { node: bound().node(), by: "kim".into(), transaction: digest(7), block: 12 };
        check(&stage(name), left, NOW, &To(retired(), vec![]));
    }
    for index in 0..EVENTS {
        let event = event(index, 1);
        let expected = if matches!(event, Event::Tick | Event::Retry) { Wait } else { Ignore };
        check(&retired(), event, NOW, &expected);
    }
    let why = crate::why(&retired(), NOW, None);
    assert!(why.waiting_for.contains("kim let it go, and it was retired in block 12"), "{}", why.waiting_for);
    assert!(retired().answers_verifiers() && retired().node().is_some());
}

/// In each stage the answers to other stages' questions are stale.
#[test]
fn answers_to_closed_questions_are_ignored() {
    let asked_in = |event: &Event| -> &[&str] {
        match event {
            Event::Inventory { .. } => &["discovering"],
            Event::Identity { .. } => &["identifying"],
            Event::ChallengeMade { .. } => &["challenging"],
            Event::AnswerRight | Event::AnswerWrong => &["challenged"],
            Event::Quoted { .. } => &["admitting", "binding"],
            Event::Planned { .. } => &["admitted"],
            Event::StepDone { .. } | Event::BurnInDone { .. } => &["burning-in"],
            Event::Carved(_) => &["carving"],
            Event::Shaped => &["shaping"],
            Event::Priced(_) => &["pricing"],
            Event::Approved => &["approving"],
            Event::Registered { .. } => &["registering"],
            Event::RegistrationRefused(_) => &["pricing", "registering"],
            Event::Rejected(_) => &["challenging", "admitting", "verifying", "binding", "sealing"],
            Event::IdentityRefused(_) => &["challenging", "verifying", "sealing"],
            Event::Wanted => &["found"],
            Event::Unfit(_) => &["discovering", "admitted", "burning-in", "carving", "shaping", "binding"],
            Event::AgentFailed { .. } => {
                &["discovering", "identifying", "challenged", "admitting", "burning-in", "shaping", "binding"]
            }
            Event::PoweredOn(_) => &["booting"],
            Event::Drifted(_) => &["registered"],
            Event::Retired { .. } => &["registered", "quarantined"],
            Event::Hello(_)
            | Event::Moved(_)
            | Event::Foreign(_)
            | Event::PowerLost
            | Event::Attested(_)
            | Event::Bound(_)
            | Event::Tick
            | Event::Retry => &["*"],
        }
    };
    for stage in stages() {
        for index in 0..EVENTS {
            let event = event(index, 2);
            let open = asked_in(&event);
            if open != ["*"] && !open.contains(&stage.name()) {
                check(&stage, event, NOW, &Ignore);
            }
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: no panic, no registration without an approval, no admission without a proof.
    #[test]
    fn nobody_comes_to_the_chain_past_its_gates(
        start in 0_usize..19,
        events in prop::collection::vec((0..EVENTS, 0_u32..5, 0_u64..600), 0..60),
    ) {
        let mut current = stages().swap_remove(start);
        let mut now = NOW;
        for (index, number, seconds) in events {
            now = now.after(Seconds(seconds));
            let Step::Move { to, effects } = step(&current, event(index, number), now) else { continue };
            match to.name() {
                "registering" => {
                    prop_assert_eq!(current.name(), "approving");
                    prop_assert_eq!(effects, vec![Effect::Register]);
                }
                "registered" => prop_assert_eq!(current.name(), "registering"),
                "retired" => prop_assert!(["registered", "quarantined"].contains(&current.name())),
                // Only `Event::Attested` and `Event::Bound`, which nobody can make here, lead over these steps.
                "admitted" => prop_assert!(false, "admitted without a proof, from {}", current.name()),
                "pricing" => prop_assert!(["pricing", "approving"].contains(&current.name())),
                _ => prop_assert!(!effects.contains(&Effect::Register)),
            }
            if let Some(node) = to.node().filter(|_| to.name() != "retired") {
                prop_assert_eq!(Some(node), current.node(), "a node id from nowhere");
            }
            current = to;
        }
    }
}
