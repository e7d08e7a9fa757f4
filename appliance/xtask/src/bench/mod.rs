//! `cargo xtask bench`: our servers and their peers, taken in turns in one run, compared by ratios.
//!
//! A machine that does other work too changes its speed by the minute; a ratio of two medians taken in turns hardly
//! moves.  Peers are Debian packages in network namespaces joined by a virtual cable, the server on core 0.

mod agent;
mod api;
mod boot;
mod carve;
mod dhcp;
mod http;
mod lan;
mod memory;
mod pairs;
mod process;
mod redfish;
mod storage;
mod table;
mod tftp;

use std::path::Path;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::tools;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Leases behind a relay, a storm, and proxy offers, beside dnsmasq and Kea.
    Dhcp(How),
    /// An image for 1, 50 and 200 clients, TLS, fleets at once, beside nginx; and our API meanwhile.
    Http(How),
    /// One client over a distance, and many at once, beside atftpd, dnsmasq and tftpd-hpa.
    Tftp(How),
    /// A sweep of many simulated BMCs, beside sushy and gofish; and of a fleet of which some are dead.
    Redfish(redfish::Fleet),
    /// The burn-in's storage engine beside fio.
    Storage(storage::Drive),
    /// The burn-in's memory walk beside STREAM's triad.
    Memory(memory::Walk),
    /// The agent with nothing to do.
    Agent(agent::Idle),
    /// Carving the largest machine.
    Carve(carve::Rounds),
    /// The discovery image beside a bare kernel, from power-on to the first line.
    Boot(boot::Starts),
}

/// How long, and for whom.
#[derive(Debug, Args)]
pub(super) struct How {
    /// Times that each case is run with each server.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Every sample as JSON, one line each, instead of a table.
    #[arg(long)]
    json: bool,
    /// Only cases (for DHCP: servers) whose name contains this.
    #[arg(long)]
    case: Option<String>,
}

pub(crate) fn run(root: &Path, bench: &Bench) -> anyhow::Result<()> {
    // BMCs stand on the loopback, above port 1,024; memory and files are everybody's.
    let everybodys = matches!(
        bench.what,
        What::Redfish(_) | What::Memory(_) | What::Storage(_) | What::Agent(_) | What::Carve(_)
    );
    if !everybodys && !tools::is_root()? {
        bail!("servers stand in network namespaces with ports below 1,024: run this as root");
    }
    match &bench.what {
        What::Dhcp(how) => dhcp::run(root, how),
        What::Http(how) => http::run(root, how),
        What::Tftp(how) => tftp::run(root, how),
        What::Redfish(how) => redfish::run(root, how),
        What::Storage(how) => storage::run(root, how),
        What::Memory(how) => memory::run(root, how),
        What::Agent(how) => agent::run(root, how),
        What::Carve(how) => carve::run(root, how),
        What::Boot(how) => boot::run(root, how),
    }
}

/// Least, middle and greatest of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one sample.
    pub(super) fn of(samples: impl Iterator<Item = f64>) -> Option<Self> {
        let mut all: Vec<f64> = samples.collect();
        all.sort_by(f64::total_cmp);
        Some(Self { min: *all.first()?, median: *all.get(all.len() / 2)?, max: *all.last()? })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Three figures, whatever the size.
        let digits = |value: f64| usize::from(value.abs() < 100.0) + usize::from(value.abs() < 10.0);
        let show = |value: f64| format!("{value:.*}", digits(value));
        write!(f, "{} [{}, {}]", show(self.median), show(self.min), show(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let spread = Spread::of([3.0, 1.0, 200.0].into_iter()).unwrap();
        assert_eq!(spread.to_string(), "3.00 [1.00, 200]");
        assert_eq!(Spread::of(std::iter::empty()), None);
    }
}
