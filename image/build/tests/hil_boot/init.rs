//! The first program of the boot test: prints what the TPM and the module loader say, then switches off.
//!
//! Compiled by the test with rustc alone, so it brings its own declarations of the C library.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use std::fs;
use std::io::Write;

#[expect(unsafe_code, reason = "a lone source file has no crate that wraps these calls")]
mod system {
    use super::{CStr, c_char, c_int, c_ulong, c_void};

    unsafe extern "C" {
        fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int;
        fn reboot(how: c_int) -> c_int;
    }

    pub(crate) fn mount_at(kind: &CStr, target: &CStr) -> bool {
        // SAFETY: the strings end in NUL and outlive the call; the kernel copies them; no data is passed.
        unsafe { mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) == 0 }
    }

    pub(crate) fn power_off() {
        // SAFETY: takes a number and touches no memory of ours.  0x4321fedc is LINUX_REBOOT_CMD_POWER_OFF.
        unsafe { reboot(0x4321_fedc) };
    }
}

fn main() {
    let mounted = system::mount_at(c"sysfs", c"/sys") && system::mount_at(c"proc", c"/proc");
    let mut console = fs::OpenOptions::new().write(true).open("/dev/console").expect("the image has /dev/console");
    let _ = writeln!(console, "\nTEST mounted {mounted}");
    for pcr in [4, 9, 11, 12, 13] {
        let value = fs::read_to_string(format!("/sys/class/tpm/tpm0/pcr-sha256/{pcr}")).unwrap_or_default();
        let _ = writeln!(console, "TEST pcr {pcr} {}", value.trim().to_lowercase());
    }
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let _ = writeln!(console, "TEST cmdline {}", command_line.trim());
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = fs::read_to_string(format!("/lib/modules/{}/modules.dep", release.trim())).unwrap_or_default();
    let _ = writeln!(console, "TEST modules {}", modules.lines().count());
    let locked = system::mount_at(c"securityfs", c"/sys/kernel/security")
        && fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|how| how.contains("[integrity]"));
    let _ = writeln!(console, "TEST locked {locked}");
    let _ = writeln!(console, "TEST end");
    system::power_off();
}
