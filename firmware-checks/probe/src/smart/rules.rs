//! The rules by which drives are graded.  `SMART.md` is this table in print; change it here.

use appliance_model::inventory::Grade;

use super::{Facts, Kind, Rule};

const ALL: &[Kind] = &[Kind::Ata, Kind::Nvme, Kind::Scsi];
const ATA: &[Kind] = &[Kind::Ata];
const NVME: &[Kind] = &[Kind::Nvme];
const SCSI: &[Kind] = &[Kind::Scsi];

/// From here on we count lost data as a broken drive, not as an accident: one bad spot costs a handful of sectors.
const LOST_MAX: u64 = 100;

/// A loose plug costs a few transfers while it is plugged; more than this is a cable that stays bad.
const TRANSFERS_MAX: u64 = 100;

const BACKBLAZE: &str = "Backblaze, 2016: investigates when it is above zero (one of five such attributes was, in 77 % of failed and 4 % of working drives)";
const NVME_LOG: &str = "NVM Express Base Specification, log page 02h";
const OCP_LOG: &str = "OCP Datacenter NVMe SSD Specification, log page C0h";
const OURS: &str = "ours: the count one step further";

const fn rule(
    id: &'static str,
    kinds: &'static [Kind],
    grade: Grade,
    when: &'static str,
    origin: &'static str,
    check: fn(&Facts<'_>) -> Option<String>,
) -> Rule {
    Rule { id, kinds, when, grade, origin, check }
}

/// All rules, general ones first.
pub const RULES: &[Rule] = &[
    rule(
        "own-verdict",
        ALL,
        Grade::Fail,
        "the drive says of itself that it fails (NVMe: for more than its temperature)",
        "ATA SMART RETURN STATUS, NVMe critical warning, SCSI informational exceptions; smartctl exit bit 3",
        own_verdict,
    ),
    rule(
        "worn",
        ALL,
        Grade::Watch,
        "wear used is 100 % or more",
        "NVM Express log page 02h, SCSI log page 11h: the endurance its maker stands for is used up",
        |f| {
            let used = f.health.used_percent.filter(|used| *used >= 100)?;
            Some(format!("{used} % of its endurance is used"))
        },
    ),
    rule(
        "self-test",
        ALL,
        Grade::Fail,
        "a self-test failed and no later one contradicts it",
        "smartctl(8), exit bit 7; SCSI log page 10h",
        self_test,
    ),
    rule(
        "ata-threshold",
        ATA,
        Grade::Fail,
        "a prefailure attribute is at or below its maker's threshold",
        "ATA/ATAPI-5, SMART attribute thresholds; smartctl exit bit 4",
        ata_threshold,
    ),
    rule(
        "ata-threshold-once",
        ATA,
        Grade::Watch,
        "an attribute was below its threshold once, or one that only tells of age is now",
        "smartctl(8), exit bit 5",
        ata_threshold_once,
    ),
    rule(
        "ata-end-to-end",
        ATA,
        Grade::Fail,
        "attribute 184 is above 0",
        "its makers' definition: data was damaged between the drive's cache and its host port",
        |f| {
            above(errors(f)?.end_to_end_errors, 0)
                .map(|n| format!("{n} times data was damaged inside the drive (attribute 184)"))
        },
    ),
    rule("ata-unreadable", ATA, Grade::Fail, "attributes 197 or 198 reach 100", OURS, |f| {
        let errors = errors(f)?;
        let most = errors.pending_sectors.max(errors.offline_uncorrectable);
        above(most, LOST_MAX - 1).map(|n| format!("{n} sectors could not be read (attributes 197, 198)"))
    }),
    rule("ata-pending", ATA, Grade::Watch, "attribute 197 is above 0", BACKBLAZE, |f| {
        above(errors(f)?.pending_sectors, 0)
            .map(|n| format!("{n} sectors could not be read and wait for a write (attribute 197)"))
    }),
    rule("ata-offline", ATA, Grade::Watch, "attribute 198 is above 0", BACKBLAZE, |f| {
        above(errors(f)?.offline_uncorrectable, 0)
            .map(|n| format!("{n} sectors could not be read by the drive's own scan (attribute 198)"))
    }),
    rule("ata-reallocated", ATA, Grade::Watch, "attribute 5 is above 0", BACKBLAZE, |f| {
        above(f.health.reallocated_sectors, 0).map(|n| format!("{n} sectors were replaced (attribute 5)"))
    }),
    rule("ata-reported", ATA, Grade::Watch, "attribute 187 is above 0", BACKBLAZE, |f| {
        above(errors(f)?.reported_uncorrectable, 0)
            .map(|n| format!("{n} errors could not be corrected (attribute 187)"))
    }),
    rule(
        "ata-timeouts",
        ATA,
        Grade::Watch,
        "the low word of attribute 188 is above 0, on spinning drives",
        BACKBLAZE,
        |f| {
            let spins = f.rotational != Some(false);
            above(errors(f)?.command_timeouts.filter(|_| spins), 0)
                .map(|n| format!("{n} commands timed out (attribute 188)"))
        },
    ),
    rule(
        "ata-spin-retries",
        ATA,
        Grade::Watch,
        "attribute 10 is above 0, on spinning drives",
        "its makers' definition: the motor did not reach its speed at the first try",
        |f| {
            let spins = f.rotational != Some(false);
            above(errors(f)?.spin_retries.filter(|_| spins), 0)
                .map(|n| format!("{n} repeated tries to spin up (attribute 10)"))
        },
    ),
    rule(
        "ata-transfers",
        ATA,
        Grade::Watch,
        "attribute 199 is above 100",
        "ours: CRC errors of the link are a cable's or backplane's, and a few stay counted for ever",
        |f| {
            above(errors(f)?.transfer_errors, TRANSFERS_MAX).map(|n| {
                format!("{n} transfers with a wrong checksum: look at cable and backplane (attribute 199)")
            })
        },
    ),
    rule(
        "ata-error-log",
        ATA,
        Grade::Watch,
        "the drive's error log has entries",
        "smartctl(8), exit bit 6",
        |f| {
            let logged = above(errors(f).and_then(|errors| errors.logged), 0);
            match logged {
                Some(n) => Some(format!("its error log counts {n} errors")),
                None => f.exit_bit(6).then(|| "its error log has entries (smartctl exit bit 6)".into()),
            }
        },
    ),
    rule(
        "nvme-critical",
        NVME,
        Grade::Fail,
        "critical warning bits 0, 2, 3, 4 or 5 are set: spare used up, reliability degraded, read-only, volatile memory's backup failed, persistent memory unreliable",
        NVME_LOG,
        nvme_critical,
    ),
    rule(
        "nvme-temperature",
        NVME,
        Grade::Watch,
        "critical warning bit 1 is set: temperature out of its limits",
        NVME_LOG,
        |f| {
            f.health
                .critical_warning
                .filter(|bits| bits & 2 != 0)
                .map(|_| "its temperature is out of its limits".into())
        },
    ),
    rule(
        "nvme-spare",
        NVME,
        Grade::Fail,
        "spare left is at or below the drive's own threshold",
        NVME_LOG,
        |f| {
            let (spare, limit) = (f.health.available_spare_percent?, f.health.spare_threshold_percent?);
            // A threshold of 0, or one above 100, is a drive that has none.
            ((1..=100).contains(&limit) && spare <= limit)
                .then(|| format!("{spare} % of spare blocks are left, its threshold is {limit} %"))
        },
    ),
    rule("nvme-lost", NVME, Grade::Fail, "media errors reach 100", OURS, |f| {
        above(f.health.media_errors, LOST_MAX - 1).map(|n| format!("{n} times data could not be recovered"))
    }),
    rule(
        "nvme-media",
        NVME,
        Grade::Watch,
        "media errors are above 0, whatever the drive's own verdict",
        "NVM Express log page 02h: unrecovered data integrity errors",
        |f| above(f.health.media_errors, 0).map(|n| format!("{n} times data could not be recovered")),
    ),
    rule("nvme-hot", NVME, Grade::Watch, "it spent minutes above its critical temperature", NVME_LOG, |f| {
        above(f.health.critical_temperature_minutes, 0)
            .map(|n| format!("{n} minutes above its critical temperature"))
    }),
    rule(
        "nvme-error-log",
        NVME,
        Grade::Watch,
        "the error log has an entry about data (status code type 2 or above), or smartctl reports entries and does not tell them",
        "smartctl(8), exit bit 6; NVM Express log page 01h",
        |f| match f.harmless_log {
            Some(true) => None,
            Some(false) => Some("its error log has entries about data".into()),
            None => f.exit_bit(6).then(|| "its error log has entries (smartctl exit bit 6)".into()),
        },
    ),
    rule(
        "nvme-uncorrectable",
        NVME,
        Grade::Watch,
        "reads that nothing could recover are above 0",
        OCP_LOG,
        |f| {
            above(f.health.ocp.as_ref()?.uncorrectable_reads, 0)
                .map(|n| format!("{n} reads that nothing could recover"))
        },
    ),
    rule("scsi-lost", SCSI, Grade::Fail, "uncorrected errors reach 100", OURS, |f| {
        above(errors(f)?.uncorrected, LOST_MAX - 1).map(|n| format!("{n} errors could not be corrected"))
    }),
    rule(
        "scsi-uncorrected",
        SCSI,
        Grade::Watch,
        "uncorrected read, write or verify errors are above 0",
        "SCSI log pages 02h, 03h, 05h (SPC-4): what Backblaze asks of attribute 187",
        |f| above(errors(f)?.uncorrected, 0).map(|n| format!("{n} errors could not be corrected")),
    ),
    rule(
        "scsi-grown",
        SCSI,
        Grade::Watch,
        "the list of grown defects is not empty",
        "SBC-3 READ DEFECT DATA: what Backblaze asks of attribute 5",
        |f| above(errors(f)?.grown_defects, 0).map(|n| format!("{n} grown defects")),
    ),
];

fn errors<'a>(facts: &Facts<'a>) -> Option<&'a appliance_model::inventory::DriveErrors> {
    facts.health.errors.as_ref()
}

fn above(value: Option<u64>, limit: u64) -> Option<u64> {
    value.filter(|value| *value > limit)
}

fn own_verdict(facts: &Facts<'_>) -> Option<String> {
    // An NVMe drive that is only warm passes again when it is cool; a rule of its own says so.
    if facts.health.critical_warning == Some(2) {
        return None;
    }
    let failed = facts.health.passed == Some(false) || facts.exit_bit(3);
    failed.then(|| "the drive says of itself that it fails".into())
}

fn self_test(facts: &Facts<'_>) -> Option<String> {
    match above(errors(facts).and_then(|errors| errors.self_tests_failed), 0) {
        Some(n) => Some(format!("{n} self-tests failed")),
        None => facts.exit_bit(7).then(|| "a self-test failed (smartctl exit bit 7)".into()),
    }
}

fn ata_threshold(facts: &Facts<'_>) -> Option<String> {
    match list(errors(facts).map(|errors| errors.below_threshold.as_slice())) {
        Some(ids) => Some(format!("below their makers' thresholds: attributes {ids}")),
        None => facts.exit_bit(4).then(|| "an attribute is below its threshold (smartctl exit bit 4)".into()),
    }
}

fn ata_threshold_once(facts: &Facts<'_>) -> Option<String> {
    match list(errors(facts).map(|errors| errors.was_below_threshold.as_slice())) {
        Some(ids) => Some(format!("were below their makers' thresholds, or tell of age: attributes {ids}")),
        None => {
            facts.exit_bit(5).then(|| "an attribute was below its threshold (smartctl exit bit 5)".into())
        }
    }
}

fn list(ids: Option<&[u16]>) -> Option<String> {
    let ids = ids.filter(|ids| !ids.is_empty())?;
    Some(ids.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
}

fn nvme_critical(facts: &Facts<'_>) -> Option<String> {
    let bits = facts.health.critical_warning?;
    let words = [
        (0x01, "spare blocks are used up"),
        (0x04, "its reliability is degraded"),
        (0x08, "it went read-only"),
        (0x10, "the backup of its volatile memory failed"),
        (0x20, "its persistent memory region is unreliable"),
        (0xc0, "a warning of a newer specification"),
    ];
    let set: Vec<&str> = words.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, text)| *text).collect();
    (!set.is_empty()).then(|| format!("critical warning: {}", set.join(", ")))
}
