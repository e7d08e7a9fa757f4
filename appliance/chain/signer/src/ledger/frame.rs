//! Commands cut into reports of 64 bytes, and answers put together from them.  Pure.
//!
//! Ledger's transport (`doc/ethapp.adoc` of their Ethereum app, "Transport protocol"): channel, tag, sequence number,
//! and in the first report the length of what follows.

/// Bytes of a report.
pub(super) const REPORT: usize = 64;

/// Fixed because nothing multiplexes here, and implementations exist that drop a leading zero.
const CHANNEL: [u8; 2] = [0x01, 0x01];
const TAG_APDU: u8 = 0x05;
const HEAD: usize = 5;
/// The longest answer there is: 255 bytes and a status word, with room.
const ANSWER_BYTES_MAX: usize = 512;

/// A command's reports; `None` where it is longer than any command may be.
pub(super) fn reports(apdu: &[u8]) -> Option<Vec<[u8; REPORT]>> {
    let length = u16::try_from(apdu.len()).ok()?.to_be_bytes();
    let payload = [&length[..], apdu].concat();
    let mut found = Vec::new();
    for (sequence, part) in payload.chunks(REPORT - HEAD).enumerate() {
        let mut report = [0; REPORT];
        let [high, low] = u16::try_from(sequence).ok()?.to_be_bytes();
        report[..HEAD].copy_from_slice(&[CHANNEL[0], CHANNEL[1], TAG_APDU, high, low]);
        report[HEAD..HEAD + part.len()].copy_from_slice(part);
        found.push(report);
    }
    Some(found)
}

/// An answer of which some reports are here.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    wanted: Option<usize>,
    bytes: Vec<u8>,
    sequence: u16,
}

impl Gathering {
    /// Takes a report; the answer, when it is whole.  Reports on other channels are other programs' and are passed over.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(&mut self, report: &[u8; REPORT]) -> Result<Option<Vec<u8>>, &'static str> {
        let (head, mut rest) = report.split_at(HEAD);
        if head[..2] != CHANNEL {
            return Ok(None);
        }
        if head[2] != TAG_APDU {
            return Err("a report that is no part of an answer");
        }
        if head[3..] != self.sequence.to_be_bytes() {
            return Err("a report out of its turn");
        }
        let wanted = match self.wanted {
            Some(wanted) => wanted,
            None => {
                let wanted = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                if !(2..=ANSWER_BYTES_MAX).contains(&wanted) {
                    return Err("an answer of a length that none has");
                }
                rest = &rest[2..];
                *self.wanted.insert(wanted)
            }
        };
        self.sequence = self.sequence.wrapping_add(1);
        let missing = wanted - self.bytes.len();
        self.bytes.extend_from_slice(&rest[..missing.min(rest.len())]);
        Ok((self.bytes.len() == wanted).then(|| std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(reports: &[[u8; REPORT]]) -> Result<Option<Vec<u8>>, &'static str> {
        let mut gathering = Gathering::default();
        let mut last = Ok(None);
        for report in reports {
            last = gathering.take(report);
            if !matches!(last, Ok(None)) {
                break;
            }
        }
        last
    }

    /// If this fails, change your code, not this test: devices read these bytes.
    #[test]
    fn a_short_command_is_one_report() {
        let made = reports(&[0xe0, 0x06, 0, 0, 0]).unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(made[0][..13], [1, 1, 5, 0, 0, 0, 5, 0xe0, 6, 0, 0, 0, 0]);
        assert!(made[0][13..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn every_length_comes_back_as_it_was() {
        for length in [2, 56, 57, 58, 115, 116, 117, 260, ANSWER_BYTES_MAX] {
            let bytes: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let made = reports(&bytes).unwrap();
            assert_eq!(made.len(), (length + 2).div_ceil(59), "{length}");
            assert_eq!(gathered(&made).unwrap().unwrap(), bytes);
        }
        assert!(reports(&vec![0; 65_536]).is_none());
    }

    #[test]
    fn what_is_no_answer_is_said_and_what_is_others_is_passed_over() {
        let whole = reports(&[7; 100]).unwrap();
        let change = |index: usize, at: usize, to: u8| {
            let mut changed = whole.clone();
            changed[index][at] = to;
            changed
        };
        for (reports, words) in [
            (change(0, 2, 2), "no part"),
            (change(1, 4, 5), "out of its turn"),
            (change(0, 5, 9), "of a length"),
            (
                change(0, 6, 1)
                    .into_iter()
                    .map(|mut r| {
                        r[5] = 0;
                        r
                    })
                    .collect(),
                "of a length",
            ),
        ] {
            assert!(gathered(&reports).unwrap_err().contains(words), "{words}");
        }
        let others = [change(0, 0, 0x42), whole.clone()].concat();
        assert_eq!(gathered(&others[..1]).unwrap(), None);
        assert_eq!(gathered(&[&others[..1], &whole[..]].concat()).unwrap().unwrap(), [7; 100]);
        assert_eq!(gathered(&whole[..1]).unwrap(), None, "it waits for the rest");
    }
}
