//! Writing to a drive: only the span, and only the drive, that somebody has named.

use std::{os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use appliance_model::Serial;

use super::{
    Load, Measured, Span, Target,
    stamp::{Mismatches, Stamp},
    target::{Blocks, rounds},
};
use crate::{
    Watch,
    ring::{Course, Way},
};

/// Longer than any pass over a drive takes: a pass ends with its span.
const PASS: Duration = Duration::from_secs(7 * 86_400);

/// Somebody's word that this span of the drive with this serial may be overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteConsent {
    serial: Serial,
    span: Span,
}

impl WriteConsent {
    /// To be called where a person's, or the site's, consent was read; nobody else has a reason to.
    #[must_use]
    pub fn given(serial: Serial, span: Span) -> Self {
        Self { serial, span }
    }
}

/// What is written where nobody will read it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// Stamped blocks; those of an earlier pass become stale.
    Stamped(Stamp),
    /// The same bytes in each block: costs nothing, proves nothing, and is for measuring rates.
    Same,
}

/// What reading a pass back came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The reads.
    pub measured: Measured,
    /// Sectors that held something else.
    pub mismatches: Mismatches,
}

/// A drive of which a span may be written.
#[derive(Debug)]
pub struct Writable {
    target: Target,
    span: Span,
}

impl Writable {
    /// Opens the block device (or file) at `path` for writing.  `seen` is the serial that it gives now.
    ///
    /// A block device that is mounted, or held by RAID or device mapper, is refused by the kernel (O_EXCL).
    pub fn open(path: &Path, seen: &Serial, consent: WriteConsent) -> Result<Self, String> {
        if *seen != consent.serial {
            return Err(format!(
                "is drive {seen}, the consent is for {}: nothing was written",
                consent.serial
            ));
        }
        let flags = libc::O_DIRECT | libc::O_CLOEXEC | libc::O_EXCL;
        let file = std::fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let target = Target::from_file(file, seen, "writes, alone")?;
        if consent.span.end() > target.bytes() {
            return Err(format!(
                "has {} bytes, the consent reaches to {}: nothing was written",
                target.bytes(),
                consent.span.end()
            ));
        }
        Ok(Self { target, span: consent.span })
    }

    /// The span that may be written.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span
    }

    /// Writes into the span for `time`.
    pub fn write(
        &self,
        load: Load,
        payload: Payload,
        time: Duration,
        watch: Watch<'_>,
    ) -> Result<Measured, String> {
        let blocks = Blocks::new(load, self.span, self.target.bytes())?;
        self.target.work(Way::Write, load, &mut Filled { blocks, payload }, time, watch)
    }

    /// Writes rounds of `each`, as [`Target::rounds`] reads them.
    pub fn rounds(
        &self,
        load: Load,
        payload: Payload,
        each: Duration,
        rounds_max: usize,
        settled: &dyn Fn(&[u64]) -> bool,
        watch: Watch<'_>,
    ) -> Result<Vec<Measured>, String> {
        let write = |part: Watch<'_>| self.write(load, payload, each, part);
        rounds(rounds_max, settled, watch, &write)
    }

    /// Writes each block of the span once, and has the drive put it where it stays.
    pub fn fill(&self, load: Load, stamp: Stamp, watch: Watch<'_>) -> Result<Measured, String> {
        let blocks = self.pass(load)?;
        let mut filled = Filled { blocks, payload: Payload::Stamped(stamp) };
        let measured = self.target.work(Way::Write, load, &mut filled, PASS, watch)?;
        self.target.file().sync_all().map_err(|error| format!("could not flush its cache: {error}"))?;
        Ok(measured)
    }

    /// Reads each block of the span once and compares it with what a pass of [`Writable::fill`] has left there.
    pub fn verify(&self, load: Load, stamp: Stamp, watch: Watch<'_>) -> Result<Checked, String> {
        let blocks = self.pass(load)?;
        let mut looked = Looked { blocks, stamp, found: Mismatches::default() };
        let measured = self.target.work(Way::Read, load, &mut looked, PASS, watch)?;
        Ok(Checked { measured, mismatches: looked.found })
    }

    /// In sequence, whatever the load says, so that each block comes once; nothing may be left over.
    fn pass(&self, load: Load) -> Result<Blocks, String> {
        let load = Load { order: super::Order::Sequential, ..load };
        if !self.span.bytes().is_multiple_of(u64::from(load.block_bytes.max(1))) {
            return Err(format!("{} bytes are not whole blocks of {}", self.span.bytes(), load.block_bytes));
        }
        Ok(Blocks::new(load, self.span, self.target.bytes())?.once())
    }
}

struct Filled {
    blocks: Blocks,
    payload: Payload,
}

impl Course for Filled {
    fn next(&mut self) -> Option<u64> {
        self.blocks.next()
    }

    fn looks(&self) -> bool {
        self.payload != Payload::Same
    }

    fn block(&mut self, offset: u64, block: &mut [u8]) {
        if let Payload::Stamped(stamp) = self.payload {
            stamp.fill(offset, block);
        }
    }
}

struct Looked {
    blocks: Blocks,
    stamp: Stamp,
    found: Mismatches,
}

impl Course for Looked {
    fn next(&mut self) -> Option<u64> {
        self.blocks.next()
    }

    fn looks(&self) -> bool {
        true
    }

    fn block(&mut self, offset: u64, block: &mut [u8]) {
        self.stamp.check(offset, block, &mut self.found);
    }
}
