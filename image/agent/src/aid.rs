//! The appliance as whoever runs a task asks it: for a partner, and for the controller's word.
//!
//! An appliance that is away for a moment is asked again; one that stays away costs the task that needed it, and no more.

use std::{sync::Arc, thread, time::Duration};

use appliance_model::burn_in::aid::{BoardQuestion, BoardWord, Pairing, Seek, Uplink};
use firmware_checks_workloads::aid::Aid;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::{CallError, Client},
    console::chain,
};

/// Tries, and the pause between two: an appliance that restarts is back within half a minute.
const TRIES_MAX: u32 = 15;
const PAUSE: Duration = Duration::from_secs(2);

/// Asks in the name of one order.
#[derive(Debug, Clone)]
pub struct Errand {
    client: Arc<Client>,
    order: u64,
}

impl Errand {
    /// For the tasks of this order.
    pub fn new(client: Arc<Client>, order: u64) -> Self {
        Self { client, order }
    }

    fn ask<A: DeserializeOwned>(&self, call: &str, question: &impl Serialize) -> Result<A, String> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.client.ask(call, question) {
                Ok(answer) => return Ok(answer),
                // A forgotten session is opened again by the loop that owns it.
                Err(CallError::Session | CallError::Unreachable { .. }) if tries < TRIES_MAX => {
                    thread::sleep(PAUSE);
                }
                Err(error) => return Err(chain(&error)),
            }
        }
    }
}

impl Aid for Errand {
    fn order(&self) -> u64 {
        self.order
    }

    fn partner(&self, seek: &Seek) -> Result<Pairing, String> {
        self.ask("partner", seek)
    }

    fn uplinks(&self) -> Result<Vec<Uplink>, String> {
        self.ask("uplinks", &())
    }

    fn board(&self, question: &BoardQuestion) -> Result<BoardWord, String> {
        self.ask("board", question)
    }
}
