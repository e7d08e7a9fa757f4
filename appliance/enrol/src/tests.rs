//! Transcripts: what each stage makes of each event.  The proofs (`Attested`, `Bound`) cannot be made here, which is
//! their point; `hil-tests/scenarios` walks through the stages that need them with a real TPM.

mod break_glass;
mod erase;
mod remedy;
mod residence;
mod rotation;
mod table;
mod wire;

use appliance_model::{Digest, Icnt, Now, Seconds};

use crate::{AttestedRecord, Boot, BoundRecord, Carved, Event, Price, Refusal, Rung, Stage};

pub(crate) const NOW: Now = Now(1_000_000);

pub(crate) fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

pub(crate) fn boot(byte: u8) -> Boot {
    Boot { nonce: digest(byte), at: Now(500) }
}

pub(crate) fn attested() -> AttestedRecord {
    let json = format!(
        r#"{{"node":"{}","evidence":"{}","reset_count":3,"tier":"T1"}}"#,
        "0a".repeat(32),
        "0b".repeat(32)
    );
    serde_json::from_str(&json).unwrap()
}

pub(crate) fn bound() -> BoundRecord {
    let json = format!(
        r#"{{"node":"{}","evidence":"{}","unit_root":"{}","tier":"T1"}}"#,
        "0a".repeat(32),
        "0c".repeat(32),
        "0d".repeat(32)
    );
    serde_json::from_str(&json).unwrap()
}

pub(crate) fn carved() -> Carved {
    Carved { class: "storage-nvme".into(), capacity: 2, units: 5, unit_root: digest(13) }
}

pub(crate) fn price(required: u128, balance: u128) -> Price {
    Price {
        block: 7,
        required: Icnt(required),
        balance: Icnt(balance),
        factors: vec!["2 × 50".into()],
        passport: None,
    }
}

pub(crate) fn refusal(rule: &str) -> Refusal {
    Refusal { rule: rule.into(), text: format!("{rule} says no") }
}

pub(crate) fn rejection() -> Box<attest_verify::Rejection> {
    Box::new(attest_verify::Rejection {
        check: "pcr-11".into(),
        what: "PCR 11 is aa but the image's reference says bb".into(),
        measured: "aa".into(),
        expected: "bb".into(),
    })
}

/// One of each stage, in the order of the way.
pub(crate) fn stages() -> Vec<Stage> {
    let (boot, attested, bound, carved) = (boot(1), attested(), bound(), carved());
    vec![
        Stage::Found,
        Stage::Booting { attempt: 1, until: NOW.after(Seconds(10)) },
        Stage::Discovering { boot: boot.clone() },
        Stage::Identifying { boot: boot.clone() },
        Stage::Challenging { boot: boot.clone(), identity: digest(2) },
        challenged(NOW.after(Seconds(10))),
        Stage::Admitting { boot: boot.clone(), identity: digest(2) },
        Stage::Verifying { boot: boot.clone(), identity: digest(2), evidence: digest(4) },
        Stage::Admitted { boot: boot.clone(), attested: attested.clone() },
        Stage::BurningIn { boot: boot.clone(), attested: attested.clone(), done: 1, steps: 3 },
        Stage::Carving { boot: boot.clone(), attested: attested.clone() },
        Stage::Shaping { boot: boot.clone(), attested: attested.clone(), carved: carved.clone() },
        Stage::Binding { boot: boot.clone(), attested: attested.clone(), carved: carved.clone() },
        Stage::Sealing { boot, attested, carved: carved.clone(), evidence: digest(5) },
        Stage::Pricing { bound: bound.clone(), carved: carved.clone() },
        Stage::Approving { bound: bound.clone(), carved: carved.clone(), price: price(100, 100) },
        Stage::Registering { bound: bound.clone(), carved: carved.clone(), price: price(100, 100) },
        Stage::Registered { bound, carved, price: price(100, 100), transaction: digest(6), block: 9 },
        retired(),
        Stage::Quarantined { was: "booting".into(), rule: "boot".into(), why: "it never said hello".into() },
    ]
}

pub(crate) fn retired() -> Stage {
    Stage::Retired { node: bound().node(), by: "kim".into(), transaction: digest(7), block: 12 }
}

pub(crate) fn challenged(until: Now) -> Stage {
    Stage::Challenged { boot: boot(1), identity: digest(2), transcript: digest(3), until }
}

/// The stage of that name.
pub(crate) fn stage(name: &str) -> Stage {
    stages().into_iter().find(|stage| stage.name() == name).unwrap()
}

/// How many events can be made without a proof.
pub(crate) const EVENTS: usize = 31;

/// The `index`-th event that can be made without a proof, with `number` in it.
pub(crate) fn event(index: usize, number: u32) -> Event {
    use appliance_model::burn_in::Verdict;
    let byte = u8::try_from(number % 4).unwrap();
    let reasons = || vec![format!("drive {number}: too slow")];
    match index {
        0 => Event::Wanted,
        1 => Event::PoweredOn(Rung::UefiHttp),
        2 => Event::Hello(boot(byte)),
        3 => Event::PowerLost,
        4 => Event::Inventory { inventory: digest(byte) },
        5 => Event::Identity { identity: digest(byte) },
        6 => Event::ChallengeMade { transcript: digest(byte) },
        7 => Event::IdentityRefused(refusal("ek-taken")),
        8 => Event::AnswerRight,
        9 => Event::AnswerWrong,
        10 => Event::Quoted { evidence: digest(byte) },
        11 => Event::Rejected(rejection()),
        12 => Event::Planned { steps: number, done: 0 },
        13 => Event::StepDone { done: number },
        14 => Event::BurnInDone { report: digest(byte), verdict: Verdict::Pass { coverage: vec![] } },
        15 => Event::BurnInDone { report: digest(byte), verdict: Verdict::Fail { reasons: reasons() } },
        16 => {
            Event::BurnInDone { report: digest(byte), verdict: Verdict::Inconclusive { reasons: reasons() } }
        }
        17 => Event::Carved(carved()),
        18 => Event::Unfit(refusal("no-class")),
        19 => Event::Priced(price(100, u128::from(number) * 40)),
        20 => Event::Approved,
        21 => Event::Registered { transaction: digest(byte), block: 9 },
        22 => Event::RegistrationRefused(refusal("NodeKnown")),
        23 => Event::AgentFailed { why: "no TPM".into() },
        24 => Event::Tick,
        25 => Event::Drifted(refusal("drift")),
        26 => Event::Shaped,
        27 => Event::Moved(boot(byte)),
        28 => Event::Foreign(refusal("host-image")),
        29 => Event::Retired { node: bound().node(), by: "kim".into(), transaction: digest(byte), block: 12 },
        _ => Event::Retry,
    }
}
