//! Makes a plan: from what baselines and blueprints found, what the controller shows now, and the site's images.
//!
//! A plan holds what would be sent and nothing else; what cannot be mended by it is told with the reason.

use std::{collections::BTreeMap, sync::Arc};

use appliance_bmc::{Bios, BiosRule, Bmc, UpdateOffers};
use appliance_enrol::{
    Change, FirmwareChange, ImageWay, RemedyPlan, RemedyStep, Restart, Setting, SettingValue, barred,
};
use appliance_model::inventory::Inventory;
use appliance_store::{HostRow, Kind, StoreError};
use firmware_checks_baseline::{
    Catalogue, Machine, Reset, Step, Wanted, remedy,
    report::{Component, Fix},
};
use serde_json::Value;

use crate::{app::App, chain_of, config, power};

/// A plan, and what it leaves.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) plan: RemedyPlan,
    pub(crate) left: Vec<Left>,
    pub(crate) barred: Option<String>,
}

/// What is wrong and is not mended.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) what: String,
    pub(crate) why: String,
}

/// Why no plan could be made.
#[derive(Debug)]
pub(crate) enum NoPlan {
    Store(StoreError),
    Because(String),
}

impl From<StoreError> for NoPlan {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

const NOTHING_READ: &str =
    "nothing is known of this machine yet: neither its agent nor its BMC was read; try again when one was";
const NO_REDFISH: &str =
    "its BMC is not known, or speaks no Redfish: firmware and settings are changed by Redfish only";
const BY_HAND: &str = "this takes hands, or a decision that no plan makes; mend it as the finding says";
const NO_IMAGES: &str = "the site has no firmware images (section `firmware` of the site file)";

/// Makes the plan for a host.
pub(crate) async fn make(app: &Arc<App>, host: &HostRow, downgrade: bool) -> Result<Made, NoPlan> {
    let because = |why: &str| NoPlan::Because(why.to_owned());
    let bmc = power::redfish(app, host).ok_or_else(|| because(NO_REDFISH))?;
    let id = host.id.clone();
    let (agents, bmcs) = app
        .db(move |store| {
            Ok((store.document(&id, Kind::Inventory)?, store.document(&id, Kind::BmcInventory)?))
        })
        .await?;
    let read = |bytes: Option<Vec<u8>>| -> Option<Inventory> { serde_json::from_slice(&bytes?).ok() };
    let (agents, bmcs) = (read(agents), read(bmcs));
    if agents.is_none() && bmcs.is_none() {
        return Err(because(NOTHING_READ));
    }
    let machine = Machine::of(agents.as_ref(), bmcs.as_ref());
    let steps = remedy(&app.config.checks.reports(&machine));
    let seen = Seen::look(&bmc, &steps).await;
    power::leave(app, host, &bmc).await;
    let seen = seen.map_err(|error| NoPlan::Because(chain_of(&error)))?;
    let catalogue = app.config.firmware.as_ref().map(config::Firmware::catalogue).transpose();
    let mut making = Making {
        app,
        machine: &machine,
        seen: &seen,
        catalogue: catalogue.map_err(NoPlan::Because)?,
        downgrade,
        steps: Vec::new(),
        left: Vec::new(),
    };
    for step in &steps {
        making.take(step);
    }
    let plan = RemedyPlan { serial: host.facts.serial.clone(), steps: making.steps };
    Ok(Made { plan, left: making.left, barred: barred(&host.stage) })
}

/// What the controller shows of what the steps are about.
#[derive(Debug)]
struct Seen {
    bios: Option<(Bios, BTreeMap<String, BiosRule>)>,
    updates: Option<UpdateOffers>,
}

impl Seen {
    async fn look(bmc: &Bmc, steps: &[Step]) -> Result<Self, appliance_bmc::BmcError> {
        let fixes = || steps.iter().flat_map(|step| &step.fixes);
        let settings = fixes().any(|fix| matches!(fix, Fix::Setting { .. }));
        let firmware = fixes().any(|fix| matches!(fix, Fix::Firmware { .. }));
        Ok(Self {
            bios: if settings { Some((bmc.bios().await?, bmc.bios_rules().await?)) } else { None },
            updates: if firmware { Some(bmc.update_offers().await?) } else { None },
        })
    }
}

struct Making<'a> {
    app: &'a App,
    machine: &'a Machine,
    seen: &'a Seen,
    catalogue: Option<Catalogue>,
    downgrade: bool,
    steps: Vec<RemedyStep>,
    left: Vec<Left>,
}

impl Making<'_> {
    fn take(&mut self, step: &Step) {
        let mut settings = BTreeMap::new();
        for fix in &step.fixes {
            let result = match fix {
                Fix::Setting { attribute, value, or } => {
                    self.setting(attribute, [value].into_iter().chain(or)).map(|setting| {
                        settings.extend(setting.map(|setting| (attribute.clone(), setting)));
                    })
                }
                Fix::Firmware { component, name, to } => {
                    self.firmware(step, (*component, name), to.is_none())
                }
                Fix::SecureBoot | Fix::Tpm | Fix::Part => Err(BY_HAND.to_owned()),
            };
            if let Err(why) = result {
                let what = match fix {
                    Fix::Setting { attribute, .. } => format!("BIOS setting {attribute}"),
                    Fix::Firmware { .. } | Fix::SecureBoot | Fix::Tpm | Fix::Part => step.what.clone(),
                };
                self.left.push(Left { what, why });
            }
        }
        if !settings.is_empty() {
            let change = Change::Settings { settings };
            self.steps.push(RemedyStep {
                what: step.what.clone(),
                because: step.because.clone(),
                change,
                restart: restart(step.reset),
            });
        }
    }

    /// A setting, from and to; `None` where it is right already.
    fn setting<'w>(
        &self,
        attribute: &str,
        wanted: impl Iterator<Item = &'w String>,
    ) -> Result<Option<Setting>, String> {
        let Some((bios, rules)) = &self.seen.bios else {
            return Err("its BMC shows no BIOS settings".into());
        };
        let now = bios.attributes.get(attribute).ok_or("its BMC no longer shows this setting")?;
        let from = value_of(now).ok_or_else(|| format!("its value {now} is none that can be set"))?;
        let rule = rules.get(attribute).cloned().unwrap_or_default();
        let mut why = String::new();
        for text in wanted {
            match fitting(&rule, now, text) {
                Ok(to) if to == from => return Ok(None),
                Ok(to) => return Ok(Some(Setting { from, to })),
                Err(no) => why = no,
            }
        }
        Err(why)
    }

    fn firmware(
        &mut self,
        step: &Step,
        (component, name): (Component, &str),
        any: bool,
    ) -> Result<(), String> {
        let (Some(catalogue), Some(firmware)) = (&self.catalogue, &self.app.config.firmware) else {
            return Err(NO_IMAGES.into());
        };
        let offers = self.seen.updates.as_ref().ok_or("its BMC has no update service")?;
        let told = self.machine.firmware.iter().find(|one| one.component == component && one.name == name);
        let found = told.and_then(|told| told.version.as_deref()).unwrap_or_default();
        let checks = &self.app.config.checks;
        let remains = |machine: &Machine| {
            let same = |fix: &Fix| matches!(fix, Fix::Firmware { component: of, name: one, to: Some(_) } if *of == component && one == name);
            // Nobody can tell beforehand which microcode a BIOS brings: a newer BIOS is what can be tried.
            !any && checks.reports(machine).iter().flat_map(|one| &one.findings).any(|one| same(&one.fix))
        };
        let choice = catalogue.choose(self.machine, Wanted { component, name, found }, &remains)?;
        let image = choice.image;
        if choice.downgrade && !self.downgrade {
            return Err(format!(
                "only {} would mend it, which is older than {found}, or nobody can tell; ask again with --downgrade if \
                 that is wanted",
                image.version
            ));
        }
        let aimed = |one: &&appliance_bmc::Updateable| image.aims_at(name, &one.id, one.name.as_deref());
        let target = offers.components.iter().filter(aimed).find(|one| one.updateable != Some(false));
        let target = target.ok_or_else(|| {
            format!("its BMC lists no component that {} may be given to; name it in `targets`", image.file)
        })?;
        let from = target.version.clone().unwrap_or_default();
        if image.scheme.same(&from, &image.version) {
            return Ok(());
        }
        if !firmware.dir.join(&image.file).is_file() {
            return Err(format!("the catalogue names {}, which is not in its directory", image.file));
        }
        let way = match (&firmware.serve, offers.fetch, offers.push) {
            (Some(_), true, _) => ImageWay::Fetch,
            (_, _, true) => ImageWay::Push,
            (None, true, false) => {
                return Err(
                    "its BMC only fetches images; set `listen` in the site file's section `firmware`".into(),
                );
            }
            (_, false, false) => return Err("its BMC takes no images".into()),
        };
        let change = FirmwareChange {
            component: component.word().to_owned(),
            target: target.url.clone(),
            from,
            to: image.version.clone(),
            downgrade: choice.downgrade,
            file: image.file.clone(),
            sha256: image.sha256,
            way,
            catalogue: catalogue.digest,
        };
        self.add(step, change);
        Ok(())
    }

    /// Two findings may be about one component under two names.
    fn add(&mut self, step: &Step, change: FirmwareChange) {
        let known = self
            .steps
            .iter()
            .any(|one| matches!(&one.change, Change::Firmware(other) if other.target == change.target));
        if !known {
            self.steps.push(RemedyStep {
                what: format!("{} from {} to {}", step.what, change.from, change.to),
                because: step.because.clone(),
                change: Change::Firmware(change),
                restart: restart(step.reset),
            });
        }
    }
}

/// What a step's reset means for the machine's power.
fn restart(reset: Reset) -> Restart {
    match reset {
        Reset::Host => Restart::Host,
        Reset::PowerCycle => Restart::PowerCycle,
        // The controller restarts itself; what takes hands has no step.
        Reset::Bmc | Reset::Hands => Restart::No,
    }
}

/// A setting's value as the controller shows it.
pub(super) fn value_of(value: &Value) -> Option<SettingValue> {
    match value {
        Value::String(text) => Some(SettingValue::Text(text.clone())),
        Value::Bool(flag) => Some(SettingValue::Flag(*flag)),
        Value::Number(number) => number.as_i64().map(SettingValue::Number),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// As it is sent.
pub(super) fn sent(value: &SettingValue) -> Value {
    match value {
        SettingValue::Flag(flag) => Value::from(*flag),
        SettingValue::Number(number) => Value::from(*number),
        SettingValue::Text(text) => Value::from(text.as_str()),
    }
}

/// A wanted text as a value of the kind that is set, if the machine knows it.
fn fitting(rule: &BiosRule, now: &Value, text: &str) -> Result<SettingValue, String> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let value = match now {
        // Makers pad and capitalise values as they like.
        Value::String(_) => {
            let own = rule.values.iter().find(|own| plain(own) == plain(text));
            SettingValue::Text(own.cloned().unwrap_or_else(|| text.to_owned()))
        }
        Value::Number(_) => {
            let number =
                text.trim().parse().map_err(|_| format!("`{text}` is no number, which this setting is"))?;
            SettingValue::Number(number)
        }
        Value::Bool(_) => match plain(text).as_str() {
            "true" | "enabled" | "enable" | "on" | "1" => SettingValue::Flag(true),
            "false" | "disabled" | "disable" | "off" | "0" => SettingValue::Flag(false),
            _ => return Err(format!("`{text}` is neither on nor off, which this setting is")),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(format!("{now} is none that can be set"));
        }
    };
    match rule.refuses(&sent(&value)) {
        Some(why) => Err(why),
        None => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wanted_texts_become_values_that_the_machine_knows() {
        let values = |values: &[&str]| BiosRule {
            values: values.iter().map(|one| (*one).to_owned()).collect(),
            ..BiosRule::default()
        };
        let text = |text: &str| SettingValue::Text(text.into());
        let bounded = BiosRule { min: Some(1), max: Some(4), ..BiosRule::default() };
        let fixed = BiosRule { read_only: true, ..BiosRule::default() };
        let rows = [
            (values(&["Enabled", "Disabled"]), json!("Disabled"), "enabled", Ok(text("Enabled"))),
            (values(&["Last State"]), json!("Stay Off"), "LastState", Ok(text("Last State"))),
            (values(&["On", "Off"]), json!("Off"), "Enabled", Err("is none of On, Off")),
            (BiosRule::default(), json!("x"), "y", Ok(text("y"))),
            (bounded.clone(), json!(1), "4", Ok(SettingValue::Number(4))),
            (bounded.clone(), json!(1), "5", Err("not within 1 to 4")),
            (bounded, json!(1), "many", Err("no number")),
            (BiosRule::default(), json!(false), "Enabled", Ok(SettingValue::Flag(true))),
            (BiosRule::default(), json!(false), "Auto", Err("neither on nor off")),
            (fixed, json!("x"), "y", Err("cannot be set")),
            (BiosRule::default(), json!(null), "y", Err("none that can be set")),
        ];
        for (rule, now, wanted, expected) in rows {
            match (fitting(&rule, &now, wanted), expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected),
                (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
                (got, _) => panic!("{now} {wanted}: {got:?}"),
            }
        }
    }
}
