//! A site into one file and back, its end by its name only, and first runs that are refused.

use crate::{path, refused, run, scalerforge, site::Site, text};

#[test]
fn a_site_goes_into_a_file_and_comes_back_by_its_passphrase() {
    let (site, room) = (Site::new(), tempfile::tempdir().unwrap());
    let (file, secret, wrong) =
        (room.path().join("b"), room.path().join("secret"), room.path().join("wrong"));
    std::fs::write(&secret, "correct horse battery\n").unwrap();
    std::fs::write(&wrong, "correct horse batterz\n").unwrap();
    let dir = site.dir();
    let made =
        run(&["site", "backup", path(&file), "--site", path(&dir), "--passphrase-file", path(&secret)]);
    assert!(
        made.status.success() && text(&made.stdout).contains("every key of the site"),
        "{}",
        text(&made.stderr)
    );
    let other = room.path().join("other");
    let back = |secret: &std::path::Path| {
        run(&["site", "restore", path(&file), "--site", path(&other), "--passphrase-file", path(secret)])
    };
    refused(&back(&wrong), &["does not open", "another passphrase", "nothing was changed"]);
    let restored = back(&secret);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert!(text(&restored.stdout).contains("is the site test again"));
    for name in ["ca.key", "scalerforge.toml", "vault.key"] {
        assert_eq!(
            std::fs::read(other.join(name)).unwrap(),
            std::fs::read(dir.join(name)).unwrap(),
            "{name}"
        );
    }
    refused(&back(&secret), &["--permit \"replace test\"", "nothing was changed"]);
    refused(
        &run(&["site", "reset", "--site", path(&other)]),
        &["--permit \"erase test\"", "scalerforge site backup"],
    );
    let reset = run(&["site", "reset", "--site", path(&other), "--permit", "erase test"]);
    assert!(reset.status.success(), "{}", text(&reset.stderr));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0);
}

#[test]
fn a_first_run_is_refused_with_its_reasons() {
    let (site, room) = (Site::new(), tempfile::tempdir().unwrap());
    let file = room.path().join("first-run.toml");
    let ask = |answers: &str, dir: &std::path::Path| {
        std::fs::write(&file, answers).unwrap();
        run(&["site", "first-run", path(dir), "--file", path(&file), "--without-listening"])
    };
    let absent = room.path().join("new");
    refused(&ask("[site]\ncolour = 1\n", &absent), &["first-run.toml", "site.colour", "is not asked for"]);
    refused(&ask("[site]\nname = rack\n", &absent), &["line 2"]);
    refused(&ask("[admin]\npassword = \"x\"\n", &absent), &["admin.password", "admin.password_file"]);
    refused(&ask("[bmc]\npasswords = \"x\"\n", &absent), &["bmc.passwords", "bmc.list_file"]);
    std::fs::write(room.path().join("bmc.csv"), "serial,password,address\nS1,sesame,nowhere\n").unwrap();
    let listed = "[site]\nname = \"rack-7\"\nregion = \"eu\"\n[bmc]\nlist_file = \"bmc.csv\"\n";
    let bad = ask(listed, &absent);
    let said = text(&bad.stderr);
    assert_eq!(bad.status.code(), Some(2), "{said}");
    for words in ["bmc.csv", "line 2", "https://ADDRESS"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("sesame"), "no password is said");
    let incomplete = ask("[site]\nname = \"rack 7\"\n", &absent);
    let said = text(&incomplete.stderr);
    assert_eq!(incomplete.status.code(), Some(1), "{said}");
    assert!(
        said.contains("line 2, site.name: `rack 7`") && said.contains("site.region: has no answer"),
        "all at once: {said}"
    );
    assert!(!absent.exists(), "nothing was written");
    // The machine's own screen shows the same, line by line; a stick that is there goes before.
    let said = room.path().join("said");
    let with = |more: &[&str]| {
        let words = ["site", "first-run", path(&absent), "--file", path(&file), "--without-listening"];
        run(&[&words[..], &["--on-screen", "--said", path(&said)], more].concat())
    };
    assert_eq!(with(&[]).status.code(), Some(1));
    let shown = std::fs::read_to_string(said.join("first-run")).unwrap();
    assert!(
        shown.lines().all(|line| line.starts_with("bad\t"))
            && shown.contains("first-run.toml line 2, site.name: `rack 7`"),
        "{shown}"
    );
    let yielded = with(&["--yield-to", path(room.path())]);
    assert!(yielded.status.success() && text(&yielded.stdout).contains("its answers count"));
    std::fs::write(&file, "[admin]\npassword_hash = \"sesame\"\n[site]\nname = \"a\"\nregion = \"b\"\n")
        .unwrap();
    let unhashed = with(&["--dry-run"]);
    assert_ne!(
        unhashed.status.code(),
        Some(2),
        "what would happen is said without it: {}",
        text(&unhashed.stderr)
    );
    let before = site.listing();
    let page = run(&[
        "site",
        "first-run",
        path(&site.dir()),
        "--page",
        "127.0.0.1:0",
        "--invitation",
        path(&room.path().join("i")),
    ]);
    let said = text(&page.stderr);
    assert!(page.status.code() == Some(2) && said.contains("is a site already"), "{said}");
    assert_eq!(site.listing(), before, "a site is never touched");
}

#[test]
fn the_page_password_is_set_from_a_file() {
    let (site, room) = (Site::new(), tempfile::tempdir().unwrap());
    let file = room.path().join("password");
    let set = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = scalerforge();
        command.args(["site", "password", "--site", path(&site.dir()), "--password-file", path(&file)]);
        command.output().unwrap()
    };
    refused(&set("short\n"), &["5 characters", "12 to 256"]);
    assert!(set("correct horse battery\n").status.success());
    let kept = std::fs::read_to_string(site.dir().join("admin.password")).unwrap();
    assert!(kept.starts_with("scalerforge-scrypt-1$15$") && !kept.contains("horse"));
    let printed = run(&["site", "password", "--print", "--password-file", path(&file)]);
    let hash = text(&printed.stdout);
    assert!(
        appliance_server::admin::Hash::of_text(&hash).is_some_and(|hash| hash.is("correct horse battery")),
        "{hash}"
    );
    assert_eq!(std::fs::read_to_string(site.dir().join("admin.password")).unwrap(), kept, "nothing was set");
}
