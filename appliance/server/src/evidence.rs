//! Puts evidence files together from what an agent reports and what is stored.  Nothing in it is believed here.

use appliance_api::agent::{BoardWord, Outcome};
use appliance_model::{Digest, HostId};
use appliance_store::{Kind, Store, StoreError};
use attest_evidence::{
    Attachments, Endorsements, Evidence, Iak, Logs, Pcr, Statement, TpmPart, binding::SignedBinding,
};

use crate::{app::App, challenge::Challenge, proof};

/// TPM_ALG_SHA256 (TCG Algorithm Registry).
const SHA256: u16 = 0x000B;

/// Certificates that may come with a board's word: its own and its maker's.
const BOARD_CERTIFICATES_MAX: usize = 16;

/// An agent's report of a quote, out of its hex.
pub(crate) struct Quoted {
    pub(crate) statement: Statement,
    attest: Vec<u8>,
    signature: Vec<u8>,
    uefi_log: Vec<u8>,
    pcrs: Vec<(u8, Digest)>,
    iak: Option<Iak>,
}

impl Quoted {
    /// Reads the report; answers the part that is not what the protocol says, if one is not.
    pub(crate) fn read(outcome: Outcome) -> Result<Self, &'static str> {
        let Outcome::Quoted { statement, attest, signature, pcrs, uefi_log, iak } = outcome else {
            return Err("kind");
        };
        let unhex = |text: &str, what| hex::decode(text).map_err(|_| what);
        Ok(Self {
            statement: Statement::decode(&unhex(&statement, "statement")?).map_err(|_| "statement")?,
            attest: unhex(&attest, "attest")?,
            signature: unhex(&signature, "signature")?,
            uefi_log: unhex(&uefi_log, "uefi_log")?,
            pcrs,
            iak: iak.map(board).transpose()?,
        })
    }
}

/// The board's word, out of its hex.
fn board(word: BoardWord) -> Result<Iak, &'static str> {
    let unhex = |text: &String| hex::decode(text).map_err(|_| "iak");
    if word.certificates.len() > BOARD_CERTIFICATES_MAX {
        return Err("iak");
    }
    Ok(Iak {
        certificates: word.certificates.iter().map(unhex).collect::<Result<_, _>>()?,
        public: unhex(&word.public)?,
        attest: unhex(&word.attest)?,
        signature: unhex(&word.signature)?,
    })
}

/// The same file without the board's word if that is what it would be refused for: an expired or odd certificate in a
/// TPM costs the node a tier, not its place.
pub(crate) fn settled(app: &App, mut evidence: Evidence) -> Evidence {
    if evidence.endorsements.iak.is_none() {
        return evidence;
    }
    if let Err(why) = proof::judge(app, &evidence.encode(), None, None, None)
        && why.check.starts_with("iak-")
    {
        tracing::warn!(node = %appliance_model::NodeId(evidence.node), check = why.check, why = why.what, "the board's word is left out");
        evidence.endorsements.iak = None;
    }
    evidence
}

/// The file.
pub(crate) fn assemble(
    store: &Store,
    host: &HostId,
    challenge: &Challenge,
    quoted: Quoted,
    attachments: Attachments,
) -> Result<Evidence, StoreError> {
    let unhex = |text: &String| hex::decode(text).unwrap_or_default();
    let mut bindings: Vec<Vec<u8>> = store.document(host, Kind::Binding)?.into_iter().collect();
    // Other challengers' words about another attestation key (before the TPM was cleared) help nobody.
    bindings.extend(store.bindings(host)?.into_iter().filter(|signed| {
        SignedBinding::decode(signed).is_ok_and(|signed| signed.binding.ak_name == quoted.statement.ak_name)
    }));
    Ok(Evidence {
        node: challenge.node.0,
        previous: quoted.statement.previous,
        statement: quoted.statement,
        tpm: TpmPart {
            ak_public: unhex(&challenge.ak_public),
            attest: quoted.attest,
            signature: quoted.signature,
            pcrs: quoted
                .pcrs
                .iter()
                .map(|(index, digest)| Pcr { bank: SHA256, index: *index, digest: digest.0.to_vec() })
                .collect(),
        },
        endorsements: Endorsements {
            ek_certificates: vec![unhex(&challenge.ek_certificate)],
            ek_public: unhex(&challenge.ek_public),
            intermediates: challenge.intermediates.iter().map(unhex).collect(),
            bindings,
            iak: quoted.iak,
        },
        logs: Logs { uefi: quoted.uefi_log },
        attachments,
    })
}
