//! A controller's good answers in a handshake, and what they are the answers to: the transcripts that the client is
//! tested by (`appliance/ipmi/tests/data`).

/// The user of the transcripts.
pub const USER: &str = "operator";
/// Its password.
pub const PASSWORD: &str = "Pa55word!";
/// Our session id.
pub const ENTROPY_SESSION: u32 = 0xa0a1_a2a3;
/// Our tag.
pub const ENTROPY_TAG: u8 = 0x2a;
/// Our random number.
pub const ENTROPY_RANDOM: [u8; 16] = *b"0123456789:;<=>?";

const SEVENTEEN: &str = include_str!("../../../appliance/ipmi/tests/data/suite17.txt");
const THREE: &str = include_str!("../../../appliance/ipmi/tests/data/suite3.txt");

/// Answers to each step, in order, then one within the session.
#[must_use]
pub fn answers(seventeen: bool) -> Vec<Vec<u8>> {
    let text = if seventeen { SEVENTEEN } else { THREE };
    let hex = text.lines().filter_map(|line| line.strip_prefix("< ")?.split_once(": "));
    hex.map(|(_, hex)| super::unhex(hex)).collect()
}

/// Inputs of the target to begin with.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (mode, seventeen) in [(0, true), (1, false)] {
        for (state, answer) in (0u8..).zip(answers(seventeen)) {
            let length = u8::try_from(answer.len()).unwrap();
            out.push([&[mode, state, length][..], &answer].concat());
        }
    }
    // Answers to walks: code, length, data.
    let device = [&[0, 11][..], &[0x20, 0, 2, 0x31, 2, 0x9f, 0x91, 0x12, 0, 2, 0xf]].concat();
    let entry =
        [&[0, 18, 0xff, 0xff][..], &[1, 0, 2, 1, 2, 3, 4, 0x20, 0, 4, 1, 7, 1, 0x59, 0x60, 0x50]].concat();
    let info = [&[0, 14][..], &[0x51, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2]].concat();
    let record = record();
    let body = u8::try_from(record.len() - 5).unwrap();
    let head = [&[0, 7, 0xff, 0xff][..], &record[..5]].concat();
    let rest = [&[0, body + 2, 0xff, 0xff][..], &record[5..]].concat();
    out.push([&[2, 0][..], &device, &[0, 2, 1, 0], &head, &rest].concat());
    out.push([&[2, 1][..], &info, &entry].concat());
    let fru = fru();
    let length = u8::try_from(fru.len()).unwrap();
    let piece = [&[0, length + 1, length][..], &fru].concat();
    out.push([&[2, 2, 0, 3, length, 0, 0][..], &piece].concat());
    out.push([&[2, 5][..], &device, &[0, 16], &[7; 16], &[0, 3, length, 0, 0], &piece].concat());
    out.push([&[3][..], &record].concat());
    out.push([&[3][..], &fru].concat());
    out.push([&[4, 0xd0, 0][..], &[8, 1, 0, 0, 0, b'b', b'o', b'o', b't', 4, 0, 1, 5, 0]].concat());
    out
}

/// A full sensor record.
fn record() -> Vec<u8> {
    let mut body = vec![0x20, 0, 1, 7, 1, 0x7f, 0x68, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    body.extend([0, 1, 0, 0, 0, 0, 0]);
    body.extend([0; 17]);
    body.extend(b"\xc3CPU");
    [&[1, 0, 0x51, 1, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// A FRU with a chassis area.
fn fru() -> Vec<u8> {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    let mut head = vec![1, 0, 1, 0, 0, 0, 0];
    head.push(sum(&head));
    let mut area = vec![1, 2, 0x17, 0xc2, b'p', b'1', 0xc4, b's', b'1', b'2', b'3', 0xc1, 0, 0, 0];
    area.push(sum(&area));
    [head, area].concat()
}
