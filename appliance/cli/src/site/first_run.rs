//! `scalerforge site first-run`: a site from a file of answers.  What is asked and what follows is decided by
//! `appliance/first-run`; console and page show the same.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_first_run::{Answers, Plan, SITE_FILE, plan};
use appliance_server::{admin, first_run, site};
use clap::Args;

use crate::{accounts, say};

/// A file of answers is some hundred bytes.
const FILE_BYTES_MAX: u64 = 1 << 16;

/// Makers of TPMs are some dozen.
const MAKERS_MAX: usize = 256;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The site directory that is made.
    #[arg(default_value = "/var/lib/scalerforge")]
    dir: PathBuf,
    /// The answers.
    #[arg(long, required_unless_present = "page", conflicts_with = "page")]
    file: Option<PathBuf>,
    /// Let them be given in a browser, at this address and port over https, until a site is made.
    #[arg(long)]
    page: Option<SocketAddr>,
    /// Where the page leaves its port and its code for `scalerforge console`.
    #[arg(long, default_value = crate::console::INVITATION)]
    invitation: PathBuf,
    /// Say what would happen, and write nothing.
    #[arg(long, requires = "file")]
    dry_run: bool,
    /// Do not ask on the LANs who gives addresses there.  The boot service then only listens until told otherwise.
    #[arg(long)]
    without_listening: bool,
    /// Where `discovery.efi` and `reference.json` are.
    #[arg(long, default_value = "/usr/lib/scalerforge")]
    images: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    // What a reset that was cut off has left is no site, and not ours to keep.
    appliance_backup::settle(&options.dir)?;
    match (&options.file, options.page) {
        (Some(file), _) => from_file(options, file),
        (None, Some(at)) => by_page(options, at),
        (None, None) => bail!("name a file of answers with --file, or an address with --page"),
    }
}

fn by_page(options: &Options, at: SocketAddr) -> anyhow::Result<ExitCode> {
    crate::serve::start_log();
    if let Some(folder) = options.invitation.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting")?;
    let asked =
        runtime.block_on(first_run::ask(&options.dir, &options.images, at, Some(&options.invitation)));
    // The code is good for nothing any more.
    let _ = std::fs::remove_file(&options.invitation);
    asked?;
    say!("{} is ready.", options.dir.display());
    Ok(ExitCode::SUCCESS)
}

fn from_file(options: &Options, file: &Path) -> anyhow::Result<ExitCode> {
    let Answered { answers, password_file, list_file } = read(file)?;
    let controllers = list_file.as_deref().map(accounts::List::read).transpose()?;
    let facts = first_run::look(&options.dir, &options.images, !options.without_listening);
    let plan = match plan(&answers, &facts) {
        Ok(plan) => plan,
        Err(problems) => {
            for problem in &problems {
                eprintln!("scalerforge: {}: {problem}", file.display());
            }
            return Ok(ExitCode::FAILURE);
        }
    };
    show(&plan);
    if options.dry_run {
        for file in &plan.files {
            say!("\n--- {}\n{}", options.dir.join(&file.path).display(), file.text.trim_end());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (password, made_up) = match password_file {
        Some(file) => (secret(&file)?, false),
        None => (admin::made_up()?, true),
    };
    if options.dir.join(SITE_FILE).exists() {
        bail!(first_run::FirstRunError::Taken { dir: options.dir.clone() });
    }
    makers(file, &options.dir)?;
    if let Some(list) = &controllers {
        // Sealed before the site is there: once it is, the appliance looks for its servers.
        site::init(&options.dir)?;
        list.import(&options.dir)?;
    }
    first_run::write(&options.dir, &plan, &admin::Hash::of(&password)?.text())?;
    say!("\n{} is ready.", options.dir.display());
    if made_up {
        say!("The page's user is `admin`, the password {password}: write it down, it is shown this once.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes along whose TPMs are believed: certificates in a folder `endorsement` beside the answers, if there is one.
/// They are there before the site is.
fn makers(file: &Path, dir: &Path) -> anyhow::Result<()> {
    let Ok(entries) = std::fs::read_dir(file.with_file_name("endorsement")) else { return Ok(()) };
    let to = dir.join("endorsement");
    std::fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in entries.take(MAKERS_MAX) {
        let path = entry.context("cannot list the endorsement certificates")?.path();
        let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|end| end == "pem")) else {
            continue;
        };
        let text = bounded(&path)?;
        let to = to.join(name);
        std::fs::write(&to, text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// What will happen, and what to know beside.
fn show(plan: &Plan) {
    plan.will.iter().for_each(|line| say!("{line}"));
    for notice in &plan.notices {
        say!("! {}: {}", notice.what, notice.next);
    }
    if let Some(page) = &plan.page {
        say!("The page will be at {page}");
    }
}

/// What a file of answers says: the answers, and files that it names, relative to itself.
struct Answered {
    answers: Answers,
    /// The admin's password.
    password_file: Option<PathBuf>,
    /// Controllers and their passwords.
    list_file: Option<PathBuf>,
}

fn read(file: &Path) -> anyhow::Result<Answered> {
    let text = bounded(file)?;
    // What is no TOML the room says, with its line.
    let mut table: toml::Table = text.parse().unwrap_or_default();
    let password_file = named(file, &mut table, ("admin", "password_file"))?;
    let list_file = named(file, &mut table, ("bmc", "list_file"))?;
    let rest = if password_file.is_none() && list_file.is_none() { text } else { table.to_string() };
    let answers = Answers::from_toml(&rest);
    let answers = answers.with_context(|| format!("{} cannot be followed", file.display()))?;
    Ok(Answered { answers, password_file, list_file })
}

/// The file that a section of its own names, taken out of the answers.
fn named(
    file: &Path,
    table: &mut toml::Table,
    (section, key): (&str, &str),
) -> anyhow::Result<Option<PathBuf>> {
    let Some(toml::Value::Table(keys)) = table.remove(section) else { return Ok(None) };
    let mut path = None;
    for (found, value) in keys {
        match value.as_str().filter(|_| found == key) {
            Some(name) => path = Some(file.parent().unwrap_or(Path::new(".")).join(name)),
            None => bail!("{}: {section}.{found} is not asked for; write {section}.{key}", file.display()),
        }
    }
    Ok(path)
}

/// The first line of a file of a secret.
fn secret(file: &Path) -> anyhow::Result<String> {
    let text = bounded(file)?;
    let line = text.lines().next().unwrap_or_default().to_owned();
    Ok(line)
}

fn bounded(file: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let bytes = opened.take(FILE_BYTES_MAX).read_to_string(&mut text);
    let bytes = bytes.with_context(|| format!("cannot read {}", file.display()))?;
    if u64::try_from(bytes).unwrap_or(u64::MAX) >= FILE_BYTES_MAX {
        bail!("{} is longer than any file of answers; name another one", file.display());
    }
    Ok(text)
}
