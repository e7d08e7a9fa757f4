//! Has the linker write a UEFI program without the time at which it was linked: the same bytes each time.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "uefi") {
        println!("cargo:rustc-link-arg-bins=/Brepro");
    }
}
