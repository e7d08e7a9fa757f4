//! The program that firmware starts in the kernel's place: `zboot.efi`.  On anything but UEFI it says what it is for.

#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod firmware;

#[cfg(not(target_os = "uefi"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "this is a UEFI program: build it with `cargo build --profile agent -p image-zboot --target aarch64-unknown-uefi`, \
         and give it to `scalerforge image build --arch arm64 --zboot FILE`"
    );
    std::process::ExitCode::FAILURE
}
