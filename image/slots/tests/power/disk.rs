//! A drive that remembers every write, and what of them a power cut lets through.
//!
//! Between two barriers a drive, and the kernel before it, may write in any order: of each sector that was written since
//! the last barrier, any version may be on the medium.  A sector itself is never half old and half new.

use std::{collections::BTreeMap, io};

use image_slots::Device;

pub(crate) const SECTOR: usize = 512;
type Sectors = BTreeMap<u64, [u8; SECTOR]>;

/// A write of one sector, or a barrier.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Sector(u64, Box<[u8; SECTOR]>),
    Barrier,
}

/// Sparse: what was never written is zero.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    sectors: Sectors,
    bytes: u64,
    pub(crate) log: Vec<Event>,
}

impl Disk {
    pub(crate) fn new(bytes: u64) -> Self {
        Self { sectors: Sectors::new(), bytes, log: Vec::new() }
    }

    pub(crate) fn sector_at(&self, number: u64) -> [u8; SECTOR] {
        self.sectors.get(&number).copied().unwrap_or([0; SECTOR])
    }

    fn numbers(&self, at: u64, count: usize) -> io::Result<std::ops::Range<u64>> {
        let size = u64::try_from(SECTOR).map_err(io::Error::other)?;
        let end = at + u64::try_from(count).map_err(io::Error::other)?;
        if end > self.bytes {
            return Err(io::Error::other("beyond the end"));
        }
        Ok(at / size..end.div_ceil(size))
    }

    fn put(&mut self, number: u64, sector: [u8; SECTOR]) {
        if sector == [0; SECTOR] {
            self.sectors.remove(&number);
        } else {
            self.sectors.insert(number, sector);
        }
    }

    pub(crate) fn content(&self, at: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        let numbers = self.numbers(at, count)?;
        let first = numbers.start;
        numbers.for_each(|number| all.extend(self.sector_at(number)));
        let skip =
            usize::try_from(at).map_err(io::Error::other)? - usize::try_from(first).unwrap_or(0) * SECTOR;
        Ok(all.get(skip..skip + count).unwrap_or_default().to_vec())
    }

    /// The drive after a power cut before event `cut` of `log`: all before the last barrier, and of what came after it
    /// any version of each sector, as `dice` says.
    pub(crate) fn after_cut(&self, log: &[Event], cut: usize, dice: &mut Dice) -> Disk {
        let mut disk = Disk { sectors: self.sectors.clone(), bytes: self.bytes, log: Vec::new() };
        let done = log.get(..cut).unwrap_or_default();
        let sure = done.iter().rposition(|event| matches!(event, Event::Barrier)).map_or(0, |at| at + 1);
        let (sure, open) = done.split_at(sure);
        for event in sure {
            if let Event::Sector(number, sector) = event {
                disk.put(*number, **sector);
            }
        }
        let mut versions: BTreeMap<u64, Vec<[u8; SECTOR]>> = BTreeMap::new();
        for event in open {
            if let Event::Sector(number, sector) = event {
                versions.entry(*number).or_default().push(**sector);
            }
        }
        // One cut in four is in order, as of a drive without a cache.
        let in_order = dice.below(4) == 0;
        for (number, all) in versions {
            let chosen = if in_order { all.len() } else { dice.below(all.len() + 1) };
            if let Some(sector) = chosen.checked_sub(1).and_then(|at| all.get(at)) {
                disk.put(number, *sector);
            }
        }
        disk
    }
}

impl Device for Disk {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn sector(&self) -> usize {
        SECTOR
    }

    fn read(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.content(at, into.len())?);
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let size = u64::try_from(SECTOR).map_err(io::Error::other)?;
        let mut rest = bytes;
        let mut skip = usize::try_from(at % size).map_err(io::Error::other)?;
        for number in self.numbers(at, bytes.len())? {
            let mut sector = self.sector_at(number);
            let (now, later) = rest.split_at(rest.len().min(SECTOR - skip));
            sector[skip..skip + now.len()].copy_from_slice(now);
            self.put(number, sector);
            self.log.push(Event::Sector(number, Box::new(sector)));
            (rest, skip) = (later, 0);
        }
        Ok(())
    }

    fn barrier(&mut self) -> io::Result<()> {
        self.log.push(Event::Barrier);
        Ok(())
    }

    fn forget(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers that look random and are the same each time (SplitMix64, Steele, Lea and Flood 2014).
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}
