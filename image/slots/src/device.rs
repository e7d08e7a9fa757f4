//! A drive as the installer needs it: reads, writes, and the one promise that power cuts are survived by.

use std::io::{self, Read, Seek, SeekFrom, Write};

/// A drive, or something that behaves like one.
///
/// Writes between two barriers may reach the medium in any order, each sector whole or not at all.
pub trait Device {
    /// Size in bytes.
    fn bytes(&self) -> u64;
    /// The least that is written at once, in bytes: 512 or 4096.
    fn sector(&self) -> usize;
    /// Fills `into` from byte `at` on.
    ///
    /// # Errors
    /// When the drive does not read, or ends before.
    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Writes from byte `at` on.
    ///
    /// # Errors
    /// When the drive does not write, or ends before.
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything written is on the medium: nothing written later gets there before it.
    ///
    /// # Errors
    /// When the drive does not say so.
    fn barrier(&mut self) -> io::Result<()>;
    /// Forgets what is remembered of the content, so that the next read asks the drive.
    ///
    /// # Errors
    /// When that cannot be had.
    fn forget(&mut self) -> io::Result<()>;
}

/// A part of a device; nothing outside is read or written through it.
pub struct Span<'a> {
    device: &'a mut dyn Device,
    start: u64,
    bytes: u64,
}

impl std::fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Span {{ start: {}, bytes: {} }}", self.start, self.bytes)
    }
}

impl<'a> Span<'a> {
    /// `bytes` from `start` on.
    ///
    /// # Errors
    /// When the device ends before.
    pub fn new(device: &'a mut dyn Device, start: u64, bytes: u64) -> io::Result<Self> {
        match start.checked_add(bytes) {
            Some(end) if end <= device.bytes() => Ok(Self { device, start, bytes }),
            Some(_) | None => Err(io::Error::other("a partition goes beyond the drive's end")),
        }
    }

    fn at(&self, at: u64, count: usize) -> io::Result<u64> {
        let count = u64::try_from(count).map_err(io::Error::other)?;
        match at.checked_add(count) {
            Some(end) if end <= self.bytes => Ok(self.start + at),
            Some(_) | None => Err(io::Error::other("beyond the partition's end")),
        }
    }

    /// As a stream, for code that wants one.
    pub fn stream(&mut self) -> Stream<'_> {
        Stream { device: self, at: 0 }
    }
}

impl Device for Span<'_> {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector(&self) -> usize {
        self.device.sector()
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let at = self.at(at, into.len())?;
        self.device.read(at, into)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = self.at(at, bytes.len())?;
        self.device.write(at, bytes)
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.device.barrier()
    }

    fn forget(&mut self) -> io::Result<()> {
        self.device.forget()
    }
}

/// A device as a stream.  Flushing it is no barrier: who needs one asks the device.
pub struct Stream<'a> {
    device: &'a mut dyn Device,
    at: u64,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream {{ at: {} }}", self.at)
    }
}

impl Stream<'_> {
    fn step(&mut self, wanted: usize) -> (u64, usize) {
        let left = self.device.bytes().saturating_sub(self.at);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(wanted);
        let at = self.at;
        self.at += u64::try_from(count).unwrap_or(0);
        (at, count)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (at, count) = self.step(into.len());
        self.device.read(at, into.get_mut(..count).unwrap_or_default())?;
        Ok(count)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (at, count) = self.step(bytes.len());
        self.device.write(at, bytes.get(..count).unwrap_or_default())?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.device.bytes().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or_else(|| io::Error::other("a place before the beginning"))?;
        Ok(self.at)
    }
}
