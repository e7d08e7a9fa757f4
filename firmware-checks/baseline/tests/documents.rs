//! Documents: those built in, their digests, and what is refused.

use std::error::Error as _;

use appliance_carve::carve;
use appliance_model::{
    Digest, Serial,
    burn_in::{
        Verdict,
        staged::{Course, Head, Report},
    },
    inventory::{Inventory, System},
    real::Wishes,
    rules::Placement,
};
use firmware_checks_baseline::{Document, Library, document::FILE_BYTES_MAX};

/// If this fails, a built-in document means something else than before: raise its version, then this line.
const PINNED: &str = include_str!("digests.txt");

fn all(library: &Library) -> Vec<&Document> {
    let baselines = library.baselines.iter().map(|one| &one.document);
    let blueprints = library.blueprints.iter().map(|one| &one.document);
    let classes = library.classes.iter().map(|one| &one.document);
    let instances = library.instances.iter().map(|one| &one.document);
    baselines.chain(blueprints).chain(classes).chain(instances).collect()
}

#[test]
fn built_in_documents_are_legal_and_have_their_digests() {
    let library = Library::built_in().unwrap();
    let lines: String = all(&library)
        .iter()
        .map(|document| format!("{} {} {}\n", document.id, document.version, document.digest))
        .collect();
    assert_eq!(lines, PINNED);
    for document in all(&library) {
        assert!(!document.source.is_empty(), "{} names no source", document.id);
    }
    for kind in library.classes.iter().flat_map(|classes| &classes.kinds) {
        let blueprint = library.blueprint(&kind.blueprint).unwrap();
        assert_eq!(blueprint.class.as_ref(), Some(&kind.class));
    }
    for blueprint in &library.blueprints {
        let class = blueprint.class.as_deref().unwrap();
        assert!(library.classes[0].classes.iter().any(|known| known.name == class), "{class}");
    }
}

/// The carver has no table of its own: what the document says is what it judges by, and names.
#[test]
fn the_carver_judges_by_the_class_manifest_and_names_it() {
    let thread = serde_json::json!({"cpu": 0, "core": 0, "socket": 0, "node": 0});
    let inventory = Inventory {
        system: System { serial: Serial::parse("S1"), ..System::default() },
        threads: vec![serde_json::from_value(thread).unwrap()],
        memory_bytes: Some(1 << 30),
        ..Inventory::default()
    };
    let course = Course {
        profile: "test".into(),
        profile_digest: String::new(),
        serial: Serial::parse("S1").unwrap(),
        stages: vec![],
    };
    let report = Report {
        course,
        outcomes: vec![],
        verdict: Verdict::Pass { coverage: vec![] },
        stream: Head { lines: 0, sha256: Digest([0; 32]) },
    };
    let library = Library::built_in().unwrap();
    let classes = &library.classes[0];
    let carved =
        carve(&inventory, &report, &classes.rules(), &Placement::default(), Wishes::default()).unwrap();
    let judged: Vec<_> = carved.decision.judged.iter().map(|one| one.class.as_str()).collect();
    assert_eq!(judged, ["gpu", "storage", "compute", "lab"]);
    assert_eq!(carved.decision.rejected()[0].lacks, ["0 GPUs, needs 1", "1 cores to sell, needs 4"]);
    assert_eq!(carved.manifest.classed_by.unwrap().rules.digest, classes.document.digest);
}

#[test]
fn classes_and_instances_that_nobody_could_mean_are_refused() {
    let head =
        |kind: &str| format!("kind = \"{kind}\"\nformat = 1\nid = \"a\"\nversion = 1\ntitle = \"t\"\n");
    let refused = |text: String| Library::default().add("a.toml", text.as_bytes()).unwrap_err().to_string();
    let class = "[[class]]\nname = \"x\"\ncapacity = \"cores\"\nneeds = []\n";
    assert!(Library::default().add("a.toml", (head("classes") + class).as_bytes()).is_ok());
    for (text, says) in [
        (class.replace("\"x\"", "\"X Y\""), "`X Y` is no name"),
        (class.replace("\"x\"", &format!("\"{}\"", "x".repeat(31))), "is no name: up to 30"),
        (class.repeat(2), "class `x`: is there twice"),
        (class.replace("cores", "sockets"), "line 8: unknown variant `sockets`"),
        (class.repeat(101), "at most 100 classes"),
    ] {
        let error = refused(head("classes") + &text);
        assert!(error.contains(says), "{says}: {error}");
    }
    let good = "[[instance]]\nname = \"x\"\ncores = 1\n";
    assert!(Library::default().add("a.toml", (head("instances") + good).as_bytes()).is_ok());
    for (more, says) in [
        ("drives = [{ tier = \"fast\", count = 0 }]", "needs 0 of something"),
        ("gpus = { count = 9000 }", "more parts than any machine has"),
        (
            "drives = [{ tier = \"fast\", count = 1 }, { tier = \"fast\", count = 2 }]",
            "a tier of drives twice",
        ),
        ("near = \"rack\"", "line 9: unknown variant `rack`"),
        ("[[instance]]\nname = \"x\"\ncores = 1", "instance `x`: is there twice"),
        ("[[instance]]\nname = \"y\"", "instance `y`: needs no core"),
    ] {
        let error = refused(format!("{}{good}{more}\n", head("instances")));
        assert!(error.contains(says), "{says}: {error}");
    }
}

#[test]
fn layout_and_remarks_do_not_change_a_digest_and_values_do() {
    let text = "kind = \"blueprint\"\nformat = 1\nid = \"a\"\nversion = 1\ntitle = \"t\"\n[[dimm]]\ncount = 2\nsize = \"64 GiB\"\n";
    let digest = |text: &str| Library::default().add("a.toml", text.as_bytes()).unwrap().digest;
    let other = "# remark\nversion = 1\nid='a'\ntitle = \"t\"\nformat = 1\nkind = \"blueprint\"\n\ndimm = [ { size = \"64 GiB\", count = 2 } ]\n";
    assert_eq!(digest(text), digest(other));
    assert_ne!(digest(text), digest(&text.replace("count = 2", "count = 3")));
}

#[test]
fn bad_documents_are_refused_by_line_and_key() {
    let good = "kind = \"blueprint\"\nformat = 1\nid = \"a\"\nversion = 1\ntitle = \"t\"\n[[dimm]]\nslots = [\"A1\"]\nsize = \"64 GiB\"\n";
    for (from, to, says) in [
        ("title =", "titel =", "line 5: unknown field `titel`"),
        ("size = \"64 GiB\"", "size = \"64\"", "line 8: `64` is no size"),
        ("size = \"64 GiB\"", "size = 64", "line 8: invalid type"),
        ("size = \"64 GiB\"", "size = \"64 GiB\"\nspeed = 1", "line 9: unknown field `speed`"),
        ("size = \"64 GiB\"", "size = \"64 GiB\"\ncount = 2", "dimm: says 2 and names 1 places"),
        ("slots = [\"A1\"]", "slots = [\"A1\", \"a1\"]", "dimm: names the place `a1` twice"),
        ("slots = [\"A1\"]", "", "dimm: wants a count, or places"),
        ("slots = [\"A1\"]", "count = 0", "dimm: wants 1 to 4096 parts"),
        ("format = 1", "format = 2", "format: 2, but this build reads format 1"),
        ("id = \"a\"", "id = \"../a\"", "id: `../a` is no id"),
        ("version = 1", "version = 0", "version: 0"),
        ("kind = \"blueprint\"", "kind = \"recipe\"", "kind: `recipe` is no kind"),
        ("kind = \"blueprint\"", "kind = ", "line 1:"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = Library::default().add("a.toml", text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("a.toml") && error.contains(says), "{says}: {error}");
    }
    let rule = |rule: &str| {
        let text = format!("kind = \"baseline\"\nformat = 1\nid = \"a\"\nversion = 1\ntitle = \"t\"\n{rule}");
        Library::default().add("a.toml", text.as_bytes()).unwrap_err().to_string()
    };
    let firmware = "[[firmware]]\ncomponent = \"drive\"\nseverity = \"info\"\nscheme = ";
    assert!(rule(&format!("{firmware}\"opaque\"\nfloor = \"A\"\n")).contains("have no order"));
    assert!(
        rule(&format!("{firmware}\"dotted\"\nfloor = \"P89\"\n")).contains("not written as the scheme says")
    );
    assert!(rule(&format!("{firmware}\"dotted\"\n")).contains("wants nothing"));
    let error = Library::default().add("a", &[0xff]).unwrap_err();
    assert!(error.source().is_some());
    assert!(Library::default().add("a", &vec![b'#'; FILE_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_changed_document_needs_a_higher_version() {
    let text = |version: u32, count: u32| {
        format!(
            "kind = \"blueprint\"\nformat = 1\nid = \"a\"\nversion = {version}\ntitle = \"t\"\n[[dimm]]\ncount = {count}\nsize = \"64 GiB\"\n"
        )
    };
    let mut library = Library::default();
    library.add("a", text(2, 1).as_bytes()).unwrap();
    library.add("same", text(2, 1).as_bytes()).unwrap();
    let error = library.add("b", text(2, 2).as_bytes()).unwrap_err();
    assert!(error.to_string().contains("higher version"), "{error}");
    library.add("older", text(1, 9).as_bytes()).unwrap();
    assert_eq!(library.blueprints[0].document.version, 2);
    library.add("newer", text(3, 9).as_bytes()).unwrap();
    assert_eq!((library.blueprints.len(), library.blueprints[0].document.version), (1, 3));
}
