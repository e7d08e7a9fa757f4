//! The fleet by model: what each device of a model measured in a stage, and who stands out.

use std::collections::BTreeMap;

use appliance_api::burn_in::{ModelFigureView, ModelValueView, ModelView, ModelsView};
use appliance_model::{Now, burn_in::staged::Unit};

use super::{Bound, Profile, median, of_median, unit_name};

/// The newest value of one figure of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The device's model.
    pub model: String,
    /// The stage in which it was measured.
    pub stage: String,
    /// Name of the figure.
    pub figure: String,
    /// What it is counted in.
    pub unit: Unit,
    /// The device, as figures name it.
    pub device: String,
    /// Id of its host.
    pub host: String,
    /// Serial of its host.
    pub serial: String,
    /// The value.
    pub value: u64,
    /// When it was measured.
    pub at: Option<Now>,
}

/// Stage, figure, unit: values that can be compared.
type Key = (String, String, Unit);

/// Puts the fleet's values together by model, stage and figure; `profile` says which are compared, and how.
#[must_use]
pub fn by_model(values: Vec<Measured>, profile: &Profile) -> ModelsView {
    let mut models: BTreeMap<String, BTreeMap<Key, Vec<Measured>>> = BTreeMap::new();
    for value in values {
        let key = (value.stage.clone(), value.figure.clone(), value.unit);
        models.entry(value.model.clone()).or_default().entry(key).or_default().push(value);
    }
    let figures = |figures: BTreeMap<Key, Vec<Measured>>| {
        figures.into_iter().filter_map(|(key, values)| figure(key, values, profile)).collect()
    };
    let models = models.into_iter().map(|(model, all)| ModelView { model, figures: figures(all) });
    ModelsView { models: models.collect() }
}

fn figure(
    (stage, figure, unit): Key,
    mut values: Vec<Measured>,
    profile: &Profile,
) -> Option<ModelFigureView> {
    values.sort_by(|a, b| (a.value, &a.device, &a.host).cmp(&(b.value, &b.device, &b.host)));
    let sorted: Vec<u64> = values.iter().map(|value| value.value).collect();
    let rule = profile.rules.iter().filter(|rule| rule.figure == figure && rule.unit == unit);
    let bound = rule
        .filter_map(|rule| match rule.bound {
            Bound::OfMedian { permille, peers_min } => Some((permille, peers_min)),
            Bound::AtMost(_) | Bound::AtLeast(_) | Bound::Covers(_) => None,
        })
        .max();
    let outlier = |place: usize, value: u64| {
        let Some((permille, peers_min)) = bound else { return false };
        let mut others = sorted.clone();
        others.remove(place);
        of_median(value, others, permille, peers_min) == Some(false)
    };
    let views = values.into_iter().enumerate().map(|(place, value)| ModelValueView {
        outlier: outlier(place, value.value),
        device: value.device,
        host: value.host,
        serial: value.serial,
        value: value.value,
        at_ms: value.at.map(|at| at.0),
    });
    Some(ModelFigureView {
        stage,
        unit: unit_name(unit).into(),
        n: u32::try_from(sorted.len()).unwrap_or(u32::MAX),
        min: *sorted.first()?,
        median: median(&sorted)?,
        max: *sorted.last()?,
        bound_permille: bound.and_then(|(permille, _)| u16::try_from(permille).ok()),
        values: views.collect(),
        figure,
    })
}
