//! `scalerforge site backup|restore|reset|password`: a whole site as one encrypted file, its end, and the page's password.

use std::{
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, bail};
use appliance_server::{admin, first_run};
use clap::Args;

use crate::{say, terminal};

/// The site directory of an installed appliance.
const SITE: &str = "/var/lib/scalerforge";
/// How long a running appliance may take to accept a connection of its own machine.
const RUNNING: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write.  It must not exist.
    file: PathBuf,
    /// The site directory.
    #[arg(long, default_value = SITE)]
    site: PathBuf,
    /// File whose first line is the passphrase.  Absent: it is asked for.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    file: PathBuf,
    /// The site directory.
    #[arg(long, default_value = SITE)]
    site: PathBuf,
    /// File whose first line is the passphrase.  Absent: it is asked for.
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// Where there is a site: `replace NAME`.
    #[arg(long)]
    permit: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// The site directory.
    #[arg(long, default_value = SITE)]
    site: PathBuf,
    /// `erase NAME`.
    #[arg(long)]
    permit: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Password {
    /// The site directory.
    #[arg(long, default_value = SITE)]
    site: PathBuf,
    /// File whose first line is the password.  Absent: it is asked for.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Print the hash for `admin.password_hash` of a first-run.toml, and set nothing.
    #[arg(long, conflicts_with = "site")]
    print: bool,
}

pub(crate) fn backup(options: &Backup) -> anyhow::Result<ExitCode> {
    appliance_backup::settle(&options.site)?;
    let passphrase = passphrase(options.passphrase_file.as_deref(), true)?;
    let (program, made) = (env!("CARGO_PKG_VERSION"), now_ms());
    let saved = appliance_backup::save(&options.site, &options.file, &passphrase, program, made)?;
    let mebibytes = saved.bytes.div_ceil(1 << 20);
    say!(
        "{}: {} files, {mebibytes} MiB, every key of the site among them.",
        options.file.display(),
        saved.files
    );
    say!(
        "Keep it and its passphrase apart. `age -d` opens it on any machine; `site restore` makes a site of it."
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn restore(options: &Restore) -> anyhow::Result<ExitCode> {
    stopped(&options.site)?;
    let passphrase = passphrase(options.passphrase_file.as_deref(), false)?;
    let schema_max = appliance_server::STORE_SCHEMA;
    let permit = options.permit.as_deref();
    let restored = appliance_backup::restore(&options.file, &options.site, &passphrase, permit, schema_max)?;
    let head = restored.head;
    say!(
        "{} is the site {} again: {} files, as version {} kept them.",
        options.site.display(),
        head.site,
        restored.files,
        head.program
    );
    say!(
        "Chain and controllers went on meanwhile: passwords that were changed after the backup are not in it."
    );
    let old = options.site.join(".replaced");
    if old.exists() {
        say!("What was there before lies in {}; remove it when it is not wanted any more.", old.display());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn reset(options: &Reset) -> anyhow::Result<ExitCode> {
    stopped(&options.site)?;
    appliance_backup::erase(&options.site, options.permit.as_deref()).context(
        "with the site go its keys: passwords of controllers that were changed, the operator's key if it is a file, and \
         the authority that its images name; `scalerforge site backup` keeps them",
    )?;
    say!("{} holds no site any more. The next start is a first run.", options.site.display());
    say!(
        "Flash and copies may still hold what was erased; a disk that leaves the house is wiped or destroyed."
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn password(options: &Password) -> anyhow::Result<ExitCode> {
    let password = terminal::password(options.password_file.as_deref(), "`admin` for the page, new")?;
    let hash = admin::Hash::of(&password)?;
    if options.print {
        say!("{}", hash.text().trim());
        return Ok(ExitCode::SUCCESS);
    }
    first_run::set_password(&options.site, &hash)?;
    say!("Set. It holds from the appliance's next start on.");
    Ok(ExitCode::SUCCESS)
}

/// What was typed unseen is typed twice where nobody could open the file otherwise.
fn passphrase(file: Option<&Path>, new: bool) -> anyhow::Result<String> {
    let first = terminal::password(file, "the backup")?;
    if file.is_none() && new && terminal::password(None, "the backup, again")? != first {
        bail!("the two passphrases differ; nothing was written");
    }
    Ok(first)
}

/// Files under a running appliance are not moved.
fn stopped(site: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(site.join("scalerforge.toml")).unwrap_or_default();
    let table: toml::Table = text.parse().unwrap_or_default();
    let listen =
        table.get("operator").and_then(|operator| operator.get("listen")).and_then(toml::Value::as_str);
    let at: Option<SocketAddr> =
        listen.and_then(|text| text.parse().ok()).filter(|at: &SocketAddr| at.port() != 0);
    match at {
        Some(at) if TcpStream::connect_timeout(&at, RUNNING).is_ok() => {
            bail!(
                "an appliance answers at {at}; stop it first, as by `systemctl stop scalerforge`: nothing was changed"
            )
        }
        Some(_) | None => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a backup says when it was made")]
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
