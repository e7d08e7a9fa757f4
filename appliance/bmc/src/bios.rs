//! BIOS settings: what is in force, what waits for the next start, what a setting may be, and changing some (DSP2046:
//! Bios, AttributeRegistry; DSP0266, 9.10, settings objects).
//!
//! Names and values differ by maker, model and firmware, so nothing is sent that the machine does not show and its
//! registry does not allow: all is refused together, setting by setting, in words.  A change acts at the next start;
//! [`Bmc::bios_differs`] reads it back after that.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    change::{Allowed, Changed, What, at_next_start, gate},
    client::{Bmc, ROOT},
    error::BmcError,
    field,
    inventory::Machine,
    link::local,
    quirks::Switch,
    task::Outcome,
    walk::Walk,
};

/// Settings taken over: the largest real set has 1,400.
const SETTINGS_MAX: usize = 3000;
/// Values of one setting taken over.
const VALUES_MAX: usize = 256;
/// Registries looked through: the most on a real controller are 60.
const REGISTRIES_MAX: usize = 100;
/// Longest text of a setting.
const TEXT_BYTES_MAX: usize = 2048;

/// BIOS settings as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bios {
    /// The resource.
    pub url: String,
    /// In force: texts, numbers, flags.
    pub attributes: BTreeMap<String, Value>,
    /// Waiting for the next start, where the controller shows it.
    pub pending: BTreeMap<String, Value>,
    /// Where changes go.
    pub settings: String,
    /// The registry that says what each may be.
    pub registry: Option<String>,
    /// When it can apply changes (`OnReset`), where it tells.
    pub apply_times: Vec<String>,
}

/// What one setting may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BiosRule {
    /// `Enumeration`, `Integer`, `String`, `Boolean`, `Password`.
    pub kind: Option<String>,
    /// Its name for people.
    pub display: Option<String>,
    /// The values of an enumeration.
    pub values: Vec<String>,
    /// The least number.
    pub min: Option<i64>,
    /// The greatest number.
    pub max: Option<i64>,
    /// Whether it cannot be set.
    pub read_only: bool,
}

/// What became of a change of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BiosChange {
    /// What was sent: those that were not so already.
    pub sent: BTreeMap<String, Value>,
    /// Whether the controller shows them as waiting (or in force).
    pub shown: bool,
    /// The task or job behind it; [`Bmc::follow_task`] goes on with it after the next start, or after a crash.
    pub task: Option<String>,
    /// How the task stood when last seen.
    pub outcome: Outcome,
}

/// A setting that is not as it was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BiosDifference {
    /// Its name.
    pub name: String,
    /// The value that was wanted.
    pub wanted: Value,
    /// The value in force; `None`: there is no such setting.
    pub found: Option<Value>,
}

impl BiosRule {
    /// Why a value cannot be, in words.
    #[must_use]
    pub fn refuses(&self, value: &Value) -> Option<String> {
        if self.read_only {
            return Some("it cannot be set".into());
        }
        if !self.values.is_empty() {
            let fits = value.as_str().is_some_and(|text| self.values.iter().any(|one| one == text));
            return (!fits).then(|| format!("{value} is none of {}", self.values.join(", ")));
        }
        let number = value.as_i64();
        let small = self.min.zip(number).is_some_and(|(min, number)| number < min);
        let great = self.max.zip(number).is_some_and(|(max, number)| number > max);
        let words = |bound: Option<i64>| bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string());
        (small || great).then(|| format!("{value} is not within {} to {}", words(self.min), words(self.max)))
    }
}

impl Bmc {
    /// BIOS settings in force, and those that wait.
    ///
    /// # Errors
    /// When the controller shows none, or wants a licence for them.
    pub async fn bios(&self) -> Result<Bios, BmcError> {
        let machine = self.machine().await?;
        self.bios_of(&machine).await
    }

    /// What the settings may be; empty where the controller serves no registry.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub async fn bios_rules(&self) -> Result<BTreeMap<String, BiosRule>, BmcError> {
        let bios = self.bios().await?;
        Ok(self.rules(&bios).await)
    }

    /// Sets some settings for the next start.  Those that are so already are not sent.
    ///
    /// # Errors
    /// When it is not allowed for this machine, a setting or value is not known to it (all are named, none is sent), or the
    /// controller refuses.
    pub async fn set_bios(
        &self,
        allowed: &Allowed,
        wanted: &BTreeMap<String, Value>,
    ) -> Result<BiosChange, BmcError> {
        let machine = self.machine().await?;
        self.permit(&machine, allowed, What::BiosSettings)?;
        let bios = self.bios_of(&machine).await?;
        let rules = self.rules(&bios).await;
        let refused = refusals(&bios.attributes, &rules, wanted);
        if !refused.is_empty() {
            return Err(BmcError::Unfit { url: self.inner.url(&bios.url), why: refused.join("; ") });
        }
        let waits = |name: &String| bios.pending.get(name).or_else(|| bios.attributes.get(name));
        let sent: BTreeMap<String, Value> = wanted
            .iter()
            .filter(|(name, value)| waits(name) != Some(value))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if sent.is_empty() {
            return Ok(BiosChange { sent, shown: true, task: None, outcome: Outcome::Untracked });
        }
        let mut body = Map::from_iter([("Attributes".to_owned(), json!(sent))]);
        let told = bios.apply_times.iter().any(|time| time == "OnReset");
        if bios.settings != bios.url && (told || machine.quirks.has(Switch::SettingsNeedApplyTime)) {
            body.insert("@Redfish.SettingsApplyTime".into(), at_next_start());
        }
        let shows = |value: &Value| {
            let now = attributes(value);
            sent.iter().all(|(name, value)| now.get(name) == Some(value))
        };
        let body = Value::Object(body);
        let changed = self.shown_change(&bios.settings, &body, &machine.quirks, shows).await;
        let Changed { shown, later, followed } =
            changed.map_err(|error| gate(error, What::BiosSettings, &machine.quirks))?;
        let shown = shown.is_ok();
        // One resource for both goes on showing what is in force, and some show nothing of what they accepted for later.
        let later = later
            || bios.settings == bios.url
            || !matches!(followed.outcome, Outcome::Untracked | Outcome::Done);
        if !shown && !later {
            let found = attributes(&self.inner.get(&bios.settings).await?.body);
            let missing =
                |(name, value): (&String, &Value)| (found.get(name) != Some(value)).then(|| name.clone());
            let missing: Vec<String> = sent.iter().filter_map(missing).collect();
            return Err(BmcError::NotShown {
                url: self.inner.url(&bios.settings),
                wanted: format!("{} settings", sent.len()),
                found: format!("no such value waiting for {}", missing.join(", ")),
            });
        }
        Ok(BiosChange { sent, shown, task: followed.url, outcome: followed.outcome })
    }

    /// Which of the wanted settings are not in force: to be asked after the next start.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub async fn bios_differs(
        &self,
        wanted: &BTreeMap<String, Value>,
    ) -> Result<Vec<BiosDifference>, BmcError> {
        let bios = self.bios().await?;
        let differs = |(name, value): (&String, &Value)| {
            let found = bios.attributes.get(name).cloned();
            (found.as_ref() != Some(value)).then(|| BiosDifference {
                name: name.clone(),
                wanted: value.clone(),
                found,
            })
        };
        Ok(wanted.iter().filter_map(differs).collect())
    }

    async fn bios_of(&self, machine: &Machine) -> Result<Bios, BmcError> {
        let link = field::link(&machine.system, &["Bios"]).and_then(|link| local(&self.inner.base, link));
        let url = link.ok_or_else(|| BmcError::Lacks {
            url: self.inner.url(&machine.path),
            what: "BIOS settings".into(),
        })?;
        let refused = |error| gate(error, What::BiosSettings, &machine.quirks);
        let bios = self.inner.get(&url).await.map_err(refused)?.body;
        let settings = field::link(&bios, &["@Redfish.Settings", "SettingsObject"]);
        let settings = settings.and_then(|link| local(&self.inner.base, link)).unwrap_or_else(|| url.clone());
        // Some make the settings object only when it is written.
        let waiting = match settings == url {
            true => Value::Null,
            false => self.inner.get(&settings).await.map(|answer| answer.body).unwrap_or_default(),
        };
        let now = attributes(&bios);
        let mut pending = attributes(&waiting);
        // Some settings objects repeat all that is in force.
        pending.retain(|name, value| now.get(name) != Some(value));
        Ok(Bios {
            registry: field::text(&bios, &["AttributeRegistry"]),
            apply_times: field::texts(&bios, &["@Redfish.Settings", "SupportedApplyTimes"]),
            attributes: now,
            pending,
            settings,
            url,
        })
    }

    async fn rules(&self, bios: &Bios) -> BTreeMap<String, BiosRule> {
        let Some(name) = &bios.registry else { return BTreeMap::new() };
        let mut walk = Walk::new(self);
        let Some(root) = walk.resource(ROOT).await else { return BTreeMap::new() };
        // The one whose path names it first; else all, until one tells that it is it.
        let mut files = walk.member_paths(ROOT, &root, &["Registries"]).await;
        files.truncate(REGISTRIES_MAX);
        files.sort_by_key(|path| !path.contains(name.as_str()));
        for path in files {
            let Some(file) = walk.resource(&path).await else { continue };
            let named = ["Registry", "Id"].iter().any(|key| {
                field::text(&file, &[key])
                    .is_some_and(|told| told == *name || name.starts_with(&format!("{told}.")))
            });
            if !named {
                continue;
            }
            let places = field::at(&file, &["Location"]).and_then(Value::as_array).into_iter().flatten();
            let uris: Vec<String> = places
                .filter_map(|place| local(&self.inner.base, field::at(place, &["Uri"])?.as_str()?))
                .take(4)
                .collect();
            for uri in uris {
                let Some(registry) = walk.resource(&uri).await else { continue };
                let rules = rules_of(&registry);
                if !rules.is_empty() {
                    return rules;
                }
            }
        }
        BTreeMap::new()
    }
}

fn attributes(resource: &Value) -> BTreeMap<String, Value> {
    let pairs = field::at(resource, &["Attributes"]).and_then(Value::as_object).into_iter().flatten();
    let plain = |value: &Value| match value {
        Value::String(text) => text.len() <= TEXT_BYTES_MAX,
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    };
    let pairs = pairs.filter(|(name, value)| name.len() <= TEXT_BYTES_MAX && plain(value));
    pairs.take(SETTINGS_MAX).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn rules_of(registry: &Value) -> BTreeMap<String, BiosRule> {
    let entries = field::at(registry, &["RegistryEntries", "Attributes"]).and_then(Value::as_array);
    let rule = |entry: &Value| {
        let values = field::at(entry, &["Value"]).and_then(Value::as_array).into_iter().flatten();
        let bound = |name: &str| field::at(entry, &[name]).and_then(Value::as_i64);
        let kind = field::text(entry, &["Type"]);
        let names = values.filter_map(|value| field::text(value, &["ValueName"])).take(VALUES_MAX);
        let values = if kind.as_deref() == Some("Enumeration") { names.collect() } else { Vec::new() };
        let rule = BiosRule {
            values,
            display: field::text(entry, &["DisplayName"]),
            min: bound("LowerBound"),
            max: bound("UpperBound"),
            read_only: field::flag(entry, &["ReadOnly"]) == Some(true),
            kind,
        };
        Some((field::text(entry, &["AttributeName"])?, rule))
    };
    entries.into_iter().flatten().take(SETTINGS_MAX).filter_map(rule).collect()
}

/// Why some of the wanted settings cannot be, each in words.
fn refusals(
    now: &BTreeMap<String, Value>,
    rules: &BTreeMap<String, BiosRule>,
    wanted: &BTreeMap<String, Value>,
) -> Vec<String> {
    let one = |(name, value): (&String, &Value)| {
        let rule = rules.get(name);
        let why = match now.get(name) {
            None if rule.is_none() => Some("this machine has no such setting".to_owned()),
            Some(old) if std::mem::discriminant(old) != std::mem::discriminant(value) => {
                Some(format!("{value} is of another kind than {old}, which is set"))
            }
            Some(_) | None => rule.and_then(|rule| rule.refuses(value)),
        };
        why.map(|why| format!("{name}: {why}"))
    };
    wanted.iter().filter_map(one).collect()
}
