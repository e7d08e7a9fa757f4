//! Finds servers by the BMCs of the site file: reads each one's inventory once and remembers the host by its serial.

use std::{sync::Arc, time::Duration};

use appliance_model::{
    Mac,
    inventory::{Firmware, Inventory},
};
use appliance_store::{Kind, NewHost};
use tokio::task::JoinSet;

use crate::{
    app::{App, now},
    chain_of, config, power,
};

/// Between two tries at a BMC that does not answer.
const RETRY: Duration = Duration::from_secs(10);

/// Visits every BMC until each was read once; then waits for ever.
pub(crate) async fn run(app: Arc<App>) {
    let mut visits = JoinSet::new();
    for entry in app.config.bmcs.clone() {
        let app = Arc::clone(&app);
        visits.spawn(async move {
            while let Err(why) = visit(&app, &entry).await {
                tracing::warn!(bmc = entry.url, why, "this BMC could not be read; trying again");
                tokio::time::sleep(RETRY).await;
            }
        });
    }
    while visits.join_next().await.is_some() {}
    std::future::pending::<()>().await;
}

async fn visit(app: &Arc<App>, entry: &config::Bmc) -> Result<(), String> {
    if entry.redfish { by_redfish(app, entry).await } else { by_ipmi(app, entry).await }
}

/// IPMI tells who a machine is and little more: no ports, no parts.
async fn by_ipmi(app: &Arc<App>, entry: &config::Bmc) -> Result<(), String> {
    let identity = crate::ipmi::identity(entry).await?;
    let serial = identity.serial().and_then(appliance_model::Serial::parse);
    let serial =
        serial.ok_or("its FRU holds no serial of the machine; write one into it (`ipmitool fru edit`)")?;
    let product = identity.fru.as_ref().and_then(|fru| fru.product.as_ref());
    let facts = NewHost {
        serial,
        model: product.map(|product| product.name.clone()).filter(|name| !name.is_empty()),
        position: entry.position.clone(),
        bmc: Some(entry.url.clone()),
        bmc_pin: None,
        macs: Vec::new(),
    };
    app.db(move |store| store.remember(&facts, now()).map(drop)).await.map_err(|error| chain_of(&error))?;
    app.bump();
    Ok(())
}

async fn by_redfish(app: &Arc<App>, entry: &config::Bmc) -> Result<(), String> {
    let url = entry.url.clone();
    let said = |error: appliance_store::StoreError| chain_of(&error);
    let hosts = app.db(appliance_store::Store::hosts).await.map_err(said)?;
    let known = hosts.iter().find(|host| host.facts.bmc.as_ref() == Some(&url));
    if let Some(known) = known.filter(|known| known.stage.boot().is_some()) {
        // The appliance was restarted between a machine's hello and the end of its boot medium.
        crate::climb::take_out(app, &known.id).await.map_err(said)?;
    }
    let pin = known.and_then(|host| host.facts.bmc_pin);
    let bmc = power::contact(entry, pin.map(appliance_bmc::Pin)).ok_or("its address cannot be used")?;
    let view = bmc.inventory().await;
    let pin = bmc.pin();
    bmc.log_out().await;
    let view = view.map_err(|error| chain_of(&error))?;
    for finding in &view.findings {
        tracing::info!(bmc = url, severity = ?finding.severity, at = finding.url, what = finding.what, "BMC finding");
    }
    let system = &view.inventory.system;
    let serial = system.serial.clone().ok_or("it names no system serial; set one in the BMC")?;
    let model = [system.manufacturer.as_deref(), system.product.as_deref()];
    let facts = NewHost {
        serial,
        model: Some(model.into_iter().flatten().collect::<Vec<_>>().join(" ")),
        position: entry.position.clone().or_else(|| system.asset_tag.clone()),
        bmc: Some(url),
        bmc_pin: pin.map(|pin| pin.0),
        macs: view.inventory.nics.iter().filter_map(|nic| nic.mac).collect::<Vec<Mac>>(),
    };
    let inventory = serde_json::to_vec(&told(&view)).unwrap_or_default();
    app.db(move |store| {
        let id = store.remember(&facts, now())?;
        store.put(&id, Kind::BmcInventory, &inventory, now())
    })
    .await
    .map_err(said)?;
    app.bump();
    Ok(())
}

/// The controller's inventory with its lists of firmware and BIOS settings, which baselines are compared with.
fn told(view: &appliance_bmc::BmcView) -> Inventory {
    let mut inventory = view.inventory.clone();
    inventory.firmware.extend(view.firmware.iter().filter_map(|one| {
        // Some name every entry alike; then the component says more.
        let name = one.name.clone().filter(|name| name != "Software Inventory");
        Some(Firmware { name: name.unwrap_or_else(|| one.component.clone()), version: one.version.clone()? })
    }));
    inventory.bios_settings.extend(view.bios.clone());
    inventory
}
