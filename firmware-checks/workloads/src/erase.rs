//! Erases a drive, as a permission names it, and reads back what is left.
//!
//! The order is: look (what is on it, who uses it, what it can do), remember what some places hold, ask the appliance,
//! write to half of these places what has to go, give the command, follow it, read the places again.  Nothing is written
//! before the appliance has answered [`Said::Begins`]; what a power cut leaves is finished from what it kept.  A drive in
//! use is refused, whatever the permission says.  Read next: `guard`, `places`, then one file for each kind of drive.

mod ata;
mod guard;
mod nvme;
mod places;
mod scsi;

use std::{fmt, path::Path};

use appliance_model::{
    erase::{Begun, EraseDrive, Method, Said, Who},
    inventory::Bus,
};

use crate::device::Commands;
pub use guard::Content;
use places::Places;

/// A drive and what is to become of it.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Where `/proc` and `/sys` are.
    pub root: &'a Path,
    /// Kernel names of its block devices, one for each namespace.
    pub parts: &'a [String],
    /// Who it says it is.
    pub who: &'a Who,
    /// Takes its commands.
    pub commands: &'a dyn Commands,
    /// What was ordered.
    pub drive: &'a EraseDrive,
    /// The GPT partition that the machine was booted from, as UEFI's device path writes it, if it was one.
    pub booted_from: Option<&'a str>,
}

impl fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("drive", &self.drive).field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Does it.  `say` returns when the appliance has taken the word, and its refusal where it has one; the last word is
/// the result.
pub fn erase(job: Job<'_>, say: &dyn Fn(Said) -> Result<(), String>) -> Said {
    let refused = |why: String| Said::Refused { why: format!("drive {}: {why}", job.who.serial) };
    let failed = |why: String| Said::Failed { why: format!("drive {}: {why}", job.who.serial) };
    let known = job.drive.begun.as_ref();
    let (places, begun) = match prepare(job) {
        Ok(prepared) => prepared,
        // What has begun cannot be refused any more: the drive holds half of something.
        Err(why) => return if known.is_some() { failed(why) } else { refused(why) },
    };
    if known.is_none()
        && let Err(why) = say(Said::Begins(Box::new(begun.clone())))
    {
        return refused(format!("the appliance does not let it begin: {why}"));
    }
    let told = |permille: u16| drop(say(Said::Going { permille }));
    if !job.drive.erased {
        if let Err(why) = command(job, &begun, &places, &told) {
            return failed(why);
        }
        // Its answer changes nothing: what is left is reading.
        let _ = say(Said::Erased);
    }
    match places.read_back(&begun.samples) {
        Ok(verification) => Said::ReadBack(verification),
        Err(why) => failed(format!("{}; it cannot be read back: {why}", begun.method.words())),
    }
}

/// Whether a disk may be overwritten in part: nobody uses it, and it carries nothing of a volume.
pub(crate) fn spare(root: &Path, disk: &str) -> Result<(), String> {
    let parts = [disk.to_owned()];
    guard::unused(root, &parts)?;
    let places = Places::open(&root.join("dev"), &parts)?;
    let carried: Vec<String> =
        guard::carried(root, &places, &parts)?.iter().map(ToString::to_string).collect();
    if carried.is_empty() {
        return Ok(());
    }
    Err(format!("it carries {}, which may belong to a volume over several drives", carried.join(" and ")))
}

fn prepare(job: Job<'_>) -> Result<(Places, Begun), String> {
    if job.parts.is_empty() {
        return Err("it has no block device: there is nothing that could be read back".into());
    }
    guard::unused(job.root, job.parts)?;
    let places = Places::open(&job.root.join("dev"), job.parts)?;
    if let Some(begun) = &job.drive.begun {
        return Ok((places, begun.clone()));
    }
    guard::not_booted_from(&places, job.booted_from)?;
    guard::foreign(job.root, &places, job.parts, &job.drive.content)?;
    let method = method(job)?;
    let samples = places.remember(job.who.serial.as_str())?;
    let drive = Who { bytes: places.bytes(), ..job.who.clone() };
    Ok((places, Begun { method, drive, samples }))
}

/// The strongest way that the drive offers and that leaves it usable.
fn method(job: Job<'_>) -> Result<Method, String> {
    match job.who.bus {
        Bus::Nvme => nvme::Nvme::ask(job.commands)?.method(),
        Bus::Sata => ata::Ata(job.commands).method(),
        Bus::Sas => scsi::Scsi(job.commands).method(),
        Bus::Usb | Bus::Virtio | Bus::Unknown => {
            Err("drives of this kind have no command that erases them; overwriting is no purge".into())
        }
    }
}

/// Plants, gives the command and follows it; after a power cut, first looks whether it goes on by itself.
fn command(job: Job<'_>, begun: &Begun, places: &Places, told: &dyn Fn(u16)) -> Result<(), String> {
    let (method, resumed) = (begun.method, job.drive.begun.is_some());
    let plant = || places.plant(job.who.serial.as_str(), &begun.samples);
    match method {
        Method::NvmeSanitizeCrypto | Method::NvmeSanitizeBlock | Method::NvmeFormat => {
            nvme::Nvme::ask(job.commands)?.erase(method, resumed, &plant, told)
        }
        Method::AtaSanitizeCrypto
        | Method::AtaSanitizeBlock
        | Method::AtaSecurityEnhanced
        | Method::AtaSecurity => ata::Ata(job.commands).erase(method, resumed, &plant, told),
        Method::ScsiSanitizeCrypto
        | Method::ScsiSanitizeBlock
        | Method::ScsiSanitizeOverwrite
        | Method::ScsiFormat => scsi::Scsi(job.commands).erase(method, resumed, &plant, told),
    }
}

/// How an operation in the background stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    /// It goes on.
    Going {
        /// Thousandths.
        permille: u16,
    },
    /// It is done.
    Done,
    /// It failed, or there is none.
    Failed,
}
