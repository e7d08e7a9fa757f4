//! The appliance: executor, HTTP, wiring.  No rule lives here.
//!
//! [`serve`] reads the site directory and runs until it is told to stop: the PXE server, the agents' API (TLS, with a
//! certificate of the site's own authority), the operator's API and page, the verifiers' API, the executor and the link to the chain.
//! What follows from an event is decided by `appliance/enrol`; what is true of evidence by `attest/verify`; what
//! firmware is answered by `pxe/policy`.

pub mod admin;
mod agent_api;
mod app;
mod attestors;
mod board;
mod boot_api;
pub mod boot_serve;
mod boot_ticket;
mod break_glass;
mod burn_in;
mod chain;
mod chain_watch;
mod challenge;
pub mod checks;
mod climb;
pub mod config;
mod consent;
mod controllers;
mod custody;
mod discovery;
mod erase;
mod evidence;
mod executor;
#[cfg(test)]
#[path = "../../../attest/verify/tests/firmware/mod.rs"]
mod firmware;
pub mod first_run;
mod fleet;
#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "the verifier's own tests use the rest")]
#[path = "../../../attest/verify/tests/forge/mod.rs"]
mod forge;
mod intake;
mod ipmi;
mod offboard;
mod operator_api;
mod orders;
mod pages;
mod partners;
mod passports;
mod plain;
mod power;
mod preflight;
mod programs;
mod proof;
mod publication;
mod publish;
mod remedy;
mod requests;
mod rescue;
mod residence;
#[cfg(test)]
mod rig;
mod secure_boot;
mod sending;
mod serve;
mod shaping;
mod sightings;
mod signing;
pub mod site;
mod stake;
mod strangers;
pub mod sweep;
mod taken_over;
mod tls;
mod told;
pub mod vault;
mod verifier_api;
mod what_if;
mod wipe;
mod work;

pub use appliance_store::SCHEMA as STORE_SCHEMA;
pub use erase::certificate;
pub use serve::{Inherited, ServeError, serve};

/// An error with all its causes, in one line: the one printer that walks the chain.
#[must_use]
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some libraries print their source themselves: it is not said twice.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// The API's description (OpenAPI 3.1, JSON), as `appliance/api/openapi/v1.json` has it.
#[must_use]
pub fn openapi() -> String {
    document().to_pretty_json().unwrap_or_default() + "\n"
}

fn document() -> utoipa::openapi::OpenApi {
    use utoipa::OpenApi as _;
    operator_api::Document::openapi()
        .merge_from(boot_api::Document::openapi())
        .merge_from(passports::api::Document::openapi())
        .merge_from(preflight::Document::openapi())
        .merge_from(remedy::api::Document::openapi())
        .merge_from(erase::api::Document::openapi())
        .merge_from(secure_boot::api::Document::openapi())
        .merge_from(shaping::api::Document::openapi())
        .merge_from(residence::api::Document::openapi())
        .merge_from(rescue::Document::openapi())
        .merge_from(break_glass::api::Document::openapi())
        .merge_from(wipe::Document::openapi())
        .merge_from(signing::api::Document::openapi())
        .merge_from(chain_watch::api::Document::openapi())
        .merge_from(what_if::Document::openapi())
        .merge_from(fleet::api::Document::openapi())
        .merge_from(offboard::Document::openapi())
        .merge_from(burn_in::api::Document::openapi())
}
