//! Dell: iDRAC 8, 9 and 10.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "dell-label-serial-in-sku",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::LabelSerialInSku],
        story: "SerialNumber of system and chassis is the mainboard's (`CNIVC…`); the service tag on the label, \
            which SMBIOS types 1 and 3 tell, is in SKU.",
        source: "R750 trees with iDRAC 6.00.30 and 7.10.30 (libredfish tests/mockups)",
        test: "dell_r750_has_its_service_tag_in_the_sku",
    },
    Quirk {
        id: "dell-media-before-6",
        when: When {
            makers: &["dell"],
            managers: &["13g", "14g", "15g", "16g"],
            firmware_below: &[6],
            ..ANYONE
        },
        switches: &[Switch::NoGenericMedia],
        story: "Generic virtual media does not boot before iDRAC 6.00.00.00.",
        source: "ironic release notes fix-redfish-vm-boot-idrac, fix-redfish-idrac-vmedia-version-range",
        test: "dell_generic_media_from_6_00",
    },
    Quirk {
        id: "dell-idrac10-media",
        when: When { makers: &["dell"], managers: &["17g", "idrac10", "idrac 10"], ..ANYONE },
        switches: &[Switch::NoGenericMedia, Switch::BootInSettings],
        story: "iDRAC 10 moved the boot override to the Settings resource of the system, and generic virtual \
            media does not boot.",
        source: "sushy release note idrac10-settings-resource; ironic fix-redfish-idrac-vmedia-version-range",
        test: "dell_idrac10_boots_by_settings",
    },
    Quirk {
        id: "dell-two-media-collections",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::TwoMediaCollections],
        story: "The same slots stand below the system ({1,2}) and below the manager ({RemovableDisk,CD}); the \
            ones below the system are the generic ones.",
        source: "R750 tree with iDRAC 6.00.30 (libredfish tests/mockups)",
        test: "dell_has_two_media_collections",
    },
    Quirk {
        id: "dell-power-on-409",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::OnConflictsAfterOff],
        story: "Switching on shortly after switching off answers 409 ActionParameterValueConflict (iDRAC 10, \
            17G): wait and repeat.",
        source: "ironic bug 2162995",
        test: "dell_power_on_conflicts_after_off",
    },
    Quirk {
        id: "dell-job-404",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::JobLateAt404, Switch::ReloadsBetweenJobs],
        story: "A job just made answers 404 for some seconds; SYS518 means that the controller reloads and works \
            again later.",
        source: "sushy release note fix-dell-bmc-404-race",
        test: "dell_job_is_late",
    },
    Quirk {
        id: "dell-boot-options-unordered",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::BootOptionsUnordered],
        story: "The members of BootOptions are not in boot order (R770: 36 of 36 hosts stuck); only BootOrder \
            is.",
        source: "infra-controller issue 5836",
        test: "dell_boot_options_are_not_the_order",
    },
    Quirk {
        id: "dell-once-ignored",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::OnceMayBeIgnored],
        story: "A one-time override that was accepted may be ignored: only the booted agent proves it.",
        source: "ironcore metal-operator issue 80",
        test: "dell_once_may_be_ignored",
    },
    Quirk {
        id: "dell-job-in-body",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::JobInBody, Switch::ClockFieldsUntrue, Switch::EventOffsetWithoutColon],
        story: "Creating a volume answers 200 or 201 with the URI of a job; LastResetTime is wrong, ReleaseDate \
            is 00:00:00Z, event time stamps end in -0600.",
        source: "nv-redfish-quirks platform.rs",
        test: "dell_tells_its_job_in_the_body",
    },
    Quirk {
        id: "dell-settings-apply-time",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::SettingsNeedApplyTime],
        story: "BIOS settings are not applied unless @Redfish.SettingsApplyTime is sent with them.",
        source: "sushy release note redfish-fix-bios-settings-apply-time",
        test: "dell_settings_need_an_apply_time",
    },
    Quirk {
        id: "dell-http-dev-tls",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::HttpBootNeedsTlsModeOff("HttpDev{}TlsMode")],
        story: "HTTP devices demand HTTPS by default: plain-HTTP boot fails until HttpDevNTlsMode is None.",
        source: "tinkerbell PR 973; libredfish change log 2024-10-30",
        test: "dell_http_boot_needs_tls_mode_off",
    },
    Quirk {
        id: "dell-account-slots",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::AccountsAreSlots],
        story: "Seventeen accounts are listed whether used or not; a new one is a PATCH of one without UserName, \
            and the first is reserved.",
        source: "R750 tree with iDRAC 6.00.30 (libredfish tests/mockups); Ansible community.general \
            redfish_utils.py (add_user via PATCH)",
        test: "dell_accounts_are_slots",
    },
    Quirk {
        id: "dell-stream-rests",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::StreamRests(25)],
        story: "After a stream of events was closed, 20 to 30 seconds must pass before the next one; streams that \
            are silent for an hour are closed.",
        source: "Dell iDRAC9 Redfish API Guide 4.20.20.20, Server-Sent Events",
        test: "dell_streams_rest",
    },
    Quirk {
        id: "dell-certificate-after-restart",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::CertificateAfterRestart],
        story: "A replaced certificate is shown only after iDRAC was restarted (Manager.Reset).",
        source: "Dell iDRAC-Redfish-Scripting, ReplaceCertificate examples",
        test: "dell_shows_its_certificate_after_a_restart",
    },
    Quirk {
        id: "dell-eject-under-ramdisk",
        when: When { makers: &["dell"], ..ANYONE },
        switches: &[Switch::PowerOffBeforeEject, Switch::EjectSettlesLate],
        story: "Ejecting media under a running system corrupts it, so power off first; and the eject may still \
            be running when the next insert is sent.",
        source: "ironic bug 2160374; OpenStack story 2008504",
        test: "dell_power_off_before_eject",
    },
];
