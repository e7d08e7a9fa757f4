//! From the host's own apt sources to a private list for the release that the images are made of.
//!
//! The host says where its Debian mirror is and which keyring signs it; only the suite is replaced.  So a site with a
//! local mirror or a proxy needs no setting here, and no host name is written into this program.

use std::fmt::Write as _;

/// The Debian release whose packages the images are made of.
pub const SUITE: &str = "trixie";

/// The parts of the archive that images are made of; the second has the firmware of network cards, and nothing else is
/// taken from it.
const COMPONENTS: &str = "main non-free-firmware";

/// Where Debian's own keyring package puts the archive keys; it knows several releases at a time.
pub const ARCHIVE_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names under which a Debian mirror offers a release.  Other distributions use other names, so that a host that is not
/// Debian yields no source instead of a wrong one.
const DEBIAN_SUITES: [&str; 10] = [
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "sid",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
];

/// One source of binary packages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    /// Key files or fingerprints in one line, or an embedded key in several.
    signed_by: Option<String>,
    trusted: bool,
}

/// Reads the one-line format (`sources.list`, `*.list`).
#[must_use]
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let mut rest = line.split('#').next()?.trim().strip_prefix("deb")?;
    if !rest.starts_with(char::is_whitespace) {
        return None;
    }
    rest = rest.trim_start();
    let mut source = Source::default();
    if let Some(options) = rest.strip_prefix('[') {
        let (options, behind) = options.split_once(']')?;
        rest = behind;
        for option in options.split_whitespace() {
            match option.split_once('=') {
                Some(("signed-by", value)) => source.signed_by = Some(value.replace(',', " ")),
                Some(("trusted", "yes")) => source.trusted = true,
                _ => {}
            }
        }
    }
    let mut words = rest.split_whitespace().map(str::to_owned);
    source.uris = vec![words.next()?];
    source.suites = vec![words.next()?];
    source.components = words.collect();
    Some(source)
}

/// Reads the paragraph format (`*.sources`).
#[must_use]
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(paragraph(&fields));
            fields.clear();
        } else if line.starts_with(char::is_whitespace) {
            if let Some((_, value)) = fields.last_mut() {
                let _ = write!(value, "\n {}", line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn paragraph(fields: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let words = |name: &str| -> Vec<String> {
        field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    if field("enabled") == Some("no") || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Source {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        signed_by: field("signed-by").map(str::to_owned),
        trusted: field("trusted") == Some("yes"),
    })
}

/// Where the host gets Debian's archives from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrors {
    /// Roots of the release's archive.
    pub release: Vec<String>,
    /// Roots of the security updates' archive; empty if the host names none.
    pub security: Vec<String>,
}

/// The host's mirrors.  `None` if it names no Debian mirror.
#[must_use]
pub fn mirrors(sources: &[Source]) -> Option<Mirrors> {
    let (release, security) = archives(sources)?;
    Some(Mirrors {
        release: release.uris.clone(),
        security: security.map(|source| source.uris.clone()).unwrap_or_default(),
    })
}

/// The private source list: [`SUITE`] from the host's Debian mirror, and its security suite if the host has one.
/// `keyring_exists` says whether [`ARCHIVE_KEYRING`] is there.  `None` if the host names no Debian mirror.
#[must_use]
pub fn private_list(sources: &[Source], keyring_exists: bool) -> Option<String> {
    let (release, security) = archives(sources)?;
    let mut text = stanza(release, SUITE, keyring_exists);
    if let Some(source) = security {
        text.push('\n');
        text.push_str(&stanza(source, &format!("{SUITE}-security"), keyring_exists));
    }
    Some(text)
}

/// The source of a release, and that of security updates.
fn archives(sources: &[Source]) -> Option<(&Source, Option<&Source>)> {
    let has = |source: &Source, name: &dyn Fn(&str) -> Option<String>| {
        source
            .suites
            .iter()
            .any(|suite| name(suite).is_some_and(|base| DEBIAN_SUITES.contains(&base.as_str())))
            && source.components.iter().any(|component| component == "main")
    };
    let plain = |suite: &str| Some(suite.to_owned());
    let security = |suite: &str| {
        suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates")).map(str::to_owned)
    };
    let main = sources.iter().find(|source| has(source, &plain))?;
    Some((main, sources.iter().find(|source| has(source, &security))))
}

fn stanza(source: &Source, suite: &str, keyring_exists: bool) -> String {
    let mut text =
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: {COMPONENTS}\n", source.uris.join(" "));
    // The host's keyring may know only the host's own release; Debian's archive keyring knows the next one as well.
    match (&source.signed_by, keyring_exists) {
        (Some(keys), true) if keys.contains('\n') => {
            let _ = writeln!(text, "Signed-By: {ARCHIVE_KEYRING}");
        }
        (Some(keys), true) if !keys.split_whitespace().any(|key| key == ARCHIVE_KEYRING) => {
            let _ = writeln!(text, "Signed-By: {keys} {ARCHIVE_KEYRING}");
        }
        (Some(keys), _) => {
            let _ = writeln!(text, "Signed-By: {keys}");
        }
        (None, _) => {}
    }
    if source.trusted {
        text.push_str("Trusted: yes\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: &str = "http://mirror.invalid/debian";

    #[test]
    fn both_formats_give_the_same_source() {
        let one = parse_list(&format!(
            "# old\ndeb-src {MIRROR} bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] {MIRROR} bookworm main contrib # x\n"
        ));
        let two = parse_deb822(&format!(
            "# comment\nTypes: deb deb-src\nURIs: {MIRROR}\n# inside\nSuites: bookworm\nComponents: main\n contrib\nSigned-By: /k.gpg\n\n\
             Enabled: no\nTypes: deb\nURIs: x\nSuites: sid\nComponents: main\n"
        ));
        assert_eq!(one, two);
    }

    #[test]
    fn private_lists() {
        let bookworm = format!("deb {MIRROR} bookworm main\n");
        let security = "deb http://sec.invalid/d bookworm-security main\n";
        let plain =
            format!("Types: deb\nURIs: {MIRROR}\nSuites: trixie\nComponents: main non-free-firmware\n");
        let more = "\nTypes: deb\nURIs: http://sec.invalid/d\nSuites: trixie-security\nComponents: main non-free-firmware\n";
        let signed = |keys: &str| format!("deb [signed-by={keys}] {MIRROR} stable main\n");
        let keyed = |keys: &str| Some(format!("{plain}Signed-By: {keys}\n"));
        let table = [
            (bookworm.clone(), true, Some(plain.clone())),
            (format!("{security}{bookworm}"), true, Some(format!("{plain}{more}"))),
            (signed("/k.gpg"), false, keyed("/k.gpg")),
            (signed("/k.gpg"), true, keyed(&format!("/k.gpg {ARCHIVE_KEYRING}"))),
            (signed(ARCHIVE_KEYRING), true, keyed(ARCHIVE_KEYRING)),
            (format!("deb {MIRROR} bookworm contrib\ndeb http://other.invalid noble main\n"), true, None),
            (format!("deb [trusted=yes] {MIRROR} sid main\n"), true, Some(format!("{plain}Trusted: yes\n"))),
        ];
        for (text, keyring, expected) in table {
            assert_eq!(private_list(&parse_list(&text), keyring), expected, "{text}");
        }
    }

    #[test]
    fn an_embedded_key_gives_way_to_the_archive_keyring() {
        let text = "Types: deb\nURIs: http://m.invalid\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n";
        let sources = parse_deb822(text);
        assert!(private_list(&sources, true).unwrap().ends_with(&format!("Signed-By: {ARCHIVE_KEYRING}\n")));
        assert!(private_list(&sources, false).unwrap().contains("Signed-By: \n -----BEGIN\n .\n abc\n"));
    }
}
