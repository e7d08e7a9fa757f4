//! The `[pxe]` section of the site's file: [`wire`] is what can be written, [`Config`] is what can be meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use appliance_model::{Mac, Seconds};
use pxe_policy::{Pool, Site, Strangers};

/// What can be written.
pub mod wire {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    /// The `[pxe]` section.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Config {
        /// Interface of the provisioning LAN (`br0`); without it, the server listens on `address` only and hears
        /// relays but no broadcasts.
        pub interface: Option<String>,
        /// Our address on the provisioning LAN.
        pub address: String,
        /// The LAN, as `10.77.0.0/24`.
        pub subnet: String,
        /// Router told to hosts, if there is one.
        pub router: Option<String>,
        /// Relays that may ask for hosts elsewhere.
        #[serde(default)]
        pub relays: Vec<String>,
        /// Base URL of the agents' API, told to agents in option 224.
        pub api_url: String,
        /// What machines get that nobody announced: `boot`, `lease` or `silence`.
        #[serde(default = "strangers")]
        pub strangers: String,
        /// How long a lease lasts.
        #[serde(default = "lease_seconds")]
        pub lease_seconds: u64,
        /// DHCP's UDP port.  Other than 67 only for tests through a relay.
        #[serde(default = "dhcp_port")]
        pub dhcp_port: u16,
        /// Boot HTTP's TCP port.
        #[serde(default = "http_port")]
        pub http_port: u16,
        /// UDP port where PXE firmware is sent on to HTTP boot.
        #[serde(default = "tftp_port")]
        pub tftp_port: u16,
        /// Addresses to hand out.
        pub pool: Pool,
        /// Fixed addresses by MAC.
        #[serde(default)]
        pub reservations: BTreeMap<String, String>,
    }

    /// The `[pxe.pool]` section.
    #[derive(Debug, Clone, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Pool {
        /// First address.
        pub first: String,
        /// Last address.
        pub last: String,
    }

    fn strangers() -> String {
        "boot".into()
    }
    /// An hour: a host that moves is seen soon, and 10,000 hosts renew 6 times a second.
    fn lease_seconds() -> u64 {
        3600
    }
    fn dhcp_port() -> u16 {
        67
    }
    fn http_port() -> u16 {
        8080
    }
    fn tftp_port() -> u16 {
        69
    }
}

/// A legal configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) interface: Option<String>,
    pub(crate) address: Ipv4Addr,
    pub(crate) subnet: Subnet,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) relays: BTreeSet<Ipv4Addr>,
    pub(crate) api_url: String,
    pub(crate) site: Site,
    pub(crate) pool: Pool,
    pub(crate) dhcp_port: u16,
    pub(crate) http_port: u16,
    pub(crate) tftp_port: u16,
}

/// Why a configuration is not legal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pxe.{key}: `{value}` {wrong}; {advice}")]
pub struct ConfigError {
    /// The key below `pxe`.
    pub key: String,
    /// What was written.
    pub value: String,
    /// What is wrong with it.
    pub wrong: String,
    /// What to do.
    pub advice: String,
}

/// Addresses that share their first `bits` bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) base: Ipv4Addr,
    pub(crate) bits: u8,
}

/// A pool of more addresses than this is refused: twice the largest LAN one appliance is meant for.
const POOL_MAX: u32 = 65_536;
/// Shorter leases make hosts renew faster than a journal should be written.
const LEASE_SECONDS_MIN: u64 = 60;
/// A week; longer leases only delay the reuse of addresses.
const LEASE_SECONDS_MAX: u64 = 604_800;
/// DHCP options hold 255 bytes; the agent appends paths to the URL, not the option.
const API_URL_BYTES_MAX: usize = 255;
/// Linux' IFNAMSIZ without the terminating zero.
const INTERFACE_BYTES_MAX: usize = 15;

impl Subnet {
    pub(crate) fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0))
    }

    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & u32::from(self.mask()) == u32::from(self.base)
    }

    /// A host address: neither the network's nor the broadcast address.
    fn host(self, address: Ipv4Addr) -> bool {
        let last = u32::from(self.base) | !u32::from(self.mask());
        self.contains(address) && address != self.base && u32::from(address) != last
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

fn bad(key: &str, value: impl ToString, wrong: impl Into<String>, advice: impl Into<String>) -> ConfigError {
    let value = value.to_string().chars().take(100).collect();
    ConfigError { key: key.into(), value, wrong: wrong.into(), advice: advice.into() }
}

fn address(key: &str, text: &str) -> Result<Ipv4Addr, ConfigError> {
    text.parse().map_err(|_| bad(key, text, "is not an IPv4 address", "write four numbers, as in 10.77.0.1"))
}

fn subnet(text: &str) -> Result<Subnet, ConfigError> {
    let wrong =
        |wrong: &str| bad("subnet", text, wrong, "write the network and its bits, as in 10.77.0.0/24");
    let (base, bits) = text.split_once('/').ok_or_else(|| wrong("has no prefix length"))?;
    let bits: u8 = bits.parse().map_err(|_| wrong("has no number after the slash"))?;
    if !(8..=30).contains(&bits) {
        return Err(wrong("has a prefix length that is not between 8 and 30"));
    }
    let base = base.parse().map_err(|_| wrong("does not start with an IPv4 address"))?;
    let subnet = Subnet { base, bits };
    if subnet.contains(base) { Ok(subnet) } else { Err(wrong("has bits set behind its prefix")) }
}

/// An address that must be a host address of the subnet.
fn inside(key: &str, text: &str, subnet: Subnet) -> Result<Ipv4Addr, ConfigError> {
    let parsed = address(key, text)?;
    if subnet.host(parsed) {
        return Ok(parsed);
    }
    Err(bad(
        key,
        text,
        format!("is not a host address of pxe.subnet {subnet}"),
        "correct the one or the other",
    ))
}

impl TryFrom<wire::Config> for Config {
    type Error = ConfigError;

    fn try_from(wire: wire::Config) -> Result<Self, ConfigError> {
        let subnet = subnet(&wire.subnet)?;
        let own = inside("address", &wire.address, subnet)?;
        let router = wire.router.as_deref().map(|text| inside("router", text, subnet)).transpose()?;
        let relays = wire.relays.iter().map(|text| address("relays", text)).collect::<Result<_, _>>()?;
        let strangers = match wire.strangers.as_str() {
            "boot" => Strangers::Boot,
            "lease" => Strangers::Lease,
            "silence" => Strangers::Silence,
            other => {
                return Err(bad("strangers", other, "is not a rule", "write `boot`, `lease` or `silence`"));
            }
        };
        if let Some(name) = &wire.interface
            && (name.is_empty() || name.len() > INTERFACE_BYTES_MAX || name.contains(['/', ' ', '\0']))
        {
            return Err(bad("interface", name, "is not an interface name", "write one that `ip link` shows"));
        }
        let sound = wire.api_url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
        if !sound
            || wire.api_url.len() > API_URL_BYTES_MAX
            || !wire.api_url.chars().all(|c| c.is_ascii_graphic())
        {
            let wrong = format!("is not an https URL of at most {API_URL_BYTES_MAX} bytes");
            return Err(bad("api_url", &wire.api_url, wrong, "write it as in https://10.77.0.1:8443"));
        }
        Ok(Self {
            pool: pool(&wire, subnet, own, router)?,
            interface: wire.interface,
            address: own,
            subnet,
            router,
            relays,
            api_url: wire.api_url,
            site: Site { strangers },
            dhcp_port: wire.dhcp_port,
            http_port: wire.http_port,
            tftp_port: wire.tftp_port,
        })
    }
}

fn pool(
    wire: &wire::Config,
    subnet: Subnet,
    own: Ipv4Addr,
    router: Option<Ipv4Addr>,
) -> Result<Pool, ConfigError> {
    let first = inside("pool.first", &wire.pool.first, subnet)?;
    let last = inside("pool.last", &wire.pool.last, subnet)?;
    if first > last {
        let wrong = format!("lies behind pxe.pool.last {last}");
        return Err(bad("pool.first", first, wrong, "exchange the two"));
    }
    let size = u32::from(last).saturating_sub(u32::from(first)).saturating_add(1);
    if size > POOL_MAX {
        let wrong = format!("makes a pool of {size} addresses, {POOL_MAX} is the limit");
        return Err(bad("pool.last", last, wrong, "choose a smaller pool"));
    }
    if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&wire.lease_seconds) {
        let wrong = format!("is not between {LEASE_SECONDS_MIN} and {LEASE_SECONDS_MAX}");
        return Err(bad("lease_seconds", wire.lease_seconds, wrong, "3600 suits most sites"));
    }
    let mut reservations: BTreeMap<Mac, Ipv4Addr> = BTreeMap::new();
    for (mac, text) in &wire.reservations {
        let key = format!("reservations.{}", mac.chars().take(40).collect::<String>());
        let mac: Mac = mac
            .parse()
            .map_err(|_| bad("reservations", mac, "is not a MAC address", "write it as 52:54:00:12:34:56"))?;
        let reserved = inside(&key, text, subnet)?;
        if reserved == own
            || Some(reserved) == router
            || reservations.values().any(|other| *other == reserved)
        {
            return Err(bad(&key, reserved, "is taken already", "choose an address nobody else has"));
        }
        reservations.insert(mac, reserved);
    }
    let never = [Some(own), router].into_iter().flatten().collect();
    Ok(Pool { first, last, never, reservations, lease: Seconds(wire.lease_seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        interface = "br0"
        address = "10.77.0.1"
        subnet = "10.77.0.0/24"
        api_url = "https://10.77.0.1:8443"
        [pool]
        first = "10.77.0.100"
        last = "10.77.0.199"
        [reservations]
        "52:54:00:00:00:01" = "10.77.0.50"
    "#;

    fn parse(text: &str) -> Result<Config, String> {
        let wire: wire::Config = toml::from_str(text).map_err(|error| error.to_string())?;
        Config::try_from(wire).map_err(|error| error.to_string())
    }

    #[test]
    fn the_demo_site_is_legal() {
        let config = parse(GOOD).unwrap();
        assert_eq!(config.subnet.mask(), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!((config.dhcp_port, config.http_port, config.pool.lease), (67, 8080, Seconds(3600)));
    }

    #[test]
    fn each_mistake_names_its_key_and_what_to_do() {
        let rows = [
            (
                "\"10.77.0.100\"",
                "\"10.78.0.100\"",
                "pxe.pool.first: `10.78.0.100` is not a host address of pxe.subnet 10.77.0.0/24; correct the one or the other",
            ),
            ("\"10.77.0.199\"", "\"10.77.0.255\"", "pxe.pool.last: `10.77.0.255` is not a host"),
            ("\"10.77.0.199\"", "\"10.77.0.20\"", "pxe.pool.first: `10.77.0.100` lies behind pxe.pool.last"),
            ("\"10.77.0.199\"", "\"ten\"", "pxe.pool.last: `ten` is not an IPv4 address"),
            ("/24\"", "\"", "pxe.subnet: `10.77.0.0` has no prefix length"),
            (
                "/24\"",
                "/16\"\nstrangers = \"maybe\"",
                "pxe.strangers: `maybe` is not a rule; write `boot`, `lease`",
            ),
            ("10.77.0.0/24", "10.77.0.9/24", "pxe.subnet: `10.77.0.9/24` has bits set behind its prefix"),
            ("https://", "http://", "pxe.api_url: `http://10.77.0.1:8443` is not an https URL"),
            ("52:54:00:00:00:01", "52:54", "pxe.reservations: `52:54` is not a MAC address"),
            ("10.77.0.50", "10.77.0.1", "pxe.reservations.52:54:00:00:00:01: `10.77.0.1` is taken already"),
            ("br0", "br0/../x", "pxe.interface: `br0/../x` is not an interface name"),
            ("address =", "adress =", "unknown field `adress`"),
            ("first =", "frist =", "unknown field `frist`"),
        ];
        for (from, to, expected) in rows {
            assert!(GOOD.contains(from), "{from}");
            let error = parse(&GOOD.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }
}
