//! What an installed system remembers: a partition that only this machine's TPM opens, and only for a system of the site.
//!
//! The partition is made at the first start, in what the boot drive has left.  Its key is sealed by the TPM to the policy
//! that the sealed image carries: whoever has a signature of the site's policy key over what PCR 11 says may open it.  So
//! it survives an update, and does not open for a foreign image.  What does not open is left as it is, and the system
//! goes on with an empty state in memory: nothing on disk is needed to be the same machine.  An appliance is what it
//! remembers: without a policy its key is sealed to the TPM alone, without a TPM its state is in clear, and both is said.
//! systemd's programs do the work; we say which drive and which policy, and what to do when they refuse.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use attest_tpm::{Hierarchies, Tpm};
use image_agent::{console::up_milliseconds, say};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

use crate::{
    LIVE, gpt,
    site::{OBEYS, POLICY_TO, TO},
};

const PLACE: &str = "/var/lib/scalerforge";
const NAME: &str = "scalerforge-state";
const MAPPED: &str = "/dev/mapper/scalerforge-state";
/// What repart is to make: sealed, and in clear.
const DEFINITIONS: &str = "/usr/lib/scalerforge/state.repart.d";
const PLAIN_DEFINITIONS: &str = "/usr/lib/scalerforge/state-plain.repart.d";
/// How a sealed partition begins (LUKS 2, 5.1).
const LUKS: &[u8; 6] = b"LUKS\xba\xbe";
const TPM: &str = "/dev/tpmrm0";
/// A TPM on a slow bus needs a driver that is loaded meanwhile.
const TPM_LOOKS_MAX: u32 = 20;
const TPM_LOOK_MILLISECONDS: u64 = 500;
/// As much as `image-slots` looks at before it says that a state is gone; any file system has its mark in it.
const BLANK_BYTES: usize = 1 << 20;
/// A program's last words, as many letters as fit a console.
const WORDS_MAX: usize = 300;

/// Why the state is in memory only.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the system runs from a live medium; install it to a drive to keep what it remembers")]
    Live,
    #[error(
        "there is no TPM to keep its key: switch the TPM on in the firmware's setup; without one this machine cannot be attested either"
    )]
    NoTpm,
    #[error("there is no place for it yet, and none can be made: {0}")]
    Taken(String),
    #[error("the image brings no policy for the TPM: let the appliance seal and install it again")]
    NoPolicy,
    #[error("{TO}/started does not say which drive was started from; report this as a bug")]
    NoDrive,
    #[error(
        "{drive} has no partition for it and none could be made ({said}): is there room behind the system's partitions, 64 MiB for a host and 1.5 GiB for an appliance? If not, use a larger drive"
    )]
    NotMade { drive: String, said: String },
    #[error(
        "{partition} does not open for this image ({said}): it was made under another site's key or with another TPM, and is left as it is; if nobody needs what is on it, install this host anew"
    )]
    DoesNotOpen { partition: String, said: String },
    #[error("{program} could not be run")]
    Run {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{partition} opens, but its file system is not readable ({answer}): install this host anew")]
    Mount { partition: String, answer: Errno },
}

/// Opens the state, or makes an empty one in memory; says which, and leaves it in `/run/scalerforge/state`.
pub(crate) fn run() -> io::Result<()> {
    let begun = up_milliseconds();
    fs::create_dir_all(PLACE)?;
    let said = match open() {
        Ok(Opened { partition, sealed }) => {
            let taken = up_milliseconds() - begun;
            let (how, word) = if sealed {
                ("sealed to this machine's TPM", "sealed")
            } else {
                ("in clear, because this machine has no TPM", "plain")
            };
            say!("state on {partition}, {how}, after {taken} ms");
            format!("STATE={word}\nPARTITION={partition}\n")
        }
        Err(why) => {
            let why = image_agent::console::chain(&why);
            say!("the state is in memory until the next start: {why}");
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("tmpfs"), PLACE, Some("tmpfs"), flags, Some("mode=0700,size=50%"))?;
            format!("STATE=memory\nWHY={}\n", why.replace('\n', " "))
        }
    };
    fs::write(Path::new(TO).join("state"), said)
}

/// A state that is in its place.
struct Opened {
    partition: String,
    sealed: bool,
}

/// What protects a state that is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keeping {
    /// The TPM, for systems of the site.
    Policy,
    /// The TPM, for whatever runs on this machine.
    Tpm,
    /// Nothing.
    Plain,
}

/// What there is to protect it with.  A host does without a state rather than without a policy.
fn keeping(host: bool, policy: bool, tpm: bool) -> Result<Keeping, Error> {
    match (tpm, policy, host) {
        (true, true, _) => Ok(Keeping::Policy),
        (true, false, true) => Err(Error::NoPolicy),
        (true, false, false) => Ok(Keeping::Tpm),
        (false, _, true) => Err(Error::NoTpm),
        (false, _, false) => Ok(Keeping::Plain),
    }
}

fn open() -> Result<Opened, Error> {
    if Path::new(TO).join(LIVE).exists() {
        return Err(Error::Live);
    }
    let said = |file: &str| fs::read_to_string(Path::new(TO).join(file)).unwrap_or_default();
    let started = said("started");
    let drive = started.lines().find_map(|line| line.strip_prefix("DRIVE=")).ok_or(Error::NoDrive)?;
    let host = said("release").lines().any(|line| line.strip_prefix("RELEASE=") == Some(OBEYS));
    let key = Path::new(POLICY_TO).join("tpm2-pcr-public-key.pem");
    let signature = Path::new(POLICY_TO).join("tpm2-pcr-signature.json");
    let policy = key.exists() && signature.exists();
    let keeping = keeping(host, policy, tpm_is_there())?;
    let partition = match gpt::on_drive(drive, &gpt::STATE) {
        Some(partition) if !is_blank(&partition) => partition,
        // One that a factory reset has blanked is made again, as one that never was.
        found @ (Some(_) | None) => {
            if keeping != Keeping::Plain {
                free(Path::new(TPM))?;
            }
            make(drive, keeping, &key, found.is_some())?
        }
    };
    let text = partition.display().to_string();
    // What was made in clear is never believed by a host, and stays in clear when a TPM comes to an appliance.
    let sealed = host || begins_as_luks(&partition);
    if sealed {
        let signature =
            if policy { format!("tpm2-signature={},", signature.display()) } else { String::new() };
        let options = format!("tpm2-device={TPM},{signature}headless=1,discard");
        let attach = ["attach", NAME, text.as_str(), "-", options.as_str()];
        ask("/usr/bin/systemd-cryptsetup", &attach)?
            .map_err(|said| Error::DoesNotOpen { partition: text.clone(), said })?;
    }
    let device = if sealed { Path::new(MAPPED) } else { &partition };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(device), PLACE, Some("ext4"), flags, None::<&str>)
        .map_err(|answer| Error::Mount { partition: text.clone(), answer })?;
    Ok(Opened { partition: text, sealed })
}

fn begins_as_luks(partition: &Path) -> bool {
    let mut head = [0; LUKS.len()];
    let read = fs::File::open(partition).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head == *LUKS
}

/// Whether nothing was ever written to it, or all of what makes it a state was erased.
fn is_blank(partition: &Path) -> bool {
    let mut head = vec![0; BLANK_BYTES];
    let read = fs::File::open(partition).and_then(|mut file| file.read_exact(&mut head));
    read.is_ok() && head.iter().all(|byte| *byte == 0)
}

fn tpm_is_there() -> bool {
    for _ in 0..TPM_LOOKS_MAX {
        if Path::new(TPM).exists() {
            return true;
        }
        thread::sleep(Duration::from_millis(TPM_LOOK_MILLISECONDS));
    }
    false
}

/// Whether a key can be sealed under this TPM's owner hierarchy.  A TPM that does not say is tried.
fn free(tpm: &Path) -> Result<(), Error> {
    let hierarchies = Tpm::open(tpm).and_then(|mut tpm| tpm.hierarchies());
    // Who shows which machine this is needs the other hierarchy; a key is sealed without it.
    let owner = |all: Hierarchies| Hierarchies { endorsement_password: false, endorsement_off: false, ..all };
    let in_the_way = hierarchies.ok().and_then(|hierarchies| owner(hierarchies).in_the_way());
    in_the_way.map_or(Ok(()), |why| Err(Error::Taken(why)))
}

/// Makes the partition; its entry in the table is written last, so that half a partition is none.
fn make(drive: &str, keeping: Keeping, key: &Path, again: bool) -> Result<PathBuf, Error> {
    say!("making the state's partition on {drive}");
    let definitions = match keeping {
        Keeping::Policy | Keeping::Tpm => DEFINITIONS,
        Keeping::Plain => PLAIN_DEFINITIONS,
    };
    let definitions = format!("--definitions={definitions}");
    let key = format!("--tpm2-public-key={}", key.display());
    let device = format!("/dev/{drive}");
    let mut arguments = vec!["--dry-run=no", "--no-pager", "--discard=no", &definitions];
    if again {
        arguments.push("--factory-reset=yes");
    }
    // No PCR by value: firmware may change; the site's signature is what counts, or that it is this machine.
    match keeping {
        Keeping::Policy => {
            let sealed = ["--tpm2-device=/dev/tpmrm0", "--tpm2-pcrs=", "--tpm2-public-key-pcrs=11", &key];
            arguments.extend(sealed);
        }
        Keeping::Tpm => arguments.extend(["--tpm2-device=/dev/tpmrm0", "--tpm2-pcrs="]),
        Keeping::Plain => {}
    }
    arguments.push(&device);
    let not_made = |said| Error::NotMade { drive: drive.to_owned(), said };
    ask("/usr/bin/systemd-repart", &arguments)?.map_err(not_made)?;
    gpt::on_drive(drive, &gpt::STATE).ok_or_else(|| not_made("it said nothing".to_owned()))
}

/// Runs a program to its end; if it fails, gives its last words.
fn ask(program: &'static str, arguments: &[&str]) -> Result<Result<(), String>, Error> {
    // There are no udev rules for device mapper here, so nobody would answer what libdevmapper asks udev.
    let done = Command::new(program).args(arguments).env("DM_DISABLE_UDEV", "1").output();
    let done = done.map_err(|source| Error::Run { program, source })?;
    Ok(if done.status.success() { Ok(()) } else { Err(last_words(&done.stderr)) })
}

/// The last lines of what a program said, as many as fit, on one.
fn last_words(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let mut words = String::new();
    for line in text.lines().rev().map(str::trim).filter(|line| !line.is_empty()) {
        let letters = line.chars().count() + words.chars().count();
        if words.is_empty() {
            words = line.chars().take(WORDS_MAX).collect();
        } else if letters < WORDS_MAX {
            words = format!("{line}; {words}");
        } else {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_wants_a_policy_and_an_appliance_wants_to_remember() {
        let kept = |host, policy, tpm| keeping(host, policy, tpm).ok();
        assert_eq!(kept(true, true, true), Some(Keeping::Policy));
        assert_eq!((kept(true, false, true), kept(true, true, false)), (None, None));
        assert_eq!(kept(false, true, true), Some(Keeping::Policy));
        assert_eq!(kept(false, false, true), Some(Keeping::Tpm));
        assert_eq!(kept(false, true, false), Some(Keeping::Plain), "a policy is nothing without a TPM");
    }

    #[test]
    fn a_state_that_was_erased_is_told_from_one_that_is_there() {
        let file = std::env::temp_dir().join(format!("image-start-blank-{}", std::process::id()));
        let mut content = vec![0; BLANK_BYTES];
        fs::write(&file, &content).unwrap();
        assert!(is_blank(&file));
        // The mark of ext4.
        content[1080..1082].copy_from_slice(b"\x53\xef");
        fs::write(&file, &content).unwrap();
        assert!(!is_blank(&file));
        fs::write(&file, [0; 512]).unwrap();
        assert!(!is_blank(&file), "what does not read is not erased");
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn last_words_are_short_and_on_one_line() {
        assert_eq!(last_words(b""), "");
        assert_eq!(last_words(b"one\n\n  two\n"), "one; two");
        let long = format!("{}\ntwo.\n{}\n", "a".repeat(WORDS_MAX), "b".repeat(WORDS_MAX / 2));
        assert_eq!(last_words(long.as_bytes()), format!("two.; {}", "b".repeat(WORDS_MAX / 2)));
        let long = "\u{e4}".repeat(2 * WORDS_MAX);
        assert_eq!(last_words(long.as_bytes()).chars().count(), WORDS_MAX);
    }
}
