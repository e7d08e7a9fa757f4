//! A GPU's memory: blocks at addresses of its own, one bit of which may be stuck.

/// Where a GPU's addresses begin: far from any of the host's.
const BEGIN: u64 = 0x7100_0000_0000;
/// Blocks begin at multiples of this, as the driver promises.
const ALIGN: u64 = 256;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By address; there are few.
    blocks: Vec<(u64, Vec<u8>)>,
    /// Bytes given so far: addresses are not given twice.
    given: u64,
    /// Fault: this byte from the beginning has these bits stuck at one.
    stuck: Option<(u64, u8)>,
    /// Fault: a bit of the next store is turned.
    pub(super) turn: bool,
}

impl Memory {
    pub(super) fn new(stuck: Option<(u64, u8)>) -> Self {
        Self { stuck, ..Self::default() }
    }

    pub(super) fn used(&self) -> u64 {
        self.blocks.iter().map(|(_, block)| block.len() as u64).sum()
    }

    pub(super) fn take(&mut self, bytes: u64) -> Option<u64> {
        let at = BEGIN + self.given;
        self.given += bytes.next_multiple_of(ALIGN);
        self.blocks.push((at, vec![0; usize::try_from(bytes).ok()?]));
        Some(at)
    }

    pub(super) fn give(&mut self, at: u64) -> Option<()> {
        let place = self.blocks.iter().position(|(begin, _)| *begin == at)?;
        self.blocks.swap_remove(place);
        Some(())
    }

    fn find(&self, address: u64, bytes: usize) -> Option<(usize, std::ops::Range<usize>)> {
        self.blocks.iter().enumerate().find_map(|(place, (begin, block))| {
            let from = usize::try_from(address.checked_sub(*begin)?).ok()?;
            let to = from.checked_add(bytes)?;
            (to <= block.len()).then_some((place, from..to))
        })
    }

    pub(super) fn get(&self, address: u64, bytes: usize) -> Option<&[u8]> {
        let (place, range) = self.find(address, bytes)?;
        self.blocks.get(place)?.1.get(range)
    }

    pub(super) fn put(&mut self, address: u64, bytes: &[u8]) -> Option<()> {
        let (place, range) = self.find(address, bytes.len())?;
        let into = self.blocks.get_mut(place)?.1.get_mut(range)?;
        into.copy_from_slice(bytes);
        if std::mem::take(&mut self.turn) {
            *into.first_mut()? ^= 1;
        }
        if let Some((byte, bits)) = self.stuck
            && let Some(byte) =
                (BEGIN + byte).checked_sub(address).and_then(|byte| usize::try_from(byte).ok())
            && let Some(byte) = into.get_mut(byte)
        {
            *byte |= bits;
        }
        Some(())
    }
}
