//! Whom a quirk concerns: told from what a controller shows of itself, never from its address.

use serde_json::Value;

use crate::field;

/// What a controller and its machine say they are.  Texts in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Who {
    /// Service root `Vendor` and keys of its `Oem`, manufacturer of the system.
    pub(crate) makers: Vec<String>,
    /// Service root `Product`, models of system and chassis.
    pub(crate) models: Vec<String>,
    /// `RedfishVersion`.
    pub(crate) redfish: Vec<u64>,
    /// Model of the manager.
    pub(crate) manager: Option<String>,
    /// Firmware version of the manager.
    pub(crate) firmware: Vec<u64>,
}

impl Who {
    /// Reads it from the service root, the machine, its manager and its chassis.
    pub(crate) fn of(root: &Value, system: &Value, manager: &Value, chassis: &Value) -> Self {
        let lower =
            |value: &Value, name: &str| field::text(value, &[name]).map(|text| text.to_ascii_lowercase());
        let oem = field::at(root, &["Oem"]).and_then(Value::as_object);
        let oem = oem.into_iter().flat_map(|oem| oem.keys()).map(|key| key.to_ascii_lowercase()).take(8);
        let named = [lower(root, "Vendor"), lower(system, "Manufacturer"), lower(chassis, "Manufacturer")];
        let models = [lower(root, "Product"), lower(system, "Model"), lower(chassis, "Model")];
        let version = |value: &Value, name: &str| {
            field::text(value, &[name]).map(|text| version(&text)).unwrap_or_default()
        };
        Self {
            makers: named.into_iter().flatten().chain(oem).collect(),
            models: models.into_iter().flatten().collect(),
            redfish: version(root, "RedfishVersion"),
            manager: lower(manager, "Model"),
            firmware: version(manager, "FirmwareVersion"),
        }
    }
}

/// The first dotted number in a text: `iLO 5 v2.72` is 2.72, `TGBT42S 2.83 2023-07-05` is 2.83.
pub(crate) fn version(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| c.is_whitespace() || c == '-' || c == '_');
    let numbers = |word: &str| -> Option<Vec<u64>> {
        let word = word.trim_start_matches(['v', 'V']);
        let parts: Option<Vec<u64>> = word.split('.').map(|part| part.parse().ok()).collect();
        parts.filter(|parts| parts.len() > 1)
    };
    words.filter_map(numbers).next().unwrap_or_default()
}

/// A condition on [`Who`]: all that is given must hold; an empty list is no condition.
#[derive(Debug)]
pub(crate) struct When {
    /// One of these is part of a maker's name.
    pub(crate) makers: &'static [&'static str],
    /// One of these is part of a model's name.
    pub(crate) models: &'static [&'static str],
    /// None of these is.
    pub(crate) not_models: &'static [&'static str],
    /// One of these is part of the manager's model.
    pub(crate) managers: &'static [&'static str],
    /// From this Redfish version on.
    pub(crate) redfish_from: &'static [u64],
    /// From this firmware on.
    pub(crate) firmware_from: &'static [u64],
    /// Before this firmware.
    pub(crate) firmware_below: &'static [u64],
}

/// Everybody.
pub(crate) const ANYONE: When = When {
    makers: &[],
    models: &[],
    not_models: &[],
    managers: &[],
    redfish_from: &[],
    firmware_from: &[],
    firmware_below: &[],
};

impl When {
    /// Whether it holds for everybody.
    pub(crate) fn is_anyone(&self) -> bool {
        let lists = [self.makers, self.models, self.not_models, self.managers];
        let versions = [self.redfish_from, self.firmware_from, self.firmware_below];
        lists.iter().all(|list| list.is_empty()) && versions.iter().all(|list| list.is_empty())
    }

    pub(crate) fn holds(&self, who: &Who) -> bool {
        let among = |wanted: &[&str], told: &[String]| {
            wanted.is_empty() || wanted.iter().any(|part| told.iter().any(|text| text.contains(part)))
        };
        // By words: `ami` is no part of a longer name.
        let word = |wanted: &str, told: &String| {
            told.split(|c: char| !c.is_alphanumeric()).any(|word| word == wanted)
        };
        let makers = self.makers.is_empty()
            || self.makers.iter().any(|wanted| who.makers.iter().any(|told| word(wanted, told)));
        let manager = who.manager.as_slice();
        // A version that is not told fits no range.
        let from = |told: &[u64], from: &[u64]| from.is_empty() || (!told.is_empty() && told >= from);
        let below = self.firmware_below;
        makers
            && among(self.models, &who.models)
            && (self.not_models.is_empty() || !among(self.not_models, &who.models))
            && among(self.managers, manager)
            && from(&who.redfish, self.redfish_from)
            && from(&who.firmware, self.firmware_from)
            && (below.is_empty() || (!who.firmware.is_empty() && who.firmware.as_slice() < below))
    }
}
