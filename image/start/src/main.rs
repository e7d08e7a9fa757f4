//! The first program of an installed system: opens the root file system that the signed image names, and hands over.
//!
//! The command line, which is signed and measured, carries the root hash; the partitions whose identities are its halves
//! are mapped through dm-verity, so that every block that is ever read is the one that was built.  It asks for no
//! password, has no shell, and mounts nothing else.  An image that belongs to no site, is older than the TPM's floor, or
//! whose root has changed is not started: its boot entry loses its tries, and the boot loader takes the other slot.
//! Later, as `start --state` on the root, the same program opens what the system remembers.  Next: `site` (what is
//! handed on), `floor`, `gpt` (which partitions), `network`, `verity`, `hand_over`; `bad` (the other slot); `state`.

mod bad;
mod floor;
mod gpt;
mod hand_over;
mod mapper;
mod network;
mod site;
mod slots;
mod state;
mod verity;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use image_agent::{
    coldplug::Modules,
    console::{chain, up_milliseconds},
    say,
    system::{self, Leave},
};

use crate::gpt::Found;

/// How long a message stays on the console before the machine restarts.
const LAST_WORDS_SECONDS: u64 = 10;
/// Rounds of looking for the partitions; USB and SAS drives appear late.  Some 60 seconds in all.
const LOOKS_MAX: u32 = 120;
const LOOK_MILLISECONDS: u64 = 500;
/// What the root's partition is called on a medium that nothing is installed on, and the flag that says so.
pub(crate) const LIVE: &str = "live";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The kernel asks for a module by running this program as its modprobe.
    if let ["-q", "--", alias] = arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        if let Ok(mut modules) = Modules::open(Path::new("/")) {
            for name in modules.wanting(alias) {
                modules.load(&name);
            }
        }
        return ExitCode::SUCCESS;
    }
    if std::process::id() != 1 {
        return beside(&arguments);
    }
    system::take_console();
    say!("scalerforge start {}: up after {} ms", env!("CARGO_PKG_VERSION"), up_milliseconds());
    system::mount_all();
    let why = match start() {
        Ok(never) => match never {},
        Err(why) => why,
    };
    say!("{}", chain(&why));
    let root_hash = verity::root_hash(&fs::read_to_string("/proc/cmdline").unwrap_or_default());
    for entry in root_hash.iter().filter(|_| why.lasts()).flat_map(bad::mark) {
        say!(
            "its boot entry is {entry} from now on: the boot loader takes the other slot, where there is one"
        );
    }
    say!("restarting in {LAST_WORDS_SECONDS} s");
    thread::sleep(Duration::from_secs(LAST_WORDS_SECONDS));
    system::leave(Leave::Reboot);
    system::restart()
}

/// On the running system, where systemd asks for it.
fn beside(arguments: &[String]) -> ExitCode {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--state"] => match state::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say!("there is no place for the state, not even in memory: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            say!(
                "start is the first program of an installed system; beside it there is `start --state` only"
            );
            ExitCode::FAILURE
        }
    }
}

/// Why the system could not be started.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "the command line has no usable roothash=: this image was put together wrongly, install it again"
    )]
    RootHash,
    #[error("the image cannot say whose it is")]
    Site(#[source] site::Error),
    #[error(
        "no drive has the partitions of this image ({data} and {hash}): check that the boot drive is there, or install again"
    )]
    NoPartitions { data: String, hash: String },
    #[error(
        "the system that came over the network cannot be opened: give the machine more memory, 4 GiB at least"
    )]
    Network(#[source] io::Error),
    #[error("the image is too old for this machine")]
    Floor(#[source] floor::BelowFloor),
    #[error("the partitions on {device} cannot be opened: the medium may be damaged, write it again")]
    Stretch {
        device: PathBuf,
        #[source]
        source: mapper::Error,
    },
    #[error("the verified root cannot be opened")]
    Verity(#[source] verity::Error),
    #[error("the system cannot take over")]
    HandOver(#[source] hand_over::Error),
}

impl Error {
    /// Whether it would be the same at the next start.  A drive that is not there may be there again; tries of what was
    /// never promoted are counted by the boot loader itself.
    fn lasts(&self) -> bool {
        match self {
            Error::Site(_) | Error::Floor(_) | Error::Verity(_) => true,
            Error::RootHash
            | Error::NoPartitions { .. }
            | Error::Network(_)
            | Error::Stretch { .. }
            | Error::HandOver(_) => false,
        }
    }
}

fn start() -> Result<std::convert::Infallible, Error> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let root_hash = verity::root_hash(&command_line).ok_or(Error::RootHash)?;
    // Crypto modules are asked for by the kernel itself.
    let _ = fs::write("/proc/sys/kernel/modprobe", "/init");
    let mut modules = Modules::open(Path::new("/")).unwrap_or_default();
    modules.load_rest(Path::new("/"));
    say!("{} module files loaded", modules.loaded());
    // Behind the drivers: an entry can only lose its tries on a drive that is there.
    let release = site::hand_on().map_err(Error::Site)?;
    say!("{} {}", release.name, release.version);
    floor::allows(release.epoch).map_err(Error::Floor)?;
    let (found, hash) = match network::find(&mut modules) {
        Some(brought) => brought.map_err(Error::Network)?,
        None => partitions(&root_hash, &mut modules)?,
    };
    let data = node(&found, "data")?;
    let hash = node(&hash, "hash")?;
    let device = verity::open(&data, &hash, &root_hash).map_err(Error::Verity)?;
    let live = match (found.name == LIVE, found.drive.is_empty()) {
        (true, true) => ", from the network",
        (true, false) => ", from a live medium",
        (false, _) => "",
    };
    say!("root {} verified by {}{live}", data.display(), hash.display());
    let _ = fs::write("/proc/sys/kernel/modprobe", "/usr/sbin/modprobe");
    note(&found);
    hand_over::hand_over(&device).map_err(Error::HandOver)
}

/// What the system's units and the agent have to know of this start.
fn note(found: &Found) {
    let to = Path::new(site::TO);
    let text = format!("DRIVE={}\nROOT={}\nPARTITION={}\n", found.drive, found.device.display(), found.name);
    let _ = fs::write(to.join("started"), text);
    if found.name == LIVE {
        // Without a drive of its own, the system forgets.
        let _ = fs::write(to.join(LIVE), "");
    }
}

/// The two partitions, once they are there.
fn partitions(root_hash: &[u8; 32], modules: &mut Modules) -> Result<(Found, Found), Error> {
    let (data, hash) = gpt::identities(root_hash);
    for _ in 0..LOOKS_MAX {
        if let Some(found) = slots::find(root_hash) {
            return Ok(found);
        }
        // A drive that was written as a whole image, and media that nothing is installed on.
        if let (Some(data), Some(hash)) = (gpt::find(&data), gpt::find(&hash)) {
            return Ok((data, hash));
        }
        thread::sleep(Duration::from_millis(LOOK_MILLISECONDS));
        modules.load_new(Path::new("/"));
    }
    Err(Error::NoPartitions { data: gpt::text(&data), hash: gpt::text(&hash) })
}

/// The partition's node, made if the kernel knows no such partition.
fn node(found: &Found, what: &str) -> Result<PathBuf, Error> {
    let Some(stretch) = found.stretch else { return Ok(found.device.clone()) };
    let table = format!("{} {}", found.device.display(), stretch.start);
    let made = mapper::create(&format!("{LIVE}-{what}"), stretch.sectors, "linear", &table);
    made.map_err(|source| Error::Stretch { device: found.device.clone(), source })
}
