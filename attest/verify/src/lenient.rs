//! Certificates that are not quite DER: some TPM makers' are BER, and their keys are no worse for it.
//!
//! Makes a strict copy to read; signatures are checked over the bytes as they stand.  Tolerated: lengths and integers
//! with needless zeros, and TRUE written as another byte than 0xff.  Everything else stays an error.

/// Deepest nesting that is followed; certificates have about ten.
const DEPTH_MAX: usize = 24;

/// A strict copy of one element and nothing else.
pub(crate) fn strict(ber: &[u8]) -> Option<Vec<u8>> {
    let (element, rest) = element(ber)?;
    if !rest.is_empty() {
        return None;
    }
    copy(&element, 0)
}

/// The first element inside the outermost one, as it stands: what a certificate's signature covers.
pub(crate) fn first_inner(ber: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(ber)?;
    let (inner, _) = element(outer.content)?;
    Some(inner.raw)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    raw: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    // Certificates have no tags of several bytes.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        // Indefinite lengths are not followed.
        0x80 | 0x85.. => return None,
        0x81..0x85 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    let (content, after) = rest.split_at_checked(length)?;
    let raw = bytes.get(..bytes.len() - after.len())?;
    Some((Element { tag, content, raw }, after))
}

fn copy(element: &Element<'_>, depth: usize) -> Option<Vec<u8>> {
    const BOOLEAN: u8 = 1;
    const INTEGER: u8 = 2;
    const OCTET_STRING: u8 = 4;
    const CONSTRUCTED: u8 = 0x20;
    if depth > DEPTH_MAX {
        return None;
    }
    let content = match element.tag {
        tag if tag & CONSTRUCTED != 0 => inner(element.content, depth)?,
        BOOLEAN => element.content.iter().map(|byte| if *byte == 0 { 0 } else { 0xff }).collect(),
        INTEGER => integer(element.content).to_vec(),
        // Extensions are DER inside octet strings; what is none stays as it is.
        OCTET_STRING if element.content.first() == Some(&0x30) => {
            inner(element.content, depth).unwrap_or_else(|| element.content.to_vec())
        }
        _ => element.content.to_vec(),
    };
    let mut out = vec![element.tag];
    let digits = content.len().to_be_bytes();
    let digits = digits.get(digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len() - 1)..)?;
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(digits.len()).ok()?);
    }
    out.extend(digits);
    out.extend(content);
    Some(out)
}

fn inner(mut bytes: &[u8], depth: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = element(bytes)?;
        out.extend(copy(&one, depth + 1)?);
        bytes = rest;
    }
    Some(out)
}

/// Without needless leading zeros: one stays where the next bit says "negative".
fn integer(mut bytes: &[u8]) -> &[u8] {
    while let [0, next, ..] = bytes
        && *next < 0x80
    {
        bytes = bytes.get(1..).unwrap_or_default();
    }
    bytes
}
