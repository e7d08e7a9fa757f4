//! A port as the kernel shows it under `/sys/class/net`: found by its hardware address, its speed, size and counters.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
};

use appliance_model::Mac;
use nix::ifaddrs::getifaddrs;

use crate::counters::{number, read};

/// Ports looked at: a machine with more has something else wrong with it.
const PORTS_MAX: usize = 4096;

/// Frames that came or went damaged, by what the driver counts (Documentation/networking/statistics.rst).
const ERRORS_IN: [&str; 6] = [
    "rx_crc_errors",
    "rx_frame_errors",
    "rx_length_errors",
    "rx_fifo_errors",
    "rx_over_errors",
    "rx_missed_errors",
];
const ERRORS_OUT: [&str; 5] =
    ["tx_carrier_errors", "tx_aborted_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors"];
/// The driver's own sums of those.
const SUM_IN: &str = "rx_errors";
const SUM_OUT: &str = "tx_errors";
/// Frames that the kernel itself threw away: unknown protocols too, so they are words and no fault of a port.
const DROPS: [&str; 2] = ["rx_dropped", "tx_dropped"];

/// A port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Kernel name.
    pub name: String,
    folder: PathBuf,
}

/// By how much counters grew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grown {
    /// Damaged frames; `None` where nobody counts.
    pub errors: Option<u64>,
    /// Which counters those are, and the dropped frames: `rx_crc_errors +3`.
    pub words: Vec<String>,
}

/// Counters since the driver was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted(Vec<(&'static str, Option<u64>)>);

impl Port {
    /// The port with this hardware address: a device rather than what is stacked on it with the same address.
    ///
    /// # Errors
    /// When there is none, in a technician's words.
    pub fn find(root: &Path, mac: Mac) -> Result<Self, String> {
        let all = root.join("sys/class/net");
        let listed = std::fs::read_dir(&all).map_err(|error| format!("{}: {error}", all.display()))?;
        let wanted = mac.to_string();
        let is = |folder: &Path| {
            ["bonding_slave/perm_hwaddr", "address"]
                .iter()
                .find_map(|file| read(&folder.join(file)))
                .is_some_and(|text| text.trim().eq_ignore_ascii_case(&wanted))
        };
        let mut found: Vec<PathBuf> =
            listed.flatten().take(PORTS_MAX).map(|entry| entry.path()).filter(|folder| is(folder)).collect();
        found.sort_by_key(|folder| (!folder.join("device").exists(), folder.clone()));
        let folder = found.into_iter().next();
        let name = folder.as_ref().and_then(|folder| folder.file_name()?.to_str().map(str::to_owned));
        let (Some(folder), Some(name)) = (folder, name) else {
            return Err(format!("no port of this machine has the address {mac}"));
        };
        Ok(Self { name, folder })
    }

    /// The port that has this kernel name.
    #[must_use]
    pub fn named(root: &Path, name: &str) -> Self {
        Self { name: name.into(), folder: root.join("sys/class/net").join(name) }
    }

    /// The port of this machine that has this address.
    #[must_use]
    pub fn having(root: &Path, address: IpAddr) -> Option<Self> {
        let is = |one: &nix::ifaddrs::InterfaceAddress| {
            let given = one.address.as_ref()?;
            let four = given.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
            four.or_else(|| given.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
        };
        let one = getifaddrs().ok()?.find(|one| is(one) == Some(address))?;
        Some(Self::named(root, &one.interface_name))
    }

    /// Link speed in Mbit/s; `None` where the driver tells none (-1), as virtual ones do.
    #[must_use]
    pub fn mbps(&self) -> Option<u32> {
        number(&self.folder.join("speed"))
            .and_then(|speed| u32::try_from(speed).ok())
            .filter(|speed| *speed > 0)
    }

    /// The largest IP packet it is set to carry, in bytes.
    #[must_use]
    pub fn mtu(&self) -> Option<u64> {
        number(&self.folder.join("mtu"))
    }

    /// The kernel's number of it.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        number(&self.folder.join("ifindex")).and_then(|index| u32::try_from(index).ok())
    }

    /// An address of the port that others can come to: IPv4 first, then IPv6, then IPv6 of this cable only, which each
    /// port has that is up.
    ///
    /// # Errors
    /// When it has none, in a technician's words.
    pub fn address(&self) -> Result<SocketAddr, String> {
        let listed = getifaddrs().map_err(|error| format!("addresses of {}: {error}", self.name))?;
        let mut found: Vec<SocketAddr> = listed
            .filter(|one| one.interface_name == self.name)
            .filter_map(|one| {
                let address = one.address?;
                let four = address.as_sockaddr_in().map(|four| SocketAddr::from((four.ip(), 0)));
                let six = || {
                    let six = address.as_sockaddr_in6()?;
                    Some(SocketAddr::from(SocketAddrV6::new(six.ip(), 0, 0, six.scope_id())))
                };
                four.or_else(six)
            })
            .collect();
        found.sort_by_key(|address| match address.ip() {
            IpAddr::V4(four) => (u8::from(four.is_link_local()) * 4, address.ip()),
            IpAddr::V6(six) if six.is_unicast_link_local() => (2, address.ip()),
            IpAddr::V6(_) => (1, address.ip()),
        });
        found
            .into_iter()
            .next()
            .ok_or_else(|| format!("{} has no address, so nobody can come to it; is its link up?", self.name))
    }

    /// All counters of damage and drops, now.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let names = ERRORS_IN.iter().chain(&ERRORS_OUT).chain([&SUM_IN, &SUM_OUT]).chain(&DROPS);
        Counted(names.map(|name| (*name, number(&self.folder.join("statistics").join(name)))).collect())
    }
}

impl Counted {
    /// By how much they grew since `before`.  One that is gone, or smaller, was not counted.
    #[must_use]
    pub fn since(&self, before: &Self) -> Grown {
        let grown = |name: &str| {
            let find =
                |counted: &Self| counted.0.iter().find(|(known, _)| *known == name).and_then(|(_, n)| *n);
            find(self)?.checked_sub(find(before)?)
        };
        // A driver's sum may leave out what it counts on the side.
        let side = |names: &[&str], sum: &str| {
            let single: Option<u64> = names.iter().filter_map(|name| grown(name)).reduce(u64::saturating_add);
            single.max(grown(sum))
        };
        let errors = match (side(&ERRORS_IN, SUM_IN), side(&ERRORS_OUT, SUM_OUT)) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        let words = self.0.iter().filter_map(|(name, _)| {
            let grown = grown(name).filter(|grown| *grown > 0)?;
            Some(format!("{name} +{grown}"))
        });
        Grown { errors, words: words.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::tests::tree;

    #[test]
    fn a_port_is_found_below_its_bridge_and_its_counters_are_read() {
        let files = [
            ("sys/class/net/br0/address", "52:54:00:00:00:01\n"),
            ("sys/class/net/eth0/address", "52:54:00:00:00:01\n"),
            ("sys/class/net/eth0/device/vendor", "0x8086\n"),
            ("sys/class/net/eth0/speed", "25000\n"),
            ("sys/class/net/eth0/mtu", "9000\n"),
            ("sys/class/net/eth0/statistics/rx_crc_errors", "3\n"),
            ("sys/class/net/eth0/statistics/rx_errors", "3\n"),
            ("sys/class/net/eth0/statistics/tx_errors", "1\n"),
            ("sys/class/net/eth0/statistics/rx_dropped", "10\n"),
            ("sys/class/net/eth1/address", "52:54:00:00:00:02\n"),
            ("sys/class/net/eth1/speed", "-1\n"),
            // A slave of a bond shows the bond's address.
            ("sys/class/net/eth2/address", "52:54:00:00:00:02\n"),
            ("sys/class/net/eth2/bonding_slave/perm_hwaddr", "52:54:00:00:00:03\n"),
        ];
        let root = tree("port", &files);
        let find = |mac: &str| Port::find(&root, mac.parse().unwrap());
        let port = find("52:54:00:00:00:01").unwrap();
        assert_eq!((port.name.as_str(), port.mbps(), port.mtu()), ("eth0", Some(25_000), Some(9000)));
        assert_eq!(find("52:54:00:00:00:02").unwrap().mbps(), None);
        assert_eq!(find("52:54:00:00:00:03").unwrap().name, "eth2");
        assert!(find("52:54:00:00:00:09").unwrap_err().contains("52:54:00:00:00:09"));
        let before = port.counted();
        let file = root.join("sys/class/net/eth0/statistics/rx_crc_errors");
        std::fs::write(file, "7\n").unwrap();
        let grown = port.counted().since(&before);
        assert_eq!(grown, Grown { errors: Some(4), words: vec!["rx_crc_errors +4".into()] });
        assert_eq!(find("52:54:00:00:00:02").unwrap().counted().since(&Counted::default()), Grown::default());
        std::fs::remove_dir_all(root).unwrap();
    }
}
