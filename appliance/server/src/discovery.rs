//! Finds servers by the BMCs of the site file: reads each one's inventory once and remembers the host by its serial.

use std::{collections::BTreeMap, sync::Arc};

use appliance_bmc::{Contact, Depth, Pin};
use appliance_model::Digest;
use appliance_store::{HostRow, NewHost, StoreError};

use crate::{
    app::{App, now},
    chain_of, climb, config,
    sweep::{self, Failed, Limits, Read},
};

/// What the store knew of a controller when the service started.
#[derive(Debug, Clone, Copy)]
struct Before {
    pin: Option<Digest>,
    /// The appliance may have been restarted between a machine's hello and the end of its boot medium.
    booted: bool,
}

/// Visits every BMC until each was read once; then waits for ever.
pub(crate) async fn run(app: Arc<App>) {
    let known = loop {
        match app.db(appliance_store::Store::hosts).await {
            Ok(hosts) => break before(hosts),
            Err(error) => tracing::error!(error = chain_of(&error), "the hosts cannot be read; trying again"),
        }
        tokio::time::sleep(Limits::default().pause).await;
    };
    let target = |entry: &config::Bmc| {
        let before = known.get(&entry.url).copied().unwrap_or(Before { pin: None, booted: false });
        (entry.url.clone(), (Arc::clone(&app), entry.clone(), before))
    };
    let targets = app.config.bmcs.iter().map(target).collect();
    let visit = |(app, entry, before)| async move { visit(&app, &entry, before).await };
    sweep::sweep(targets, Limits::default(), visit, |batch| store(&app, batch)).await;
    std::future::pending::<()>().await;
}

fn before(hosts: Vec<HostRow>) -> BTreeMap<String, Before> {
    let known = |host: HostRow| {
        let before = Before { pin: host.facts.bmc_pin, booted: host.stage.boot().is_some() };
        Some((host.facts.bmc?, before))
    };
    hosts.into_iter().filter_map(known).collect()
}

async fn store(app: &Arc<App>, batch: Vec<Read>) {
    let write = |rows: Arc<Vec<Read>>| app.db(move |store| store.remember_all(&rows, now()));
    sweep::keep(batch, write).await;
    app.bump();
}

async fn visit(app: &Arc<App>, entry: &config::Bmc, before: Before) -> Result<Read, Failed> {
    if entry.redfish { by_redfish(app, entry, before).await } else { by_ipmi(entry).await }
}

/// IPMI tells who a machine is and little more: no ports, no parts.
async fn by_ipmi(entry: &config::Bmc) -> Result<Read, Failed> {
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
    Ok((facts, None))
}

async fn by_redfish(app: &Arc<App>, entry: &config::Bmc, before: Before) -> Result<Read, Failed> {
    if before.booted {
        take_out(app, entry).await.map_err(|error| chain_of(&error))?;
    }
    let contact = Contact {
        url: entry.url.clone(),
        user: entry.user.clone(),
        password: entry.password.clone(),
        pin: before.pin.map(Pin),
    };
    let view = sweep::read(contact, Depth::Everything).await?;
    sweep::host(entry.url.clone(), entry.position.clone(), &view)
}

/// Takes out what is left of a boot, by what the host's record says now.
async fn take_out(app: &Arc<App>, entry: &config::Bmc) -> Result<(), StoreError> {
    let hosts = app.db(appliance_store::Store::hosts).await?;
    let known = hosts.iter().find(|host| host.facts.bmc.as_ref() == Some(&entry.url));
    match known.filter(|known| known.stage.boot().is_some()) {
        Some(known) => climb::take_out(app, &known.id).await,
        None => Ok(()),
    }
}
