//! HPE: iLO 4 to 6.

use super::{Quirk, Switch, When};
use crate::quirks::when::ANYONE;

pub(super) const QUIRKS: &[Quirk] = &[
    Quirk {
        id: "hpe-post-refuses",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::NoBootChangeInPost, Switch::RefusesAfterPowerChange],
        story: "Boot changes during POST are refused with UnableToModifyDuringSystemPOST; requests right after a \
            power change answer 400.",
        source: "ironic drivers/modules/redfish/management.py; sushy release note retry-ilo-not-ready",
        test: "hpe_refuses_boot_changes_in_post",
    },
    Quirk {
        id: "hpe-eject-body",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::EjectNeedsBody],
        story: "EjectMedia without a body is refused; it needs `{}`.",
        source: "sushy resources/manager/virtual_media.py",
        test: "hpe_eject_needs_a_body",
    },
    Quirk {
        id: "hpe-no-identity-encoding",
        when: ANYONE,
        switches: &[],
        story: "Accept-Encoding: identity is answered with 406 for registries.  We send no Accept-Encoding to \
            anybody.",
        source: "sushy connector.py",
        test: "hpe_no_accept_encoding_is_sent",
    },
    Quirk {
        id: "hpe-if-match-star",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::NoIfMatchStar, Switch::ErrorMayMeanSuccess],
        story: "If-Match: * answers 412; success may come as an `error` object with iLO.0.10.ExtendedInfo and \
            status 200.",
        source: "nv-redfish-quirks platform.rs",
        test: "hpe_refuses_if_match_star",
    },
    Quirk {
        id: "hpe-spelling",
        when: ANYONE,
        switches: &[],
        story: "URIs are in lower case with a trailing slash and answer only so (DL385, iLO 5).  Links are \
            followed as they are spelt, for everybody.",
        source: "DL385 Gen10 Plus v2 tree, iLO 5 2.72 (libredfish tests/mockups)",
        test: "hpe_links_keep_their_spelling",
    },
    Quirk {
        id: "hpe-id-missing",
        when: ANYONE,
        switches: &[],
        story: "@odata.id is missing during power transitions.  Resources are known by the path they were read \
            from, for everybody.",
        source: "libredfish src/hpe.rs",
        test: "hpe_id_may_be_missing",
    },
    Quirk {
        id: "hpe-account-types",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::AccountTypesMissing],
        story: "Accounts lack AccountTypes.",
        source: "nv-redfish-quirks platform.rs",
        test: "hpe_accounts_lack_types",
    },
    Quirk {
        id: "hpe-event-types",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::SubscriptionNeedsEventTypes],
        story: "A subscription without EventTypes is refused with 400; other makers' late firmware refuses the \
            word itself.",
        source: "DMTF Redfish-Tacklebox issue 89; gofish pull request 241",
        test: "hpe_wants_event_types",
    },
    Quirk {
        id: "hpe-https-certificate",
        when: When { makers: &["hpe", "hp"], firmware_below: &[3, 0], ..ANYONE },
        switches: &[Switch::CertificateByOem("SecurityService/HttpsCert")],
        story: "The certificate is Managers/1/SecurityService/HttpsCert with actions of its own; there is no \
            CertificateService.",
        source: "DL385 Gen10 Plus v2 tree, iLO 5 2.72 (libredfish tests/mockups)",
        test: "hpe_has_a_certificate_of_its_own",
    },
    Quirk {
        id: "hpe-licence-service",
        when: When { makers: &["hpe", "hp"], ..ANYONE },
        switches: &[Switch::LicencesAt("LicenseService")],
        story: "Licences are a collection below the manager, Managers/1/LicenseService, and not below the root.",
        source: "DL385 Gen10 Plus v2 tree, iLO 5 2.72 (libredfish tests/mockups)",
        test: "hpe_licences_are_below_the_manager",
    },
];
