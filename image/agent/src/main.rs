//! The agent's two ways to run: as PID 1 of the discovery image, or beside an installed system (`--connect`).

use std::{path::PathBuf, process::ExitCode, thread};

use image_agent::{
    VERSION,
    client::Client,
    coldplug::Modules,
    console::{chain, up_milliseconds},
    glass,
    identity::{self, Lent},
    lacks, medium, menu, net, residence, say,
    state::State,
    system::{self, Leave},
    talk::Talk,
};

/// Where a sealed image carries the site's CA.
const CA: &str = "/etc/scalerforge/ca.pem";

/// The kernel's resource manager keeps several users of the TPM apart.
const TPM: &str = "/dev/tpmrm0";

const USAGE: &str = "usage: agent --connect URL --ca FILE [--tpm PATH] [--root DIR] [--state DIR]
  Enrols the machine it runs on with the appliance at URL (https://…), trusting only the CA in FILE.
  --tpm    TPM device or Unix socket of a software TPM (default /dev/tpmrm0)
  --root   where /sys, /proc and /dev are found (default /)
  --state  where to remember this boot (default /run/scalerforge)
As PID 1 of the discovery image it takes no arguments.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::process::id() == 1 {
        init();
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        // The kernel asks for a module by running this program as its modprobe.
        ["-q", "--", alias] => {
            modprobe(alias);
            ExitCode::SUCCESS
        }
        ["--version"] => {
            say!("scalerforge agent {VERSION}");
            ExitCode::SUCCESS
        }
        words => match Options::parse(words).and_then(|options| connect(&options)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                say!("{why}");
                ExitCode::FAILURE
            }
        },
    }
}

/// PID 1: never returns.
fn init() -> ! {
    system::take_console();
    say!("scalerforge agent {VERSION}: up after {} ms", up_milliseconds());
    system::restart_on_panic();
    system::mount_all();
    system::bury_orphans();
    menu::serve(|| lacks::lacks(&lacks::look(&PathBuf::from("/"), &PathBuf::from(TPM), true)));
    let _ = std::fs::write("/proc/sys/kernel/modprobe", "/init");
    match enrol() {
        Ok(leave) => {
            say!("leaving: {leave:?}");
            system::leave(leave);
        }
        Err(why) => say!("{why}; starting anew"),
    }
    system::restart()
}

fn enrol() -> Result<Leave, String> {
    let root = PathBuf::from("/");
    let mut modules = Modules::open(&root).unwrap_or_else(|error| {
        say!("the image's modules could not be read ({error}): only built-in drivers will work");
        Modules::default()
    });
    modules.load_network(&root);
    say!("network drivers loaded");
    let mut rest = Some({
        let root = root.clone();
        thread::spawn(move || {
            modules.load_rest(&root);
            if let Err(error) = system::mount_variables() {
                say!("UEFI variables could not be mounted ({error}): Secure Boot's state stays unknown");
            }
            net::bring_up(&root);
            say!("{} module files loaded", modules.loaded());
            modules
        })
    });
    let found = net::acquire(&root);
    say!("{found}");
    let ca = std::fs::read(CA).map_err(|error| {
        format!("this image belongs to no site ({CA}: {error}): serve it from an appliance, which seals it")
    })?;
    // What the firmware measured or the boot server told, needs no drivers; a CD does.
    let mut api = found.api();
    let mut lent = Lent { dhcp: found.ticket(), medium: None };
    if lent.dhcp.is_none() && identity::measured(&root).is_none() {
        // A fault in there has already restarted the agent.
        let mut modules = rest.take().and_then(|rest| rest.join().ok()).unwrap_or_default();
        if let Some(note) = medium::wait(&root, || modules.load_new(&root)) {
            (api, lent.medium) = (note.api, Some(note.ticket));
        }
    }
    let client = Client::new(&api, &ca).map_err(|error| chain(&error))?;
    {
        let root = root.clone();
        thread::spawn(move || found.keep(&root));
    }
    let state = open_state(&PathBuf::from("/run/scalerforge"))?;
    Ok(Talk::new(client, state, root, PathBuf::from(TPM), lent).run(|| {
        // A fault in there has already restarted the agent.
        let _ = rest.map(thread::JoinHandle::join);
        say!("hardware ready");
        let seen = lacks::look(&PathBuf::from("/"), &PathBuf::from(TPM), false);
        lacks::lacks(&seen).iter().for_each(|line| say!("{line}"));
    }))
}

fn modprobe(alias: &str) {
    if let Ok(mut modules) = Modules::open(&PathBuf::from("/")) {
        for name in modules.wanting(alias) {
            modules.load(&name);
        }
    }
}

struct Options {
    connect: String,
    ca: PathBuf,
    tpm: PathBuf,
    root: PathBuf,
    state: PathBuf,
}

impl Options {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let (mut connect, mut ca) = (None, None);
        let (mut tpm, mut root, mut state) = (TPM, "/", "/run/scalerforge");
        let mut rest = words;
        while let [flag, value, tail @ ..] = rest {
            match *flag {
                "--connect" => connect = Some((*value).to_owned()),
                "--ca" => ca = Some(PathBuf::from(value)),
                "--tpm" => tpm = value,
                "--root" => root = value,
                "--state" => state = value,
                other => return Err(format!("`{other}` is not known\n{USAGE}")),
            }
            rest = tail;
        }
        match (connect, ca, rest) {
            (Some(connect), Some(ca), []) if connect.starts_with("https://") => {
                Ok(Self { connect, ca, tpm: tpm.into(), root: root.into(), state: state.into() })
            }
            _ => Err(USAGE.into()),
        }
    }
}

/// Beside an installed system: no modules, no addresses, no mounts; and leaving means ending.
fn connect(options: &Options) -> Result<(), String> {
    let shown = options.ca.display();
    let ca =
        std::fs::read(&options.ca).map_err(|error| format!("--ca {shown} could not be read: {error}"))?;
    let client = Client::new(&options.connect, &ca).map_err(|error| chain(&error))?;
    let state = open_state(&options.state)?;
    let talk = Talk::new(client, state, options.root.clone(), options.tpm.clone(), Lent::default());
    let installed = residence::Running::read(&options.root).is_some();
    glass::at_start(&options.root);
    residence::await_promotion(options.root.clone());
    let leave = talk.run(|| ());
    if installed {
        say!("leaving: {leave:?}");
        residence::leave_installed(leave);
    } else {
        say!("the appliance asks for {leave:?}; somebody else's system decides itself when");
    }
    Ok(())
}

fn open_state(dir: &std::path::Path) -> Result<State, String> {
    State::open(dir).map_err(|error| format!("{} cannot keep this boot's state: {error}", dir.display()))
}
