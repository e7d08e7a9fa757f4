//! Sizes and speeds with their units, and patterns: the words of the documents that need a rule of their own.
//!
//! A size or speed without a unit is refused, because 64 of what was meant is what goes wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A size in bytes.  Written `64 GiB`, `3.84 TB`, `1024 B`: powers of two and of ten are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

/// Units of size, larger first, so that a size is said in the largest unit that divides it.
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A memory speed in megatransfers a second, written `4800 MT/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Transfers(pub u32);

/// A network speed in Mbit/s, written `400 Gbit/s` or `1000 Mbit/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(pub u32);

/// A PCIe link, written `32 GT/s x16`: a rate in megatransfers a second a lane, and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Link {
    /// Megatransfers a second on each lane.
    pub transfers: u32,
    /// Lanes.
    pub lanes: u32,
}

/// A text with `*` for anything and `?` for one character; case and the blanks at both ends do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

/// A decimal number and a unit: the number in thousandths, since no document needs finer ones.
fn number_and_unit(text: &str) -> Option<(u128, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = if part.is_empty() { 0 } else { format!("{part:0<3}").parse::<u128>().ok()? };
    let whole: u64 = whole.parse().ok()?;
    Some((u128::from(whole) * 1000 + thousandths, unit.trim()))
}

/// `thousandths` of `unit`, if that is a whole number.
fn times(thousandths: u128, unit: u64) -> Option<u64> {
    let product = thousandths * u128::from(unit);
    if product.is_multiple_of(1000) { u64::try_from(product / 1000).ok() } else { None }
}

impl TryFrom<String> for Size {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parsed = number_and_unit(&text).and_then(|(thousandths, unit)| {
            let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit)?;
            times(thousandths, *bytes)
        });
        parsed.filter(|bytes| *bytes > 0).map(Self).ok_or_else(|| {
            format!("`{text}` is no size; write a number and its unit, such as 64 GiB or 3.84 TB")
        })
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        let (name, unit) =
            SIZES.iter().find(|(_, unit)| size.0.is_multiple_of(*unit)).copied().unwrap_or(("B", 1));
        format!("{} {name}", size.0 / unit)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl Size {
    /// Said as drives are sold: `3.84 TB`, rounded to three digits.
    #[must_use]
    pub fn sold(self) -> String {
        let (unit, name) =
            if self.0 >= 1_000_000_000_000 { (1_000_000_000_000, "TB") } else { (1_000_000_000, "GB") };
        if self.0 < 1_000_000_000 {
            return self.to_string();
        }
        let hundredths = (self.0 + unit / 200) / (unit / 100);
        match (hundredths / 100, hundredths % 100) {
            (whole, 0) => format!("{whole} {name}"),
            (whole, part) if part % 10 == 0 => format!("{whole}.{} {name}", part / 10),
            (whole, part) => format!("{whole}.{part:02} {name}"),
        }
    }

    /// Equal within one percent: a drive sold as 3.84 TB has 3 840 755 982 336 bytes, and a namespace a little less.
    #[must_use]
    pub fn about(self, other: Self) -> bool {
        self.0.abs_diff(other.0) <= self.0.max(other.0) / 100
    }
}

macro_rules! in_unit {
    ($name:ident, $example:literal, $units:expr) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let units: &[(&str, u64)] = $units;
                let parsed = number_and_unit(&text).and_then(|(thousandths, unit)| {
                    let (_, each) = units.iter().find(|(name, _)| *name == unit)?;
                    u32::try_from(times(thousandths, *each)?).ok()
                });
                parsed.filter(|value| *value > 0).map(Self).ok_or_else(|| {
                    format!("`{text}` is no speed; write a number and its unit, such as {}", $example)
                })
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                let units: &[(&str, u64)] = $units;
                let value = u64::from(value.0);
                let (name, each) =
                    units.iter().find(|(_, each)| value.is_multiple_of(*each)).copied().unwrap_or(("", 1));
                format!("{} {name}", value / each)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&String::from(*self))
            }
        }
    };
}

in_unit!(Transfers, "4800 MT/s", &[("MT/s", 1)]);
in_unit!(BitRate, "400 Gbit/s", &[("Gbit/s", 1000), ("Mbit/s", 1)]);

impl TryFrom<String> for Link {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::read(&text).ok_or_else(|| format!("`{text}` is no PCIe link; write it as 32 GT/s x16"))
    }
}

impl From<Link> for String {
    fn from(link: Link) -> Self {
        let (whole, part) = (link.transfers / 1000, link.transfers % 1000);
        let part = if part == 0 { String::new() } else { format!(".{}", part / 100) };
        format!("{whole}{part} GT/s x{}", link.lanes)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

impl Link {
    /// Reads what documents write (`32 GT/s x16`) and what the kernel writes (`16.0 GT/s PCIe x16`).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (rate, lanes) = text.rsplit_once('x')?;
        let (thousandths, unit) = number_and_unit(rate)?;
        if !matches!(unit, "GT/s" | "GT/s PCIe") {
            return None;
        }
        let link = Self { transfers: u32::try_from(thousandths).ok()?, lanes: lanes.trim().parse().ok()? };
        (link.transfers > 0 && link.lanes > 0).then_some(link)
    }

    /// Whether this link does what `least` asks for, lane rate and lanes both.
    #[must_use]
    pub fn reaches(self, least: Self) -> bool {
        self.transfers >= least.transfers && self.lanes >= least.lanes
    }
}

impl Pattern {
    /// A pattern for exactly this text: its own `*` and `?` stand for one character.
    #[must_use]
    pub fn exactly(text: &str) -> Self {
        Self(text.trim().replace('*', "?"))
    }

    /// Whether `text` fits.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let lower = |text: &str| text.trim().chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
        glob(&lower(&self.0), &lower(text))
    }
}

/// Iterative, so that no pattern takes more than the product of both lengths.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&want) if want == '?' || want == c => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                Some((at, from)) => {
                    p = at + 1;
                    t = from + 1;
                    star = Some((at, t));
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_speeds_need_units() {
        for (text, bytes) in [
            ("64 GiB", Some(64 << 30)),
            ("3.84 TB", Some(3_840_000_000_000)),
            ("1.5TiB", Some(3 << 39)),
            ("7681501126656 B", Some(7_681_501_126_656)),
            ("64", None),
            ("64 G", None),
            ("0 B", None),
            ("-1 GiB", None),
            ("1.2345 TB", None),
            ("0.5 B", None),
            ("99999999999999 TiB", None),
        ] {
            assert_eq!(Size::try_from(text.to_owned()).ok().map(|size| size.0), bytes, "{text}");
        }
        assert_eq!(Transfers::try_from("4800 MT/s".to_owned()), Ok(Transfers(4800)));
        assert!(Transfers::try_from("4800".to_owned()).is_err());
        assert_eq!(BitRate::try_from("400 Gbit/s".to_owned()), Ok(BitRate(400_000)));
        assert_eq!(BitRate(2_500).to_string(), "2500 Mbit/s");
        assert!(BitRate::try_from("400 GB/s".to_owned()).is_err());
    }

    #[test]
    fn what_is_said_can_be_read_again() {
        for size in [1, 1000, 1 << 30, 3_840_755_982_336, 480_103_981_056, u64::MAX] {
            assert_eq!(Size::try_from(Size(size).to_string()), Ok(Size(size)));
        }
        let sold = |bytes| Size(bytes).sold();
        assert_eq!(sold(3_840_755_982_336), "3.84 TB");
        assert_eq!(sold(480_103_981_056), "480.1 GB");
        assert_eq!(sold(22_000_969_973_760), "22 TB");
        assert_eq!(sold(1_000), "1 kB");
        assert!(Size(3_840_755_982_336).about(Size(3_840_000_000_000)));
        assert!(!Size(3_840_000_000_000).about(Size(3_200_000_000_000)));
    }

    #[test]
    fn links_of_kernel_and_document() {
        let kernel = Link::read("16.0 GT/s PCIe x16").unwrap();
        assert!(kernel.reaches(Link::read("16 GT/s x8").unwrap()));
        assert!(!kernel.reaches(Link::read("32 GT/s x8").unwrap()));
        assert_eq!(Link::read("2.5 GT/s x1").unwrap().to_string(), "2.5 GT/s x1");
        for bad in ["", "x16", "GT/s x16", "16 x16", "16 GT/s x0", "Unknown x0", "16 GB/s x16"] {
            assert_eq!(Link::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("Supermicro*", "Supermicro", true),
            ("*H100*", "NVIDIA H100 80GB HBM3", true),
            ("sys-821ge-tnhr", " SYS-821GE-TNHR ", true),
            ("a*b*c", "axxbxxbxc", true),
            ("a*b*c", "axxbxxbx", false),
            ("??", "ab", true),
            ("??", "abc", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(Pattern(pattern.into()).fits(text), fits, "{pattern} {text}");
        }
        assert!(Pattern::exactly("odd*name").fits("odd*name"));
    }
}
