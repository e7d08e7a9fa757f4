//! PID 1 of a test's virtual machine: loads the IPMI drivers that it was given, lets the agent ask the controller of the
//! machine for its address and for an account, prints what the inventory then says, and switches the machine off.
//!
//! Nothing is served with this; `tests/hil_in_band.rs` starts it.

use std::{fs::File, path::Path, thread::sleep, time::Duration};

use appliance_api::agent::BmcAccount;
use appliance_model::inventory::Inventory;
use image_agent::controller;
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

/// In the order in which they need each other.
const MODULES: [&str; 3] = ["ipmi_msghandler", "ipmi_devintf", "ipmi_si"];
/// `MODULE_INIT_COMPRESSED_FILE` of `linux/module.h`: the kernel unpacks it.
const COMPRESSED: libc::c_uint = 4;
/// The kernel looks for the interface by itself; emulated, that takes seconds.
const LOOKS_MAX: u32 = 600;

fn main() {
    if std::process::id() != 1 {
        eprintln!("this is for PID 1 of a virtual machine; see tests/hil_in_band.rs");
        return;
    }
    match ask() {
        Ok(told) => println!("TOLD {told}"),
        Err(why) => println!("FAILED {why}"),
    }
    let Err(error) = reboot(RebootMode::RB_POWER_OFF);
    println!("FAILED power off: {error}");
}

fn ask() -> Result<String, String> {
    // The kernel mounts it only where it starts from a disk.
    let _ = mount(Some("dev"), "/dev", Some("devtmpfs"), MsFlags::empty(), None::<&str>);
    for name in MODULES {
        let file = File::open(format!("/{name}.ko.xz")).map_err(|error| format!("{name}: {error}"))?;
        finit_module(&file, c"", ModuleInitFlags::from_bits_retain(COMPRESSED))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let device = Path::new("/dev/ipmi0");
    for _ in 0..LOOKS_MAX {
        if device.exists() {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    let order = std::fs::read("/account.json").map_err(|error| error.to_string())?;
    let account: BmcAccount = serde_json::from_slice(&order).map_err(|error| error.to_string())?;
    let mut inventory = Inventory::default();
    controller::ask(Path::new("/"), Some(&account), &mut inventory);
    serde_json::to_string(&(inventory.bmc, inventory.gaps)).map_err(|error| error.to_string())
}
