//! Units: calls the cores with what the agent reported, and stores what they say.

use std::sync::Arc;

use appliance_enrol::{Carved, Event, Refusal};
use appliance_model::{
    Serial,
    burn_in::staged::{Done, Report},
    inventory::Inventory,
    rules::Placement,
};
use appliance_store::{HostRow, Kind, StoreError};

use crate::{
    app::{App, now},
    burn_in,
    executor::End,
    residence,
};

/// Plans the burn-in.  The same machine gets the same plan, and then keeps the readings it has.
pub(crate) async fn plan(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let Some(inventory) = inventory(app, host).await? else {
        return Ok(unfit("inventory", "there is no inventory"));
    };
    burn_in::plan(app, host, &inventory).await
}

/// Classifies and carves, has the plan checked by other code, and stores the manifest.
pub(crate) async fn carve(app: &Arc<App>, host: &HostRow) -> Result<End, StoreError> {
    let id = host.id.clone();
    let report = app.db(move |store| store.document(&id, Kind::BurnIn)).await?;
    let report: Option<Report> = report.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let own = residence::own_drive(app, &host.id).await?;
    let report = report.map(|report| without(report, own.as_ref()));
    let (Some(inventory), Some(report)) = (inventory(app, host).await?, report) else {
        return Ok(unfit("carve", "inventory or burn-in report are missing"));
    };
    let Some(rules) = app.config.checks.class_rules() else {
        return Ok(unfit("carve", "the library has no document `classes`"));
    };
    let placement = Placement::default();
    let manifest = match appliance_carve::carve(&inventory, &report, &rules, &placement, app.config.carve) {
        Ok(carved) => carved.manifest,
        Err(refusal) => return Ok(unfit("carve", &refusal.to_string())),
    };
    let mut faults = appliance_carve::check(&inventory, &manifest);
    faults.extend(appliance_carve::check_tiers(&inventory, &report, &manifest));
    faults.extend(appliance_carve::check_class(&rules, &manifest));
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        return Ok(unfit("carve-check", &faults.join("; ")));
    }
    let carved = Carved {
        class: manifest.class.clone(),
        capacity: manifest.capacity,
        units: u32::try_from(manifest.units.len()).unwrap_or(u32::MAX),
        unit_root: appliance_carve::unit_root(&manifest),
    };
    let (id, bytes) = (host.id.clone(), appliance_carve::manifest_bytes(&manifest));
    app.db(move |store| store.put(&id, Kind::Manifest, &bytes, now())).await?;
    Ok(End::Done(Event::Carved(carved)))
}

/// The report without its figures of the drive that the host's own system is on: what nobody measured is not sold.
fn without(mut report: Report, own: Option<&Serial>) -> Report {
    let Some(own) = own else { return report };
    let device = format!("drive {own}");
    for outcome in &mut report.outcomes {
        if let Done::Measured { figures, .. } = &mut outcome.done {
            figures.retain(|figure| figure.device != device);
        }
    }
    report
}

async fn inventory(app: &Arc<App>, host: &HostRow) -> Result<Option<Inventory>, StoreError> {
    let id = host.id.clone();
    let bytes = app.db(move |store| store.document(&id, Kind::Inventory)).await?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn unfit(rule: &str, text: &str) -> End {
    End::Done(Event::Unfit(Refusal { rule: rule.to_owned(), text: text.to_owned() }))
}
