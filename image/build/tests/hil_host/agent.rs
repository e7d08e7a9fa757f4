//! Stands for the agent on an installed host: says what the TPM holds, what was mounted and what was handed on, remembers
//! a word, and switches off.

use std::{env, fs};

const STATE_SECONDS_MAX: u32 = 120;
const WORD: &str = "/var/lib/scalerforge/word";

fn main() {
    if env::args().any(|argument| argument == "--version") {
        println!("TEST version");
        return;
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    println!("TEST up {}", read("/proc/uptime").trim());
    for pcr in [4, 9, 11, 12, 13] {
        let value = read(&format!("/sys/class/tpm/tpm0/pcr-sha256/{pcr}"));
        println!("TEST pcr {pcr} {}", value.trim().to_lowercase());
    }
    // The state is opened beside us.
    for _ in 0..STATE_SECONDS_MAX {
        if std::path::Path::new("/run/scalerforge/state").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    for line in read("/proc/self/mounts").lines() {
        println!("TEST mount {line}");
    }
    for (name, path) in [("release", "release"), ("site", "site/appliance"), ("state", "state")] {
        let said: Vec<String> =
            read(&format!("/run/scalerforge/{path}")).lines().map(str::to_owned).collect();
        println!("TEST {name} {}", said.join(" "));
    }
    println!("TEST locked {}", read("/sys/kernel/security/lockdown").contains("[integrity]"));
    println!("TEST rules {}", read("/proc/modules").contains("nft_ct"));
    println!("TEST closed {}", fs::write("/usr/lib/x", "x").is_err() && fs::write("/etc/x", "x").is_err());
    match fs::read_to_string(WORD) {
        Ok(word) => println!("TEST remembered {word}"),
        Err(_) => println!("TEST remembered nothing"),
    }
    if !std::path::Path::new(WORD).exists() {
        println!("TEST wrote {:?}", fs::write(WORD, "a word"));
        // The power goes soon.
        let _ = fs::File::open(WORD).and_then(|file| file.sync_all());
    }
    println!("TEST end");
    // The journal needs a moment to bring that to the console.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let _ = fs::write("/proc/sysrq-trigger", "s");
    let _ = fs::write("/proc/sysrq-trigger", "o");
    std::thread::sleep(std::time::Duration::from_secs(60));
}
