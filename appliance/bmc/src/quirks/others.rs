//! Everybody else, and what is true of too many to be asked for by name.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "weak-tags",
        when: ANYONE,
        switches: &[],
        story: "Weak entity tags are served and only their strong form is taken in If-Match.  The strong form is \
            tried first, for everybody.",
        source: "sushy connector.py",
        test: "weak_tags_are_made_strong",
    },
    Quirk {
        id: "compression-changes-tags",
        when: ANYONE,
        switches: &[],
        story: "What is compressed has another entity tag.  Nothing compressed is asked for, of anybody.",
        source: "sushy connector.py",
        test: "hpe_no_accept_encoding_is_sent",
    },
    Quirk {
        id: "slots-without-insert",
        when: When { managers: &["openbmc"], ..ANYONE },
        switches: &[Switch::SlotsWithoutInsert],
        story: "Some virtual media slots lack InsertMedia or answer 405 (Cisco C845A, OpenBMC): try the next \
            one.",
        source: "ironic drivers/modules/redfish/boot.py",
        test: "openbmc_slots_may_lack_insert",
    },
    Quirk {
        id: "cisco-dvd",
        when: When { makers: &["cisco"], ..ANYONE },
        switches: &[Switch::DvdForCd, Switch::SlotsWithoutInsert, Switch::NoPortsListed],
        story: "UCS offers DVD and not CD, has slots for internal use, and lists no EthernetInterfaces.",
        source: "ironic boot.py, management.py, bug 2031595",
        test: "cisco_offers_dvd",
    },
    Quirk {
        id: "connection-close",
        when: ANYONE,
        switches: &[],
        story: "Kept connections choke some controllers.  After the first one that was dropped, Connection: \
            close is sent to that controller.",
        source: "sushy connector.py",
        test: "a_dropped_connection_is_closed_ever_after",
    },
    Quirk {
        id: "plain-image-url",
        when: ANYONE,
        switches: &[Switch::PlainImageUrl],
        story: "Some controllers refuse image addresses with `&` or `?`: ours never have any.",
        source: "ironic doc/source/admin/drivers/redfish.rst",
        test: "image_addresses_are_plain",
    },
    Quirk {
        id: "huawei-no-managed-by",
        when: ANYONE,
        switches: &[],
        story: "Systems without Links/ManagedBy (Huawei): the first of Managers is taken, with a finding, for \
            everybody.",
        source: "sushy release note retry-on-missing-managedby",
        test: "a_system_without_managed_by_has_the_first_manager",
    },
    Quirk {
        id: "few-sessions",
        when: ANYONE,
        switches: &[Switch::FewSessions],
        story: "Controllers have few sessions, and a second client may end ours: one session, renewed once for \
            each request, ended when done.",
        source: "sushy connector.py",
        test: "a_revoked_token_is_renewed_once_and_a_wrong_password_is_tried_once",
    },
    Quirk {
        id: "no-root-links",
        when: ANYONE,
        switches: &[],
        story: "Service roots without Links (sushy-tools) and without sessions: the standard's paths, then Basic \
            authentication.",
        source: "nv-redfish 0.22 against sushy-tools: missing field Links",
        test: "a_service_without_links_and_sessions_is_served_by_basic",
    },
    Quirk {
        id: "sushy-emulator-continuous",
        when: When { makers: &["sushy"], ..ANYONE },
        switches: &[Switch::OnceShownAsContinuous],
        story: "sushy-emulator takes Once and shows Continuous whatever was set; it has neither serial nor \
            sessions.",
        source: "sushy-tools 2.2.0, emulator/templates/system.json",
        test: "sushy_emulator_shows_continuous",
    },
    Quirk {
        id: "bare-fraction-numbers",
        when: ANYONE,
        switches: &[],
        story: "Whole numbers are written as 65536.0 or as text.  Both are read, of everybody.",
        source: "DMTF public-rackmount1; Dell iDRAC 9 tree",
        test: "odd_fields_are_missing_fields",
    },
];
