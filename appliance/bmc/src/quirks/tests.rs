//! The table is whole, each entry finds whom it is about and nobody else, and no maker is named elsewhere.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;

/// Root vendor, system model, manager model, manager firmware.
type Told = (&'static str, &'static str, &'static str, &'static str);

fn of((vendor, model, manager, firmware): Told) -> Quirks {
    let root = json!({ "Vendor": vendor, "RedfishVersion": "1.11.0" });
    let system = json!({ "Model": model });
    let manager = json!({ "Model": manager, "FirmwareVersion": firmware });
    Quirks::of(&Who::of(&root, &system, &manager, &Value::Null))
}

/// The entry `id` holds for the first and not for the others; `switches` are on where it holds.
fn check(id: &str, switches: &[Switch], whom: &[Told], not: &[Told]) {
    let entry = table().find(|quirk| quirk.id == id).unwrap();
    assert!(switches.iter().all(|switch| entry.switches.contains(switch)), "{id}");
    for told in whom {
        let quirks = of(*told);
        assert!(quirks.notes().iter().any(|note| note.id == id), "{id} must hold for {told:?}");
        assert!(switches.iter().all(|switch| quirks.has(*switch)), "{id}");
    }
    for told in not {
        assert!(!of(*told).notes().iter().any(|note| note.id == id), "{id} must not hold for {told:?}");
    }
}

const SYS_821: Told = ("Supermicro", "SYS-821GE-TNHR", "ASPEED", "11.01.01");
const ARS_111: Told = ("Supermicro", "ARS-111GL-NHR", "ASPEED", "01.03.16");
const X10: Told = ("Supermicro", "X10DRT-P", "ASPEED", "3.88");
const R750: Told = ("Dell", "PowerEdge R750", "15G Monolithic", "6.00.30.00");
const R740_OLD: Told = ("Dell", "PowerEdge R740", "14G Monolithic", "5.10.50.00");
const R770: Told = ("Dell", "PowerEdge R770", "17G Monolithic", "1.20.25.00");
const DL385: Told = ("HPE", "ProLiant DL385 Gen10 Plus v2", "iLO 5", "iLO 5 v2.72");
const SR670: Told =
    ("Lenovo", "ThinkSystem SR670 V2", "Lenovo XClarity Controller", "TGBT42S 2.83 2023-07-05");
const SR675: Told =
    ("Lenovo", "ThinkSystem SR675 V3", "Lenovo XClarity Controller", "QGX320J 5.10 2024-01-01");
const TRAY: Told = ("Lenovo", "GB300 tray", "AMI MegaRAC", "1.0.2");
const DGX: Told = ("AMI", "DGXH100", "77171220", "23.11.20");
const GB300: Told = ("NVIDIA", "GB300 NVL", "OpenBmc", "gb300-25.08");
const GH200: Told = ("NVIDIA", "P3809", "OpenBmc", "GH200-24.05-2");
const UCS: Told = ("Cisco Systems Inc.", "UCSC-C220-M6", "CIMC", "4.3(2.1)");
const NOBODY: Told = ("Family Computers", "M1", "BMC", "1.0");

#[test]
fn supermicro_needs_the_full_boot_request() {
    check(
        "supermicro-full-boot-request",
        &[Switch::FullBootRequest],
        &[SYS_821, X10, ARS_111],
        &[R750, DL385, NOBODY],
    );
    // SYS-821GE, firmware 11.01: no Vendor in the root, only an Oem key.
    let root = json!({ "Oem": { "Supermicro": {} } });
    let quirks = Quirks::of(&Who::of(&root, &Value::Null, &Value::Null, &Value::Null));
    assert!(quirks.has(Switch::FullBootRequest));
}

#[test]
fn supermicro_boot_mode_resets() {
    check("supermicro-boot-mode-resets", &[Switch::BootModeResets], &[SYS_821], &[R750, NOBODY]);
}

#[test]
fn supermicro_virtual_cd_is_usbcd_but_on_ars_111gl() {
    check("supermicro-virtual-cd-is-usbcd", &[Switch::VirtualCdIsUsbCd], &[SYS_821, X10], &[ARS_111, R750]);
    check("supermicro-ars-virtual-cd-is-cd", &[Switch::VirtualCdIsCd], &[ARS_111], &[SYS_821, NOBODY]);
}

#[test]
fn supermicro_insert_without_flags() {
    check("supermicro-insert-without-flags", &[Switch::InsertWithoutFlags], &[SYS_821], &[SR670, NOBODY]);
}

#[test]
fn supermicro_x10_has_cfgcd() {
    let switches = [Switch::MediaByOem("VM1/CfgCD"), Switch::NoBootMode];
    check("supermicro-x10-media-by-cfgcd", &switches, &[X10], &[SYS_821, NOBODY]);
}

#[test]
fn supermicro_updates_need_a_licence() {
    let switches = [Switch::UpdateNeedsLicence(&["SFT-OOB-LIC", "SFT-DCMS-SINGLE"])];
    check("supermicro-update-licence", &switches, &[SYS_821], &[R750, NOBODY]);
}

#[test]
fn supermicro_secure_boot_needs_a_licence() {
    check("supermicro-secure-boot-licence", &[Switch::SecureBootNeedsLicence], &[SYS_821], &[R750]);
}

#[test]
fn supermicro_has_a_fixed_boot_order() {
    check("supermicro-fixed-boot-order", &[Switch::BootOrderInOem], &[SYS_821], &[R750]);
}

#[test]
fn supermicro_http_boot_needs_a_bios_setting() {
    let switches = [Switch::HttpBootNeedsBiosSetting("IPv4HTTPSupport")];
    check("supermicro-http-boot-setting", &switches, &[SYS_821], &[R750]);
}

#[test]
fn supermicro_settings_are_accepted_without_a_task() {
    check("supermicro-accepted-without-task", &[Switch::AcceptedWithoutTask], &[SYS_821], &[R750]);
}

#[test]
fn supermicro_shows_a_stale_boot_order_in_lockdown() {
    check("supermicro-lockdown-stale-order", &[Switch::BootOrderStaleInLockdown], &[SYS_821], &[R750]);
}

#[test]
fn supermicro_grace_has_no_kcs_privilege() {
    check("supermicro-grace-no-kcs", &[Switch::NoKcsPrivilege], &[ARS_111], &[SYS_821, NOBODY]);
}

#[test]
fn supermicro_ipmi_efi_bit_either_way() {
    check("supermicro-ipmi-efi-bit", &[Switch::IpmiEfiBitEitherWay], &[SYS_821], &[DL385]);
}

#[test]
fn dell_r750_has_its_service_tag_in_the_sku() {
    check("dell-label-serial-in-sku", &[Switch::LabelSerialInSku], &[R750, R770], &[SYS_821, NOBODY]);
    let system = json!({ "SerialNumber": "CNIVC0014M0388", "SKU": "F54P1G3", "Manufacturer": "Dell Inc." });
    let serial = |root: Value, system: &Value| {
        Quirks::of(&Who::of(&root, system, &Value::Null, &Value::Null)).label_serial(system)
    };
    assert_eq!(serial(json!({ "Vendor": "Dell" }), &system).unwrap(), "F54P1G3");
    assert_eq!(serial(json!({}), &system).unwrap(), "F54P1G3");
    let other = json!({ "SerialNumber": "S889914X3710910", "SKU": "0x1D1415D9" });
    assert_eq!(serial(json!({ "Oem": { "Supermicro": {} } }), &other).unwrap(), "S889914X3710910");
    for empty in ["0000000000", "N/A", "Not Specified", "Default string", "unknown"] {
        assert_eq!(serial(json!({}), &json!({ "SerialNumber": empty })), None, "{empty}");
    }
}

#[test]
fn dell_generic_media_from_6_00() {
    check("dell-media-before-6", &[Switch::NoGenericMedia], &[R740_OLD], &[R750, R770, NOBODY]);
}

#[test]
fn dell_idrac10_boots_by_settings() {
    check(
        "dell-idrac10-media",
        &[Switch::NoGenericMedia, Switch::BootInSettings],
        &[R770],
        &[R750, R740_OLD],
    );
}

#[test]
fn dell_has_two_media_collections() {
    check("dell-two-media-collections", &[Switch::TwoMediaCollections], &[R750], &[SYS_821]);
}

#[test]
fn dell_power_on_conflicts_after_off() {
    check("dell-power-on-409", &[Switch::OnConflictsAfterOff], &[R770], &[SYS_821]);
}

#[test]
fn dell_job_is_late() {
    check("dell-job-404", &[Switch::JobLateAt404, Switch::ReloadsBetweenJobs], &[R750], &[SYS_821]);
}

#[test]
fn dell_boot_options_are_not_the_order() {
    check("dell-boot-options-unordered", &[Switch::BootOptionsUnordered], &[R770], &[SYS_821]);
}

#[test]
fn dell_once_may_be_ignored() {
    check("dell-once-ignored", &[Switch::OnceMayBeIgnored], &[R750], &[SYS_821]);
}

#[test]
fn dell_tells_its_job_in_the_body() {
    let switches = [Switch::JobInBody, Switch::ClockFieldsUntrue, Switch::EventOffsetWithoutColon];
    check("dell-job-in-body", &switches, &[R750], &[SYS_821]);
}

#[test]
fn dell_settings_need_an_apply_time() {
    check("dell-settings-apply-time", &[Switch::SettingsNeedApplyTime], &[R750], &[SYS_821]);
}

#[test]
fn dell_http_boot_needs_tls_mode_off() {
    check("dell-http-dev-tls", &[Switch::HttpBootNeedsTlsModeOff("HttpDev{}TlsMode")], &[R750], &[SYS_821]);
}

#[test]
fn dell_accounts_are_slots() {
    check("dell-account-slots", &[Switch::AccountsAreSlots], &[R750, R770], &[SYS_821, DL385, NOBODY]);
}

#[test]
fn dell_streams_rest() {
    check("dell-stream-rests", &[Switch::StreamRests(25)], &[R750], &[SYS_821, NOBODY]);
}

#[test]
fn dell_shows_its_certificate_after_a_restart() {
    check("dell-certificate-after-restart", &[Switch::CertificateAfterRestart], &[R750], &[SYS_821]);
}

#[test]
fn dell_power_off_before_eject() {
    let switches = [Switch::PowerOffBeforeEject, Switch::EjectSettlesLate];
    check("dell-eject-under-ramdisk", &switches, &[R750], &[SYS_821]);
}

#[test]
fn hpe_refuses_boot_changes_in_post() {
    let switches = [Switch::NoBootChangeInPost, Switch::RefusesAfterPowerChange];
    check("hpe-post-refuses", &switches, &[DL385], &[R750, SYS_821, NOBODY]);
}

#[test]
fn hpe_eject_needs_a_body() {
    check("hpe-eject-body", &[Switch::EjectNeedsBody], &[DL385], &[SYS_821]);
}

#[test]
fn hpe_refuses_if_match_star() {
    check("hpe-if-match-star", &[Switch::NoIfMatchStar, Switch::ErrorMayMeanSuccess], &[DL385], &[DGX]);
    assert_eq!(of(DL385).entity_tags(Some("\"1\"")), [None, Some("\"1\"")]);
    assert_eq!(of(NOBODY).entity_tags(Some("\"1\"")), [None, Some("\"1\""), Some("*")]);
}

#[test]
fn hpe_accounts_lack_types() {
    check("hpe-account-types", &[Switch::AccountTypesMissing], &[DL385], &[R750]);
}

#[test]
fn hpe_wants_event_types() {
    check("hpe-event-types", &[Switch::SubscriptionNeedsEventTypes], &[DL385], &[R750, NOBODY]);
}

#[test]
fn hpe_has_a_certificate_of_its_own() {
    let switches = [Switch::CertificateByOem("SecurityService/HttpsCert")];
    check("hpe-https-certificate", &switches, &[DL385], &[R750, SYS_821]);
}

#[test]
fn hpe_licences_are_below_the_manager() {
    check("hpe-licence-service", &[Switch::LicencesAt("LicenseService")], &[DL385], &[R750, NOBODY]);
}

#[test]
fn lenovo_inserts_by_patch() {
    check("lenovo-insert-by-patch", &[Switch::InsertByPatch, Switch::OnceOnly], &[SR670], &[TRAY, SYS_821]);
}

#[test]
fn lenovo_sr675_hangs_in_force_restart() {
    check("lenovo-force-restart-hangs", &[Switch::ForceRestartHangs], &[SR675], &[SR670, SYS_821]);
}

#[test]
fn lenovo_boot_order_parent_first() {
    check("lenovo-boot-order-parent", &[Switch::ReadBootOrderParentFirst], &[SR670], &[TRAY, SYS_821]);
}

#[test]
fn lenovo_tray_with_megarac_needs_the_full_request() {
    check("lenovo-ami-tray", &[Switch::FullBootRequest], &[TRAY], &[SR670]);
}

#[test]
fn ami_demands_if_match_star() {
    check("ami-if-match-star", &[Switch::IfMatchStar, Switch::FullBootRequest], &[DGX], &[DL385, NOBODY]);
    assert_eq!(of(DGX).entity_tags(Some("\"1\"")), [Some("*"), None, Some("\"1\"")]);
}

#[test]
fn dgx_h100_is_asked_without_expand() {
    let switches = [Switch::NoExpand, Switch::RootLinksUntilRestart, Switch::MediaNeedsCredentials];
    check("dgx-expand", &switches, &[DGX], &[GH200, SYS_821]);
}

#[test]
fn gb300_names_its_tpm_setting_two_ways() {
    let switches = [Switch::TpmSettingNames(&["TPM", "SecurityDeviceSupport"])];
    check("gb300-tpm-setting", &switches, &[GB300], &[GH200]);
}

#[test]
fn sushy_emulator_shows_continuous() {
    let emulator = ("Sushy Emulator", "fake", "", "");
    check("sushy-emulator-continuous", &[Switch::OnceShownAsContinuous], &[emulator], &[DGX, NOBODY]);
}

/// `hgx-baseboard`.
#[test]
fn the_machine_is_told_from_its_parts() {
    let full = json!({ "Id": "System_0", "SystemType": "Physical", "BiosVersion": "1", "Boot": {},
        "Actions": { "#ComputerSystem.Reset": {} } });
    let bare = json!({ "Id": "1" });
    let mut board = full.clone();
    board["Id"] = "HGX_Baseboard_0".into();
    let mut partition = full.clone();
    partition["SystemType"] = "Virtual".into();
    assert!(likeness(&full) > likeness(&partition));
    assert!(likeness(&partition) > likeness(&board));
    assert!(likeness(&bare) > likeness(&board), "a baseboard only where there is nothing else");
}

/// `weak-tags`.
#[test]
fn weak_tags_are_made_strong() {
    let quirks = of(NOBODY);
    assert_eq!(quirks.entity_tags(Some("W/\"1\"")), [None, Some("\"1\""), Some("W/\"1\""), Some("*")]);
}

#[test]
fn openbmc_slots_may_lack_insert() {
    check("slots-without-insert", &[Switch::SlotsWithoutInsert], &[GH200, GB300], &[R750]);
}

#[test]
fn cisco_offers_dvd() {
    check("cisco-dvd", &[Switch::DvdForCd, Switch::NoPortsListed], &[UCS], &[R750, NOBODY]);
}

/// `plain-image-url`.
#[test]
fn image_addresses_are_plain() {
    assert!([NOBODY, R750].into_iter().all(|told| of(told).has(Switch::PlainImageUrl)));
}

#[test]
fn the_way_to_the_controller_is_no_port() {
    assert!(leads_to_manager(&json!({ "Id": "ToManager" })));
    assert!(!leads_to_manager(&json!({ "Id": "1", "Links": {} })));
}

#[test]
fn versions_are_found_in_texts() {
    let rows: &[(&str, &[u64])] = &[
        ("iLO 5 v2.72", &[2, 72]),
        ("TGBT42S 2.83 2023-07-05", &[2, 83]),
        ("6.00.30.00", &[6, 0, 30, 0]),
        ("GH200-24.05-2", &[24, 5]),
        ("none", &[]),
        ("99999999999999999999999.1", &[]),
    ];
    for (text, expected) in rows {
        assert_eq!(when::version(text), *expected, "{text}");
    }
}

/// Every `.rs` of this crate, with its path.
fn sources(dir: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_entry_has_a_story_a_source_and_a_test() {
    let mut files = Vec::new();
    sources(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let mut ids = std::collections::BTreeSet::new();
    for quirk in table() {
        let Quirk { id, story, source, test, switches, .. } = quirk;
        assert!(ids.insert(id), "{id} twice");
        assert!(story.len() > 25 && source.len() > 8, "{id}");
        let named = format!("fn {test}(");
        let found: Vec<_> = files.iter().filter(|(_, text)| text.contains(&named)).collect();
        assert_eq!(found.len(), 1, "{id}: its test {test} must exist, once");
        assert!(switches.is_empty() || found[0].1.contains(id), "{id} is not named by its test");
    }
    assert!(ids.len() >= 45, "{}", ids.len());
}

#[test]
fn no_maker_is_named_elsewhere() {
    const NAMES: &[&str] = &[
        "supermicro",
        "dell",
        "idrac",
        "hpe",
        "ilo",
        "proliant",
        "lenovo",
        "xcc",
        "xclarity",
        "ami",
        "megarac",
        "nvidia",
        "dgx",
        "hgx",
        "openbmc",
        "bluefield",
        "huawei",
        "cisco",
        "fujitsu",
        "quanta",
        "inspur",
        "gigabyte",
        "asrock",
    ];
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for (path, text) in
        files.iter().filter(|(path, _)| !path.contains("/src/quirks/") && !path.contains("/src/join"))
    {
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let word = lower.split(|c: char| !c.is_alphanumeric()).find(|word| NAMES.contains(word));
            assert_eq!(word, None, "{path}:{}: makers are known in src/quirks only", number + 1);
        }
    }
}
