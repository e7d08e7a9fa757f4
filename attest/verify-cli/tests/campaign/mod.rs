//! Mutation campaigns: real structures with bytes changed, cut and doubled, by a generator that is the same in each
//! run.  What must hold: no parser panics, and no altered evidence file is accepted.

use std::path::PathBuf;

use attest_evidence::{Evidence, Nonce, ReferenceValues, Statement, binding::SignedBinding};
use attest_verify::{
    Policy, Verifier,
    crypto::Pure,
    endorsement::{self, Roots},
    header::Header,
    secure_boot, unit_root,
};
use attest_wire::{
    Attest, Public, Signature,
    eventlog::{Bank, EventLog, boot_url, loaded_images},
};

/// When the vectors are judged: 2026-12-01, after the rack's certificates were made.
const NOW: u64 = 1_796_083_200;

/// How a campaign went.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) tried: u64,
    /// Read in spite of what was changed: it need not be wrong.
    pub(crate) read: u64,
}

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// TPM structures.
    Wire,
    /// UEFI event logs, their replay and the Secure Boot rules.
    Log,
    /// Evidence files, statements, bindings, manifests, headers, reference values.
    Bundle,
    /// Certificates and revocation lists.
    Certificates,
}

pub(crate) const TARGETS: [Target; 4] = [Target::Wire, Target::Log, Target::Bundle, Target::Certificates];

/// Xorshift64*: same seed, same campaign.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// One to four changes.
    fn change(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let place = self.below(bytes.len());
            let byte = self.roll().to_le_bytes()[0];
            match self.below(7) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, byte),
                2 => bytes.push(byte),
                3 if !bytes.is_empty() => drop(bytes.drain(place..place + self.below(bytes.len() - place))),
                4 => {
                    let end = place + self.below(bytes.len().saturating_sub(place)).min(64);
                    let copy = bytes[place..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, copy);
                }
                // What declared lengths like least.
                5 => bytes.iter_mut().skip(place).take(4).for_each(|at| *at = 0xff),
                _ => bytes.iter_mut().skip(place).take(1).for_each(|at| *at ^= byte | 1),
            }
        }
        bytes
    }
}

/// What campaigns start from.
pub(crate) struct Seeds {
    evidence: Vec<Evidence>,
    certificates: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
    policy: Policy,
}

impl Seeds {
    pub(crate) fn load() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../vectors");
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        let names =
            ["virtual-rack/registration", "files/good-registration", "files/board", "files/nonce-block"];
        let evidence: Vec<Evidence> =
            names.iter().map(|name| Evidence::decode(&read(&format!("{name}.evidence"))).unwrap()).collect();
        let mut roots = Roots::default();
        for name in ["virtual-rack/rack.pem", "policy/root.pem"] {
            roots.add_pem(&read(name)).unwrap();
        }
        roots.add_boards_pem(&read("policy/boards.pem")).unwrap();
        let certificates = evidence
            .iter()
            .flat_map(|one| [&one.endorsements.ek_certificates[..], &one.endorsements.intermediates].concat())
            .collect();
        let policy = Policy { roots, allow_software_tpm: true, ..Policy::default() };
        let mut verifier = Verifier::new(policy.clone(), &Pure);
        for one in &evidence {
            // Otherwise "nothing altered is accepted" would say nothing.
            assert!(verifier.verify(&one.encode(), NOW).unwrap().is_accepted());
        }
        Self { evidence, certificates, lists: vec![read("policy/revoked.crl.pem")], policy }
    }
}

/// One attempt at `target`.
///
/// # Panics
/// If a parser does, or if an altered file is accepted.
pub(crate) fn attempt(target: Target, seeds: &Seeds, dice: &mut Dice, count: &mut Count) {
    let good = &seeds.evidence[dice.below(seeds.evidence.len())];
    count.tried += 1;
    count.read += u64::from(match target {
        Target::Wire => wire(good, dice),
        Target::Log => log(&dice.change(&good.logs.uefi)),
        Target::Bundle => bundle(good, seeds, dice),
        Target::Certificates => certificate(good, seeds, dice),
    });
}

fn wire(good: &Evidence, dice: &mut Dice) -> bool {
    match dice.below(4) {
        0 => Public::parse(&dice.change(&good.tpm.ak_public)).is_ok_and(|key| !key.name().bytes().is_empty()),
        1 => Public::parse(&dice.change(&good.endorsements.ek_public)).is_ok(),
        2 => Attest::parse(&dice.change(&good.tpm.attest)).is_ok(),
        _ => Signature::parse(&dice.change(&good.tpm.signature)).is_ok_and(|one| one.p256().is_some()),
    }
}

fn log(bytes: &[u8]) -> bool {
    let Ok(log) = EventLog::parse(bytes) else { return false };
    let _ = (boot_url(&log), loaded_images(&log).len(), secure_boot::odd_separators(&log));
    let _ = secure_boot::state(&log);
    log.replay(Bank::Sha256).is_ok()
}

fn bundle(good: &Evidence, seeds: &Seeds, dice: &mut Dice) -> bool {
    match dice.below(6) {
        0 => Statement::decode(&dice.change(&good.statement.encode())).is_ok(),
        1 => Nonce::decode(&dice.change(&good.statement.nonce.encode())).is_ok(),
        2 => good
            .endorsements
            .bindings
            .first()
            .is_some_and(|one| SignedBinding::decode(&dice.change(one)).is_ok()),
        3 => good.attachments.manifest.as_ref().is_some_and(|one| unit_root(&dice.change(one)).is_ok()),
        4 => {
            let header = [&[0xf9, 2, 0x10, 0xa0][..], &[7; 600]].concat();
            let json = br#"{"name":"a","uki_sha256":"00","bank":"sha256","pcrs":[{"pcr":4,"accepted":[]}]}"#;
            Header::parse(&dice.change(&header)).is_ok()
                || ReferenceValues::from_json(&dice.change(json)).is_ok()
        }
        _ => file(good, seeds, dice),
    }
}

/// A whole file; what can still be read is judged.
fn file(good: &Evidence, seeds: &Seeds, dice: &mut Dice) -> bool {
    let file = good.encode();
    let bad = dice.change(&file);
    let mut verifier = Verifier::new(seeds.policy.clone(), &Pure);
    let Ok(verdict) = verifier.verify(&bad, NOW) else { return false };
    let read = Evidence::decode(&bad).unwrap();
    // Nobody signed for certificates that are not needed, bindings that do not count, or a board's word that is left
    // out: these may differ in a file that is accepted.
    let unsigned = |one: &Evidence| {
        let mut rest = one.clone();
        rest.endorsements.ek_certificates.clear();
        rest.endorsements.intermediates.clear();
        rest.endorsements.bindings.clear();
        rest.endorsements.iak = None;
        rest.tpm.signature.clear();
        rest
    };
    assert!(!verdict.is_accepted() || unsigned(&read) == unsigned(good), "an altered file was accepted");
    true
}

fn certificate(good: &Evidence, seeds: &Seeds, dice: &mut Dice) -> bool {
    if dice.below(8) == 0 {
        let list = &seeds.lists[dice.below(seeds.lists.len())];
        return Roots::default().add_crls_pem(&dice.change(list)).is_ok();
    }
    let place = dice.below(seeds.certificates.len());
    let bad = dice.change(&seeds.certificates[place]);
    let ek = Public::parse(&good.endorsements.ek_public).unwrap();
    let (own, given) = ([bad.clone()], [&good.endorsements.intermediates[..], &[bad]].concat());
    endorsement::check(&ek, &own, &given, &seeds.policy.roots, NOW).is_ok()
        || endorsement::certified(&[ek], &own).is_some()
}
