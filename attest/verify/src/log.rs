//! The event log: does it explain the PCR values that the TPM signed?

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use attest_evidence::{Evidence, digest};
use attest_wire::eventlog::{Bank, Error, EventLog, Replay, StraightBoot, boot_url};

use crate::{
    secure_boot,
    verdict::{Checks, Facts},
    verify::Context,
};

/// PCRs that firmware always extends: a zero there means that nobody measured the boot.
const FIRMWARE_PCRS: std::ops::RangeInclusive<u8> = 0..=7;
/// PCRs that boot loader and kernel extend before the log is closed: what is in them must be in the log.
const LOADER_PCRS: [u8; 5] = [9, 11, 12, 13, 14];

/// What one log's bytes amount to, whoever presents them.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    events: usize,
    replay: Replay,
    straight: Option<StraightBoot>,
    odd_separators: Vec<u32>,
    secure_boot: Result<Option<bool>, &'static str>,
    boot_url: Option<String>,
}

impl Reading {
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Error> {
        let log = EventLog::parse(bytes)?;
        Ok(Self {
            events: log.events().len(),
            replay: log.replay(Bank::Sha256)?,
            straight: log.straight_boot(Bank::Sha256),
            odd_separators: secure_boot::odd_separators(&log),
            secure_boot: secure_boot::state(&log),
            boot_url: boot_url(&log),
        })
    }
}

/// The log of one evidence file.
pub(crate) struct Log {
    digest: [u8; 32],
    reading: Result<Arc<Reading>, Error>,
}

impl Log {
    pub(crate) fn of(evidence: &Evidence, context: &mut Context<'_>) -> Self {
        let digest = digest(&evidence.logs.uefi);
        Self { digest, reading: context.reading(digest, &evidence.logs.uefi) }
    }

    /// PCR 4 without the boot options that were tried in vain, if there were any and the log explains what was signed.
    pub(crate) fn straight(&self, pcrs: &BTreeMap<u8, [u8; 32]>) -> Option<&StraightBoot> {
        let reading = self.reading.as_ref().ok()?;
        let explained = reading.replay.value(4)? == pcrs.get(&4)?;
        reading.straight.as_ref().filter(|_| explained)
    }
}

/// Judges the UEFI log against the quoted values.
pub(crate) fn judge(
    evidence: &Evidence,
    log: &Log,
    pcrs: &BTreeMap<u8, [u8; 32]>,
    checks: &mut Checks,
    facts: &mut Facts,
) {
    checks.add(
        "log-digest",
        log.digest == evidence.statement.uefi_log,
        crate::hexed::encode(log.digest),
        crate::hexed::encode(evidence.statement.uefi_log),
        "the event log in this file is not the one that the statement names",
    );
    let zero: Vec<u8> = FIRMWARE_PCRS.filter(|pcr| pcrs.get(pcr) == Some(&[0; 32])).collect();
    checks.add(
        "pcrs-not-zero",
        zero.is_empty(),
        crate::quote::list(&zero),
        "[]",
        "PCRs that firmware must extend are zero: the boot was not measured into this bank",
    );
    let reading = match &log.reading {
        Ok(reading) => reading,
        Err(error) => {
            return checks.fail("log-structure", error.to_string(), "the event log cannot be replayed");
        }
    };
    checks.add("log-structure", true, format!("{} events", reading.events), "", "");
    let mut unexplained = Vec::new();
    for (pcr, value) in pcrs {
        let explained = match reading.replay.value(*pcr) {
            Some(replayed) => replayed == value,
            // No event: an untouched PCR is zero; 15 is the running system's own and has its own log.
            None => (LOADER_PCRS.contains(pcr) && *value == [0; 32]) || !judged(*pcr),
        };
        if !explained {
            let replayed = reading.replay.value(*pcr).map_or("nothing".to_owned(), crate::hexed::encode);
            unexplained.push((*pcr, crate::hexed::encode(value), replayed));
        }
    }
    let first = unexplained.first().cloned();
    let list: Vec<u8> = unexplained.iter().map(|(pcr, ..)| *pcr).collect();
    let (measured, expected) = first.map_or(("all".into(), "all".into()), |(pcr, value, replayed)| {
        (Cow::from(format!("PCR {pcr} = {value}")), Cow::from(format!("PCR {pcr} = {replayed} by the log")))
    });
    let note = || format!("the event log does not explain the signed values of PCRs {list:?}");
    if checks.add_with("log-replay", list.is_empty(), measured, expected, note) {
        facts.secure_boot = secure_boot::judge(&reading.odd_separators, reading.secure_boot, checks);
        facts.boot_url.clone_from(&reading.boot_url);
    }
}

fn judged(pcr: u8) -> bool {
    FIRMWARE_PCRS.contains(&pcr) || LOADER_PCRS.contains(&pcr)
}
