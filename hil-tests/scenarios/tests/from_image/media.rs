//! What is plugged into the appliance's machine: its image, and the stick with the answers of the first run.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use hil_tests_rack::{Rack, netns};
use hil_tests_scenarios::Artefacts;
use image_build::{
    Lock, Origin, appliance, diff,
    installed::{self, Order},
    release::Edition,
};
use image_seal::{Key, Policy};

/// A stick of this size has room for answers, makers' certificates and a list of controllers.
const STICK_MIB: u32 = 4;
/// One of this size has room for a release.
const RELEASE_MIB: u32 = 512;

/// One of the hosts' static programs.
fn program(artefacts: &Artefacts, name: &str) -> PathBuf {
    artefacts.programs.join(name)
}

/// The packages that the cache has.
fn lock(artefacts: &Artefacts) -> anyhow::Result<Lock> {
    Ok(Lock::parse(&std::fs::read_to_string(&artefacts.lock)?)?)
}

/// Builds the appliance of what the artefacts have, without the symbols of a program that is built for tests; once for
/// the same parts.
pub(crate) fn image(artefacts: &Artefacts) -> anyhow::Result<PathBuf> {
    let folder = artefacts.scratch.join("appliance");
    let (host, out) = (folder.join("host"), folder.join("image"));
    let base = artefacts.base.join("discovery.efi");
    if newer(
        &out.join("release.json"),
        &[&artefacts.scalerforge, &program(artefacts, "agent"), &program(artefacts, "start"), &base],
    ) {
        return Ok(out);
    }
    for made in [&host, &out] {
        std::fs::create_dir_all(made)?;
    }
    let scalerforge = folder.join("scalerforge");
    run(Command::new("strip").arg("-o").args([&scalerforge, &artefacts.scalerforge]))?;
    let lock = lock(artefacts)?;
    let origin = Origin { cache: &artefacts.cache, lock: &lock, snapshot: None };
    let (agent, start) = (program(artefacts, "agent"), program(artefacts, "start"));
    let order = Order { agent: &agent, start: &start, edition: Edition::own(), out: &host };
    installed::installed(origin, &order, &mut |step| println!("host: {step}"))?;
    build(origin, artefacts, Edition::own(), (&scalerforge, &start), (&host, &out))?;
    Ok(out)
}

/// Version of [`next`].
pub(crate) fn next_version() -> String {
    format!("{}.1", Edition::own().version)
}

/// The same maker's next release: the same parts under a version of its own.
pub(crate) fn next(artefacts: &Artefacts) -> anyhow::Result<PathBuf> {
    let folder = artefacts.scratch.join("appliance");
    let out = folder.join("next");
    std::fs::create_dir_all(&out)?;
    let lock = lock(artefacts)?;
    let origin = Origin { cache: &artefacts.cache, lock: &lock, snapshot: None };
    let programs = (folder.join("scalerforge"), program(artefacts, "start"));
    let version = next_version();
    let edition = Edition { version: &version, ..Edition::own() };
    build(origin, artefacts, edition, (&programs.0, &programs.1), (&folder.join("host"), &out))?;
    Ok(out)
}

/// The maker's key, the same for all releases of one folder.
fn maker(artefacts: &Artefacts) -> anyhow::Result<Key> {
    let path = artefacts.scratch.join("appliance/maker.pem");
    if !path.exists() {
        run(Command::new("openssl")
            .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
            .arg(&path))?;
    }
    Ok(Key::from_pem(&std::fs::read_to_string(path)?)?)
}

/// Whether what was made is there, and younger than all that it is made of; this test is, too.
fn newer(made: &Path, parts: &[&Path]) -> bool {
    let at = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let Some(made) = at(made) else { return false };
    let own = std::env::current_exe().ok();
    parts.iter().copied().chain(own.as_deref()).all(|part| at(part).is_some_and(|part| part < made))
}

/// Builds it once more, in another folder, and compares all that came of it.
pub(crate) fn same_again(artefacts: &Artefacts) -> anyhow::Result<()> {
    let folder = artefacts.scratch.join("appliance");
    let again = folder.join("somewhere/else");
    std::fs::create_dir_all(&again)?;
    let lock = lock(artefacts)?;
    let origin = Origin { cache: &artefacts.cache, lock: &lock, snapshot: None };
    let programs = (folder.join("scalerforge"), program(artefacts, "start"));
    let programs = (programs.0.as_path(), programs.1.as_path());
    build(origin, artefacts, Edition::own(), programs, (&folder.join("host"), &again))?;
    let differences = diff::diff(&folder.join("image"), &again)?;
    ensure!(differences.is_empty(), "two builds differ: {differences:?}");
    std::fs::remove_dir_all(&again)?;
    Ok(())
}

/// A copy of a disk image for a machine to write to; a raw one lies on a larger drive, as it would.
pub(crate) fn drive(image: &Path, dir: &Path, more_bytes: u64) -> anyhow::Result<PathBuf> {
    let to = dir.join(image.file_name().context("no file")?);
    run(Command::new("cp").arg("--sparse=always").args([image, &to]))?;
    let file = std::fs::OpenOptions::new().write(true).open(&to)?;
    file.set_len(file.metadata()?.len() + more_bytes)?;
    Ok(to)
}

fn build(
    origin: Origin<'_>,
    artefacts: &Artefacts,
    edition: Edition<'_>,
    (scalerforge, start): (&Path, &Path),
    (host, out): (&Path, &Path),
) -> anyhow::Result<()> {
    let key = maker(artefacts)?;
    let order = appliance::Order {
        scalerforge,
        start,
        discovery: &artefacts.base,
        host,
        policy: Some(Policy { key: &key }),
        edition,
        out,
    };
    let made = appliance::appliance(origin, &order, &mut |step| println!("appliance: {step}"))?;
    println!("appliance: root {} MiB, UKI {} MiB", made.root_bytes >> 20, made.uki_bytes >> 20);
    Ok(())
}

/// A volume with answers, the password, whose TPMs are believed, and the BMCs with their passwords.
pub(crate) fn stick(dir: &Path, rack: &Rack, password: &str) -> anyhow::Result<PathBuf> {
    let from = dir.join("first-run");
    std::fs::create_dir_all(from.join("endorsement"))?;
    std::fs::write(from.join("endorsement/rack.pem"), rack.ek_roots_pem()? + &rack.ek_intermediates_pem()?)?;
    std::fs::write(from.join("password"), format!("{password}\n"))?;
    let mut list = "serial,password,address,user\n".to_owned();
    for host in rack.hosts() {
        let (serial, secret) = (&host.spec().serial, host.bmc_password());
        list += &format!("{serial},{secret},{},{}\n", host.bmc_url(), host.bmc_user());
    }
    std::fs::write(from.join("bmc.csv"), list)?;
    let office = netns::OFFICE;
    let answers = format!(
        r#"[site]
name = "from-image"
region = "eu-west"
class = "lab"

[lan]
interface = "enp0s16"
address = "10.77.0.1/24"
mode = "full"
pool = "10.77.0.100-10.77.0.199"

[uplink]
interface = "enp0s17"
address = "10.76.0.2/24"
router = "{office}"

[burn_in]
profile = "demo"

[admin]
password_file = "password"

[bmc]
list_file = "bmc.csv"
"#
    );
    std::fs::write(from.join("first-run.toml"), answers)?;
    let all = ["first-run.toml", "password", "bmc.csv", "endorsement"].map(|name| from.join(name));
    let volume = dir.join("stick.img");
    labelled(&volume, "SCALERFIRST", STICK_MIB, &all)?;
    Ok(volume)
}

/// A stick that an appliance takes an update, or a reset, from.
pub(crate) fn next_stick(volume: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    labelled(volume, "SCALERNEXT", RELEASE_MIB, files)
}

/// Puts a file with these words into a stick's first folder.
pub(crate) fn put(volume: &Path, name: &str, words: &str) -> anyhow::Result<()> {
    let file = volume.with_extension(name);
    std::fs::write(&file, format!("{words}\n"))?;
    run(Command::new("mcopy").arg("-o").arg("-i").arg(volume).arg(&file).arg(format!("::/{name}")))
}

fn labelled(volume: &Path, label: &str, mebibytes: u32, files: &[PathBuf]) -> anyhow::Result<()> {
    run(Command::new("truncate").args(["--size", &format!("{mebibytes}M")]).arg(volume))?;
    run(Command::new("mformat").args(["-v", label, "-i"]).arg(volume).arg("::"))?;
    if files.is_empty() {
        return Ok(());
    }
    run(Command::new("mcopy").arg("-s").arg("-i").arg(volume).args(files).arg("::/"))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let done = command.output().with_context(|| format!("{command:?}: is it installed?"))?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
