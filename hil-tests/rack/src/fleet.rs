//! Many simulated BMCs in one process, without machines behind them: for sweeps, for judges, for replaying a capture.
//!
//! All share one tree; what was written on one is its own.  Addresses must be of the loopback: a simulator that the
//! network can reach would look like a real BMC with a known password.  Read next: `bin/rack-bmc.rs`, its face.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::bmc::{self, Bmc, BmcFault, IpmiPolicy, Paper, Quirks, Setup, Temper, Written};
use crate::error::RackError;
use crate::spec::HostSpec;

/// Most BMCs of one process: 64 Ki ports on one address, or as many addresses as 127.0.0.0/8 has in two octets.
pub const COUNT_MAX: usize = 65_000;

/// Where the BMCs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Places {
    /// One address, ports counted up; port 0 takes free ones.
    Ports(SocketAddr),
    /// One port, addresses counted up.
    Addresses(SocketAddr),
}

/// How a BMC is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing listens: connections are refused.
    Refuses,
    /// Connections are taken and nothing is ever said.
    Silent,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct FleetConfig {
    /// How many.
    pub count: usize,
    /// Where.
    pub places: Places,
    /// A captured tree, a folder or `.tar.gz`; else the built-in one.
    pub tree: Option<PathBuf>,
    /// How they differ from the standard.
    pub quirks: Quirks,
    /// Without TLS.
    pub plain: bool,
    /// User and password of all; else `admin` and random ones.
    pub account: Option<(String, String)>,
    /// Every answer takes between these times.
    pub latency: Option<(Duration, Duration)>,
    /// So many of a thousand are dead.
    pub dead_permille: u32,
    /// How those are dead; half and half when nothing is said.
    pub death: Option<Death>,
    /// So many of a thousand requests fail with 503.
    pub errors_permille: u32,
    /// IPMI beside Redfish: on these ports, counted up, or on this port of each address.
    pub ipmi: Option<(u16, IpmiPolicy)>,
    /// Rules for all.
    pub faults: Vec<BmcFault>,
    /// Whether the servers have power at the start.
    pub on: bool,
}

/// One BMC as its users see it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where Redfish is.
    pub url: String,
    /// Where IPMI is, if it is.
    pub ipmi: Option<SocketAddr>,
    /// The account.
    pub user: String,
    /// Its password.
    pub password: String,
    /// Serial of the server.
    pub serial: String,
    /// Whether it answers.
    pub dead: bool,
}

impl Listed {
    /// As one line of JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "url": self.url, "ipmi": self.ipmi.map(|address| address.to_string()), "user": self.user,
            "password": self.password, "serial": self.serial, "dead": self.dead,
        })
    }
}

/// Running BMCs; they end with this value.
#[derive(Debug)]
pub struct Fleet {
    listed: Vec<Listed>,
    alive: Vec<Bmc>,
    _silent: Vec<tokio::task::JoinHandle<()>>,
}

impl Fleet {
    /// Starts all.
    ///
    /// # Errors
    /// When an address is not of the loopback or taken, or the tree cannot be read.
    pub async fn start(config: &FleetConfig) -> Result<Self, RackError> {
        let (Places::Ports(first) | Places::Addresses(first)) = config.places;
        if !first.ip().is_loopback() || config.count == 0 || config.count > COUNT_MAX {
            let text = format!(
                "1 to {COUNT_MAX} BMCs on addresses of the loopback; asked for {} at {first}",
                config.count
            );
            return Err(RackError::Description(text));
        }
        let base = match &config.tree {
            Some(path) => bmc::captured(path)?,
            None => bmc::built_in(&HostSpec::lab(0)),
        };
        let mut fleet = Self { listed: Vec::new(), alive: Vec::new(), _silent: Vec::new() };
        for index in 0..config.count {
            let bind = place(config.places, index)?;
            let spec = spec(index);
            if is_dead(index, config.dead_permille) {
                fleet.bury(bind, config, index, spec).await?;
                continue;
            }
            let mut setup = Setup::new(bind);
            setup.plain = config.plain;
            setup.base = Some(Arc::clone(&base));
            setup.own_identity = config.tree.is_none() || config.count > 1;
            setup.quirks = config.quirks.clone();
            setup.temper = Temper { latency: config.latency, errors_permille: config.errors_permille };
            setup.account.clone_from(&config.account);
            setup.ipmi =
                config.ipmi.map(|(port, policy)| (ipmi_place(config.places, bind, port, index), policy));
            let serial = spec.serial.clone();
            let bmc = Bmc::start(setup, Arc::new(Paper::new(spec, config.on))).await?;
            config.faults.iter().for_each(|rule| bmc.fault(rule.clone()));
            fleet.listed.push(Listed {
                url: bmc.url(),
                ipmi: bmc.ipmi(),
                user: bmc.user().to_owned(),
                password: bmc.password().to_owned(),
                serial,
                dead: false,
            });
            fleet.alive.push(bmc);
        }
        Ok(fleet)
    }

    /// All of them, the dead included, in order.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        &self.listed
    }

    /// How many answer.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.alive.len()
    }

    /// Adds a fault rule to the BMC with this number among those that answer.
    pub fn fault(&self, index: usize, rule: BmcFault) {
        if let Some(bmc) = self.alive.get(index) {
            bmc.fault(rule);
        }
    }

    /// Lays `patch` over what the BMC with this number says of one resource.
    pub fn lie(&self, index: usize, path: &str, patch: Value) {
        if let Some(bmc) = self.alive.get(index) {
            bmc.lie(path, patch);
        }
    }

    /// The writes that the BMC with this number looked at, and what it answered.
    #[must_use]
    pub fn written(&self, index: usize) -> Vec<Written> {
        self.alive.get(index).map(Bmc::written).unwrap_or_default()
    }

    async fn bury(
        &mut self,
        bind: SocketAddr,
        config: &FleetConfig,
        index: usize,
        spec: HostSpec,
    ) -> Result<(), RackError> {
        let death =
            config.death.unwrap_or(if index.is_multiple_of(2) { Death::Refuses } else { Death::Silent });
        let fault = || RackError::io("listen for a dead BMC on", bind.to_string());
        let listener = TcpListener::bind(bind).await.map_err(fault())?;
        let address = listener.local_addr().map_err(fault())?;
        if death == Death::Silent {
            self._silent.push(tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    held.push(stream);
                }
            }));
        }
        let scheme = if config.plain { "http" } else { "https" };
        let (user, password) = config.account.clone().unwrap_or_default();
        self.listed.push(Listed {
            url: format!("{scheme}://{address}"),
            ipmi: None,
            user,
            password,
            serial: spec.serial,
            dead: true,
        });
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self._silent.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn place(places: Places, index: usize) -> Result<SocketAddr, RackError> {
    let beyond = || RackError::Description(format!("BMC {index} has no port or address left"));
    match places {
        Places::Ports(first) if first.port() == 0 => Ok(first),
        Places::Ports(first) => {
            let port = usize::from(first.port()).checked_add(index).and_then(|port| u16::try_from(port).ok());
            Ok(SocketAddr::new(first.ip(), port.ok_or_else(beyond)?))
        }
        Places::Addresses(first) => {
            let IpAddr::V4(address) = first.ip() else { return Err(beyond()) };
            let number = u32::try_from(index).ok().and_then(|index| u32::from(address).checked_add(index));
            let address = Ipv4Addr::from(number.ok_or_else(beyond)?);
            if !address.is_loopback() {
                return Err(beyond());
            }
            Ok(SocketAddr::new(address.into(), first.port()))
        }
    }
}

fn ipmi_place(places: Places, redfish: SocketAddr, port: u16, index: usize) -> SocketAddr {
    let port = match places {
        Places::Ports(_) if port != 0 => port.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
        Places::Ports(_) | Places::Addresses(_) => port,
    };
    SocketAddr::new(redfish.ip(), port)
}

/// Every BMC has a server of its own serial and UUID.
fn spec(index: usize) -> HostSpec {
    let number = index + 1;
    let base = HostSpec::lab(0);
    HostSpec {
        serial: format!("LAB{number:05}"),
        uuid: format!("5ca1e4f0-0000-4000-8000-{number:012x}"),
        ..base
    }
}

/// Spread evenly over the fleet and the same in every run.
fn is_dead(index: usize, permille: u32) -> bool {
    let index = u64::try_from(index).unwrap_or(0);
    let permille = u64::from(permille.min(1000));
    (index + 1) * permille / 1000 > index * permille / 1000
}

/// The rules in a TOML text: `[[fault]]` tables.
///
/// # Errors
/// When it does not parse, in the parser's words.
pub fn parse_faults(text: &str) -> Result<Vec<BmcFault>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        fault: Vec<BmcFault>,
    }
    toml::from_str::<File>(text).map(|file| file.fault).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BmcAction;

    #[test]
    fn places_count_up_and_the_dead_are_spread() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (places, index, wanted) in [
            (Places::Ports(address("127.0.0.1:9000")), 7, Some("127.0.0.1:9007")),
            (Places::Ports(address("127.0.0.1:65535")), 1, None),
            (Places::Addresses(address("127.0.1.250:443")), 10, Some("127.0.2.4:443")),
            (Places::Addresses(address("127.255.255.255:443")), 1, None),
        ] {
            assert_eq!(place(places, index).ok(), wanted.map(address), "{places:?}");
        }
        for (permille, wanted) in [(0, 0), (50, 50), (1000, 1000)] {
            assert_eq!((0..1000).filter(|index| is_dead(*index, permille)).count(), wanted);
        }
    }

    #[test]
    fn rules_are_read_from_toml() {
        let rules = parse_faults(
            "[[fault]]\npath_contains = \"/Systems\"\naction = { status = 503 }\ntimes = 2\n\
             [[fault]]\naction = \"truncate_body\"\n[[fault]]\naction = { delay_ms = 20 }\n",
        )
        .unwrap();
        let actions: Vec<BmcAction> = rules.iter().map(|rule| rule.action.clone()).collect();
        let delay = BmcAction::Delay(Duration::from_millis(20));
        assert_eq!(actions, [BmcAction::Status(503), BmcAction::TruncateBody, delay]);
        assert_eq!((rules[0].times, rules[1].times), (2, u32::MAX));
        assert!(parse_faults("[[fault]]\naction = \"explode\"").is_err());
    }
}
