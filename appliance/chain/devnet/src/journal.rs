//! The chain on disk: one append-only file of checked lines, each flushed to the medium before the caller goes on.
//!
//! A line is eight hex digits of the Keccak hash of what follows, a space, and one JSON record.  A last line without
//! its newline was never acknowledged: it is cut off with a note.  A complete line that does not check is damage,
//! and damage is an error, never a guess.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, B256, Bytes, U256, hex, keccak256};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Name of the file in the chain's directory.
const FILE: &str = "chain.log";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record {
    /// The first line.
    Genesis {
        /// Format of this file: 1.
        format: u32,
        /// Chain id.
        chain_id: u64,
        /// Seconds since 1970.
        time: u64,
        /// Goes into the genesis header's extra data, so that two chains never share a hash.
        salt: Bytes,
        /// Endowed accounts, in wei.
        accounts: Vec<(Address, U256)>,
    },
    /// A transaction was accepted into the pool.
    Tx(Bytes),
    /// A block was made.
    Block {
        /// Height.
        number: u64,
        /// Seconds since 1970.
        time: u64,
        /// Hashes of its transactions, in order.
        txs: Vec<B256>,
        /// Its hash: replay must arrive at the same.
        hash: B256,
    },
    /// Test clocks: seconds to add to the real time from here on.
    Offset(u64),
}

/// The open file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next record goes: everything before it is whole.
    end: u64,
    /// A failed write could not be undone; nothing more may be appended.
    broken: bool,
}

impl Journal {
    /// Opens or makes the file under `dir` and returns what it holds.  One process at a time.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<Record>), Error> {
        let path = dir.join(FILE);
        let io = |tried: &'static str| {
            let path = path.clone();
            move |source: io::Error| Error::Io { tried, path, source }
        };
        std::fs::create_dir_all(dir).map_err(io("make the directory of"))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        file.try_lock().map_err(|_| Error::InUse { path: path.clone() })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read"))?;
        let (records, good) = parse(&path, &bytes)?;
        let end = u64::try_from(good).unwrap_or(u64::MAX);
        if good < bytes.len() {
            let lost = bytes.len() - good;
            tracing::warn!(path = %path.display(), bytes = lost, "cut off a last record that was never acknowledged");
            file.set_len(end).and_then(|()| file.sync_all()).map_err(io("cut the torn tail of"))?;
        }
        // The name itself must survive a power cut too.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("flush the directory of"))?;
        Ok((Self { path, file, end, broken: false }, records))
    }

    /// Writes one record and waits until it is on the medium.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), Error> {
        if self.broken {
            let source = io::Error::other("an earlier write failed and could not be undone");
            return Err(Error::Io { tried: "append to", path: self.path.clone(), source });
        }
        let line = encode(record);
        let written = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(line.as_bytes()))
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.end = self.end.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
                Ok(())
            }
            Err(source) => {
                self.broken = self.file.set_len(self.end).and_then(|()| self.file.sync_all()).is_err();
                Err(Error::Io { tried: "append to", path: self.path.clone(), source })
            }
        }
    }
}

fn encode(record: &Record) -> String {
    // Serialising these plain types to memory cannot fail; if it did, the line would fail its check at reopen.
    let json = serde_json::to_string(record).unwrap_or_default();
    format!("{} {json}\n", check(json.as_bytes()))
}

fn check(json: &[u8]) -> String {
    hex::encode(keccak256(json).get(..4).unwrap_or_default())
}

/// All whole records, and how many bytes they take.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, usize), Error> {
    let mut records = Vec::new();
    let mut good = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let damaged = || Error::Damaged { path: path.to_owned(), line: records.len() + 1 };
        let (sum, json) = text.split_at_checked(9).ok_or_else(damaged)?;
        if sum != format!("{} ", check(json)).as_bytes() {
            return Err(damaged());
        }
        let record = serde_json::from_slice(json).map_err(|_| damaged())?;
        records.push(record);
        good += line.len();
    }
    Ok((records, good))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_records() -> Vec<Record> {
        vec![
            Record::Tx(Bytes::from_static(&[1, 2, 3])),
            Record::Offset(7),
            Record::Block { number: 1, time: 5, txs: vec![B256::ZERO], hash: B256::repeat_byte(9) },
        ]
    }

    #[test]
    fn a_file_cut_at_any_byte_opens_with_its_whole_records() {
        let text: String = some_records().iter().map(encode).collect();
        for cut in 0..text.len() {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(FILE), &text.as_bytes()[..cut]).unwrap();
            let (mut journal, records) = Journal::open(dir.path()).unwrap();
            let whole = text[..cut].matches('\n').count();
            assert_eq!(records, some_records()[..whole], "cut at {cut}");
            journal.append(&Record::Offset(99)).unwrap();
            drop(journal);
            let (_, again) = Journal::open(dir.path()).unwrap();
            assert_eq!(again.len(), whole + 1, "cut at {cut}");
            assert_eq!(again.last(), Some(&Record::Offset(99)));
        }
    }

    #[test]
    fn a_changed_byte_is_damage() {
        let mut text: Vec<u8> = some_records().iter().map(encode).collect::<String>().into();
        text[12] ^= 1;
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), &text).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(Error::Damaged { line: 1, .. })));
    }

    #[test]
    fn two_processes_cannot_share_a_chain() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path()).unwrap();
        assert!(matches!(Journal::open(dir.path()), Err(Error::InUse { .. })));
        drop(first);
        Journal::open(dir.path()).unwrap();
    }
}
