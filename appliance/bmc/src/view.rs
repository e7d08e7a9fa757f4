//! What a controller says of its machine, and what is odd about how it says it.

use appliance_model::inventory::Inventory;
use serde::Serialize;

use crate::{
    evidence::Body,
    pin::{Certificate, Pin},
    power::PowerState,
    quirks::QuirkNote,
};

/// A controller's account of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BmcView {
    /// The machine.
    pub inventory: Inventory,
    /// What was missing or odd.
    pub findings: Vec<Finding>,
    /// The resource of the machine itself (`/redfish/v1/Systems/1`).
    pub system: String,
    /// Boot override targets it offers; empty where it does not say.
    pub boot_targets: Vec<String>,
    /// Whether it can be given a boot URL (`HttpBootUri`).
    pub http_boot_uri: bool,
    /// Reset types it offers; empty where it does not say.
    pub reset_types: Vec<String>,
    /// Power state.
    pub power: PowerState,
    /// The controller's key.
    pub pin: Option<Pin>,
    /// Its certificate, when one was shown.
    pub certificate: Option<Certificate>,
    /// What it is known to do otherwise.
    pub quirks: Vec<QuirkNote>,
    /// Digests of all it said, by resource.
    pub bodies: Vec<Body>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is missing that others have.
    Warning,
    /// Part of the inventory could not be read.
    Error,
}

/// Something missing or odd in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The resource.
    pub url: String,
    /// What is odd, in words.
    pub what: String,
}
