//! `load`: the load generators by themselves, for a person who tunes a server and for `cargo xtask bench`.
//!
//! Prints one line of JSON.

use clap::{Parser, Subcommand};

/// Load for boot servers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What kind of load.
#[derive(Debug, Subcommand)]
enum Command {
    /// Ask for addresses, as many machines behind a relay.
    Dhcp(hil_tests_load::dhcp::Plan),
    /// Fetch a file by HTTP or HTTPS, with many clients.
    Http(hil_tests_load::http::Plan),
    /// Fetch a file by TFTP, with many clients.
    Tftp(hil_tests_load::tftp::Plan),
}

fn main() -> anyhow::Result<()> {
    let outcome = match Arguments::parse().command {
        Command::Dhcp(plan) => serde_json::to_string(&hil_tests_load::dhcp::run(&plan)?)?,
        Command::Http(plan) => serde_json::to_string(&hil_tests_load::http::run(&plan)?)?,
        Command::Tftp(plan) => serde_json::to_string(&hil_tests_load::tftp::run(&plan)?)?,
    };
    println!("{outcome}");
    Ok(())
}
