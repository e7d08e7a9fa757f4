//! The `[pxe]` section of the site's file: [`wire`] is what can be written, [`Config`] is what can be meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use appliance_model::{Mac, Seconds};
use pxe_policy::{Match, Mode, Name, Network, Pool, Rule, Site, Stock, Strangers, Subnet, UefiHttp, UefiPxe};

pub(crate) mod https;
use crate::v6::config::Config6;

pub mod wire;

/// A legal configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) networks: Vec<Place>,
    pub(crate) relays: BTreeSet<Ipv4Addr>,
    pub(crate) api_url: Option<String>,
    pub(crate) site: Site,
    pub(crate) files: BTreeMap<Name, PathBuf>,
    pub(crate) folder: Option<PathBuf>,
    /// Boot medium for management controllers.
    pub(crate) medium: Option<PathBuf>,
    pub(crate) command_line: String,
    pub(crate) https: Option<https::Https>,
    pub(crate) dhcp_port: u16,
    pub(crate) boot_server_port: u16,
    pub(crate) http_port: u16,
    pub(crate) tftp_port: u16,
    pub(crate) v6: Option<Config6>,
}

/// Where we answer.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) name: Option<String>,
    pub(crate) address: Ipv4Addr,
    pub(crate) mode: Mode,
}

/// A network and what its hosts are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) network: Network,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
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

/// A pool of more addresses than this is refused.  A /15: strangers may hold three quarters of it, 98,304, which is twice
/// the largest site that one appliance is meant for.
const POOL_MAX: u32 = 131_072;
/// All pools together: a held address costs some 200 bytes, so this bounds what a flood of strangers can cost at 50 MiB.
const POOLS_MAX: u32 = 2 * POOL_MAX;
/// Shorter leases make hosts renew faster than a journal should be written.
const LEASE_SECONDS_MIN: u64 = 60;
/// A week; longer leases only delay the reuse of addresses.
const LEASE_SECONDS_MAX: u64 = 604_800;
/// DHCP options hold 255 bytes; the agent appends paths to the URL, not the option.
const API_URL_BYTES_MAX: usize = 255;
/// Linux' IFNAMSIZ without the terminating zero.
const INTERFACE_BYTES_MAX: usize = 15;
/// Interfaces, networks and rules beyond these are a mistake; every request walks the lists.
pub(crate) const LIST_MAX: usize = 64;

impl Config {
    /// Sets the discovery image for x64, where the site's file names it elsewhere.
    #[must_use]
    pub fn with_image(mut self, uki: &Path) -> Self {
        self.files.entry(Name::Discovery).or_insert_with(|| uki.into());
        self.site.stock.x64 = true;
        self
    }

    /// Sets the discovery image for arm64, if there is one, where the site's file names it elsewhere.
    #[must_use]
    pub fn with_arm64_image(mut self, uki: Option<&Path>) -> Self {
        if let Some(uki) = uki {
            self.files.entry(Name::DiscoveryArm64).or_insert_with(|| uki.into());
            self.site.stock.arm64 = true;
        }
        self
    }

    /// Sets the boot medium, where the site's file names it elsewhere.
    #[must_use]
    pub fn with_medium(mut self, medium: Option<&Path>) -> Self {
        self.medium = self.medium.or_else(|| medium.map(Path::to_owned));
        self
    }

    /// Reads relative paths of images from `folder` on.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        for path in self.files.values_mut() {
            *path = folder.join(&path);
        }
        self.folder = self.folder.map(|images| folder.join(images));
        self.medium = self.medium.map(|medium| folder.join(medium));
        if let Some(https) = &mut self.https {
            https.in_folder(folder);
        }
        self
    }
}

impl TryFrom<wire::Config> for Config {
    type Error = ConfigError;

    fn try_from(wire: wire::Config) -> Result<Self, ConfigError> {
        let lease = lease(wire.lease_seconds)?;
        let relays = addresses("relays", &wire.relays)?.into_iter().collect();
        let mut config = Self {
            interfaces: Vec::new(),
            networks: Vec::new(),
            relays,
            api_url: wire.api_url.as_deref().map(|url| api_url("api_url", url)).transpose()?,
            site: site(&wire)?,
            files: files(&wire),
            folder: wire.images.folder.as_ref().map(PathBuf::from),
            medium: wire.images.medium.as_ref().map(PathBuf::from),
            https: https::https(&wire, https::BUILT_IN)?,
            command_line: command_line(wire.images.command_line.as_deref().unwrap_or(""))?,
            dhcp_port: wire.dhcp_port,
            boot_server_port: wire.boot_server_port,
            http_port: wire.http_port,
            tftp_port: wire.tftp_port,
            v6: None,
        };
        let single = wire.interfaces.is_empty();
        if !single && (wire.interface.is_some() || wire.address.is_some()) {
            let advice = "write it as one of [[pxe.interfaces]], too";
            return Err(bad("interface", wire.interface.unwrap_or_default(), "stands beside others", advice));
        }
        let all = if single { vec![from_single(&wire)?] } else { wire.interfaces };
        if all.len() > LIST_MAX || wire.networks.len() > LIST_MAX {
            let wrong = format!("are more than {LIST_MAX}");
            return Err(bad("interfaces", all.len(), wrong, "split the site"));
        }
        for (index, interface) in all.into_iter().enumerate() {
            let prefix = if single { String::new() } else { format!("interfaces[{index}].") };
            let from = Lan { prefix: &prefix, lease, interface: index };
            config.interface(from, interface)?;
        }
        for (index, network) in wire.networks.into_iter().enumerate() {
            let prefix = format!("networks[{index}].");
            config.network(Lan { prefix: &prefix, lease, interface: 0 }, network)?;
        }
        let v6 = wire.v6.as_ref().map(|v6| Config6::read(v6, &config.interfaces, lease));
        config.v6 = v6.transpose()?;
        config.relays.extend(config.networks.iter().flat_map(|place| place.network.relays.clone()));
        Ok(config)
    }
}

/// What every LAN's keys are read with.
#[derive(Debug, Clone, Copy)]
struct Lan<'a> {
    prefix: &'a str,
    lease: Seconds,
    interface: usize,
}

fn from_single(wire: &wire::Config) -> Result<wire::Interface, ConfigError> {
    let needed = |key: &str, value: &Option<String>| {
        value.clone().ok_or_else(|| bad(key, "", "is missing", "write it into [pxe]"))
    };
    Ok(wire::Interface {
        interface: wire.interface.clone().unwrap_or_default(),
        mode: wire.mode.clone().unwrap_or_else(|| Mode::Full.as_str().into()),
        address: needed("address", &wire.address)?,
        subnet: needed("subnet", &wire.subnet)?,
        router: wire.router.clone(),
        dns: wire.dns.clone(),
        pool: wire.pool.clone(),
        reservations: wire.reservations.clone(),
    })
}

impl Config {
    fn interface(&mut self, lan: Lan<'_>, wire: wire::Interface) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{}{name}", lan.prefix);
        let name = Some(wire.interface).filter(|name| !(name.is_empty() && lan.prefix.is_empty()));
        if let Some(name) = &name
            && (name.is_empty() || name.len() > INTERFACE_BYTES_MAX || name.contains(['/', ' ', '\0']))
        {
            let advice = "write one that `ip link` shows";
            return Err(bad(&key("interface"), name, "is not an interface name", advice));
        }
        let mode = Mode::ALL.into_iter().find(|mode| mode.as_str() == wire.mode).ok_or_else(|| {
            let advice = "write `listen`, `proxy`, `auto-proxy`, `full`, `reservation` or `off`";
            bad(&key("mode"), &wire.mode, "is not a mode", advice)
        })?;
        let subnet = subnet(&key("subnet"), &wire.subnet)?;
        let own = inside(&key("address"), &wire.address, subnet)?;
        let leases = match mode {
            Mode::Full | Mode::AutoProxy | Mode::Reservation => true,
            Mode::Listen | Mode::Proxy | Mode::Off => wire.pool.is_some() || !wire.reservations.is_empty(),
        };
        if leases {
            let pool_needed = mode != Mode::Reservation;
            let all = Addresses {
                subnet,
                own: Some(own),
                router: wire.router.as_deref(),
                dns: &wire.dns,
                pool: wire.pool.as_ref(),
                reservations: &wire.reservations,
            };
            self.place(lan, all, BTreeSet::new(), pool_needed)?;
        }
        self.interfaces.push(Interface { name, address: own, mode });
        Ok(())
    }

    fn network(&mut self, lan: Lan<'_>, wire: wire::Network) -> Result<(), ConfigError> {
        let subnet = subnet(&format!("{}subnet", lan.prefix), &wire.subnet)?;
        let relays = addresses(&format!("{}relays", lan.prefix), &wire.relays)?.into_iter().collect();
        let all = Addresses {
            subnet,
            own: None,
            router: wire.router.as_deref(),
            dns: &wire.dns,
            pool: wire.pool.as_ref(),
            reservations: &wire.reservations,
        };
        self.place(lan, all, relays, true)
    }

    fn place(
        &mut self,
        lan: Lan<'_>,
        all: Addresses<'_>,
        relays: BTreeSet<Ipv4Addr>,
        pool_needed: bool,
    ) -> Result<(), ConfigError> {
        let subnet = all.subnet;
        let key = |name: &str| format!("{}{name}", lan.prefix);
        if self.networks.iter().any(|place| place.network.subnet == subnet) {
            return Err(bad(&key("subnet"), subnet, "is there twice", "write each subnet once"));
        }
        let router = all.router.map(|text| inside(&key("router"), text, subnet)).transpose()?;
        let dns = addresses(&key("dns"), all.dns)?;
        let pool = pool(lan, &all, router, pool_needed)?;
        let pools = self.networks.iter().map(|place| &place.network.pool).chain([&pool]);
        let sizes: u32 = pools.map(size).sum();
        if sizes > POOLS_MAX {
            let wrong = format!("makes pools of {sizes} addresses in all, {POOLS_MAX} is the limit");
            return Err(bad(&key("pool.last"), pool.last, wrong, "choose smaller pools"));
        }
        let network = Network { interface: lan.interface, subnet, relays, pool };
        self.networks.push(Place { network, router, dns });
        Ok(())
    }
}

/// The keys of one LAN.
struct Addresses<'a> {
    subnet: Subnet,
    own: Option<Ipv4Addr>,
    router: Option<&'a str>,
    dns: &'a [String],
    pool: Option<&'a wire::Pool>,
    reservations: &'a BTreeMap<String, String>,
}

pub(crate) fn bad(
    key: &str,
    value: impl ToString,
    wrong: impl Into<String>,
    advice: impl Into<String>,
) -> ConfigError {
    let value = value.to_string().chars().take(100).collect();
    ConfigError { key: key.into(), value, wrong: wrong.into(), advice: advice.into() }
}

fn address(key: &str, text: &str) -> Result<Ipv4Addr, ConfigError> {
    text.parse().map_err(|_| bad(key, text, "is not an IPv4 address", "write four numbers, as in 10.77.0.1"))
}

fn addresses(key: &str, texts: &[String]) -> Result<Vec<Ipv4Addr>, ConfigError> {
    texts.iter().map(|text| address(key, text)).collect()
}

fn lease(seconds: u64) -> Result<Seconds, ConfigError> {
    if !(LEASE_SECONDS_MIN..=LEASE_SECONDS_MAX).contains(&seconds) {
        let wrong = format!("is not between {LEASE_SECONDS_MIN} and {LEASE_SECONDS_MAX}");
        return Err(bad("lease_seconds", seconds, wrong, "3600 suits most sites"));
    }
    Ok(Seconds(seconds))
}

pub(crate) fn api_url(key: &str, text: &str) -> Result<String, ConfigError> {
    let sound = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if !sound || text.len() > API_URL_BYTES_MAX || !text.chars().all(|c| c.is_ascii_graphic()) {
        let wrong = format!("is not an https URL of at most {API_URL_BYTES_MAX} bytes");
        return Err(bad(key, text, wrong, "write it as in https://10.77.0.1:8443"));
    }
    Ok(text.to_owned())
}

/// It is put into a script that iPXE obeys.
fn command_line(text: &str) -> Result<String, ConfigError> {
    let sane = |c: char| (c.is_ascii_graphic() && !matches!(c, '|' | '&' | '#' | '$')) || c == ' ';
    if text.len() > 512 || !text.chars().all(sane) {
        let advice = "write printable ASCII without | & # $, at most 512 characters";
        return Err(bad("images.command_line", text, "cannot stand in a script of iPXE", advice));
    }
    Ok(text.to_owned())
}

fn strangers(key: &str, text: &str) -> Result<Strangers, ConfigError> {
    match text {
        "boot" => Ok(Strangers::Boot),
        "lease" => Ok(Strangers::Lease),
        "silence" => Ok(Strangers::Silence),
        other => Err(bad(key, other, "is not a rule", "write `boot`, `lease` or `silence`")),
    }
}

fn site(wire: &wire::Config) -> Result<Site, ConfigError> {
    let uefi_pxe = match wire.uefi_pxe.as_deref().unwrap_or("uki") {
        "http" => UefiPxe::Http,
        "uki" => UefiPxe::Uki,
        "ipxe" => UefiPxe::Ipxe,
        "shim" => UefiPxe::Shim,
        other => return Err(bad("uefi_pxe", other, "is not known", "write `uki`, `ipxe`, `shim` or `http`")),
    };
    let uefi_http = match wire.uefi_http.as_deref().unwrap_or("uki") {
        "uki" => UefiHttp::Uki,
        "shim" => UefiHttp::Shim,
        other => return Err(bad("uefi_http", other, "is not known", "write `uki` or `shim`")),
    };
    if wire.rules.len() > LIST_MAX {
        let wrong = format!("are more than {LIST_MAX}");
        return Err(bad("rules", wire.rules.len(), wrong, "announce the machines instead"));
    }
    let stock = Stock {
        x64: wire.images.x64.is_some(),
        arm64: wire.images.arm64.is_some(),
        kernel: wire.images.kernel.is_some() && wire.images.initrd.is_some(),
        ipxe_uefi: wire.nbp.ipxe_uefi.is_some(),
        ipxe_bios: wire.nbp.ipxe_bios.is_some(),
        shim: wire.nbp.shim.is_some() && wire.nbp.grub.is_some(),
    };
    let rules = wire.rules.iter().map(rule).collect::<Result<_, _>>()?;
    let strangers = strangers("strangers", wire.strangers.as_deref().unwrap_or("boot"))?;
    Ok(Site { strangers, rules, uefi_pxe, uefi_http, https: https::offer_to(wire)?, stock })
}

fn rule(wire: &wire::Rule) -> Result<Rule, ConfigError> {
    let of = wire::Match {
        mac: wire.mac.clone(),
        uuid: wire.uuid.clone(),
        arch: wire.arch,
        class: wire.class.clone(),
        relay: wire.relay.clone(),
    };
    Ok(Rule { of: matching("rules", &of)?, gets: strangers("rules.gets", &wire.gets)? })
}

/// Which machines are meant, below `list`.
fn matching(list: &str, wire: &wire::Match) -> Result<Match, ConfigError> {
    let key = |name: &str| format!("{list}.{name}");
    let uuid = |text: &String| {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 32);
        number.map(u128::to_be_bytes).ok_or_else(|| {
            bad(&key("uuid"), text, "is not a UUID", "write 32 hex digits, as option 97 has them")
        })
    };
    Ok(Match {
        mac: wire.mac.as_deref().map(|text| mac(&key("mac"), text)).transpose()?,
        uuid: wire.uuid.as_ref().map(uuid).transpose()?,
        arch: wire.arch,
        class: wire.class.clone(),
        relay: wire.relay.as_deref().map(|text| address(&key("relay"), text)).transpose()?,
    })
}

fn files(wire: &wire::Config) -> BTreeMap<Name, PathBuf> {
    let all = [
        (Name::Discovery, &wire.images.x64),
        (Name::DiscoveryArm64, &wire.images.arm64),
        (Name::Kernel, &wire.images.kernel),
        (Name::Initrd, &wire.images.initrd),
        (Name::SnpOnly, &wire.nbp.ipxe_uefi),
        (Name::Undionly, &wire.nbp.ipxe_bios),
        (Name::Shim, &wire.nbp.shim),
        (Name::Grub, &wire.nbp.grub),
    ];
    all.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?.into()))).collect()
}

pub(crate) fn mac(key: &str, text: &str) -> Result<Mac, ConfigError> {
    text.parse().map_err(|_| bad(key, text, "is not a MAC address", "write it as 52:54:00:12:34:56"))
}

fn subnet(key: &str, text: &str) -> Result<Subnet, ConfigError> {
    let wrong = |wrong: &str| bad(key, text, wrong, "write the network and its bits, as in 10.77.0.0/24");
    let (base, bits) = text.split_once('/').ok_or_else(|| wrong("has no prefix length"))?;
    let bits: u8 = bits.parse().map_err(|_| wrong("has no number after the slash"))?;
    if !(8..=30).contains(&bits) {
        return Err(wrong("has a prefix length that is not between 8 and 30"));
    }
    let base = base.parse().map_err(|_| wrong("does not start with an IPv4 address"))?;
    Subnet::new(base, bits).ok_or_else(|| wrong("has bits set behind its prefix"))
}

/// An address that must be a host address of the subnet.
fn inside(key: &str, text: &str, subnet: Subnet) -> Result<Ipv4Addr, ConfigError> {
    let parsed = address(key, text)?;
    if subnet.host(parsed) {
        return Ok(parsed);
    }
    let wrong = format!("is not a host address of pxe.subnet {subnet}");
    Err(bad(key, text, wrong, "correct the one or the other"))
}

fn size(pool: &Pool) -> u32 {
    between(pool.first, pool.last)
}

fn between(first: Ipv4Addr, last: Ipv4Addr) -> u32 {
    u32::from(last).saturating_sub(u32::from(first)).saturating_add(1)
}

fn pool(
    lan: Lan<'_>,
    all: &Addresses<'_>,
    router: Option<Ipv4Addr>,
    needed: bool,
) -> Result<Pool, ConfigError> {
    let key = |name: &str| format!("{}{name}", lan.prefix);
    let mut never: BTreeSet<Ipv4Addr> = [all.own, router].into_iter().flatten().collect();
    let (first, last) = match all.pool {
        Some(pool) => (
            inside(&key("pool.first"), &pool.first, all.subnet)?,
            inside(&key("pool.last"), &pool.last, all.subnet)?,
        ),
        None if needed => {
            let advice = "write `pool = { first = …, last = … }`, or choose a mode that gives no addresses";
            return Err(bad(&key("pool"), "", "is missing", advice));
        }
        None => {
            // Only reservations: a pool of one address that is never given.
            let only = all.own.unwrap_or(Ipv4Addr::UNSPECIFIED);
            never.insert(only);
            (only, only)
        }
    };
    if first > last {
        let wrong = format!("lies behind pxe.pool.last {last}");
        return Err(bad(&key("pool.first"), first, wrong, "exchange the two"));
    }
    let size = between(first, last);
    if size > POOL_MAX {
        let wrong = format!("makes a pool of {size} addresses, {POOL_MAX} is the limit");
        return Err(bad(&key("pool.last"), last, wrong, "choose a smaller pool"));
    }
    let mut reservations: BTreeMap<Mac, Ipv4Addr> = BTreeMap::new();
    let mut taken: BTreeSet<Ipv4Addr> = [all.own, router].into_iter().flatten().collect();
    for (text, reserved) in all.reservations {
        let key = key(&format!("reservations.{}", text.chars().take(40).collect::<String>()));
        let mac = mac("reservations", text)?;
        let reserved = inside(&key, reserved, all.subnet)?;
        if !taken.insert(reserved) {
            return Err(bad(&key, reserved, "is taken already", "choose an address nobody else has"));
        }
        reservations.insert(mac, reserved);
    }
    Ok(Pool { first, last, never, reservations, lease: lan.lease })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
