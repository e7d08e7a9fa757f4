//! Packets as bytes.

use super::{Code, DATA_HEADER_BYTES, Mode, Named, Options};

/// Longest text of an ERROR that we send: an error is no use to an amplifier.
const ERROR_TEXT_BYTES_MAX: usize = 120;

/// RRQ.  NULs in the name would end it early and are left out.
#[must_use]
pub fn request(name: &str, mode: Mode, options: &Options) -> Vec<u8> {
    let mut packet = vec![0, 1];
    packet.extend(name.bytes().filter(|byte| *byte != 0));
    packet.push(0);
    packet.extend_from_slice(mode.as_str().as_bytes());
    packet.push(0);
    put(&mut packet, options);
    packet
}

/// ACK.
#[must_use]
pub fn ack(block: u16) -> [u8; 4] {
    let [high, low] = block.to_be_bytes();
    [0, 4, high, low]
}

/// What stands before the bytes of a DATA packet.
#[must_use]
pub fn data_header(block: u16) -> [u8; DATA_HEADER_BYTES] {
    let [high, low] = block.to_be_bytes();
    [0, 3, high, low]
}

/// ERROR.  The text is cut to 120 bytes at a character, and at a NUL.
#[must_use]
pub fn error(code: Code, text: &str) -> Vec<u8> {
    let text = text.split('\0').next().unwrap_or_default();
    let end = (0..=ERROR_TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    let [high, low] = code.number().to_be_bytes();
    let mut packet = vec![0, 5, high, low];
    packet.extend_from_slice(text.get(..end.unwrap_or(0)).unwrap_or_default().as_bytes());
    packet.push(0);
    packet
}

/// OACK.
#[must_use]
pub fn options_ack(options: &Options) -> Vec<u8> {
    let mut packet = vec![0, 6];
    put(&mut packet, options);
    packet
}

fn put(packet: &mut Vec<u8>, options: &Options) {
    let all = [
        (Named::FileBytes, options.file_bytes),
        (Named::BlockBytes, options.block_bytes.map(u64::from)),
        (Named::TimeoutSeconds, options.timeout_seconds.map(u64::from)),
        (Named::WindowBlocks, options.window_blocks.map(u64::from)),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            packet.extend_from_slice(name.as_str().as_bytes());
            packet.push(0);
            packet.extend_from_slice(value.to_string().as_bytes());
            packet.push(0);
        }
    }
}
