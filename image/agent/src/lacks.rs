//! What is in the way on this machine, in words for whoever stands before it: each with the next step.
//!
//! [`lacks`] turns what was seen into lines and touches nothing; [`look`] sees.  Drives are looked at when somebody asks
//! at the console only: reading them would disturb a burn-in that measures them.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use appliance_model::{Day, Seconds};
use attest_tpm::{Hierarchies, Tpm};
use image_slots::{found, gpt::Layout};

use crate::{block::Block, console::chain, net, system};

/// A clock before it was never set.
const CLOCK_SECONDS_MIN: u64 = system::CLOCK_SECONDS_MIN.unsigned_abs();
/// More drives than any server has.
const DRIVES_MAX: usize = 256;
/// Contents of a drive that are named on one line.
const NAMED_MAX: usize = 4;

/// What was seen of the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TpmSeen {
    /// No device.
    Absent,
    /// It did not answer, in words.
    Silent(String),
    /// What it says.
    Says(Hierarchies),
}

/// What was seen of a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveSeen {
    /// Kernel name.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// What is on it; empty for a blank one; why not, where it could not be read.
    pub holds: Result<Vec<String>, String>,
}

/// What was seen of the machine.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The TPM.
    pub tpm: TpmSeen,
    /// The clock, Unix seconds.
    pub clock_seconds: u64,
    /// Whether UEFI started the machine.
    pub uefi: bool,
    /// Ethernet ports, and whether somebody is at the other end.
    pub ports: Vec<(String, bool)>,
    /// Drives; nothing where they were not looked at.
    pub drives: Option<Vec<DriveSeen>>,
}

/// What is in the way, the gravest first.
#[must_use]
pub fn lacks(seen: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(ports(&seen.ports));
    match &seen.tpm {
        TpmSeen::Absent => lines.push(
            "no TPM: nobody can be shown which machine this is; switch TPM 2.0 on in the firmware's setup, or fit its module"
                .into(),
        ),
        TpmSeen::Silent(why) => lines.push(format!(
            "the TPM does not answer ({why}): take the machine from its power for a minute; replace the TPM if that does \
             not help"
        )),
        TpmSeen::Says(hierarchies) => lines.extend(hierarchies.in_the_way()),
    }
    if seen.clock_seconds < CLOCK_SECONDS_MIN {
        let day = Day::of_unix(Seconds(seen.clock_seconds));
        lines.push(format!(
            "the clock says {day}, which is over: the appliance sets it for now; set it in the firmware's setup, in UTC, \
             and look at its battery"
        ));
    }
    if !seen.uefi {
        lines.push(
            "a BIOS started this machine: it can be looked at, but no system is installed on it; set its firmware to UEFI"
                .into(),
        );
    }
    if let Some(drives) = &seen.drives {
        lines.extend(of_drives(drives));
    }
    lines
}

fn ports(ports: &[(String, bool)]) -> Option<String> {
    if ports.is_empty() {
        return Some(
            "no network port that has a driver: fit a card that Linux drives, or switch the port on in the firmware's setup"
                .into(),
        );
    }
    let names: Vec<&str> = ports.iter().map(|(name, _)| name.as_str()).collect();
    (!ports.iter().any(|(_, carrier)| *carrier)).then(|| {
        format!("no cable in {}, or nobody at its end: plug one into the provisioning LAN", names.join(", "))
    })
}

fn of_drives(drives: &[DriveSeen]) -> Vec<String> {
    let mut lines = Vec::new();
    let large = |drive: &&DriveSeen| drive.bytes >= Layout::HOST.drive_min;
    if drives.is_empty() {
        lines.push(
            "no drive: a system of its own cannot be installed here; fit one, or switch its controller on in the firmware's \
             setup"
                .into(),
        );
    } else if !drives.iter().any(|drive| large(&drive)) {
        lines.push(format!(
            "no drive is large enough for a system of its own, which needs {} MiB: fit a larger one",
            Layout::HOST.drive_min >> 20
        ));
    }
    for DriveSeen { name, bytes, holds } in drives {
        let mebibytes = bytes >> 20;
        match holds {
            Ok(held) if held.is_empty() => {}
            Ok(held) => lines.push(format!(
                "drive {name} ({mebibytes} MiB) {}: nothing on it is changed unless a person allows it at the appliance \
                 (`scalerforge host install` says how)",
                holding(held)
            )),
            Err(why) => lines.push(format!(
                "drive {name} ({mebibytes} MiB) cannot be read ({why}): look at its cable and health; it is not written to"
            )),
        }
    }
    lines
}

/// What is on a drive, on one line.
#[must_use]
pub fn holding(held: &[String]) -> String {
    let shown = held.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = held.len().saturating_sub(NAMED_MAX);
    if more > 0 { format!("holds {shown} and {more} more") } else { format!("holds {shown}") }
}

/// Looks at the machine below `root`; at its drives only where that is wanted.
#[must_use]
pub fn look(root: &Path, tpm: &Path, with_drives: bool) -> Seen {
    Seen {
        tpm: ask(tpm),
        clock_seconds: clock_seconds(),
        uefi: root.join("sys/firmware/efi").exists(),
        ports: net::ports(root),
        drives: with_drives.then(|| drives(root)),
    }
}

fn ask(tpm: &Path) -> TpmSeen {
    if !tpm.exists() {
        return TpmSeen::Absent;
    }
    match Tpm::open(tpm).and_then(|mut tpm| tpm.hierarchies()) {
        Ok(hierarchies) => TpmSeen::Says(hierarchies),
        Err(error) => TpmSeen::Silent(chain(&error)),
    }
}

#[expect(clippy::disallowed_methods, reason = "the agent is a binary, and looks at the machine's clock")]
fn clock_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Drives that are no part of another and no file, loop or disc, and what is on them.
#[must_use]
pub fn drives(root: &Path) -> Vec<DriveSeen> {
    let entries = fs::read_dir(root.join("sys/block")).into_iter().flatten().flatten();
    let real = entries.filter(|entry| entry.path().join("device").exists());
    let mut names: Vec<String> = real.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with("sr") && !name.starts_with("fd"));
    names.sort();
    names.truncate(DRIVES_MAX);
    names.into_iter().filter_map(|name| drive(root, name)).collect()
}

/// A reader without a card in it has no size, and is no drive.
fn drive(root: &Path, name: String) -> Option<DriveSeen> {
    let sectors = fs::read_to_string(root.join("sys/block").join(&name).join("size")).ok()?;
    let bytes = sectors.trim().parse::<u64>().ok()?.checked_mul(512).filter(|bytes| *bytes > 0)?;
    let opened = Block::look_at(&root.join("sys"), &root.join("dev").join(&name));
    let holds = opened.and_then(|mut block| found::found(&mut block)).map_err(|error| error.to_string());
    let holds = holds.map(|found| found.parts.iter().map(described).collect());
    Some(DriveSeen { name, bytes, holds })
}

/// A part of a drive in words.
#[must_use]
pub fn described(part: &appliance_api::agent::host::FoundPartition) -> String {
    if part.name.is_empty() { part.holds.clone() } else { format!("{} ({})", part.holds, part.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        Seen {
            tpm: TpmSeen::Says(Hierarchies::default()),
            clock_seconds: CLOCK_SECONDS_MIN,
            uefi: true,
            ports: vec![("eth0".into(), true), ("eth1".into(), false)],
            drives: Some(vec![DriveSeen { name: "sda".into(), bytes: 8 << 30, holds: Ok(Vec::new()) }]),
        }
    }

    #[test]
    fn each_lack_has_its_next_step() {
        assert_eq!(lacks(&good()), [] as [String; 0]);
        type Spoil = fn(&mut Seen);
        let one = |bytes, holds| Some(vec![DriveSeen { name: "sda".into(), bytes, holds }]);
        let table: [(Spoil, &str, &str); 6] = [
            (|seen| seen.tpm = TpmSeen::Absent, "no TPM", "firmware's setup"),
            (|seen| seen.tpm = TpmSeen::Silent("FAILURE".into()), "does not answer (FAILURE)", "power"),
            (
                |seen| {
                    seen.tpm = TpmSeen::Says(Hierarchies { owner_password: true, ..Hierarchies::default() });
                },
                "owner hierarchy has a password",
                "tpm2_clear",
            ),
            (|seen| seen.clock_seconds = 3600, "the clock says 1970-01-01", "battery"),
            (|seen| seen.uefi = false, "a BIOS started", "UEFI"),
            (|seen| seen.ports.clear(), "no network port", "card"),
        ];
        for (spoil, what, next) in table {
            let mut seen = good();
            spoil(&mut seen);
            let said = lacks(&seen);
            assert!(said.len() == 1 && said[0].contains(what) && said[0].contains(next), "{said:?}");
        }
        for (drives, what, next) in [
            (Some(Vec::new()), "no drive", "fit one"),
            (one(300 << 20, Ok(Vec::new())), "needs 1024 MiB", "fit a larger one"),
            (
                one(8 << 30, Ok(vec!["NTFS (Windows)".into()])),
                "drive sda (8192 MiB) holds NTFS (Windows)",
                "unless a person allows it",
            ),
            (one(8 << 30, Err("Input/output error".into())), "cannot be read", "cable and health"),
        ] {
            let said = lacks(&Seen { drives, ..good() });
            assert!(said.len() == 1 && said[0].contains(what) && said[0].contains(next), "{said:?}");
        }
        let dark = Seen { ports: vec![("eth0".into(), false)], ..good() };
        assert!(lacks(&dark)[0].contains("no cable in eth0"), "{:?}", lacks(&dark));
    }

    #[test]
    fn a_line_names_some_and_counts_the_rest() {
        let held: Vec<String> = (0..7).map(|number| format!("ext4 (p{number})")).collect();
        assert_eq!(holding(&held[..1]), "holds ext4 (p0)");
        assert_eq!(holding(&held), "holds ext4 (p0), ext4 (p1), ext4 (p2), ext4 (p3) and 3 more");
    }

    #[test]
    fn a_foreign_system_is_seen_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["sda", "sdb", "sr0"] {
            fs::create_dir_all(root.join("sys/block").join(name).join("device")).unwrap();
        }
        fs::create_dir(root.join("dev")).unwrap();
        let size = |name: &str, sectors: u64| {
            fs::write(root.join("sys/block").join(name).join("size"), format!("{sectors}\n")).unwrap();
        };
        size("sda", (4 << 20) / 512);
        size("sdb", 0);
        size("sr0", 4096);
        let mut windows = vec![0; 4 << 20];
        windows[3..11].copy_from_slice(b"NTFS    ");
        fs::write(root.join("dev/sda"), &windows).unwrap();
        let seen = look(root, &root.join("dev/tpm0"), true);
        assert_eq!(seen.tpm, TpmSeen::Absent);
        let drives = seen.drives.clone().unwrap();
        assert_eq!(drives.len(), 1, "an empty reader and a disc are no drives: {drives:?}");
        assert_eq!(drives[0].holds, Ok(vec!["NTFS (drive)".to_owned()]));
        assert!(lacks(&seen).iter().any(|line| line.contains("holds NTFS")), "{:?}", lacks(&seen));
        assert_eq!(fs::read(root.join("dev/sda")).unwrap(), windows);
        assert_eq!(look(root, &root.join("dev/tpm0"), false).drives, None);
    }
}
