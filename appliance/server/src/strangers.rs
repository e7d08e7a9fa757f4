//! What verifiers share, so that many of them cost the appliance little more than one.

use std::sync::{Arc, Mutex, PoisonError};

use appliance_api::verifier::VerifiableNode;
use appliance_model::{Now, Seconds};
use tokio::sync::Semaphore;

use crate::app::now;

/// Challenges open at once, of all nodes: each holds a connection, and ends in an evidence file that is judged and kept.
pub(crate) const CHALLENGES_MAX: usize = 64;

/// How old the list of nodes may be.
pub(crate) const LISTED_SECONDS: Seconds = Seconds(1);

/// What strangers share, so that many of them cost the appliance little more than one.
#[derive(Debug)]
pub(crate) struct Strangers {
    pub(crate) challenges: Semaphore,
    pub(crate) listing: Semaphore,
    listed: Mutex<Option<(Now, Arc<Vec<VerifiableNode>>)>>,
}

impl Default for Strangers {
    fn default() -> Self {
        Self {
            challenges: Semaphore::new(CHALLENGES_MAX),
            listing: Semaphore::new(1),
            listed: Mutex::default(),
        }
    }
}

impl Strangers {
    /// The list of nodes, if it is younger than this.
    pub(crate) fn listed(&self, age_max: Seconds) -> Option<Arc<Vec<VerifiableNode>>> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.as_ref().filter(|(at, _)| now().since(*at) < age_max).map(|(_, nodes)| Arc::clone(nodes))
    }

    /// Keeps the list for the next caller.
    pub(crate) fn list(&self, nodes: Vec<VerifiableNode>) -> Arc<Vec<VerifiableNode>> {
        let nodes = Arc::new(nodes);
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = Some((now(), Arc::clone(&nodes)));
        nodes
    }
}
