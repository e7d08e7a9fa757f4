//! What proves to a stranger that evidence was on chain: looked up for verifiers, and kept for a moment, because each
//! look-up costs the chain's node a block's receipts.
//!
//! Only blocks that this appliance's own transactions went into are asked for: a stranger cannot have the chain searched.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use appliance_model::{Digest, Now, Seconds};
use appliance_store::{HostRow, Purpose};
use chain_client::{Publication, TxHash};
use tokio::sync::Semaphore;

use crate::{
    app::{App, now},
    chain_of,
};

/// Publications kept for the next caller: a few dozen kilobytes each at most.
const KEPT_MAX: usize = 64;

/// How long one is kept: a reorganisation may give it another block.
const KEPT_SECONDS: Seconds = Seconds(60);

/// Look-ups at once.
const LOOK_UPS_MAX: usize = 2;

/// Publications that were just looked up, and places for those who look.
#[derive(Debug)]
pub(crate) struct Publications {
    kept: Mutex<VecDeque<(Digest, Now, Publication)>>,
    places: Semaphore,
}

impl Default for Publications {
    fn default() -> Self {
        Self { kept: Mutex::default(), places: Semaphore::new(LOOK_UPS_MAX) }
    }
}

/// Why there is no publication.
pub(crate) enum Unpublished {
    /// There is none of this evidence.
    Never(String),
    /// Not now.
    NotNow(String),
}

impl Publications {
    fn kept(&self, evidence: Digest) -> Option<Publication> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(_, at, _)| now().since(*at) <= KEPT_SECONDS);
        kept.iter().find(|(digest, _, _)| *digest == evidence).map(|(_, _, publication)| publication.clone())
    }

    fn keep(&self, evidence: Digest, publication: &Publication) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((evidence, now(), publication.clone()));
    }
}

/// The publication of one of the host's evidence files.
pub(crate) async fn find(
    app: &Arc<App>,
    host: &HostRow,
    evidence: Digest,
) -> Result<Publication, Unpublished> {
    use Unpublished::{Never, NotNow};
    if let Some(publication) = app.publications.kept(evidence) {
        return Ok(publication);
    }
    let never = || {
        Never(
            "this evidence was not published on chain: not all is (its provider's chain.publish says which); evidence \
             that is, and came later, names it by its hash"
                .into(),
        )
    };
    let Ok(_place) = app.publications.places.try_acquire() else {
        return Err(NotNow("others are looking up publications just now".into()));
    };
    let id = host.id.clone();
    let stored = app.db(move |store| {
        let rows = store.evidence_row(&id)?;
        let Some(row) = rows.iter().find(|row| row.digest == evidence) else { return Ok(None) };
        let published = store.transaction(&id, Purpose::Publish(row.sequence))?;
        Ok(match published {
            Some(transaction) => Some(transaction),
            None => store.transaction(&id, Purpose::Register)?,
        })
    });
    let stored = stored.await.map_err(|error| NotNow(chain_of(&error)))?.ok_or_else(never)?;
    let node = host.node.ok_or_else(never)?;
    let (network, _) = app.chain.ready().map_err(NotNow)?;
    let chain = |error: chain_client::Error| {
        tracing::warn!(host = %host.id, %evidence, error = %chain_of(&error), "a publication cannot be looked up");
        NotNow("the appliance's chain does not give the block now".into())
    };
    let receipt = network.receipt(TxHash(stored.hash.0)).await.map_err(chain)?;
    let Some(receipt) = receipt else {
        return Err(NotNow("the transaction is in no block yet".into()));
    };
    let found = network.publication(node, evidence, Some(receipt.block)).await.map_err(chain)?;
    let publication = found.ok_or_else(never)?.publication;
    app.publications.keep(evidence, &publication);
    Ok(publication)
}
