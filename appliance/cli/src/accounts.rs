//! `scalerforge bmc import`, `rotate`, `forget`, `export`: passwords of controllers, sealed in the site's store.
//!
//! They work on the site directory, whether the appliance runs or not.  No password is ever an argument or on standard
//! output, but for `open-export`, whose purpose that is.

use std::{
    fs::OpenOptions,
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_server::vault::{
    self, AccountStore, ByRedfish, Ended, Entry, Exported, Vault, open_export, read_roster, seal_export,
};
use clap::{Args, Subcommand};

use crate::{host::print, known, say, terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Take over a list of controllers and their passwords, CSV or JSON: mac, serial, password, rack, unit, address, user.
    /// All of it or, if any line is bad, nothing.  The passwords are sealed at once; delete the list afterwards.
    Import {
        /// The list; `.json` is JSON, everything else CSV with a header.
        file: PathBuf,
        /// User where the list names none.
        #[arg(long, default_value = USER)]
        user: String,
        #[command(flatten)]
        at: At,
    },
    /// All controllers that are known: who saw them, whose password is known (without the password), and what is missing.
    List {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Give a controller a new random password, and show by a login that it holds.
    Rotate {
        /// Serial, MAC or address of the controller, or id of its host.
        host: String,
        /// Yes: the password of this controller is changed, and who has the old one is locked out.
        #[arg(long)]
        yes_change_password: bool,
        #[command(flatten)]
        at: At,
    },
    /// Forget the key of a controller whose board or certificate was replaced on purpose: the next contact is a first one.
    Forget {
        /// Serial, MAC or address of the controller, or id of its host.
        host: String,
        /// Yes: whoever answers at its address next is believed to be it.
        #[arg(long)]
        yes_forget_key: bool,
        #[command(flatten)]
        at: At,
    },
    /// Write all passwords into one file under a passphrase, for the day the appliance is gone.
    Export {
        /// The file; it must not exist yet.
        #[arg(long, value_name = "FILE")]
        break_glass: PathBuf,
        /// File with the passphrase in its first line; without it the terminal is asked.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Without a passphrase: everybody who gets the file has all passwords.
        #[arg(long, conflicts_with = "passphrase_file")]
        plain_passwords: bool,
        #[command(flatten)]
        at: At,
    },
    /// Print an export with its passwords; it needs the passphrase and no site.
    OpenExport {
        /// The file.
        file: PathBuf,
        /// File with the passphrase in its first line; without it the terminal is asked.
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
    },
}

/// Whose store.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The site directory.
    #[arg(long, default_value = "/var/lib/scalerforge")]
    site: PathBuf,
}

/// Largest list: a hundred thousand lines of 160 bytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// User where a list names none.
const USER: &str = "admin";

impl At {
    /// Its store.
    pub(crate) fn store(&self) -> anyhow::Result<AccountStore> {
        Ok(AccountStore::open(&self.site.join("store.sqlite"))?)
    }

    fn open(&self) -> anyhow::Result<(Vault, AccountStore)> {
        let vault = Vault::read(&self.site)?;
        Ok((vault, self.store()?))
    }
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Import { file, user, at } => {
            List::read(&file)?.import_for(&user, &at).map(|()| ExitCode::SUCCESS)
        }
        Verb::List { json, at } => known::list(json, &at),
        Verb::Rotate { host, yes_change_password, at } => rotate(&host, yes_change_password, &at),
        Verb::Forget { host, yes_forget_key, at } => forget(&host, yes_forget_key, &at),
        Verb::Export { break_glass, passphrase_file, plain_passwords, at } => {
            export(&break_glass, passphrase_file.as_deref(), plain_passwords, &at)
        }
        Verb::OpenExport { file, passphrase_file } => reveal(&file, passphrase_file.as_deref()),
    }
}

fn bounded(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file);
    opened
        .and_then(|opened| opened.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() as u64 > LIST_BYTES_MAX {
        bail!("{} is larger than {LIST_BYTES_MAX} bytes; nothing was read of it", file.display());
    }
    Ok(bytes)
}

/// A list of controllers that was read and checked against itself.
pub(crate) struct List {
    file: PathBuf,
    entries: Vec<Entry>,
}

impl List {
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let Ok(text) = String::from_utf8(bounded(file)?) else {
            bail!("{} is not UTF-8 text; nothing was imported", file.display());
        };
        let json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let entries = read_roster(&text, json).with_context(|| file.display().to_string())?;
        Ok(Self { file: file.to_owned(), entries })
    }

    /// Seals its passwords in the store of a site, which has its keys.
    pub(crate) fn import(&self, site: &Path) -> anyhow::Result<()> {
        self.import_for(USER, &At { site: site.to_owned() })
    }

    fn import_for(&self, user: &str, at: &At) -> anyhow::Result<()> {
        let (vault, store) = at.open()?;
        let imported = vault::import((&vault, &store), &self.entries, user)?;
        say!("{} controllers imported, {} of them known before", self.entries.len(), imported.replaced);
        let placeless = self.entries.iter().filter(|entry| entry.url.is_none()).count();
        if placeless > 0 {
            say!("{placeless} of them without an address: they are not spoken to until one is imported");
        }
        say!("the passwords are sealed now; delete {}", self.file.display());
        Ok(())
    }
}

fn forget(host: &str, yes: bool, at: &At) -> anyhow::Result<ExitCode> {
    if !yes {
        bail!(
            "whoever answers at its address next would be sent its password; if that is meant, add --yes-forget-key"
        );
    }
    let (_, store) = at.open()?;
    let name = vault::find(&store, host)?.account.name;
    vault::forget_key(&store, &name)?;
    say!("the key of {name} is forgotten; the next one it shows is demanded from then on");
    Ok(ExitCode::SUCCESS)
}

fn rotate(host: &str, yes: bool, at: &At) -> anyhow::Result<ExitCode> {
    if !yes {
        bail!(
            "a new password locks out everybody who has the old one; if that is meant, add --yes-change-password"
        );
    }
    let (vault, store) = at.open()?;
    let name = vault::find(&store, host)?.account.name;
    let new = vault::random_password(vault::PasswordLimits::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let controller = ByRedfish { store: &store };
    let ended =
        runtime.block_on(async { vault::rotate((&vault, &store), &name, &new, &controller).await })?;
    match ended {
        Ended::Changed => {
            say!("{name} has a new password, shown by a login with it");
            return Ok(ExitCode::SUCCESS);
        }
        Ended::Kept => say!("{name} keeps its password: the controller did not take the new one"),
        Ended::Waits(_) => {
            say!(
                "which password {name} has now is not known yet; the appliance finds out, by logins that are far apart"
            );
        }
        Ended::Ask(why) => say!("{name}: {why}"),
    }
    Ok(ExitCode::from(1))
}

fn export(file: &Path, passphrase_file: Option<&Path>, plain: bool, at: &At) -> anyhow::Result<ExitCode> {
    let (vault, store) = at.open()?;
    let accounts = store
        .accounts()?
        .iter()
        .map(|row| Exported::of(&vault, row))
        .collect::<Result<Vec<Exported>, _>>()?;
    let bytes = if plain {
        serde_json::to_vec_pretty(&accounts)?
    } else {
        seal_export(&accounts, &terminal::password(passphrase_file, "this export (a new passphrase)")?)?
    };
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("cannot make {}", file.display()))?;
    out.write_all(&bytes)
        .and_then(|()| out.sync_all())
        .with_context(|| format!("cannot write {}", file.display()))?;
    let how = if plain { "in clear: lock it away" } else { "under the passphrase" };
    say!("{} passwords are in {}, {how}", accounts.len(), file.display());
    Ok(ExitCode::SUCCESS)
}

fn reveal(file: &Path, passphrase_file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let bytes = bounded(file)?;
    print(&open_export(&bytes, &terminal::password(passphrase_file, "this export")?)?)?;
    Ok(ExitCode::SUCCESS)
}
