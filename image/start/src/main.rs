//! The first program of an installed host: opens the root file system that the signed image names, and hands over.
//!
//! The command line, which is signed and measured, carries the root hash; the partitions whose identities are its halves
//! are mapped through dm-verity, so that every block that is ever read is the one that was built.  It asks for no
//! password, has no shell, and mounts nothing else: what does not fit ends in a restart, and the boot loader's counter
//! then takes the other slot.  Next: `gpt` (which partitions), `mapper` (dm-verity), `hand_over` (the rest).

mod gpt;
mod hand_over;
mod mapper;
mod verity;

use std::{
    fs,
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

/// How long a message stays on the console before the machine restarts.
const LAST_WORDS_SECONDS: u64 = 10;
/// Rounds of looking for the partitions; USB and SAS drives appear late.  Some 60 seconds in all.
const LOOKS_MAX: u32 = 120;
const LOOK_MILLISECONDS: u64 = 500;

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
        say!("start is the first program of an installed host and does nothing else");
        return ExitCode::FAILURE;
    }
    system::take_console();
    say!("scalerforge start {}: up after {} ms", env!("CARGO_PKG_VERSION"), up_milliseconds());
    system::mount_all();
    let why = match start() {
        Ok(never) => match never {},
        Err(why) => chain(&why),
    };
    say!("{why}");
    say!("restarting in {LAST_WORDS_SECONDS} s; after three tries the boot loader takes the other slot");
    thread::sleep(Duration::from_secs(LAST_WORDS_SECONDS));
    system::leave(Leave::Reboot);
    system::restart()
}

/// Why the system could not be started.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "the command line has no usable roothash=: this image was put together wrongly, install it again"
    )]
    RootHash,
    #[error(
        "no drive has the partitions of this image ({data} and {hash}): check that the boot drive is there, or install again"
    )]
    NoPartitions { data: String, hash: String },
    #[error("the verified root cannot be opened")]
    Verity(#[source] verity::Error),
    #[error("the system cannot take over")]
    HandOver(#[source] hand_over::Error),
}

fn start() -> Result<std::convert::Infallible, Error> {
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let root_hash = verity::root_hash(&command_line).ok_or(Error::RootHash)?;
    // Crypto modules are asked for by the kernel itself.
    let _ = fs::write("/proc/sys/kernel/modprobe", "/init");
    let mut modules = Modules::open(Path::new("/")).unwrap_or_default();
    modules.load_rest(Path::new("/"));
    say!("{} module files loaded", modules.loaded());
    let (data, hash) = partitions(&root_hash, &mut modules)?;
    say!("root {} verified by {}", data.display(), hash.display());
    let device = verity::open(&data, &hash, &root_hash).map_err(Error::Verity)?;
    let _ = fs::write("/proc/sys/kernel/modprobe", "/usr/sbin/modprobe");
    hand_over::hand_over(&device).map_err(Error::HandOver)
}

/// The two partitions, once they are there.
fn partitions(root_hash: &[u8; 32], modules: &mut Modules) -> Result<(PathBuf, PathBuf), Error> {
    let (data, hash) = gpt::identities(root_hash);
    for _ in 0..LOOKS_MAX {
        if let (Some(data), Some(hash)) = (gpt::find(&data), gpt::find(&hash)) {
            return Ok((data, hash));
        }
        thread::sleep(Duration::from_millis(LOOK_MILLISECONDS));
        modules.load_new(Path::new("/"));
    }
    Err(Error::NoPartitions { data: gpt::text(&data), hash: gpt::text(&hash) })
}
