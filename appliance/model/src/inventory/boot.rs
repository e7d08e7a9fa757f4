//! What UEFI firmware is set to boot, and whose signatures it believes (UEFI Specification, chapters 3 and 32).

use serde::{Deserialize, Serialize};

/// UEFI's boot manager and Secure Boot variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// The entry this boot came from.
    pub current: Option<u16>,
    /// The entry tried first at the next boot only.
    pub next: Option<u16>,
    /// Entries in the order they are tried.
    pub order: Vec<u16>,
    /// All entries.
    pub entries: Vec<BootEntry>,
    /// Whether keys may be enrolled without a signature: no platform key is set.
    pub setup_mode: Option<bool>,
    /// Whether a change of keys follows the strict rules of deployed mode.
    pub deployed_mode: Option<bool>,
    /// Whether signatures are written down and not enforced.
    pub audit_mode: Option<bool>,
    /// Platform key, key exchange keys, allowed and forbidden signatures.
    pub keys: Vec<KeyDatabase>,
}

/// A `Boot####` variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BootEntry {
    /// Its number.
    pub number: u16,
    /// Description, as the boot menu shows it.
    pub description: String,
    /// Whether it is tried at all.
    pub active: bool,
    /// Whether the boot menu hides it.
    pub hidden: bool,
    /// Device path in UEFI's text form; nodes of other kinds as `Path(type,subtype,hex)`.
    pub path: String,
}

/// A Secure Boot variable that holds keys or digests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyDatabase {
    /// `PK`, `KEK`, `db` or `dbx`.
    pub name: String,
    /// SHA-256 of the variable's data, hex.
    pub sha256: String,
    /// SHA-256 of each X.509 certificate in it, hex.
    pub certificates: Vec<String>,
    /// How many digests of programs it holds.
    pub digests: u32,
    /// Entries of other kinds.
    pub others: u32,
}
