//! The `scalerforge` command: a noun, then a verb.  Reads have `--json`; what stakes money or destroys data demands its
//! own flag.  Rules live in the cores; this file parses, calls, prints.

mod accounts;
mod agreement;
mod appliance;
mod blueprint;
mod bmc;
mod boot;
mod burn_in;
mod carve;
mod chain;
mod client;
mod console;
mod endorsement;
mod erase;
mod evidence;
mod fleet;
mod host;
mod image;
mod ipmi;
mod known;
mod node;
mod probe;
mod said;
mod serve;
mod site;
mod terminal;
mod unit;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Bare-metal provisioning whose result a stranger can check.
#[derive(Debug, Parser)]
#[command(name = "scalerforge", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// Run the appliance of a site directory.
    Serve {
        /// The site directory.
        #[arg(long, default_value = "/var/lib/scalerforge")]
        site: PathBuf,
        /// Standard input is one more listening socket for operators, opened by whoever starts us (inetd's `wait`
        /// style, systemd's `StandardInput=socket`): so the page can be in another network namespace than the LAN.
        #[arg(long)]
        operator_on_stdin: bool,
    },
    /// The screen of the machine itself: addresses, a code to scan, health, the first run.
    Console(console::Options),
    /// The site directory: keys and configuration.
    #[command(subcommand)]
    Site(site::Verb),
    /// The installed appliance's own system: slots, update, the way back.
    #[command(subcommand)]
    Appliance(appliance::Verb),
    /// The boot service: alone or inside the appliance, and why a machine does not boot.
    #[command(subcommand)]
    Boot(boot::Verb),
    /// Servers.
    #[command(subcommand)]
    Host(host::Verb),
    /// One management controller by Redfish: what it is, what will work, and a copy of it for others.
    #[command(subcommand)]
    Bmc(bmc::Verb),
    /// One management controller by IPMI: power, boot source, log, sensors, serial console.
    #[command(subcommand)]
    Ipmi(ipmi::Verb),
    /// Builds that machines are held to, and how one differs.
    #[command(subcommand)]
    Blueprint(blueprint::Blueprint),
    /// Firmware and settings that machines are held to, and how one differs.
    #[command(subcommand)]
    Baseline(blueprint::Baseline),
    /// What a machine goes through before it is believed, and what came of it.
    #[command(subcommand)]
    BurnIn(burn_in::Verb),
    /// What a machine would sell, of which class it is, and which instances it hosts.
    #[command(subcommand)]
    Carve(carve::Verb),
    /// One unit of a node, shown without the others.
    #[command(subcommand)]
    Unit(unit::Verb),
    /// Evidence files.
    #[command(subcommand)]
    Evidence(evidence::Verb),
    /// Nodes of other people's sites, as a HyperNode sees them.
    #[command(subcommand)]
    Node(node::Verb),
    /// Servers registered together.
    #[command(subcommand)]
    Fleet(fleet::Verb),
    /// Certificates of erased drives.
    #[command(subcommand)]
    Erase(erase::Verb),
    /// Whose TPMs are believed.
    #[command(subcommand)]
    Endorsement(endorsement::Verb),
    /// The chain.
    #[command(subcommand)]
    Chain(chain::Verb),
    /// What this machine says it is: hardware, firmware, health, and what could not be read.
    Probe(probe::Options),
    /// Images.
    #[command(subcommand)]
    Image(image::Verb),
    /// Print the description of the operator's API (OpenAPI 3.1, JSON).
    Api,
}

/// Writes a line to standard output.  `println!` would panic when a reader such as `head` has seen enough.
macro_rules! say {
    ($($argument:tt)*) => { $crate::say_line(format_args!($($argument)*)) };
}
pub(crate) use say;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One TLS provider in the whole process, and not the one that needs a C tool chain.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match cli.noun {
        Noun::Serve { site, operator_on_stdin } => serve::run(&site, operator_on_stdin),
        Noun::Console(options) => console::run(options),
        Noun::Site(verb) => site::run(verb),
        Noun::Appliance(verb) => appliance::run(&verb),
        Noun::Boot(verb) => boot::run(verb),
        Noun::Host(verb) => host::run(verb),
        Noun::Bmc(verb) => bmc::run(verb),
        Noun::Ipmi(verb) => ipmi::run(verb),
        Noun::Blueprint(verb) => blueprint::run(verb),
        Noun::Baseline(verb) => blueprint::run_baseline(verb),
        Noun::BurnIn(verb) => burn_in::run(verb),
        Noun::Carve(verb) => carve::run(verb),
        Noun::Unit(verb) => unit::run(verb),
        Noun::Evidence(verb) => evidence::run(verb),
        Noun::Node(verb) => node::run(verb),
        Noun::Fleet(verb) => fleet::run(verb),
        Noun::Erase(verb) => erase::run(verb),
        Noun::Endorsement(verb) => endorsement::run(verb),
        Noun::Chain(verb) => chain::run(verb),
        Noun::Probe(options) => probe::run(&options),
        Noun::Image(verb) => image::run(verb),
        Noun::Api => {
            say!("{}", appliance_server::openapi().trim_end());
            Ok(ExitCode::SUCCESS)
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scalerforge: {}", appliance_server::chain_of(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

fn say_line(line: std::fmt::Arguments<'_>) {
    use std::io::{ErrorKind, Write as _};
    match writeln!(std::io::stdout(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("scalerforge: cannot write to standard output: {error}");
            std::process::exit(2)
        }
    }
}
