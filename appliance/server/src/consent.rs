//! A host's consent to its registration: asked of its agent before the registration is, checked against the account in
//! the statement that the TPM signed, and kept beside what was asked.

use std::{sync::Arc, time::Duration};

use appliance_api::agent::{NodeConsent, Target, Work};
use appliance_enrol::{Event, Refusal};
use appliance_model::{Address, Digest};
use appliance_store::{Ask, Asked, HostRow, Kind, RequestEnd, RequestRow, StoreError};
use attest_evidence::Evidence;
use chain_client::{
    Intent,
    signer::{Consent, Typed},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
    executor::End,
    requests,
};

/// A consent as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    /// What was consented to.
    pub(crate) consent: NodeConsent,
    /// The account that says it signed.
    pub(crate) host_key: Address,
    /// r ‖ s ‖ v, 65 bytes in hex.
    pub(crate) signature: String,
}

/// Takes the agent's answer.
pub(crate) async fn take(
    app: &Arc<App>,
    request: &RequestRow,
    host_key: Address,
    signature: String,
) -> Result<(), StoreError> {
    let Ok(Work::NodeConsent(consent)) = serde_json::from_str::<Work>(&request.work) else {
        return requests::fail(
            app,
            request,
            "the request was made by another version of the appliance".into(),
        )
        .await;
    };
    if hex::decode(&signature).map(|bytes| bytes.len()) != Ok(65) {
        return requests::fail(app, request, "the agent's consent is no signature of 65 bytes".into()).await;
    }
    let bytes = serde_json::to_vec(&Given { consent, host_key, signature }).unwrap_or_default();
    let (digest, id) = (Digest::of(&bytes), request.host.clone());
    app.db(move |store| store.put(&id, Kind::Consent, &bytes, now())).await?;
    requests::end(app, request.id, RequestEnd::Answered(digest), None).await.map(drop)
}

/// How long one look waits for the agent's answer before it makes room for others.
const LOOKS_MAX: u32 = 40;
const LOOK: Duration = Duration::from_millis(250);

/// Whether the host has agreed to be registered so, where its statement names a key that can: asks it if it was not
/// asked, and believes only a signature by that key over exactly this.  `None`: nothing stands in the way.
pub(crate) async fn wanting(
    app: &Arc<App>,
    host: &HostRow,
    intent: &Intent,
) -> Result<Option<End>, StoreError> {
    let id = host.id.clone();
    let (evidence, kept) = app
        .db(move |store| Ok((store.document(&id, Kind::Registration)?, store.document(&id, Kind::Consent)?)))
        .await?;
    let evidence = evidence.and_then(|bytes| Evidence::decode(&bytes).ok());
    // A TPM without HMAC has no such key, and its evidence says so.
    let Some(host_key) = evidence.and_then(|evidence| evidence.statement.host_key) else { return Ok(None) };
    let Some(wanted) = wanted(app, intent) else {
        return Ok(Some(End::later("where to register is not known yet")));
    };
    let kept = kept.and_then(|bytes| serde_json::from_slice::<Given>(&bytes).ok());
    if let Some(given) = kept.filter(|given| given.consent == wanted) {
        return Ok(stands(&given, Address(host_key)).err().map(refused));
    }
    let work = Work::NodeConsent(wanted);
    let request = match requests::put(app, &host.id, Ask::Consent, false, &work).await? {
        Asked::Waits(request) => request,
        Asked::Busy(_) | Asked::TooMany(_) => {
            return Ok(Some(End::later("the host is asked to agree to its registration")));
        }
    };
    app.bump();
    for _ in 0..LOOKS_MAX {
        match app.db(move |store| store.request(request)).await?.and_then(|row| row.end) {
            Some(RequestEnd::Answered(_)) => return Ok(Some(End::later("the host has answered"))),
            Some(RequestEnd::Failed(why)) => {
                return Ok(Some(refused(format!("the host does not agree to its registration: {why}"))));
            }
            None => tokio::time::sleep(LOOK).await,
        }
    }
    Ok(Some(End::later("the host is asked to agree to its registration and has not answered yet")))
}

fn wanted(app: &App, intent: &Intent) -> Option<NodeConsent> {
    let target = app.chain.target()?;
    Some(NodeConsent {
        node: intent.node,
        target: Target { chain_id: target.chain_id, registry: target.registry, operator: target.operator },
        owner: intent.owner,
        unit_root: intent.unit_root,
        class: intent.class.clone(),
        capacity: intent.capacity,
        commitment_seconds: intent.commitment.0,
    })
}

/// Whether a consent is the host's own word: signed by the key that its TPM has named in the statement.
pub(crate) fn stands(given: &Given, host_key: Address) -> Result<(), String> {
    let asked = &given.consent;
    let typed = Typed::consent(&Consent {
        chain_id: asked.target.chain_id,
        registry: asked.target.registry,
        node: asked.node,
        operator: asked.target.operator,
        owner: asked.owner,
        unit_root: asked.unit_root,
        class: asked.class.clone(),
        capacity: asked.capacity,
        commitment_seconds: asked.commitment_seconds,
    });
    let signature = hex::decode(&given.signature).unwrap_or_default();
    match typed.signer(&signature) {
        Some(signer) if signer == host_key => Ok(()),
        Some(signer) => Err(format!(
            "the consent is signed by 0x{signer}, and the statement that the TPM signed names 0x{host_key}; boot the host \
             and retry it"
        )),
        None => Err("the consent's signature is none; boot the host and retry it".into()),
    }
}

fn refused(text: String) -> End {
    End::Done(Event::RegistrationRefused(Refusal { rule: "consent".into(), text }))
}

#[cfg(test)]
mod tests {
    use appliance_model::NodeId;

    use super::*;

    /// The consent and its signature by the key of secret 0x21…21: RFC 6979 gives everybody the same.
    fn given(signature: &str) -> Given {
        let target = Target { chain_id: 5, registry: Address([0x77; 20]), operator: Address([3; 20]) };
        let consent = NodeConsent {
            node: NodeId([7; 32]),
            target,
            owner: Address([4; 20]),
            unit_root: Digest([5; 32]),
            class: "compute".into(),
            capacity: 64,
            commitment_seconds: 86_400,
        };
        Given { consent, host_key: Address([0; 20]), signature: signature.into() }
    }

    #[tokio::test]
    async fn only_the_key_in_the_statement_consents_and_only_to_what_it_read() {
        let key = chain_client::OperatorKey::from_secret(&[0x21; 32]).unwrap();
        let bare = given("");
        let typed = Typed::consent(&Consent {
            chain_id: 5,
            registry: Address([0x77; 20]),
            node: NodeId([7; 32]),
            operator: Address([3; 20]),
            owner: Address([4; 20]),
            unit_root: Digest([5; 32]),
            class: "compute".into(),
            capacity: 64,
            commitment_seconds: 86_400,
        });
        let signature = hex::encode(key.sign_typed(&typed).await.unwrap());
        let good = given(&signature);
        stands(&good, key.address()).unwrap();
        // The address that the agent tells beside it proves nothing.
        let said = Given { host_key: key.address(), ..given(&signature) };
        let error = stands(&said, Address([9; 20])).unwrap_err();
        assert!(error.contains("the statement that the TPM signed names 0x0909"), "{error}");
        let changes: [fn(&mut NodeConsent); 6] = [
            |consent| consent.capacity = 65,
            |consent| consent.owner = Address([5; 20]),
            |consent| consent.target.chain_id = 6,
            |consent| consent.target.operator = Address([6; 20]),
            |consent| consent.class = "storage".into(),
            |consent| consent.commitment_seconds += 1,
        ];
        for change in changes {
            let mut other = good.clone();
            change(&mut other.consent);
            assert!(stands(&other, key.address()).is_err());
        }
        for odd in ["", "00", &signature[..128], "zz"] {
            assert!(stands(&Given { signature: odd.into(), ..bare.clone() }, key.address()).is_err());
        }
    }
}
