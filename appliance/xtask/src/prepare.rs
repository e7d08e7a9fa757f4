//! Builds what scenarios and demo run: the program, the agent, a site authority, the image that carries it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use hil_tests_scenarios::{Artefacts, BootFiles};
use image_build::{Architecture, Lock, Origin, Programs, lock::Set, packages};

use crate::run::{cargo, run};

/// What the agent prints first; one byte of it is altered for the image that must be refused.
const MARK: &[u8] = b"scalerforge agent";

/// An agent larger than this is not the small thing that it has to be.
/// 5 MiB held it until it got an account of its own: elliptic curve and hash of the chain are code of their own.
pub(crate) const AGENT_BYTES_MAX: u64 = 6 << 20;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What tests are built with beyond the default, all of them alike: cargo would put another program in the place of
/// the one that scenarios run.
pub(crate) const TESTED: [&str; 2] = ["--features", "appliance-cli/https-boot"];

/// The bar for the discovery image.
const UKI_BYTES_MAX: u64 = 32 << 20;

/// Builds all; answers where the list of it is.  `altered` also builds the image that must be refused.
pub(crate) fn prepare(root: &Path, altered: bool) -> anyhow::Result<(Artefacts, PathBuf)> {
    let folder = root.join(".xtask");
    // For the tests everything is built at once, tests too, so that dependencies are built with one set of features, once.
    let what: &[&str] = if altered { &["--workspace", "--all-targets"] } else { &["-p", "appliance-cli"] };
    let features: &[&str] = if altered { &TESTED } else { &[] };
    run(cargo(root).args(["build", "--quiet"]).args(what).args(features))?;
    let scalerforge = target(root).join("debug/scalerforge");
    let agent = agent(root)?;
    if altered {
        start(root)?;
    }
    let site = folder.join("site");
    run(Command::new(&scalerforge).args(["site", "init"]).arg(&site))?;
    let mut say = |line: &str| eprintln!("  {line}");
    let cache = folder.join("cache");
    let ca = site.join("ca.pem");
    let base = folder.join("image-base");
    // Scenarios build systems in networks of their own, from where no mirror is reached.
    let rest: &[Set] = if altered { &[Set::Host, Set::Appliance, Set::Tools] } else { &[] };
    let lock = packages(&folder, &cache, Architecture::Amd64, rest, &mut say)?;
    let origin = Origin { cache: &cache, lock: &lock, snapshot: None };
    let built = image_build::discovery(origin, Programs { agent: &agent, zboot: None }, &base, &mut say)?;
    ensure!(built.uki_bytes <= UKI_BYTES_MAX, "the discovery image has {} bytes", built.uki_bytes);
    let image = sealed(&built, &ca, folder.join("image"))?;
    let altered_image = folder.join("image-altered");
    if altered {
        let wrong = alter(&folder, &agent)?;
        let wrong = Programs { agent: &wrong, zboot: None };
        let wrong = image_build::discovery(origin, wrong, &folder.join("image-altered-base"), &mut say)?;
        sealed(&wrong, &ca, altered_image.clone())?;
    }
    let artefacts = Artefacts {
        scalerforge,
        site,
        image: image.clone(),
        altered_image,
        ovmf_code: built.packages.ovmf_code(),
        ovmf_vars: built.packages.ovmf_vars(),
        boot: boot_files(&built, &image),
        base,
        cache,
        lock: folder.join("lock.json"),
        programs: agent.parent().context("the agent lies nowhere")?.to_owned(),
        scratch: folder.join("labs"),
    };
    std::fs::write(&artefacts.lock, lock.to_text()?)?;
    std::fs::create_dir_all(&artefacts.scratch)?;
    let list = folder.join("artefacts.json");
    artefacts.write(&list)?;
    Ok((artefacts, list))
}

/// The image as the appliance of this site would make it at its start.
fn sealed(base: &image_build::Discovery, ca: &Path, out: PathBuf) -> anyhow::Result<PathBuf> {
    let (uki, ca_pem) = (std::fs::read(&base.uki)?, std::fs::read(ca)?);
    let site = image_seal::Site { ca_pem: &ca_pem, appliance: None };
    let programs = std::fs::read(&base.programs)?;
    let order = image_build::sealing::Order {
        base: &uki,
        site,
        policy: None,
        signer: None,
        programs: Some(&programs),
    };
    image_build::sealing::seal_into(&order, &out)?;
    Ok(out)
}

/// The packages that the images are made of: those of the committed lock, as long as the mirror has them.
///
/// Debian drops what it has replaced, so a lock ages without anybody changing this tree.  Then, and only here, today's
/// packages are taken: what changes is printed, and the new lock lies in `.xtask` to be committed.  `scalerforge image
/// build` never does this.
///
/// `rest` are sets that are only fetched, for systems that are built later.
pub(crate) fn packages(
    folder: &Path,
    cache: &Path,
    architecture: Architecture,
    rest: &[Set],
    say: &mut dyn FnMut(&str),
) -> anyhow::Result<Lock> {
    let committed = Lock::committed(architecture)?;
    let newer = newer_lock(folder, architecture);
    // Only what this very run found stands for today.
    if newer.exists() {
        std::fs::remove_file(&newer)?;
    }
    let all = |lock: &Lock, say: &mut dyn FnMut(&str)| {
        let origin = Origin { cache, lock, snapshot: None };
        packages::fetch(origin, say)?;
        packages::files(origin, rest, say).map(drop)
    };
    match all(&committed, say) {
        Err(packages::Error::Gone { name, version, .. }) => {
            eprintln!(
                "\n  NOT THE COMMITTED PACKAGES: no mirror has {name} {version} any more.  Today's are:"
            );
            let today = image_build::relock(cache, architecture, say)?;
            for line in committed.changes(&today) {
                eprintln!("  {line}");
            }
            std::fs::write(&newer, today.to_text()?)?;
            eprintln!("  commit {} as {}\n", newer.display(), lock_file(architecture));
            all(&today, say)?;
            Ok(today)
        }
        other => other.map(|()| committed).map_err(Into::into),
    }
}

/// Where the lock lives in the tree.
pub(crate) fn lock_file(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Amd64 => "image/build/data/packages.json",
        Architecture::Arm64 => "image/build/data/packages-arm64.json",
    }
}

/// Where a run leaves the lock of today, if the committed one has aged.
pub(crate) fn newer_lock(folder: &Path, architecture: Architecture) -> PathBuf {
    match architecture {
        Architecture::Amd64 => folder.join("packages.json"),
        other => folder.join(format!("packages-{other}.json")),
    }
}

fn boot_files(built: &image_build::Discovery, image: &Path) -> BootFiles {
    let packages = &built.packages;
    BootFiles {
        kernel: image.join("vmlinuz"),
        initrd: image.join("initrd"),
        command_line: image_build::uki::COMMAND_LINE.to_owned(),
        ipxe_uefi: packages.ipxe_uefi(),
        ipxe_bios: packages.ipxe_bios(),
        shim: packages.shim(),
        grub: packages.grub(),
        ovmf_code_secure_boot: packages.ovmf_code_secure_boot(),
        ovmf_vars_microsoft: packages.ovmf_vars_microsoft(),
    }
}

/// The agent, static, small.
pub(crate) fn agent(root: &Path) -> anyhow::Result<PathBuf> {
    run(&mut host_program(root, "image-agent"))?;
    let agent = target(root).join(TARGET).join("agent/agent");
    let size = std::fs::metadata(&agent).with_context(|| format!("finding {}", agent.display()))?.len();
    ensure!(size <= AGENT_BYTES_MAX, "the agent has {size} bytes, more than {AGENT_BYTES_MAX}");
    Ok(agent)
}

/// The first program of an installed host, static.
fn start(root: &Path) -> anyhow::Result<()> {
    run(&mut host_program(root, "image-start"))
}

/// Builds what runs on hosts: by the compiler alone, because Clippy in its place leaves optimisations out.
fn host_program(root: &Path, package: &str) -> Command {
    let mut command = cargo(root);
    command
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        // With `--target`, these flags are the program's alone: build scripts stay dynamic.
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["build", "--quiet", "--profile", "agent", "-p", package, "--target", TARGET]);
    command
}

fn alter(folder: &Path, agent: &Path) -> anyhow::Result<PathBuf> {
    let mut bytes = std::fs::read(agent)?;
    let at =
        bytes.windows(MARK.len()).position(|window| window == MARK).context("the agent has no name in it")?;
    bytes[at] = bytes[at].to_ascii_uppercase();
    let altered = folder.join("agent-altered");
    std::fs::write(&altered, bytes)?;
    Ok(altered)
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}
