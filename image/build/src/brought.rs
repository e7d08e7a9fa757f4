//! A root that comes along with its kernel, where nothing else will be there: over the network.

use image_seal::cpio::{self, Archive};

/// Where the start program finds what came along (`image/start`).
const ROOT: &str = "live/root";
const HASHES: &str = "live/hashes";

/// What comes along.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brought<'a> {
    /// The root.
    pub(crate) root: &'a [u8],
    /// Its hash tree's partition.
    pub(crate) hashes: &'a [u8],
}

impl Brought<'_> {
    /// As the kernel unpacks it.
    pub(crate) fn archive(self) -> Result<Archive, cpio::Error> {
        let mut archive = Archive::new();
        archive.directory("live")?;
        archive.file(ROOT, self.root.to_vec(), false)?;
        archive.file(HASHES, self.hashes.to_vec(), false)?;
        Ok(archive)
    }
}
