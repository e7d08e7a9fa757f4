//! Writes the first corpus of every target.

use std::{fs, path::Path};

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    hil_tests_fuzz::corpus::each(&mut |target, bytes| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        let name: String =
            attest_evidence::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        fs::write(folder.join(name), bytes).unwrap();
    });
}
