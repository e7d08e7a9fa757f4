//! A machine against a baseline.

use appliance_model::inventory::Cpu;

use crate::{
    Baseline, Machine, Report,
    baseline::{FirmwareRule, MicrocodeRule, SecureBootRule, SettingRule, TpmRule},
    machine::Version,
    report::{Component, Finding, Fix, Notes, Severity},
    version::Scheme,
};

/// Compares `machine` with `baseline`.
#[must_use]
pub fn check_baseline(machine: &Machine, baseline: &Baseline) -> Report {
    let mut notes = Notes::default();
    for rule in &baseline.firmware {
        firmware(machine, rule, &mut notes);
    }
    for rule in &baseline.settings {
        setting(machine, rule, &mut notes);
    }
    if let Some(rule) = &baseline.secure_boot {
        secure_boot(machine, rule, &mut notes);
    }
    if let Some(rule) = &baseline.tpm {
        tpm(machine, rule, &mut notes);
    }
    if !baseline.microcode.is_empty() {
        microcode(machine, &baseline.microcode, &mut notes);
    }
    notes.report("baseline", &baseline.document)
}

fn firmware(machine: &Machine, rule: &FirmwareRule, notes: &mut Notes) {
    let kind = rule.component.word();
    let of_kind = || machine.firmware.iter().filter(|version| version.component == rule.component);
    let mut seen: Vec<&Version> = Vec::new();
    for version in of_kind().filter(|version| rule.is_for(version.component, &version.name)) {
        // Both witnesses may tell one version; it is one fact.
        let again = seen.iter().any(|other| {
            other.name == version.name
                && match (&other.version, &version.version) {
                    (Some(one), Some(two)) => rule.scheme.same(one, two),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
        });
        if !again {
            seen.push(version);
            one_version(version, rule, notes);
        }
    }
    // Whoever has no drive of that model needs no firmware for it; but every machine has a BIOS and a BMC, and a rule
    // for just that must not pass because only others were listed.
    let everywhere = matches!(rule.component, Component::Bios | Component::Bmc)
        && rule.names.iter().any(|pattern| pattern.fits(kind));
    if seen.is_empty() && (everywhere || of_kind().next().is_none()) {
        let names: Vec<_> =
            rule.names.iter().map(|pattern| pattern.0.as_str()).filter(|n| *n != "*").collect();
        let which = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let what = format!("{kind} firmware{which}{}", rule.wanted());
        notes.unchecked(rule.severity, what, format!("nobody told the {kind} firmware"));
    }
}

fn one_version(told: &Version, rule: &FirmwareRule, notes: &mut Notes) {
    let part = if told.name.eq_ignore_ascii_case(rule.component.word()) {
        rule.component.word().to_owned()
    } else {
        format!("{} {}", rule.component.word(), told.name)
    };
    let Some(version) = &told.version else {
        let what = format!("{part} firmware{}", rule.wanted());
        return notes.unchecked(
            rule.severity,
            what,
            format!("the part is there, {} did not tell its version", told.by.word()),
        );
    };
    let reasons =
        if rule.because.is_empty() { String::new() } else { format!(" ({})", rule.because.join(", ")) };
    let mut bad = |expected: String, text: String, to: Option<String>| {
        notes.find(Finding {
            severity: rule.severity,
            part: part.clone(),
            found: Some(version.clone()),
            expected: Some(expected),
            text,
            because: rule.because.clone(),
            fix: Fix::Firmware { component: rule.component, name: told.name.clone(), to },
        });
    };
    let is = |list: &[String]| list.iter().any(|other| rule.scheme.same(version, other));
    let to = rule.floor.clone().or_else(|| rule.allow.last().cloned());
    if is(&rule.deny) {
        return bad(format!("not {version}"), format!("{part} {version} is on the deny list{reasons}"), to);
    }
    if !rule.allow.is_empty() && !is(&rule.allow) {
        let list = rule.allow.join(", ");
        let text = format!("{part} {version} is not among those allowed, {list}{reasons}");
        return bad(format!("one of {list}"), text, to);
    }
    if let Some(floor) = &rule.floor {
        match rule.scheme.compare(version, floor) {
            Some(std::cmp::Ordering::Less) => {
                let text = format!("{part} {version} is below the floor {floor}{reasons}");
                return bad(format!("{floor} or newer"), text, to);
            }
            Some(_) => {}
            None => {
                let why =
                    format!("`{version}`, as {} writes it, cannot be compared with {floor}", told.by.word());
                return notes.unchecked(rule.severity, format!("{part} firmware floor {floor}"), why);
            }
        }
    }
    notes.matched(format!("{part} {version}"));
}

/// Firmware pads and capitalises values as it likes.
fn alike(one: &str, other: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    plain(one) == plain(other)
}

fn setting(machine: &Machine, rule: &SettingRule, notes: &mut Notes) {
    let what = format!("BIOS setting {}", rule.name);
    let Some(settings) = &machine.settings else {
        return notes.unchecked(rule.severity, what, "nobody told the BIOS settings");
    };
    // One setting may be there for several ports or slots: all must be right.
    let named = rule.attributes.iter().find_map(|one| {
        let found: Vec<_> = settings.iter().filter(|(name, _)| one.attribute.fits(name)).collect();
        (!found.is_empty()).then_some((one, found))
    });
    let Some((wanted, found)) = named else {
        let names: Vec<_> = rule.attributes.iter().map(|one| one.attribute.0.as_str()).collect();
        let why = format!("this BIOS has none of the attributes {}", names.join(", "));
        return notes.unchecked(rule.severity, what, why);
    };
    for (attribute, value) in found {
        if wanted.values.iter().any(|good| alike(good, value)) {
            notes.matched(format!("{what}: {value}"));
            continue;
        }
        let good = wanted.values.first().cloned().unwrap_or_default();
        let reasons =
            if rule.because.is_empty() { String::new() } else { format!(" ({})", rule.because.join(", ")) };
        notes.find(Finding {
            severity: rule.severity,
            part: what.clone(),
            found: Some(value.clone()),
            expected: Some(good.clone()),
            text: format!("{what} ({attribute}) is {value}, the baseline wants {good}{reasons}"),
            because: rule.because.clone(),
            fix: Fix::Setting {
                attribute: attribute.clone(),
                value: good,
                or: wanted.values.iter().skip(1).cloned().collect(),
            },
        });
    }
}

fn secure_boot(machine: &Machine, rule: &SecureBootRule, notes: &mut Notes) {
    let find = |part: &str, found: String, expected: &str, notes: &mut Notes| {
        notes.find(Finding {
            severity: rule.severity,
            part: part.to_owned(),
            text: format!("{part} is {found}, the baseline wants {expected}"),
            found: Some(found),
            expected: Some(expected.to_owned()),
            because: rule.because.clone(),
            fix: Fix::SecureBoot,
        });
    };
    if rule.required {
        match machine.secure_boot {
            Some(true) => notes.matched("Secure Boot on"),
            Some(false) => find("Secure Boot", "off".into(), "on", notes),
            None => notes.unchecked(rule.severity, "Secure Boot", "nobody told whether it is on"),
        }
    }
    if rule.db_certificates.is_empty() && rule.dbx_digests_min == 0 {
        return;
    }
    let Some(keys) = &machine.keys else {
        return notes.unchecked(rule.severity, "Secure Boot keys", "nobody told which keys are enrolled");
    };
    let database = |name: &str| keys.iter().find(|database| database.name == name);
    for certificate in &rule.db_certificates {
        let short: String = certificate.chars().take(16).collect();
        let there = database("db")
            .is_some_and(|db| db.certificates.iter().any(|one| one.eq_ignore_ascii_case(certificate)));
        if there {
            notes.matched(format!("Secure Boot certificate {short}…"));
        } else {
            find(&format!("Secure Boot certificate {short}…"), "not in db".into(), "in db", notes);
        }
    }
    if rule.dbx_digests_min > 0 {
        let held = database("dbx").map_or(0, |dbx| dbx.digests);
        if held < rule.dbx_digests_min {
            let expected = format!("{} digests or more", rule.dbx_digests_min);
            find(
                "Secure Boot's list of forbidden programs (dbx)",
                format!("{held} digests"),
                &expected,
                notes,
            );
        } else {
            notes.matched(format!("dbx holds {held} digests"));
        }
    }
}

fn tpm(machine: &Machine, rule: &TpmRule, notes: &mut Notes) {
    tpm_part(machine, &rule.banks, rule.severity, &rule.because, "the baseline", notes);
}

/// Shared with blueprints, which may want a TPM too.
pub(crate) fn tpm_part(
    machine: &Machine,
    banks: &[String],
    severity: Severity,
    because: &[String],
    who: &str,
    notes: &mut Notes,
) {
    let find = |found: String, expected: String, notes: &mut Notes| {
        notes.find(Finding {
            severity,
            part: "TPM".into(),
            text: format!("TPM: {found}, {who} wants {expected}"),
            found: Some(found),
            expected: Some(expected),
            because: because.to_vec(),
            fix: Fix::Tpm,
        });
    };
    let tpm = match &machine.tpm {
        None => return notes.unchecked(severity, "TPM 2.0", "nobody looked for a TPM"),
        Some(None) => return find("none that works".into(), "a TPM 2.0, enabled".into(), notes),
        Some(Some(tpm)) => tpm,
    };
    if let Some(version) = tpm.version.as_deref().filter(|version| !version.starts_with('2')) {
        return find(format!("version {version}"), "version 2.0".into(), notes);
    }
    if !banks.is_empty() && tpm.banks.is_empty() {
        return notes.unchecked(
            severity,
            format!("TPM banks {}", banks.join(", ")),
            "nobody told the active banks",
        );
    }
    for bank in banks {
        if tpm.banks.iter().any(|active| active.eq_ignore_ascii_case(bank)) {
            notes.matched(format!("TPM bank {bank} active"));
        } else {
            find(format!("banks {}", tpm.banks.join(", ")), format!("bank {bank} active"), notes);
        }
    }
    if banks.is_empty() {
        notes.matched("TPM 2.0");
    }
}

fn microcode(machine: &Machine, rules: &[MicrocodeRule], notes: &mut Notes) {
    let Some(cpus) = &machine.cpus else {
        return notes.unchecked(Severity::Warning, "microcode floors", "nobody told the processors");
    };
    for cpu in cpus {
        let part = format!("CPU {} microcode", cpu.socket);
        let Some(revision) = &cpu.microcode else {
            notes.unchecked(Severity::Warning, part, "nobody told the revision");
            continue;
        };
        match rules.iter().find(|rule| rule.is_for(cpu, revision)) {
            Some(rule) => one_microcode(part, revision, rule, notes),
            None if [cpu.family, cpu.model_number, cpu.stepping].contains(&None) => {
                notes.unchecked(
                    Severity::Warning,
                    part,
                    "nobody told the processor's family, model and stepping",
                );
            }
            None => {
                let model = cpu.model.as_deref().unwrap_or("this processor");
                notes.unchecked(Severity::Info, part, format!("the baseline knows no floor for {model}"));
            }
        }
    }
}

fn one_microcode(part: String, revision: &str, rule: &MicrocodeRule, notes: &mut Notes) {
    let reasons =
        if rule.because.is_empty() { String::new() } else { format!(" ({})", rule.because.join(", ")) };
    match Scheme::Hex.compare(revision, &rule.floor) {
        Some(std::cmp::Ordering::Less) => notes.find(Finding {
            severity: rule.severity,
            text: format!("{part} {revision} is below {}'s floor {}{reasons}", rule.name, rule.floor),
            found: Some(revision.to_owned()),
            expected: Some(format!("{} or newer", rule.floor)),
            because: rule.because.clone(),
            // Microcode that counts comes with the BIOS: what the kernel loads is gone after the next reset.
            fix: Fix::Firmware { component: Component::Bios, name: "BIOS".into(), to: None },
            part,
        }),
        Some(_) => notes.matched(format!("{part} {revision}")),
        None => notes.unchecked(rule.severity, part, format!("`{revision}` is no hexadecimal revision")),
    }
}

impl MicrocodeRule {
    fn is_for(&self, cpu: &Cpu, revision: &str) -> bool {
        match (cpu.family, cpu.model_number, cpu.stepping) {
            (Some(family), Some(model), Some(stepping)) => {
                family == self.family && model == self.model && self.steppings.contains(&stepping)
            }
            // AMD's revisions since Zen begin with the processor they are for, in their first three bytes (Linux,
            // arch/x86/kernel/cpu/microcode/amd.c, `zen_patch_rev`).
            (None, _, _) | (_, None, _) | (_, _, None) => {
                let upper = |text: &str| {
                    let digits = text.trim().to_ascii_lowercase();
                    u64::from_str_radix(digits.strip_prefix("0x").unwrap_or(&digits), 16).ok().map(|n| n >> 8)
                };
                self.family >= 0x17
                    && cpu.model.as_deref().is_some_and(|model| model.contains("AMD"))
                    && upper(revision) == upper(&self.floor)
            }
        }
    }
}
