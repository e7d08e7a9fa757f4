//! One virtual server, for real: power on, firmware speaks, the plug is pulled, the BMC says so.
//!
//! Needs root (or `unshare -rn`), QEMU, swtpm and Debian's OVMF; fails, not skips, when one is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hil_tests_rack::{HostSpec, PowerState, Rack, RackConfig, netns};

/// Wide, since eight emulators may share two cores; a quiet machine needs 3 s.
const FIRMWARE_SECONDS_MAX: u64 = 180;

#[test]
fn power_on_and_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let config = RackConfig {
        dir: folder.path().to_owned(),
        hosts: vec![HostSpec::lab(0)],
        ovmf_code: firmware("OVMF_CODE_4M.fd"),
        ovmf_vars: firmware("OVMF_VARS_4M.fd"),
    };
    netns::block_on_private(move || async move {
        let rack = Rack::start(config).await.unwrap();
        let host = rack.host(0);
        assert_eq!(*host.power().borrow(), PowerState::Off);
        host.power_on().await.unwrap();
        let line = host.wait_console("BdsDxe", Duration::from_secs(FIRMWARE_SECONDS_MAX)).await.unwrap();
        println!("{line:?}");
        let status = host.qmp("query-status", serde_json::json!({})).await.unwrap();
        assert_eq!(status["status"], "running");
        host.power_cut().await;
        assert_eq!(*host.power().borrow(), PowerState::Off);
        assert!(rack.ek_roots_pem().unwrap().contains("BEGIN CERTIFICATE"));
        rack.stop().await;
    })
    .unwrap();
}

/// Finds a firmware image: in the folder that `SCALERFORGE_OVMF` names, else in the build cache of the workspace.
fn firmware(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("SCALERFORGE_OVMF") {
        return Path::new(&folder).join(name);
    }
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.xtask/cache");
    find(&cache, name, 8).unwrap_or_else(|| {
        panic!("no {name} below {}: run `cargo xtask demo` once or set SCALERFORGE_OVMF", cache.display())
    })
}

fn find(folder: &Path, name: &str, depth: u8) -> Option<PathBuf> {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let here =
        entries.iter().find(|path| path.file_name().is_some_and(|file| file == name) && path.is_file());
    here.cloned().or_else(|| {
        let below = depth.checked_sub(1)?;
        entries.iter().filter(|path| path.is_dir()).find_map(|path| find(path, name, below))
    })
}
