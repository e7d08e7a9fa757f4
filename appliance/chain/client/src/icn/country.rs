//! Countries as ICN counts them: the place of an ISO 3166-1 alpha-3 code in the order of English names, from 0.

/// One after another, three letters each; the place is the code.
const CODES: &str = "\
    AFGALAALBDZAASMANDAGOAIAATAATGARGARMABWAUSAUTAZEBHSBHRBGDBRBBLRBELBLZBENBMUBTNBOLBESBIHBWABVTBRAIOTBRNBGRBFA\
    BDICPVKHMCMRCANCYMCAFTCDCHLCHNCXRCCKCOLCOMCOGCODCOKCRICIVHRVCUBCUWCYPCZEDNKDJIDMADOMECUEGYSLVGNQERIESTSWZETH\
    FLKFROFJIFINFRAGUFPYFATFGABGMBGEODEUGHAGIBGRCGRLGRDGLPGUMGTMGGYGINGNBGUYHTIHMDVATHNDHKGHUNISLINDIDNIRNIRQIRL\
    IMNISRITAJAMJPNJEYJORKAZKENKIRPRKKORKWTKGZLAOLVALBNLSOLBRLBYLIELTULUXMACMDGMWIMYSMDVMLIMLTMHLMTQMRTMUSMYTMEX\
    FSMMDAMCOMNGMNEMSRMARMOZMMRNAMNRUNPLNLDNCLNZLNICNERNGANIUNFKMKDMNPNOROMNPAKPLWPSEPANPNGPRYPERPHLPCNPOLPRTPRI\
    QATREUROURUSRWABLMSHNKNALCAMAFSPMVCTWSMSMRSTPSAUSENSRBSYCSLESGPSXMSVKSVNSLBSOMZAFSGSSSDESPLKASDNSURSJMSWECHE\
    SYRTWNTJKTZATHATLSTGOTKLTONTTOTUNTURTKMTCATUVUGAUKRAREGBRUSAUMIURYUZBVUTVENVNMVGBVIRWLFESHYEMZMBZWE";

/// Letters of a code.
const LETTERS: usize = 3;

/// The country of an ICN location code (`83` is `DEU`); `None` above 248.
#[must_use]
pub fn country(location: u8) -> Option<&'static str> {
    let start = usize::from(location) * LETTERS;
    CODES.get(start..start + LETTERS)
}

/// The ICN location code of a country, by its ISO 3166-1 alpha-3 code in either case.
#[must_use]
pub fn location(alpha3: &str) -> Option<u8> {
    (0..=u8::MAX).find(|&code| country(code).is_some_and(|country| country.eq_ignore_ascii_case(alpha3)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// If this fails, change the code above, not this test: a node in the wrong country is registered for years.
    #[test]
    fn places_are_those_that_are_known() {
        for (code, alpha3) in [
            (0, "AFG"),
            (60, "DNK"),
            (76, "FRA"),
            (83, "DEU"),
            (156, "NLD"),
            (177, "POL"),
            (200, "SGP"),
            (215, "CHE"),
            (234, "GBR"),
            (235, "USA"),
            (248, "ZWE"),
        ] {
            assert_eq!(country(code), Some(alpha3));
            assert_eq!(location(&alpha3.to_ascii_lowercase()), Some(code));
        }
        assert_eq!((country(249), country(255), location("XKX"), location("")), (None, None, None, None));
        let all: BTreeSet<_> = (0..249).filter_map(country).collect();
        assert_eq!((all.len(), CODES.len()), (249, 747));
        assert!(all.iter().all(|code| code.bytes().all(|letter| letter.is_ascii_uppercase())));
    }
}
