//! How firmware versions compare, scheme by scheme.  A scheme is named by the document: guessing one from the text is
//! how `1.10` came to be older than `1.9`.
//!
//! Two versions that the scheme cannot order are *not comparable*, and that is said; it is never "new enough".

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A way of writing versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// Numbers between dots, dashes or underscores: `2.19.1`, `24.38.1402`, `01.02.16`.  Dell's BIOS, NICs, most BMCs.
    Dotted,
    /// A number with a letter of revision, also within a sentence: Supermicro's `3.3a`,
    /// `BIOS Date: 08/04/2023 Ver 1.4`.
    Supermicro,
    /// ROM family, version, date: HPE's `U30 v2.72 (06/08/2022)`.  Different families are different firmware.
    Hpe,
    /// A number of hexadecimal digits: microcode `0x2b000639`, CPLD `F5`.
    Hex,
    /// Hexadecimal numbers between dots: NVIDIA's VBIOS `96.00.61.00.01`.
    HexDotted,
    /// A name without order, as NVMe firmware has: equal or not.  Only lists of allowed and denied ones make sense.
    Opaque,
}

impl Scheme {
    /// Compares two versions; `None` if this scheme cannot order them.
    #[must_use]
    pub fn compare(self, one: &str, other: &str) -> Option<Ordering> {
        match self {
            Self::Dotted => compare_numbers(&numbers(one, 10)?, &numbers(other, 10)?),
            Self::HexDotted => compare_numbers(&numbers(one, 16)?, &numbers(other, 16)?),
            Self::Hex => Some(hex(one)?.cmp(&hex(other)?)),
            Self::Supermicro => {
                let ((one, letter), (other, letter_2)) = (supermicro(one)?, supermicro(other)?);
                compare_numbers(&one, &other).map(|order| order.then_with(|| letter.cmp(&letter_2)))
            }
            Self::Hpe => {
                let ((family, one), (family_2, other)) = (hpe(one)?, hpe(other)?);
                if family.eq_ignore_ascii_case(&family_2) { compare_numbers(&one, &other) } else { None }
            }
            Self::Opaque => one.trim().eq_ignore_ascii_case(other.trim()).then_some(Ordering::Equal),
        }
    }

    /// Whether both name the same version.
    #[must_use]
    pub fn same(self, one: &str, other: &str) -> bool {
        one.trim().eq_ignore_ascii_case(other.trim()) || self.compare(one, other) == Some(Ordering::Equal)
    }

    /// Whether versions of this scheme have an order at all.
    #[must_use]
    pub fn ordered(self) -> bool {
        self != Self::Opaque
    }

    /// Whether this scheme can read `text`.
    #[must_use]
    pub fn reads(self, text: &str) -> bool {
        self.compare(text, text).is_some()
    }
}

/// More parts than any firmware writes.
const PARTS_MAX: usize = 16;

/// The numbers of a dotted version; `None` if a part is none.  A leading `v` is dropped.
fn numbers(text: &str, radix: u32) -> Option<Vec<u64>> {
    let text = text.trim().trim_start_matches(['v', 'V']);
    let parts: Option<Vec<u64>> =
        text.split(['.', '-', '_']).map(|part| u64::from_str_radix(part, radix).ok()).collect();
    parts.filter(|parts| !parts.is_empty() && parts.len() <= PARTS_MAX)
}

/// Missing parts count as nought: `2.1` and `2.1.0` are one version.
#[expect(clippy::unnecessary_wraps, reason = "reads as the other arms of `compare` do")]
fn compare_numbers(one: &[u64], other: &[u64]) -> Option<Ordering> {
    let part = |of: &[u64], at: usize| of.get(at).copied().unwrap_or(0);
    let length = one.len().max(other.len());
    Some(
        (0..length)
            .map(|at| part(one, at).cmp(&part(other, at)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal),
    )
}

fn hex(text: &str) -> Option<u64> {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text), 16).ok()
}

/// `3.3a` is 3.3 and its revision a; no letter comes before `a`.  A sentence around it says where it is by `Ver`.
fn supermicro(text: &str) -> Option<(Vec<u64>, Option<char>)> {
    let text = text.rsplit_once("Ver ").map_or(text, |(_, version)| version).trim();
    let text = text.split_whitespace().next()?;
    let last = text.chars().next_back().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase());
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    // More than one letter (`3.5-OCNG5.`, `3.3.V1`) is a customer's own line, which compares with nothing.
    if text.len() - number.len() > 1 {
        return None;
    }
    Some((numbers(number, 10)?, last))
}

/// `A42 v2.60 (08/11/2022)` is family A42, version 2.60, and `iLO 5 v2.72` is family iLO 5; a list that names the
/// controller beside it says `2.72 Sep 04 2022`, which has no family.
fn hpe(text: &str) -> Option<(String, Vec<u64>)> {
    let words: Vec<&str> = text.split_whitespace().take(PARTS_MAX).collect();
    let version = words.iter().position(|word| {
        word.strip_prefix(['v', 'V']).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    match version {
        Some(at) => Some((words.get(..at)?.join(" "), numbers(words.get(at)?, 10)?)),
        None => Some((String::new(), numbers(words.first()?, 10)?)),
    }
}

#[cfg(test)]
mod tests {
    use Ordering::{Equal, Greater, Less};

    use super::*;

    /// Versions as machines wrote them, from captured inventories and DMI tables.
    #[test]
    fn versions_compare_by_their_scheme() {
        for (scheme, one, other, order) in [
            (Scheme::Dotted, "1.9", "1.10", Some(Less)),
            (Scheme::Dotted, "2.19.1", "2.19.1", Some(Equal)),
            (Scheme::Dotted, "2.1", "2.1.0", Some(Equal)),
            (Scheme::Dotted, "01.02.16", "1.3", Some(Less)),
            (Scheme::Dotted, "24.38.1402", "24.40.1000", Some(Less)),
            (Scheme::Dotted, "3.50 0x800016DC", "3.50", None),
            (Scheme::Dotted, "", "1", None),
            (Scheme::Supermicro, "3.3", "3.3a", Some(Less)),
            (Scheme::Supermicro, "3.3b", "3.3a", Some(Greater)),
            (Scheme::Supermicro, "3.4", "3.3a", Some(Greater)),
            (Scheme::Supermicro, "2.0e   ", "2.1", Some(Less)),
            (Scheme::Supermicro, "BIOS Date: 08/04/2023 Ver 1.4", "1.4", Some(Equal)),
            (Scheme::Supermicro, "3.5-OCNG5.", "3.4", None),
            (Scheme::Supermicro, "3.3.V1", "3.4", None),
            (Scheme::Hpe, "A42 v2.60 (08/11/2022)", "A42 v2.72", Some(Less)),
            (Scheme::Hpe, "U30 v2.72 (06/08/2022)", "A42 v2.60", None),
            (Scheme::Hpe, "2.72 Sep 04 2022", "2.72", Some(Equal)),
            (Scheme::Hpe, "P89", "P89 v2.76", None),
            (Scheme::Hpe, "iLO 5 v2.72", "iLO 5 v2.78", Some(Less)),
            (Scheme::Hpe, "iLO 5 v2.72", "iLO 4 v2.53", None),
            (Scheme::Hex, "0x2b000639", "0x2b000620", Some(Greater)),
            (Scheme::Hex, "F5", "0xf5", Some(Equal)),
            (Scheme::Hex, "F5.11.CB", "F5", None),
            (Scheme::HexDotted, "96.00.61.00.01", "96.00.A5.00.01", Some(Less)),
            (Scheme::HexDotted, "92.00.9F.00.01", "92.00.100.00.01", Some(Less)),
            (Scheme::Opaque, "GDC5602Q", "gdc5602q", Some(Equal)),
            (Scheme::Opaque, "GDC5602Q", "GDC5902Q", None),
        ] {
            assert_eq!(scheme.compare(one, other), order, "{scheme:?} {one} {other}");
            assert_eq!(scheme.compare(other, one), order.map(Ordering::reverse), "{scheme:?} {other} {one}");
        }
        assert!(Scheme::Dotted.reads("1.2") && !Scheme::Dotted.reads("P89"));
    }
}
