//! The form of `vectors.json`, as `attest/vectors/README.md` describes it.

use std::collections::BTreeMap;

use attest_evidence::{Hex32, Nonce, ReferenceValues};
use attest_verify::{
    DeniedFirmware, LastSeen, Policy, Verifier, binding::challenger_public, crypto::Pure, endorsement::Roots,
    header::Header,
};
use serde::{Deserialize, Serialize};

use crate::{
    folder,
    forge::{CHALLENGERS, EkCertificate, Forge, NOW, boards_pem, boot, trying},
};

#[derive(Serialize, Deserialize)]
pub(crate) struct VectorFile {
    pub(crate) version: u32,
    pub(crate) vectors: Vec<Vector>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) policy: PolicyFile,
    pub(crate) expected: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<String>,
    pub(crate) reason: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PolicyFile {
    pub(crate) roots: Vec<String>,
    pub(crate) reference: Vec<String>,
    pub(crate) allow_software_tpm: bool,
    pub(crate) challengers: Vec<String>,
    pub(crate) k: usize,
    pub(crate) nonce: Option<String>,
    pub(crate) now: u64,
    pub(crate) last_seen: Option<LastSeenFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) crls: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) boards: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) denied_firmware: Vec<DeniedFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publication: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) published_block: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeniedFile {
    pub(crate) manufacturer: String,
    /// 16 hex digits, like `to`; both inclusive.
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) why: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastSeenFile {
    pub(crate) evidence: String,
    pub(crate) sequence: u64,
    pub(crate) ak_name: String,
    pub(crate) reset_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) clock: u64,
    pub(crate) firmware: u64,
    pub(crate) pcrs: BTreeMap<String, String>,
}

impl From<&LastSeen> for LastSeenFile {
    fn from(seen: &LastSeen) -> Self {
        Self {
            evidence: hex::encode(seen.evidence),
            sequence: seen.sequence,
            ak_name: hex::encode(&seen.ak_name),
            reset_count: seen.reset_count,
            restart_count: seen.restart_count,
            clock: seen.clock,
            firmware: seen.firmware,
            pcrs: seen.pcrs.iter().map(|(pcr, value)| (pcr.to_string(), hex::encode(value))).collect(),
        }
    }
}

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

impl LastSeenFile {
    fn load(&self) -> LastSeen {
        LastSeen {
            evidence: bytes(&self.evidence),
            sequence: self.sequence,
            ak_name: hex::decode(&self.ak_name).unwrap(),
            reset_count: self.reset_count,
            restart_count: self.restart_count,
            clock: self.clock,
            firmware: self.firmware,
            pcrs: self.pcrs.iter().map(|(pcr, value)| (pcr.parse().unwrap(), bytes(value))).collect(),
        }
    }
}

impl PolicyFile {
    /// One maker, one image, two challengers of whom one is enough, the nonce 07…07.
    pub(crate) fn usual() -> Self {
        Self {
            roots: vec!["policy/root.pem".into()],
            reference: vec!["policy/reference.json".into()],
            allow_software_tpm: false,
            challengers: CHALLENGERS.iter().map(|key| hex::encode(challenger_public(key).unwrap())).collect(),
            k: 1,
            nonce: Some(hex::encode(Nonce::Verifier([7; 32]).encode())),
            now: NOW,
            last_seen: None,
            crls: Vec::new(),
            boards: Vec::new(),
            denied_firmware: Vec::new(),
            headers: Vec::new(),
            publication: None,
            published_block: None,
        }
    }

    pub(crate) fn verifier(&self) -> Verifier<'static> {
        let mut verifier = Verifier::new(self.load(), &Pure);
        let headers = self.headers.iter().map(|hex| Header::parse(&hex::decode(hex).unwrap()).unwrap());
        verifier.headers(headers.collect());
        let publication = self.publication.as_ref().map(|path| std::fs::read(folder().join(path)).unwrap());
        verifier.publication(publication.as_deref(), self.published_block.as_deref().map(bytes));
        verifier
    }

    pub(crate) fn load(&self) -> Policy {
        let read = |path: &String| std::fs::read(folder().join(path)).unwrap();
        let mut roots = Roots::default();
        self.roots.iter().for_each(|path| drop(roots.add_pem(&read(path)).unwrap()));
        self.crls.iter().for_each(|path| assert_eq!(roots.add_crls_pem(&read(path)).unwrap().1.len(), 0));
        self.boards.iter().for_each(|path| drop(roots.add_boards_pem(&read(path)).unwrap()));
        let version = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
        for one in &self.denied_firmware {
            let (from, to) = (version(&one.from), version(&one.to));
            let (manufacturer, why) = (one.manufacturer.clone(), one.why.clone());
            roots.deny_firmware(DeniedFirmware { manufacturer, from, to, why });
        }
        Policy {
            roots,
            reference: self
                .reference
                .iter()
                .map(|path| ReferenceValues::from_json(&read(path)).unwrap())
                .collect(),
            allow_software_tpm: self.allow_software_tpm,
            challengers: self.challengers.iter().map(|key| bytes(key)).collect(),
            k: self.k,
            expected_nonce: self
                .nonce
                .as_ref()
                .map(|nonce| Nonce::decode(&hex::decode(nonce).unwrap()).unwrap()),
            last_seen: self.last_seen.as_ref().map(LastSeenFile::load),
        }
    }
}

/// Files that policies name, and what is in them.
pub(crate) fn policy_files() -> Vec<(String, Vec<u8>)> {
    let forge = Forge::new(&EkCertificate::default());
    let other = Forge::new(&EkCertificate { maker: 2, ..EkCertificate::default() });
    let reference = forge.policy().reference.remove(0);
    let mut another = reference.clone();
    another.name = "another".into();
    another.pcrs[1].accepted[0].value.0[0] ^= 1;
    let mut actions = reference.clone();
    actions.name = "actions".into();
    actions.pcrs[0].accepted[0].value = Hex32(boot(&trying(Vec::new())).1[&4]);
    let mut incomplete = reference.clone();
    incomplete.pcrs.pop();
    let json = |values: &ReferenceValues| {
        let mut json = serde_json::to_vec_pretty(values).unwrap();
        json.push(b'\n');
        json
    };
    vec![
        ("policy/root.pem".into(), forge.root_pem().into()),
        ("policy/another-maker.pem".into(), other.root_pem().into()),
        ("policy/revoked.crl.pem".into(), forge.crl(true).into()),
        ("policy/other.crl.pem".into(), forge.crl(false).into()),
        ("policy/forged.crl.pem".into(), other.crl(true).into()),
        ("policy/boards.pem".into(), boards_pem().into()),
        ("policy/reference.json".into(), json(&reference)),
        ("policy/reference-actions.json".into(), json(&actions)),
        ("policy/reference-another.json".into(), json(&another)),
        ("policy/reference-incomplete.json".into(), json(&incomplete)),
    ]
}

/// Vectors whose evidence was recorded from a machine, not made by the tables.
pub(crate) fn recorded() -> Vec<Vector> {
    let json = std::fs::read(folder().join("virtual-rack/vectors.json")).unwrap_or_else(|_| b"[]".to_vec());
    serde_json::from_slice(&json).unwrap()
}
