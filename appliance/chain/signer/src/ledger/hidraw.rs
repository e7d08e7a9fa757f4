//! A Ledger on Linux' hidraw: a plain file that takes and gives reports.
//!
//! Nothing but the kernel is between us and the device: no libusb, no libudev.  One program at a time talks with it, by
//! a lock on its node.  What it says is bounded, and each answer has a deadline.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    libc::{O_CLOEXEC, O_NOCTTY},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{
    LedgerError,
    app::{Command, Link},
    frame::{Gathering, REPORT, reports},
};

/// USB's number for Ledger.
const MAKER: u32 = 0x2c97;
/// How the descriptor of the interface for commands begins: usage page FFA0.  FIDO and keyboards have others.
const COMMANDS: [u8; 3] = [0x06, 0xa0, 0xff];
/// Devices that are looked at.
const DEVICES_MAX: usize = 64;
/// What is looked at of a device's files below /sys.
const TEXT_BYTES_MAX: u64 = 4096;
/// Reports of an old answer: the longest has nine, and the kernel keeps 64.
const STALE_MAX: usize = 64;
/// Without a person an answer takes milliseconds; a key of an old Nano S some hundred.
const ANSWER_SECONDS_MAX: u64 = 10;
/// Somebody has to find the device, type the PIN and read several screens.
const PERSON_SECONDS_MAX: u64 = 180;

/// An open device.
#[derive(Debug)]
pub(super) struct Hidraw {
    file: File,
    device: PathBuf,
}

/// The nodes below `root` (`/`) where a Ledger takes commands.
pub(super) fn devices(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/class/hidraw")) else { return Vec::new() };
    let mut names: Vec<_> = entries.flatten().take(DEVICES_MAX).map(|entry| entry.file_name()).collect();
    names.sort();
    let is_ledger = |at: &Path| {
        let begins = |file: &str| {
            let mut bytes = Vec::new();
            let opened = File::open(at.join("device").join(file)).ok()?;
            opened.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let text = begins("uevent").unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        // HID_ID=0003:00002C97:00005011
        let id = text.lines().find_map(|line| line.strip_prefix("HID_ID="));
        let maker = id.and_then(|id| u32::from_str_radix(id.split(':').nth(1)?, 16).ok());
        maker == Some(MAKER) && begins("report_descriptor").is_some_and(|bytes| bytes.starts_with(&COMMANDS))
    };
    let listing = root.join("sys/class/hidraw");
    names
        .into_iter()
        .filter(|name| is_ledger(&listing.join(name)))
        .map(|name| root.join("dev").join(name))
        .collect()
}

impl Hidraw {
    /// Opens `device`, or the only Ledger there is.
    pub(super) fn open(root: &Path, device: Option<&Path>) -> Result<Self, LedgerError> {
        let device = match device {
            Some(device) => device.to_owned(),
            None => {
                let found = devices(root);
                match found.as_slice() {
                    [] => return Err(LedgerError::Absent),
                    [one] => one.clone(),
                    several => {
                        let shown: Vec<String> =
                            several.iter().map(|path| path.display().to_string()).collect();
                        return Err(LedgerError::Several { devices: shown.join(", ") });
                    }
                }
            }
        };
        let failed = |source| LedgerError::Device { device: device.clone(), doing: "opened", source };
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(O_NOCTTY | O_CLOEXEC)
            .open(&device)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Busy { device }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(Self { file, device })
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> LedgerError + use<> {
        let device = self.device.clone();
        move |source| LedgerError::Device { device: device.clone(), doing, source }
    }

    /// A report, or nothing within the time.
    fn report(&mut self, wait: Duration) -> Result<Option<[u8; REPORT]>, LedgerError> {
        let deadline = now() + wait;
        let (mut report, mut have) = ([0; REPORT], 0);
        while have < REPORT {
            let left = deadline.saturating_duration_since(now()).as_millis();
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut watched = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let ready = match poll(&mut watched, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(self.failed("read")(error.into())),
            };
            if ready == 0 {
                return Ok(None);
            }
            let read = self.file.read(&mut report[have..]).map_err(self.failed("read"))?;
            if read == 0 {
                return Err(self.failed("read")(io::ErrorKind::UnexpectedEof.into()));
            }
            have += read;
        }
        Ok(Some(report))
    }
}

impl Link for Hidraw {
    fn exchange(&mut self, command: &Command) -> Result<Vec<u8>, LedgerError> {
        // What is left of a question that nobody waited for any more.
        for _ in 0..STALE_MAX {
            if self.report(Duration::ZERO)?.is_none() {
                break;
            }
        }
        let out = reports(&command.bytes()).ok_or(LedgerError::Odd { what: "a command that is too long" })?;
        for report in out {
            // The first byte is the report's number, and these have none.
            let numbered = [&[0][..], &report].concat();
            self.file.write_all(&numbered).map_err(self.failed("written"))?;
        }
        let seconds = if command.asks_person { PERSON_SECONDS_MAX } else { ANSWER_SECONDS_MAX };
        let deadline = now() + Duration::from_secs(seconds);
        let mut gathering = Gathering::default();
        loop {
            let left = deadline.saturating_duration_since(now());
            let Some(report) = self.report(left)? else {
                return Err(LedgerError::Silent { device: self.device.clone(), seconds });
            };
            if let Some(answer) = gathering.take(&report).map_err(|what| LedgerError::Odd { what })? {
                return Ok(answer);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an adapter that waits for a device measures how long")]
fn now() -> Instant {
    Instant::now()
}
