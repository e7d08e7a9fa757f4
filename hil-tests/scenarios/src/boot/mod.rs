//! Boots on a bench: the service under test, real firmware, and what its packets tell.
//!
//! `service` runs the program, `packets` reads QEMU's record of the card, `story` says which steps the firmware took
//! and what it waited for in vain; `authority` makes what HTTPS needs.

mod authority;
mod packets;
mod service;
mod story;

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use hil_tests_rack::bench::{BootMachine, Booting, Firmware};

pub use authority::{authority, signing_files, tool};
pub use service::{API, Service, Serving};

use crate::artefacts::Artefacts;

/// Wide: a quiet machine needs 15 to 20 s for the longest way, a crowded one five times that.
const BOOT_SECONDS_MAX: u64 = 300;

/// How long a firmware may wait in vain, all its tries for one thing together: less than the shortest retry of any.
pub const WAIT_MAX: Duration = Duration::from_millis(1500);

/// A card's own iPXE also looks for an IPv6 router, up to 16 s.  On its LAN the boot service tells it that there is none;
/// through a relay of IPv4 it cannot, and there it is shown with each boot and not demanded.
const NO_ROUTER: &str = "IPv6 router solicitation";

/// What one boot showed.
#[derive(Debug)]
pub struct Shown {
    /// From power-on to the agent's first word with the appliance.
    pub took: Duration,
    /// The steps of firmware and agent.
    pub steps: Vec<String>,
    /// What was waited for in vain, and how long.
    pub waits: BTreeMap<String, Duration>,
}

impl Shown {
    /// Demands these steps, and no wait that an answer would have saved.
    ///
    /// # Errors
    /// If it was otherwise.
    pub fn demand(&self, steps: &[impl AsRef<str>]) -> anyhow::Result<()> {
        self.demand_but(steps, None)
    }

    /// The same behind a relay, where nothing of IPv6 reaches us.
    ///
    /// # Errors
    /// If it was otherwise.
    pub fn demand_through_relay(&self, steps: &[impl AsRef<str>]) -> anyhow::Result<()> {
        self.demand_but(steps, Some(NO_ROUTER))
    }

    fn demand_but(&self, steps: &[impl AsRef<str>], excused: Option<&str>) -> anyhow::Result<()> {
        let steps: Vec<&str> = steps.iter().map(AsRef::as_ref).collect();
        ensure!(self.steps == steps, "expected {steps:?}, {self:?}");
        let long = self.waits.iter().find(|(what, wait)| excused != Some(what.as_str()) && **wait > WAIT_MAX);
        ensure!(long.is_none(), "waited in vain for {long:?}: {self:?}");
        Ok(())
    }
}

/// OVMF without Secure Boot.
#[must_use]
pub fn ovmf(artefacts: &Artefacts) -> Firmware {
    Firmware::Uefi {
        code: artefacts.ovmf_code.clone(),
        variables: artefacts.ovmf_vars.clone(),
        secure_boot: false,
    }
}

/// Waits until the agent calls the appliance, pulls the plug and reads the record.
///
/// # Errors
/// If the agent does not come up; the message has the console's end.
pub async fn watch(machine: &BootMachine, booting: Booting) -> anyhow::Result<Shown> {
    // No appliance is there: the agent says so, and by it that it knows where the appliance should be.
    let called = format!("hello: {API}/");
    let line = booting.wait_console(&called, Duration::from_secs(BOOT_SECONDS_MAX)).await;
    let record = booting.stop().await;
    let shown = read(machine, &record).with_context(|| format!("boot of {}", machine.name))?;
    match line {
        Ok(line) => {
            let shown = Shown { took: line.at, ..shown };
            eprintln!(
                "{:<12} {:>5.1} s  {:?}  waits: {:?}",
                machine.name,
                line.at.as_secs_f64(),
                shown.steps,
                shown.waits
            );
            Ok(shown)
        }
        Err(error) => Err(anyhow::Error::from(error).context(format!("{}: {shown:?}", machine.name))),
    }
}

/// What the record of a machine that is off tells.
///
/// # Errors
/// If there is none.
pub fn read(machine: &BootMachine, record: &Path) -> anyhow::Result<Shown> {
    let packets = packets::read(record, machine.mac)?;
    Ok(Shown { took: Duration::ZERO, steps: story::steps(&packets), waits: story::waits(&packets) })
}
