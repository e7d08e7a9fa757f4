//! A host's own system: how it gets onto a drive, how it is followed by the next, and where an agent says it runs.
//!
//! A *release* is one built system of four parts; a *slot* is the place for one on the drive, and there are two of them.
//! An installed system is *promoted* once the appliance has seen a fresh quote of it: until then it has few tries, and
//! the boot loader goes back to the other slot when they are used up.  The *floor* is a counter in the TPM: a release
//! whose epoch is smaller is not started any more.

use appliance_model::{Digest, Serial};
use serde::{Deserialize, Serialize};

/// Parts are fetched by `GET /agent/v1/part/SHA256`, in ranges, with the session's bearer.
pub const PART: &str = "part";

/// The most bytes that one part may have: ten times the largest.
pub const PART_BYTES_MAX: u64 = 1 << 30;

/// How long an installed system that was never promoted waits for it, before it restarts: an appliance that is away
/// for longer than three tries last brings back the other slot, which was promoted, and loses nothing.
pub const PROMOTION_MINUTES_MAX: u64 = 20;

/// One built host system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// What it is called: letters, digits, `.`, `-`, `_`, `~`.
    pub name: String,
    /// Its version, of the same letters.
    pub version: String,
    /// What the floor counts; it never becomes smaller from release to release.
    pub epoch: u32,
    /// Verity's root hash of the root file system.
    pub root_hash: Digest,
}

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The boot loader, signed for this site.
    Loader,
    /// Kernel, start program and the root's hash, sealed and signed for this site.
    Uki,
    /// The root file system.
    Root,
    /// Its hash tree.
    Verity,
}

impl Role {
    /// All there are: a release has each once.
    pub const ALL: [Role; 4] = [Role::Loader, Role::Uki, Role::Root, Role::Verity];
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// What it is for.
    pub role: Role,
    /// What it is fetched by, and must have.
    pub sha256: Digest,
    /// Its size in bytes, at most [`PART_BYTES_MAX`].
    pub bytes: u64,
}

/// One of the two places for a release on a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// The one that it is not.
    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    /// `a` or `b`, as partitions and boot entries have it.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Slot::A => 'a',
            Slot::B => 'b',
        }
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// Where a release is to be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Place {
    /// A whole drive, which loses everything that is on it.
    Fresh {
        /// Serial, or the WWN of a drive that tells none.
        drive: Serial,
        /// What the agent found on it, as [`Outcome::Occupied`](super::Outcome::Occupied) named it: without, only an
        /// empty drive is written.  A drive that holds something else by now is not written either.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<Digest>,
    },
    /// The slot that does not run, on the drive that the running system came from.
    Other,
}

/// Puts a release onto a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallOrder {
    /// Which.
    pub release: Release,
    /// Each role once.
    pub parts: Vec<Part>,
    /// Where.
    pub place: Place,
}

/// Something that was found on a drive that is to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundPartition {
    /// Its number in the table; 0 for what stands outside of all partitions.
    pub number: u32,
    /// Its name in the table, or its type where it has no name.
    pub name: String,
    /// First byte on the drive.
    pub start: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// What is in it, as far as its first blocks tell: `ext4 "data"`, `NTFS`, `LUKS`, `data that nobody knows`.
    pub holds: String,
}

/// Where an installed agent runs.  Hearsay like all else in a hello: a quote proves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residence {
    /// The slot whose root is mounted.
    pub slot: Slot,
    /// The release's name.
    pub release: String,
    /// The release's version.
    pub version: String,
    /// The release's epoch.
    pub epoch: u32,
    /// The root hash that the kernel was started with.
    pub root_hash: Digest,
    /// Serial of the drive it came from, where it tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive: Option<Serial>,
    /// Tries that the boot loader had left for this slot after this boot; absent once it is promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u8>,
    /// Slots whose tries are used up: they were started and never promoted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedSlot>,
    /// The floor in the TPM; absent where there is none yet, or no TPM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<u32>,
}

/// A slot that was started in vain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedSlot {
    /// Which.
    pub slot: Slot,
    /// Name and version of what is in it, as its boot entry has them.
    pub release: String,
}

#[cfg(test)]
mod tests {
    use crate::agent::{Order, Report};

    /// The wire, byte by byte.  **If this fails, change your code, not this test**: images with these bytes are served.
    #[test]
    fn protocol_1_host() {
        let [one, two] = ["01".repeat(32), "02".repeat(32)];
        let release =
            format!(r#"{{"name":"scalerforge-host","version":"1.2","epoch":3,"root_hash":"{one}"}}"#);
        let parts = format!(r#"[{{"role":"verity","sha256":"{two}","bytes":4096}}]"#);
        for place in [
            r#"{"kind":"other"}"#.to_owned(),
            r#"{"kind":"fresh","drive":"D1"}"#.to_owned(),
            format!(r#"{{"kind":"fresh","drive":"D1","found":"{one}"}}"#),
        ] {
            let order = format!(
                r#"{{"id":7,"work":{{"kind":"install","release":{release},"parts":{parts},"place":{place}}}}}"#
            );
            let parsed: Order = serde_json::from_str(&order).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), order);
        }
        for order in [
            format!(r#"{{"id":8,"work":{{"kind":"promote","release":{release}}}}}"#),
            r#"{"id":9,"work":{"kind":"switch"}}"#.to_owned(),
        ] {
            let parsed: Order = serde_json::from_str(&order).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), order);
        }
        for outcome in [
            format!(
                r#"{{"kind":"occupied","drive":"D1","found":[{{"number":1,"name":"esp","start":1048576,"bytes":9,"holds":"FAT"}}],"digest":"{one}"}}"#
            ),
            format!(
                r#"{{"kind":"installed","drive":"D1","slot":"b","root_hash":"{one}","entry":"scalerforge-b_1.2+3.efi","boot_option":null,"milliseconds":5}}"#
            ),
            r#"{"kind":"promoted","slot":"a","floor":3}"#.to_owned(),
            r#"{"kind":"promoted","slot":"a","floor":null}"#.to_owned(),
        ] {
            let report = format!(r#"{{"order":7,"outcome":{outcome}}}"#);
            let parsed: Report = serde_json::from_str(&report).unwrap();
            assert_eq!(serde_json::to_string(&parsed).unwrap(), report);
        }
        let residence = format!(
            r#"{{"slot":"a","release":"scalerforge-host","version":"1.2","epoch":3,"root_hash":"{one}","tries_left":2,"failed":[{{"slot":"b","release":"scalerforge-host_1.3"}}],"floor":3}}"#
        );
        let parsed: super::Residence = serde_json::from_str(&residence).unwrap();
        assert_eq!(serde_json::to_string(&parsed).unwrap(), residence);
    }
}
