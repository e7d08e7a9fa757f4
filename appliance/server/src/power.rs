//! Switches machines on through their BMCs, by the best rung that is open.

use std::sync::Arc;

use appliance_bmc::{Bmc, BootTarget, Contact, Pin, PowerState, ResetKind};
use appliance_enrol::{Climb, Event, Rung, probe};
use appliance_store::{HostRow, StoreError};

use crate::{
    app::{App, now},
    chain_of, climb, config, controllers,
    executor::End,
    ipmi, rescue, residence,
    sweep::Failed,
};

/// A host with a system of its own is started from its drive so often; then from the network, where its agent can say
/// what is wrong.
const HOME_ATTEMPTS_MAX: u32 = 2;

/// Sets what is booted next and starts the machine, from whatever state it is in.  `attempt` counts power-ons from 1.
pub(crate) async fn on(app: &Arc<App>, host: &HostRow, attempt: u32) -> Result<End, StoreError> {
    let entry = match controllers::of_host(app, host) {
        Ok(Some(entry)) => entry,
        Ok(None) => {
            return Ok(End::later(
                "this server has no BMC we know; switch it on by hand, or add its [[bmc]] to the site file",
            ));
        }
        Err(why) => return Ok(End::later(why)),
    };
    let redfish = contact(&entry, host.facts.bmc_pin.map(Pin));
    let mut climb = climb::load(app, &host.id).await?;
    let means = climb::means(app, &entry, redfish.as_ref()).await;
    if let Some(bmc) = &redfish
        && bmc.was_refused().await
    {
        // No other rung either: IPMI would try the same password.
        controllers::leave(app, &entry, bmc).await;
        return Ok(End::later(format!("{} refuses our password", entry.url)));
    }
    let home = attempt <= HOME_ATTEMPTS_MAX
        && redfish.is_some()
        && !rescue::is_held(app, &host.id).await?
        && residence::at_home(app, &host.id).await?;
    let rung = match climb.next(probe(&means), attempt) {
        Ok(_) | Err(_) if home => Rung::Disk,
        Ok(rung) => rung,
        Err(why) => {
            climb::keep(app, &host.id, &climb).await?;
            return Ok(End::later(why));
        }
    };
    let result = match &redfish {
        Some(bmc) if rung != Rung::Ipmi => by_redfish(app, host, bmc, &mut climb, (rung, attempt)).await,
        Some(_) | None => {
            climb.start(rung, attempt, None, now());
            climb::keep(app, &host.id, &climb).await?;
            Ok(by_ipmi(app, &entry, ipmi::boot_by_pxe(&entry).await).await)
        }
    };
    if let Some(bmc) = &redfish {
        controllers::leave(app, &entry, bmc).await;
    }
    Ok(match result? {
        Ok(()) => End::Done(Event::PoweredOn(rung)),
        Err(why) => {
            climb.failed(&why);
            climb::keep(app, &host.id, &climb).await?;
            End::later(format!("{}: {why}", rung.words()))
        }
    })
}

/// The record is written before the controller is told, so that a crash in between knows what was planted.
async fn by_redfish(
    app: &Arc<App>,
    host: &HostRow,
    bmc: &Bmc,
    climb: &mut Climb,
    (rung, attempt): (Rung, u32),
) -> Result<Result<(), String>, StoreError> {
    let planted = climb::plant(app, host, rung).await;
    climb.start(rung, attempt, planted.iter().flatten().map(|planted| planted.ticket).next(), now());
    climb::keep(app, &host.id, climb).await?;
    let planted = match planted {
        Ok(planted) => planted,
        Err(why) => return Ok(Err(why)),
    };
    let url = planted.as_ref().map(|planted| planted.url.as_str());
    let started = start(bmc, rung, url, climb).await.map_err(|error| chain_of(&error));
    if climb.medium.is_some() {
        climb::keep(app, &host.id, climb).await?;
    }
    Ok(started)
}

async fn start(
    bmc: &Bmc,
    rung: Rung,
    url: Option<&str>,
    climb: &mut Climb,
) -> Result<(), appliance_bmc::BmcError> {
    // A machine that is on must go off first: the one-time override counts from the next power-on.
    if bmc.power_state().await? != PowerState::Off {
        bmc.reset(ResetKind::ForceOff).await?;
    }
    if let Some(slot) = climb.medium.take() {
        // What was left in a slot would be booted by machines that look at CDs first.
        if let Err(error) = bmc.eject_media(&slot).await {
            tracing::warn!(slot, error = %chain_of(&error), "an old boot medium could not be taken out");
        }
    }
    match (rung, url) {
        (Rung::BootUri, Some(url)) => {
            bmc.set_boot_once_from(BootTarget::UefiHttp, Some(url)).await?;
        }
        (Rung::VirtualMedia, Some(url)) => {
            let inserted = bmc.insert_media(url).await?;
            climb.medium = Some(inserted.slot);
            bmc.set_boot_once(inserted.boot).await?;
        }
        (Rung::Pxe, _) => {
            bmc.set_boot_once(BootTarget::Pxe).await?;
        }
        (Rung::Disk, _) => {
            bmc.set_boot_once(BootTarget::Hdd).await?;
        }
        (Rung::BootUri | Rung::UefiHttp | Rung::VirtualMedia | Rung::Ipmi, _) => {
            bmc.set_boot_once(BootTarget::UefiHttp).await?;
        }
    }
    bmc.reset(ResetKind::On).await.map(drop)
}

/// Whether the machine is on, as far as its BMC can be asked.
pub(crate) async fn is_on(app: &Arc<App>, host: &HostRow) -> Option<bool> {
    let entry = controllers::of_host(app, host).ok()??;
    let state = match contact(&entry, host.facts.bmc_pin.map(Pin)) {
        Some(bmc) => {
            let state = bmc.power_state().await;
            controllers::leave(app, &entry, &bmc).await;
            state.map(|state| state != PowerState::Off).map_err(|error| chain_of(&error))
        }
        None => by_ipmi(app, &entry, ipmi::is_on(&entry).await).await,
    };
    state
        .inspect_err(|error| {
            tracing::warn!(host = %host.id, error, "the BMC does not say whether the machine is on");
        })
        .ok()
}

/// What came of IPMI; a refused password is remembered.
pub(crate) async fn by_ipmi<T>(
    app: &Arc<App>,
    entry: &config::Bmc,
    result: Result<T, Failed>,
) -> Result<T, String> {
    match result {
        Err(failed) if failed.refused => {
            controllers::refused(app, entry).await;
            Err(failed.why)
        }
        other => other.map_err(|failed| failed.why),
    }
}

/// The controller of a host by Redfish, with the certificate it had at first contact.  [`leave`] ends it.
pub(crate) fn redfish(app: &App, host: &HostRow) -> Option<Bmc> {
    contact(&controllers::of_host(app, host).ok()??, host.facts.bmc_pin.map(Pin))
}

/// Ends a session that [`redfish`] began.
pub(crate) async fn leave(app: &Arc<App>, host: &HostRow, bmc: &Bmc) {
    match controllers::of_host(app, host) {
        Ok(Some(entry)) => controllers::leave(app, &entry, bmc).await,
        Ok(None) | Err(_) => bmc.log_out().await,
    }
}

/// A client for a controller; `None` where it speaks IPMI only.
pub(crate) fn contact(entry: &config::Bmc, pin: Option<Pin>) -> Option<Bmc> {
    if !entry.redfish {
        return None;
    }
    let (url, user, password) = (entry.url.clone(), entry.user.clone(), entry.password.clone());
    let contact = Contact { url, user, password, pin: entry.pin.map(Pin).or(pin) };
    Bmc::new(contact)
        .map_err(
            |error| tracing::error!(bmc = entry.url, error = %chain_of(&error), "cannot speak to this BMC"),
        )
        .ok()
}
