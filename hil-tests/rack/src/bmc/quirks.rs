//! How this BMC differs from the standard: switches, and presets of them by maker (`quirks.toml`).
//!
//! The appliance has a table of its own of what it must cope with; the two share nothing, so that one can judge the
//! other.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The presets that come with the program.
const PRESETS: &str = include_str!("quirks.toml");

/// The switches; all off is a BMC that keeps to the standard.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// `InsertMedia` with `Inserted` or `WriteProtected` is refused.
    pub media_refuses_inserted: bool,
    /// `InsertMedia` and `EjectMedia` do not exist; the slot is written.
    pub media_by_patch_only: bool,
    /// `InsertMedia` is listed and answers 405.
    pub media_answers_405: bool,
    /// `EjectMedia` without a body is refused.
    pub eject_needs_body: bool,
    /// The virtual CD boots by `UsbCd`; `Cd` is taken and does nothing.
    pub cd_is_usb_cd: bool,
    /// A boot target without `BootSourceOverrideEnabled` means `Once`.
    pub target_alone_means_once: bool,
    /// `Continuous` is refused.
    pub no_continuous: bool,
    /// `UefiHttp` is not among the boot targets.
    pub no_http_boot: bool,
    /// Writes to BIOS settings are answered 202 with nothing to follow.
    pub settings_accepted_silently: bool,
    /// For so many milliseconds after power went off, power-on is a conflict.
    pub power_rest_ms: u64,
    /// For so many milliseconds after a start, boot settings cannot be changed.
    pub post_lock_ms: u64,
    /// Accounts are slots: POST is refused, empty ones are written.
    pub accounts_are_slots: bool,
    /// Writes without `If-Match: *` are refused with 428 or 412.
    pub if_match_star_only: bool,
    /// `If-Match: *` is refused with 412.
    pub if_match_star_refused: bool,
    /// A subscription without `EventTypes` is refused.
    pub subscriptions_need_event_types: bool,
    /// A replaced certificate is shown only after the BMC was restarted.
    pub certificate_after_restart: bool,
    /// There is no session service; basic authentication only.
    pub no_sessions: bool,
}

impl Quirks {
    /// The preset of this name, such as `dell`.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        presets().remove(name)
    }

    /// The names of all presets.
    #[must_use]
    pub fn names() -> Vec<String> {
        presets().into_keys().collect()
    }
}

/// A table that does not parse is a mistake of this program; its test says so, and a caller sees no presets.
fn presets() -> BTreeMap<String, Quirks> {
    toml::from_str(PRESETS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole() {
        let table: BTreeMap<String, Quirks> = toml::from_str(PRESETS).unwrap();
        assert_eq!(table.len(), 8);
        assert_eq!(table["plain"], Quirks::default());
        assert!(table["supermicro"].cd_is_usb_cd);
        assert_eq!(Quirks::preset("dell").unwrap().power_rest_ms, 1500);
        assert_eq!(Quirks::preset("nobody"), None);
    }
}
