//! A bench for boot servers: machines that do nothing but boot, beside a rival DHCP server, or behind a relay.
//!
//! The server under test runs in the caller's namespace on `br0` (10.77.0.1/24).  The rival and the router are dnsmasq
//! in namespaces of their own, so that neither can hear what a real one would not.  Far machines sit on a bridge
//! behind the router, which relays DHCP (by dnsmasq, or by `relay.rs`, which is stricter) and forwards everything else.
//! It refuses to know what a boot server should answer; it shows what the firmware did.  Read next: `machine.rs`.

mod machine;
mod relay;
mod room;
mod signature_list;
mod variables;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use tokio::process::Child;

use crate::children::Nursery;
use crate::error::RackError;
use crate::netns::{APPLIANCE, ip};

pub(crate) use machine::follow;
pub use machine::{BootMachine, Booting, Firmware, Way};
pub use signature_list::x509_signature_list;
pub(crate) use variables::{Trust, with_trust};
pub use variables::{revoking_variables, secure_boot_variables};

use relay::{Habits, Relay, Sockets};
use room::{Room, started};

/// The rival's address on the near LAN.
pub const RIVAL: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

/// The router's address on the far LAN: what a relay puts into a request.
pub const FAR_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);

/// The router's address on the near LAN.
pub const NEAR_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);

/// The server's LAN, its machines and what stands beside them.
#[derive(Debug)]
pub struct Bench {
    folder: PathBuf,
    nursery: Nursery,
}

/// A DHCP server that hands out addresses and knows nothing of booting.
#[derive(Debug)]
pub struct Rival {
    _room: Room,
}

/// A router between `br0` and a LAN of its own, 10.79.0.0/24, that relays DHCP.
#[derive(Debug)]
pub struct Far {
    folder: PathBuf,
    room: Room,
    relay: Option<Relay>,
}

/// Who relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relaying {
    /// dnsmasq, without option 82, to the server and to the rival.
    ToBoth,
    /// An agent of our own to the server alone: with option 82, and no answer passes that does not bring it back.
    Marked,
    /// The same, and each machine's first transaction loses the options by which iPXE is known: QEMU's BIOS card then
    /// looks as one with plain PXE does.
    MarkedPlain,
}

impl Bench {
    /// Makes `br0` in the current, private namespace; everything is written below `folder`.
    ///
    /// # Errors
    /// When `ip` fails or the folder cannot be made.
    pub fn start(folder: &Path) -> Result<Self, RackError> {
        let folder = std::path::absolute(folder).map_err(RackError::io("find", folder))?;
        std::fs::create_dir_all(&folder).map_err(RackError::io("create", &folder))?;
        ip("link add br0 type bridge")?;
        ip(&format!("addr add {APPLIANCE}/24 dev br0"))?;
        ip("link set br0 up")?;
        ip("tuntap add dev tap0 mode tap")?;
        ip("link set tap0 master br0")?;
        ip("link set tap0 up")?;
        // A server's own cable stays plugged in when a machine is switched off.
        ip("link add wall0 type veth peer name wall1")?;
        for end in ["wall0 master br0 up", "wall1 up"] {
            ip(&format!("link set {end}"))?;
        }
        Ok(Self { folder, nursery: Nursery::start()? })
    }

    /// Starts the rival at [`RIVAL`]: addresses 10.77.0.200 to 10.77.0.250, at once, and nothing else.
    ///
    /// # Errors
    /// When dnsmasq is missing or does not start.
    pub async fn rival(&self) -> Result<Rival, RackError> {
        let folder = self.folder.join("rival");
        let mut room = Room::open("rival", &folder).await?;
        room.cable("br0", "lan0").await?;
        room.ip(&format!("addr add {RIVAL}/24 dev lan0")).await?;
        room.ip(&format!("route add 10.79.0.0/24 via {NEAR_ROUTER}")).await?;
        let mut words = dnsmasq(&folder);
        words.extend(
            [
                "--interface=lan0",
                "--dhcp-range=10.77.0.200,10.77.0.250,255.255.255.0,1h",
                // Its own address as router would be a lie; there is none here, and one for those behind a relay.
                "--dhcp-option=3",
                "--dhcp-range=set:far,10.79.0.200,10.79.0.250,255.255.255.0,1h",
                "--dhcp-option=tag:far,3,10.79.0.1",
                // A machine's firmware shall not wait while the rival pings the address that it is about to offer.
                "--no-ping",
            ]
            .map(ToOwned::to_owned),
        );
        room.serve("dnsmasq", &words, "DHCP, IP range").await?;
        Ok(Rival { _room: room })
    }

    /// Builds the far LAN and its relay.
    ///
    /// # Errors
    /// When dnsmasq is missing or does not start, or `ip` fails.
    pub async fn far(&self, relaying: Relaying) -> Result<Far, RackError> {
        let folder = self.folder.join("router");
        let mut room = Room::open("far", &folder).await?;
        room.cable("br0", "up0").await?;
        for command in [
            &format!("addr add {NEAR_ROUTER}/24 dev up0"),
            "link add br0 type bridge",
            &format!("addr add {FAR_ROUTER}/24 dev br0"),
            "link set br0 up",
            "tuntap add dev tap0 mode tap",
            "link set tap0 master br0",
            "link set tap0 up",
        ] {
            room.ip(command).await?;
        }
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward".to_owned();
        room.run("sh", &["-c".to_owned(), forward]).await?;
        ip(&format!("route add 10.79.0.0/24 via {NEAR_ROUTER}"))?;
        let relay = match relaying {
            Relaying::ToBoth => {
                let mut words = dnsmasq(&folder);
                words.push("--interface=br0".to_owned());
                words.extend([APPLIANCE, RIVAL].map(|to| format!("--dhcp-relay={FAR_ROUTER},{to}")));
                room.serve("dnsmasq", &words, "DHCP relay from").await?;
                None
            }
            Relaying::Marked | Relaying::MarkedPlain => {
                let plain_pxe = relaying == Relaying::MarkedPlain;
                let habits = Habits { own: FAR_ROUTER, servers: vec![APPLIANCE], plain_pxe };
                let sockets =
                    room.inside("open a relay's sockets for", || Sockets::open("br0", FAR_ROUTER))?;
                Some(Relay::start(sockets, habits, &folder)?)
            }
        };
        Ok(Far { folder: self.folder.clone(), room, relay })
    }

    /// Gives power to a machine on the server's LAN.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub async fn boot(&self, machine: &BootMachine) -> Result<Booting, RackError> {
        Booting::start(machine, &self.folder.join(&machine.name), "tap0", &self.nursery).await
    }

    /// Starts a server in the caller's namespace, in a folder `name`, and waits until its log (`PROGRAM.log` there)
    /// says `ready`: a reference to compare with.
    ///
    /// # Errors
    /// When it is missing or does not start.
    pub async fn reference(
        &self,
        name: &str,
        program: &str,
        arguments: &[String],
        ready: &str,
    ) -> Result<Child, RackError> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).map_err(RackError::io("create", &folder))?;
        started(&self.nursery, &folder, program, arguments, ready).await
    }
}

impl Far {
    /// What our own relay did not pass on, and why; a line each.
    #[must_use]
    pub fn refused(&self) -> String {
        self.relay.as_ref().map(Relay::refused).unwrap_or_default()
    }

    /// Gives power to a machine behind the relay.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub async fn boot(&self, machine: &BootMachine) -> Result<Booting, RackError> {
        Booting::start(machine, &self.folder.join(&machine.name), "tap0", &self.room.nursery).await
    }
}

/// dnsmasq in the foreground, reading nobody's configuration and writing only into `folder`.
#[must_use]
pub fn dnsmasq(folder: &Path) -> Vec<String> {
    let leases = format!("--dhcp-leasefile={}", folder.join("leases").display());
    [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file",
        "--user=root",
        "--port=0",
        "--bind-interfaces",
        "--log-dhcp",
        "--log-facility=-",
        &leases,
    ]
    .map(ToOwned::to_owned)
    .into()
}
