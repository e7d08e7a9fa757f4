//! Places of a drive: what they hold, what is written there to see it go, what is left of both.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
};

use appliance_model::erase::{SAMPLE_BYTES, SAMPLES_MAX, Sample, Verification};
use sha2::{Digest as _, Sha256};

use crate::buffers::Buffers;

const BLOCK: u64 = SAMPLE_BYTES as u64;

/// The block devices of a drive, open for reading and writing past the page cache, and for nobody else.
#[derive(Debug)]
pub(super) struct Places {
    parts: Vec<(File, u64)>,
}

impl Places {
    /// `O_EXCL` on a block device is refused while it, or a partition of it, is mounted, swapped to or part of another.
    pub(super) fn open(dev: &Path, names: &[String]) -> Result<Self, String> {
        let open = |name: &String| {
            let flags = libc::O_DIRECT | libc::O_CLOEXEC | libc::O_EXCL;
            let mut options = OpenOptions::new();
            let mut file =
                options.read(true).write(true).custom_flags(flags).open(dev.join(name)).map_err(|error| {
                    match error.raw_os_error() {
                        Some(libc::EBUSY) => format!("{name} is in use"),
                        _ => format!("{name} could not be opened: {error}"),
                    }
                })?;
            let bytes = file.seek(SeekFrom::End(0)).map_err(|error| format!("{name}: its size: {error}"))?;
            if bytes < BLOCK {
                return Err(format!("{name} has {bytes} bytes: it is gone, or was never ready"));
            }
            Ok((file, bytes))
        };
        Ok(Self { parts: names.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Over all parts.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| *bytes).sum()
    }

    /// Reads whole blocks from a part's start, or up to its end for a negative offset; fewer at the end of a small one.
    pub(super) fn ends(&self, part: usize, blocks: u64) -> Option<(Vec<u8>, Vec<u8>)> {
        let (_, bytes) = self.parts.get(part)?;
        let all = bytes / BLOCK;
        let count = blocks.min(all);
        let read = |from: u64| {
            let blocks = (from..from + count).map(|block| self.read(part, block * BLOCK).ok());
            blocks.collect::<Option<Vec<_>>>().map(|blocks| blocks.concat())
        };
        // The last sectors of a drive whose size is no multiple of a block count as its end too.
        Some((read(0)?, read(all - count)?))
    }

    /// One place in each of as many equal stretches, the first and the last block included.
    pub(super) fn remember(&self, serial: &str) -> Result<Vec<Sample>, String> {
        let mut samples = Vec::new();
        let total = self.bytes().max(1);
        for (part, (_, bytes)) in self.parts.iter().enumerate() {
            let blocks = bytes / BLOCK;
            let share = u128::from(*bytes) * SAMPLES_MAX as u128 / u128::from(total);
            let count = u64::try_from(share).unwrap_or(2).clamp(2, SAMPLES_MAX as u64).min(blocks);
            for index in 0..count {
                let (from, to) = (blocks * index / count, blocks * (index + 1) / count);
                let within = match index {
                    0 => 0,
                    _ if index + 1 == count => to - from - 1,
                    _ => spread(serial, part, index) % (to - from).max(1),
                };
                let byte = (from + within) * BLOCK;
                let planted = index % 2 == 1;
                let was = if planted {
                    Some(name(&planted_block(serial, part, byte)))
                } else {
                    self.read(part, byte)
                        .ok()
                        .filter(|block| uniform(block).is_none())
                        .map(|block| name(&block))
                };
                let part = u32::try_from(part).map_err(|_| "too many namespaces")?;
                samples.push(Sample { part, byte, was, planted });
            }
        }
        Ok(samples)
    }

    /// Writes what has to go, and reads it to see that it is there.
    pub(super) fn plant(&self, serial: &str, samples: &[Sample]) -> Result<(), String> {
        for sample in samples.iter().filter(|sample| sample.planted) {
            let part = usize::try_from(sample.part).unwrap_or(usize::MAX);
            let block = planted_block(serial, part, sample.byte);
            let written = self.write(part, sample.byte, &block).and_then(|()| self.read(part, sample.byte));
            match written {
                Ok(found) if found == block => {}
                Ok(_) => {
                    return Err(format!(
                        "byte {} does not read as it was just written: nothing that this drive shows proves anything",
                        sample.byte
                    ));
                }
                Err(error) => {
                    return Err(format!("byte {} could not be written and read: {error}", sample.byte));
                }
            }
        }
        Ok(())
    }

    /// Looks at all places again.
    pub(super) fn read_back(&self, samples: &[Sample]) -> Result<Verification, String> {
        let mut found = Verification { sample_bytes: SAMPLE_BYTES, ..Verification::default() };
        for sample in samples.iter().take(2 * SAMPLES_MAX) {
            found.samples += 1;
            found.known += u32::from(sample.was.is_some());
            found.planted += u32::from(sample.planted);
            let part = usize::try_from(sample.part).unwrap_or(usize::MAX);
            match self.read(part, sample.byte) {
                Err(_) => found.unreadable += 1,
                Ok(block) => {
                    match uniform(&block) {
                        Some(0) => found.zeros += 1,
                        Some(_) => found.uniform += 1,
                        None => found.other += 1,
                    }
                    found.remained += u32::from(sample.was.as_ref() == Some(&name(&block)));
                }
            }
        }
        if found.samples == 0 { Err("there is no place to look at".into()) } else { Ok(found) }
    }

    fn read(&self, part: usize, byte: u64) -> io::Result<Vec<u8>> {
        let (file, mut buffers) = self.at(part)?;
        let block = buffers.bytes(0);
        file.read_exact_at(block, byte)?;
        Ok(block.to_vec())
    }

    fn write(&self, part: usize, byte: u64, data: &[u8]) -> io::Result<()> {
        let (file, mut buffers) = self.at(part)?;
        let block = buffers.bytes(0);
        if block.len() != data.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        block.copy_from_slice(data);
        file.write_all_at(block, byte)
    }

    fn at(&self, part: usize) -> io::Result<(&File, Buffers)> {
        let (file, _) = self.parts.get(part).ok_or(io::ErrorKind::NotFound)?;
        let size = usize::try_from(SAMPLE_BYTES).unwrap_or(0);
        Ok((file, Buffers::new(1, size).ok_or(io::ErrorKind::OutOfMemory)?))
    }
}

/// The byte that fills it, if one does.
fn uniform(block: &[u8]) -> Option<u8> {
    let first = *block.first()?;
    block.iter().all(|byte| *byte == first).then_some(first)
}

fn name(block: &[u8]) -> String {
    Sha256::digest(block).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Where in its stretch a place lies: the same for a drive whenever it is asked, and no pattern that a drive could know.
fn spread(serial: &str, part: usize, index: u64) -> u64 {
    let hash = Sha256::digest(format!("scalerforge/erase/place {part} {index} {serial}"));
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// What is written there to see it go: made again after a power cut, so it is made of what is known then.
fn planted_block(serial: &str, part: usize, byte: u64) -> Vec<u8> {
    let line =
        |count: u64| Sha256::digest(format!("scalerforge/erase/planted {part} {byte} {count} {serial}"));
    (0..BLOCK / 32).flat_map(line).collect()
}
