//! Fields where the specification puts them.

use super::*;

#[test]
fn what_a_controller_offers() {
    let page = |oacs: u8, fna: u8, sanicap: u8| {
        let mut page = vec![0_u8; 4096];
        (page[256], page[524], page[328]) = (oacs, fna, sanicap);
        page
    };
    for (page, method) in [
        (page(0, 0, 0), None),
        (page(2, 0, 0), Some(Method::NvmeFormat)),
        (page(2, 0, 0b101), Some(Method::NvmeSanitizeCrypto)),
        (page(2, 2, 0b011), Some(Method::NvmeSanitizeBlock)),
        (vec![], None),
    ] {
        assert_eq!(Offers::of(&page).method(), method);
    }
    assert!(Offers::of(&page(2, 2, 0)).erases_all && !Offers::of(&page(2, 1, 0)).erases_all);
}

#[test]
fn how_a_sanitize_operation_stands() {
    for (log, expected) in [
        ([0xff, 0xff, 0, 0], Sanitize::Never),
        ([0xff, 0xff, 1, 1], Sanitize::Done),
        ([0, 0x80, 2, 0], Sanitize::Going { permille: 500 }),
        ([0, 0, 3, 0], Sanitize::Failed),
        ([0xff, 0xff, 4, 0], Sanitize::Done),
        ([0xff, 0xff, 7, 0], Sanitize::Failed),
    ] {
        assert_eq!(Sanitize::of(&log), expected, "{log:?}");
    }
}

/// A format must not change the size of the blocks, nor their metadata and protection.
#[test]
fn a_namespace_stays_as_it_is_formatted() {
    for (flbas, dps, expected) in [(0, 0, 0x200), (0x01, 0, 0x201), (0x12, 0x09, 0x332), (0x61, 0x03, 0x3261)]
    {
        let mut page = [0_u8; 4096];
        (page[26], page[29]) = (flbas, dps);
        assert_eq!(format_dword(&page), expected, "{flbas:#x} {dps:#x}");
    }
}
