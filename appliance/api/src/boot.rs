//! What people and programs ask the boot service, version 1: machines on their way, why they are where they are, leases,
//! counters.  The appliance and `scalerforge boot serve` answer alike.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A machine that was seen on the provisioning LAN.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootMachineView {
    /// Its port.
    pub mac: String,
    /// Whether somebody has announced it.
    pub known: bool,
    /// When it was first seen, as far as is remembered; milliseconds since 1970.
    pub first_ms: u64,
    /// When it was last heard.
    pub last_ms: u64,
    /// Datagrams and events since then.
    pub entries: u64,
    /// Its address, if it holds one of ours.
    pub address: Option<String>,
    /// `fine`, `waiting` or `trouble`.
    pub state: String,
    /// The rule that gave the verdict.
    pub code: String,
    /// The verdict in a sentence.
    pub headline: String,
}

/// Why a machine is where it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootWhyView {
    /// Its port.
    pub mac: String,
    /// When this was judged; milliseconds since 1970.
    pub at_ms: u64,
    /// The answer.
    pub verdict: BootFindingView,
    /// What else was noticed.
    pub also: Vec<BootFindingView>,
    /// Everything kept of the machine, oldest first.
    pub story: Vec<BootLineView>,
}

/// What a rule found.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootFindingView {
    /// The rule's name; stays the same from version to version.
    pub code: String,
    /// `fine`, `waiting` or `trouble`.
    pub state: String,
    /// What is the matter.
    pub headline: String,
    /// What shows it, oldest first.
    pub evidence: Vec<BootLineView>,
    /// What to do next.
    pub next: String,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootLineView {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub text: String,
}

/// An address and who holds it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootLeaseView {
    /// The machine's port.
    pub mac: String,
    /// Its address.
    pub address: String,
    /// Until when; milliseconds since 1970.
    pub until_ms: u64,
    /// Whether the machine has taken it (else it was offered or given back).
    pub bound: bool,
}

/// What was counted since start, by name.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootCountersView {
    /// Counters; more may come.
    pub counters: BTreeMap<String, u64>,
}

/// An interface of the boot service: what it does, and who else is there.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootInterfaceView {
    /// Its name, unless the service listens on an address only.
    pub name: Option<String>,
    /// Our address there.
    pub address: String,
    /// What it is configured for: `listen`, `proxy`, `auto-proxy`, `full`, `reservation` or `off`.
    pub mode: String,
    /// What it does at this moment: `nothing`, `boot` (no addresses), `known` (announced and reserved machines) or `all`.
    pub serving: String,
    /// Why it does that.
    pub why: String,
    /// Since when it listens; milliseconds since 1970.
    pub since_ms: u64,
    /// Requests of machines heard since then.
    pub requests: u64,
    /// Other DHCP servers heard lately.
    pub servers: Vec<BootServerView>,
    /// Relays whose requests were heard.
    pub relays: Vec<String>,
    /// VLANs whose tagged frames passed by.
    pub vlans: Vec<u16>,
    /// The mode that fits what was heard.
    pub proposal: String,
    /// Why that one.
    pub proposal_why: String,
    /// IPv6, if the service has it here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<BootV6View>,
}

/// IPv6 on an interface of the boot service.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootV6View {
    /// Our address there.
    pub address: String,
    /// Whether we advertise the link's prefix while we serve.
    pub router_advertisements: bool,
    /// What it does over IPv6 at this moment; words as in IPv4.
    pub serving: String,
    /// Why it does that.
    pub why: String,
    /// Other DHCPv6 servers and routers heard lately, in a sentence.
    pub heard: String,
}

/// Another DHCP server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BootServerView {
    /// Its address.
    pub address: String,
    /// Whether it gives addresses.
    pub gives_addresses: bool,
    /// The class of its boot offers, if it makes any: `PXEClient` or `HTTPClient`.
    pub boots: Option<String>,
    /// When it was last heard; milliseconds since 1970.
    pub last_ms: u64,
}
