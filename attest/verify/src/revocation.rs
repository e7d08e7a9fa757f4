//! What makers take back: certificate revocation lists as dated snapshots, and firmware that policy denies.
//!
//! A verifier has no network, so lists are part of the bundle of roots and named by its digest.  A list counts for a
//! certificate if it has the name of that certificate's issuer and the issuer's key signed it.  An old list is still
//! right about what it lists; that it is old is said, not punished.

use x509_cert::{
    crl::CertificateList,
    der::{Decode as _, asn1::ObjectIdentifier},
    name::Name,
};

use crate::{
    crypto::Crypto,
    x509::{Cert, same_name, signature_holds, tbs_bytes},
};

/// Largest list, bytes: some makers' have a few hundred thousand entries.
const LIST_BYTES_MAX: usize = 16 << 20;
/// Critical extensions of a list that change nothing for "is it listed": number, authority key, delta indicator has
/// to be refused as it can take entries back, distribution point only narrows.
const KNOWN_CRITICAL: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.20"),
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("2.5.29.28"),
];

/// A revocation list, its signature not yet checked.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    pub(crate) der: Vec<u8>,
    parsed: CertificateList,
    tbs: Vec<u8>,
}

impl Crl {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > LIST_BYTES_MAX {
            return Err(format!("has {} bytes, more than {LIST_BYTES_MAX}", der.len()));
        }
        let parsed = CertificateList::from_der(der).map_err(|error| format!("is not strict DER: {error}"))?;
        let tbs = tbs_bytes(der).map_err(|error| format!("is not strict DER: {error}"))?;
        let list = &parsed.tbs_cert_list;
        let entries = list.revoked_certificates.as_deref().unwrap_or_default();
        let of_list = list.crl_extensions.as_deref().unwrap_or_default().iter();
        let of_entries =
            entries.iter().flat_map(|one| one.crl_entry_extensions.as_deref().unwrap_or_default());
        let mut all = of_list.chain(of_entries);
        if let Some(odd) = all.find(|one| one.critical && !KNOWN_CRITICAL.contains(&one.extn_id)) {
            return Err(format!("has an unknown critical extension {}", odd.extn_id));
        }
        Ok(Self { der: der.to_vec(), parsed, tbs })
    }

    fn issuer(&self) -> &Name {
        &self.parsed.tbs_cert_list.issuer
    }

    /// When it was made, for people.
    fn date(&self) -> String {
        self.parsed.tbs_cert_list.this_update.to_string()
    }

    /// Whether it should have been replaced by another one.
    fn is_old(&self, now_unix: u64) -> bool {
        let next = &self.parsed.tbs_cert_list.next_update;
        next.as_ref().is_some_and(|next| next.to_unix_duration().as_secs() < now_unix)
    }

    /// When this list says that `cert` was taken back.
    fn revoked(&self, cert: &Cert) -> Option<String> {
        let entries = self.parsed.tbs_cert_list.revoked_certificates.as_deref().unwrap_or_default();
        let entry =
            entries.iter().find(|one| one.serial_number == cert.parsed.tbs_certificate.serial_number)?;
        Some(entry.revocation_date.to_string())
    }
}

/// What the lists say about one certificate under one issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Why it does not count any more.
    pub(crate) revoked: Option<String>,
    /// Lists that were consulted, for people.
    pub(crate) lists: Vec<String>,
}

pub(crate) fn look_up(
    lists: &[Crl],
    cert: &Cert,
    issuer: &Cert,
    now_unix: u64,
    crypto: &dyn Crypto,
) -> Found {
    let mut found = Found::default();
    for list in lists.iter().filter(|list| same_name(list.issuer(), &issuer.parsed.tbs_certificate.subject)) {
        let parts = (&list.parsed.signature_algorithm, &list.parsed.tbs_cert_list.signature);
        if signature_holds(&list.tbs, parts, &list.parsed.signature, issuer, crypto) != Ok(true) {
            continue;
        }
        let old = if list.is_old(now_unix) { ", out of date" } else { "" };
        found.lists.push(format!("{} of {}{old}", list.issuer(), list.date()));
        if let Some(date) = list.revoked(cert) {
            found.revoked = Some(format!("`{}` took it back on {date}", list.issuer()));
        }
    }
    found
}

/// Firmware versions of a maker's TPMs that are not believed, whatever they sign: keys of theirs could be guessed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeniedFirmware {
    /// Manufacturer as the EK certificate writes it: `id:49465800`.
    pub manufacturer: String,
    /// First version, as the TPM signs it (`TPM_PT_FIRMWARE_VERSION_1` in the upper half).
    pub from: u64,
    /// Last version.
    pub to: u64,
    /// Why, for people: `ROCA, CVE-2017-15361`.
    pub why: String,
}

impl DeniedFirmware {
    pub(crate) fn matches(&self, manufacturer: &str, firmware: u64) -> bool {
        self.manufacturer.eq_ignore_ascii_case(manufacturer) && (self.from..=self.to).contains(&firmware)
    }
}
