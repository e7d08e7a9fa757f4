//! What an image contains, as other people's tools read it: a CycloneDX 1.6 document, the same bytes each time.
//!
//! Debian packages with their purl, hash and the licences that their copyright file states in machine-readable form;
//! the crates that Cargo.lock resolves for our programs; and the files of our own.  A copyright file that is prose gives no
//! licence: nothing is guessed.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::crates;
use crate::firmware;
use crate::manifest::FileEntry;
use crate::packages::{Package, Packages};

/// More than any copyright file we have seen (the kernel's has 40 KB).
const COPYRIGHT_BYTES_MAX: u64 = 4 << 20;

/// A package with the licences of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licensed<'a> {
    /// The package.
    pub package: &'a Package,
    /// Debian's short names, sorted.
    pub licences: BTreeSet<String>,
}

/// What a document is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Name and version of the image.
    pub name: &'a str,
    /// SHA-256 of the image, hex; the document's serial number comes from it.
    pub sha256: &'a str,
    /// The distribution's name for its release.
    pub suite: &'a str,
    /// The packages of this workspace whose programs are in it.
    pub programs: &'a [&'a str],
}

/// The licences that `root`'s copyright file of this package states.
#[must_use]
pub fn licensed<'a>(package: &'a Package, root: &Path) -> Licensed<'a> {
    let path = root.join("usr/share/doc").join(&package.name).join("copyright");
    let small = std::fs::metadata(&path).is_ok_and(|data| data.len() < COPYRIGHT_BYTES_MAX);
    let text = if small { std::fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
    Licensed { package, licences: licences(&text) }
}

/// The firmware packages that these files are from, with the licences of just these files.
pub(crate) fn firmware<'a>(
    packages: &'a Packages,
    files: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = Licensed<'a>> {
    let of = |name: &str| packages.list().iter().find(|package| package.name == name);
    let found = firmware::licences(packages, files).into_iter();
    found.filter_map(move |(name, licences)| Some(Licensed { package: of(name)?, licences }))
}

/// Short names of the licences in a machine-readable copyright file (DEP 5); none in any other text.
#[must_use]
pub fn licences(copyright: &str) -> BTreeSet<String> {
    if machine_readable(copyright) { short_names(copyright) } else { BTreeSet::new() }
}

/// As [`licences`], for one file of the package: the last paragraph whose patterns fit it decides, as DEP 5 has it.
#[must_use]
pub fn licences_of(copyright: &str, file: &str) -> BTreeSet<String> {
    if !machine_readable(copyright) {
        return BTreeSet::new();
    }
    let fits = |paragraph: &&str| {
        let patterns = paragraph.lines().skip_while(|line| !line.starts_with("Files:"));
        let patterns = patterns.enumerate().take_while(|(index, line)| *index == 0 || line.starts_with(' '));
        let mut words = patterns.flat_map(|(_, line)| line.split_whitespace());
        words.any(|pattern| matches(pattern.as_bytes(), file.as_bytes()))
    };
    copyright.split("\n\n").filter(fits).last().map(short_names).unwrap_or_default()
}

/// DEP 5's patterns: `*` stands for any text, slashes too; `?` for one letter.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where the last star stood, and up to where the text was taken for it.
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(letter) if *letter == b'?' || Some(letter) == text.get(from) => {
                (at, from) = (at + 1, from + 1)
            }
            Some(_) | None => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, from) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|letter| *letter == b'*')
}

fn machine_readable(copyright: &str) -> bool {
    let first = copyright.lines().next();
    first.is_some_and(|line| line.starts_with("Format:") && line.contains("copyright-format"))
}

fn short_names(copyright: &str) -> BTreeSet<String> {
    let fields = copyright.lines().filter_map(|line| line.strip_prefix("License:"));
    let names = fields
        .map(|names| format!("{names} ").replace(" and/or ", ",").replace(" or ", ",").replace(" and ", ","));
    names
        .flat_map(|names| names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The SPDX identifier of a Debian short name, where there is one.
fn spdx(name: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 21] = [
        ("Apache-2", "Apache-2.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("Artistic", "Artistic-1.0-Perl"),
        ("BSD-2-clause", "BSD-2-Clause"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("BSD-4-clause-UC", "BSD-4-Clause-UC"),
        ("CC0-1.0", "CC0-1.0"),
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        ("GPL-3", "GPL-3.0-only"),
        ("GPL-3+", "GPL-3.0-or-later"),
        ("ISC", "ISC"),
        ("LGPL-2", "LGPL-2.0-only"),
        ("LGPL-2+", "LGPL-2.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("LGPL-3+", "LGPL-3.0-or-later"),
        ("MIT", "MIT"),
        ("Zlib", "Zlib"),
    ];
    NAMES.iter().find(|(debian, _)| *debian == name).map(|(_, spdx)| *spdx)
}

/// Writes the document.
#[must_use]
pub fn document(subject: Subject<'_>, packages: &[Licensed<'_>], own: &[&FileEntry]) -> Value {
    let packages = packages.iter().map(|licensed| package(subject, licensed));
    let crates = crates::of(subject.programs).into_iter().map(|(name, version)| {
        let purl = format!("pkg:cargo/{name}@{}", escaped(&version));
        json!({ "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl })
    });
    let own = own.iter().map(|file| {
        json!({
            "type": "file",
            "bom-ref": format!("file:{}", file.path),
            "name": file.path,
            "hashes": [{ "alg": "SHA-256", "content": file.sha256 }],
        })
    });
    let components: Vec<Value> = packages.chain(crates).chain(own).collect();
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(subject.sha256)),
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "bom-ref": subject.name,
                "name": subject.name,
                "hashes": [{ "alg": "SHA-256", "content": subject.sha256 }],
            },
            "properties": [{
                "name": "scalerforge:crates",
                "value": format!(
                    "what Cargo.lock resolves for {} on any platform; a superset of what is linked",
                    subject.programs.join(" and ")
                ),
            }],
        },
        "components": components,
    })
}

fn package(subject: Subject<'_>, licensed: &Licensed<'_>) -> Value {
    let package = licensed.package;
    let (name, version) = (escaped(&package.name), escaped(&package.version));
    let purl =
        format!("pkg:deb/debian/{name}@{version}?arch={}&distro={}", package.architecture, subject.suite);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
        "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
        "properties": [{ "name": "debian:source", "value": package.source }],
    });
    let licences: Vec<Value> = licensed
        .licences
        .iter()
        .map(|name| match spdx(name) {
            Some(id) => json!({ "license": { "id": id } }),
            None => json!({ "license": { "name": name } }),
        })
        .collect();
    if !licences.is_empty()
        && let Some(fields) = component.as_object_mut()
    {
        fields.insert("licenses".to_owned(), Value::Array(licences));
    }
    component
}

/// A purl's version: of what Debian allows in one, these mean something else there.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace(':', "%3A")
}

/// The first 16 bytes of a hash in the form of a UUID of version 8, which says that it is made by rules of our own.
fn uuid(sha256: &str) -> String {
    let digit = |at: usize| sha256.get(at..=at).unwrap_or("0");
    let span = |from: usize, to: usize| sha256.get(from..to).unwrap_or("0").to_owned();
    let variant = match digit(16) {
        "0" | "4" | "8" | "c" => "8",
        "1" | "5" | "9" | "d" => "9",
        "2" | "6" | "a" | "e" => "a",
        _ => "b",
    };
    format!("{}-{}-8{}-{variant}{}-{}", span(0, 8), span(8, 12), span(13, 16), span(17, 20), span(20, 32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> Package {
        Package {
            name: "libstdc++6".into(),
            version: "1:14.2.0-19+deb13u1~x".into(),
            architecture: "amd64".into(),
            source: "gcc-14".into(),
            file: "x.deb".into(),
            bytes: 1,
            sha256: "ab".repeat(32),
        }
    }

    #[test]
    fn licences_are_read_where_they_are_machine_readable() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                    Files: *\nLicense: GPL-2+ or Expat, and ISC\n text\n\nLicense: GPL-2+\n more\n";
        let found: Vec<String> = licences(text).into_iter().collect();
        assert_eq!(found, ["Expat", "GPL-2+", "ISC"]);
        assert!(licences("This is GPL.\nLicense: MIT\n").is_empty());
    }

    #[test]
    fn a_files_licence_is_that_of_the_last_paragraph_that_fits() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                    Files: *\nLicense: A\n\nFiles: bnx2/* bnx2x/*\nLicense: B\n x\n\n\
                    Files: none\n ice/ice-?.pkg\nCopyright: x\n y/*\nLicense: C or D\n";
        for (file, expected) in [
            ("bnx2x/a.fw", "B"),
            ("ice/ice-1.pkg", "C D"),
            ("ice/ice-12.pkg", "A"),
            ("y/z", "A"),
            ("none", "C D"),
        ] {
            let found: Vec<String> = licences_of(text, file).into_iter().collect();
            assert_eq!(found.join(" "), expected, "{file}");
        }
        assert!(licences_of("This is GPL.", "x").is_empty());
    }

    #[test]
    fn the_document_is_what_others_read() {
        let package = package();
        let licensed =
            Licensed { package: &package, licences: ["Expat".to_owned(), "odd".to_owned()].into() };
        let subject = Subject {
            name: "image",
            sha256: &"0123456789abcdef".repeat(4),
            suite: "trixie",
            programs: &["image-agent"],
        };
        let file = FileEntry { path: "init".into(), bytes: 1, sha256: "cd".repeat(32) };
        let made = document(subject, &[licensed], &[&file]);
        assert_eq!(made["serialNumber"], "urn:uuid:01234567-89ab-8def-8123-456789abcdef");
        let first = &made["components"][0];
        assert_eq!(
            first["purl"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19%2Bdeb13u1~x?arch=amd64&distro=trixie"
        );
        assert_eq!(first["licenses"][0]["license"]["id"], "MIT");
        assert_eq!(first["licenses"][1]["license"]["name"], "odd");
        let components = made["components"].as_array().unwrap();
        let references: BTreeSet<&str> =
            components.iter().map(|part| part["bom-ref"].as_str().unwrap()).collect();
        assert_eq!(references.len(), components.len(), "each is named once");
        assert!(
            components
                .iter()
                .any(|part| part["purl"].as_str().is_some_and(|purl| purl.starts_with("pkg:cargo/rustls@")))
        );
        assert!(!components.iter().any(|part| part["name"] == "clap"), "not in the agent");
        assert_eq!(components.last().unwrap()["name"], "init");
    }
}
