//! A private network namespace and the provisioning LAN in it: bridge, taps, BMC addresses.
//!
//! `unshare` moves the calling *thread*; threads and processes that it starts afterwards follow it, threads that
//! exist already do not.  So enter first and create the tokio runtime after, or use [`block_on_private`], which does
//! both in that order.  All settings are made by `ip` from iproute2, so that what stands here can be typed by hand.
//! Nothing here touches the namespace that the program was started in.

use std::future::Future;
use std::net::Ipv4Addr;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use crate::error::RackError;

/// The appliance's address on the provisioning LAN.
pub const APPLIANCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// This namespace's address on the LAN of people.
pub const OFFICE: Ipv4Addr = Ipv4Addr::new(10, 76, 0, 1);

/// Most servers one LAN can hold: BMC addresses run from 10.78.0.11 in one octet.
pub const HOSTS_MAX: usize = 200;

/// Moves the calling thread (and what it starts later) into a new, empty network namespace with `lo` up.
///
/// As root this is one `unshare`.  Otherwise a user namespace is made too, in which the caller is root; the kernel
/// allows that only while the process has a single thread, so call it first thing in `main`.
///
/// # Errors
/// When the kernel refuses a namespace or `ip` fails.
pub fn enter_private() -> Result<(), RackError> {
    if Uid::effective().is_root() {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|source| RackError::Namespace { doing: "make a network namespace", source })?;
    } else {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|source| {
            RackError::Namespace { doing: "make a user and network namespace (single-threaded only)", source }
        })?;
        for (file, text) in [
            ("/proc/self/setgroups", "deny".to_owned()),
            ("/proc/self/uid_map", format!("0 {uid} 1")),
            ("/proc/self/gid_map", format!("0 {gid} 1")),
        ] {
            std::fs::write(file, text).map_err(RackError::io("write the id map", file))?;
        }
    }
    ip("link set lo up")
}

/// Runs `work` to its end on a fresh thread that sits in its own network namespace, on a runtime of its own.
///
/// # Errors
/// When the namespace, the thread or the runtime cannot be made.
///
/// # Panics
/// When `work` panics: a test's failure goes on to the test.
pub fn block_on_private<F, T>(work: impl FnOnce() -> F + Send + 'static) -> Result<T, RackError>
where
    F: Future<Output = T>,
    T: Send + 'static,
{
    let inside = move || {
        enter_private()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(RackError::io("start a runtime in", "the private namespace"))?;
        Ok(runtime.block_on(work()))
    };
    let thread = std::thread::Builder::new()
        .name("private-netns".to_owned())
        .spawn(inside)
        .map_err(RackError::io("start a thread for", "the private namespace"))?;
    match thread.join() {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The provisioning LAN (`br0`, 10.77.0.1/24) and a second, unserved one (`br1`) for the servers' data ports.
#[derive(Clone, Debug)]
pub struct Lan {
    hosts: usize,
}

impl Lan {
    /// Builds bridges, two taps per host (`tapN` on `br0`, `datN` on `br1`) and the BMC addresses on `lo`.
    ///
    /// Call it inside the private namespace: it makes devices with plain names and would collide elsewhere.
    ///
    /// # Errors
    /// When `hosts` is more than [`HOSTS_MAX`] or an `ip` command fails.
    pub fn create(hosts: usize) -> Result<Self, RackError> {
        if hosts > HOSTS_MAX {
            return Err(RackError::Description(format!("{hosts} hosts asked for, {HOSTS_MAX} is the most")));
        }
        for command in ["link add br0 type bridge", "link add br1 type bridge"] {
            ip(command)?;
        }
        ip(&format!("addr add {APPLIANCE}/24 dev br0"))?;
        for command in ["link set br0 up", "link set br1 up"] {
            ip(command)?;
        }
        for host in 0..hosts {
            for (tap, bridge) in [(Self::boot_tap(host), "br0"), (Self::data_tap(host), "br1")] {
                ip(&format!("tuntap add dev {tap} mode tap"))?;
                ip(&format!("link set {tap} master {bridge}"))?;
                ip(&format!("link set {tap} up"))?;
            }
            ip(&format!("addr add {}/32 dev lo", Self::bmc_address(host)))?;
        }
        Ok(Self { hosts })
    }

    /// Makes room for an appliance that is a machine of its own: its address is no longer this namespace's.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn step_aside(&self) -> Result<(), RackError> {
        ip(&format!("addr del {APPLIANCE}/24 dev br0"))
    }

    /// Builds the LAN of people (`br2`), on which this namespace is the router [`OFFICE`]: it leads to the BMCs.
    ///
    /// # Errors
    /// When an `ip` command fails.
    pub fn office(&self) -> Result<(), RackError> {
        ip("link add br2 type bridge")?;
        ip(&format!("addr add {OFFICE}/24 dev br2"))?;
        ip("link set br2 up")
    }

    /// Name of the tap behind NIC 0, the one that network-boots.
    #[must_use]
    pub fn boot_tap(host: usize) -> String {
        format!("tap{host}")
    }

    /// Name of the tap behind NIC 1.
    #[must_use]
    pub fn data_tap(host: usize) -> String {
        format!("dat{host}")
    }

    /// Management address of a host's BMC.
    #[must_use]
    pub fn bmc_address(host: usize) -> Ipv4Addr {
        let last = u8::try_from(host.saturating_add(11)).unwrap_or(u8::MAX);
        Ipv4Addr::new(10, 78, 0, last)
    }

    /// Pulls the provisioning cable of one host: frames are lost both ways.
    ///
    /// # Errors
    /// When there is no such host or `ip` fails.
    pub fn link_down(&self, host: usize) -> Result<(), RackError> {
        self.link(host, "down")
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When there is no such host or `ip` fails.
    pub fn link_up(&self, host: usize) -> Result<(), RackError> {
        self.link(host, "up")
    }

    fn link(&self, host: usize, state: &str) -> Result<(), RackError> {
        if host >= self.hosts {
            return Err(RackError::Description(format!(
                "no host {host}; the LAN was made for {}",
                self.hosts
            )));
        }
        ip(&format!("link set {} {state}", Self::boot_tap(host)))
    }
}

/// Runs one `ip` command; the words are split at spaces, so no argument may hold one.
pub(crate) fn ip(arguments: &str) -> Result<(), RackError> {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .map_err(|source| RackError::Spawn { program: "ip".to_owned(), source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(RackError::Command {
        command: format!("ip {arguments}"),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
