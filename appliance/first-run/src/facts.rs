//! What a face saw of the machine before it asked.

use std::{net::Ipv4Addr, path::PathBuf};

use appliance_model::{Mac, Now};

use crate::lan::Mode;

/// The machine, as it was seen.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What its clock says.
    pub now: Now,
    /// What its hardware clock says, unless a time server has set the time since the start: systems do not believe a
    /// clock that stood still, and go on from the day on which they were built.
    pub hardware_clock: Option<Now>,
    /// Its network ports, without the loopback.
    pub nics: Vec<Nic>,
    /// Its TPM.
    pub tpm: Tpm,
    /// Where the site will be kept.
    pub storage: Storage,
    /// What servers will boot.
    pub images: Images,
}

/// What was seen of the TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tpm {
    /// There is none.
    Absent,
    /// It is there, and nothing is in the way.
    Free,
    /// It is there, and this is in the way, with the next step.
    Taken(String),
}

/// A network port.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its name.
    pub name: String,
    /// Its hardware address, which stays when ports are counted in another order.
    pub mac: Option<Mac>,
    /// Whether there is a cable with somebody at its end.
    pub carrier: bool,
    /// Addresses it has now, with the bits of their networks.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// What was heard there; `None` if nobody listened.
    pub heard: Option<Heard>,
}

/// What was heard on a LAN when it was asked who gives addresses there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// Servers that offered an address.
    pub servers: Vec<Ipv4Addr>,
    /// The mode that the boot service proposes.
    pub proposal: Mode,
    /// Why, in its words.
    pub why: String,
}

/// Where the site will be kept.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Bytes that are free there.
    pub free_bytes: u64,
    /// Whether it is memory, and gone with the next restart.
    pub live: bool,
    /// Why it is memory, and what to do, in the words of the system's start; `None` where it did not say.
    pub why: Option<String>,
}

/// What servers will boot: paths, absolute or from the site directory on.
#[derive(Debug, Clone)]
pub struct Images {
    /// The discovery UKI.
    pub uki: PathBuf,
    /// Its reference values.
    pub reference: PathBuf,
    /// The release of the system that hosts can get, if there is one: the folder with its `release.json`.
    pub host: Option<PathBuf>,
}
