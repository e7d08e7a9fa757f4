//! The first run of this machine: what there is to see, and the files that follow, written.
//!
//! What is asked and what follows is decided by `appliance/first-run`.  Here are its eyes ([`look`]) and its hand
//! ([`write`]); the page that asks is `page.rs`.  A site that is there is never touched.

mod page;

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File},
    io::{self, Write as _},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use appliance_first_run::{Facts, Heard, Images, Mode, Nic, Notice, Plan, SITE_FILE, Storage, Tpm};
use appliance_model::{Mac, Now};
use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::statfs};
pub use page::ask;

use crate::{
    app,
    site::{self, SiteError},
};

/// The hash of the admin's password, below the site directory.
pub const ADMIN_FILE: &str = "admin.password";

/// Why a first run was not done.
#[derive(Debug, thiserror::Error)]
pub enum FirstRunError {
    /// There is a site.
    #[error(
        "{} is a site already, and a first run never touches one; `scalerforge site reset` ends a site", dir.display()
    )]
    Taken {
        /// The site directory.
        dir: PathBuf,
    },
    /// Keys.
    #[error("the site's keys could not be made")]
    Keys(#[source] SiteError),
    /// The page.
    #[error("the first run cannot be answered in a browser")]
    Listen(#[source] Box<crate::ServeError>),
    /// The code, or the admin's password.
    #[error("no site was made")]
    Admin(#[source] crate::admin::AdminError),
    /// A file.
    #[error("cannot write {}; make room or correct the directory, and answer again: no site was made", file.display())]
    Write {
        /// Which.
        file: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Looks around: ports, what is heard on those with a cable (which takes some seconds), TPM, clock, room.
#[must_use]
pub fn look(dir: &Path, images: &Path, listen: bool) -> Facts {
    let mut nics = ports();
    if listen {
        // All at once: each listens for the same seconds.
        std::thread::scope(|scope| {
            for nic in nics.iter_mut().filter(|nic| nic.carrier) {
                scope.spawn(|| nic.heard = heard(&nic.name));
            }
        });
    }
    Facts {
        now: app::now(),
        hardware_clock: hardware_clock(),
        nics,
        tpm: tpm(),
        storage: storage(dir),
        images: Images {
            uki: images.join("discovery.efi"),
            reference: images.join("reference.json"),
            host: Some(images.join("host"))
                .filter(|host| host.join(crate::residence::RELEASE_FILE).is_file()),
        },
    }
}

/// The resource manager's way first: others may be using the TPM.
const TPMS: [&str; 2] = ["/dev/tpmrm0", "/dev/tpm0"];

/// What a TPM says of itself does not change while the machine runs, but for a lockout.
const TPM_ASKED_EVERY: Duration = Duration::from_secs(60);

/// Asks the TPM once a minute: the screen looks every few seconds.
fn tpm() -> Tpm {
    static ASKED: Mutex<Option<(Now, Tpm)>> = Mutex::new(None);
    let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = app::now();
    match &*asked {
        Some((at, tpm)) if now.since(*at).0 < TPM_ASKED_EVERY.as_secs() && now >= *at => tpm.clone(),
        Some(_) | None => {
            let tpm = ask_tpm(TPMS.map(Path::new));
            *asked = Some((now, tpm.clone()));
            tpm
        }
    }
}

fn ask_tpm(devices: [&Path; 2]) -> Tpm {
    let Some(device) = devices.into_iter().find(|device| device.exists()) else { return Tpm::Absent };
    match attest_tpm::Tpm::open(device).and_then(|mut tpm| tpm.hierarchies()) {
        Ok(hierarchies) => hierarchies.in_the_way().map_or(Tpm::Free, Tpm::Taken),
        // Who may not open it, or waits for somebody else's command, knows only that it is there.
        Err(error) => {
            tracing::warn!(error = %crate::chain_of(&error), "the TPM cannot be asked");
            Tpm::Free
        }
    }
}

/// What is wrong with this machine's clock now.
#[must_use]
pub fn clock() -> Option<Notice> {
    appliance_first_run::clock(app::now(), hardware_clock())
}

/// Where timesyncd says that a time server has set the clock since the start.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// The hardware clock, as the kernel reads it: seconds since 1970.
const HARDWARE_CLOCK: &str = "/sys/class/rtc/rtc0/since_epoch";

/// What the hardware clock says, where nobody knows better.
fn hardware_clock() -> Option<Now> {
    if Path::new(SYNCHRONISED).exists() {
        return None;
    }
    let text = std::fs::read_to_string(HARDWARE_CLOCK).ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    seconds.checked_mul(1000).map(Now)
}

/// Ports are Ethernet and no loopback; bridges and bonds count, since somebody made them.
fn ports() -> Vec<Nic> {
    let mut nics: BTreeMap<String, Nic> = BTreeMap::new();
    let Ok(all) = getifaddrs() else { return Vec::new() };
    for one in all.filter(|one| !one.flags.contains(InterfaceFlags::IFF_LOOPBACK)) {
        let nic = nics.entry(one.interface_name.clone()).or_insert_with(|| Nic {
            name: one.interface_name.clone(),
            mac: None,
            carrier: one.flags.contains(InterfaceFlags::IFF_RUNNING),
            addresses: Vec::new(),
            heard: None,
        });
        let Some(address) = one.address else { continue };
        if let Some(link) = address.as_link_addr() {
            nic.mac = link.addr().map(Mac);
        } else if let Some(own) = address.as_sockaddr_in() {
            let mask = one.netmask.and_then(|mask| mask.as_sockaddr_in().map(|mask| mask.ip()));
            let bits = u32::from(mask.unwrap_or(Ipv4Addr::BROADCAST)).leading_ones();
            nic.addresses.push((own.ip(), u8::try_from(bits).unwrap_or(32)));
        }
    }
    let wired = |nic: &Nic| nic.mac.is_some_and(|mac| mac != Mac([0; 6]));
    nics.into_values().filter(wired).collect()
}

/// `None` where nobody could listen: the port is down, or this process may not.
fn heard(interface: &str) -> Option<Heard> {
    let survey = match pxe_server::survey(interface, app::now()) {
        Ok(survey) => survey,
        Err(error) => {
            tracing::warn!(interface, %error, "nobody listened for DHCP servers there");
            return None;
        }
    };
    let servers = survey.rivals.iter().filter(|rival| rival.leases).map(|rival| rival.address).collect();
    let proposal = match survey.proposal {
        pxe_server::Mode::Proxy => Mode::Proxy,
        pxe_server::Mode::AutoProxy => Mode::AutoProxy,
        pxe_server::Mode::Full => Mode::Full,
        pxe_server::Mode::Reservation => Mode::Reservation,
        pxe_server::Mode::Listen | pxe_server::Mode::Off => Mode::Listen,
    };
    Some(Heard { servers, proposal, why: survey.why })
}

/// Where the site directory is, or will be: the nearest directory above it that exists.
fn storage(dir: &Path) -> Storage {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = statfs::statfs(there) else { return Storage { free_bytes: 0, live: false, why: None } };
    let free = found.blocks_available().saturating_mul(u64::try_from(found.block_size()).unwrap_or(0));
    let kind = found.filesystem_type();
    let live = kind == statfs::TMPFS_MAGIC;
    Storage { free_bytes: free, live, why: if live { why_in_memory() } else { None } }
}

/// Where the system's start leaves how the state is kept.
const STATE: &str = "/run/scalerforge/state";
/// A sentence or two.
const WHY_CHARS_MAX: usize = 600;

fn why_in_memory() -> Option<String> {
    let text = std::fs::read_to_string(STATE).ok()?;
    let why = text.lines().find_map(|line| line.strip_prefix("WHY="))?;
    Some(why.chars().take(WHY_CHARS_MAX).collect())
}

/// Writes what follows from the answers, keys included, and the hash of the admin's password.  The site file comes last:
/// whatever is cut off before it leaves no site, and the first run begins again with the keys that were made.
///
/// # Errors
/// If there is a site, or a file cannot be written.
pub fn write(dir: &Path, plan: &Plan, admin: &str) -> Result<(), FirstRunError> {
    if dir.join(SITE_FILE).exists() {
        return Err(FirstRunError::Taken { dir: dir.to_owned() });
    }
    site::init(dir).map_err(FirstRunError::Keys)?;
    for folder in ["endorsement", "evidence", "network"] {
        let path = dir.join(folder);
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&path);
        made.map_err(|source| FirstRunError::Write { file: path, source })?;
    }
    put(&dir.join(ADMIN_FILE), admin.as_bytes(), 0o600)?;
    for file in &plan.files {
        put(&dir.join(&file.path), file.text.as_bytes(), 0o644)?;
    }
    sync(dir)
}

/// Sets the password of the page of a site.
///
/// # Errors
/// If the file cannot be written.
pub fn set_password(dir: &Path, admin: &crate::admin::Hash) -> Result<(), FirstRunError> {
    put(&dir.join(ADMIN_FILE), admin.text().as_bytes(), 0o600)
}

/// A file, whole or not at all, and on the disk before the next one.
fn put(file: &Path, bytes: &[u8], mode: u32) -> Result<(), FirstRunError> {
    let failed = |source| FirstRunError::Write { file: file.to_owned(), source };
    let part = file.with_extension("part");
    let mut options = File::options();
    let mut out = options.write(true).create(true).truncate(true).mode(mode).open(&part).map_err(failed)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed)?;
    std::fs::rename(&part, file).map_err(failed)?;
    sync(file.parent().unwrap_or(file))
}

fn sync(dir: &Path) -> Result<(), FirstRunError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| FirstRunError::Write { file: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_room_are_seen() {
        let facts = look(Path::new("/nowhere/at/all"), Path::new("/images"), false);
        assert!(facts.storage.free_bytes > 0);
        assert!(facts.nics.iter().all(|nic| nic.name != "lo" && nic.heard.is_none()), "{:?}", facts.nics);
        assert_eq!(facts.images.uki, Path::new("/images/discovery.efi"));
    }

    #[test]
    fn a_tpm_that_is_not_there_is_absent() {
        let none = Path::new("/nowhere/tpmrm0");
        assert_eq!(ask_tpm([none, none]), Tpm::Absent);
        // What cannot be asked is there, and nothing is known against it.
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ask_tpm([none, dir.path()]), Tpm::Free);
    }
}
