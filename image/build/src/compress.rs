//! What makes an image small, and keeps what was slow to make small between builds.
//!
//! The same bytes each time, whether they were kept or not.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::build::{Error, write};

/// zstd's highest level that needs no more memory to unpack than the kernel allows itself (8 MiB window).
const ZSTD_LEVEL: i32 = 19;

/// What is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// What the kernel unpacks: an archive, or a file of this name.
    ForKernel(&'a str),
    /// What a program of ours unpacks before there is a kernel: with a checksum, for nobody else would notice damage.
    Kernel,
}

impl<'a> Part<'a> {
    fn name(self) -> &'a str {
        match self {
            Part::ForKernel(name) => name,
            Part::Kernel => "the kernel",
        }
    }

    pub(crate) fn compress(self, raw: &[u8]) -> Result<Vec<u8>, Error> {
        let packed = || {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
            compressor.include_checksum(self == Part::Kernel)?;
            compressor.compress(raw)
        };
        packed().map_err(Error::Compress)
    }

    /// What decides the bytes beside the content.
    fn recipe(self) -> String {
        let checksum = if self == Part::Kernel { " with checksum" } else { "" };
        format!("zstd {} level {ZSTD_LEVEL}{checksum}", zstd::zstd_safe::version_number())
    }
}

pub(crate) fn compress(raw: &[u8]) -> Result<Vec<u8>, Error> {
    Part::ForKernel("").compress(raw)
}

/// Compresses, or takes what an earlier build compressed from exactly these bytes in exactly this way.
pub(crate) fn compress_cached(
    part: Part<'_>,
    raw: &[u8],
    cache: Option<&Path>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, Error> {
    let Some(cache) = cache else {
        progress(&format!("compress {}", part.name()));
        return part.compress(raw);
    };
    let key = Sha256::new().chain_update(part.recipe()).chain_update(raw).finalize();
    let dir = cache.join("initrd");
    let path = dir.join(format!("{}.zst", hex::encode(key)));
    if let Ok(kept) = fs::read(&path)
        // A damaged file is made again; unpacking costs a fraction of a second.
        && zstd::bulk::decompress(&kept, raw.len()).is_ok_and(|unpacked| unpacked == raw)
    {
        return Ok(kept);
    }
    progress(&format!("compress {} (once for each version)", part.name()));
    let packed = part.compress(raw)?;
    fs::create_dir_all(&dir).map_err(|source| Error::File { doing: "create", path: dir.clone(), source })?;
    write(&path, &packed)?;
    Ok(packed)
}
