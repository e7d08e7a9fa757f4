//! What we need from ELF files: a kernel module's `.modinfo`, the libraries that a program is linked with, and whether
//! it needs a dynamic loader.
//!
//! 64-bit little-endian only.  It checks every offset and refuses the rest.

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[error("not a usable 64-bit little-endian ELF file: {what}")]
pub struct Error {
    what: &'static str,
}

/// `PT_INTERP`: the program header that names the dynamic loader.
const PT_INTERP: u32 = 3;
/// `SHT_DYNAMIC`: the section that says what a program is linked with.
const SHT_DYNAMIC: u32 = 6;
/// `DT_NEEDED`: an entry of it that names a library.
const DT_NEEDED: usize = 1;
/// Most kernel modules have fewer than 100 sections; a table larger than this is not one that we asked for.
const SECTIONS_MAX: usize = 10_000;

/// The `key=value` pairs of a kernel module's `.modinfo` section, in file order.
pub fn modinfo(file: &[u8]) -> Result<Vec<(&str, &str)>, Error> {
    let (sections, names_index) = sections(file)?;
    let names_at = sections.get(names_index).ok_or(Error { what: "its section table is odd" })?;
    let names = content(file, *names_at)?;
    for entry in sections {
        let name_at =
            usize::try_from(u32_at(file, entry)?).map_err(|_| Error { what: "a name is far away" })?;
        let name = names.get(name_at..).unwrap_or_default();
        if name.starts_with(b".modinfo\0") {
            return Ok(pairs(content(file, entry)?));
        }
    }
    Err(Error { what: "it has no .modinfo section, so it is not a kernel module" })
}

/// The libraries that a program or library is linked with, by the names that the loader looks for; none if it is static.
pub fn needed(file: &[u8]) -> Result<Vec<&str>, Error> {
    let (sections, _) = sections(file)?;
    for entry in &sections {
        if u32_at(file, entry.saturating_add(4))? != SHT_DYNAMIC {
            continue;
        }
        let link = usize::try_from(u32_at(file, entry.saturating_add(0x28))?).unwrap_or(usize::MAX);
        let names_at = sections.get(link).ok_or(Error { what: "its libraries have no names" })?;
        let names = content(file, *names_at)?;
        let mut found = Vec::new();
        for pair in content(file, *entry)?.chunks_exact(16) {
            if offset(pair, 0)? == DT_NEEDED {
                let name = names.get(offset(pair, 8)?..).unwrap_or_default();
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = std::str::from_utf8(name).ok().filter(|name| plain(name));
                found.push(text.ok_or(Error { what: "a library has an odd name" })?);
            }
        }
        return Ok(found);
    }
    Ok(Vec::new())
}

/// A name and no way to somewhere.
fn plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains('/')
}

/// Where each section's entry is, and which of them has the names.
fn sections(file: &[u8]) -> Result<(Vec<usize>, usize), Error> {
    header(file)?;
    let table = offset(file, 0x28)?;
    let entry_bytes = usize::from(u16_at(file, 0x3a)?);
    let count = usize::from(u16_at(file, 0x3c)?);
    let names_index = usize::from(u16_at(file, 0x3e)?);
    if entry_bytes < 64 || count > SECTIONS_MAX || names_index >= count {
        return Err(Error { what: "its section table is odd" });
    }
    let at = |index: usize| table.saturating_add(index * entry_bytes);
    Ok(((0..count).map(at).collect(), names_index))
}

/// Whether the program asks for a dynamic loader, which an initramfs does not have.
pub fn needs_loader(file: &[u8]) -> Result<bool, Error> {
    header(file)?;
    let table = offset(file, 0x20)?;
    let entry_bytes = usize::from(u16_at(file, 0x36)?);
    let count = usize::from(u16_at(file, 0x38)?);
    for index in 0..count {
        if u32_at(file, table.saturating_add(index * entry_bytes))? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The processor it is for, as ELF numbers them (`e_machine`).
pub fn machine(file: &[u8]) -> Result<u16, Error> {
    header(file)?;
    u16_at(file, 0x12)
}

fn pairs(section: &[u8]) -> Vec<(&str, &str)> {
    section
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter_map(|text| text.split_once('='))
        .collect()
}

fn header(file: &[u8]) -> Result<(), Error> {
    // Magic, 64-bit, little-endian.
    if file.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(Error { what: "it does not begin like one" });
    }
    Ok(())
}

fn content(file: &[u8], section: usize) -> Result<&[u8], Error> {
    let start = offset(file, section.saturating_add(0x18))?;
    let length = offset(file, section.saturating_add(0x20))?;
    start
        .checked_add(length)
        .and_then(|end| file.get(start..end))
        .ok_or(Error { what: "a section ends past the file" })
}

fn offset(file: &[u8], at: usize) -> Result<usize, Error> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error { what: "it ends early" })?;
    usize::try_from(u64::from_le_bytes(*bytes)).map_err(|_| Error { what: "an offset is too large" })
}

fn u32_at(file: &[u8], at: usize) -> Result<u32, Error> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error { what: "it ends early" })?;
    Ok(u32::from_le_bytes(*bytes))
}

fn u16_at(file: &[u8], at: usize) -> Result<u16, Error> {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error { what: "it ends early" })?;
    Ok(u16::from_le_bytes(*bytes))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A module file with nothing but `.modinfo`.
    pub(crate) fn module(info: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[0x12] = 62;
        let names_at = u64::try_from(file.len()).unwrap();
        file.extend_from_slice(names);
        let info_at = u64::try_from(file.len()).unwrap();
        file.extend_from_slice(info.as_bytes());
        let table = u64::try_from(file.len()).unwrap();
        for (name, at, length) in [(1_u32, info_at, info.len()), (10, names_at, names.len())] {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&name.to_le_bytes());
            entry[0x18..0x20].copy_from_slice(&at.to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&u64::try_from(length).unwrap().to_le_bytes());
            file.extend_from_slice(&entry);
        }
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        for (at, value) in [(0x3a, 64_u16), (0x3c, 2), (0x3e, 1)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    /// A program linked with these libraries; `alone` has a loader named as well.
    pub(crate) fn program(libraries: &[&str], alone: bool) -> Vec<u8> {
        let mut names = vec![0];
        let mut linked = Vec::new();
        for library in libraries {
            linked.extend(1_u64.to_le_bytes());
            linked.extend(u64::try_from(names.len()).unwrap().to_le_bytes());
            names.extend(library.bytes().chain([0]));
        }
        linked.extend([0; 16]);
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let put = |file: &mut Vec<u8>, bytes: &[u8]| {
            let at = u64::try_from(file.len()).unwrap();
            file.extend_from_slice(bytes);
            at
        };
        let names_at = put(&mut file, &names);
        let linked_at = put(&mut file, &linked);
        let table = u64::try_from(file.len()).unwrap();
        for (kind, at, length, link) in
            [(3_u32, names_at, names.len(), 0_u32), (6, linked_at, linked.len(), 0)]
        {
            let mut entry = [0; 64];
            entry[4..8].copy_from_slice(&kind.to_le_bytes());
            entry[0x18..0x20].copy_from_slice(&at.to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&u64::try_from(length).unwrap().to_le_bytes());
            entry[0x28..0x2c].copy_from_slice(&link.to_le_bytes());
            file.extend_from_slice(&entry);
        }
        let interpreter = u64::try_from(file.len()).unwrap();
        let mut segment = [0; 56];
        segment[..4].copy_from_slice(&3_u32.to_le_bytes());
        file.extend_from_slice(&segment);
        file[0x20..0x28].copy_from_slice(&interpreter.to_le_bytes());
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        for (at, value) in [(0x36, 56_u16), (0x38, u16::from(alone)), (0x3a, 64), (0x3c, 2), (0x3e, 0)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    #[test]
    fn libraries_are_found_by_name() {
        let file = program(&["libc.so.6", "libm.so.6"], true);
        assert_eq!(needed(&file).unwrap(), ["libc.so.6", "libm.so.6"]);
        assert!(needs_loader(&file).unwrap());
        assert!(needed(&program(&[], false)).unwrap().is_empty());
        for odd in ["../x", "a/b", ""] {
            assert!(needed(&program(&[odd], true)).is_err(), "{odd}");
        }
        for end in 0..file.len() {
            let _ = needed(&file[..end]);
        }
    }

    #[test]
    fn modinfo_is_found_and_split() {
        let file = module("alias=pci:v1*\0depends=a,b\0odd\0");
        assert_eq!(modinfo(&file).unwrap(), [("alias", "pci:v1*"), ("depends", "a,b")]);
        for end in 0..file.len() {
            // The very last bytes are fields that nobody reads; everything else is missed.
            assert!(modinfo(&file[..end]).is_err() || end >= file.len() - 24, "cut at {end}");
        }
    }

    #[test]
    fn this_test_program_needs_a_loader_or_not_but_is_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(needs_loader(&own).is_ok());
        assert!(needs_loader(b"#!/bin/sh\n").is_err());
    }
}
