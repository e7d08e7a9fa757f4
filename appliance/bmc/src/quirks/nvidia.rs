//! AMI MegaRAC, NVIDIA DGX and HGX, OpenBMC as NVIDIA ships it.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "ami-if-match-star",
        when: When { makers: &["ami", "megatrends"], ..ANYONE },
        switches: &[Switch::IfMatchStar, Switch::FullBootRequest],
        story: "If-Match is demanded, the tag it served is refused, only `*` is taken: the opposite of HPE.",
        source: "nv-redfish-quirks platform.rs; ironic management.py",
        test: "ami_demands_if_match_star",
    },
    Quirk {
        id: "dgx-expand",
        when: When { makers: &["ami", "nvidia"], models: &["dgx"], ..ANYONE },
        switches: &[
            Switch::NoExpand,
            Switch::RootLinksUntilRestart,
            Switch::MultipartAt("/redfish/v1/UpdateService/upload"),
            Switch::MediaNeedsCredentials,
        ],
        story: "DGX H100: $expand drops required fields; links are missing from the root until the controller \
            restarts; multipart updates are taken and not advertised; InsertMedia needs user and password, \
            \"none\" will do.",
        source: "nv-redfish-quirks platform.rs; sushy virtual_media.py, bug 2071945",
        test: "dgx_h100_is_asked_without_expand",
    },
    Quirk {
        id: "hgx-baseboard",
        when: ANYONE,
        switches: &[],
        story: "The GPU baseboard is listed as a second computer system (HGX_Baseboard_0), before or after the \
            machine; it has no BIOS and cannot be reset.  Systems are ranked by their signs, for everybody.",
        source: "DGX H100, GB200, GH200 trees (libredfish tests/mockups)",
        test: "the_machine_is_told_from_its_parts",
    },
    Quirk {
        id: "gb300-tpm-setting",
        when: When { makers: &["nvidia"], models: &["gb300"], ..ANYONE },
        switches: &[Switch::TpmSettingNames(&["TPM", "SecurityDeviceSupport"])],
        story: "The BIOS setting for the TPM is TPM or SecurityDeviceSupport, by integrator; the wrong name ends \
            in PropertyValueNotInList and a loop of reboots: take the one that is there.",
        source: "infra-controller issue 5215",
        test: "gb300_names_its_tpm_setting_two_ways",
    },
    Quirk {
        id: "bluefield-null-members",
        when: ANYONE,
        switches: &[],
        story: "Empty collections have `Members: null` (BlueField).  Read as empty with a finding, for \
            everybody.",
        source: "nv-redfish-quirks platform.rs",
        test: "null_members_are_an_empty_collection",
    },
];
