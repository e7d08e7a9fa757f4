//! The compressed kernel in the program: where its header says, and unpacked.
//!
//! The header is Linux's (drivers/firmware/efi/libstub/zboot-header.S) and lies in the fields of the DOS header that no
//! UEFI firmware reads: `zimg` at 4, offset and size of the payload in the file at 8 and 12, how it is compressed at 24.

use alloc::vec::Vec;

use ruzstd::decoding::FrameDecoder;

use crate::Error;
use crate::pe::{Headers, usize_at};

const MARK: (usize, &[u8]) = (4, b"zimg");
/// Linux's name for zstd, with its NUL.
const METHOD: (usize, &[u8]) = (24, b"zstd22\0");
const OFFSET_AT: usize = 8;
const BYTES_AT: usize = 12;

/// Debian's kernel for arm64 has 36 MiB.
const KERNEL_BYTES_MAX: u64 = 256 << 20;
/// zstd's highest levels look back this far at most.
const WINDOW_BYTES_MAX: u64 = 128 << 20;

/// The payload of a program that lies in memory as firmware put it there.
///
/// # Errors
/// [`Error::Payload`].
pub fn find(loaded: &[u8]) -> Result<&[u8], Error> {
    let wrong = |what| Error::Payload { what };
    let headers = Headers::parse(loaded).map_err(wrong)?;
    let has = |(at, text): (usize, &[u8])| loaded.get(at..at + text.len()) == Some(text);
    if !has(MARK) {
        return Err(wrong("its header has no mark of one"));
    }
    if !has(METHOD) {
        return Err(wrong("it is compressed by another method than zstd"));
    }
    let field = |at| usize_at(loaded, at).ok_or(wrong("its header ends early"));
    let (offset, bytes) = (field(OFFSET_AT)?, field(BYTES_AT)?);
    // In the file, where the section need not lie as far from the begin as in memory.
    let in_memory = headers.sections().find_map(|section| {
        let into = offset.checked_sub(section.file_offset)?;
        let end = into.checked_add(bytes)?;
        (end <= section.file_bytes.min(section.bytes)).then(|| section.address.checked_add(into)).flatten()
    });
    let start = in_memory.ok_or(wrong("it lies in no section of the program"))?;
    let end = start.checked_add(bytes).ok_or(wrong("it lies in no section of the program"))?;
    loaded.get(start..end).ok_or(wrong("it lies outside of the program"))
}

/// The kernel of a payload.
///
/// # Errors
/// [`Error::Damaged`] and [`Error::Memory`].
pub fn unpack(payload: &[u8]) -> Result<Vec<u8>, Error> {
    let damaged = |what| Error::Damaged { what };
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW_BYTES_MAX);
    decoder.init(payload).map_err(|_| damaged("it does not begin as zstd does"))?;
    let said = decoder.content_size();
    if said == 0 || said > KERNEL_BYTES_MAX {
        return Err(damaged("it does not say a size that a kernel has"));
    }
    let bytes = usize::try_from(said).map_err(|_| damaged("it does not say a size that a kernel has"))?;
    let mut kernel = Vec::new();
    kernel.try_reserve_exact(bytes).map_err(|_| Error::Memory { bytes })?;
    kernel.resize(bytes, 0);
    let unpacked =
        decoder.decode_all(payload, &mut kernel).map_err(|_| damaged("its data contradict themselves"))?;
    if unpacked != bytes {
        return Err(damaged("it is shorter than it says"));
    }
    match (decoder.get_checksum_from_data(), decoder.get_calculated_checksum()) {
        (Some(said), Some(made)) if said == made => Ok(kernel),
        (Some(_), _) => Err(damaged("its checksum is another")),
        (None, _) => Err(damaged("it has no checksum")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{Random, carrier, packed};

    #[test]
    fn the_payload_is_found_where_its_section_lies_in_memory() {
        let payload_bytes = packed(&[7; 5000]);
        let loaded = carrier(&payload_bytes);
        let payload = find(&loaded).unwrap();
        assert_eq!(payload, payload_bytes);
        assert_eq!(unpack(payload).unwrap(), [7; 5000]);
    }

    #[test]
    fn what_is_not_as_it_says_is_refused_in_words() {
        let packed = packed(&[7; 5000]);
        let loaded = carrier(&packed);
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = loaded.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            find(&changed).unwrap_err().to_string()
        };
        for (at, bytes, said) in [
            (0, &b"ZM"[..], "MZ"),
            (MARK.0, b"\0\0\0\0", "no mark"),
            (METHOD.0, b"gzip\0", "another method"),
            (OFFSET_AT, b"\xff\xff\xff\xff", "in no section"),
            (BYTES_AT, b"\xff\xff\xff\xff", "in no section"),
        ] {
            let text = with(at, bytes);
            assert!(text.contains(said) && text.contains("build the image anew"), "{text}");
        }
        assert!(find(&loaded[..loaded.len() - 1]).unwrap_err().to_string().contains("outside"));
        for short in [&packed[..3], &packed[..packed.len() - 3], &b"not zstd"[..], &[]] {
            assert!(matches!(unpack(short), Err(Error::Damaged { .. })));
        }
        let said = |payload: &[u8]| unpack(payload).unwrap_err().to_string();
        let mut damaged = crate::samples::packed(&Random::new(3).bytes(5000));
        damaged[2500] ^= 1;
        assert!(said(&damaged).contains("its checksum is another"), "a byte that zstd itself takes as it is");
        assert!(said(&zstd::bulk::compress(&[7; 5000], 3).unwrap()).contains("no checksum"));
        // A frame that does not say its size.
        let unsaid = zstd::stream::encode_all(&[7; 5000][..], 3).unwrap();
        assert!(matches!(unpack(&unsaid), Err(Error::Damaged { .. })));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = Random::new(1);
        let packed = packed(&random.bytes(4000));
        let loaded = carrier(&packed);
        for _ in 0..20_000 {
            let mut changed = loaded.clone();
            random.change(&mut changed[..0x200]);
            if let Ok(found) = find(&changed) {
                assert!(found.len() <= changed.len());
            }
        }
        for _ in 0..3000 {
            let mut changed = packed.clone();
            random.change(&mut changed);
            let _ = unpack(&changed).is_ok();
            let noise = random.bytes(64);
            let _ = (find(&noise).is_ok(), unpack(&noise).is_ok());
        }
    }
}
