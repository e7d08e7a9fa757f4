//! `scalerforge site first-run`: a site from a file of answers.  What is asked and what follows is decided by
//! `appliance/first-run`; console and page show the same.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_console::{Level, Line};
use appliance_first_run::{Fault, Plan, SHEET_BYTES_MAX, SITE_FILE, Sheet, plan};
use appliance_server::{admin, first_run, site};
use clap::Args;

use crate::{accounts, said, say};

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
    /// Do nothing where this is there: somebody else's answers count.
    #[arg(long, requires = "file")]
    yield_to: Option<PathBuf>,
    /// Show what came of it on this machine's own screen, too.
    #[arg(long, requires = "file")]
    on_screen: bool,
    /// Where that is left for the screen.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
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

/// From a file, and what came of it on this machine's screen where that is wanted.
fn from_file(options: &Options, file: &Path) -> anyhow::Result<ExitCode> {
    if let Some(other) = options.yield_to.as_ref().filter(|other| other.exists()) {
        say!("{} is there: its answers count, and these are left alone.", other.display());
        return Ok(ExitCode::SUCCESS);
    }
    let done = follow(options, file);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let line = |level, text: String| Line { level, text };
    let lines = match &done {
        Ok(Followed::Made { secrets, made_up }) => {
            let password = made_up.iter().map(|password| {
                let text = format!("the page's user is `admin`, the password {password}: write it down, it stands here until the next start");
                line(Level::Warn, text)
            });
            let said = |secret: &Fault| line(Level::Warn, format!("{name} {secret}"));
            password.chain(secrets.iter().map(said)).collect()
        }
        Ok(Followed::Refused(faults)) => {
            let first = line(Level::Bad, format!("no site was made of {name}; correct it, and start again:"));
            let said = |fault: &Fault| line(Level::Bad, format!("{name} {fault}"));
            [first].into_iter().chain(faults.iter().map(said)).collect()
        }
        Err(error) => {
            let why = appliance_server::chain_of(error.as_ref());
            vec![line(Level::Bad, format!("no site was made of {name}: {why}"))]
        }
    };
    if options.on_screen {
        said::on_screen(&options.said, "first-run", &lines);
    }
    Ok(match done? {
        Followed::Made { .. } => ExitCode::SUCCESS,
        Followed::Refused(_) => ExitCode::FAILURE,
    })
}

/// What came of a file of answers.
enum Followed {
    /// A site, or what would have been one; and what of the file is a secret in clear.
    Made {
        secrets: Vec<Fault>,
        /// The admin's password, where it was made up here.
        made_up: Option<String>,
    },
    /// Answers that cannot be followed here.
    Refused(Vec<Fault>),
}

fn follow(options: &Options, file: &Path) -> anyhow::Result<Followed> {
    let sheet =
        Sheet::read(&bounded(file)?).with_context(|| format!("{} cannot be followed", file.display()))?;
    let beside = |name: &String| file.parent().unwrap_or(Path::new(".")).join(name);
    let controllers = sheet.list_file.as_ref().map(|list| accounts::List::read(&beside(list))).transpose()?;
    let facts = first_run::look(&options.dir, &options.images, !options.without_listening);
    let plan = match plan(&sheet.answers, &facts) {
        Ok(plan) => plan,
        Err(problems) => {
            let faults: Vec<Fault> = problems.iter().map(|problem| sheet.placed(problem)).collect();
            for fault in &faults {
                eprintln!("scalerforge: {}: {fault}", file.display());
            }
            return Ok(Followed::Refused(faults));
        }
    };
    show(&plan);
    if options.dry_run {
        for file in &plan.files {
            say!("\n--- {}\n{}", options.dir.join(&file.path).display(), file.text.trim_end());
        }
        return Ok(Followed::Made { secrets: Vec::new(), made_up: None });
    }
    let (hash, made_up) = password(&sheet, &beside)?;
    if options.dir.join(SITE_FILE).exists() {
        bail!(first_run::FirstRunError::Taken { dir: options.dir.clone() });
    }
    makers(file, &options.dir)?;
    if let Some(list) = &controllers {
        // Sealed before the site is there: once it is, the appliance looks for its servers.
        site::init(&options.dir)?;
        list.import(&options.dir)?;
    }
    first_run::write(&options.dir, &plan, &hash.text())?;
    say!("\n{} is ready.", options.dir.display());
    if let Some(password) = &made_up {
        say!("The page's user is `admin`, the password {password}: write it down, it is shown this once.");
    }
    let secrets = sheet.secrets();
    for secret in &secrets {
        say!("! {}: {secret}", file.display());
    }
    Ok(Followed::Made { secrets, made_up })
}

/// The hash of the admin's password; and the password, where it was made up here.
fn password(
    sheet: &Sheet,
    beside: &dyn Fn(&String) -> PathBuf,
) -> anyhow::Result<(admin::Hash, Option<String>)> {
    if let Some(hash) = &sheet.password_hash {
        let why = "is no hash of a password of ours; `scalerforge site password --print` makes one";
        let hash =
            admin::Hash::of_text(hash).ok_or_else(|| sheet.fault("admin.password_hash", why.into()))?;
        return Ok((hash, None));
    }
    match &sheet.password_file {
        Some(name) => Ok((admin::Hash::of(&secret(&beside(name))?)?, None)),
        None => {
            let password = admin::made_up()?;
            Ok((admin::Hash::of(&password)?, Some(password)))
        }
    }
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
        lasting(&to, &text).with_context(|| format!("cannot write {}", to.display()))?;
    }
    // Names last, too.
    let names = std::fs::File::open(&to).and_then(|folder| folder.sync_all());
    names.with_context(|| format!("cannot write {}", to.display()))
}

/// Writes a file that a power cut leaves whole once the site is there: an empty one would keep the appliance from
/// starting.
fn lasting(to: &Path, text: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(to)?;
    file.write_all(text)?;
    file.sync_all()
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

/// The first line of a file of a secret.
fn secret(file: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(bounded(file)?).with_context(|| format!("{} is no text", file.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A file's bytes, as many as any file of answers has, and one more.
fn bounded(file: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let most = u64::try_from(SHEET_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    opened.take(most).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", file.display()))?;
    if bytes.len() > SHEET_BYTES_MAX {
        bail!("{} is longer than any file of answers; name another one", file.display());
    }
    Ok(bytes)
}
