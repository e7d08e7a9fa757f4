//! The `[pxe]` section as people write it, key by key.

use std::collections::BTreeMap;

use serde::Deserialize;

pub use crate::v6::wire::{LinkBehindRelay, Pool6, V6};

/// The `[pxe]` section.  One interface is written here directly; several as `[[pxe.interfaces]]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the interface is for: `listen`, `proxy`, `auto-proxy`, `full`, `reservation`, `off`.  Absent: `full`.
    pub mode: Option<String>,
    /// Interface of the provisioning LAN (`br0`); without it, the server listens on `address` only and hears
    /// relays but no broadcasts.
    pub interface: Option<String>,
    /// Our address on the provisioning LAN.
    pub address: Option<String>,
    /// The LAN, as `10.77.0.0/24`.
    pub subnet: Option<String>,
    /// Router told to hosts, if there is one.
    pub router: Option<String>,
    /// DNS servers told to hosts.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Relays that may ask for hosts elsewhere: their `giaddr`, and, where it differs, the address they send from.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Base URL of the agents' API, told to agents in option 224.
    pub api_url: Option<String>,
    /// What machines get that nobody announced: `boot`, `lease` or `silence`.
    pub strangers: Option<String>,
    /// Exceptions from `strangers`; the first that matches counts.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// How long a lease lasts.
    #[serde(default = "lease_seconds")]
    pub lease_seconds: u64,
    /// DHCP's UDP port.  Other than 67 only for tests through a relay.
    #[serde(default = "dhcp_port")]
    pub dhcp_port: u16,
    /// UDP port where PXE clients ask the boot server.
    #[serde(default = "boot_server_port")]
    pub boot_server_port: u16,
    /// Boot HTTP's TCP port.
    #[serde(default = "http_port")]
    pub http_port: u16,
    /// TFTP's UDP port.
    #[serde(default = "tftp_port")]
    pub tftp_port: u16,
    /// Addresses to hand out.
    pub pool: Option<Pool>,
    /// Fixed addresses by MAC.
    #[serde(default)]
    pub reservations: BTreeMap<String, String>,
    /// Further interfaces.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Further pools, for links behind relays, whichever interface those reach: the relay's word decides, not where
    /// it came in.
    #[serde(default)]
    pub networks: Vec<Network>,
    /// What UEFI firmware gets that asks by PXE: `uki` (the image by TFTP), `ipxe`, `shim` (a distribution's signed chain,
    /// for Secure Boot with factory keys), `http` (a refusal at once that sends it on to HTTP boot).  Absent: `uki`.
    pub uefi_pxe: Option<String>,
    /// What x64 UEFI firmware gets that asks by HTTP: `uki` (the image) or `shim` (a distribution's signed chain).  Absent:
    /// `uki`.
    pub uefi_http: Option<String>,
    /// Boot files by HTTPS, too, in builds with the feature `https-boot`.
    pub https: Option<Https>,
    /// What is booted.
    #[serde(default)]
    pub images: Images,
    /// Programs that fetch the rest.
    #[serde(default)]
    pub nbp: Nbp,
    /// IPv6; off unless it is there.
    pub v6: Option<V6>,
}

/// An interface and the pool of its LAN.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub interface: String,
    /// What it is for.
    pub mode: String,
    /// Our address there.
    pub address: String,
    /// The LAN.
    pub subnet: String,
    /// Router told to hosts.
    pub router: Option<String>,
    /// DNS servers told to hosts.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Addresses to hand out.
    pub pool: Option<Pool>,
    /// Fixed addresses by MAC.
    #[serde(default)]
    pub reservations: BTreeMap<String, String>,
}

/// A link behind relays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The link.
    pub subnet: String,
    /// Router told to hosts.
    pub router: Option<String>,
    /// DNS servers told to hosts.
    #[serde(default)]
    pub dns: Vec<String>,
    /// Relays (`giaddr`) that speak for it without lying in it.
    #[serde(default)]
    pub relays: Vec<String>,
    /// Addresses to hand out.
    pub pool: Option<Pool>,
    /// Fixed addresses by MAC.
    #[serde(default)]
    pub reservations: BTreeMap<String, String>,
}

/// Addresses to hand out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// First address.
    pub first: String,
    /// Last address.
    pub last: String,
}

/// An exception from `strangers`; what is absent matches all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The port.
    pub mac: Option<String>,
    /// Option 97 as 32 hex digits, dashes allowed, in the order in which the firmware sends it.
    pub uuid: Option<String>,
    /// Option 93.
    pub arch: Option<u16>,
    /// How option 60 starts.
    pub class: Option<String>,
    /// The relay it came through.
    pub relay: Option<String>,
    /// `boot`, `lease` or `silence`.
    pub gets: String,
}

/// Boot files by HTTPS, for firmware that has the site's authority enrolled.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Https {
    /// TCP port.
    #[serde(default = "https_port")]
    pub port: u16,
    /// The server's certificate and then those above it, PEM.  Firmware compares the name in it with our address.
    pub certificate: String,
    /// Its key, RSA, PEM.
    pub key: String,
    /// Whether all UEFI HTTP boot firmware is sent to HTTPS.
    pub offer: Option<bool>,
    /// Who is sent there instead, where not all are.
    #[serde(default)]
    pub offer_to: Vec<Match>,
}

/// Which machines are meant; what is absent matches all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The port.
    pub mac: Option<String>,
    /// Option 97 as 32 hex digits, dashes allowed, in the order in which the firmware sends it.
    pub uuid: Option<String>,
    /// Option 93.
    pub arch: Option<u16>,
    /// How option 60 starts.
    pub class: Option<String>,
    /// The relay it came through.
    pub relay: Option<String>,
}

/// What is booted: paths of files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// The discovery UKI for x64.
    pub x64: Option<String>,
    /// The discovery UKI for arm64.
    pub arm64: Option<String>,
    /// Kernel for iPXE.
    pub kernel: Option<String>,
    /// Initrd for iPXE.
    pub initrd: Option<String>,
    /// Boot medium that management controllers attach as a CD (`discovery.iso`).
    pub medium: Option<String>,
    /// Folder of further images, each named by its SHA-256, served as `/images/sha256/HEX`.
    pub folder: Option<String>,
    /// What iPXE's script appends to the kernel's command line.
    pub command_line: Option<String>,
}

/// Programs that fetch the rest: paths of files.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nbp {
    /// `snponly.efi`.
    pub ipxe_uefi: Option<String>,
    /// `undionly.kpxe`.
    pub ipxe_bios: Option<String>,
    /// Shim for x64, signed by whom firmware trusts (`shimx64.efi.signed`).
    pub shim: Option<String>,
    /// GRUB for network boot that this shim trusts (`grubnetx64.efi.signed`).
    pub grub: Option<String>,
}

/// An hour: a host that moves is seen soon, and 10,000 hosts renew 6 times a second.
fn lease_seconds() -> u64 {
    3600
}
fn dhcp_port() -> u16 {
    67
}
fn boot_server_port() -> u16 {
    4011
}
fn http_port() -> u16 {
    8080
}
/// Beside the agents' API on 8443.
fn https_port() -> u16 {
    8444
}
fn tftp_port() -> u16 {
    69
}
