//! Rooms and arrows: what each crate is (types, core, adapter, binary) and what it may therefore import.
//!
//! T ← C ← `enrol` ← A ← B.  Arrows are the manifests' normal and build dependencies; tests may import what they like.

use anyhow::Context as _;

use super::Tree;

/// What a crate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Types or codec.
    Types,
    /// Pure rules.
    Core,
    /// Talks to the world.
    Adapter,
    /// Puts the others together.
    Binary,
}

/// Every room there is.  A new one is entered here on purpose.
const ROOMS: [(&str, Kind); 47] = [
    ("appliance-model", Kind::Types),
    ("appliance-api", Kind::Types),
    ("attest-wire", Kind::Types),
    ("pxe-wire", Kind::Types),
    ("attest-evidence", Kind::Types),
    ("appliance-enrol", Kind::Core),
    ("appliance-carve", Kind::Core),
    ("appliance-collateral", Kind::Core),
    ("appliance-first-run", Kind::Core),
    ("chain-fleet", Kind::Core),
    ("pxe-policy", Kind::Core),
    ("attest-verify", Kind::Core),
    ("firmware-checks-baseline", Kind::Core),
    ("firmware-checks-burn-in", Kind::Core),
    ("image-seal", Kind::Core),
    ("image-slots", Kind::Core),
    ("appliance-backup", Kind::Adapter),
    ("appliance-bmc", Kind::Adapter),
    ("appliance-console", Kind::Adapter),
    ("appliance-ipmi", Kind::Adapter),
    ("appliance-store", Kind::Adapter),
    ("chain-contracts", Kind::Adapter),
    ("chain-client", Kind::Adapter),
    ("chain-signer", Kind::Adapter),
    ("chain-devnet", Kind::Adapter),
    ("chain-sender", Kind::Adapter),
    ("pxe-tftp", Kind::Adapter),
    ("pxe-http", Kind::Adapter),
    ("pxe-server", Kind::Adapter),
    ("attest-tpm", Kind::Adapter),
    ("attest-verify-ring", Kind::Adapter),
    ("image-zboot", Kind::Adapter),
    ("firmware-checks-probe", Kind::Adapter),
    ("firmware-checks-nvml", Kind::Adapter),
    ("firmware-checks-nvml-fake", Kind::Adapter),
    ("firmware-checks-workloads", Kind::Adapter),
    ("hil-tests-rack", Kind::Adapter),
    ("hil-tests-load", Kind::Adapter),
    ("appliance-server", Kind::Binary),
    ("appliance-cli", Kind::Binary),
    ("appliance-xtask", Kind::Binary),
    ("attest-verify-cli", Kind::Binary),
    ("image-agent", Kind::Binary),
    ("image-build", Kind::Binary),
    ("image-start", Kind::Binary),
    ("hil-tests-fuzz", Kind::Binary),
    ("hil-tests-scenarios", Kind::Binary),
];

/// Arrows beyond the rule, each for its reason.
const ALSO: [(&str, &str); 13] = [
    // The store keeps enrol's records.
    ("appliance-store", "appliance-enrol"),
    // The screen shows what the first run asks and what follows.
    ("appliance-console", "appliance-first-run"),
    // The DHCP server asks the policy what to offer.
    ("pxe-server", "pxe-policy"),
    // One room in three crates: the server opens the sockets and says which files there are.
    ("pxe-server", "pxe-tftp"),
    ("pxe-server", "pxe-http"),
    // Brings the verifier another library for signatures.
    ("attest-verify-ring", "attest-verify"),
    // One room in two crates: the client speaks to the contracts by their generated types.
    ("chain-client", "chain-contracts"),
    // The same room: whoever sends is handed a key that signs.
    ("chain-client", "chain-signer"),
    // It reads what is signed by the contracts' own types: the caller's word is not taken.
    ("chain-signer", "chain-contracts"),
    // One room in several crates: the sender sends the client's calls.
    ("chain-sender", "chain-client"),
    // The terms it reads are collateral's own type: the numbers of one block have one shape and one formula.
    ("chain-client", "appliance-collateral"),
    // What a node's collateral comes to has one formula.
    ("chain-fleet", "appliance-collateral"),
    // One room in several crates: the client reads logs as entries of the fleet's ledger.
    ("chain-client", "chain-fleet"),
];

/// Crates that wait, read clocks, roll dice, log, or touch the world: not for types and cores.
const BANNED: [&str; 33] = [
    "async-std",
    "axum",
    "chrono",
    "env_logger",
    "fastrand",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "hyper-util",
    "io-uring",
    "libc",
    "log",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "rayon",
    "reqwest",
    "rusqlite",
    "rustix",
    "rustls",
    "smol",
    "socket2",
    "sqlx",
    "tempfile",
    "time",
    "tokio",
    "tokio-rustls",
    "tokio-util",
    "tracing",
    "tracing-subscriber",
    "ureq",
];

/// A member of the workspace.
#[derive(Debug)]
pub(super) struct Room {
    /// Folder, from the root.
    pub(super) path: String,
    name: String,
    /// `None` if the table doesn't know it.
    pub(super) kind: Option<Kind>,
    imports: Vec<String>,
    inherits_lints: bool,
}

/// The workspace's members, from their manifests.
pub(super) fn rooms(tree: &Tree) -> anyhow::Result<Vec<Room>> {
    let root = manifest(tree, "Cargo.toml")?;
    let members = root.get("workspace").and_then(|workspace| workspace.get("members"));
    let members = members.and_then(toml::Value::as_array).context("Cargo.toml has no workspace.members")?;
    let mut rooms = Vec::new();
    for member in members {
        let path = member.as_str().context("Cargo.toml: a member that is no text")?;
        rooms.push(room(path, &manifest(tree, &format!("{path}/Cargo.toml"))?)?);
    }
    Ok(rooms)
}

fn manifest(tree: &Tree, path: &str) -> anyhow::Result<toml::Table> {
    let file =
        tree.file(path).with_context(|| format!("{path} is missing; is this the root of the repository?"))?;
    file.text.parse().with_context(|| format!("read {path}"))
}

fn room(path: &str, manifest: &toml::Table) -> anyhow::Result<Room> {
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.with_context(|| format!("{path}/Cargo.toml has no package.name"))?.to_owned();
    let mut imports = imports(|table| manifest.get(table));
    for target in
        manifest.get("target").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values)
    {
        imports.extend(self::imports(|table| target.get(table)));
    }
    let lints = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
    let kind = ROOMS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    Ok(Room { path: path.to_owned(), name, kind, imports, inherits_lints: lints == Some(true) })
}

/// Real names of the crates imported: a renamed dependency counts as what it is.
fn imports<'a>(table: impl Fn(&str) -> Option<&'a toml::Value>) -> Vec<String> {
    let tables =
        ["dependencies", "build-dependencies"].into_iter().filter_map(|name| table(name)?.as_table());
    let named = tables
        .flat_map(toml::Table::iter)
        .map(|(key, value)| value.get("package").and_then(toml::Value::as_str).unwrap_or(key).to_owned());
    named.collect()
}

/// Findings about arrows, banned crates, unknown rooms and lints.
pub(super) fn check(rooms: &[Room]) -> Vec<String> {
    let mut findings = Vec::new();
    for room in rooms {
        let file = format!("{}/Cargo.toml", room.path);
        if !room.inherits_lints {
            findings.push(format!("{file}: does not inherit the lints; add `[lints] workspace = true`"));
        }
        let Some(kind) = room.kind else {
            findings.push(format!("{file}: {} is in no room; enter it into tidy's table", room.name));
            continue;
        };
        for import in &room.imports {
            let ours = ROOMS.iter().find(|(known, _)| known == import).map(|(_, kind)| *kind);
            match ours {
                Some(other) if !allowed(&room.name, kind, import, other) => {
                    let name = &room.name;
                    findings.push(format!("{file}: {name} ({kind:?}) may not import {import} ({other:?})"));
                }
                None if matches!(kind, Kind::Types | Kind::Core) && BANNED.contains(&import.as_str()) => {
                    findings.push(format!("{file}: {import} has no place in {}, which is pure", room.name));
                }
                Some(_) | None => {}
            }
        }
    }
    findings
}

fn allowed(name: &str, kind: Kind, import: &str, other: Kind) -> bool {
    let by_rule = match kind {
        Kind::Types => other == Kind::Types,
        Kind::Core => other == Kind::Types || (name == "appliance-enrol" && other == Kind::Core),
        Kind::Adapter => other == Kind::Types,
        Kind::Binary => true,
    };
    by_rule || ALSO.contains(&(name, import))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, body: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n{body}");
        check(&[room("x", &text.parse().unwrap()).unwrap()])
    }

    #[test]
    fn arrows_point_one_way() {
        for (name, import, fine) in [
            ("appliance-model", "appliance-api", true),
            ("appliance-model", "appliance-carve", false),
            ("appliance-carve", "appliance-model", true),
            ("appliance-carve", "appliance-collateral", false),
            ("appliance-carve", "appliance-enrol", false),
            ("appliance-carve", "tokio", false),
            ("appliance-carve", "sha2", true),
            ("appliance-enrol", "attest-verify", true),
            ("appliance-enrol", "appliance-store", false),
            ("appliance-store", "appliance-enrol", true),
            ("appliance-bmc", "appliance-enrol", false),
            ("appliance-bmc", "tokio", true),
            ("pxe-server", "pxe-policy", true),
            ("chain-client", "appliance-collateral", true),
            ("chain-client", "appliance-enrol", false),
            ("pxe-server", "appliance-store", false),
            ("hil-tests-rack", "attest-verify", false),
            ("appliance-server", "appliance-carve", true),
            ("who-is-this", "serde", false),
        ] {
            let found = check_one(name, &format!("[dependencies]\n{import}.workspace = true\n"));
            assert_eq!(found.is_empty(), fine, "{name} -> {import}: {found:?}");
        }
    }

    #[test]
    fn disguises_do_not_help() {
        for body in [
            "[dependencies]\nquiet = { package = \"tokio\", version = \"1\" }\n",
            "[build-dependencies]\ntokio = \"1\"\n",
            "[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n",
        ] {
            assert_eq!(check_one("appliance-carve", body).len(), 1, "{body}");
        }
        assert!(check_one("appliance-carve", "[dev-dependencies]\ntokio = \"1\"\n").is_empty());
    }

    #[test]
    fn lints_are_inherited() {
        let text = "[package]\nname = \"appliance-model\"\n";
        let found = check(&[room("x", &text.parse().unwrap()).unwrap()]);
        assert!(found[0].contains("does not inherit the lints"), "{found:?}");
    }
}
