//! The fleet as a measure: figures of burn-ins that passed, by model.  Whoever did not pass is no measure for others.

use std::collections::{BTreeMap, BTreeSet};

use appliance_model::{
    HostId, Now,
    burn_in::staged::{Done, Peer},
};
use appliance_store::{FleetFigure, Store, StoreError};
use firmware_checks_burn_in::{
    staged::{Bound, Profile},
    stream::Run,
};

/// Figures of one host that are kept: 24 drives and 8 GPUs, a dozen figures in each of six stages.
const FIGURES_MAX: usize = 4096;

/// Peers in one order: the whole of it must fit into a line of the stream.
const PEERS_MAX: usize = 4096;

/// What a burn-in says of the host's devices.
pub(super) fn figures(host: &HostId, run: &Run, at: Now) -> Vec<FleetFigure> {
    let mut found = Vec::new();
    for outcome in &run.outcomes {
        let Done::Measured { figures, .. } = &outcome.done else { continue };
        let stage = outcome.task.split('/').next().unwrap_or_default();
        for figure in figures.iter().filter(|figure| figure.attained != Some(false)) {
            let Some(model) = run.opening.models.get(&figure.device) else { continue };
            found.push(FleetFigure {
                host: host.clone(),
                device: figure.device.clone(),
                model: model.clone(),
                stage: stage.to_owned(),
                figure: figure.name.clone(),
                unit: figure.unit,
                value: figure.value,
                at,
            });
        }
    }
    found.truncate(FIGURES_MAX);
    found
}

/// Figures of other hosts' devices that a rule of `profile` compares with.
pub(super) fn peers(
    store: &Store,
    host: &HostId,
    profile: &Profile,
    models: &BTreeMap<String, String>,
) -> Result<Vec<Peer>, StoreError> {
    let compared: BTreeSet<&str> = profile
        .rules
        .iter()
        .filter(|rule| matches!(rule.bound, Bound::OfMedian { .. }))
        .map(|rule| rule.figure.as_str())
        .collect();
    let models: BTreeSet<&String> = models.values().collect();
    let mut peers = Vec::new();
    for model in models {
        for figure in &compared {
            let found = store.peers(host, model, figure)?;
            peers.extend(found.into_iter().map(|one| Peer {
                device: elsewhere(&one),
                model: one.model,
                stage: one.stage,
                figure: one.figure,
                value: one.value,
            }));
        }
    }
    peers.truncate(PEERS_MAX);
    Ok(peers)
}

/// Every machine has a `cpu`; a drive's serial names it wherever it is.
fn elsewhere(figure: &FleetFigure) -> String {
    if figure.device.contains(' ') {
        figure.device.clone()
    } else {
        format!("{} of {}", figure.device, figure.host)
    }
}
