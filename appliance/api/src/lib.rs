//! The versioned wire: what the agent on a host says to the appliance (`agent`), what people and programs say to it
//! (`operator`), and what HyperNodes ask of it (`verifier`).  Types only; the server implements them, the CLI, the page and the agent use them.

pub mod agent;
pub mod alerts;
pub mod boot;
pub mod break_glass;
pub mod burn_in;
pub mod carve;
pub mod erase;
pub mod fleet;
pub mod medium;
pub mod operator;
pub mod passports;
pub mod preflight;
pub mod remedy;
pub mod rescue;
pub mod residence;
pub mod secure_boot;
pub mod signing;
pub mod verifier;
pub mod what_if;
