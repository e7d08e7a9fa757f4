//! What must hold before a change lands: format, house rules, lints, licences, artefacts, tests.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;
use image_build::Architecture;

use crate::{
    arm64, judges, prepare,
    run::{as_from_a_shell, cargo, output, run},
    tidy, tools, vulnerabilities,
};

/// Which tests.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Only the scenarios whose name contains this.
    #[arg(long)]
    scenario: Option<String>,
    /// Leave the scenarios out: seconds instead of minutes.  CI never does.
    #[arg(long)]
    quick: bool,
}

/// Runs everything.
pub(crate) fn test(root: &Path, test: &Test) -> anyhow::Result<()> {
    let mut times = Vec::new();
    let mut lacking = Vec::new();
    let mut gate = |name: &'static str, work: &mut dyn FnMut() -> anyhow::Result<()>| {
        eprintln!("\n== {name}");
        let begun = now();
        work().with_context(|| format!("gate `{name}`"))?;
        times.push((name, begun.elapsed()));
        anyhow::Ok(())
    };
    if test.scenario.is_none() {
        gate("tools", &mut || {
            tools::ensure(root, tools::Need::Tests)?;
            judges::prepare(root)?;
            second_chain(root)
        })?;
        gate("format", &mut || run(cargo(root).args(["fmt", "--all", "--check"])))?;
        gate("tidy", &mut || tidy(root))?;
        gate("licences", &mut || licences(root))?;
        gate("lints", &mut || lints(root))?;
        gate("contracts", &mut || contracts(root))?;
    }
    if test.quick {
        gate("tests", &mut || {
            // The host's system is made of what the gate `images` builds.
            let rest = "not package(hil-tests-scenarios) and not binary(hil_host)";
            nextest(root, None, &["--workspace", "-E", rest])
        })?;
    } else {
        let mut list = None;
        gate("images", &mut || {
            list = Some(prepare::prepare(root, true)?.1);
            Ok(())
        })?;
        if test.scenario.is_none() {
            gate("vulnerabilities", &mut || {
                lacking = vulnerabilities::known(root)?;
                Ok(())
            })?;
            gate("api", &mut || openapi(root, false))?;
            gate("second verifier", &mut || second_verifier(root))?;
            gate("pages", &mut || pages(root))?;
            gate("tests", &mut || {
                nextest(root, list.as_deref(), &["--workspace", "-E", "not package(hil-tests-scenarios)"])
            })?;
        }
        let filter: Vec<&str> = test.scenario.as_deref().into_iter().collect();
        let arguments = [&["--workspace", "-E", "package(hil-tests-scenarios)"], filter.as_slice()].concat();
        gate("scenarios", &mut || nextest(root, list.as_deref(), &arguments))?;
    }
    if !test.quick && prepare::newer_lock(&root.join(".xtask"), Architecture::Amd64).exists() {
        let file = prepare::lock_file(Architecture::Amd64);
        eprintln!("\nthe package lock has aged: copy .xtask/packages.json to {file}");
    }
    if !lacking.is_empty() {
        eprintln!("\n{}", lacking.join("\n"));
    }
    eprintln!();
    for (name, time) in &times {
        eprintln!("{:>6.0} s  {name}", time.as_secs_f64());
    }
    eprintln!("{:>6.0} s  in all", times.iter().map(|(_, time)| *time).sum::<Duration>().as_secs_f64());
    Ok(())
}

/// Clippy on everything.  Where it already stands in the compiler's place, as in CI, each build is linted while it is
/// made, and going over all crates a second time would take minutes.
fn lints(root: &Path) -> anyhow::Result<()> {
    let strict = ["--", "-D", "warnings"];
    // What users get by default is linted, too: only the boot service differs.
    let plain = ["clippy", "--quiet", "--all-targets", "-p", "pxe-http", "-p", "pxe-server"];
    if !builds_are_linted() {
        let lint = ["clippy", "--quiet", "--workspace", "--all-targets"];
        run(cargo(root).args(lint).args(prepare::TESTED).args(strict))?;
    }
    run(cargo(root).args(plain).args(strict))
}

/// Whether cargo was told to let Clippy compile the workspace, and to end at its first warning.
fn builds_are_linted() -> bool {
    let is = |name: &str, what: &str| std::env::var(name).is_ok_and(|value| value.contains(what));
    is("RUSTC_WORKSPACE_WRAPPER", "clippy-driver") && is("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings")
}

/// House rules.
pub(crate) fn tidy(root: &Path) -> anyhow::Result<()> {
    let findings = tidy::run(root)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    Ok(())
}

/// The checks that read the fixtures.
pub(crate) fn judge(root: &Path) -> anyhow::Result<()> {
    let fixtures = std::env::var_os("SCALERFORGE_FIXTURES")
        .map_or_else(|| root.join("../shared/fixtures"), std::path::PathBuf::from);
    if !fixtures.is_dir() {
        bail!("no fixtures at {}; set SCALERFORGE_FIXTURES to the folder that has them", fixtures.display());
    }
    need_nextest(root)?;
    run(cargo(root).env("SCALERFORGE_FIXTURES", fixtures.canonicalize()?).args([
        "nextest",
        "run",
        "--workspace",
        prepare::TESTED[0],
        prepare::TESTED[1],
        "--run-ignored",
        "only",
        "-E",
        "test(/judge_/)",
    ]))
}

/// What the mirror says of the committed locks, by the program as the tests build it.
pub(crate) fn vulnerabilities(root: &Path) -> anyhow::Result<()> {
    let build = ["build", "--quiet", "--workspace", "--bin", "scalerforge"];
    run(cargo(root).args(build).args(prepare::TESTED))?;
    vulnerabilities::known(root).map(drop)
}

/// The API's description, written or compared.
pub(crate) fn openapi(root: &Path, write: bool) -> anyhow::Result<()> {
    let file = root.join("appliance/api/openapi/v1.json");
    if write {
        run(cargo(root).args(["build", "--quiet", "-p", "appliance-cli"]))?;
    }
    let made = output(Command::new(prepare::target(root).join("debug/scalerforge")).arg("api"))?;
    if write {
        std::fs::create_dir_all(root.join("appliance/api/openapi"))?;
        return std::fs::write(&file, made).with_context(|| format!("writing {}", file.display()));
    }
    if std::fs::read_to_string(&file).unwrap_or_default() != made {
        bail!(
            "{} is not what the server serves; run `cargo xtask openapi` and read the difference",
            file.display()
        );
    }
    Ok(())
}

/// Another development chain and a test runner for Solidity, which tests look for.
pub(crate) fn second_chain(root: &Path) -> anyhow::Result<()> {
    run(&mut npm(&root.join("appliance/chain/second"), NPM_CI))
}

/// The committed contract artefacts are what the sources compile to, and pass their tests in Solidity.
fn contracts(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("appliance/chain/contracts");
    run(&mut npm(&folder, NPM_CI))?;
    run(Command::new("node").current_dir(&folder).args(["compile.js", "check"]))?;
    // Failing inputs of a run before are not what this run is about.
    let _ = std::fs::remove_dir_all(root.join(".xtask/forge/failures"));
    let forge = root.join("appliance/chain/second/node_modules/@foundry-rs/forge-linux-amd64/bin/forge");
    run(Command::new(forge).current_dir(&folder).args(["test", "--deny", "warnings"]))
}

/// The second verifier: the same files, the same answers as the first one, in Node and in a browser.
fn second_verifier(root: &Path) -> anyhow::Result<()> {
    let folder = root.join("attest/verify-web");
    run(&mut npm(&folder, NPM_CI))?;
    let built = prepare::target(root).join("debug");
    let second = built.join("examples/second");
    run(npm(&folder, &["test"])
        .env("SCALERFORGE_BIN", built.join("scalerforge"))
        .env("ATTEST_SECOND", &second))?;
    // A short campaign of altered files; the long one is `npm run differential`.
    run(npm(&folder, &["run", "differential", "--", DIFFERENTIAL_CASES, DIFFERENTIAL_SEED])
        .env("ATTEST_SECOND", second))?;
    run(&mut npm(&folder, &["run", "test:browser"]))
}

/// The burn-in's pages in a browser, before views that the core made of result streams.
fn pages(root: &Path) -> anyhow::Result<()> {
    let looks = prepare::target(root).join("debug/examples/looks");
    let test = root.join("appliance/ui/test/pages.test.mjs");
    run(Command::new("node").arg("--test").arg(test).env("SCALERFORGE_LOOKS", looks))
}

/// Some fifteen seconds of altered files, the same in each run.
const DIFFERENTIAL_CASES: &str = "1500";
const DIFFERENTIAL_SEED: &str = "3";

/// What the lock file says, and nobody's install scripts.
const NPM_CI: &[&str] = &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];

fn npm(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder).args(arguments);
    command
}

fn licences(root: &Path) -> anyhow::Result<()> {
    if !tools::present_cargo("cargo-deny") {
        // Unoptimised: it runs for a second, and building it is what takes time.
        run(cargo(root).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").args([
            "install",
            "--quiet",
            "--locked",
            "cargo-deny",
        ]))?;
    }
    // cargo-deny reads the manifests of all platforms' crates, and a build fetches only those of this one.
    run(cargo(root).args(["fetch", "--quiet", "--locked"]))?;
    run(cargo(root).args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
}

/// Runs tests; with a list of artefacts, those that need images too.
pub(crate) fn nextest(root: &Path, artefacts: Option<&Path>, arguments: &[&str]) -> anyhow::Result<()> {
    need_nextest(root)?;
    // Labs make network namespaces: as root of the machine, or as root of a user namespace of our own.
    let mut command = if tools::is_root()? {
        cargo(root)
    } else {
        let cargo = cargo(root);
        let mut command = Command::new("unshare");
        command.current_dir(root).args(["--user", "--map-root-user", "--"]).arg(cargo.get_program());
        as_from_a_shell(&mut command);
        command
    };
    if let Some(list) = artefacts {
        let (name, value) = hil_tests_scenarios::Artefacts::variable(list);
        command.env(name, value);
        command.env("SCALERFORGE_CACHE", root.join(".xtask/cache"));
        let newer = prepare::newer_lock(&root.join(".xtask"), Architecture::Amd64);
        if newer.exists() {
            command.env("SCALERFORGE_LOCK", newer);
        }
        command.env("SCALERFORGE_ARM64", arm64::folder(root));
    }
    run(command.args(["nextest", "run"]).args(prepare::TESTED).args(arguments))
}

fn need_nextest(root: &Path) -> anyhow::Result<()> {
    if tools::present_cargo("cargo-nextest") {
        return Ok(());
    }
    // Unoptimised, like cargo-deny: building it is what takes time.
    run(cargo(root).env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").args([
        "install",
        "--quiet",
        "--locked",
        "cargo-nextest",
    ]))
}

#[expect(clippy::disallowed_methods, reason = "a task that says how long it took")]
fn now() -> Instant {
    Instant::now()
}
