//! RLP, the encoding of Ethereum's headers, receipts and tries, read strictly: every item in its shortest form.
//! Nothing is copied, and no declared length is believed beyond the bytes that are there.

/// One item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    /// A byte string.
    Bytes(&'a [u8]),
    /// A list: its content, not yet read.
    List(&'a [u8]),
}

impl<'a> Item<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::List(_) => None,
        }
    }

    pub(crate) fn list(self) -> Option<&'a [u8]> {
        match self {
            Self::List(content) => Some(content),
            Self::Bytes(_) => None,
        }
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }
}

/// The first item and what follows it.
pub(crate) fn item(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (is_list, short) = match first {
        0..0x80 => return Some((Item::Bytes(bytes.get(..1)?), rest)),
        0x80..0xc0 => (false, usize::from(first - 0x80)),
        0xc0.. => (true, usize::from(first - 0xc0)),
    };
    let (length, rest) = match short {
        0..=55 => (short, rest),
        56.. => {
            let (digits, rest) = rest.split_at_checked(short - 55)?;
            let length = usize::try_from(number(digits)?).ok()?;
            // The short form would have done.
            (length > 55).then_some((length, rest))?
        }
    };
    let (content, after) = rest.split_at_checked(length)?;
    if is_list {
        return Some((Item::List(content), after));
    }
    // A single byte below 0x80 stands for itself.
    let doubled = matches!(content, [0..0x80]);
    (!doubled).then_some((Item::Bytes(content), after))
}

/// The only item of these bytes.
pub(crate) fn only(bytes: &[u8]) -> Option<Item<'_>> {
    let (item, rest) = item(bytes)?;
    rest.is_empty().then_some(item)
}

/// The items of a list's content, at most `most`.
pub(crate) fn items(mut content: &[u8], most: usize) -> Option<Vec<Item<'_>>> {
    let mut items = Vec::new();
    while !content.is_empty() {
        let (next, rest) = item(content)?;
        if items.len() >= most {
            return None;
        }
        items.push(next);
        content = rest;
    }
    Some(items)
}

/// A big-endian integer of at most 64 bits without leading zeros.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.len() > 8 || digits.first() == Some(&0) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}

/// An integer's RLP: what receipts are filed under.
pub(crate) fn encoded(number: u64) -> Vec<u8> {
    let digits = number.to_be_bytes();
    let start = digits.iter().position(|digit| *digit != 0).unwrap_or(digits.len());
    match digits.get(start..).unwrap_or_default() {
        [one @ 0..0x80] => vec![*one],
        // At most eight digits.
        digits => [&[0x80 | u8::try_from(digits.len()).unwrap_or(0)], digits].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_as_everybody_writes_them() {
        for (value, hex) in [(0, "80"), (1, "01"), (0x7f, "7f"), (0x80, "8180"), (0x100, "820100")] {
            assert_eq!(hex::encode(encoded(value)), hex);
            assert_eq!(number(only(&encoded(value)).unwrap().bytes().unwrap()), Some(value));
        }
    }

    #[test]
    fn only_the_shortest_form_is_read() {
        let long = [&[0xb8, 56][..], &[7; 56]].concat();
        let rows: [(&[u8], bool); 12] = [
            (&[], false),
            (&[0], true),
            (&[0x81, 0x7f], false),
            (&[0x81, 0x80], true),
            (&[0x82, 1], false),
            (&[0xb8, 1, 0x80], false),
            (&long, true),
            (&[0xb9, 0, 56], false),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false),
            (&[0xff; 9], false),
            (&[0xc0], true),
            (&[0xc0, 0], false),
        ];
        for (bytes, good) in rows {
            assert_eq!(only(bytes).is_some(), good, "{bytes:02x?}");
        }
        assert_eq!(items(&[1, 2, 3], 3).map(|items| items.len()), Some(3));
        assert_eq!(items(&[1, 2, 3], 2), None);
    }
}
