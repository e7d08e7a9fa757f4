//! A host's consent to its registration: asked of its agent, kept beside what was asked.  Whether the signature is the
//! host's is for whoever sends it on to check: the statement that the TPM signed names the account.

use std::sync::Arc;

use appliance_api::agent::{NodeConsent, Work};
use appliance_model::{Address, Digest};
use appliance_store::{Kind, RequestEnd, RequestRow, StoreError};
use serde::{Deserialize, Serialize};

use crate::{
    app::{App, now},
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
