//! The `[pxe.v6]` section as people write it, key by key.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The `[pxe.v6]` section: IPv6 on one of the interfaces, whose `mode` counts here, too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V6 {
    /// Which interface; absent: `pxe.interface`.
    pub interface: Option<String>,
    /// Our address there (not a link-local one), as `fd77::1`.
    pub address: String,
    /// The link's prefix, as `fd77::/64`.
    pub prefix: String,
    /// DNS servers told to hosts.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Addresses from which relays send to us.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Whether we advertise the prefix, and that addresses come by DHCPv6.  Firmware needs that from somebody: without
    /// it, it waits 10 s before it uses its address.
    #[serde(default)]
    pub router_advertisements: bool,
    /// Whether the advertised prefix may be used by hosts to make their own addresses.
    #[serde(default)]
    pub autonomous: bool,
    /// Base URL of the agent API as machines without IPv4 reach it, as `https://[fd77::1]:8443`; told to our agents.
    pub api_url: Option<String>,
    /// Addresses to hand out.
    pub pool: Option<Pool6>,
    /// Addresses of the prefix kept for machines, by MAC.
    #[serde(default)]
    pub reservations: BTreeMap<String, String>,
    /// Links behind relays.
    #[serde(default)]
    pub networks: Vec<LinkBehindRelay>,
}

/// Addresses to hand out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool6 {
    /// First address.
    pub first: String,
    /// Last address.
    pub last: String,
}

/// A link behind relays.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkBehindRelay {
    /// The link's prefix.
    pub prefix: String,
    /// Link addresses that relays name for it without their lying in it.
    #[serde(default)]
    pub links: Vec<String>,
    /// DNS servers told to hosts.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Addresses to hand out.
    pub pool: Pool6,
    /// Addresses of the prefix kept for machines, by MAC.
    #[serde(default)]
    pub reservations: BTreeMap<String, String>,
}
