//! `scalerforge boot`: the boot service, alone or inside the appliance, and why a machine does not boot.

mod port;
mod serve;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_api::boot::{
    BootCountersView, BootFindingView, BootInterfaceView, BootLeaseView, BootLineView, BootMachineView,
    BootWhyView,
};
use appliance_model::Mac;
use clap::{Args, Subcommand};

use crate::{client::Appliance, host::print, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the boot service alone: DHCP, TFTP and HTTP, without TPM, chain or store.
    Serve(serve::Flags),
    /// Write an example configuration for `boot serve`.  Nothing is overwritten.
    Init {
        /// The file to write.
        file: PathBuf,
    },
    /// Machines seen on the provisioning LAN, those heard last first.
    List {
        #[command(flatten)]
        service: Appliance,
    },
    /// Why a machine does not boot: what is believed, what shows it, what to do.  Exit status 0: fine or on its way, 1:
    /// trouble.
    Why {
        /// Hardware address of the port it boots from.
        mac: Mac,
        /// Show everything that is recorded of it, not only what shows the verdict.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        service: Appliance,
    },
    /// The interfaces: what the service does there, who else was heard, and which mode fits that.
    Status {
        #[command(flatten)]
        service: Appliance,
    },
    /// Addresses and who holds them.
    Leases {
        #[command(flatten)]
        service: Appliance,
    },
    /// What was counted since the service started.
    Counters {
        #[command(flatten)]
        service: Appliance,
    },
    /// Write what a machine and the service said to each other to standard output, as a pcapng file.
    Pcap(Pcap),
}

#[derive(Debug, Args)]
pub(crate) struct Pcap {
    /// Hardware address of the port it boots from.
    mac: Mac,
    #[command(flatten)]
    service: Appliance,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Serve(flags) => return serve::run(&flags),
        Verb::Init { file } => serve::init(&file)?,
        Verb::List { service } => list(&service)?,
        Verb::Why { mac, all, service } => return why(mac, all, &service),
        Verb::Status { service } => status(&service)?,
        Verb::Leases { service } => leases(&service)?,
        Verb::Counters { service } => counters(&service)?,
        Verb::Pcap(Pcap { mac, service }) => {
            if std::io::stdout().is_terminal() {
                bail!("a capture is no text: send it to a file, as in `boot pcap {mac} > {mac}.pcapng`");
            }
            let bytes = service.bytes(&format!("/api/v1/boot/machines/{mac}/pcap"))?;
            std::io::stdout().write_all(&bytes).context("cannot write to standard output")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(service: &Appliance) -> anyhow::Result<()> {
    let machines: Vec<BootMachineView> = service.get("/api/v1/boot/machines")?;
    if service.json {
        return print(&machines);
    }
    say!("{:<18} {:<16} {:<13} {:<8} VERDICT", "MAC", "ADDRESS", "HEARD (UTC)", "STATE");
    for machine in machines {
        let address = machine.address.as_deref().unwrap_or("-");
        let heard = clock(machine.last_ms);
        say!("{:<18} {:<16} {:<13} {:<8} {}", machine.mac, address, heard, machine.state, machine.headline);
    }
    Ok(())
}

fn why(mac: Mac, all: bool, service: &Appliance) -> anyhow::Result<ExitCode> {
    let why: BootWhyView = service.get(&format!("/api/v1/boot/machines/{mac}"))?;
    let code = ExitCode::from(u8::from(why.verdict.state == "trouble"));
    if service.json {
        print(&why)?;
        return Ok(code);
    }
    let BootFindingView { code: rule, state, headline, evidence, next } = &why.verdict;
    say!("{} · {state} · {rule}", why.mac);
    say!("{headline}.");
    if !evidence.is_empty() {
        say!("\nWhat shows it (UTC):");
        evidence.iter().for_each(line);
    }
    say!("\nWhat to do: {next}.");
    if !why.also.is_empty() {
        say!("\nAlso noticed:");
        for finding in &why.also {
            say!("  {} · {}: {}", finding.state, finding.code, finding.headline);
        }
    }
    if all {
        say!("\nEverything recorded (UTC):");
        why.story.iter().for_each(line);
    }
    Ok(code)
}

fn line(line: &BootLineView) {
    say!("  {}  {}", clock(line.at_ms), line.text);
}

fn status(service: &Appliance) -> anyhow::Result<()> {
    let interfaces: Vec<BootInterfaceView> = service.get("/api/v1/boot/interfaces")?;
    if service.json {
        return print(&interfaces);
    }
    for view in interfaces {
        say!("{} · {} · mode {}", view.name.as_deref().unwrap_or("(address only)"), view.address, view.mode);
        say!("  serves     {}: {}", view.serving, view.why);
        say!("  requests   {} since {}", view.requests, clock(view.since_ms));
        for server in view.servers {
            let gives = if server.gives_addresses { "gives addresses" } else { "gives no addresses" };
            let boots = server.boots.map(|class| format!(", boot offers as {class}")).unwrap_or_default();
            say!("  server     {} {gives}{boots}, last at {}", server.address, clock(server.last_ms));
        }
        if !view.relays.is_empty() {
            say!("  relays     {}", view.relays.join(", "));
        }
        if !view.vlans.is_empty() {
            let vlans: Vec<String> = view.vlans.iter().map(ToString::to_string).collect();
            say!("  VLAN tags  {}", vlans.join(", "));
        }
        say!("  proposal   {}: {}", view.proposal, view.proposal_why);
        if let Some(v6) = view.v6 {
            let prefix = if v6.router_advertisements { ", advertises the prefix" } else { "" };
            say!("  IPv6       {}{prefix} · serves {}: {}", v6.address, v6.serving, v6.why);
            say!("  IPv6 LAN   {}", v6.heard);
        }
    }
    Ok(())
}

fn leases(service: &Appliance) -> anyhow::Result<()> {
    let leases: Vec<BootLeaseView> = service.get("/api/v1/boot/leases")?;
    if service.json {
        return print(&leases);
    }
    let wide = leases.iter().map(|lease| lease.address.len()).max().unwrap_or(0).max(16);
    say!("{:<wide$} {:<18} {:<8} UNTIL (UTC)", "ADDRESS", "MAC", "STATE");
    for lease in leases {
        let state = if lease.bound { "taken" } else { "held" };
        say!("{:<wide$} {:<18} {:<8} {}", lease.address, lease.mac, state, clock(lease.until_ms));
    }
    Ok(())
}

fn counters(service: &Appliance) -> anyhow::Result<()> {
    let view: BootCountersView = service.get("/api/v1/boot/counters")?;
    if service.json {
        return print(&view);
    }
    for (name, value) in view.counters {
        say!("{value:>10}  {}", name.replace('_', " "));
    }
    Ok(())
}

/// `10:03:12.120`, UTC: a technician reads minutes, `--json` has the date.
fn clock(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000 % 86_400, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_of_day() {
        for (ms, text) in [(0, "00:00:00.000"), (86_399_999, "23:59:59.999"), (86_400_007, "00:00:00.007")] {
            assert_eq!(clock(ms), text);
        }
    }
}
