//! A live system that came whole over the network: root and hash tree lie in the initramfs, as files, and the kernel is
//! shown each as a drive (loop devices, loop(4)).

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use image_agent::coldplug::Modules;
use nix::libc;

use crate::gpt::Found;

/// Where the build puts them (`appliance-net.efi`).
const ROOT: &str = "/live/root";
const HASHES: &str = "/live/hashes";
const CONTROL: &str = "/dev/loop-control";
/// `LOOP_SET_FD` and `LOOP_CTL_GET_FREE` of linux/loop.h.
const SET_FD: libc::Ioctl = 0x4c00;
const GET_FREE: libc::Ioctl = 0x4c82;

/// Root and hash tree, if this system brought them along.
pub(crate) fn find(modules: &mut Modules) -> Option<io::Result<(Found, Found)>> {
    let files = [ROOT, HASHES].map(Path::new);
    if !files.iter().all(|file| file.exists()) {
        return None;
    }
    modules.load("loop");
    let [root, hashes] = files.map(attach);
    Some(root.and_then(|root| Ok((found(root), found(hashes?)))))
}

/// It came from no drive of this machine.
fn found(device: PathBuf) -> Found {
    Found { drive: String::new(), device, name: crate::LIVE.to_owned(), stretch: None }
}

/// The file as a device, to be read only.
fn attach(file: &Path) -> io::Result<PathBuf> {
    let backing = File::open(file)?;
    let control = OpenOptions::new().read(true).write(true).open(CONTROL)?;
    let number = ask(&control, GET_FREE, 0)?;
    let device = PathBuf::from(format!("/dev/loop{number}"));
    // Opened for reading, so is the device.
    let opened = File::open(&device)?;
    ask(&opened, SET_FD, backing.as_raw_fd())?;
    Ok(device)
}

fn ask(on: &File, what: libc::Ioctl, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: both requests take a number by value and no address.
    #[expect(unsafe_code, reason = "loop devices have no other interface")]
    let answer = unsafe { libc::ioctl(on.as_raw_fd(), what, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
