//! What must outlive a restart of the agent within one boot: the boot nonce, and the documents whose digests go into
//! statements.  Kept in a directory in memory; a new boot starts empty, as it must.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use appliance_model::Digest;

const NONCE: &str = "boot-nonce";
const INVENTORY: &str = "inventory.json";
const BURN_IN: &str = "burn-in.json";
const QUOTED: &str = "quoted.json";

/// The directory.
#[derive(Debug)]
pub struct State {
    dir: PathBuf,
    boot_nonce: Digest,
}

impl State {
    /// Opens `dir`, or begins it with a new random boot nonce.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let known = fs::read_to_string(dir.join(NONCE)).ok().and_then(|text| text.trim().parse().ok());
        let boot_nonce = match known {
            Some(nonce) => nonce,
            None => {
                let mut random = [0; 32];
                File::open("/dev/urandom")?.read_exact(&mut random)?;
                let nonce = Digest(random);
                fs::write(dir.join(NONCE), nonce.to_string())?;
                nonce
            }
        };
        Ok(Self { dir: dir.to_owned(), boot_nonce })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Random per boot.
    pub fn boot_nonce(&self) -> Digest {
        self.boot_nonce
    }

    /// The inventory that was reported, byte for byte.
    pub fn inventory(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(INVENTORY)).ok()
    }

    /// Keeps the inventory.
    pub fn keep_inventory(&self, json: &str) -> io::Result<()> {
        self.keep(INVENTORY, json)
    }

    /// The burn-in report, byte for byte.
    pub fn burn_in(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(BURN_IN)).ok()
    }

    /// Keeps the burn-in report.
    pub fn keep_burn_in(&self, json: &str) -> io::Result<()> {
        self.keep(BURN_IN, json)
    }

    /// The order of the last registration that was quoted, as JSON.
    pub fn quoted(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(QUOTED)).ok()
    }

    /// Keeps it.
    pub fn keep_quoted(&self, json: &str) -> io::Result<()> {
        self.keep(QUOTED, json)
    }

    /// A half-written document would have another digest: written aside, then renamed.
    fn keep(&self, name: &str, text: &str) -> io::Result<()> {
        let aside = self.dir.join(format!("{name}.new"));
        fs::write(&aside, text)?;
        fs::rename(aside, self.dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restarted_agent_is_the_same_boot() {
        let dir = tempfile::tempdir().unwrap();
        let first = State::open(dir.path()).unwrap();
        first.keep_inventory("{}").unwrap();
        let second = State::open(dir.path()).unwrap();
        assert_eq!(first.boot_nonce(), second.boot_nonce());
        assert_eq!((second.inventory().as_deref(), second.burn_in()), (Some("{}"), None));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(State::open(other.path()).unwrap().boot_nonce(), first.boot_nonce());
    }
}
