//! The profile file: what to run, for how long, and which thresholds hold.
//!
//! Two faces: `wire` is the file as written, [`Profile`] holds only legal values and the digest of the bytes
//! it was read from.

use appliance_model::Digest;
use thiserror::Error;

/// The largest profile read; ours are under 1 KiB.
pub const FILE_BYTES_MAX: usize = 64 << 10;

/// No single step may run longer than a day: longer soaks are several profiles, each with its own report.
pub const STEP_SECONDS_MAX: u32 = 86_400;

/// The profiles this build knows, as file bytes.
const BUILT_IN: [&[u8]; 2] =
    [include_bytes!("../profiles/demo.toml"), include_bytes!("../profiles/smoke.toml")];

/// A burn-in profile with only legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Name, for people (`demo`).
    pub name: String,
    /// SHA-256 of the file's bytes: the name that counts.
    pub digest: Digest,
    /// Processor work.
    pub cpu: Cpu,
    /// Memory patterns.
    pub memory: Memory,
    /// Drive reads.
    pub drive: Drive,
}

/// Rules for processor work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// How long, in seconds.
    pub seconds: u32,
}

/// Rules for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// How long, in seconds.
    pub seconds: u32,
    /// How much to walk at most, in MiB.
    pub walk_mebibytes_max: u64,
    /// How much of the machine's memory must have been walked, in thousandths.
    pub walk_permille_min: u64,
    /// Slowest acceptable rate, in MiB/s, written and read together.
    pub mebibytes_per_second_min: u64,
}

/// Rules for drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drive {
    /// How long for each drive, in seconds.
    pub seconds: u32,
    /// Slowest acceptable sequential read, in MiB/s.
    pub sequential_mebibytes_per_second_min: u64,
    /// Fewest acceptable random 4 KiB reads a second.
    pub random_iops_min: u64,
    /// Longest acceptable 99th percentile of a random read, in microseconds.
    pub latency_p99_microseconds_max: u64,
}

/// Why a profile was refused.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("a burn-in profile may have {FILE_BYTES_MAX} bytes, this one has {bytes}: is it the right file?")]
    Large {
        /// Its size.
        bytes: usize,
    },
    /// Not UTF-8.
    #[error("the burn-in profile is not UTF-8 text: is it the right file?")]
    Text(#[source] std::str::Utf8Error),
    /// Not TOML, or a key too many or too few.
    #[error("the burn-in profile could not be read: correct the key it names")]
    Syntax(#[source] toml::de::Error),
    /// A value that makes no sense.
    #[error("burn-in profile `{name}`: {key} = {value}, but must be {must}")]
    Value {
        /// The profile.
        name: String,
        /// The key.
        key: &'static str,
        /// What it says.
        value: u64,
        /// What it may say.
        must: &'static str,
    },
}

impl Profile {
    /// Reads a profile file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProfileError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ProfileError::Large { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(ProfileError::Text)?;
        let file: wire::Profile = toml::from_str(text).map_err(ProfileError::Syntax)?;
        let check = |key, value: u64, range: std::ops::RangeInclusive<u64>, must| {
            if range.contains(&value) {
                Ok(())
            } else {
                Err(ProfileError::Value { name: file.name.clone(), key, value, must })
            }
        };
        let day = u64::from(STEP_SECONDS_MAX);
        check("version", file.version.into(), 1..=1, "1, the only format this build reads")?;
        check("cpu.seconds", file.cpu.seconds.into(), 1..=day, "1 to 86400")?;
        check("memory.seconds", file.memory.seconds.into(), 1..=day, "1 to 86400")?;
        check("memory.walk_mebibytes_max", file.memory.walk_mebibytes_max, 1..=1 << 30, "1 to 2^30")?;
        check("memory.walk_permille_min", file.memory.walk_permille_min, 0..=1000, "0 to 1000")?;
        check("drive.seconds", file.drive.seconds.into(), 2..=day, "2 to 86400: half for each kind of read")?;
        Ok(Self {
            digest: Digest::of(bytes),
            cpu: Cpu { seconds: file.cpu.seconds },
            memory: Memory {
                seconds: file.memory.seconds,
                walk_mebibytes_max: file.memory.walk_mebibytes_max,
                walk_permille_min: file.memory.walk_permille_min,
                mebibytes_per_second_min: file.memory.mebibytes_per_second_min,
            },
            drive: Drive {
                seconds: file.drive.seconds,
                sequential_mebibytes_per_second_min: file.drive.sequential_mebibytes_per_second_min,
                random_iops_min: file.drive.random_iops_min,
                latency_p99_microseconds_max: file.drive.latency_p99_microseconds_max,
            },
            name: file.name,
        })
    }

    /// The built-in profile of this name.
    pub fn built_in(name: &str) -> Option<Self> {
        built_in().find(|profile| profile.name == name)
    }

    /// The built-in profile whose file has this SHA-256, in hex as a plan carries it.
    pub fn by_digest(hex: &str) -> Option<Self> {
        built_in().find(|profile| profile.digest.to_string() == hex)
    }
}

/// All profiles this build knows.
pub fn built_in() -> impl Iterator<Item = Profile> {
    BUILT_IN.iter().filter_map(|bytes| Profile::parse(bytes).ok())
}

/// The file as written: units in the keys, nothing unknown.
mod wire {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Profile {
        pub(super) version: u32,
        pub(super) name: String,
        pub(super) cpu: Cpu,
        pub(super) memory: Memory,
        pub(super) drive: Drive,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Cpu {
        pub(super) seconds: u32,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Memory {
        pub(super) seconds: u32,
        pub(super) walk_mebibytes_max: u64,
        pub(super) walk_permille_min: u64,
        pub(super) mebibytes_per_second_min: u64,
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Drive {
        pub(super) seconds: u32,
        pub(super) sequential_mebibytes_per_second_min: u64,
        pub(super) random_iops_min: u64,
        pub(super) latency_p99_microseconds_max: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_legal_and_found_by_digest() {
        assert_eq!(built_in().map(|profile| profile.name).collect::<Vec<_>>(), ["demo", "smoke"]);
        for profile in built_in() {
            assert_eq!(Profile::by_digest(&profile.digest.to_string()).as_ref(), Some(&profile));
            assert_eq!(Profile::built_in(&profile.name), Some(profile));
        }
        assert_eq!(Profile::by_digest(&"00".repeat(32)), None);
    }

    #[test]
    fn bad_profiles_are_refused_by_name() {
        let good = String::from_utf8(BUILT_IN[0].to_vec()).unwrap();
        for (from, to, says) in [
            ("version = 1", "version = 2", "version = 2"),
            ("[cpu]\nseconds = 4", "[cpu]\nseconds = 0", "cpu.seconds = 0"),
            ("walk_permille_min = 10", "walk_permille_min = 1001", "walk_permille_min"),
            ("[cpu]\nseconds = 4", "[cpu]\nseconds = 4\nminutes = 1", "unknown field `minutes`"),
            ("[cpu]\nseconds = 4", "[cpu]\n", "missing field `seconds`"),
            ("random_iops_min = 10", "random_iops_min = -1", "invalid"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = Profile::parse(text.as_bytes()).unwrap_err();
            let chain = format!(
                "{error} {}",
                std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
            );
            assert!(chain.contains(says), "{chain}");
        }
        assert!(matches!(Profile::parse(&[0xff]), Err(ProfileError::Text(_))));
        assert!(matches!(Profile::parse(&vec![b'#'; FILE_BYTES_MAX + 1]), Err(ProfileError::Large { .. })));
    }
}
