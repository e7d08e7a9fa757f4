//! Developer tasks: everything a clone needs, in one program.
//!
//! `demo` shows the whole way, `test` is all that CI runs, `tidy` is the rest of the law, `judge` reads the fixtures
//! that are not in the repository.  What is missing on the machine is installed (as root) or named (otherwise).

mod arm64;
mod bench;
mod demo;
mod gates;
mod judges;
mod prepare;
mod run;
mod soak;
mod tidy;
mod tools;
mod vulnerabilities;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Scalerforge developer tasks", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build everything, start a virtual rack and an appliance, and enrol every server.
    Demo(demo::Demo),
    /// Every test, the end-to-end ones included: what CI runs.
    Test(gates::Test),
    /// The house rules that the compiler does not check.
    Tidy,
    /// The checks that need other machines' recorded answers ($SCALERFORGE_FIXTURES, default ../shared/fixtures).
    Judge,
    /// Fuzz everything that reads bytes of strangers, for so many CPU-minutes each.
    Soak(soak::Soak),
    /// Our servers beside their peers (Debian packages), in turns in one run; as root.
    Bench(bench::Bench),
    /// Write the API's description to appliance/api/openapi/v1.json.
    Openapi,
    /// What the mirror says of the committed package locks, and whether a build stops for it.
    Vulnerabilities,
    /// Install the tools and build the images that scenarios need.
    Prepare,
}

fn main() -> anyhow::Result<()> {
    let root = root()?;
    match Cli::parse().task {
        Task::Demo(demo) => demo::run(&root, demo),
        Task::Test(test) => gates::test(&root, &test),
        Task::Tidy => gates::tidy(&root),
        Task::Judge => gates::judge(&root),
        Task::Soak(soak) => soak::run_all(&root, &soak),
        Task::Bench(bench) => bench::run(&root, &bench),
        Task::Openapi => gates::openapi(&root, true),
        Task::Vulnerabilities => gates::vulnerabilities(&root),
        Task::Prepare => {
            tools::ensure(&root, tools::Need::Tests)?;
            judges::prepare(&root)?;
            gates::second_chain(&root)?;
            prepare::prepare(&root, true).map(drop)
        }
    }
}

/// The workspace this program was built from.
fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.join("../..").canonicalize()?)
}
