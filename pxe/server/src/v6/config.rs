//! What `[pxe.v6]` may mean.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
};

use appliance_model::{Mac, Seconds};
use pxe_policy::{Mode, Network6, Pool6, Subnet6};

use super::wire;
use crate::config::{Config, ConfigError, Interface, LIST_MAX, api_url, bad, mac};

/// A legal `[pxe.v6]`.
#[derive(Debug, Clone)]
pub(crate) struct Config6 {
    /// Its place among the interfaces, and its name.
    pub(crate) index: usize,
    pub(crate) interface: String,
    pub(crate) address: Ipv6Addr,
    pub(crate) relays: BTreeSet<Ipv6Addr>,
    pub(crate) router_advertisements: bool,
    pub(crate) autonomous: bool,
    /// Where our agents call that have no IPv4.
    pub(crate) api_url: Option<String>,
    /// Our own link first.
    pub(crate) networks: Vec<Place6>,
    own: Network6,
}

/// A network and what its hosts are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Place6 {
    pub(crate) network: Network6,
    pub(crate) dns: Vec<Ipv6Addr>,
}

impl Config6 {
    /// Reads the section; `interfaces` are those of `[pxe]`.
    pub(crate) fn read(
        wire: &wire::V6,
        interfaces: &[Interface],
        lease: Seconds,
    ) -> Result<Self, ConfigError> {
        let (index, interface, mode) = interface(wire, interfaces)?;
        let subnet = subnet("v6.prefix", &wire.prefix)?;
        let address = address("v6.address", &wire.address)?;
        if !subnet.contains(address) {
            let wrong = format!("is outside of {subnet}");
            return Err(bad("v6.address", address, wrong, "correct it or pxe.v6.prefix"));
        }
        if wire.networks.len() >= LIST_MAX {
            let wrong = format!("are more than {LIST_MAX}");
            return Err(bad("v6.networks", wire.networks.len(), wrong, "split the site"));
        }
        let leases = match mode {
            Mode::Full | Mode::AutoProxy | Mode::Reservation => true,
            Mode::Listen | Mode::Proxy | Mode::Off => wire.pool.is_some(),
        };
        let never: BTreeSet<Ipv6Addr> = [address, subnet.base()].into();
        let pool = match (&wire.pool, leases) {
            (Some(pool), _) => self::pool("v6.pool", pool, subnet, never, lease)?,
            // Only reservations: a pool of one address that is never given.
            (None, reserved) if !reserved || !wire.reservations.is_empty() => {
                Pool6 { first: address, last: address, never, reservations: BTreeMap::new(), lease }
            }
            (None, _) => {
                let advice = "write pxe.v6.pool.first and .last, addresses of pxe.v6.prefix";
                return Err(bad("v6.pool", "", "is missing", advice));
            }
        };
        let reservations = reservations("v6.reservations", &wire.reservations, subnet, &pool.never)?;
        let pool = Pool6 { reservations, ..pool };
        let own = Network6 { subnet, ours: true, relays: BTreeSet::new(), pool };
        let mut networks = vec![Place6 { network: own.clone(), dns: addresses("v6.dns", &wire.dns)? }];
        for (index, network) in wire.networks.iter().enumerate() {
            let place = behind_relay(&format!("v6.networks[{index}]"), network, lease)?;
            let overlaps = |other: &Place6| {
                let (a, b) = (other.network.subnet, place.network.subnet);
                a.contains(b.base()) || b.contains(a.base())
            };
            if networks.iter().any(overlaps) {
                let key = format!("v6.networks[{index}].prefix");
                return Err(bad(&key, &network.prefix, "overlaps another", "write each link once"));
            }
            networks.push(place);
        }
        let relays = addresses("v6.relays", &wire.relays)?.into_iter().collect();
        let (router_advertisements, autonomous) = (wire.router_advertisements, wire.autonomous);
        let api_url = wire.api_url.as_deref().map(|url| api_url("v6.api_url", url)).transpose()?;
        Ok(Self {
            index,
            interface,
            address,
            relays,
            router_advertisements,
            autonomous,
            api_url,
            networks,
            own,
        })
    }

    /// What the interface is for.
    pub(crate) fn mode(&self, config: &Config) -> Mode {
        config.interfaces.get(self.index).map_or(Mode::Off, |interface| interface.mode)
    }

    /// Our own link.
    pub(crate) fn own(&self) -> &Network6 {
        &self.own
    }
}

fn interface(wire: &wire::V6, interfaces: &[Interface]) -> Result<(usize, String, Mode), ConfigError> {
    let named = interfaces
        .iter()
        .enumerate()
        .filter_map(|(index, interface)| interface.name.clone().map(|name| (index, name, interface.mode)));
    let mut fitting = named.filter(|(_, name, _)| wire.interface.as_ref().is_none_or(|own| own == name));
    let (first, second) = (fitting.next(), fitting.next());
    match (first, second) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(bad("v6.interface", "", "is missing", "name one of pxe.interfaces")),
        (None, _) => {
            let value = wire.interface.clone().unwrap_or_default();
            let advice = "name an interface that [pxe] names: multicast needs one";
            Err(bad("v6.interface", value, "is not one of pxe's interfaces", advice))
        }
    }
}

fn behind_relay(key: &str, wire: &wire::LinkBehindRelay, lease: Seconds) -> Result<Place6, ConfigError> {
    let subnet = subnet(&format!("{key}.prefix"), &wire.prefix)?;
    let relays: BTreeSet<_> = addresses(&format!("{key}.links"), &wire.links)?.into_iter().collect();
    let never = relays.iter().copied().chain([subnet.base()]).collect();
    let pool = pool(&format!("{key}.pool"), &wire.pool, subnet, never, lease)?;
    let key_of = format!("{key}.reservations");
    let reservations = reservations(&key_of, &wire.reservations, subnet, &pool.never)?;
    let pool = Pool6 { reservations, ..pool };
    let dns = addresses(&format!("{key}.dns"), &wire.dns)?;
    Ok(Place6 { network: Network6 { subnet, ours: false, relays, pool }, dns })
}

fn pool(
    key: &str,
    wire: &wire::Pool6,
    subnet: Subnet6,
    never: BTreeSet<Ipv6Addr>,
    lease: Seconds,
) -> Result<Pool6, ConfigError> {
    let inside = |name: &str, text: &str| {
        let key = format!("{key}.{name}");
        let address = address(&key, text)?;
        if subnet.contains(address) {
            return Ok(address);
        }
        Err(bad(&key, address, format!("is outside of {subnet}"), "choose an address inside"))
    };
    let (first, last) = (inside("first", &wire.first)?, inside("last", &wire.last)?);
    if first > last {
        return Err(bad(&format!("{key}.first"), first, format!("lies behind {last}"), "exchange the two"));
    }
    Ok(Pool6 { first, last, never, reservations: BTreeMap::new(), lease })
}

fn reservations(
    key: &str,
    wire: &BTreeMap<String, String>,
    subnet: Subnet6,
    never: &BTreeSet<Ipv6Addr>,
) -> Result<BTreeMap<Mac, Ipv6Addr>, ConfigError> {
    let mut taken = never.clone();
    let mut all = BTreeMap::new();
    for (text, reserved) in wire {
        let machine = mac(key, text)?;
        let key = format!("{key}.{machine}");
        let reserved = address(&key, reserved)?;
        if !subnet.contains(reserved) {
            return Err(bad(&key, reserved, format!("is outside of {subnet}"), "choose an address inside"));
        }
        if !taken.insert(reserved) {
            return Err(bad(&key, reserved, "is taken already", "choose an address nobody else has"));
        }
        if all.insert(machine, reserved).is_some() {
            return Err(bad(&key, reserved, "is this machine's second", "write each machine once"));
        }
    }
    Ok(all)
}

fn address(key: &str, text: &str) -> Result<Ipv6Addr, ConfigError> {
    let parsed: Option<Ipv6Addr> = text.parse().ok();
    parsed
        .filter(|address| {
            !address.is_multicast() && !address.is_unicast_link_local() && !address.is_loopback()
        })
        .ok_or_else(|| bad(key, text, "is not an IPv6 address for a link", "write it as in fd77::1"))
}

fn addresses(key: &str, texts: &[String]) -> Result<Vec<Ipv6Addr>, ConfigError> {
    texts.iter().map(|text| address(key, text)).collect()
}

fn subnet(key: &str, text: &str) -> Result<Subnet6, ConfigError> {
    let parts = text.split_once('/');
    let parsed = parts.and_then(|(base, bits)| Subnet6::new(base.parse().ok()?, bits.parse().ok()?));
    parsed.ok_or_else(|| {
        bad(key, text, "is not an IPv6 prefix of 32 to 112 bits", "write it as in fd77::/64, zeros behind it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Config as Wire;

    fn read(more: &str) -> Result<Config, ConfigError> {
        let head = "mode = \"full\"\ninterface = \"br0\"\naddress = \"10.0.0.1\"\nsubnet = \"10.0.0.0/24\"\n\
            [pool]\nfirst = \"10.0.0.10\"\nlast = \"10.0.0.20\"\n";
        toml::from_str::<Wire>(&format!("{head}{more}")).unwrap().try_into()
    }

    #[test]
    fn ipv6_is_off_unless_it_is_written() {
        assert!(read("").unwrap().v6.is_none());
        let good = "[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n\
            [v6.pool]\nfirst = \"fd77::1:0\"\nlast = \"fd77::ffff:ffff:ffff:ffff\"\n\
            [[v6.networks]]\nprefix = \"fd79::/64\"\npool = { first = \"fd79::1\", last = \"fd79::9\" }\n";
        let v6 = read(good).unwrap().v6.unwrap();
        assert_eq!((v6.interface.as_str(), v6.router_advertisements, v6.networks.len()), ("br0", false, 2));
        assert!(v6.own().subnet.contains("fd77::9".parse().unwrap()) && v6.own().ours);
    }

    #[test]
    fn table_of_refusals() {
        let pool = "[v6.pool]\nfirst = \"fd77::10\"\nlast = \"fd77::20\"\n";
        let rows = [
            ("[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n".to_owned(), "v6.pool"),
            (format!("[v6]\naddress = \"fe80::1\"\nprefix = \"fd77::/64\"\n{pool}"), "v6.address"),
            (format!("[v6]\naddress = \"fd78::1\"\nprefix = \"fd77::/64\"\n{pool}"), "v6.address"),
            (format!("[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::1/64\"\n{pool}"), "v6.prefix"),
            (format!("[v6]\naddress = \"fd77::1\"\nprefix = \"fe80::/64\"\n{pool}"), "v6.prefix"),
            (
                format!("[v6]\ninterface = \"br9\"\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n{pool}"),
                "v6.interface",
            ),
            (
                "[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n\
                 [v6.pool]\nfirst = \"fd77::20\"\nlast = \"fd77::10\"\n"
                    .to_owned(),
                "v6.pool.first",
            ),
            (
                format!(
                    "[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n{pool}[v6.reservations]\n\
                     '02:00:00:00:00:01' = 'fd77::1'\n"
                ),
                "v6.reservations.02:00:00:00:00:01",
            ),
            (
                format!(
                    "[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n{pool}[v6.reservations]\n\
                     '02:00:00:00:00:01' = 'fd78::9'\n"
                ),
                "v6.reservations.02:00:00:00:00:01",
            ),
            (
                format!("[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\napi_url = 'http://x'\n{pool}"),
                "v6.api_url",
            ),
            (
                format!(
                    "[v6]\naddress = \"fd77::1\"\nprefix = \"fd77::/64\"\n{pool}\
                     [[v6.networks]]\nprefix = \"fd77::/48\"\npool = {{ first = \"fd77::9\", last = \"fd77::9\" }}\n"
                ),
                "v6.networks[0].prefix",
            ),
        ];
        for (text, key) in rows {
            assert_eq!(read(&text).unwrap_err().key, key, "{text}");
        }
    }
}
