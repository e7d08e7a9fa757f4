//! A reader of bytes that cannot run past their end: every read is an `Option`, numbers are little-endian as all of
//! IPMI is.

/// What is left to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// One byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// All the rest.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// IPMI's checksum: what makes the sum of all bytes zero (IPMI 2.0, 13.8).
#[must_use]
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_stops_at_the_end() {
        let mut reader = Reader::new(&[1, 2, 3, 4]);
        assert_eq!(reader.u16(), Some(0x0201));
        assert_eq!(reader.u32(), None);
        assert_eq!(reader.rest(), [3, 4]);
        assert_eq!((reader.byte(), reader.byte(), reader.byte()), (Some(3), Some(4), None));
    }

    #[test]
    fn a_checksum_makes_the_sum_zero() {
        for bytes in [&[0x20, 0x18][..], &[], &[0xff; 300]] {
            assert_eq!(checksum(&[bytes, &[checksum(bytes)]].concat()), 0);
        }
    }
}
