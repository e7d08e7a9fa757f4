//! Boot options that the firmware tried in vain: read past where nothing ran, and never where something did.

use attest_evidence::digest;
use attest_wire::eventlog::{BOOT_ATTEMPTS_MAX, Bank, CALLING_BOOT_OPTION, EV_EFI_ACTION, EV_NO_ACTION};

use crate::{
    Case, case,
    forge::{Bend, Forge, Measured, Recorded, boot, calling, in_vain, measured, returning, trying},
};

const APPLICATION: u32 = 0x8000_0003;

/// (name, check, what is right or wrong, what PCR 4 has between separator and image).
type Row = (&'static str, &'static str, &'static str, fn() -> Vec<Measured>);

const BETWEEN: [Row; 18] = [
    (
        "attempts-none",
        "accepted",
        "the firmware says when it tries an option, and the first one starts",
        Vec::new,
    ),
    ("attempts-one", "accepted", "one boot option was tried in vain", || in_vain(1)),
    ("attempts-three", "accepted", "three boot options were tried in vain", || in_vain(3)),
    ("attempts-most", "accepted", "64 boot options were tried in vain", || in_vain(BOOT_ATTEMPTS_MAX)),
    ("attempts-too-many", "pcr-4", "65 boot options were tried in vain", || in_vain(BOOT_ATTEMPTS_MAX + 1)),
    ("attempts-data-altered", "accepted", "digests decide: the words beside them are another text", || {
        [returning(), calling()].map(|event| (event.0, event.1, event.2, b"another text".to_vec())).to_vec()
    }),
    ("attempts-note-between", "accepted", "an event that extends nothing stands inside a try", || {
        vec![returning(), measured(EV_NO_ACTION, b"note"), calling()]
    }),
    ("attempts-foreign-returned", "pcr-4", "an application of somebody else ran and came back", || {
        vec![foreign(), returning(), calling()]
    }),
    ("attempts-foreign-inside", "pcr-4", "an application was measured between Returning and Calling", || {
        vec![returning(), foreign(), calling()]
    }),
    (
        "attempts-foreign-started-it",
        "pcr-4",
        "after a try in vain somebody else's loader started the image",
        || vec![returning(), calling(), foreign()],
    ),
    ("attempts-foreign-second", "pcr-4", "the second option's application ran and came back", || {
        vec![returning(), calling(), foreign(), returning(), calling()]
    }),
    (
        "attempts-foreign-as-action",
        "pcr-4",
        "an application's digest under the type and the words of an action",
        || vec![(4, EV_EFI_ACTION, b"evil".to_vec(), returning().3), calling()],
    ),
    (
        "attempts-as-application",
        "pcr-4",
        "the digests of a try under another type than the firmware's",
        || vec![(4, APPLICATION, returning().2, returning().3), (4, APPLICATION, calling().2, calling().3)],
    ),
    (
        "attempts-return-unpaired",
        "pcr-4",
        "an option came back and no other was called",
        || vec![returning()],
    ),
    ("attempts-call-unpaired", "pcr-4", "an option was called and none came back", || vec![calling()]),
    ("attempts-swapped", "pcr-4", "Calling before Returning", || vec![calling(), returning()]),
    ("attempts-nested", "pcr-4", "a try inside a try", || {
        vec![returning(), returning(), calling(), calling()]
    }),
    ("attempts-zero-at-end", "pcr-4", "the words were measured with the zero at their end", || {
        [returning(), calling()].map(|event| measured(EV_EFI_ACTION, &[&event.2[..], &[0]].concat())).to_vec()
    }),
];

fn foreign() -> Measured {
    measured(APPLICATION, b"evil")
}

pub(crate) fn cases(forge: &Forge) -> Vec<Case> {
    let actions = |name, check, why, bend: &dyn Fn(&mut Bend)| {
        case(name, check, why, &forge.evidence(|b| bend(b)))
            .under(|p| p.reference = vec!["policy/reference-actions.json".into()])
    };
    let mut cases: Vec<Case> = BETWEEN
        .into_iter()
        .map(|(name, check, why, between)| actions(name, check, why, &|b| b.events = trying(between())))
        .collect();
    let signed = |between: Vec<Measured>| boot(&trying(between)).1[&4];
    cases.extend([
        actions("attempts-image-another", "pcr-4", "a try in vain, and then another image", &|b| {
            b.events = trying(in_vain(1));
            b.events
                .iter_mut()
                .filter(|event| event.1 == APPLICATION)
                .for_each(|event| event.2 = b"evil".to_vec());
        }),
        actions(
            "attempts-after-image",
            "pcr-4",
            "the image itself came back, and the firmware went on",
            &|b| {
                b.events = trying(Vec::new());
                b.events.extend(in_vain(1));
            },
        ),
        actions(
            "attempts-before-separator",
            "pcr-4",
            "a try before the firmware's own measurements ended",
            &|b| {
                b.events = trying(Vec::new());
                let first = b.events.iter().position(|event| *event == calling()).unwrap();
                b.events.splice(first..first, [calling(), returning()]);
            },
        ),
        actions("attempts-unlogged", "pcr-4", "the TPM signed a try that the log does not have", &|b| {
            b.events = trying(Vec::new());
            b.pcrs.extend([(4, signed(in_vain(1)))]);
        }),
        actions(
            "attempts-logged-instead",
            "pcr-4",
            "the log has a try where an application was measured",
            &|b| {
                b.events = trying(in_vain(1));
                b.pcrs.extend([(4, signed(vec![foreign()]))]);
            },
        ),
        actions("attempts-logged-only", "log-replay", "the log has a try that was never measured", &|b| {
            b.events = trying(in_vain(1));
            b.pcrs.extend([(4, signed(Vec::new()))]);
        }),
        actions(
            "attempts-in-another-bank",
            "pcr-4",
            "a try by its SHA-384 digests, an application by SHA-256",
            &|b| {
                b.recorded = Some(two_banks([digest(b"evil"), digest(CALLING_BOOT_OPTION)]));
            },
        ),
    ]);
    cases
}

/// A log with SHA-256 and SHA-384: by the latter there was a try in vain, and by the former what `told` says.
fn two_banks(told: [[u8; 32]; 2]) -> Recorded {
    let events = trying(in_vain(1));
    let (_, mut values) = boot(&trying(Vec::new()));
    let words = [returning(), calling()];
    let tried = events.iter().position(|event| *event == words[0]).unwrap();
    let mut log = header();
    for (at, (pcr, kind, hashed, data)) in events.iter().enumerate() {
        let told = at.checked_sub(tried).and_then(|place| told.get(place));
        let sha256 = told.map_or_else(|| Bank::Sha256.hash(&[hashed]), |digest| digest.to_vec());
        log.extend([pcr.to_le_bytes(), kind.to_le_bytes(), 2u32.to_le_bytes()].concat());
        log.extend([&Bank::Sha256.algorithm().to_le_bytes()[..], &sha256].concat());
        log.extend([&Bank::Sha384.algorithm().to_le_bytes()[..], &Bank::Sha384.hash(&[hashed])].concat());
        log.extend([&u32::try_from(data.len()).unwrap().to_le_bytes()[..], data].concat());
    }
    let parsed = attest_wire::eventlog::EventLog::parse(&log).unwrap();
    let replay = parsed.replay(Bank::Sha256).unwrap();
    values
        .iter_mut()
        .filter_map(|(pcr, value)| Some((value, replay.value(*pcr)?)))
        .for_each(|(value, replayed)| value.copy_from_slice(replayed));
    (log, values)
}

fn header() -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 2, 2, 0, 0, 0, 0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0]);
    let length = u32::try_from(data.len()).unwrap();
    [&0u32.to_le_bytes()[..], &EV_NO_ACTION.to_le_bytes(), &[0; 20], &length.to_le_bytes(), &data].concat()
}
