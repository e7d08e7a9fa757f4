//! Documents: every one can be reached by links from the README or the architecture, no link leads nowhere, and the
//! README's list of rooms is the workspace's.

use std::collections::BTreeSet;

use super::{File, Tree, arrows::Room};

/// Where readers begin.
const DOORS: [&str; 2] = ["README.md", "ARCHITECTURE.md"];

pub(super) fn check(tree: &Tree, rooms: &[Room], findings: &mut Vec<String>) {
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for door in DOORS {
        if tree.file(door).is_some() {
            open.push(door.into());
        } else {
            findings.push(format!("{door}: is missing; readers begin there"));
        }
    }
    while let Some(path) = open.pop() {
        let Some(file) = tree.file(&path).filter(|_| reached.insert(path.clone())) else { continue };
        for target in links(&file.text) {
            let Some(target) = resolve(&path, target) else { continue };
            let folder = format!("{}/", target.trim_end_matches('/'));
            let exists = target.is_empty()
                || tree.files.iter().any(|f| f.path == target || f.path.starts_with(&folder));
            if !exists {
                findings.push(format!("{path}: links to {target}, which is not there"));
            } else if is_document(&target) {
                open.push(target);
            }
        }
    }
    for file in tree.files.iter().filter(|file| is_document(&file.path) && !reached.contains(&file.path)) {
        findings.push(format!("{}: no link leads here from README.md or ARCHITECTURE.md", file.path));
    }
    if let Some(readme) = tree.file(DOORS[0]) {
        room_list(readme, rooms, findings);
    }
}

fn is_document(path: &str) -> bool {
    path.ends_with(".md")
}

/// Targets of inline links, outside of code blocks.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            found.push(target.split('#').next().unwrap_or_default());
        }
    }
    found
}

/// A link's target from the root; `None` if it leads out of the repository or within the same page.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { from.split('/').collect() };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The README names each room in a table row or a code block, and in its table no room that isn't there.
fn room_list(readme: &File, rooms: &[Room], findings: &mut Vec<String>) {
    let mut listed: BTreeSet<&str> = BTreeSet::new();
    let mut code = false;
    for line in readme.text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if code {
            listed.extend(line.split_whitespace().map(|word| word.trim_end_matches('/')));
        } else if line.trim_start().starts_with('|') {
            let cell = line.split('|').nth(1).unwrap_or_default().trim();
            let quoted = cell.strip_prefix('`').and_then(|rest| rest.split('`').next());
            let linked = cell.strip_prefix("[`").and_then(|rest| rest.split('`').next());
            let Some(name) = quoted.or(linked).map(|name| name.trim_end_matches('/')) else { continue };
            listed.insert(name);
            // A row is about a room if it begins with the folder of one.
            let area = name.split('/').next().unwrap_or_default();
            let about_a_room =
                name.contains('/') && rooms.iter().any(|room| room.path.split('/').next() == Some(area));
            if about_a_room && !rooms.iter().any(|room| room.path == name) {
                findings
                    .push(format!("{}: lists `{name}`, which is no member of the workspace", readme.path));
            }
        }
    }
    for room in rooms.iter().filter(|room| !listed.contains(room.path.as_str())) {
        findings.push(format!("{}: does not list the room `{}`", readme.path, room.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_and_resolved() {
        let text = "[a](docs/a.md) and [b](../b.md#part \"title\")\n```\n[c](c.md)\n```\n[d](https://example.org/d.md)";
        assert_eq!(links(text), ["docs/a.md", "../b.md", "https://example.org/d.md"]);
        for (from, target, path) in [
            ("README.md", "docs/a.md", Some("docs/a.md")),
            ("docs/x/y.md", "../a.md", Some("docs/a.md")),
            ("docs/y.md", "/LICENSE", Some("LICENSE")),
            ("README.md", "../out.md", None),
            ("README.md", "https://example.org", None),
            ("README.md", "", None),
        ] {
            assert_eq!(resolve(from, target).as_deref(), path, "{from} {target}");
        }
    }
}
