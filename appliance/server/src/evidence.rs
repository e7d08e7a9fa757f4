//! Puts evidence files together from what an agent reports and what is stored.  Nothing in it is believed here.

use appliance_api::agent::Outcome;
use appliance_model::{Digest, HostId};
use appliance_store::{Kind, Store, StoreError};
use attest_evidence::{
    Attachments, Endorsements, Evidence, Logs, Pcr, Statement, TpmPart, binding::SignedBinding,
};

use crate::challenge::Challenge;

/// TPM_ALG_SHA256 (TCG Algorithm Registry).
const SHA256: u16 = 0x000B;

/// An agent's report of a quote, out of its hex.
pub(crate) struct Quoted {
    pub(crate) statement: Statement,
    attest: Vec<u8>,
    signature: Vec<u8>,
    uefi_log: Vec<u8>,
    pcrs: Vec<(u8, Digest)>,
}

impl Quoted {
    /// Reads the report; answers the part that is not what the protocol says, if one is not.
    pub(crate) fn read(outcome: Outcome) -> Result<Self, &'static str> {
        let Outcome::Quoted { statement, attest, signature, pcrs, uefi_log } = outcome else {
            return Err("kind");
        };
        let unhex = |text: &str, what| hex::decode(text).map_err(|_| what);
        Ok(Self {
            statement: Statement::decode(&unhex(&statement, "statement")?).map_err(|_| "statement")?,
            attest: unhex(&attest, "attest")?,
            signature: unhex(&signature, "signature")?,
            uefi_log: unhex(&uefi_log, "uefi_log")?,
            pcrs,
        })
    }
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
            ..Endorsements::default()
        },
        logs: Logs { uefi: quoted.uefi_log },
        attachments,
    })
}
