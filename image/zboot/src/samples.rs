//! Small programs for tests, and numbers that only look random.

/// A kernel of two sections: one page of code, and data with zeros behind them.
pub(crate) fn kernel() -> Vec<u8> {
    let mut file =
        program([(0x1000, 0x1000, 0x1000, 0x200, 0x6000_0020), (0x2000, 0x2000, 0x200, 0x1200, 0xc000_0040)]);
    file.extend((0..0x1200_u32).map(|at| at.to_le_bytes()[0] | 1));
    file
}

/// A program with this payload in its second section, as it lies in memory.
pub(crate) fn carrier(payload: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(payload.len()).unwrap();
    let mut loaded =
        program([(0x1000, 0x1000, 0x200, 0x200, 0x6000_0020), (0x2000, bytes, bytes, 0x400, 0x4000_0040)]);
    loaded[4..8].copy_from_slice(b"zimg");
    put(&mut loaded, 8, 0x400);
    put(&mut loaded, 12, bytes);
    loaded[24..31].copy_from_slice(b"zstd22\0");
    loaded.resize(0x2000, 0);
    loaded.extend_from_slice(payload);
    loaded
}

/// As a build compresses a kernel.
pub(crate) fn packed(kernel: &[u8]) -> Vec<u8> {
    let mut compressor = zstd::bulk::Compressor::new(19).unwrap();
    compressor.include_checksum(true).unwrap();
    compressor.compress(kernel).unwrap()
}

/// Headers with these sections: address, bytes in memory, in the file, offset there, kind.
fn program(sections: [(u32, u32, u32, u32, u32); 2]) -> Vec<u8> {
    let mut file = vec![0; 0x200];
    file[..2].copy_from_slice(b"MZ");
    put(&mut file, 0x3c, 0x40);
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    put(&mut file, 0x44, 0x0002_aa64);
    put(&mut file, 0x54, 0xf0);
    let optional = 0x58;
    put(&mut file, optional, 0x20b);
    for (field, value) in [(16, 0x1010), (32, 0x1000), (36, 0x200), (56, 0x4000), (60, 0x200), (108, 16)] {
        put(&mut file, optional + field, value);
    }
    for (index, (address, bytes, file_bytes, offset, kind)) in sections.into_iter().enumerate() {
        let header = optional + 0xf0 + index * 40;
        file[header..header + 2].copy_from_slice(b".s");
        for (field, value) in [(8, bytes), (12, address), (16, file_bytes), (20, offset), (36, kind)] {
            put(&mut file, header + field, value);
        }
    }
    file
}

pub(crate) fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// xorshift64: the same numbers each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[3]).collect()
    }

    /// Changes up to eight bytes.
    pub(crate) fn change(&mut self, bytes: &mut [u8]) {
        for _ in 0..=self.next() % 8 {
            let at = usize::try_from(self.next() % bytes.len() as u64).unwrap();
            let value = self.next().to_le_bytes()[3];
            // What lies at the edges of a field breaks more than other numbers.
            bytes[at] = if self.next().is_multiple_of(2) {
                value
            } else {
                [0, 1, 0x7f, 0xff][usize::from(value % 4)]
            };
        }
    }
}
