//! The rest of the law: what the compiler and clippy cannot see, read from the files.
//!
//! `arrows.rs` holds the table of rooms and who may import whom, `source.rs` reads Rust without a compiler,
//! `docs.rs` follows links.  A finding is one line that begins with the file; no findings means tidy.

mod arrows;
mod docs;
mod source;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// Lines of one source file at most.
const FILE_LINES_MAX: usize = 500;

/// Lines of one function's body at most; clippy's `too-many-lines-threshold` says the same.
const FUNCTION_LINES_MAX: usize = 70;

/// A text file larger than this is data, and not read.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Files outside of the adapters that may lift the ban on unsafe code, each for its reason.
const UNSAFE_TOO: [&str; 4] = [
    // One number of the C library's allocator, set before anything runs.
    "appliance/cli/src/serve/memory.rs",
    // The first program of the boot test: one source file for rustc alone, so no crate can wrap mount and reboot.
    "image/build/tests/hil_boot/init.rs",
    // The first program of an installed host: its one ioctl, in a file of its own; a crate for it would hold nothing else.
    "image/start/src/mapper.rs",
    "image/start/src/network.rs",
];

/// All findings about the workspace at `root`, in order of file.
pub(crate) fn run(root: &Path) -> anyhow::Result<Vec<String>> {
    let tree = Tree::read(root)?;
    let rooms = arrows::rooms(&tree)?;
    let mut findings = arrows::check(&rooms);
    for file in &tree.files {
        machine_paths(file, &mut findings);
        marks(file, &mut findings);
        if file.is("rs") {
            rust(file, &rooms, &mut findings);
        }
    }
    docs::check(&tree, &rooms, &mut findings);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// The text files of the workspace.
#[derive(Debug)]
struct Tree {
    files: Vec<File>,
}

/// One text file.
#[derive(Debug)]
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

impl Tree {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let paths = match listed(root) {
            Some(paths) => paths,
            None => walked(root)?,
        };
        let mut files = Vec::new();
        for path in paths {
            // A file that is listed and gone is being deleted; what isn't text is not ours to judge.
            let Ok(bytes) = std::fs::read(root.join(&path)) else { continue };
            if bytes.len() <= TEXT_BYTES_MAX
                && let Ok(text) = String::from_utf8(bytes)
            {
                files.push(File { path, text });
            }
        }
        Ok(Self { files })
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// What git tracks or would, from a clone; `None` outside of one.
fn listed(root: &Path) -> Option<BTreeSet<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let mut git = Command::new("git");
    git.arg("-C").arg(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

/// Every file, from an unpacked archive.
fn walked(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let skip =
                matches!(entry.file_name().to_str(), Some("target" | "node_modules" | ".git" | ".xtask"));
            if kind.is_dir() && !skip {
                open.push(path);
            } else if kind.is_file()
                && let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str)
            {
                found.insert(name.to_owned());
            }
        }
    }
    Ok(found)
}

/// A path that exists on one developer's machine only.
fn machine_paths(file: &File, findings: &mut Vec<String>) {
    for (index, line) in file.text.lines().enumerate() {
        // Written in two pieces, or this line would find itself.
        for start in [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")] {
            let absolute = line.match_indices(start).any(|(at, _)| {
                let before = line.get(..at).and_then(|before| before.chars().next_back());
                before.is_none_or(|c| !(c.is_alphanumeric() || "._-~$}/".contains(c)))
            });
            if absolute {
                let line = index + 1;
                findings.push(format!(
                    "{}:{line}: has a path of one machine ({start}…); make it an argument",
                    file.path
                ));
            }
        }
    }
}

/// Marks of unfinished work.
fn marks(file: &File, findings: &mut Vec<String>) {
    if !["rs", "sol", "toml", "sh"].iter().any(|extension| file.is(extension)) {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        for mark in
            [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("to", "do!("), concat!("unimple", "mented!(")]
        {
            if line.contains(mark) {
                let line = index + 1;
                findings.push(format!(
                    "{}:{line}: {mark} marks unfinished work; finish it or open an issue",
                    file.path
                ));
            }
        }
    }
}

fn rust(file: &File, rooms: &[arrows::Room], findings: &mut Vec<String>) {
    let path = &file.path;
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!(
            "{path}: {lines} lines, at most {FILE_LINES_MAX}; split it where the subject changes"
        ));
    }
    if !file.text.starts_with("//!") {
        findings.push(format!("{path}: opens without `//!`; say what the file is for"));
    }
    let masked = source::mask(&file.text);
    for function in source::functions(&masked) {
        if function.lines > FUNCTION_LINES_MAX {
            let source::Function { name, line, lines } = function;
            findings.push(format!("{path}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}"));
        }
    }
    let room =
        rooms.iter().find(|room| path.strip_prefix(&room.path).is_some_and(|rest| rest.starts_with('/')));
    let kind = room.and_then(|room| room.kind);
    for (index, line) in masked.lines().enumerate() {
        let line_number = index + 1;
        let lifts = ["expect(unsafe_code", "allow(unsafe_code"].iter().any(|lift| line.contains(lift));
        let may = kind == Some(arrows::Kind::Adapter) || UNSAFE_TOO.contains(&path.as_str());
        if lifts && !may {
            findings.push(format!("{path}:{line_number}: unsafe code outside an adapter; move it into one"));
        }
        let pure = matches!(kind, Some(arrows::Kind::Types | arrows::Kind::Core));
        let waits = line.contains(".await") || line.contains("async fn");
        if pure && waits && path.contains("/src/") {
            findings.push(format!("{path}:{line_number}: a core cannot wait; return what to do as data"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with one room that is tidy but for what `files` put in or replace.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let manifest = "[package]\nname = \"appliance-model\"\n[lints]\nworkspace = true\n[dependencies]\n";
        let tidy = [
            ("Cargo.toml", "[workspace]\nmembers = [\"appliance/model\"]\n"),
            ("appliance/model/Cargo.toml", manifest),
            ("appliance/model/src/lib.rs", "//! Words.\n"),
            ("README.md", "| room | what |\n| --- | --- |\n| `appliance/model` | words |\n"),
            ("ARCHITECTURE.md", "# Map\n"),
        ];
        for (path, text) in tidy.iter().chain(files) {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        run(dir.path()).unwrap()
    }

    #[test]
    fn a_tidy_tree_has_no_findings() {
        assert_eq!(findings(&[]), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_seen() {
        let long = format!("//! Long.\n{}", "\n".repeat(500));
        let big = format!("//! Big.\nfn big() {{\n{}}}\n", "    step();\n".repeat(71));
        let lib = "appliance/model/src/lib.rs";
        for (path, text, line) in [
            (lib, long.as_str(), "lib.rs: 501 lines, at most 500"),
            (lib, big.as_str(), "lib.rs:2: `big` has 71 lines, at most 70"),
            (lib, "fn f() {}\n", "lib.rs: opens without `//!`"),
            (lib, concat!("//! A.\n// FIX", "ME later\n"), "lib.rs:2: FIX"),
            (lib, concat!("//! A.\nfn f() { to", "do!() }\n"), "lib.rs:2: to"),
            (
                lib,
                concat!("//! A.\nconst P: &str = \"/ho", "me/me/x\";\n"),
                "lib.rs:2: has a path of one machine",
            ),
            (
                lib,
                "//! A.\n#[expect(unsafe_code, reason = \"x\")]\nfn f() {}\n",
                "lib.rs:2: unsafe code outside",
            ),
            (lib, "//! A.\nasync fn f() {}\n", "lib.rs:2: a core cannot wait"),
            ("docs/lost.md", "# Lost\n", "docs/lost.md: no link leads here"),
            ("ARCHITECTURE.md", "[gone](docs/gone.md)\n", "ARCHITECTURE.md: links to docs/gone.md"),
            ("README.md", "nothing\n", "README.md: does not list the room `appliance/model`"),
            (
                "README.md",
                "| `appliance/model` |\n| `appliance/gone` |\n",
                "README.md: lists `appliance/gone`",
            ),
        ] {
            let found = findings(&[(path, text)]);
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].contains(line), "{found:?} instead of {line}");
        }
    }

    #[test]
    fn what_only_looks_wrong_is_left_alone() {
        let text = concat!(
            "//! A.\n",
            "/// `async fn` and `.await` in words, `https://example.org/wo",
            "rk/` as part of a path.\n",
            "const S: &str = \"#[expect(unsafe_code\";\n"
        );
        assert_eq!(findings(&[("appliance/model/src/lib.rs", text)]), Vec::<String>::new());
    }
}
