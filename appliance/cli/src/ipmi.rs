//! `scalerforge ipmi`: one management controller by IPMI 2.0, without an appliance.
//!
//! Reads log in as a user, what changes power or the next boot as an operator.  Cipher suite 17 is used; suite 3 only
//! by its flag.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use appliance_ipmi::{
    Console, Heard, Level, Login, PORT, Password, Policy, Session, Timing,
    command::{
        chassis, device, fru, lan,
        sdr::{self, Record},
        sel, sensor,
    },
    surface::{self, Efi},
};
use appliance_model::{BootTarget, ResetKind};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::{say, terminal};

/// Entries of a log that are printed unless more are asked for.
const ENTRIES_MAX: usize = 1000;

/// Which controller, and who logs in.
#[derive(Debug, Args)]
pub(crate) struct Controller {
    /// Address or name, with a port if it is not 623.
    host: String,
    /// The user.
    #[arg(long, default_value = "ADMIN")]
    user: String,
    /// File with the password in its first line; without it the terminal is asked.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// File with the controller's own key (KG) in its first line, where it has one.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Allow cipher suite 3 (SHA-1) where the controller says it has no suite 17.
    #[arg(long)]
    allow_suite_3: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Which machine it is, and whether it runs.
    Status {
        #[command(flatten)]
        controller: Controller,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Switch the machine's power.
    Power {
        #[command(flatten)]
        controller: Controller,
        /// What to do.
        #[arg(long = "to", value_enum)]
        to: Power,
    },
    /// Set where the machine boots from at its next boot, and only then.
    Boot {
        #[command(flatten)]
        controller: Controller,
        /// From where.
        #[arg(long, value_enum)]
        from: From,
        /// Leave the EFI flag away: some firmware boots by UEFI only without it.
        #[arg(long)]
        without_efi: bool,
    },
    /// The controller's event log, oldest first.
    Sel {
        #[command(flatten)]
        controller: Controller,
        /// At most so many entries.
        #[arg(long, default_value_t = ENTRIES_MAX)]
        entries_max: usize,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Clear the event log.
    SelClear {
        #[command(flatten)]
        controller: Controller,
        /// What is in it is lost.
        #[arg(long, required = true)]
        destroy: bool,
    },
    /// Every sensor and what it reads.
    Sensors {
        #[command(flatten)]
        controller: Controller,
        /// Print the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Part and serial numbers of chassis, board and product.
    Fru {
        #[command(flatten)]
        controller: Controller,
        /// Number of the FRU device.
        #[arg(long, default_value_t = 0)]
        device: u8,
    },
    /// The machine's serial console.  Enter, `~`, `.` ends it.
    Console {
        #[command(flatten)]
        controller: Controller,
        /// Take it from whoever has it.
        #[arg(long)]
        take: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Power {
    /// Switch on.
    On,
    /// Switch off at once.
    Off,
    /// Ask the operating system to shut down.
    Shutdown,
    /// Reset; a machine that is off is switched on.
    Reset,
    /// Off and on; a machine that is off is switched on.
    Cycle,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum From {
    /// The network.
    Pxe,
    /// The disk.
    Disk,
    /// A CD drive.
    Cd,
    /// A CD that the controller plays.
    VirtualCd,
    /// Wherever the firmware is set to.
    Default,
}

pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(act(verb))?;
    Ok(ExitCode::SUCCESS)
}

async fn act(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Status { controller, json } => status(controller.open(Level::User).await?, json).await,
        Verb::Power { controller, to } => {
            let kind = match to {
                Power::On => ResetKind::On,
                Power::Off => ResetKind::ForceOff,
                Power::Shutdown => ResetKind::GracefulOff,
                Power::Reset => ResetKind::Restart,
                Power::Cycle => ResetKind::PowerCycle,
            };
            let mut session = controller.open(Level::Operator).await?;
            let done = surface::reset(&mut session, kind).await?;
            say!("done: {done:?}");
            Ok(session.close().await?)
        }
        Verb::Boot { controller, from, without_efi } => {
            let target = match from {
                From::Pxe => BootTarget::Pxe,
                From::Disk => BootTarget::Hdd,
                From::Cd => BootTarget::Cd,
                From::VirtualCd => BootTarget::UsbCd,
                From::Default => BootTarget::None,
            };
            let efi = if without_efi { Efi::Left } else { Efi::Asked };
            let mut session = controller.open(Level::Operator).await?;
            let shown = surface::set_boot_once(&mut session, target, efi).await?;
            let told = |set: bool| if set { "yes" } else { "no" };
            say!(
                "the controller shows: source {:?}, counts at the next boot: {}, EFI: {}",
                shown.source,
                told(shown.valid),
                told(shown.efi)
            );
            Ok(session.close().await?)
        }
        Verb::Sel { controller, entries_max, json } => {
            log(controller.open(Level::User).await?, entries_max, json).await
        }
        Verb::SelClear { controller, destroy: _ } => {
            let mut session = controller.open(Level::Operator).await?;
            let cleared = sel::clear(&mut session).await?;
            say!("{}", if cleared == sel::Cleared::Done { "cleared" } else { "being cleared" });
            Ok(session.close().await?)
        }
        Verb::Sensors { controller, json } => sensors(controller.open(Level::User).await?, json).await,
        Verb::Fru { controller, device } => {
            let mut session = controller.open(Level::User).await?;
            print_fru(&fru::read(&mut session, device).await?);
            Ok(session.close().await?)
        }
        Verb::Console { controller, take } => {
            let session = controller.open(Level::Operator).await?;
            console(if take { Console::take(session).await? } else { Console::open(session).await? }).await
        }
    }
}

impl Controller {
    async fn open(&self, level: Level) -> anyhow::Result<Session> {
        let address = address(&self.host)?;
        let secret = |text: String| {
            Password::new(text)
                .context("IPMI carries passwords and keys of at most 20 bytes, this one has more")
        };
        let password = secret(terminal::password(self.password_file.as_deref(), &self.user)?)?;
        let login = Login::new(self.user.clone(), password, level);
        let mut login = login.context("IPMI carries user names of at most 16 bytes, this one has more")?;
        if let Some(file) = &self.key_file {
            login = login.with_key(secret(terminal::password(Some(file), "the controller")?)?);
        }
        let policy = if self.allow_suite_3 { Policy::AllowSuite3 } else { Policy::Strict };
        Ok(Session::open(address, &login, policy, Timing::default()).await?)
    }
}

fn address(host: &str) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let found = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => match port.parse::<u16>() {
            Ok(port) => (name, port).to_socket_addrs(),
            Err(_) => bail!("`{port}` is not a port"),
        },
        Some(_) | None => (host, PORT).to_socket_addrs(),
    };
    let mut found = found.with_context(|| format!("`{host}` has no address"))?;
    found.next().with_context(|| format!("`{host}` has no address"))
}

async fn status(mut session: Session, json: bool) -> anyhow::Result<()> {
    let identity = surface::identity(&mut session).await?;
    let power = chassis::status(&mut session).await?;
    let lan = lan::read(&mut session, lan::PRESENT).await.ok();
    let guid = identity.guid.map(device::likely_guid);
    let suite = session.suite().id();
    if json {
        say!(
            "{}",
            json!({
                "on": power.on, "power_fault": power.fault, "intrusion": power.intrusion,
                "serial": identity.serial(), "firmware": identity.device.firmware,
                "maker": identity.device.maker, "product": identity.device.product,
                "guid": guid, "cipher_suite": suite,
                "mac": lan.map(|lan| lan.mac.to_string()), "address": lan.map(|lan| lan.address.to_string()),
            })
        );
    } else {
        say!("power: {}", if power.on { "on" } else { "off" });
        for (said, what) in [
            (power.fault, "power fault"),
            (power.overload, "power overload"),
            (power.intrusion, "chassis open"),
        ] {
            if said {
                say!("{what}");
            }
        }
        say!("serial: {}", identity.serial().unwrap_or("not told"));
        let controller = &identity.device;
        say!(
            "controller: firmware {}, maker {}, product {}",
            controller.firmware,
            controller.maker,
            controller.product
        );
        if let Some(guid) = guid {
            say!("GUID: {guid}");
        }
        if let Some(lan) = lan {
            say!("LAN: {} {}", lan.mac, lan.address);
        }
        say!("session: cipher suite {suite}");
    }
    Ok(session.close().await?)
}

async fn log(mut session: Session, entries_max: usize, json: bool) -> anyhow::Result<()> {
    let log = sel::read(&mut session, entries_max).await?;
    for entry in &log.entries {
        let (id, time, words) = (entry.id, entry.time, entry.words());
        if json {
            say!("{}", json!({ "id": id, "seconds": time, "words": words }));
        } else {
            let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
            say!("{id:>5}  {time:>10}  {words}");
        }
    }
    if let Some(cut) = log.cut {
        eprintln!("this is not the whole log: {cut}");
    }
    Ok(session.close().await?)
}

async fn sensors(mut session: Session, json: bool) -> anyhow::Result<()> {
    let found = sdr::read(&mut session).await?;
    for record in &found.records {
        let Record::Sensor(sensor) = record else { continue };
        let words = sensor::read(&mut session, sensor).await?.words(sensor);
        if json {
            say!("{}", json!({ "name": sensor.name, "number": sensor.number, "reading": words }));
        } else {
            say!("{:<20} {words}", sensor.name);
        }
    }
    if found.odd > 0 {
        eprintln!("{} records could not be read", found.odd);
    }
    if let Some(cut) = found.cut {
        eprintln!("these are not all: {cut}");
    }
    Ok(session.close().await?)
}

fn print_fru(fru: &fru::Fru) {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    if let Some(chassis) = &fru.chassis {
        rows.extend([("chassis part", chassis.part.as_str()), ("chassis serial", &chassis.serial)]);
    }
    if let Some(board) = &fru.board {
        rows.extend([("board maker", board.maker.as_str()), ("board", &board.name)]);
        rows.extend([("board part", board.part.as_str()), ("board serial", &board.serial)]);
    }
    if let Some(product) = &fru.product {
        rows.extend([("product maker", product.maker.as_str()), ("product", &product.name)]);
        rows.extend([("product part", product.part.as_str()), ("product version", &product.version)]);
        rows.extend([("product serial", product.serial.as_str()), ("asset tag", &product.asset)]);
    }
    for (name, text) in rows.into_iter().filter(|(_, text)| !text.is_empty()) {
        say!("{name:<16} {text}");
    }
    for odd in &fru.odd {
        eprintln!("{odd}");
    }
}

/// Keys of the terminal, in a thread of their own: reading them blocks.
fn keys() -> tokio::sync::mpsc::Receiver<Vec<u8>> {
    let (send, receive) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            let Some(keys) = buffer.get(..count) else { break };
            if send.blocking_send(keys.to_vec()).is_err() {
                break;
            }
        }
    });
    receive
}

/// Enter, `~`, `.`: as ssh and ipmitool have it.
const ESCAPE: [&[u8]; 2] = [b"\r~.", b"\n~."];

async fn console(mut console: Console) -> anyhow::Result<()> {
    let raw = terminal::Changed::raw()?;
    let mut keys = keys();
    let (mut open, mut last) = (true, Vec::from(*b"\r"));
    eprint!("console open; Enter, ~, . ends it\r\n");
    while open || !console.idle() {
        tokio::select! {
            heard = console.next() => match heard? {
                Heard::Bytes(bytes) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&bytes)?;
                    out.flush()?;
                }
                Heard::Unavailable => eprint!("\r\n[the machine takes no keys now]\r\n"),
                Heard::Ended => {
                    eprint!("\r\n[the controller ended the console]\r\n");
                    break;
                }
            },
            typed = keys.recv(), if open => match typed {
                Some(typed) => {
                    last.extend_from_slice(&typed);
                    if ESCAPE.iter().any(|escape| last.ends_with(escape)) {
                        break;
                    }
                    let keep = last.len().saturating_sub(3);
                    last.drain(..keep);
                    console.type_in(&typed);
                }
                None => open = false,
            },
        }
    }
    drop(raw);
    console.close().await?.close().await?;
    Ok(())
}
