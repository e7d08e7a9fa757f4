//! What the tests of this folder share: where the firmware images are.

use std::path::{Path, PathBuf};

/// Finds a firmware image: in the folder that `SCALERFORGE_OVMF` names, else in the build cache of the workspace.
pub(crate) fn firmware(name: &str) -> PathBuf {
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
