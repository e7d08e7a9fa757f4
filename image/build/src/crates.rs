//! Which crates the programs in an image are made of, from Cargo.lock and the manifests of the workspace's own rooms.
//!
//! Cargo.lock lists a room's test dependencies among the others, so those come from its manifest; what other people's
//! crates need comes from Cargo.lock.  All of it is compiled in: a build of the image has no source tree.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

mod rooms;

use rooms::ROOMS;

const LOCK: &str = include_str!("../../../Cargo.lock");
/// Name and version of each crate that these programs (packages of this workspace) may be linked from, the rooms of the
/// workspace included.
#[must_use]
pub(crate) fn of(programs: &[&str]) -> BTreeSet<(String, String)> {
    closure(programs).0
}

/// The crates, and the rooms whose manifests are missing in [`ROOMS`].
fn closure(programs: &[&str]) -> (BTreeSet<(String, String)>, BTreeSet<String>) {
    let lock: Table = LOCK.parse().unwrap_or_default();
    let packages = lock.get("package").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut by_name: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for package in packages {
        by_name.entry(text(package, "name")).or_default().push(package);
    }
    let (mut found, mut missing) = (BTreeSet::new(), BTreeSet::new());
    let mut open: Vec<String> = programs.iter().copied().map(str::to_owned).collect();
    while let Some(wanted) = open.pop() {
        // `NAME` where there is one version, else `NAME VERSION`.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let candidates = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let fits = |package: &&&Value| version.is_none_or(|version| text(package, "version") == version);
        let Some(package) = candidates.iter().find(fits) else { continue };
        if !found.insert((name.to_owned(), text(package, "version").to_owned())) {
            continue;
        }
        let locked = package.get("dependencies").and_then(Value::as_array);
        let locked = locked.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
        if package.get("source").is_some() {
            open.extend(locked);
        } else if let Some((_, manifest)) = ROOMS.iter().find(|(room, _)| *room == name) {
            let linked = linked(manifest);
            open.extend(locked.filter(|entry| linked.contains(entry.split(' ').next().unwrap_or_default())));
        } else {
            missing.insert(name.to_owned());
        }
    }
    (found, missing)
}

/// Names of the dependencies that are no test's, for this platform or any.
fn linked(manifest: &str) -> BTreeSet<String> {
    let table: Table = manifest.parse().unwrap_or_default();
    let of = |table: &Table| -> Vec<String> {
        let dependencies = table.get("dependencies").and_then(Value::as_table);
        dependencies.into_iter().flat_map(Table::keys).cloned().collect()
    };
    let targets = table.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    of(&table).into_iter().chain(targets.flat_map(of)).collect()
}

fn text<'a>(package: &'a Value, field: &str) -> &'a str {
    package.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_room_of_the_programs_is_read_and_no_other() {
        let (found, missing) = closure(&["appliance-cli", "image-start", "image-zboot"]);
        assert!(missing.is_empty(), "add to ROOMS: {missing:?}");
        let names = |found: &BTreeSet<(String, String)>| -> BTreeSet<String> {
            found.iter().map(|(name, _)| name.clone()).collect()
        };
        let all = names(&found);
        for (room, _) in ROOMS {
            assert!(all.contains(room), "{room} is in no program: drop it from ROOMS");
        }
        assert!(all.contains("alloy") && !all.contains("dhcproto"), "tests' alone");
        let agent = names(&of(&["image-agent"]));
        assert!(agent.contains("rustls") && agent.contains("libc"));
        assert!(!agent.contains("alloy") && !agent.contains("image-start") && !agent.contains("ruzstd"));
    }
}
