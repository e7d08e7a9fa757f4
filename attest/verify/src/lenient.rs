//! Certificates that are not quite DER: some TPM makers' are BER, and their keys are no worse for it.
//!
//! Makes a strict copy to read; signatures are checked over the bytes as they stand.  Tolerated: lengths and integers
//! with needless zeros, and TRUE written as another byte than 0xff, also inside the values of extensions, not inside
//! bit strings.  Part by part: what is made of no elements stays as it is, for whoever reads it to object to.

/// Deepest nesting that is followed; certificates have about ten.
const DEPTH_MAX: usize = 24;

/// A strict copy of one element and nothing else.
pub(crate) fn strict(ber: &[u8]) -> Option<Vec<u8>> {
    let (element, rest) = element(ber)?;
    if !rest.is_empty() {
        return None;
    }
    Some(copy(&element, 0))
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

fn copy(element: &Element<'_>, depth: usize) -> Vec<u8> {
    const BOOLEAN: u8 = 1;
    const INTEGER: u8 = 2;
    const OCTET_STRING: u8 = 4;
    const OBJECT_IDENTIFIER: u8 = 6;
    const CONSTRUCTED: u8 = 0x20;
    let as_it_stands = || element.content.to_vec();
    let content = match element.tag {
        tag if tag & CONSTRUCTED != 0 => inner(element.content, depth).unwrap_or_else(as_it_stands),
        BOOLEAN => element.content.iter().map(|byte| if *byte == 0 { 0 } else { 0xff }).collect(),
        INTEGER => integer(element.content).to_vec(),
        // Extensions are DER inside octet strings.
        OCTET_STRING if element.content.first() == Some(&0x30) => {
            inner(element.content, depth).unwrap_or_else(as_it_stands)
        }
        // Emptied, so that whoever reads it objects: readers with 32 bits for a number would take it for another.
        OBJECT_IDENTIFIER if has_large_arc(element.content) => Vec::new(),
        _ => as_it_stands(),
    };
    let mut out = vec![element.tag];
    let digits = content.len().to_be_bytes();
    let first = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len() - 1);
    let digits = digits.get(first..).unwrap_or_default();
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
    }
    out.extend(digits);
    out.extend(content);
    out
}

fn inner(mut bytes: &[u8], depth: usize) -> Option<Vec<u8>> {
    if depth >= DEPTH_MAX {
        return None;
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (one, rest) = element(bytes)?;
        out.extend(copy(&one, depth + 1));
        bytes = rest;
    }
    Some(out)
}

/// Whether an object identifier has a number of more than 32 bits.
fn has_large_arc(content: &[u8]) -> bool {
    let mut arc = 0_u64;
    content.iter().any(|byte| {
        // Saturates far above 32 bits instead of losing what is above 64.
        arc = (arc & u64::MAX >> 8) << 7 | u64::from(byte & 0x7f);
        let is_large = arc > u64::from(u32::MAX);
        if byte & 0x80 == 0 {
            arc = 0;
        }
        is_large
    })
}

/// Tags of what follows the key in a strict certificate: unique ids and extensions.
pub(crate) fn optional_tags(der: &[u8]) -> Option<Vec<u8>> {
    /// serialNumber, signature, issuer, validity, subject and subjectPublicKeyInfo.
    const MANDATORY: usize = 6;
    const VERSION: u8 = 0xa0;
    let (outer, _) = element(der)?;
    let (tbs, _) = element(outer.content)?;
    let mut rest = tbs.content;
    let mut tags = Vec::new();
    while !rest.is_empty() {
        let (one, after) = element(rest)?;
        tags.push(one.tag);
        rest = after;
    }
    let before = MANDATORY + usize::from(tags.first() == Some(&VERSION));
    Some(tags.split_off(before.min(tags.len())))
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
