//! From the initramfs to the system on the verified root.

use std::{convert::Infallible, ffi::CString, fs, path::Path};

use image_agent::{console::up_milliseconds, say};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    unistd::{chdir, chroot, execve},
};

/// Where the root is mounted first.
const ROOT: &str = "/root";
/// What moves along.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];
/// The system's first program.
const SYSTEM: &str = "/usr/lib/systemd/systemd";

/// What the kernel would not do.
#[derive(Debug, thiserror::Error)]
#[error("the kernel would not {doing}: {answer}")]
pub(crate) struct Error {
    doing: &'static str,
    answer: Errno,
}

/// Mounts `device` as the root and becomes its system.
pub(crate) fn hand_over(device: &Path) -> Result<Infallible, Error> {
    let failed = |doing| move |answer| Error { doing, answer };
    let _ = fs::create_dir(ROOT);
    let none = None::<&str>;
    mount(Some(device), ROOT, Some("erofs"), MsFlags::MS_RDONLY, none).map_err(failed("mount the root"))?;
    for path in MOVED {
        let to = format!("{ROOT}{path}");
        mount(Some(path), to.as_str(), none, MsFlags::MS_MOVE, none).map_err(failed("move a mount"))?;
    }
    // What stays in the initramfs stays in memory for good.
    let _ = fs::remove_dir_all("/lib");
    let _ = fs::remove_file("/init");
    chdir(ROOT).map_err(failed("enter the root"))?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none).map_err(failed("make it the root"))?;
    chroot(".").map_err(failed("make it the root"))?;
    say!("the system takes over after {} ms", up_milliseconds());
    let program = CString::new(SYSTEM).unwrap_or_default();
    let nothing: [CString; 0] = [];
    execve(&program, std::slice::from_ref(&program), &nothing).map_err(failed("start the system"))
}
