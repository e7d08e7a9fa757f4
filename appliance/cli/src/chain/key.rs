//! `scalerforge chain key`: keystore files of the operator's account.
//!
//! Passphrases come from a file or are typed; secrets are read from files and never shown.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::bail;
use appliance_model::Address;
use chain_client::{
    OperatorKey,
    signer::{KeyError, KeyPath, LedgerSettings, Passphrase},
};
use clap::{Args, Subcommand};

use crate::{host::print, say, terminal::password};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a new key and write it to a keystore file under a passphrase.  Nothing is overwritten.
    New {
        /// The new file.
        file: PathBuf,
        /// File whose first line is the passphrase; nobody else may be able to read it.  Without it you are asked.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Whose key a keystore file says it holds, and how well it keeps it.
    Show {
        /// The keystore file.
        file: PathBuf,
        /// Open it as well, to see that it is so: asks for the passphrase, or takes it from --passphrase-file.
        #[arg(long)]
        open: bool,
        /// File whose first line is the passphrase.
        #[arg(long, value_name = "FILE", requires = "open")]
        passphrase_file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Whose key a Ledger that is plugged in here holds.
    Ledger {
        #[command(flatten)]
        which: Which,
        /// Show the account on the device as well, and wait until somebody says there that it is the same.
        #[arg(long)]
        compare: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take the key out of another file, a keystore or 64 hex digits, and write it to a new keystore file.  The old file
    /// stays: destroy it yourself.
    Import {
        /// The old file.
        from: PathBuf,
        /// The new file.
        file: PathBuf,
        /// File whose first line is the old keystore file's passphrase.
        #[arg(long, value_name = "FILE")]
        from_passphrase_file: Option<PathBuf>,
        /// File whose first line is the new file's passphrase.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

/// Which key of which Ledger.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Where the key is in the tree of the Ledger's seed.
    #[arg(long, value_name = "PATH", default_value = "m/44'/60'/0'/0/0")]
    path: KeyPath,
    /// The Ledger's node, such as /dev/hidraw3.  Without it, the only one that is plugged in.
    #[arg(long, value_name = "NODE")]
    device: Option<PathBuf>,
}

impl Which {
    /// As the key of `account`.
    pub(crate) fn of(&self, account: Address) -> LedgerSettings {
        let (path, device) = (self.path.clone(), self.device.clone());
        LedgerSettings { account, path, device, root: "/".into() }
    }
}

/// What `show --json` prints.
#[derive(Debug, serde::Serialize)]
struct Shown {
    /// The account, if the file says it or was opened.
    address: Option<String>,
    /// Whether it was opened.
    opened: bool,
    /// What makes it easier to guess than one written here.
    weakness: Option<String>,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::New { file, passphrase_file } => {
            let passphrase = fresh(passphrase_file.as_deref(), &file)?;
            let key = OperatorKey::create_keystore(&file, None, &passphrase)?;
            told(&key, &file);
        }
        Verb::Show { file, open, passphrase_file, json } => {
            show(&file, open, passphrase_file.as_deref(), json)?;
        }
        Verb::Ledger { which, compare, json } => {
            if compare {
                eprintln!("compare the account on the Ledger's screen with the one that is printed here");
            }
            // Whose it is, is the question: any account will do to ask it.
            let account = which.of(Address([0; 20])).found(compare)?;
            if json {
                print(
                    &serde_json::json!({ "address": format!("0x{account}"), "path": which.path.to_string() }),
                )?;
            } else {
                say!("the Ledger's key at {} is of 0x{account}", which.path);
            }
        }
        Verb::Import { from, file, from_passphrase_file, passphrase_file } => {
            import(&from, &file, from_passphrase_file.as_deref(), passphrase_file.as_deref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(file: &Path, open: bool, passphrase: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let keystore = OperatorKey::keystore(file)?;
    let mut address = keystore.address();
    if open {
        address = Some(OperatorKey::open(file, &old(passphrase, file)?)?.address());
    }
    let shown = Shown {
        address: address.map(|address| format!("0x{address}")),
        opened: open,
        weakness: keystore.weakness(),
    };
    if json {
        return print(&shown);
    }
    let said = if open { "its key is of" } else { "it says that its key is of" };
    say!("{}: {said} {}", file.display(), shown.address.as_deref().unwrap_or("nobody it names"));
    match shown.weakness {
        Some(weakness) => say!("weak: {weakness}"),
        None => say!("kept as well as one written here"),
    }
    Ok(())
}

fn import(from: &Path, file: &Path, old_file: Option<&Path>, new_file: Option<&Path>) -> anyhow::Result<()> {
    let secret = match OperatorKey::keystore(from) {
        Ok(keystore) => {
            if let Some(weakness) = keystore.weakness() {
                eprintln!("{} is weak: {weakness}", from.display());
            }
            // Checks that the file is of the account it names.
            let passphrase = old(old_file, from)?;
            OperatorKey::open(from, &passphrase)?;
            keystore.open(&passphrase).map_err(|source| KeyError::Keystore { path: from.into(), source })?
        }
        Err(KeyError::Keystore { .. }) => OperatorKey::secret(from)?,
        Err(other) => return Err(other.into()),
    };
    let passphrase = fresh(new_file, file)?;
    let key = OperatorKey::create_keystore(file, Some(&secret), &passphrase)?;
    told(&key, file);
    say!("{} still holds the key: destroy it when nothing uses it any more", from.display());
    Ok(())
}

fn told(key: &OperatorKey, file: &Path) {
    say!("{} holds the key of account 0x{}", file.display(), key.address());
    say!(
        "keep a copy of the file, and the passphrase elsewhere: without both, what the account holds is lost"
    );
}

/// The passphrase of a file that exists.
pub(crate) fn old(file: Option<&Path>, of: &Path) -> anyhow::Result<Passphrase> {
    Ok(match file {
        Some(file) => Passphrase::read(file)?,
        None => Passphrase::typed(password(None, &of.display().to_string())?)?,
    })
}

/// A passphrase for a new file: long enough, and typed twice if it is typed.
fn fresh(file: Option<&Path>, of: &Path) -> anyhow::Result<Passphrase> {
    if let Some(file) = file {
        return Ok(Passphrase::read(file)?.fit_for_new()?);
    }
    let whose = of.display();
    let first = Passphrase::typed(password(None, &format!("{whose} (new)"))?)?.fit_for_new()?;
    if first != Passphrase::typed(password(None, &format!("{whose} (again)"))?)? {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(first)
}
