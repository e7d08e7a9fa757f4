//! A captured tree as the base of a BMC: a folder in the layout of Redfish-Mockup-Server, or such a folder packed.
//!
//! One `index.json` per resource, anywhere below a `redfish/v1` or with the root at the top (DMTF's bundles).  What is
//! not JSON is left out and counted.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use super::store::Tree;
use crate::error::RackError;

/// Most resources that are read.
const RESOURCES_MAX: usize = 50_000;

/// Largest file that is read; attribute registries of real BMCs have some MB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Deepest folder.
const DEPTH_MAX: usize = 32;

/// Reads a folder or a `.tar.gz`.
pub(crate) fn tree(path: &Path) -> Result<Tree, RackError> {
    let mut files = Vec::new();
    if path.is_dir() {
        walk(path, path, &mut files, 0)?;
    } else {
        unpack(path, &mut files)?;
    }
    let root = root_of(&files).or_else(|| folder_of(&files)).ok_or_else(|| {
        RackError::Description(format!(
            "{} holds no Redfish tree (no service root in an index.json)",
            path.display()
        ))
    })?;
    let mut values = BTreeMap::new();
    for (name, bytes) in files {
        let Some(below) = name.strip_prefix(root.as_str()) else { continue };
        let below = below.trim_matches('/');
        let Ok(value) = serde_json::from_slice::<Value>(&bytes) else {
            tracing::debug!(name, "left out: not JSON");
            continue;
        };
        let place = if below.is_empty() { "/redfish/v1".to_owned() } else { format!("/redfish/v1/{below}") };
        values.insert(place, value);
    }
    values.entry("/redfish".to_owned()).or_insert_with(|| json!({ "v1": "/redfish/v1/" }));
    if !values.contains_key("/redfish/v1") {
        values.insert("/redfish/v1".to_owned(), made_root(&values));
    }
    tracing::debug!(tree = %path.display(), resources = values.len(), "captured tree loaded");
    Ok(Tree::new(values))
}

/// The shortest folder whose resource is a service root.
fn root_of(files: &[(String, Vec<u8>)]) -> Option<String> {
    let is_root = |bytes: &[u8]| {
        let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let kind = value.get("@odata.type").and_then(Value::as_str).unwrap_or_default();
        kind.contains("ServiceRoot")
    };
    let roots = files.iter().filter(|(name, bytes)| {
        let likely = name.is_empty() || name.ends_with("v1") || !name.contains('/');
        likely && is_root(bytes)
    });
    roots.map(|(name, _)| name.clone()).min_by_key(String::len)
}

/// Where the root's folder is when its own resource is lost.
fn folder_of(files: &[(String, Vec<u8>)]) -> Option<String> {
    const FOLDER: &str = "redfish/v1";
    let found = files.iter().filter_map(|(name, _)| name.get(..name.find(FOLDER)? + FOLDER.len()));
    found.min_by_key(|name| name.len()).map(ToOwned::to_owned)
}

/// A service root that links to what there is, for captures that lack theirs.
fn made_root(values: &BTreeMap<String, Value>) -> Value {
    let mut root = json!({
        "@odata.id": "/redfish/v1/", "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot",
        "Id": "RootService", "Name": "Root Service", "RedfishVersion": "1.9.0",
        "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
    });
    for name in values.keys().filter_map(|path| path.strip_prefix("/redfish/v1/")) {
        if !name.contains('/') && !name.starts_with('$') {
            root[name] = json!({ "@odata.id": format!("/redfish/v1/{name}") });
        }
    }
    root
}

fn walk(
    top: &Path,
    folder: &Path,
    files: &mut Vec<(String, Vec<u8>)>,
    depth: usize,
) -> Result<(), RackError> {
    let entries = std::fs::read_dir(folder).map_err(RackError::io("read", folder))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && depth < DEPTH_MAX {
            walk(top, &path, files, depth + 1)?;
        } else if path.file_name().is_some_and(|name| name == "index.json") && files.len() < RESOURCES_MAX {
            let size = entry.metadata().map_or(0, |data| data.len());
            if size <= FILE_BYTES_MAX {
                let bytes = std::fs::read(&path).map_err(RackError::io("read", &path))?;
                let name = folder.strip_prefix(top).unwrap_or(folder).display().to_string();
                files.push((name, bytes));
            }
        }
    }
    Ok(())
}

/// Reads the `index.json` files of a packed tar (POSIX.1-2001 ustar, with GNU's and pax' long names).
fn unpack(path: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), RackError> {
    let file = std::fs::File::open(path).map_err(RackError::io("open", path))?;
    let mut stream = flate2::read::GzDecoder::new(file);
    let (mut header, mut long) = ([0_u8; 512], None::<String>);
    let fault = |source| RackError::Io { doing: "unpack", path: path.to_owned(), source };
    while files.len() < RESOURCES_MAX {
        match stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(fault(error)),
        }
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let size = octal(header.get(124..136).unwrap_or_default());
        let kind = header.get(156).copied().unwrap_or_default();
        if size > FILE_BYTES_MAX {
            return Err(RackError::Description(format!("{}: a member has {size} bytes", path.display())));
        }
        let padded = usize::try_from(size.next_multiple_of(512)).unwrap_or(0);
        let mut bytes = vec![0; padded];
        match stream.read_exact(&mut bytes) {
            Ok(()) => {}
            // A capture that ends early still holds most of a BMC.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                tracing::warn!(tree = %path.display(), "the archive ends early");
                break;
            }
            Err(error) => return Err(fault(error)),
        }
        bytes.truncate(usize::try_from(size).unwrap_or(0));
        match kind {
            b'L' => long = Some(text(&bytes)),
            b'x' => long = pax_path(&bytes).or(long),
            b'0' | 0 => {
                let name = long.take().unwrap_or_else(|| ustar_name(&header));
                let name = name.trim_start_matches("./");
                if let Some(folder) = name.strip_suffix("index.json") {
                    files.push((folder.trim_end_matches('/').to_owned(), bytes));
                }
            }
            _ => long = None,
        }
    }
    Ok(())
}

fn octal(field: &[u8]) -> u64 {
    let digits = field.iter().filter(|byte| (b'0'..=b'7').contains(*byte));
    digits.fold(0_u64, |sum, digit| sum.saturating_mul(8).saturating_add(u64::from(digit - b'0')))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

fn ustar_name(header: &[u8; 512]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    if prefix.is_empty() || !header[257..].starts_with(b"ustar\0") {
        name
    } else {
        format!("{prefix}/{name}")
    }
}

/// The path of a pax record, `LENGTH path=NAME\n`.
fn pax_path(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let line = text.lines().find_map(|line| line.split_once(" path=").map(|(_, name)| name.to_owned()))?;
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_from_their_service_root() {
        let folder = tempfile::tempdir().unwrap();
        for (place, body) in [
            (
                "maker/redfish/v1",
                r##"{"@odata.type":"#ServiceRoot.v1_5_0.ServiceRoot","@odata.id":"/redfish/v1/"}"##,
            ),
            ("maker/redfish/v1/Systems/1", r#"{"Id":"1"}"#),
            ("maker/redfish/v1/Broken", "{"),
        ] {
            let place = folder.path().join(place);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("index.json"), body).unwrap();
        }
        let tree = tree(folder.path()).unwrap();
        assert_eq!(tree.len(), 3);
        assert!(tree.entry("/redfish/v1/Systems/1").is_some());
        assert_eq!(tree.entry("/redfish/v1").unwrap().kind, "ServiceRoot");
        std::fs::remove_dir_all(folder.path().join("maker/redfish")).unwrap();
        assert!(super::tree(folder.path()).is_err());
    }
}
