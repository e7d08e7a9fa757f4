//! `scalerforge console`: the screen on the machine itself.  It looks at what is there and asks the appliance on this
//! machine; what is drawn and which key does what is `appliance/console`.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use appliance_api::{boot::BootInterfaceView, operator::HostView};
use appliance_console::{Done, Level, Line, Machine, Seen, Target};
use appliance_first_run::{Facts, Nic, Plan, SITE_FILE, of_machine};
use appliance_server::{admin, first_run};
use clap::Args;
use image_agent::{residence, system::Leave};

use crate::{appliance::install, client::Appliance, said};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The site directory.
    #[arg(long, default_value = "/var/lib/scalerforge")]
    site: PathBuf,
    /// Where `discovery.efi` and `reference.json` are, for a first run.
    #[arg(long, default_value = "/usr/lib/scalerforge")]
    images: PathBuf,
    /// Where the page of the first run says its port and its code.
    #[arg(long, default_value = INVITATION)]
    invitation: PathBuf,
    /// Where services of this machine leave what they have to say here.
    #[arg(long, default_value = said::SAID)]
    said: PathBuf,
    #[command(flatten)]
    appliance: Appliance,
}

/// Where the first run's page leaves port and code for the screen.
pub(crate) const INVITATION: &str = "/run/scalerforge/first-run";

pub(crate) fn run(options: Options) -> anyhow::Result<ExitCode> {
    let here = Here { options, heard: Vec::new() };
    appliance_console::run(here).context("the screen cannot be shown; it wants a terminal of its own")?;
    Ok(ExitCode::SUCCESS)
}

/// This machine.
struct Here {
    options: Options,
    /// What was heard when it was last listened.
    heard: Vec<Nic>,
}

impl Machine for Here {
    fn look(&mut self, listen: bool) -> Seen {
        let site = site(&self.options.site);
        // Where a site is, its appliance listens; nobody else speaks on its LAN.
        let mut facts = first_run::look(&self.options.site, &self.options.images, listen && site.is_none());
        if listen {
            self.heard.clone_from(&facts.nics);
        }
        for nic in &mut facts.nics {
            let before = self.heard.iter().find(|heard| heard.name == nic.name);
            nic.heard = before.and_then(|before| before.heard.clone());
        }
        let clock = appliance_first_run::clock(facts.now, facts.hardware_clock);
        let mut health: Vec<Line> = of_machine(&facts)
            .into_iter()
            .map(|notice| Line {
                // The appliance waits for a clock; with everything else it goes on.
                level: if Some(&notice) == clock.as_ref() { Level::Bad } else { Level::Warn },
                text: format!("{}: {}", notice.what, notice.next),
            })
            .chain(said::read(&self.options.said))
            .collect();
        let (page, secret) = match &site {
            Some(site) => {
                health.splice(0..0, self.serving());
                (site.page(&facts), None)
            }
            None => self.invitation(&facts).unzip(),
        };
        health.sort_by_key(|line| match line.level {
            Level::Bad => 0,
            Level::Warn => 1,
            Level::Good => 2,
        });
        let live = crate::appliance::Here::own().is_live();
        Seen { facts, site: site.map(|site| site.name), page, secret, live, health }
    }

    fn make(&mut self, plan: &Plan) -> Result<Done, String> {
        let made = || -> anyhow::Result<Done> {
            let password = admin::made_up()?;
            let hash = admin::Hash::of(&password)?.text();
            first_run::write(&self.options.site, plan, &hash)?;
            Ok(Done { password })
        };
        made().map_err(|error| appliance_server::chain_of(error.as_ref()))
    }

    fn drives(&mut self) -> Result<Vec<Target>, String> {
        let here = crate::appliance::Here::own();
        install::targets(&here).map_err(|error| appliance_server::chain_of(error.as_ref()))
    }

    fn install(&mut self, words: &str, tell: &mut dyn FnMut(&str)) -> Result<String, String> {
        let here = crate::appliance::Here::own();
        install::at_the_screen(&here, words, tell).map_err(|error| appliance_server::chain_of(error.as_ref()))
    }

    fn restart(&mut self) {
        residence::leave_installed(Leave::Reboot);
    }
}

impl Here {
    /// The address of the first run's page, with the code behind it, and the code.
    fn invitation(&self, facts: &Facts) -> Option<(String, String)> {
        let text = std::fs::read_to_string(&self.options.invitation).ok()?;
        let (port, code) = text.trim().split_once('\n')?;
        let address = address(facts)?;
        let port = if port == "443" { String::new() } else { format!(":{port}") };
        Some((format!("https://{address}{port}/#{code}"), code.to_owned()))
    }

    /// How the appliance is, by its own word.
    fn serving(&self) -> Vec<Line> {
        let hosts: Vec<HostView> = match self.options.appliance.get("/api/v1/hosts") {
            Ok(hosts) => hosts,
            Err(error) => {
                let why = appliance_server::chain_of(error.as_ref());
                return vec![Line {
                    level: Level::Bad,
                    text: format!("the appliance does not answer: {why}"),
                }];
            }
        };
        let count = |stage: &str| hosts.iter().filter(|host| host.stage == stage).count();
        let (registered, quarantined) = (count("registered"), count("quarantined"));
        let mut lines = vec![Line {
            level: Level::Good,
            text: format!("serving {} servers, {registered} of them registered", hosts.len()),
        }];
        if quarantined > 0 {
            let text = format!("{quarantined} in quarantine: the page says why");
            lines.push(Line { level: Level::Warn, text });
        }
        let lans: Vec<BootInterfaceView> =
            self.options.appliance.get("/api/v1/boot/interfaces").unwrap_or_default();
        for lan in lans {
            let name = lan.name.unwrap_or(lan.address);
            lines.push(Line { level: Level::Good, text: format!("{name}: mode {}, {}", lan.mode, lan.why) });
        }
        lines
    }
}

/// What the screen wants of a site file.  A file that `serve` refuses is one here, too: the screen shows its refusal.
struct Site {
    name: String,
    page: Option<String>,
}

fn site(dir: &Path) -> Option<Site> {
    let text = std::fs::read_to_string(dir.join(SITE_FILE)).ok()?;
    let table: toml::Table = text.parse().unwrap_or_default();
    let at = |path: &[&str]| {
        let (last, sections) = path.split_last()?;
        let mut table = &table;
        for section in sections {
            table = table.get(*section)?.as_table()?;
        }
        table.get(*last)?.as_str().map(str::to_owned)
    };
    Some(Site {
        name: at(&["site", "name"]).unwrap_or_else(|| "a site whose file cannot be read".into()),
        page: at(&["operator", "page", "listen"]),
    })
}

impl Site {
    /// Where a browser goes: the page's own address, or one that this machine has.
    fn page(&self, facts: &Facts) -> Option<String> {
        let listen: std::net::SocketAddr = self.page.as_ref()?.parse().ok()?;
        let ip = if listen.ip().is_unspecified() { IpAddr::V4(address(facts)?) } else { listen.ip() };
        let at = std::net::SocketAddr::new(ip, listen.port()).to_string();
        Some(format!("https://{}/", at.strip_suffix(":443").unwrap_or(&at)))
    }
}

/// An address where people may reach this machine: one of a port with a cable, and no link-local one if there is another.
fn address(facts: &Facts) -> Option<Ipv4Addr> {
    let all = || {
        facts.nics.iter().filter(|nic| nic.carrier).flat_map(|nic| nic.addresses.iter().map(|(ip, _)| *ip))
    };
    all().find(|ip| !ip.is_link_local()).or_else(|| all().next())
}
