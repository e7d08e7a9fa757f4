//! The least first program: it says that it is there.  Compiled by `cargo xtask bench boot` with rustc alone.

fn main() {
    println!("bare kernel: up");
    loop {
        std::thread::park();
    }
}
