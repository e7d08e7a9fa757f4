//! A drive's own self-test: started, followed, aborted when it is called off or takes longer than it may.
//!
//! There are three ends: it passed, it failed, or there was none.  A drive that has no self-test, does not say how it
//! ended, or was aborted is undone with a reason; only the drive's own word "completed without error" is a pass.
//! Our own commands ask all three kinds of drives: smartctl would have to be in the image, and knows no more of these
//! few commands than their specifications say.

mod ata;
mod nvme;
mod scsi;

use std::{thread, time::Duration};

use appliance_model::{Serial, burn_in::staged::Unit, inventory::Bus};

use super::{Findings, Machine};
use crate::{Watch, device::Commands, device::Wrong, watch::now};

/// Gives the bus of a drive, and what takes its commands.
pub type Opening<'a> = &'a dyn Fn(&Serial) -> Result<(Bus, Box<dyn Commands>), String>;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// Looks in a row without an answer until the drive counts as gone.
const SILENT_MAX: u32 = 30;

/// How a self-test stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stands {
    /// It goes on.
    Going { permille: u16 },
    /// Completed without error.
    Passed,
    /// The drive found something.
    Failed { what: String },
    /// It ended without a result.
    Ended { why: String },
}

/// One drive's self-test, in its language.
trait SelfTest {
    /// Whether it has one; the minutes that it asks for, where it says.
    fn offered(&self, extended: bool) -> Result<Option<u32>, String>;
    fn start(&self, extended: bool) -> Result<(), Wrong>;
    fn look(&self, extended: bool) -> Result<Stands, Wrong>;
    fn abort(&self) -> Result<(), Wrong>;
    /// Its log of results, as it stands: one that does not change has no result of ours.
    fn log(&self) -> Result<Vec<u8>, Wrong>;
}

pub(super) fn run(
    (serial, extended): (&Serial, bool),
    time: Duration,
    machine: Machine<'_>,
    watch: Watch<'_>,
) -> Result<Findings, String> {
    let (bus, commands) = (machine.commands)(serial)?;
    let commands = &*commands;
    let test: Box<dyn SelfTest + '_> = match bus {
        Bus::Nvme => Box::new(nvme::Nvme(commands)),
        Bus::Sata => Box::new(ata::Ata(commands)),
        Bus::Sas => Box::new(scsi::Scsi(commands)),
        Bus::Usb | Bus::Virtio | Bus::Unknown => return Err("drives of this kind have no self-test".into()),
    };
    let mut found = Findings::of(format!("drive {serial}"));
    let what = if extended { "extended" } else { "short" };
    match follow(&*test, extended, time, watch)? {
        Stands::Passed => found.add("self-tests-failed", 0, Unit::Count),
        Stands::Failed { what: fault } => {
            found.add("self-tests-failed", 1, Unit::Count);
            found.faults.push(format!("drive {serial}: its {what} self-test failed: {fault}"));
        }
        Stands::Going { .. } => return Err(format!("its {what} self-test has no end")),
        Stands::Ended { why } => return Err(format!("its {what} self-test came to no result: {why}")),
    }
    found.coverage.push(format!("drive {serial}: its own {what} self-test"));
    Ok(found)
}

fn follow(test: &dyn SelfTest, extended: bool, time: Duration, watch: Watch<'_>) -> Result<Stands, String> {
    let minutes = test.offered(extended)?;
    let before = test.log().map_err(|why| format!("its log of self-tests cannot be read: {why}"))?;
    if matches!(test.look(extended), Ok(Stands::Going { .. })) {
        return Err("a self-test that somebody else began is under way".into());
    }
    test.start(extended).map_err(|why| format!("it refused to begin a self-test: {why}"))?;
    let (begin, mut silent) = (now(), 0);
    loop {
        thread::sleep(LOOK.min(time / 8));
        let over = begin.elapsed() >= time;
        match test.look(extended) {
            Ok(Stands::Going { permille }) => {
                silent = 0;
                watch.tell(permille);
            }
            // Drives that took the command and did nothing still show how the last one ended.
            Ok(Stands::Passed) if !test.log().is_ok_and(|log| log != before) => {
                return Ok(Stands::Ended { why: "its log has no new result".into() });
            }
            Ok(ended @ (Stands::Passed | Stands::Failed { .. } | Stands::Ended { .. })) => return Ok(ended),
            Err(why) if silent >= SILENT_MAX => {
                return Err(format!("it does not say how its self-test stands: {why}"));
            }
            Err(_) => silent += 1,
        }
        if watch.stopped() || over {
            // What cannot be aborted ends by itself; it is not counted.
            let aborted =
                test.abort().map_or_else(|why| format!("; it was not aborted: {why}"), |()| String::new());
            let asks = minutes.map(|m| format!(", and the drive asks for {m} minutes")).unwrap_or_default();
            return Err(format!(
                "its self-test was not done within {} s{asks}{aborted}",
                begin.elapsed().as_secs()
            ));
        }
    }
}

#[cfg(test)]
mod tests;
