//! A block device as `image-slots` wants a drive.

use std::{
    fs::{self, File},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};

use firmware_checks_probe::live::memory;
use image_slots::Device;

/// An open drive, or a file that stands for one.
#[derive(Debug)]
pub struct Block {
    file: File,
    bytes: u64,
    sector: usize,
}

impl Block {
    /// Opens `dev/NAME`; `sys` says how large its sectors are.
    ///
    /// # Errors
    /// When it does not open for writing.
    pub fn open(sys: &Path, path: &Path) -> io::Result<Self> {
        Self::of(File::options().read(true).write(true).open(path)?, sys, path)
    }

    /// The same, to be read only: nothing that is done with it changes the drive.
    ///
    /// # Errors
    /// When it does not open.
    pub fn look_at(sys: &Path, path: &Path) -> io::Result<Self> {
        // Nothing is written, so what is written at once is the least that anybody counts in.
        Ok(Self { sector: 512, ..Self::of(File::open(path)?, sys, path)? })
    }

    fn of(mut file: File, sys: &Path, path: &Path) -> io::Result<Self> {
        let bytes = file.seek(SeekFrom::End(0))?;
        let name = path.file_name().unwrap_or_default();
        let size = fs::read_to_string(sys.join("block").join(name).join("queue/logical_block_size"));
        let sector = size.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(512);
        Ok(Self { file, bytes, sector })
    }
}

impl Device for Block {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector(&self) -> usize {
        self.sector
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn forget(&mut self) -> io::Result<()> {
        // A file that stands for a drive has nothing behind it that could say otherwise.
        if self.file.metadata()?.is_file() {
            return Ok(());
        }
        memory::forget_blocks(&self.file)
    }
}
