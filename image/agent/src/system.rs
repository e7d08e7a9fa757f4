//! What only PID 1 does: mounts, console, clock, and the ways to leave.

use std::{
    ffi::CStr,
    fs::{self, OpenOptions},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

use nix::{
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        time::TimeSpec,
        wait::wait,
    },
    time::{ClockId, clock_gettime, clock_settime},
    unistd::{dup2_stderr, dup2_stdin, dup2_stdout, execve},
};

use crate::say;

/// 2026-01-01, in seconds: no agent of ours was built before, so a clock before it was never set.
pub(crate) const CLOCK_SECONDS_MIN: i64 = 1_767_225_600;

/// How long a failed agent leaves its last words on the console before it starts anew.
const RESTART_SECONDS: u64 = 5;

/// How often to look for orphans while there are no children at all.
const ORPHAN_SECONDS: u64 = 10;

/// Mounts `/dev` and takes the console, so that the first line can be printed.
pub fn take_console() {
    let result = try_mount("devtmpfs", "/dev");
    if let Ok(console) = OpenOptions::new().read(true).write(true).open("/dev/console") {
        let _ = dup2_stdin(&console).and(dup2_stdout(&console)).and(dup2_stderr(&console));
    }
    if let Err(error) = result {
        say!("/dev could not be mounted ({error}): the image's kernel must have devtmpfs");
    }
}

/// Mounts what every later step reads.  Called again for `efivarfs` once its module is there.
pub fn mount_all() {
    for (kind, path) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("securityfs", "/sys/kernel/security"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        if let Err(error) = try_mount(kind, path) {
            say!("{path} could not be mounted ({error}): going on without it");
        }
    }
}

/// The UEFI variables, read-only: the agent changes one, when it has installed a drive ([`with_variables`]).
pub fn mount_variables() -> nix::Result<()> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
    match mount(Some("efivarfs"), "/sys/firmware/efi/efivars", Some("efivarfs"), flags, None::<&str>) {
        // This agent did, before it restarted.
        Ok(()) | Err(nix::Error::EBUSY) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Lets the UEFI variables below `root` be written while `act` does it.
pub fn with_variables<A>(root: &Path, act: impl FnOnce() -> std::io::Result<A>) -> std::io::Result<A> {
    let folder = root.join("sys/firmware/efi/efivars");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_REMOUNT;
    let none = None::<&str>;
    // A tree that is no mount of its own is written, or not, as it is.
    let opened = mount(none, &folder, none, flags, none);
    let done = act();
    if opened.is_ok() {
        let _ = mount(none, &folder, none, flags | MsFlags::MS_RDONLY, none);
    }
    done
}

fn try_mount(kind: &str, path: &str) -> nix::Result<()> {
    // A directory of sysfs cannot be made, and need not be.
    let _ = fs::create_dir_all(path);
    // By the kernel, or by this agent before it restarted: a second tmpfs would hide what was remembered in the first.
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let path = Path::new(path);
    if device(path) != path.parent().and_then(device) {
        return Ok(());
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    match mount(Some(kind), path, Some(kind), flags, None::<&str>) {
        Ok(()) | Err(nix::Error::EBUSY) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Buries processes that end without anybody waiting for them, as PID 1 must; nobody here starts any.
pub fn bury_orphans() {
    std::thread::spawn(|| {
        loop {
            if wait().is_err() {
                std::thread::sleep(Duration::from_secs(ORPHAN_SECONDS));
            }
        }
    });
}

/// When PID 1 panics, the kernel would too.  Prints what happened and starts the agent anew; what it must remember
/// is in [`crate::state::State`].
pub fn restart_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        say!("agent fault: {info}; it starts anew in {RESTART_SECONDS} s, please report this line");
        restart();
    }));
}

/// Replaces this process by a new run of the same file, after a pause.
pub fn restart() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(RESTART_SECONDS));
        let nothing: [&CStr; 0] = [];
        // Comes back only if the kernel cannot; then once more.
        let _ = execve(c"/proc/self/exe", &[c"/init"], &nothing);
    }
}

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Restart the machine.
    Reboot,
    /// Switch it off.
    PowerOff,
}

/// Restarts or switches off.  Comes back only if the kernel refuses.
pub fn leave(how: Leave) {
    nix::unistd::sync();
    let mode = match how {
        Leave::Reboot => RebootMode::RB_AUTOBOOT,
        Leave::PowerOff => RebootMode::RB_POWER_OFF,
    };
    let Err(error) = reboot(mode);
    say!("the kernel would not {how:?} ({error}): use the BMC or the power button");
}

/// Sets a clock that was never set to the appliance's `Date`, so that logs and timestamps make sense.
pub fn set_clock(http_date: &str) {
    let unset = clock_gettime(ClockId::CLOCK_REALTIME).is_ok_and(|now| now.tv_sec() < CLOCK_SECONDS_MIN);
    if let (true, Some(seconds)) = (unset, unix_seconds(http_date)) {
        match clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(seconds, 0)) {
            Ok(()) => say!("the clock was never set: took the appliance's ({http_date})"),
            Err(error) => say!("the clock was never set, and could not be ({error})"),
        }
    }
}

/// `Sat, 21 Nov 2026 06:43:23 GMT` (RFC 9110, 5.6.7) in seconds since 1970.
pub(crate) fn unix_seconds(date: &str) -> Option<i64> {
    let mut words = date.split_ascii_whitespace().skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = words.next()?;
    let month = i64::try_from(months.iter().position(|month| *month == name)?).ok()?;
    let year: i64 = words.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let mut clock =
        words.next()?.splitn(3, ':').map(|part| part.parse::<i64>().ok().filter(|n| (0..=60).contains(n)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    // Years begin in March here, so that the leap day is their last.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    ((1..=31).contains(&day) && words.next() == Some("GMT"))
        .then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// Where the kernel shows the firmware's event log.
pub const EVENT_LOG: &str = "sys/kernel/security/tpm0/binary_bios_measurements";

/// Ten times the longest log we have seen; as hex it still fits into a call.
const LOG_BYTES_MAX: u64 = 1 << 20;

/// Reads the UEFI event log below `root`.
pub fn event_log(root: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut log = Vec::new();
    fs::File::open(root.join(EVENT_LOG))?.take(LOG_BYTES_MAX + 1).read_to_end(&mut log)?;
    if log.len() as u64 > LOG_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has more than {LOG_BYTES_MAX} bytes")));
    }
    Ok(log)
}

/// Why there is no event log, for a person.
pub fn no_log(root: &Path, error: &std::io::Error) -> String {
    if root.join("sys/firmware/efi").exists() {
        return format!("the UEFI event log could not be read: {error}; is the TPM on?");
    }
    "this server was started by a BIOS: no Secure Boot, and no UEFI event log that shows what was booted. Nothing above \
     tier T1 could be claimed for it, and no evidence can be made; set its firmware to UEFI and boot it from the network"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bios_is_called_one() {
        let root = tempfile::tempdir().unwrap();
        let error = || event_log(root.path()).unwrap_err();
        assert!(
            no_log(root.path(), &error()).starts_with("this server was started by a BIOS: no Secure Boot")
        );
        fs::create_dir_all(root.path().join("sys/firmware/efi")).unwrap();
        assert!(no_log(root.path(), &error()).ends_with("is the TPM on?"));
    }

    #[test]
    fn dates() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Sat, 21 Nov 2026 06:43:23 GMT", Some(1_795_243_403)),
            ("Thu, 29 Feb 2024 23:59:59 GMT", Some(1_709_251_199)),
            ("Thu, 29 Feb 2024 23:59 GMT", None),
            ("yesterday", None),
        ] {
            assert_eq!(unix_seconds(date), expected, "{date}");
        }
    }
}
