//! Names of boot entries: which system, and how many tries it has left ("Automatic Boot Assessment", systemd).
//!
//! `0004b+2-1.efi` is the fourth system that was put onto this drive, in slot b, with two tries left after one.  Without
//! a counter it is promoted.  The boot loader takes the entry with the largest number that has tries left, because all
//! else that it compares first is equal or grows too.  The name is short on purpose: it takes two entries of a
//! directory, which never lie in two sectors.

use std::fmt;

use appliance_api::agent::host::Slot;

/// Where entries are on the boot loader's volume.
pub const FOLDER: [&str; 2] = ["EFI", "Linux"];
/// Tries of a system that is new: power cuts take some, and a broken system should not take long.
pub const TRIES: u8 = 3;
/// The last number that a name has room for.
pub const GENERATION_MAX: u32 = 9999;

/// An entry's name, ours or another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// What comes before counter and ending.
    pub stem: String,
    /// Tries left; absent for one that is promoted.
    pub left: Option<u32>,
    /// Tries made.
    pub done: u32,
}

impl Name {
    /// A new system.
    #[must_use]
    pub fn fresh(generation: u32, slot: Slot) -> Self {
        Self { stem: format!("{generation:04}{slot}"), left: Some(TRIES.into()), done: 0 }
    }

    /// The same, promoted.
    #[must_use]
    pub fn promoted(&self) -> Self {
        Self { stem: self.stem.clone(), left: None, done: 0 }
    }

    /// Reads a file's name; `None` for what is no entry.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".efi").or_else(|| file.strip_suffix(".EFI"))?;
        let plain = Self { stem: stem.to_owned(), left: None, done: 0 };
        let Some((before, counter)) = stem.rsplit_once('+') else { return Some(plain) };
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        Some(match (left.parse(), done.parse()) {
            (Ok(left), Ok(done)) => Self { stem: before.to_owned(), left: Some(left), done },
            (Ok(_) | Err(_), _) => plain,
        })
    }

    /// Which system it is on this drive; 0 for names that are not ours.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.stem.get(..4).and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Whether all its tries were in vain.
    #[must_use]
    pub fn spent(&self) -> bool {
        self.left == Some(0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.left, self.done) {
            (None, _) => write!(f, "{}.efi", self.stem),
            (Some(left), 0) => write!(f, "{}+{left}.efi", self.stem),
            (Some(left), done) => write!(f, "{}+{left}-{done}.efi", self.stem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_systemds() {
        let name = |stem: &str, left, done| Some(Name { stem: stem.into(), left, done });
        for (file, expected) in [
            ("0004b+3.efi", name("0004b", Some(3), 0)),
            ("0004b+2-1.efi", name("0004b", Some(2), 1)),
            ("0004b.efi", name("0004b", None, 0)),
            ("scalerforge-host-0.1.0+0-3.efi", name("scalerforge-host-0.1.0", Some(0), 3)),
            ("host+build.efi", name("host+build", None, 0)),
            ("0004b.new", None),
        ] {
            assert_eq!(Name::parse(file), expected, "{file}");
            if let Some(name) = expected {
                assert_eq!(name.to_string(), file);
            }
        }
        assert_eq!(Name::fresh(4, Slot::B).to_string(), "0004b+3.efi");
        assert_eq!(Name::fresh(4, Slot::B).promoted().to_string(), "0004b.efi");
        assert_eq!(Name::fresh(GENERATION_MAX, Slot::A).generation(), 9999);
        assert_eq!(Name::parse("scalerforge.efi").map(|name| name.generation()), Some(0));
        let longest = Name { stem: "9999b".into(), left: Some(2), done: 1 };
        assert!(longest.to_string().len() <= 13, "one long part and one short: two entries of a directory");
    }
}
