//! The fleet as a measure: figures of burn-ins that passed, by model.  Whoever did not pass is no measure for others.

use std::collections::{BTreeMap, BTreeSet};

use appliance_enrol::Stage;
use appliance_model::{
    HostId, Now,
    burn_in::{
        Verdict,
        staged::{Done, Peer},
    },
};
use appliance_store::{FleetFigure, HostRow, Store, StoreError};
use firmware_checks_burn_in::{
    staged::{Bound, Profile},
    stream::Run,
};

use super::Desks;

/// Figures of one host that are kept: 24 drives and 8 GPUs, a dozen figures in each of six stages.
const FIGURES_MAX: usize = 4096;

/// Peers in one order: the whole of it must fit into a line of the stream.
const PEERS_MAX: usize = 4096;

/// Machines that did not pass and are shown beside the others: each one's stream is read for it.
const FAILED_SHOWN_MAX: usize = 16;

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

/// What people look at: the figures that are a measure, and those of machines that are quarantined because they did not
/// pass, for it is them that somebody looks for.
pub(super) fn shown(desks: &Desks, store: &Store, hosts: &[HostRow]) -> Result<Vec<FleetFigure>, StoreError> {
    let (mut all, mut failed) = (store.figures()?, 0);
    for host in hosts.iter().filter(|host| matches!(host.stage, Stage::Quarantined { .. })) {
        if failed == FAILED_SHOWN_MAX {
            break;
        }
        let Some(run) = store.burn_in(&host.id)? else { continue };
        let Some(found) = super::read(desks, store, &host.id, &run)? else { continue };
        if let Some(Verdict::Fail { .. } | Verdict::Inconclusive { .. }) = found.closed {
            failed += 1;
            all.retain(|one| one.host != host.id);
            all.extend(figures(&host.id, &found, found.newest));
        }
    }
    Ok(all)
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
