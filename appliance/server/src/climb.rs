//! How a host is made to boot: probes its controller, keeps the record (`appliance_enrol::Climb`), plants tickets, and
//! takes a medium out again once it has done its work.

use std::sync::Arc;

use appliance_api::{
    agent::TicketSource,
    operator::{BootTry, BootWay, BootsBy},
};
use appliance_bmc::{Bmc, BmcError};
use appliance_enrol::{Climb, Means, Rung, Shown};
use appliance_model::{HostId, Ticket};
use appliance_store::{HostRow, Kind, Store, StoreError};
use pxe_server::Planted;

use crate::{
    app::{App, now},
    chain_of, config, power,
};

/// The name under which only a controller is given the image.
const PLANTED: &str = "/planted.efi";

pub(crate) async fn load(app: &Arc<App>, host: &HostId) -> Result<Climb, StoreError> {
    let id = host.clone();
    Ok(app.db(move |store| read(store, &id)).await?.unwrap_or_default())
}

/// The record; `None` where nothing was tried yet.
pub(crate) fn read(store: &Store, host: &HostId) -> Result<Option<Climb>, StoreError> {
    let kept = store.document(host, Kind::Climb)?;
    Ok(kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// The record for people.
pub(crate) fn view(climb: Climb) -> BootsBy {
    let way = |rung: Rung| rung.words().to_owned();
    let ways = climb.rungs.into_iter().map(|one| BootWay { way: way(one.rung), closed: one.closed });
    let tries = climb.tries.into_iter().map(|one| BootTry {
        at_ms: one.at.0,
        way: way(one.rung),
        outcome: one.outcome,
    });
    BootsBy {
        ways: ways.collect(),
        tries: tries.collect(),
        medium: climb.medium,
        proved: climb.proved.map(|proved| format!("{}: {}", proved.rung.words(), proved.how)),
    }
}

pub(crate) async fn keep(app: &Arc<App>, host: &HostId, climb: &Climb) -> Result<(), StoreError> {
    let (id, bytes) = (host.clone(), serde_json::to_vec(climb).unwrap_or_default());
    app.db(move |store| store.put(&id, Kind::Climb, &bytes, now()).map(drop)).await
}

/// What controller and boot service can do for this host, now.
pub(crate) async fn means(app: &Arc<App>, entry: &config::Bmc, redfish: Option<&Bmc>) -> Means {
    let (mut targets, mut boot_uri) = (Vec::new(), false);
    let mut answers = Err("the site file names no Redfish address for this BMC".to_owned());
    let mut media_slot = Err("there is no Redfish".to_owned());
    if let Some(bmc) = redfish {
        match bmc.boot_offers().await {
            Ok(offers) => {
                (targets, boot_uri, answers) = (offers.targets, offers.boot_uri, Ok(()));
                media_slot = match app.pxe.has_medium() {
                    Ok(()) => bmc.media_slots().await.map(drop).map_err(|error| chain_of(&error)),
                    // Nobody asks for a slot that nothing goes into.
                    Err(_) => Ok(()),
                };
            }
            Err(error) => answers = Err(chain_of(&error)),
        }
    }
    Means {
        redfish: answers,
        targets,
        boot_uri,
        media_slot,
        medium: app.pxe.has_medium().map_err(|error| chain_of(&error)),
        ipmi: match &entry.ipmi {
            Some(_) => Ok(()),
            None => Err("the site file allows no IPMI with this BMC (bmc.ipmi)".to_owned()),
        },
        offers: offers(app),
    }
}

/// Whether our boot service answers machines on some LAN.
fn offers(app: &App) -> Result<(), String> {
    let interfaces = app.pxe.interfaces();
    if interfaces.iter().any(|interface| interface.serving != pxe_server::Serving::Nothing) {
        return Ok(());
    }
    let words: Vec<&str> = interfaces.iter().map(|interface| interface.why.as_str()).collect();
    Err(format!("our boot service answers nobody: {}", words.join("; ")))
}

/// Plants what the rung needs.
pub(crate) async fn plant(app: &Arc<App>, host: &HostRow, rung: Rung) -> Result<Option<Planted>, String> {
    let port = || {
        host.facts.macs.first().copied().ok_or_else(|| {
            "no network port of this server is known, so no ticket can be issued to it; look at what its BMC lists"
                .to_owned()
        })
    };
    let planted = match rung {
        Rung::BootUri => app.pxe.plant(port()?).await,
        Rung::VirtualMedia => app.pxe.plant_medium(port()?).await,
        Rung::UefiHttp | Rung::Pxe | Rung::Ipmi | Rung::Disk => return Ok(None),
    };
    planted.map(Some).map_err(|error| chain_of(&error))
}

/// An agent said hello: the record learns by which rung it came, and a virtual medium is taken out.
pub(crate) async fn proved(
    app: &Arc<App>,
    host: &HostId,
    (ticket, source): (Ticket, TicketSource),
    boot_url: Option<&str>,
) -> Result<(), StoreError> {
    let mut climb = load(app, host).await?;
    let shown = match source {
        TicketSource::MeasuredUrl if boot_url.is_some_and(|url| url.ends_with(PLANTED)) => Shown::PlantedUrl,
        TicketSource::MeasuredUrl => Shown::MeasuredUrl,
        TicketSource::Dhcp => Shown::Dhcp,
        TicketSource::Medium => Shown::Medium,
    };
    climb.hello(ticket, shown, now());
    keep(app, host, &climb).await?;
    if climb.medium.is_some() {
        let (app, host) = (Arc::clone(app), host.clone());
        tokio::spawn(async move {
            if let Err(error) = take_out(&app, &host).await {
                tracing::error!(%host, error = %chain_of(&error), "the store failed");
            }
        });
    }
    Ok(())
}

/// Ejects a medium that has done its work: the machine runs from memory, and must not boot a spent ticket again.
/// What fails here is done before the next power-on.
pub(crate) async fn take_out(app: &Arc<App>, host: &HostId) -> Result<(), StoreError> {
    let mut climb = load(app, host).await?;
    let id = host.clone();
    let row = app.db(move |store| store.host(&id)).await?;
    let (Some(slot), Some(bmc)) = (climb.medium.clone(), power::redfish(app, &row)) else { return Ok(()) };
    let ejected = bmc.eject_media(&slot).await;
    power::leave(app, &row, &bmc).await;
    match ejected {
        Ok(()) | Err(BmcError::NoMedia { .. }) => {
            climb.medium = None;
            keep(app, host, &climb).await
        }
        Err(error) => {
            tracing::warn!(%host, slot, error = %chain_of(&error), "the boot medium could not be taken out yet");
            Ok(())
        }
    }
}
