//! What makers do otherwise, one method per defect with its story.  No maker's name is known anywhere else.

use serde_json::Value;

use crate::field;

/// Who made the controller and the machine, as far as they say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Quirks {
    /// Maker by service root and system, lower case.
    maker: String,
}

impl Quirks {
    /// Reads the maker from the service root and the system.  Root `Vendor` may be missing (Supermicro SYS-821GE,
    /// firmware 11.01); the system's `Manufacturer` may be the integrator's.
    pub(crate) fn of(root: &Value, system: &Value) -> Self {
        let vendor = field::text(root, &["Vendor"]).or_else(|| field::text(system, &["Manufacturer"]));
        let oem = field::at(root, &["Oem"]).and_then(Value::as_object);
        let oem = oem.and_then(|oem| oem.keys().next().cloned());
        Self { maker: vendor.or(oem).unwrap_or_default().to_ascii_lowercase() }
    }

    /// HGX boards (NVIDIA DGX H100, GB200, GH200) list their GPU baseboard as a second computer system; it has no
    /// processors to boot.  Virtual systems and resource partitions are not the machine either.
    ///
    /// The higher, the more it looks like the machine itself.
    pub(crate) fn likeness(&self, system: &Value) -> u32 {
        let id = field::text(system, &["Id"]).unwrap_or_default();
        let kind = field::text(system, &["SystemType"]);
        let physical = kind.is_none_or(|kind| kind == "Physical");
        let resets = field::at(system, &["Actions", "#ComputerSystem.Reset"]).is_some();
        let boots = field::at(system, &["Boot"]).is_some();
        let bios = field::text(system, &["BiosVersion"]).is_some();
        let signs = [!id.starts_with("HGX_"), physical, resets, boots, bios];
        // A baseboard may have all the other signs.
        let weights = [16, 8, 4, 2, 1];
        signs.iter().zip(weights).map(|(sign, weight)| if *sign { weight } else { 0 }).sum()
    }

    /// The serial on the label, which is what SMBIOS types 1 and 3 tell.  Dell writes the mainboard's serial into
    /// `SerialNumber` of system and chassis and the service tag into `SKU` (R750, iDRAC 9: `CNIVC…` and `F54P1G3`).
    pub(crate) fn label_serial(&self, resource: &Value) -> Option<String> {
        let sku = || field::text(resource, &["SKU"]);
        let serial = field::text(resource, &["SerialNumber"]);
        if self.maker.contains("dell") { sku().or(serial) } else { serial }
    }

    /// Supermicro X11 to X13 take a changed target without `BootSourceOverrideEnabled` as "Once", whatever was set
    /// (OpenStack story 2008547), and fall back to legacy mode without `BootSourceOverrideMode` (story 2008712).
    /// Nobody is known to refuse a full request at the first attempt but for the mode.
    pub(crate) fn needs_full_boot_request(&self) -> bool {
        true
    }

    /// Some X10-era boards and BIOS-locked machines answer 400 to `BootSourceOverrideMode`: leave it out then.
    pub(crate) fn may_refuse_boot_mode(&self, status: u16) -> bool {
        matches!(status, 400 | 409 | 422)
    }

    /// AMI MegaRAC demands `If-Match` and takes only `*`; others take only the tag they served; HPE answers 412 to
    /// `*` but needs none.  So: none first, then the served tag, then `*`.
    pub(crate) fn entity_tags<'a>(&self, served: Option<&'a str>) -> [Option<&'a str>; 3] {
        [None, served, Some("*")]
    }

    /// Lenovo SR675 V3 may hang in ForceRestart: power it off and on instead.
    pub(crate) fn hangs_in_force_restart(&self, model: Option<&str>) -> bool {
        self.maker.contains("lenovo") && model.is_some_and(|model| model.contains("SR675"))
    }

    /// The network interface between machine and controller is listed among the machine's own (Supermicro
    /// `ToManager`; others say so by a `HostInterface` link).  It is no way to boot and has a made-up address.
    pub(crate) fn leads_to_manager(&self, interface: &Value) -> bool {
        let id = field::text(interface, &["Id"]).unwrap_or_default();
        id == "ToManager" || field::at(interface, &["Links", "HostInterface"]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dell_r750_has_its_service_tag_in_the_sku() {
        let system =
            json!({ "SerialNumber": "CNIVC0014M0388", "SKU": "F54P1G3", "Manufacturer": "Dell Inc." });
        let serial = |root: Value, system: &Value| Quirks::of(&root, system).label_serial(system).unwrap();
        assert_eq!(serial(json!({ "Vendor": "Dell" }), &system), "F54P1G3");
        assert_eq!(serial(json!({}), &system), "F54P1G3");
        let other = json!({ "SerialNumber": "S889914X3710910", "SKU": "0x1D1415D9" });
        assert_eq!(serial(json!({ "Oem": { "Supermicro": {} } }), &other), "S889914X3710910");
    }

    #[test]
    fn the_machine_is_told_from_its_parts() {
        let full = json!({ "Id": "System_0", "SystemType": "Physical", "BiosVersion": "1", "Boot": {},
            "Actions": { "#ComputerSystem.Reset": {} } });
        let bare = json!({ "Id": "1" });
        let mut board = full.clone();
        board["Id"] = "HGX_Baseboard_0".into();
        let mut partition = full.clone();
        partition["SystemType"] = "Virtual".into();
        let likeness = |system: &Value| Quirks::default().likeness(system);
        assert!(likeness(&full) > likeness(&partition));
        assert!(likeness(&partition) > likeness(&board));
        assert!(likeness(&bare) > likeness(&board), "a baseboard only where there is nothing else");
    }

    #[test]
    fn supermicro_lists_the_way_to_its_controller_as_a_port() {
        let quirks = Quirks::default();
        assert!(quirks.leads_to_manager(&json!({ "Id": "ToManager" })));
        assert!(!quirks.leads_to_manager(&json!({ "Id": "1", "Links": {} })));
    }
}
