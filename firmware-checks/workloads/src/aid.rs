//! What a task needs from outside its machine; whoever runs tasks brings it.

use appliance_model::burn_in::aid::{BoardQuestion, BoardWord, Pairing, Seek, Uplink};

/// Somebody to ask: the appliance.
pub trait Aid: Sync {
    /// The order that the tasks belong to.
    fn order(&self) -> u64;

    /// Waits for a partner, for some seconds at most.
    ///
    /// # Errors
    /// When it could not be asked, in a technician's words.
    fn partner(&self, seek: &Seek) -> Result<Pairing, String>;

    /// Places whose distance is to be measured; none where the site names none.
    ///
    /// # Errors
    /// When it could not be asked, in a technician's words.
    fn uplinks(&self) -> Result<Vec<Uplink>, String> {
        Ok(Vec::new())
    }

    /// What the controller has seen.
    ///
    /// # Errors
    /// When it could not be asked, in a technician's words.
    fn board(&self, question: &BoardQuestion) -> Result<BoardWord, String>;
}
