//! Texts of records and FRUs: a type and a length in one byte, then bytes in one of four codes (IPMI 2.0, 43.15, and
//! the FRU definition, 13).

/// Bytes of a text, decoded; what cannot be printed becomes a space, and the ends are trimmed.
#[must_use]
pub fn decode(code: u8, bytes: &[u8]) -> String {
    let text: String = match code & 3 {
        1 => bytes.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]).map(bcd_plus).collect(),
        2 => six_bits(bytes),
        // Eight bits: Latin 1.  Code 0 is Unicode in records; where it is a FRU's binary, `decode_fru` comes first.
        _ => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    let printable = |letter: char| if letter.is_control() { ' ' } else { letter };
    text.chars().map(printable).collect::<String>().trim().to_owned()
}

/// A FRU's field: code 0 is binary there, shown in hexadecimal digits.
#[must_use]
pub fn decode_fru(code: u8, bytes: &[u8]) -> String {
    if code & 3 == 0 { bytes.iter().map(|byte| format!("{byte:02x}")).collect() } else { decode(code, bytes) }
}

fn bcd_plus(digit: u8) -> char {
    match digit {
        0..=9 => char::from(b'0' + digit),
        10 => ' ',
        11 => '-',
        12 => '.',
        _ => '?',
    }
}

/// Four letters in three bytes, the first in the lowest bits.
fn six_bits(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut held, mut count) = (0u32, 0u32);
    for byte in bytes {
        held |= u32::from(*byte) << count;
        count += 8;
        while count >= 6 {
            let [letter, ..] = (held & 0x3f).to_le_bytes();
            out.push(char::from(letter + 0x20));
            held >>= 6;
            count -= 6;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_codes_are_read() {
        // The specification's own example of packed letters: "IPMI".
        assert_eq!(decode(2, &[0x29, 0xdc, 0xa6]), "IPMI");
        assert_eq!(decode(1, &[0x12, 0xb3, 0xc4]), "12-3.4");
        assert_eq!(decode(3, b"CPU Temp\0\0"), "CPU Temp");
        assert_eq!(decode(3, b"\x1b[31mred"), "[31mred");
        assert_eq!(decode_fru(0, &[0x0a, 0xff]), "0aff");
        assert_eq!(decode(2, &[]), "");
    }
}
