//! Supermicro: X10 to X13, H12 and H13, the ARS Grace boards.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "supermicro-full-boot-request",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::FullBootRequest],
        story: "A changed BootSourceOverrideTarget without BootSourceOverrideEnabled reverts to Once, whatever \
            was set before; so target, enabled and mode always go together. Other makers may refuse fields \
            that do not change.",
        source: "OpenStack stories 2008547 and 2007355; ironic release note supermicro-redfish-override-enabled",
        test: "supermicro_needs_the_full_boot_request",
    },
    Quirk {
        id: "supermicro-boot-mode-resets",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::BootModeResets],
        story: "Setting the boot device puts the boot mode back to legacy; it is set again afterwards and read \
            back.",
        source: "ironic drivers/modules/redfish/management.py, OpenStack story 2008712",
        test: "supermicro_boot_mode_resets",
    },
    Quirk {
        id: "supermicro-virtual-cd-is-usbcd",
        when: When { makers: &["supermicro"], not_models: &["ars-111gl"], ..ANYONE },
        switches: &[Switch::VirtualCdIsUsbCd],
        story: "The virtual CD boots as UsbCd on X11, X12 and later; Cd is accepted and does not boot.",
        source: "sushy resources/system/system.py (set_system_boot_options)",
        test: "supermicro_virtual_cd_is_usbcd_but_on_ars_111gl",
    },
    Quirk {
        id: "supermicro-ars-virtual-cd-is-cd",
        when: When { makers: &["supermicro"], models: &["ars-111gl"], ..ANYONE },
        switches: &[Switch::VirtualCdIsCd],
        story: "ARS-111GL-NHR offers UsbCd as its relatives do and boots its virtual CD as Cd.",
        source: "sushy resources/system/system.py (SUPERMICRO models with Cd)",
        test: "supermicro_virtual_cd_is_usbcd_but_on_ars_111gl",
    },
    Quirk {
        id: "supermicro-insert-without-flags",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::InsertWithoutFlags],
        story: "InsertMedia fails on X11 and X12 when Inserted or WriteProtected are sent.",
        source: "sushy release note fix-insert-media-payload",
        test: "supermicro_insert_without_flags",
    },
    Quirk {
        id: "supermicro-x10-media-by-cfgcd",
        when: When { makers: &["supermicro"], models: &["x10", "x9"], ..ANYONE },
        switches: &[Switch::MediaByOem("VM1/CfgCD"), Switch::NoBootMode],
        story: "X10 and older have an OEM resource Managers/1/VM1/CfgCD with IsoConfig (an SMB share) instead of \
            VirtualMedia, and X10-era blades refuse BootSourceOverrideMode UEFI.",
        source: "bmc-toolbox/redfish-mocks supermicroX10; jgato/jgato Configuring_SuperMicro_UEFI.md; fakefish PR \
            3",
        test: "supermicro_x10_has_cfgcd",
    },
    Quirk {
        id: "supermicro-update-licence",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[
            Switch::UpdateNeedsLicence(&["SFT-OOB-LIC", "SFT-DCMS-SINGLE"]),
            Switch::LicencesAt("LicenseManager/QueryLicense"),
        ],
        story: "Updates of BIOS and controller, and BIOS settings, need the licence SFT-OOB-LIC or \
            SFT-DCMS-SINGLE.",
        source: "fwupd PR 5128; Managers/1/LicenseManager of SYS-821GE-TNHR, firmware 11.01",
        test: "supermicro_updates_need_a_licence",
    },
    Quirk {
        id: "supermicro-secure-boot-licence",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::SecureBootNeedsLicence],
        story: "Reading SecureBoot may be refused with OemLicenseNotPassed: a licence gate, not a defect.",
        source: "ironic drivers/modules/redfish/management.py (OemLicenseNotPassed)",
        test: "supermicro_secure_boot_needs_a_licence",
    },
    Quirk {
        id: "supermicro-fixed-boot-order",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::BootOrderInOem],
        story: "The boot order is an OEM resource (FixedBootOrder) whose entries hold device names; PATCH of \
            BootOrder answers PropertyUnknown on some models.",
        source: "libredfish src/supermicro.rs (boot order)",
        test: "supermicro_has_a_fixed_boot_order",
    },
    Quirk {
        id: "supermicro-http-boot-setting",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::HttpBootNeedsBiosSetting("IPv4HTTPSupport")],
        story: "HTTP boot entries appear only after the BIOS setting IPv4HTTPSupport is enabled and the machine \
            was restarted.",
        source: "libredfish src/supermicro.rs (machine_setup)",
        test: "supermicro_http_boot_needs_a_bios_setting",
    },
    Quirk {
        id: "supermicro-accepted-without-task",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::AcceptedWithoutTask],
        story: "Changes of settings are accepted with 202 and name neither Location nor task; what counts is \
            reading back after the reset.",
        source: "nv-redfish-quirks platform.rs",
        test: "supermicro_settings_are_accepted_without_a_task",
    },
    Quirk {
        id: "supermicro-lockdown-stale-order",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::BootOrderStaleInLockdown],
        story: "While locked down the controller reports the boot order of before (ARS-121L-DNR); unlock before \
            reading it.",
        source: "infra-controller issue 505, PR 503",
        test: "supermicro_shows_a_stale_boot_order_in_lockdown",
    },
    Quirk {
        id: "supermicro-grace-no-kcs",
        when: When { makers: &["supermicro"], models: &["ars-"], ..ANYONE },
        switches: &[Switch::NoKcsPrivilege],
        story: "Grace boards have no resource for the rights of the in-band (KCS) interface.",
        source: "libredfish src/supermicro.rs",
        test: "supermicro_grace_has_no_kcs_privilege",
    },
    Quirk {
        id: "supermicro-ipmi-efi-bit",
        when: When { makers: &["supermicro"], ..ANYONE },
        switches: &[Switch::IpmiEfiBitEitherWay],
        story: "IPMI bootdev pxe with the UEFI bit boots some boards and without it others; neither works \
            everywhere.",
        source: "bmclib PR 209, reverted in PR 217",
        test: "supermicro_ipmi_efi_bit_either_way",
    },
];
