//! Switches machines on through their BMCs.

use std::sync::Arc;

use appliance_bmc::{Bmc, BootTarget, Contact, Pin, PowerState, ResetKind};
use appliance_enrol::{Event, Rung};
use appliance_store::{HostRow, StoreError};

use crate::{app::App, chain_of, config, executor::End};

/// Sets the one-time network boot and starts the machine, from whatever state it is in.
pub(crate) async fn on(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let Some(bmc) = bmc(app, host) else {
        return Ok(End::later(
            "this server has no BMC we know; switch it on by hand, or add its [[bmc]] to the site file",
        ));
    };
    let result = start(&bmc).await;
    bmc.log_out().await;
    Ok(match result {
        Ok(()) => End::Done(Event::PoweredOn(Rung::UefiHttp)),
        Err(error) => End::later(chain_of(&error)),
    })
}

async fn start(bmc: &Bmc) -> Result<(), appliance_bmc::BmcError> {
    // A machine that is on must go off first: the one-time override counts from the next power-on.
    if bmc.power_state().await? != PowerState::Off {
        bmc.reset(ResetKind::ForceOff).await?;
    }
    bmc.set_boot_once(BootTarget::UefiHttp).await?;
    bmc.reset(ResetKind::On).await.map(drop)
}

/// Whether the machine is on, as far as its BMC can be asked.
pub(crate) async fn is_on(app: &Arc<App>, host: &HostRow) -> Option<bool> {
    let bmc = bmc(app, host)?;
    let state = bmc.power_state().await;
    bmc.log_out().await;
    match state {
        Ok(PowerState::Off) => Some(false),
        Ok(_) => Some(true),
        Err(error) => {
            tracing::warn!(host = %host.id, error = %chain_of(&error), "the BMC does not say whether the machine is on");
            None
        }
    }
}

/// The BMC of a host, with the certificate it had at first contact.
fn bmc(app: &Arc<App>, host: &HostRow) -> Option<Bmc> {
    let url = host.facts.bmc.as_ref()?;
    let entry = app.config.bmcs.iter().find(|bmc| bmc.url == *url)?;
    contact(entry, host.facts.bmc_pin.map(Pin))
}

/// A client for a BMC of the site file.
pub(crate) fn contact(entry: &config::Bmc, pin: Option<Pin>) -> Option<Bmc> {
    let contact =
        Contact { url: entry.url.clone(), user: entry.user.clone(), password: entry.password.clone(), pin };
    Bmc::new(contact)
        .map_err(
            |error| tracing::error!(bmc = entry.url, error = %chain_of(&error), "cannot speak to this BMC"),
        )
        .ok()
}
