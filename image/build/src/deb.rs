//! Debian package files, read without root: their files with modes and links, and none of their scripts.

use std::io::{self, Read};

use crate::tree::{Node, Tree};

/// No package of ours unpacks to this size.
const DATA_BYTES_MAX: u64 = 1 << 30;
/// A file system tree has this many entries at most before we say that something is wrong.
const ENTRIES_MAX: usize = 200_000;

/// Puts the files of a package into a tree, all owned by root.
///
/// # Errors
/// When it is no package file, or holds what a package does not (a device, a path outside).
pub fn unpack(deb: &[u8], keep: &dyn Fn(&str) -> bool, tree: &mut Tree) -> io::Result<()> {
    let (name, data) = member(deb, "data.tar").ok_or_else(|| odd("it has no data.tar"))?;
    let reader: Box<dyn Read + '_> = match name.rsplit('.').next() {
        Some("xz") => Box::new(lzma_rust2::XzReader::new(data, true)),
        Some("zst") => Box::new(zstd::Decoder::new(data)?),
        Some("tar") => Box::new(data),
        Some(_) | None => return Err(odd("its data.tar has an unknown kind of compression")),
    };
    let mut archive = tar::Archive::new(reader.take(DATA_BYTES_MAX));
    for (count, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        if count > ENTRIES_MAX {
            return Err(odd("it has too many files"));
        }
        if path.is_empty() || !keep(&path) {
            continue;
        }
        let executable = entry.header().mode()? & 0o111 != 0;
        let kind = entry.header().entry_type();
        let node = if kind.is_dir() {
            Node::Directory
        } else if kind.is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            Node::File { content, executable }
        } else if kind.is_symlink() {
            Node::Link { to: target(&entry)? }
        } else if kind.is_hard_link() {
            // Debian's hard links name their target from the package's root.
            let to = target(&entry)?;
            tree.copy(to.trim_start_matches("./"), &path).map_err(io::Error::other)?;
            continue;
        } else {
            return Err(odd(&format!("{path} is a {kind:?}")));
        };
        tree.put(&path, node).map_err(io::Error::other)?;
    }
    Ok(())
}

fn target(entry: &tar::Entry<'_, impl Read>) -> io::Result<String> {
    let to = entry.link_name()?.ok_or_else(|| odd("a link leads nowhere"))?;
    Ok(to.to_string_lossy().into_owned())
}

/// The first member of an `ar` archive whose name starts so.
fn member<'a>(archive: &'a [u8], start: &str) -> Option<(String, &'a [u8])> {
    const HEADER_BYTES: usize = 60;
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    while let Some(header) = rest.get(..HEADER_BYTES) {
        let text = std::str::from_utf8(header).ok()?;
        let name = text.get(..16)?.trim().trim_end_matches('/');
        let bytes: usize = text.get(48..58)?.trim().parse().ok()?;
        let content = rest.get(HEADER_BYTES..HEADER_BYTES.checked_add(bytes)?)?;
        if name.starts_with(start) {
            return Some((name.to_owned(), content));
        }
        rest = rest.get(HEADER_BYTES + bytes.next_multiple_of(2)..)?;
    }
    None
}

fn odd(what: &str) -> io::Error {
    io::Error::other(format!("not a usable Debian package: {what}"))
}

/// A package file around what `tar` made.
#[cfg(test)]
pub(crate) fn archive(data: &[u8]) -> Vec<u8> {
    let data = zstd::bulk::compress(data, 3).unwrap();
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", &b"2.0"[..]), ("data.tar.zst", &data)] {
        out.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes(),
        );
        out.extend(content);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(entries: &[(&str, tar::EntryType, &str, u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, content, mode) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            let data = if *kind == tar::EntryType::Regular { content.as_bytes() } else { b"" };
            header.set_size(u64::try_from(data.len()).unwrap());
            if !content.is_empty() && data.is_empty() {
                header.set_link_name(content).unwrap();
            }
            builder.append_data(&mut header, path, data).unwrap();
        }
        archive(&builder.into_inner().unwrap())
    }

    #[test]
    fn files_links_and_modes_arrive() {
        use tar::EntryType::{Directory, Link, Regular, Symlink};
        let deb = package(&[
            ("usr/bin/", Directory, "", 0o755),
            ("usr/bin/a", Regular, "one", 0o4755),
            ("usr/bin/b", Symlink, "a", 0o777),
            ("usr/bin/c", Link, "./usr/bin/a", 0o755),
            ("usr/share/doc/x", Regular, "no", 0o644),
        ]);
        let mut tree = Tree::default();
        unpack(&deb, &|path| !path.starts_with("usr/share"), &mut tree).unwrap();
        let one = Node::File { content: b"one".to_vec(), executable: true };
        assert_eq!(tree.node("usr/bin/a"), Some(&one));
        assert_eq!(tree.node("usr/bin/b"), Some(&Node::Link { to: "a".into() }));
        assert_eq!(tree.node("usr/bin/c"), Some(&one));
        assert_eq!(tree.node("usr/share/doc/x"), None);
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let mut tree = Tree::default();
        for bytes in [&b"hello"[..], b"!<arch>\n", b"!<arch>\nshort"] {
            assert!(unpack(bytes, &|_| true, &mut tree).is_err());
        }
        let device = package(&[("dev/sda", tar::EntryType::Block, "", 0o600)]);
        assert!(unpack(&device, &|_| true, &mut tree).is_err());
        assert!(unpack(&device[..device.len() / 2], &|_| true, &mut tree).is_err());
    }
}
