//! What the sealed image brings beside the system, handed on to it: whose it is, which release, and the TPM's policy.
//!
//! The root is the same everywhere; site and policy are in the measured initramfs, which is gone when the system runs.
//! So they are copied to `/run`: CA and appliance to `/run/scalerforge/site`, the release to `/run/scalerforge/release`,
//! the policy to where systemd looks for it.  Nothing here is secret.

use std::{fs, io, path::Path};

/// Where the image has it.
const CARRIED: &str = "/etc/scalerforge";
/// Where the boot stub puts the policy.
const EXTRA: &str = "/.extra";
/// What the boot stub calls it, and systemd.
const POLICY: [&str; 2] = ["tpm2-pcr-public-key.pem", "tpm2-pcr-signature.json"];
/// Where systemd looks for it.
pub(crate) const POLICY_TO: &str = "/run/systemd";
/// Where the system finds what we hand on.
pub(crate) const TO: &str = "/run/scalerforge";
/// What a site is.
const SITE: [&str; 2] = ["ca.pem", "appliance"];
/// Systems that obey an appliance.  Others, as the appliance itself, belong to no site before they make one.
pub(crate) const OBEYS: &str = "scalerforge-host";

/// Why nothing can be handed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "this image belongs to no site, so there is nobody whose orders it could take ({what} is missing): install it from an appliance, which seals it"
    )]
    NoSite { what: &'static str },
    #[error("{path} says no release and epoch: this image was put together wrongly, install it again")]
    NoRelease { path: String },
    #[error("{TO} cannot be filled: is there memory left?")]
    Write(#[source] io::Error),
}

/// Which system this is, as the image says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What the TPM's floor counts.
    pub(crate) epoch: u32,
}

impl Release {
    /// Reads `KEY=value` lines.
    fn parse(text: &str) -> Option<Release> {
        let value = |key| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        Some(Release {
            name: value("RELEASE")?.to_owned(),
            version: value("VERSION")?.to_owned(),
            epoch: value("EPOCH")?.parse().ok()?,
        })
    }
}

/// Copies everything; gives the release.
pub(crate) fn hand_on() -> Result<Release, Error> {
    copy(Path::new(CARRIED), Path::new(EXTRA), Path::new(TO), Path::new(POLICY_TO))
}

fn copy(carried: &Path, extra: &Path, to: &Path, policy_to: &Path) -> Result<Release, Error> {
    let said = carried.join("release");
    let text = fs::read_to_string(&said).unwrap_or_default();
    let release = Release::parse(&text).ok_or(Error::NoRelease { path: said.display().to_string() })?;
    let site = to.join("site");
    fs::create_dir_all(&site).map_err(Error::Write)?;
    fs::create_dir_all(policy_to).map_err(Error::Write)?;
    fs::write(to.join("release"), &text).map_err(Error::Write)?;
    for what in SITE {
        match fs::read(carried.join(what)) {
            Ok(content) if !content.is_empty() => {
                fs::write(site.join(what), content).map_err(Error::Write)?
            }
            Ok(_) | Err(_) if release.name == OBEYS => return Err(Error::NoSite { what }),
            Ok(_) | Err(_) => {}
        }
    }
    for name in POLICY {
        // Without it the state stays in memory, and that is said when the state is opened.
        if let Ok(content) = fs::read(extra.join(name)) {
            fs::write(policy_to.join(name), content).map_err(Error::Write)?;
        }
    }
    Ok(release)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("image-start-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        for part in ["carried", "extra"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        dir
    }

    fn hand(dir: &Path) -> Result<Release, Error> {
        copy(&dir.join("carried"), &dir.join("extra"), &dir.join("run"), &dir.join("systemd"))
    }

    #[test]
    fn a_sealed_image_hands_on_what_it_carries() {
        let dir = place("sealed");
        assert!(matches!(hand(&dir), Err(Error::NoRelease { .. })));
        fs::write(dir.join("carried/release"), "RELEASE=scalerforge-host\nVERSION=1.2\nEPOCH=7\n").unwrap();
        assert!(matches!(hand(&dir), Err(Error::NoSite { what: "ca.pem" })));
        fs::write(dir.join("carried/ca.pem"), "CA").unwrap();
        fs::write(dir.join("carried/appliance"), "").unwrap();
        assert!(matches!(hand(&dir), Err(Error::NoSite { what: "appliance" })), "an empty one is none");
        fs::write(dir.join("carried/appliance"), "APPLIANCE=https://a\n").unwrap();
        fs::write(dir.join("extra/tpm2-pcr-signature.json"), "{}").unwrap();
        let release = hand(&dir).unwrap();
        assert_eq!(release, Release { name: "scalerforge-host".into(), version: "1.2".into(), epoch: 7 });
        let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
        assert_eq!(read("run/site/ca.pem"), "CA");
        assert_eq!(read("run/site/appliance"), "APPLIANCE=https://a\n");
        assert!(read("run/release").starts_with("RELEASE=scalerforge-host\n"));
        assert_eq!(read("systemd/tpm2-pcr-signature.json"), "{}");
        assert!(!dir.join("systemd/tpm2-pcr-public-key.pem").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_appliance_needs_no_site() {
        let dir = place("appliance");
        fs::write(dir.join("carried/release"), "RELEASE=scalerforge-appliance\nVERSION=1\nEPOCH=1\n")
            .unwrap();
        assert_eq!(hand(&dir).unwrap().epoch, 1);
        fs::write(dir.join("carried/release"), "RELEASE=scalerforge-appliance\nVERSION=1\nEPOCH=x\n")
            .unwrap();
        assert!(matches!(hand(&dir), Err(Error::NoRelease { .. })));
        fs::remove_dir_all(&dir).unwrap();
    }
}
