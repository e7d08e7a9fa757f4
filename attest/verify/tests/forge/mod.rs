//! A TPM that does whatever a test wants: keys in software, quotes over anything.  What a real TPM would never sign,
//! this one signs with a right signature, so that each rule is tried alone.

use std::collections::BTreeMap;

use attest_evidence::{
    Accepted, Attachments, Endorsements, Evidence, Hex32, Logs, Nonce, Pcr, Purpose, ReferenceBank,
    ReferencePcr, ReferenceValues, Statement, Target, TpmPart, digest, qualifying_data,
};
use attest_verify::{
    Policy, REQUIRED_PCRS,
    binding::{Seen, challenger_public, sign_binding},
    endorsement::Roots,
    node_id, unit_root,
};
use attest_wire::{Public, eventlog::Bank, templates::Template};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, RevocationReason, RevokedCertParams,
    SerialNumber, SigningKey as _,
};

use crate::firmware::{event, events, header};

mod attempts;
mod board;
mod keys;
pub(crate) use attempts::{calling, in_vain, measured, returning, trying};
pub(crate) use board::{IakBend, boards_pem};
pub(crate) use keys::{AnyKey, P256, P384, RsaPublic};

pub(crate) const CHALLENGERS: [[u8; 32]; 2] = [[0x21; 32], [0x22; 32]];
/// 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// (PCR, type, what is hashed, event data).
pub(crate) type Measured = (u32, u32, Vec<u8>, Vec<u8>);

/// A log and the values it leads to.
pub(crate) type Recorded = (Vec<u8>, BTreeMap<u8, [u8; 32]>);

/// Everything about a quote that a test may bend before it is signed.
pub(crate) struct Bend {
    pub(crate) magic: u32,
    pub(crate) kind: u16,
    pub(crate) hierarchy: u32,
    pub(crate) ak_attributes: u32,
    /// (bank, PCRs) as signed.
    pub(crate) selection: Vec<(u16, Vec<u8>)>,
    /// (type, data) of what was measured.
    pub(crate) events: Vec<Measured>,
    /// Changes values after the log explained them.
    pub(crate) pcrs: BTreeMap<u8, [u8; 32]>,
    pub(crate) sequence: u64,
    pub(crate) previous: Option<[u8; 32]>,
    pub(crate) nonce: Nonce,
    /// A registration with manifest and burn-in report instead of an admission.
    pub(crate) registration: bool,
    /// Other qualifying data than the statement's.
    pub(crate) extra: Option<Vec<u8>>,
    /// (milliseconds, resets, restarts, firmware version).
    pub(crate) clock: (u64, u32, u32, u64),
    /// Changes the statement before it is signed.
    pub(crate) statement: Option<fn(&mut Statement)>,
    /// Changes the log before it is hashed.
    pub(crate) log: Option<fn(&mut Vec<u8>)>,
    /// A log and the values it leads to, instead of `events`.
    pub(crate) recorded: Option<Recorded>,
}

impl Bend {
    /// Nothing is bent.
    fn usual() -> Self {
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            hierarchy: 0x4000_000b,
            ak_attributes: 0x0005_0472,
            selection: vec![(0x0b, REQUIRED_PCRS.to_vec())],
            events: events(b"image"),
            pcrs: BTreeMap::new(),
            sequence: 0,
            previous: None,
            nonce: Nonce::Verifier([7; 32]),
            registration: false,
            extra: None,
            clock: (1000, 5, 0, 1),
            statement: None,
            log: None,
            recorded: None,
        }
    }
}

/// What the registration says about units.
pub(crate) const MANIFEST: &[u8] =
    br#"{"version":1,"serial":"SN-1","units":[{"id":"memory-0000","node":0},{"id":"disk-0000","node":1}]}"#;
const BURN_IN: &[u8] = br#"{"verdict":"pass"}"#;

/// What the EK certificate says.
pub(crate) struct EkCertificate {
    pub(crate) manufacturer: &'static str,
    pub(crate) ek_usage: bool,
    pub(crate) is_ca: bool,
    pub(crate) issuer_is_ca: bool,
    pub(crate) unknown_critical: Option<&'static [u64]>,
    /// Valid from and to, years.
    pub(crate) years: (i32, i32),
    /// Another machine, or another maker's CA.
    pub(crate) machine: u8,
    pub(crate) maker: u8,
    /// Without a subjectAltName.
    pub(crate) unnamed: bool,
    /// A needless zero in a length inside the subjectAltName's value.
    pub(crate) long_lengths: bool,
    /// Its issuer's name as a BMPString, which that CA's own certificate has in UTF-8.
    pub(crate) issuer_in_bmp: bool,
    /// The endorsement key is a P-384 one, or an RSA one.
    pub(crate) ek_p384: bool,
    pub(crate) ek_rsa: bool,
    /// P-256 all the way up; else the intermediate has a P-384 key.
    pub(crate) all_p256: bool,
}

impl Default for EkCertificate {
    fn default() -> Self {
        Self {
            manufacturer: "id:54534654",
            ek_usage: true,
            is_ca: false,
            issuer_is_ca: true,
            unknown_critical: None,
            years: (2020, 9999),
            machine: 0,
            maker: 0,
            unnamed: false,
            long_lengths: false,
            issuer_in_bmp: false,
            ek_p384: false,
            ek_rsa: false,
            all_p256: false,
        }
    }
}

pub(crate) struct Forge {
    ak: SigningKey,
    ek_public: Vec<u8>,
    ek_certificate: Vec<u8>,
    intermediate: Vec<u8>,
    root_pem: String,
    middle: Issuer<'static, AnyKey>,
}

impl Forge {
    pub(crate) fn new(wanted: &EkCertificate) -> Self {
        let named = |name: DnValue, is_ca: bool| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let ca = |name: &str, is_ca: bool| named(name.into(), is_ca);
        let root = ca("Test TPM Root", true);
        let root_key = P256::new(0x61 + wanted.maker);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let seed = 0x62 + wanted.maker;
        let middle_key = match wanted.all_p256 {
            true => AnyKey::P256(P256::new(seed)),
            false => AnyKey::P384(P384::new(seed)),
        };
        let mut middle = ca("Test TPM Intermediate", wanted.issuer_is_ca);
        let intermediate = middle.signed_by(&middle_key, &root).unwrap().der().to_vec();
        if wanted.issuer_in_bmp {
            middle = named(DnValue::BmpString("Test TPM Intermediate".try_into().unwrap()), true);
        }
        let middle = Issuer::new(middle, middle_key);

        let seed = 0x51 + wanted.machine;
        let ek_key = match (wanted.ek_p384, wanted.ek_rsa) {
            (_, true) => AnyKey::Rsa(RsaPublic::new(seed)),
            (true, _) => AnyKey::P384(P384::new(seed)),
            (false, _) => AnyKey::P256(P256::new(seed)),
        };
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.not_before = rcgen::date_time_ymd(wanted.years.0, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(wanted.years.1, 12, 31);
        leaf.is_ca =
            if wanted.is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement];
        if wanted.ek_usage {
            leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        }
        let mut name = CustomExtension::from_oid_content(&[2, 5, 29, 17], alternative_name(wanted));
        name.set_criticality(true);
        if !wanted.unnamed {
            leaf.custom_extensions.push(name);
        }
        if let Some(oid) = wanted.unknown_critical {
            let mut odd = CustomExtension::from_oid_content(oid, vec![5, 0]);
            odd.set_criticality(true);
            leaf.custom_extensions.push(odd);
        }
        let ek_certificate = leaf.signed_by(&ek_key, &middle).unwrap().der().to_vec();
        Self {
            ak: SigningKey::from_slice(&[0x42 + wanted.machine; 32]).unwrap(),
            ek_public: match &ek_key {
                AnyKey::P384(_) => with_point(Template::EkP384.public(), 4, ek_key.xy()),
                AnyKey::P256(_) => with_point(Template::EkP256.public(), 68, ek_key.xy()),
                AnyKey::Rsa(key) => with_modulus(Template::EkRsa2048.public(), key.modulus()),
            },
            ek_certificate,
            intermediate,
            root_pem,
            middle,
        }
    }

    pub(crate) fn evidence(&self, bend: impl FnOnce(&mut Bend)) -> Evidence {
        let mut bent = Bend::usual();
        bend(&mut bent);
        let point = self.ak.verifying_key().to_encoded_point(false);
        let mut ak_public = with_point(Template::AkP256.public(), 68, &point.as_bytes()[1..]);
        ak_public[4..8].copy_from_slice(&bent.ak_attributes.to_be_bytes());
        let ak_name = name_of(&ak_public);
        let node = node_id(Public::parse(&self.ek_public).unwrap().name().bytes());
        let (mut log, mut values) = bent.recorded.take().unwrap_or_else(|| boot(&bent.events));
        if let Some(change) = bent.log {
            change(&mut log);
        }
        values.extend(&bent.pcrs);
        let inventory = b"{}".to_vec();
        let mut statement = Statement {
            purpose: if bent.registration { registration() } else { Purpose::Admission },
            nonce: bent.nonce,
            node,
            ak_name: ak_name.clone(),
            inventory: Some(digest(&inventory)),
            burn_in: bent.registration.then(|| digest(BURN_IN)),
            uefi_log: digest(&log),
            previous: bent.previous,
            sequence: bent.sequence,
            host_key: None,
        };
        if let Some(change) = bent.statement {
            change(&mut statement);
        }
        let extra = bent.extra.clone().unwrap_or_else(|| qualifying_data(&statement).to_vec());
        let attest = attest(&bent, &ak_name, &extra, &values);
        let signature: Signature = self.ak.sign(&attest);
        let selected = bent.selection.iter().flat_map(|(bank, list)| list.iter().map(|pcr| (*bank, *pcr)));
        let pcrs = selected
            .map(|(bank, index)| Pcr { bank, index, digest: values.get(&index).unwrap_or(&[0; 32]).to_vec() })
            .collect();
        let seen = |key: &[u8; 32]| self.binding(key, &ak_public, node, NOW);
        Evidence {
            node,
            tpm: TpmPart {
                ak_public: ak_public.clone(),
                attest,
                signature: tpmt_signature(&signature),
                pcrs,
            },
            endorsements: Endorsements {
                ek_certificates: vec![self.ek_certificate.clone()],
                ek_public: self.ek_public.clone(),
                intermediates: vec![self.intermediate.clone()],
                bindings: CHALLENGERS.iter().map(seen).collect(),
                iak: None,
            },
            logs: Logs { uefi: log },
            statement,
            attachments: Attachments {
                inventory: Some(inventory),
                burn_in: bent.registration.then(|| BURN_IN.to_vec()),
                manifest: bent.registration.then(|| MANIFEST.to_vec()),
            },
            previous: bent.previous,
        }
    }

    /// A binding statement by this challenger.
    pub(crate) fn binding(&self, key: &[u8; 32], ak_public: &[u8], node: [u8; 32], time: u64) -> Vec<u8> {
        let name = Public::parse(ak_public).unwrap().name();
        let certificate = digest(&self.ek_certificate);
        let seen = Seen { ek_certificate: certificate, ak_name: &name, node, tpm_firmware: 1, time };
        sign_binding(key, &seen).unwrap()
    }

    /// The same machine with an attestation key whose x lacks a byte.
    pub(crate) fn with_short_x(mut self) -> Self {
        let key =
            |n: u32| SigningKey::from_slice(&[vec![0x42; 28], n.to_be_bytes().to_vec()].concat()).unwrap();
        let short = |key: &SigningKey| key.verifying_key().to_encoded_point(false).as_bytes()[1] == 0;
        self.ak = (0..).map(key).find(short).unwrap();
        self
    }

    /// Evidence with a log that was changed before it was hashed.
    pub(crate) fn with_log(&self, change: fn(&mut Vec<u8>)) -> Evidence {
        self.evidence(|bend| bend.log = Some(change))
    }

    /// The endorsement key's point, x ‖ y.
    pub(crate) fn ek_xy(&self) -> Vec<u8> {
        Public::parse(&self.ek_public).unwrap().p256_point().unwrap()[1..].to_vec()
    }

    pub(crate) fn root_der(&self) -> Vec<u8> {
        let body: String = self.root_pem.lines().filter(|line| !line.starts_with('-')).collect();
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, body).unwrap()
    }

    /// The intermediate's revocation list: of this EK certificate, or of another.
    pub(crate) fn crl(&self, revoke: bool) -> String {
        use x509_cert::der::Decode as _;
        let parsed = x509_cert::Certificate::from_der(&self.ek_certificate).unwrap();
        let mut serial = parsed.tbs_certificate.serial_number.as_bytes().to_vec();
        serial[0] ^= u8::from(!revoke);
        let entry = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: rcgen::date_time_ymd(2025, 6, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2025, 7, 1),
            next_update: rcgen::date_time_ymd(2026, 7, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![entry],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        list.signed_by(&self.middle).unwrap().pem().unwrap()
    }

    /// Evidence whose EK certificate says TRUE with another byte than DER does, signed like that by its issuer.
    pub(crate) fn with_ber_certificate(&self, mut evidence: Evidence) -> Evidence {
        let der = &self.ek_certificate;
        let length = |at: usize| usize::from(u16::from_be_bytes([der[at], der[at + 1]]));
        assert_eq!((der[..2].to_vec(), der[4..6].to_vec()), (vec![0x30, 0x82], vec![0x30, 0x82]));
        let end = 8 + length(6);
        let mut tbs = der[4..end].to_vec();
        let truth = tbs.windows(3).position(|three| three == [1, 1, 0xff]).unwrap();
        tbs[truth + 2] = 1;
        let algorithm = &der[end..end + 2 + usize::from(der[end + 1])];
        let signature = self.middle.key().sign(&tbs).unwrap();
        let mut bits = vec![3, u8::try_from(signature.len() + 1).unwrap(), 0];
        bits.extend(signature);
        let content = [&tbs[..], algorithm, &bits].concat();
        let head = u16::try_from(content.len()).unwrap().to_be_bytes();
        let certificate = [&[0x30, 0x82][..], &head, &content].concat();
        let seen = Forge { ek_certificate: certificate.clone(), ..Forge::new(&EkCertificate::default()) };
        let (key, node) = (evidence.tpm.ak_public.clone(), evidence.node);
        evidence.endorsements.bindings =
            CHALLENGERS.iter().map(|one| seen.binding(one, &key, node, NOW)).collect();
        evidence.endorsements.ek_certificates = vec![certificate];
        evidence
    }

    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    pub(crate) fn policy(&self) -> Policy {
        let mut roots = Roots::default();
        roots.add_pem(self.root_pem.as_bytes()).unwrap();
        let (_, values) = boot(&events(b"image"));
        let entry = |pcr: u8| ReferencePcr {
            pcr,
            accepted: vec![Accepted { value: Hex32(values[&pcr]), holds_for: "always".into() }],
        };
        Policy {
            roots,
            reference: vec![ReferenceValues {
                name: "discovery".into(),
                uki_sha256: Hex32([0; 32]),
                bank: ReferenceBank::Sha256,
                pcrs: vec![entry(4), entry(11)],
            }],
            allow_software_tpm: false,
            challengers: CHALLENGERS.iter().map(|key| challenger_public(key).unwrap()).collect(),
            k: 1,
            expected_nonce: Some(Nonce::Verifier([7; 32])),
            last_seen: None,
        }
    }

    /// Signs an attestation structure again after a test changed it.
    pub(crate) fn sign(&self, evidence: &mut Evidence) {
        let signature: Signature = self.ak.sign(&evidence.tpm.attest);
        evidence.tpm.signature = tpmt_signature(&signature);
    }
}

fn registration() -> Purpose {
    Purpose::Registration {
        target: Target { chain_id: 31_337, registry: [0x11; 20], operator: [0x22; 20] },
        unit_root: unit_root(MANIFEST).unwrap(),
        manifest: digest(MANIFEST),
    }
}

/// A template with a point in place of its last `tail` bytes; leading zeros left out, as some TPMs do.
fn with_point(mut template: Vec<u8>, tail: usize, xy: &[u8]) -> Vec<u8> {
    template.truncate(template.len() - tail);
    for number in xy.chunks(xy.len() / 2) {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        template.extend(sized(&number[start..]));
    }
    template
}

fn with_modulus(mut template: Vec<u8>, modulus: &[u8]) -> Vec<u8> {
    template.truncate(template.len() - 2 - modulus.len());
    template.extend(sized(modulus));
    template
}

fn name_of(public: &[u8]) -> Vec<u8> {
    [vec![0, 0x0b], digest(public).to_vec()].concat()
}

/// The log of these events and the PCR values they lead to.
pub(crate) fn boot(events: &[Measured]) -> (Vec<u8>, BTreeMap<u8, [u8; 32]>) {
    let mut log = header();
    let mut values: BTreeMap<u8, [u8; 32]> = (0..24).map(|pcr| (pcr, [0; 32])).collect();
    for (pcr, kind, measured, data) in events {
        let digest = Bank::Sha256.hash(&[measured]);
        log.extend(event(*pcr, *kind, &digest, data));
        if *kind == attest_wire::eventlog::EV_NO_ACTION {
            continue;
        }
        let value = values.get_mut(&u8::try_from(*pcr).unwrap()).unwrap();
        *value = Bank::Sha256.hash(&[&value[..], &digest]).try_into().unwrap();
    }
    (log, values)
}

fn attest(bent: &Bend, ak_name: &[u8], extra: &[u8], values: &BTreeMap<u8, [u8; 32]>) -> Vec<u8> {
    let qualified = [vec![0, 0x0b], Bank::Sha256.hash(&[&bent.hierarchy.to_be_bytes(), ak_name])].concat();
    let mut bytes = bent.magic.to_be_bytes().to_vec();
    bytes.extend(bent.kind.to_be_bytes());
    bytes.extend(sized(&qualified));
    bytes.extend(sized(extra));
    let (clock, resets, restarts, firmware) = bent.clock;
    bytes.extend(clock.to_be_bytes());
    bytes.extend([resets.to_be_bytes(), restarts.to_be_bytes()].concat());
    // The clock is safe.
    bytes.push(1);
    bytes.extend(firmware.to_be_bytes());
    bytes.extend(u32::try_from(bent.selection.len()).unwrap().to_be_bytes());
    let mut all = Vec::new();
    for (bank, pcrs) in &bent.selection {
        bytes.extend(bank.to_be_bytes());
        let mask = pcrs.iter().fold(0u32, |mask, pcr| mask | 1 << pcr);
        bytes.push(3);
        bytes.extend(&mask.to_le_bytes()[..3]);
        pcrs.iter().for_each(|pcr| all.extend(values.get(pcr).unwrap_or(&[0; 32])));
    }
    bytes.extend(sized(&Bank::Sha256.hash(&[&all])));
    bytes
}

/// TPMT_SIGNATURE with leading zeros left out, as some TPMs do.
pub(crate) fn tpmt_signature(signature: &Signature) -> Vec<u8> {
    let (r, s) = signature.split_bytes();
    let short = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap();
        sized(&number[start..])
    };
    [vec![0, 0x18, 0, 0x0b], short(&r), short(&s)].concat()
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// subjectAltName with a directoryName of manufacturer, model and version.
fn alternative_name(wanted: &EkCertificate) -> Vec<u8> {
    let der = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()][..], content].concat();
    let part = |last: u8, text: &str| {
        let oid = der(0x06, &[0x67, 0x81, 0x05, 0x02, last]);
        der(0x31, &der(0x30, &[oid, der(0x0c, text.as_bytes())].concat()))
    };
    let manufacturer = match wanted.manufacturer {
        "" => Vec::new(),
        named => part(1, named),
    };
    let name = der(0x30, &[manufacturer, part(2, "Model"), part(3, "id:1")].concat());
    let mut whole = der(0x30, &der(0xa4, &name));
    if wanted.long_lengths {
        whole.insert(1, 0x81);
    }
    whole
}
