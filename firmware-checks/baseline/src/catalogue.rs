//! The site's catalogue of firmware images: which file is for what, which version it brings, and its digest.  And the
//! choice among them: an image is chosen only if with its version the finding would be gone.
//!
//! An image that is older than what is there is told as a downgrade, and so is one of which nobody can tell: makers give
//! some firmware names without order.

use std::cmp::Ordering;

use appliance_model::Digest;
use serde::Deserialize;

use crate::{
    Machine,
    document::{Applies, DocumentError, Source},
    quantity::Pattern,
    report::Component,
    version::Scheme,
};

/// Images in one catalogue: every component of every model of a large site, and room.
const IMAGES_MAX: usize = 2000;
/// Longest name of a file.
const FILE_BYTES_MAX: usize = 128;

/// Images, each with what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// SHA-256 over its values, written canonically: what a plan names.
    pub digest: Digest,
    /// Its name.
    pub id: String,
    /// Grows with each change.
    pub version: u32,
    /// The images.
    pub images: Vec<Image>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// The models it is for.
    #[serde(default, rename = "match")]
    pub applies: Applies,
    /// What kind of component.
    pub component: Component,
    /// Which components of that kind, by the names that findings have.
    #[serde(default = "anything")]
    pub names: Vec<Pattern>,
    /// Ids or names of the controller's firmware inventory that it may be given to.  None: the component's own.
    #[serde(default)]
    pub targets: Vec<Pattern>,
    /// The version it brings, as the controller will show it.
    pub version: String,
    /// How versions compare.
    pub scheme: Scheme,
    /// Its file, in the catalogue's directory.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

fn anything() -> Vec<Pattern> {
    vec![Pattern("*".into())]
}

/// An image that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The image.
    pub image: &'a Image,
    /// It is older than what is there, or nobody can tell.
    pub downgrade: bool,
}

/// A component that is to be mended: what a finding names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Its kind.
    pub component: Component,
    /// Its name.
    pub name: &'a str,
    /// Its version now.
    pub found: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "kind")]
    _kind: String,
    format: u32,
    id: String,
    version: u32,
    #[serde(default)]
    image: Vec<Image>,
}

impl Catalogue {
    /// Reads a catalogue.
    ///
    /// # Errors
    /// If it is none, or an image in it makes no sense.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, DocumentError> {
        let source = Source::read(file, bytes)?;
        if source.kind() != "firmware-catalogue" {
            let why = format!("`{}` is no catalogue of images; write firmware-catalogue", source.kind());
            return Err(source.value("kind", why));
        }
        let wire: Wire = source.parse()?;
        source.header(wire.format, &wire.id, wire.version)?;
        if wire.image.len() > IMAGES_MAX {
            return Err(source.value("image", format!("more than {IMAGES_MAX} images")));
        }
        for image in &wire.image {
            image.sane().map_err(|why| source.value(format!("image `{}`", image.file), why))?;
        }
        Ok(Self { digest: source.digest(), id: wire.id, version: wire.version, images: wire.image })
    }

    /// The image that mends a component of this machine: the newest by whose version the finding would be gone, as
    /// `remains` tells of the machine with it.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub fn choose(
        &self,
        machine: &Machine,
        wanted: Wanted<'_>,
        remains: &dyn Fn(&Machine) -> bool,
    ) -> Result<Choice<'_>, String> {
        let Wanted { component, name, found } = wanted;
        let fits = |image: &&Image| {
            image.component == component
                && image.applies.fits(machine)
                && image.names.iter().any(|pattern| pattern.fits(name))
                && !image.scheme.same(&image.version, found)
        };
        let mut known = 0_usize;
        let mut best: Option<Choice<'_>> = None;
        for image in self.images.iter().filter(fits) {
            known += 1;
            if remains(&machine.with_firmware(component, name, &image.version)) {
                continue;
            }
            let downgrade = image.scheme.compare(&image.version, found) != Some(Ordering::Greater);
            let better = best.as_ref().is_none_or(|best| match (best.downgrade, downgrade) {
                (true, false) => true,
                (false, true) => false,
                (true, true) | (false, false) => {
                    image.scheme.compare(&image.version, &best.image.version) == Some(Ordering::Greater)
                }
            });
            if better {
                best = Some(Choice { image, downgrade });
            }
        }
        best.ok_or_else(|| match known {
            0 => format!("the catalogue `{}` has no image of {} for this machine", self.id, component.word()),
            known => format!("none of the {known} images in the catalogue `{}` would mend it", self.id),
        })
    }
}

impl Image {
    /// Whether it may be given to a component that the controller lists by this id and name; `finding` is the name in
    /// the finding that it mends.
    #[must_use]
    pub fn aims_at(&self, finding: &str, id: &str, name: Option<&str>) -> bool {
        let listed = || [Some(id), name].into_iter().flatten();
        if !self.targets.is_empty() {
            return self.targets.iter().any(|pattern| listed().any(|one| pattern.fits(one)));
        }
        listed()
            .any(|one| one.eq_ignore_ascii_case(finding) || one.eq_ignore_ascii_case(self.component.word()))
    }

    fn sane(&self) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
        if self.file.is_empty() || self.file.len() > FILE_BYTES_MAX || !self.file.chars().all(plain) {
            return Err(format!(
                "is no plain file name: up to {FILE_BYTES_MAX} letters, digits, dots, dashes"
            ));
        }
        if self.file.starts_with('.') {
            return Err("begins with a dot".into());
        }
        if self.names.is_empty() {
            return Err("names no component; leave `names` out for all".into());
        }
        if !self.scheme.reads(&self.version) {
            return Err(format!("its version `{}` is not written as its scheme says", self.version));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use appliance_model::inventory::{Inventory, System};

    use super::*;
    use crate::{Library, check_baseline};

    const SHA: &str = "0101010101010101010101010101010101010101010101010101010101010101";

    fn catalogue(images: &[(&str, &str, &str)]) -> Catalogue {
        let mut text =
            String::from("kind = \"firmware-catalogue\"\nformat = 1\nid = \"site\"\nversion = 1\n");
        for (version, file, more) in images {
            text += &format!(
                "[[image]]\ncomponent = \"bios\"\nversion = \"{version}\"\nscheme = \"dotted\"\nfile = \"{file}\"\n\
                 sha256 = \"{SHA}\"\n{more}\n"
            );
        }
        Catalogue::read("catalogue.toml", text.as_bytes()).unwrap()
    }

    fn machine(bios: &str) -> Machine {
        let system =
            System { bios_version: Some(bios.into()), product: Some("R1".into()), ..System::default() };
        Machine::of(None, Some(&Inventory { system, ..Inventory::default() }))
    }

    /// Whether a machine still has a finding, by a baseline with these lines.
    fn choose<'a>(catalogue: &'a Catalogue, rule: &str, found: &str) -> Result<Choice<'a>, String> {
        let mut library = Library::default();
        let text = format!(
            "kind = \"baseline\"\nformat = 1\nid = \"b\"\nversion = 1\ntitle = \"t\"\n[[firmware]]\ncomponent = \"bios\"\n\
             scheme = \"dotted\"\nseverity = \"blocking\"\n{rule}\n"
        );
        library.add("b.toml", text.as_bytes()).unwrap();
        let baseline = library.baseline("b").unwrap();
        let remains = |machine: &Machine| !check_baseline(machine, baseline).findings.is_empty();
        assert!(remains(&machine(found)));
        catalogue.choose(
            &machine(found),
            Wanted { component: Component::Bios, name: "BIOS", found },
            &remains,
        )
    }

    #[test]
    fn the_newest_that_mends_is_chosen_and_an_older_one_is_told_as_such() {
        let images = catalogue(&[
            ("1.2", "b-1.2.bin", ""),
            ("2.1", "b-2.1.bin", ""),
            ("2.0", "b-2.0.bin", ""),
            ("9.0", "b-9.0.bin", "match = { product = [\"R9\"] }"),
        ]);
        let rows = [
            ("floor = \"2.0\"", "1.0", Ok(("2.1", false))),
            ("allow = [\"2.0\"]", "1.0", Ok(("2.0", false))),
            // Only what is older will do.
            ("allow = [\"1.2\"]", "2.0", Ok(("1.2", true))),
            ("deny = [\"2.1\"]", "2.1", Ok(("2.0", true))),
            ("floor = \"3.0\"", "1.0", Err("none of the 3 images")),
        ];
        for (rule, found, expected) in rows {
            let chosen = choose(&images, rule, found);
            match (chosen, expected) {
                (Ok(chosen), Ok(expected)) => {
                    assert_eq!((chosen.image.version.as_str(), chosen.downgrade), expected, "{rule}");
                }
                (Err(why), Err(words)) => assert!(why.contains(words), "{why}"),
                (chosen, _) => panic!("{rule}: {chosen:?}"),
            }
        }
        let none = choose(&catalogue(&[]), "floor = \"2.0\"", "1.0").unwrap_err();
        assert!(none.contains("has no image of BIOS"), "{none}");
    }

    #[test]
    fn an_image_aims_at_its_component() {
        let image = |more: &str| catalogue(&[("1.0", "b.bin", more)]).images.remove(0);
        for (more, id, name, fits) in [
            ("", "BIOS", None, true),
            ("", "1", Some("bios"), true),
            ("", "BMC", None, false),
            ("targets = [\"Bios_*\"]", "BIOS_Active", None, true),
            ("targets = [\"Bios_*\"]", "BIOS", None, false),
        ] {
            assert_eq!(image(more).aims_at("BIOS", id, name), fits, "{more} {id}");
        }
    }

    #[test]
    fn a_catalogue_is_hashed_and_what_makes_no_sense_is_refused() {
        let one = catalogue(&[("1.0", "b.bin", "")]);
        assert_eq!(one.digest, catalogue(&[("1.0", "b.bin", "# a remark")]).digest);
        assert_ne!(one.digest, catalogue(&[("1.1", "b.bin", "")]).digest);
        let head = "kind = \"firmware-catalogue\"\nformat = 1\nid = \"site\"\nversion = 1\n";
        let image = |file: &str, version: &str, sha: &str| {
            format!(
                "{head}[[image]]\ncomponent = \"bios\"\nversion = \"{version}\"\nscheme = \"dotted\"\nfile = \"{file}\"\n\
                 sha256 = \"{sha}\"\n"
            )
        };
        for (text, words) in [
            (image("../b.bin", "1.0", SHA), "no plain file name"),
            (image(".b.bin", "1.0", SHA), "begins with a dot"),
            (image("b.bin", "one", SHA), "not written as its scheme says"),
            (image("b.bin", "1.0", "01"), "64 hex digits"),
            (format!("{head}[[image]]\ncolour = \"blue\"\n"), "colour"),
            ("kind = \"baseline\"\n".into(), "firmware-catalogue"),
        ] {
            let error = Catalogue::read("c.toml", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
