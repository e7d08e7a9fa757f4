//! Calls the comparisons with what both witnesses told of a host: where they differ, and what baselines and blueprints
//! say.  The rules are in `firmware-checks/baseline`; what stops a host is decided here once: a blocking finding.

use std::{path::Path, sync::Arc};

use appliance_enrol::Refusal;
use appliance_model::{inventory::Inventory, rules::ClassRules};
use appliance_store::{HostRow, Kind, StoreError};
use firmware_checks_baseline::{
    Classes, Document, DocumentError, Library, Machine, Report, Severity, check_baseline, check_blueprint,
    join::{Disagreement, join},
};

use crate::{
    app::{App, now},
    config::wire,
};

/// Which documents hosts are held to.
#[derive(Debug, Clone, Default)]
pub struct Checks {
    library: Library,
    baselines: Option<Vec<String>>,
    blueprints: Option<Vec<String>>,
    unchecked_blocks: bool,
}

/// Why documents cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ChecksError {
    /// A document is refused.
    #[error("a document of the site cannot be used")]
    Document(#[source] DocumentError),
    /// A file cannot be read.
    #[error("{file} cannot be read; mend the file or `checks.documents_dir`")]
    File {
        /// The file or directory.
        file: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// No document has this id.
    #[error(
        "there is no {kind} `{id}`; `scalerforge {kind} list` names those built in, documents_dir holds your own"
    )]
    Unknown {
        /// `baseline` or `blueprint`.
        kind: &'static str,
        /// What was written.
        id: String,
    },
}

impl Checks {
    /// Reads the site's documents beside those built in.  `None` is a site that asks for no checks.
    ///
    /// # Errors
    /// If a document cannot be used, or none has a name that is asked for.
    pub fn read(dir: &Path, wire: Option<wire::Checks>) -> Result<Self, ChecksError> {
        let Some(wire) = wire else {
            let library = Library::built_in().map_err(ChecksError::Document)?;
            let none = Some(Vec::new());
            return Ok(Self { library, baselines: none.clone(), blueprints: none, ..Self::default() });
        };
        let mut library = Library::built_in().map_err(ChecksError::Document)?;
        if let Some(documents) = &wire.documents_dir {
            add_all(&mut library, &dir.join(documents))?;
        }
        if let Some(id) = wire.baseline.iter().flatten().find(|id| library.baseline(id).is_none()) {
            return Err(ChecksError::Unknown { kind: "baseline", id: id.clone() });
        }
        if let Some(id) = wire.blueprint.iter().flatten().find(|id| library.blueprint(id).is_none()) {
            return Err(ChecksError::Unknown { kind: "blueprint", id: id.clone() });
        }
        Ok(Self {
            library,
            baselines: wire.baseline,
            blueprints: wire.blueprint,
            unchecked_blocks: wire.unchecked == wire::Unchecked::Block,
        })
    }

    /// The rules by which hosts get their class: the document `classes`, which a site replaces by its own of that id and
    /// a higher version.
    #[must_use]
    pub fn class_rules(&self) -> Option<ClassRules> {
        let classes = self.library.classes.iter().find(|one| one.document.id == "classes");
        classes.map(Classes::rules)
    }

    /// The machine against every baseline for its model, and against the blueprint that it matches best.
    #[must_use]
    pub fn reports(&self, machine: &Machine) -> Vec<Report> {
        let asked = |list: &Option<Vec<String>>, document: &Document| {
            list.as_ref().is_none_or(|ids| ids.contains(&document.id)) && document.applies.fits(machine)
        };
        let baselines = self.library.baselines.iter().filter(|one| asked(&self.baselines, &one.document));
        let mut reports: Vec<Report> = baselines.map(|one| check_baseline(machine, one)).collect();
        // One model is sold in several builds: the machine is the one that it differs from least.
        let blueprints = self.library.blueprints.iter().filter(|one| asked(&self.blueprints, &one.document));
        let of_build = blueprints.map(|one| check_blueprint(machine, one));
        reports.extend(of_build.min_by_key(|report| (report.blocking().count(), report.findings.len())));
        reports
    }

    /// Why the machine may not go on, if it may not.
    #[must_use]
    pub fn refusal(&self, reports: &[Report], disagreements: &[Disagreement]) -> Option<Refusal> {
        let witnesses: Vec<String> = disagreements
            .iter()
            .filter(|one| one.severity == Severity::Blocking)
            .map(Disagreement::text)
            .collect();
        if !witnesses.is_empty() {
            let text = format!(
                "{}. One of both is about another machine: look which, mend its cabling or the entry of its BMC, then \
                 `host retry`",
                listed(witnesses)
            );
            return Some(Refusal { rule: "two-witnesses".into(), text });
        }
        for report in reports {
            let mut why: Vec<String> = report.blocking().map(|finding| finding.text.clone()).collect();
            if self.unchecked_blocks {
                let dark = report.unchecked.iter().filter(|one| one.severity == Severity::Blocking);
                why.extend(dark.map(|one| format!("{} could not be checked: {}", one.what, one.why)));
            }
            if !why.is_empty() {
                let text = format!(
                    "{} `{}` version {}: {}. Mend what is named, then `host retry`",
                    report.kind,
                    report.id,
                    report.version,
                    listed(why)
                );
                return Some(Refusal { rule: report.kind.clone(), text });
            }
        }
        None
    }
}

/// More reasons than this are not read in a journal; the host's page has them all.
const REASONS_MAX: usize = 10;

fn listed(mut why: Vec<String>) -> String {
    let more = why.len().saturating_sub(REASONS_MAX);
    why.truncate(REASONS_MAX);
    if more > 0 {
        why.push(format!("and {more} more"));
    }
    why.join("; ")
}

/// Adds each `.toml` file of a directory, in order of name.
///
/// # Errors
/// If one cannot be read or used.
pub fn add_all(library: &mut Library, dir: &Path) -> Result<(), ChecksError> {
    let unreadable = |file: &Path| {
        let file = file.display().to_string();
        move |source| ChecksError::File { file, source }
    };
    let entries = std::fs::read_dir(dir).map_err(unreadable(dir))?;
    let mut files = Vec::new();
    for entry in entries {
        files.push(entry.map_err(unreadable(dir))?.path());
    }
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
        let bytes = std::fs::read(file).map_err(unreadable(file))?;
        library.add(&file.display().to_string(), &bytes).map_err(ChecksError::Document)?;
    }
    Ok(())
}

/// A disagreement as people and programs get it.
pub(crate) fn finding(found: &Disagreement) -> serde_json::Value {
    let severity = match found.severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Blocking => "error",
    };
    serde_json::json!({
        "severity": severity,
        "what": found.what,
        "in_band": found.in_band,
        "in_band_source": found.in_band_source,
        "bmc": found.bmc,
        "bmc_source": found.bmc_source,
        "text": found.text(),
    })
}

/// Compares an inventory that just came, and keeps what was found for people to read.
pub(crate) fn keep(
    checks: &Checks,
    store: &appliance_store::Store,
    host: &appliance_model::HostId,
    inventory: &Inventory,
) -> Result<(), StoreError> {
    let bmc = store.document(host, Kind::BmcInventory)?;
    let bmc: Option<Inventory> = bmc.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let findings = bmc.as_ref().map(|bmc| join(inventory, bmc)).unwrap_or_default();
    let findings: Vec<_> = findings.iter().map(finding).collect();
    store.put(host, Kind::Findings, &serde_json::to_vec(&findings).unwrap_or_default(), now())?;
    let reports = checks.reports(&Machine::of(Some(inventory), bmc.as_ref()));
    store.put(host, Kind::Checks, &serde_json::to_vec(&reports).unwrap_or_default(), now())?;
    Ok(())
}

/// Why the host must not go into burn-in, if it must not.  Compared anew: the BMC may have been read since.
pub(crate) async fn stops(
    app: &Arc<App>,
    host: &HostRow,
    inventory: &Inventory,
) -> Result<Option<Refusal>, StoreError> {
    let (id, inventory, asking) = (host.id.clone(), inventory.clone(), Arc::clone(app));
    app.db(move |store| {
        let checks = &asking.config.checks;
        keep(checks, store, &id, &inventory)?;
        let bmc = store.document(&id, Kind::BmcInventory)?;
        let bmc: Option<Inventory> = bmc.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let disagreements = bmc.as_ref().map(|bmc| join(&inventory, bmc)).unwrap_or_default();
        let reports = checks.reports(&Machine::of(Some(&inventory), bmc.as_ref()));
        Ok(checks.refusal(&reports, &disagreements))
    })
    .await
}

#[cfg(test)]
mod tests {
    use appliance_model::inventory::{Dimm, System};

    use super::*;

    fn machine() -> Inventory {
        Inventory {
            system: System { product: Some("SYS-T".into()), ..System::default() },
            dimms: vec![Dimm { slot: "A1".into(), bytes: 32 << 30, ..Dimm::default() }],
            ..Inventory::default()
        }
    }

    fn checks(unchecked: wire::Unchecked) -> Checks {
        let dir = tempfile::tempdir().unwrap();
        for (name, gib) in [("small", 64), ("large", 128)] {
            let text = format!(
                "kind = \"blueprint\"\nformat = 1\nid = \"{name}\"\nversion = 1\ntitle = \"t\"\n[match]\nproduct = [\"SYS-T\"]\n[[dimm]]\nslots = [\"A1\"]\nsize = \"{gib} GiB\"\n[[drive]]\nname = \"d\"\ncount = {gib}\nsize = \"1 TB\"\n"
            );
            std::fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        }
        let wire = wire::Checks {
            baseline: Some(vec![]),
            blueprint: None,
            documents_dir: Some(".".into()),
            unchecked,
        };
        Checks::read(dir.path(), Some(wire)).unwrap()
    }

    #[test]
    fn a_blocking_finding_stops_with_its_words_and_the_nearest_build_counts() {
        let checks = checks(wire::Unchecked::Warn);
        let reports = checks.reports(&Machine::of(None, Some(&machine())));
        assert_eq!(reports.iter().map(|report| report.id.as_str()).collect::<Vec<_>>(), ["large"]);
        let refusal = checks.refusal(&reports, &[]).unwrap();
        assert_eq!(refusal.rule, "blueprint");
        assert!(refusal.text.contains("DIMM A1: 32 GiB, the blueprint wants 128 GiB"), "{}", refusal.text);
    }

    #[test]
    fn what_nobody_told_stops_only_where_the_site_says_so() {
        let mut good = machine();
        good.dimms[0].bytes = 128 << 30;
        for (unchecked, stops) in [(wire::Unchecked::Warn, false), (wire::Unchecked::Block, true)] {
            let checks = checks(unchecked);
            let reports = checks.reports(&Machine::of(None, Some(&good)));
            assert_eq!(checks.refusal(&reports, &[]).is_some(), stops);
        }
    }

    #[test]
    fn no_checks_are_asked_for_none_are_made_but_the_witnesses_still_count() {
        let checks = Checks::read(Path::new("/nowhere"), None).unwrap();
        assert!(checks.reports(&Machine::of(Some(&machine()), None)).is_empty());
        assert!(checks.class_rules().is_some(), "a host is carved all the same");
        let serial = |text: &str| {
            let serial = appliance_model::Serial::parse(text);
            Inventory { system: System { serial, ..System::default() }, ..Inventory::default() }
        };
        let refusal = checks.refusal(&[], &join(&serial("S1"), &serial("S2"))).unwrap();
        assert!(refusal.rule == "two-witnesses" && refusal.text.contains("S2"), "{}", refusal.text);
    }

    #[test]
    fn an_unknown_id_is_refused_by_name() {
        let wire = wire::Checks { baseline: Some(vec!["platfrom".into()]), ..wire::Checks::default() };
        let error = Checks::read(Path::new("/nowhere"), Some(wire)).unwrap_err();
        assert!(error.to_string().contains("platfrom"));
    }
}
