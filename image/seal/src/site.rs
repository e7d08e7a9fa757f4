//! Sealing: the site's archive goes behind the initramfs of a base UKI, and can be found there again.
//!
//! The archive is uncompressed and the last thing in `.initrd`, so that the kernel unpacks it over the base's own files
//! and anybody can read it without unpacking anything.  It is measured (PCRs 9 and 11) and signed with the rest.

use attest_evidence::ReferenceValues;

use crate::cpio::{self, Archive};
use crate::key::{Key, KeyError};
use crate::pe::{self, Image};
use crate::policy::Policy;
use crate::{authenticode, pcr, uki};

/// Where the agent finds the appliance's CA.
pub const CA_PATH: &str = "etc/scalerforge/ca.pem";
/// Where an installed host's agent finds its appliance: `APPLIANCE=https://…`, a systemd environment file.
pub const APPLIANCE_PATH: &str = "etc/scalerforge/appliance";
/// What a site's archive may hold, its header and padding included: two dozen certificates.
pub const SITE_BYTES_MAX: usize = 64 << 10;
/// No name of an appliance is longer.
const APPLIANCE_BYTES_MAX: usize = 1024;
/// How every record of the archive begins.
const RECORD_MAGIC: &[u8] = b"070701";
const RECORD_HEADER_BYTES: usize = 110;
/// The sections that [`seal`] moves or makes: everything that is not the boot stub's own.
const FIRST_OWN_SECTION: &str = ".osrel";
const INITRD: &str = ".initrd";
const POLICY_KEY: &str = ".pcrpkey";
const POLICY_SIGNATURE: &str = ".pcrsig";

/// Why an image was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a UKI.
    #[error("cannot seal this file: it is not the UKI of an image build")]
    Uki(#[source] pe::Error),
    /// It belongs to somebody.
    #[error("this image belongs to a site already; seal the base image that the build wrote")]
    Sealed,
    /// The CA is not a PEM certificate, or brings a key along.
    #[error(
        "the appliance CA must be certificates in PEM form and nothing else, but {why}; pass the site's ca.pem"
    )]
    Ca {
        /// What is wrong.
        why: &'static str,
    },
    /// Not the address of an appliance.
    #[error("`{text}` is not where an appliance can be; give an https URL, as `https://10.0.0.2`")]
    Appliance {
        /// As it was given, escaped.
        text: String,
    },
    /// The archive cannot be written.
    #[error("cannot write the site's archive")]
    Archive(#[source] cpio::Error),
    /// The policy cannot be signed.
    #[error("cannot sign the policy over PCR {}", crate::policy::POLICY_PCR)]
    Policy(#[source] KeyError),
    /// The image cannot be signed.
    #[error("cannot sign the sealed image")]
    Sign(#[source] authenticode::Error),
}

/// What makes an image a site's.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The site's CA certificates, PEM.
    pub ca_pem: &'a [u8],
    /// Where the appliance is, for images that start without a boot ticket: an `https` URL.
    pub appliance: Option<&'a str>,
}

/// The site that an image was sealed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteOf {
    /// The site's CA certificates, PEM.
    pub ca_pem: Vec<u8>,
    /// Where the appliance is, if the image says it.
    pub appliance: Option<String>,
}

/// A base image that has become a site's.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The UKI file.
    pub uki: Vec<u8>,
    /// What it makes of the PCRs when firmware starts it; `uki::reference_behind` says it for a boot loader.
    pub reference: ReferenceValues,
}

/// Seals the base UKI for `site`, with a signed policy over PCR 11 if the image opens something by its TPM.
///
/// # Errors
/// [`Error`].
pub fn seal(base: &[u8], site: &Site<'_>, policy: Option<&Policy<'_>>) -> Result<Sealed, Error> {
    let archive = archive(site)?;
    let image = Image::parse(base).map_err(Error::Uki)?;
    let missing = pe::Error::Malformed { what: "it has no initramfs" };
    let base_initrd = image.section(INITRD).ok_or(Error::Uki(missing))?;
    if find(base_initrd).is_some() || image.section(POLICY_KEY).is_some() {
        return Err(Error::Sealed);
    }
    // The kernel begins an archive at multiples of four only.
    let mut initrd = base_initrd.to_vec();
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend_from_slice(&archive);
    assemble(&image, &initrd, policy)
}

/// The base UKI of a system that belongs to no site, with a policy over PCR 11: whose key vouches for an appliance's
/// updates, its maker's, is known before there is a site.
///
/// # Errors
/// [`Error`].
pub fn vouch(base: &[u8], policy: &Policy<'_>) -> Result<Sealed, Error> {
    let image = Image::parse(base).map_err(Error::Uki)?;
    let missing = pe::Error::Malformed { what: "it has no initramfs" };
    let initrd = image.section(INITRD).ok_or(Error::Uki(missing))?;
    if image.section(POLICY_KEY).is_some() {
        return Err(Error::Sealed);
    }
    assemble(&image, initrd, Some(policy))
}

/// The image with another initramfs, and a policy if there is one.
fn assemble(image: &Image<'_>, initrd: &[u8], policy: Option<&Policy<'_>>) -> Result<Sealed, Error> {
    let stub = image.without(FIRST_OWN_SECTION).map_err(Error::Uki)?;
    let stub = Image::parse(&stub).map_err(Error::Uki)?;
    let own = image.sections().iter().skip(stub.sections().len());
    let mut sections: Vec<(&str, &[u8])> = own
        .filter_map(|section| {
            let name = section.name.as_str();
            Some((name, if name == INITRD { initrd } else { image.section(name)? }))
        })
        .collect();
    let (public, signature);
    if let Some(policy) = policy {
        public = policy.public_key().map_err(Error::Policy)?;
        sections.push((POLICY_KEY, public.as_bytes()));
        let unsigned = stub.with_sections(&sections).map_err(Error::Uki)?;
        let value = pcr::pcr11(&Image::parse(&unsigned).map_err(Error::Uki)?);
        signature = policy.signature(&value).map_err(Error::Policy)?;
        sections.push((POLICY_SIGNATURE, signature.as_bytes()));
    }
    finish(stub.with_sections(&sections).map_err(Error::Uki)?)
}

/// The site that `uki` was sealed for; `None` if it is a base image.
///
/// # Errors
/// If it is no UKI.
pub fn unseal(uki: &[u8]) -> Result<Option<SiteOf>, Error> {
    let image = Image::parse(uki).map_err(Error::Uki)?;
    let missing = pe::Error::Malformed { what: "it has no initramfs" };
    Ok(find(image.section(INITRD).ok_or(Error::Uki(missing))?))
}

impl Sealed {
    /// The same image signed for Secure Boot.  It measures the same; its file is another.
    ///
    /// # Errors
    /// If key and certificate do not fit, or the key is damaged.
    pub fn signed(&self, key: &Key, certificate_der: &[u8]) -> Result<Sealed, Error> {
        finish(authenticode::sign(&self.uki, key, certificate_der).map_err(Error::Sign)?)
    }
}

fn finish(uki: Vec<u8>) -> Result<Sealed, Error> {
    let reference = uki::measure(None, &uki).map_err(Error::Uki)?;
    Ok(Sealed { uki, reference })
}

/// Refuses what is no CA for an image: everything but certificates, and above all a key.
///
/// # Errors
/// [`Error::Ca`].
pub fn check_ca(pem: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(pem).map_err(|_| Error::Ca { why: "it is not text" })?;
    if text.contains("PRIVATE KEY") {
        return Err(Error::Ca { why: "it contains a private key, which every server would receive" });
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Error::Ca { why: "there is no certificate in it" });
    }
    if pem.len() > SITE_BYTES_MAX / 2 {
        return Err(Error::Ca { why: "it is larger than a few certificates" });
    }
    Ok(())
}

fn archive(site: &Site<'_>) -> Result<Vec<u8>, Error> {
    check_ca(site.ca_pem)?;
    let mut archive = Archive::new();
    archive.file(CA_PATH, site.ca_pem.to_vec(), false).map_err(Error::Archive)?;
    if let Some(appliance) = site.appliance {
        let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'"' | b'\'' | b'\\' | b'$' | b'`');
        if !appliance.starts_with("https://")
            || appliance.len() > APPLIANCE_BYTES_MAX
            || appliance.bytes().any(odd)
        {
            return Err(Error::Appliance { text: appliance.escape_debug().take(100).collect() });
        }
        let line = format!("APPLIANCE={appliance}\n");
        archive.file(APPLIANCE_PATH, line.into_bytes(), false).map_err(Error::Archive)?;
    }
    Ok(archive.to_bytes())
}

/// The site's archive at the end of an initramfs.
fn find(initrd: &[u8]) -> Option<SiteOf> {
    let tail_start = initrd.len().saturating_sub(SITE_BYTES_MAX).next_multiple_of(4);
    // The first place that reads as a whole archive of exactly our files: the records behind its first one begin later.
    (tail_start..initrd.len()).step_by(4).find_map(|at| {
        let tail = initrd.get(at..)?;
        if tail.starts_with(RECORD_MAGIC) { read_archive(tail) } else { None }
    })
}

fn read_archive(archive: &[u8]) -> Option<SiteOf> {
    let (mut at, mut ca_pem, mut appliance) = (0_usize, None, None);
    loop {
        let header = archive.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
        let field = |index: usize| {
            let text = header.get(6 + index * 8..14 + index * 8)?;
            usize::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
        };
        if !header.starts_with(RECORD_MAGIC) {
            return None;
        }
        let (bytes, name_bytes) = (field(6)?, field(11)?);
        let name_start = at + RECORD_HEADER_BYTES;
        let name_end = name_start.checked_add(name_bytes)?;
        let name = archive.get(name_start..name_end)?.strip_suffix(&[0])?;
        let content_start = name_end.next_multiple_of(4);
        let content_end = content_start.checked_add(bytes)?;
        let content = archive.get(content_start..content_end)?;
        match std::str::from_utf8(name).ok()? {
            "etc" | "etc/scalerforge" => {}
            CA_PATH => ca_pem = Some(content.to_vec()),
            APPLIANCE_PATH => {
                let line = std::str::from_utf8(content).ok()?;
                appliance = Some(line.strip_prefix("APPLIANCE=")?.trim_end().to_owned());
            }
            "TRAILER!!!" if archive.get(content_end..)?.iter().all(|byte| *byte == 0) => break,
            _ => return None,
        }
        at = content_end.checked_next_multiple_of(4)?;
    }
    Some(SiteOf { ca_pem: ca_pem?, appliance })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::tests::key;
    use crate::tiny::{tiny, tiny_with_room};
    use crate::uki::{Parts, assemble};

    const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

    fn base(initrd: &[u8]) -> Vec<u8> {
        assemble(&Parts {
            stub: &tiny_with_room(),
            kernel: &tiny(16),
            kernel_release: "6",
            initrd,
            os_release: "NAME=\"A host\"\nVERSION_ID=1\n",
            command_line: "quiet",
        })
        .unwrap()
    }

    #[test]
    fn what_is_vouched_for_belongs_to_nobody_and_measures_its_key() {
        let key = key(1);
        let policy = Policy { key: &key };
        let base = base(b"zstd");
        let made = vouch(&base, &policy).unwrap();
        assert_eq!(unseal(&made.uki).unwrap(), None);
        let image = Image::parse(&made.uki).unwrap();
        assert_eq!(image.section(POLICY_KEY), Some(policy.public_key().unwrap().as_bytes()));
        assert_eq!(image.section(INITRD), Some(&b"zstd"[..]));
        let signature = policy.signature(&pcr::pcr11(&image)).unwrap();
        assert_eq!(image.section(POLICY_SIGNATURE), Some(signature.as_bytes()), "the final value");
        assert!(matches!(vouch(&made.uki, &policy), Err(Error::Sealed)));
    }

    #[test]
    fn what_was_sealed_can_be_read_and_is_not_sealed_again() {
        let key = key(1);
        for initrd in [&b"zst"[..], b"zstd", &[7; 70_000]] {
            let base = base(initrd);
            assert_eq!(unseal(&base).unwrap(), None);
            for appliance in [None, Some("https://10.0.0.2:8443")] {
                for policy in [None, Some(&Policy { key: &key })] {
                    let sealed = seal(&base, &Site { ca_pem: CA, appliance }, policy).unwrap();
                    let expected = SiteOf { ca_pem: CA.to_vec(), appliance: appliance.map(str::to_owned) };
                    assert_eq!(unseal(&sealed.uki).unwrap(), Some(expected));
                    assert_eq!(sealed.reference.name, "a-host-1");
                    let again = seal(&sealed.uki, &Site { ca_pem: CA, appliance }, None);
                    assert!(matches!(again, Err(Error::Sealed)));
                    let image = Image::parse(&sealed.uki).unwrap();
                    assert_eq!(image.section(POLICY_KEY).is_some(), policy.is_some());
                    assert_eq!(image.section(".linux"), Some(tiny(16).as_slice()));
                }
            }
        }
    }

    #[test]
    fn taking_the_own_sections_away_gives_the_stub_and_putting_them_back_the_base() {
        let base = base(b"initrd");
        let image = Image::parse(&base).unwrap();
        let stub = image.without(FIRST_OWN_SECTION).unwrap();
        let own: Vec<(&str, &[u8])> = image.sections()[1..]
            .iter()
            .map(|section| (section.name.as_str(), image.section(&section.name).unwrap()))
            .collect();
        assert_eq!(Image::parse(&stub).unwrap().with_sections(&own).unwrap(), base);
        assert!(image.without(".nothing").is_err());
    }

    #[test]
    fn another_site_measures_otherwise_and_a_signature_does_not() {
        let (base, key) = (base(b"initrd"), key(1));
        let reference = |appliance| {
            seal(&base, &Site { ca_pem: CA, appliance: Some(appliance) }, None).unwrap().reference
        };
        let (one, two) = (reference("https://a"), reference("https://b"));
        for (one, two) in one.pcrs.iter().zip(&two.pcrs) {
            assert_eq!(one.accepted == two.accepted, [12, 13].contains(&one.pcr), "PCR {}", one.pcr);
        }
        let sealed = seal(&base, &Site { ca_pem: CA, appliance: None }, Some(&Policy { key: &key })).unwrap();
        let signed = sealed.signed(&key, &crate::authenticode::tests::certificate(1)).unwrap();
        assert_eq!(signed.reference.pcrs, sealed.reference.pcrs);
        assert_ne!(signed.reference.uki_sha256, sealed.reference.uki_sha256);
        assert_eq!(unseal(&signed.uki).unwrap(), unseal(&sealed.uki).unwrap());
    }

    #[test]
    fn what_does_not_belong_into_an_image_is_refused() {
        let base = base(b"initrd");
        let refused = |ca_pem: &[u8], appliance| {
            seal(&base, &Site { ca_pem, appliance }, None).unwrap_err().to_string()
        };
        let key = [CA, b"-----BEGIN PRIVATE KEY-----"].concat();
        assert!(refused(&key, None).contains("private key"));
        assert!(refused(b"x", None).contains("no certificate"));
        assert!(refused(&[CA, &[b' '; SITE_BYTES_MAX]].concat(), None).contains("larger"));
        for appliance in ["http://a", "", "https://a b", "https://a\nEVIL=1", "https://a'"] {
            assert!(refused(CA, Some(appliance)).contains("https URL"), "{appliance}");
        }
        assert!(seal(b"MZ", &Site { ca_pem: CA, appliance: None }, None).is_err());
        assert!(seal(&tiny(0), &Site { ca_pem: CA, appliance: None }, None).is_err());
    }
}
