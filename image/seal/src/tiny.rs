//! Images for tests: the smallest that a parser takes.
//!
//! For the tests of this crate and, by its path, of the image builder.

/// The smallest image with one `.sbat` section that the parser takes, certificates of `signature` bytes behind it.
pub(crate) fn tiny(signature: usize) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    file[..2].copy_from_slice(b"MZ");
    put(&mut file, 0x3c, 0x40);
    file[0x40..0x44].copy_from_slice(b"PE\0\0");
    file[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
    file[0x46..0x48].copy_from_slice(&1_u16.to_le_bytes());
    file[0x54..0x56].copy_from_slice(&0xf0_u16.to_le_bytes());
    let optional = 0x58;
    file[optional..optional + 2].copy_from_slice(&0x20b_u16.to_le_bytes());
    for (field, value) in [(32, 0x1000), (36, 0x200), (56, 0x2000), (60, 0x200), (108, 16)] {
        put(&mut file, optional + field, value);
    }
    let header = optional + 0xf0;
    file[header..header + 5].copy_from_slice(b".sbat");
    for (field, value) in [(8, 5), (12, 0x1000), (16, 0x200), (20, 0x200)] {
        put(&mut file, header + field, value);
    }
    file[0x200..0x205].copy_from_slice(b"sbat,");
    if signature > 0 {
        put(&mut file, optional + (112 + 4 * 8), 0x400);
        put(&mut file, optional + (112 + 4 * 8) + 4, u32::try_from(signature).unwrap_or(u32::MAX));
        file.resize(0x400 + signature, 0xaa);
    }
    file
}

/// `tiny` has room for one more section header; a UKI needs five.
pub(crate) fn tiny_with_room() -> Vec<u8> {
    let mut stub = tiny(0);
    stub.splice(0x200..0x200, [0; 0x200]);
    put(&mut stub, 0x58 + 60, 0x400);
    put(&mut stub, 0x58 + 0xf0 + 20, 0x400);
    stub
}

fn put(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
