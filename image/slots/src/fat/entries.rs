//! What a FAT directory holds, and the sectors that change it.
//!
//! A file takes one slot for its short name, which has size and first cluster, and before it slots for its long name.
//! They are written together in one sector: long and short name apart would be another file's name after a power cut.

use super::Stored;

/// Size of a slot.
pub(super) const SLOT_BYTES: usize = 32;
const LONG: u8 = 0x0f;
const VOLUME: u8 = 0x08;
const FOLDER: u8 = 0x10;
const GONE: u8 = 0xe5;
/// 1980-01-01: firmware refuses to rename a file without a date, and the boot loader counts tries by renaming.
const FIRST_DAY: [u8; 2] = [0x21, 0];
/// Letters of a long name in one slot, and where.
const LETTERS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// Sector, and slot in it.
type Place = (usize, usize);

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its long name, else its short one.
    pub name: String,
    /// Size in bytes.
    pub bytes: u32,
    /// Whether it is a folder.
    pub folder: bool,
    pub(super) first: u32,
    short: [u8; 11],
    places: Vec<Place>,
}

impl File {
    /// Whether that is its name, by FAT's idea of letters.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// A directory's sectors, with their places on the volume.
pub(super) struct Slots {
    sectors: Vec<(u64, Vec<u8>)>,
}

impl Slots {
    pub(super) fn new(sectors: Vec<(u64, Vec<u8>)>) -> Self {
        Self { sectors }
    }

    fn slot(&self, (sector, slot): Place) -> Option<&[u8; SLOT_BYTES]> {
        self.sectors.get(sector)?.1.get(slot * SLOT_BYTES..)?.first_chunk()
    }

    fn places(&self) -> impl Iterator<Item = Place> {
        let count = |sector: &[u8]| sector.len() / SLOT_BYTES;
        let all = self.sectors.iter().enumerate();
        all.flat_map(move |(number, (_, sector))| (0..count(sector)).map(move |slot| (number, slot)))
    }

    pub(super) fn files(&self) -> Vec<File> {
        let mut files = Vec::new();
        let mut long: Vec<Place> = Vec::new();
        for place in self.places() {
            let Some(slot) = self.slot(place) else { break };
            match (slot[0], slot[11]) {
                (0, _) => break,
                (GONE, _) => long.clear(),
                (_, LONG) => long.push(place),
                (_, kind) if kind & VOLUME != 0 => long.clear(),
                (_, kind) => {
                    let mut short = [0; 11];
                    short.copy_from_slice(&slot[..11]);
                    let name = self.long_name(&long, &short);
                    let mut places = if name.is_some() { std::mem::take(&mut long) } else { Vec::new() };
                    long.clear();
                    places.push(place);
                    files.push(File {
                        name: name.unwrap_or_else(|| short_text(&short)),
                        bytes: u32::from_le_bytes([slot[28], slot[29], slot[30], slot[31]]),
                        folder: kind & FOLDER != 0,
                        first: u32::from_le_bytes([slot[26], slot[27], slot[20], slot[21]]),
                        short,
                        places,
                    });
                }
            }
        }
        files
    }

    /// The long name in these slots, if they belong to this short one.
    fn long_name(&self, places: &[Place], short: &[u8; 11]) -> Option<String> {
        let sum = checksum(short);
        let mut units = Vec::new();
        let count = u8::try_from(places.len()).ok().filter(|count| *count > 0)?;
        for (number, place) in (1..=count).zip(places.iter().rev()) {
            let slot = self.slot(*place)?;
            let wanted = if number == count { number | 0x40 } else { number };
            if slot[0] != wanted || slot[13] != sum {
                return None;
            }
            units.extend(LETTERS.map(|at| u16::from_le_bytes([slot[at], slot[at + 1]])));
        }
        let letters = char::decode_utf16(units.into_iter().take_while(|unit| *unit != 0 && *unit != 0xffff));
        letters.collect::<Result<_, _>>().ok()
    }

    /// The sectors that make a file, to be written in this order; the last one makes it.
    pub(super) fn added(&self, name: &str, stored: Stored) -> Option<Vec<(u64, Vec<u8>)>> {
        self.inserted(self.new_slots(name, stored, None)?)
    }

    /// The same for a folder, whose size is that of its clusters and not written down.
    pub(super) fn added_folder(&self, name: &str, first: u32) -> Option<Vec<(u64, Vec<u8>)>> {
        let mut slots = self.new_slots(name, Stored { first, bytes: 0 }, None)?;
        slots.last_mut()?[11] = FOLDER;
        self.inserted(slots)
    }

    fn inserted(&self, slots: Vec<[u8; SLOT_BYTES]>) -> Option<Vec<(u64, Vec<u8>)>> {
        let needed = slots.len();
        for (number, (at, sector)) in self.sectors.iter().enumerate() {
            let free = |slot: &[u8]| matches!(slot.first(), Some(&GONE | &0));
            let states: Vec<bool> = sector.chunks_exact(SLOT_BYTES).map(free).collect();
            // Behind the first zero nothing is read: from there on all is free.
            let end = sector.chunks_exact(SLOT_BYTES).position(|slot| slot.first() == Some(&0));
            let run = states.windows(needed).position(|run| run.iter().all(|free| *free));
            let run = match (run, end) {
                (Some(run), Some(end)) => Some(run.min(end)),
                (run, _) => run,
            };
            if let Some(run) = run.filter(|run| run + needed <= states.len()) {
                let mut new = sector.clone();
                fill(&mut new, run, &slots);
                return Some(vec![(*at, new)]);
            }
            if let Some(end) = end {
                // Too little room before the sector's end: into the next one, which is read once this one has no zero.
                let (next_at, next) = self.sectors.get(number + 1)?;
                let mut next = vec![0; next.len()];
                fill(&mut next, 0, &slots);
                let mut closed = sector.clone();
                closed.chunks_exact_mut(SLOT_BYTES).skip(end).for_each(|slot| slot[0] = GONE);
                return Some(vec![(*next_at, next), (*at, closed)]);
            }
        }
        None
    }

    /// The sectors that take a file away: that with the short name first.
    pub(super) fn removed(&self, file: &File) -> Vec<(u64, Vec<u8>)> {
        let mut numbers: Vec<usize> = file.places.iter().map(|(sector, _)| *sector).collect();
        numbers.dedup();
        let gone = |number: usize| {
            let (at, sector) = self.sectors.get(number)?;
            let mut sector = sector.clone();
            for (_, slot) in file.places.iter().filter(|(of, _)| *of == number) {
                *sector.get_mut(slot * SLOT_BYTES)? = GONE;
            }
            Some((*at, sector))
        };
        numbers.into_iter().rev().filter_map(gone).collect()
    }

    /// The one sector that gives a file another name; none if its own has no room for that.
    pub(super) fn renamed(&self, file: &File, name: &str) -> Option<(u64, Vec<u8>)> {
        let (number, _) = *file.places.first()?;
        let one = file.places.iter().all(|(sector, _)| *sector == number);
        let slots = self.new_slots(name, Stored { first: file.first, bytes: file.bytes }, Some(file))?;
        let start = file.places.len().checked_sub(slots.len()).filter(|_| one)?;
        let (at, sector) = self.sectors.get(number)?;
        let mut sector = sector.clone();
        for (_, slot) in file.places.iter().take(start) {
            *sector.get_mut(slot * SLOT_BYTES)? = GONE;
        }
        fill(&mut sector, file.places.get(start)?.1, &slots);
        Some((*at, sector))
    }

    /// The one sector that gives a file another content.
    pub(super) fn replaced(&self, file: &File, stored: Stored) -> Option<(u64, Vec<u8>)> {
        let place = *file.places.last()?;
        let mut slot = *self.slot(place)?;
        content(&mut slot, stored);
        let (at, sector) = self.sectors.get(place.0)?;
        let mut sector = sector.clone();
        fill(&mut sector, place.1, &[slot]);
        Some((*at, sector))
    }

    fn new_slots(&self, name: &str, stored: Stored, instead: Option<&File>) -> Option<Vec<[u8; SLOT_BYTES]>> {
        let taken: Vec<[u8; 11]> =
            self.files().iter().filter(|file| Some(*file) != instead).map(|file| file.short).collect();
        let short = (b'1'..=b'9').map(|tail| short(name, tail)).find(|short| !taken.contains(short))?;
        let sum = checksum(&short);
        let mut units: Vec<u16> = name.encode_utf16().collect();
        if !units.len().is_multiple_of(LETTERS.len()) {
            units.push(0);
            units.resize(units.len().next_multiple_of(LETTERS.len()), 0xffff);
        }
        let parts: Vec<&[u16]> = units.chunks(LETTERS.len()).collect();
        let count = u8::try_from(parts.len()).ok().filter(|count| *count <= 20)?;
        let mut slots = Vec::new();
        for (number, part) in (1..=count).zip(parts).rev() {
            let mut slot = [0; SLOT_BYTES];
            slot[0] = if number == count { number | 0x40 } else { number };
            slot[11] = LONG;
            slot[13] = sum;
            for (at, unit) in LETTERS.into_iter().zip(part) {
                slot[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            slots.push(slot);
        }
        let mut slot = [0; SLOT_BYTES];
        slot[..11].copy_from_slice(&short);
        slot[11] = 0x20;
        for at in [16, 18, 24] {
            slot[at..at + 2].copy_from_slice(&FIRST_DAY);
        }
        content(&mut slot, stored);
        slots.push(slot);
        Some(slots)
    }
}

/// What every folder begins with: itself, and the folder that it is in.
pub(super) fn dots(own: u32, parent: u32) -> [[u8; SLOT_BYTES]; 2] {
    let dot = |name: &[u8], first: u32| {
        let mut slot = [0; SLOT_BYTES];
        slot[..11].fill(b' ');
        slot[..name.len()].copy_from_slice(name);
        slot[11] = FOLDER;
        for at in [16, 18, 24] {
            slot[at..at + 2].copy_from_slice(&FIRST_DAY);
        }
        content(&mut slot, Stored { first, bytes: 0 });
        slot
    };
    [dot(b".", own), dot(b"..", parent)]
}

fn fill(sector: &mut [u8], from: usize, slots: &[[u8; SLOT_BYTES]]) {
    for (to, slot) in sector.chunks_exact_mut(SLOT_BYTES).skip(from).zip(slots) {
        to.copy_from_slice(slot);
    }
}

fn content(slot: &mut [u8; SLOT_BYTES], stored: Stored) {
    let [a, b, c, d] = stored.first.to_le_bytes();
    (slot[20], slot[21], slot[26], slot[27]) = (c, d, a, b);
    slot[28..].copy_from_slice(&stored.bytes.to_le_bytes());
}

/// A short name of six letters, `~` and a digit.
fn short(name: &str, tail: u8) -> [u8; 11] {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let letters = |text: &str, most: usize| -> Vec<u8> {
        text.bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|byte| byte.to_ascii_uppercase())
            .take(most)
            .collect()
    };
    let mut out = [b' '; 11];
    let first = [letters(stem, 6), vec![b'~', tail]].concat();
    out.iter_mut().zip(first).for_each(|(to, from)| *to = from);
    out.iter_mut().skip(8).zip(letters(ending, 3)).for_each(|(to, from)| *to = from);
    out
}

fn short_text(short: &[u8; 11]) -> String {
    let text = |part: &[u8]| String::from_utf8_lossy(part).trim_end().to_owned();
    let (stem, ending) = (text(&short[..8]), text(&short[8..]));
    if ending.is_empty() { stem } else { format!("{stem}.{ending}") }
}

/// What long names carry of their short one.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}
