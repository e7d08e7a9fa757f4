//! `load`: the load generators by themselves, for a person who tunes a server.

use clap::{Parser, Subcommand};

/// Load for boot servers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// What kind of load.
#[derive(Debug, Subcommand)]
enum Command {}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {}
}
