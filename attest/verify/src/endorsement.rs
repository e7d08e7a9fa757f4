//! Endorsement: does a maker that is believed say that this endorsement key sits in one of its TPMs?
//!
//! A small path builder for EK certificates only: at most [`DEPTH_MAX`] issuers, at most [`SIGNATURES_MAX`] signature
//! checks, intermediates from the evidence and from the bundle, roots from the bundle alone.  The bundle is policy:
//! its [`Roots::digest`] names it.  Time is an argument.

use std::ops::RangeInclusive;

use attest_wire::{Attributes, Public};
use sha2::{Digest as _, Sha256};

use crate::{
    crypto::{Crypto, Pure},
    memory::chain_key,
    revocation::{self, Crl, DeniedFirmware},
    verdict::Checks,
    verify::Context,
    x509::Cert,
};

pub use crate::roots::{Added, PemError, Roots};

/// Longest chain, issuers above the EK certificate; makers use one to three.
const DEPTH_MAX: usize = 6;
/// Most signature checks for one chain: stops a file full of look-alike intermediates.
const SIGNATURES_MAX: usize = 64;
/// Stands for the manufacturer where a certificate has none; real ones begin with `id:`.
const UNNAMED: &str = "unnamed";

/// An endorsement key that a believed maker vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsed {
    /// SHA-256 of the EK certificate's DER.
    pub certificate: [u8; 32],
    /// Manufacturer (`id:…`), model and version of the TPM, as the certificate says.
    pub tpm: [String; 3],
    /// Subject of the root.
    pub root: String,
    /// Intermediates between the EK certificate and the root, DER, from the EK upwards: what evidence should carry.
    pub chain: Vec<Vec<u8>>,
    /// Revocation lists that were consulted, with their dates, for people.
    pub lists: Vec<String>,
}

impl Endorsed {
    /// Whether the TPM is a program: the manufacturer ids that swtpm and the reference simulator write.
    #[must_use]
    pub fn is_software(&self) -> bool {
        let [manufacturer, model, _] = &self.tpm;
        let id = manufacturer.to_ascii_lowercase();
        // swtpm writes IBM's number of the TCG vendor list or the letters `IBM`; `SW  ` is Microsoft's simulator.
        ["id:00001014", "id:49424d00", "id:49424d20", "id:53572020"].contains(&id.as_str())
            || model.to_ascii_lowercase().starts_with("swtpm")
            || !self.is_named()
    }

    /// Whether the certificate names a TPM at all, as makers' do; one that does not speaks of no hardware.
    fn is_named(&self) -> bool {
        let [manufacturer, ..] = &self.tpm;
        manufacturer != UNNAMED
    }
}

/// Why an endorsement key is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// None of the certificates is for this key.
    #[error("none of the {0} EK certificates is for the endorsement key that the TPM recreated{1}")]
    NoCertificate(usize, String),
    /// The certificate itself is not one of an EK, or is out of its time.
    #[error("the EK certificate {0}")]
    Certificate(String),
    /// No chain.
    #[error("the EK certificate, issued by `{issuer}`, chains to no trusted root{why}")]
    NoChain {
        /// Issuer of the last certificate that was reached.
        issuer: String,
        /// What was wrong with candidates, if there were any.
        why: String,
    },
    /// Its issuer, or the issuer of one above, took a certificate back.
    #[error("a certificate of the chain does not count any more: {0}")]
    Revoked(String),
}

/// The first of `eks` that one of `certificates` (DER) is for, and that certificate.  It says nothing about trust:
/// it finds which of a TPM's keys evidence should be about.
#[must_use]
pub fn certified<'a>(eks: &'a [Public], certificates: &'a [Vec<u8>]) -> Option<(&'a Public, &'a [u8])> {
    let parsed: Vec<(Cert, &[u8])> =
        certificates.iter().filter_map(|der| Some((Cert::parse(der).ok()?, der.as_slice()))).collect();
    eks.iter().find_map(|ek| parsed.iter().find(|(cert, _)| cert.certifies(ek)).map(|(_, der)| (ek, *der)))
}

/// Checks that one of `certificates` (DER) is for `ek_public` and chains to a root, at `now_unix`.
///
/// # Errors
/// [`EndorsementError`].
pub fn check(
    ek_public: &Public,
    certificates: &[Vec<u8>],
    intermediates: &[Vec<u8>],
    roots: &Roots,
    now_unix: u64,
) -> Result<Endorsed, EndorsementError> {
    check_with(&Pure, ek_public, certificates, intermediates, roots, now_unix).map(|(endorsed, _)| endorsed)
}

/// [`check`], and the time in which all certificates of the chain are valid.
fn check_with(
    crypto: &dyn Crypto,
    ek_public: &Public,
    certificates: &[Vec<u8>],
    intermediates: &[Vec<u8>],
    roots: &Roots,
    now_unix: u64,
) -> Result<(Endorsed, RangeInclusive<u64>), EndorsementError> {
    let mut unreadable = String::new();
    let mut own = None;
    for der in certificates {
        match Cert::parse(der) {
            Ok(cert) if cert.certifies(ek_public) => own = own.or(Some(cert)),
            Ok(_) => {}
            Err(why) => unreadable = format!("; one {why}"),
        }
    }
    let leaf = own.ok_or(EndorsementError::NoCertificate(certificates.len(), unreadable))?;
    if let Some(fault) = leaf.ek_fault() {
        return Err(EndorsementError::Certificate(fault));
    }
    if !leaf.is_valid_at(now_unix) {
        return Err(EndorsementError::Certificate("is not valid at this time".into()));
    }
    let given: Vec<Cert> = intermediates.iter().filter_map(|der| Cert::parse(der).ok()).collect();
    let mut search = Search::new(roots, &given, now_unix, crypto);
    let Some(root) = search.root_of(&leaf, 0) else {
        return Err(match search.revoked {
            Some(why) => EndorsementError::Revoked(why),
            None => EndorsementError::NoChain {
                issuer: leaf.issuer(),
                why: if roots.is_empty() { ": no roots were given".into() } else { search.why.clone() },
            },
        });
    };
    let valid = overlap(&leaf.validity(), &search.valid);
    let endorsed = Endorsed {
        certificate: Sha256::digest(&leaf.der).into(),
        tpm: leaf.tpm().unwrap_or_else(|| [UNNAMED.into(), String::new(), String::new()]),
        root,
        chain: search.chain,
        lists: search.lists,
    };
    Ok((endorsed, valid))
}

fn overlap(left: &RangeInclusive<u64>, right: &RangeInclusive<u64>) -> RangeInclusive<u64> {
    *left.start().max(right.start())..=*left.end().min(right.end())
}

pub(crate) struct Search<'a> {
    roots: &'a [Cert],
    intermediates: &'a [Cert],
    crls: &'a [Crl],
    given: &'a [Cert],
    now_unix: u64,
    signatures: usize,
    pub(crate) why: String,
    /// Intermediates that were found, from below.
    pub(crate) chain: Vec<Vec<u8>>,
    /// When all issuers of the chain are valid.
    valid: RangeInclusive<u64>,
    crypto: &'a dyn Crypto,
    /// What revocation lists said on the way.
    pub(crate) revoked: Option<String>,
    lists: Vec<String>,
}

impl<'a> Search<'a> {
    /// For endorsement keys.
    pub(crate) fn new(roots: &'a Roots, given: &'a [Cert], now_unix: u64, crypto: &'a dyn Crypto) -> Self {
        Self {
            roots: &roots.roots,
            intermediates: &roots.intermediates,
            crls: &roots.crls,
            given,
            now_unix,
            signatures: 0,
            why: String::new(),
            chain: Vec::new(),
            valid: 0..=u64::MAX,
            crypto,
            revoked: None,
            lists: Vec::new(),
        }
    }

    /// For boards' keys: other makers are believed, the same lists count.
    pub(crate) fn boards(roots: &'a Roots, given: &'a [Cert], now_unix: u64, crypto: &'a dyn Crypto) -> Self {
        Self { roots: &roots.boards, intermediates: &[], ..Self::new(roots, given, now_unix, crypto) }
    }

    /// Subject of the root above `cert`, with `below` CA certificates already under way.
    pub(crate) fn root_of(&mut self, cert: &Cert, below: usize) -> Option<String> {
        if below >= DEPTH_MAX {
            self.why = "; the chain is too long".into();
            return None;
        }
        let roots = self.roots;
        for root in roots {
            if self.issued(cert, root, below) {
                self.valid = overlap(&self.valid, &root.validity());
                return Some(root.subject());
            }
        }
        for issuer in self.given.iter().chain(self.intermediates) {
            if !issuer.is_self_issued()
                && self.issued(cert, issuer, below)
                && let Some(root) = self.root_of(issuer, below + 1)
            {
                // Filled on the way back from the root.
                self.chain.insert(0, issuer.der.clone());
                self.valid = overlap(&self.valid, &issuer.validity());
                return Some(root);
            }
        }
        None
    }

    fn issued(&mut self, cert: &Cert, issuer: &Cert, below: usize) -> bool {
        if !cert.names_as_issuer(issuer) || self.signatures >= SIGNATURES_MAX {
            return false;
        }
        self.signatures += 1;
        let fault = match cert.is_signed_by(issuer, self.crypto) {
            Ok(true) if !issuer.is_valid_at(self.now_unix) => Some("is not valid at this time".into()),
            Ok(true) => issuer.issuer_fault(below).or_else(|| {
                let found = revocation::look_up(self.crls, cert, issuer, self.now_unix, self.crypto);
                self.lists.extend(found.lists);
                self.revoked = found.revoked.clone().or(self.revoked.take());
                found.revoked
            }),
            Ok(false) => Some("did not sign it".into()),
            Err(why) => Some(why),
        };
        if let Some(fault) = &fault {
            self.why = format!("; `{}` {fault}", issuer.subject());
        }
        fault.is_none()
    }
}

/// The chain of these bytes, from memory where there is one.
fn remembered(
    endorsements: &attest_evidence::Endorsements,
    public: &Public,
    policy: &crate::Policy,
    context: &mut Context<'_>,
) -> Result<Endorsed, EndorsementError> {
    let (certificates, intermediates) = (&endorsements.ek_certificates, &endorsements.intermediates);
    let check =
        |now_unix| check_with(context.crypto, public, certificates, intermediates, &policy.roots, now_unix);
    let Some(memory) = &mut context.memory else {
        return check(context.now_unix).map(|(endorsed, _)| endorsed);
    };
    let key = chain_key(&[std::slice::from_ref(&endorsements.ek_public), certificates, intermediates]);
    if let Some(endorsed) = memory.chain(&key, context.now_unix) {
        return Ok(endorsed);
    }
    let (endorsed, valid) = check(context.now_unix)?;
    memory.keep_chain(key, &endorsed, valid);
    Ok(endorsed)
}

/// Judges endorsement key and certificate of a file.
pub(crate) fn judge(
    evidence: &attest_evidence::Evidence,
    firmware: u64,
    policy: &crate::Policy,
    context: &mut Context<'_>,
    checks: &mut Checks,
) -> Option<(Public, Option<Endorsed>)> {
    let endorsements = &evidence.endorsements;
    let public = match Public::parse(&endorsements.ek_public) {
        Ok(public) => public,
        Err(error) => {
            checks.fail("ek-public", error.to_string(), "the endorsement key's public area cannot be read");
            return None;
        }
    };
    let attributes = public.attributes();
    let wanted =
        [Attributes::FIXED_TPM, Attributes::FIXED_PARENT, Attributes::RESTRICTED, Attributes::DECRYPT];
    checks.add(
        "ek-attributes",
        wanted.into_iter().all(|one| attributes.has(one))
            && !attributes.has(Attributes::SIGN)
            && crate::quote::has_no_scheme(&public),
        format!("{:#010x}", attributes.0),
        "fixedTPM, fixedParent, restricted, decrypt, not sign",
        "the endorsement key is not a restricted decryption key fixed to its TPM",
    );
    match remembered(endorsements, &public, policy, context) {
        Ok(endorsed) => {
            certificates(endorsements, &endorsed, firmware, checks);
            if !policy.roots.crls.is_empty() {
                let note =
                    if endorsed.lists.is_empty() { "no list is of an issuer of this chain" } else { "" };
                checks.remark("ek-revoked", endorsed.lists.join("; "), note);
            }
            let software = endorsed.is_software();
            checks.add(
                "hardware-tpm",
                !software || policy.allow_software_tpm,
                match (endorsed.is_named(), software) {
                    (false, _) => "not named",
                    (true, true) => "software TPM",
                    (true, false) => "not known as software",
                },
                if policy.allow_software_tpm { "any" } else { "hardware" },
                if endorsed.is_named() {
                    "this TPM is a program: it proves nothing, and the policy does not allow it"
                } else {
                    "the certificate does not name a TPM's manufacturer: nobody says that this is hardware"
                },
            );
            self::firmware(&endorsed, firmware, &policy.roots.denied, checks);
            Some((public, Some(endorsed)))
        }
        Err(error) => {
            let name = match error {
                EndorsementError::NoChain { .. } => "ek-chain",
                EndorsementError::Revoked(_) => "ek-revoked",
                EndorsementError::NoCertificate(..) | EndorsementError::Certificate(_) => "ek-certificate",
            };
            if name != "ek-certificate" {
                let own = certified(std::slice::from_ref(&public), &endorsements.ek_certificates);
                let digest = own.map(|(_, der)| crate::hexed::encode(attest_evidence::digest(der)));
                checks.remark("ek-certificate", digest.unwrap_or_default(), "");
            }
            checks.fail(name, "", error.to_string());
            Some((public, None))
        }
    }
}

/// The certificates of the file: all of them, each once, so that no byte of it stands for nothing.
fn certificates(
    endorsements: &attest_evidence::Endorsements,
    endorsed: &Endorsed,
    firmware: u64,
    checks: &mut Checks,
) {
    let digest = crate::hexed::encode(endorsed.certificate);
    match endorsements.ek_certificates.len() {
        1 => checks.remark("ek-certificate", digest, described(endorsed, firmware)),
        count => checks.fail(
            "ek-certificate",
            format!("{count} certificates"),
            "the file has more certificates than the one for the endorsement key: nobody judges the others",
        ),
    }
    let given = &endorsements.intermediates;
    let used = endorsed.chain.iter().filter(|der| given.contains(der)).count();
    checks.add_with("ek-chain", used == given.len(), endorsed.root.clone(), "", || {
        let unused = given.len().saturating_sub(used);
        format!("{unused} intermediates in the file belong to no chain: leave them out")
    });
}

/// The firmware version that the TPM signed, against what policy denies.
fn firmware(endorsed: &Endorsed, firmware: u64, denied: &[DeniedFirmware], checks: &mut Checks) {
    let [manufacturer, ..] = &endorsed.tpm;
    if !denied.is_empty() {
        let found = denied.iter().find(|one| one.matches(manufacturer, firmware));
        let why = found.map_or(String::new(), |one| one.why.clone());
        checks.add(
            "tpm-firmware",
            found.is_none(),
            format!("{manufacturer} {firmware:#018x}"),
            "not denied",
            format!("policy does not believe TPMs with this firmware: {why}"),
        );
    }
}

/// The TPM as its certificate says, and whether its firmware is still the one of that day.
fn described(endorsed: &Endorsed, firmware: u64) -> String {
    let [_, _, version] = &endorsed.tpm;
    let certified = version.get(3..).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    // Certificates carry the version of the day they were made (TCG EK Credential Profile, 3.1.2): upper half.
    let note = match certified {
        Some(certified) if u64::from(certified) != firmware >> 32 => {
            "; its firmware is another than when it was certified"
        }
        Some(_) | None => "",
    };
    format!("{}{note}", endorsed.tpm.join(" "))
}
