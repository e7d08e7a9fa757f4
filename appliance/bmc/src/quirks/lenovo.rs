//! Lenovo: XCC, XCC2, and trays with another controller under the same name.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "lenovo-insert-by-patch",
        when: When { makers: &["lenovo"], managers: &["xclarity"], ..ANYONE },
        switches: &[Switch::InsertByPatch, Switch::OnceOnly],
        story: "XCC has ten slots without InsertMedia on some models: PATCH the slot, with Inserted.  Boot \
            overrides are Once or Disabled only.",
        source: "sushy release note fix-virtual-media-fallback; SR670 V2 tree, XCC 2.83 (libredfish \
            tests/mockups)",
        test: "lenovo_inserts_by_patch",
    },
    Quirk {
        id: "lenovo-force-restart-hangs",
        when: When { makers: &["lenovo"], models: &["sr675"], ..ANYONE },
        switches: &[Switch::ForceRestartHangs],
        story: "ForceRestart may hang SR675 V3: off, ten seconds, on.",
        source: "libredfish src/lenovo.rs",
        test: "lenovo_sr675_hangs_in_force_restart",
    },
    Quirk {
        id: "lenovo-boot-order-parent",
        when: When { makers: &["lenovo"], managers: &["xclarity"], ..ANYONE },
        switches: &[Switch::ReadBootOrderParentFirst],
        story: "The OEM children of the boot order are 404 until their parent was read.",
        source: "libredfish PR 127; infra-controller issue 5178",
        test: "lenovo_boot_order_parent_first",
    },
    Quirk {
        id: "lenovo-ami-tray",
        when: When { makers: &["lenovo"], managers: &["ami", "megarac"], ..ANYONE },
        switches: &[Switch::FullBootRequest],
        story: "Trays with MegaRAC firmware keep the vendor Lenovo and need target, enabled and mode together.",
        source: "nv-redfish-quirks platform.rs; ironic VENDORS_REQUIRING_FULL_BOOT_REQUEST",
        test: "lenovo_tray_with_megarac_needs_the_full_request",
    },
];
