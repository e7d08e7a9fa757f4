//! Debian's order of package versions (deb-version(7)): epochs as numbers, then pieces of letters and of digits in turn.

use std::cmp::Ordering;

/// Compares two versions as dpkg does.
#[must_use]
pub fn compare(one: &str, two: &str) -> Ordering {
    let (first, second) = (parts(one), parts(two));
    digits(first.0, second.0).then_with(|| pieces(first.1, second.1)).then_with(|| pieces(first.2, second.2))
}

/// Epoch, upstream version, revision.
fn parts(version: &str) -> (&str, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

fn pieces(mut one: &str, mut two: &str) -> Ordering {
    while !one.is_empty() || !two.is_empty() {
        let (first, second) = (cut(&mut one, false), cut(&mut two, false));
        let order = letters(first, second);
        if order.is_ne() {
            return order;
        }
        let order = digits(cut(&mut one, true), cut(&mut two, true));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the digits, or what is none, from the beginning.
fn cut<'a>(text: &mut &'a str, wanted: bool) -> &'a str {
    let end = text.find(|letter: char| letter.is_ascii_digit() != wanted).unwrap_or(text.len());
    let (piece, rest) = text.split_at(end);
    *text = rest;
    piece
}

/// Numbers of any length.
fn digits(one: &str, two: &str) -> Ordering {
    let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
    one.len().cmp(&two.len()).then_with(|| one.cmp(two))
}

/// `~` before the end, the end before letters, letters before all else.
fn letters(one: &str, two: &str) -> Ordering {
    let weight = |letter: Option<char>| match letter {
        Some('~') => 0,
        None => 1,
        Some(letter) if letter.is_ascii_alphabetic() => 2 + u32::from(letter),
        Some(letter) => 0x20_0000 + u32::from(letter),
    };
    let (mut one, mut two) = (one.chars(), two.chars());
    loop {
        let (first, second) = (one.next(), two.next());
        let order = weight(first).cmp(&weight(second));
        if order.is_ne() || first.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From deb-version(7) and from versions that the lock has had.
    #[test]
    fn versions_are_in_dpkgs_order() {
        let rising = [
            "1.0~~",
            "1.0~~a",
            "1.0~",
            "1.0",
            "1.0-0.1",
            "1.0-1~deb13u1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-1+deb13u2",
            "1.0-1+deb13u10",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.00000000000000000000002",
            "1.10",
            "1:0.1",
        ];
        for (index, one) in rising.iter().enumerate() {
            for (other, two) in rising.iter().enumerate() {
                assert_eq!(compare(one, two), index.cmp(&other), "{one} and {two}");
            }
        }
        assert_eq!(compare("1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("0:01.0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn dpkg_says_the_same() {
        let versions = [
            "2.41-12+deb13u4",
            "2.41-12+deb13u3",
            "6.12.117-1",
            "6.12.9-1",
            "1.3.dfsg+really1.3.1-1",
            "1.3.1",
            "4:1~rc1-2",
        ];
        for one in versions {
            for two in versions {
                let mut dpkg = std::process::Command::new("dpkg");
                let less = dpkg.args(["--compare-versions", one, "lt", two]).status().unwrap().success();
                assert_eq!(compare(one, two) == Ordering::Less, less, "{one} and {two}");
            }
        }
    }
}
