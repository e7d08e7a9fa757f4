//! An installed appliance's own system on a drive in a file: what is refused, what is written, and what marks it good.

mod live;
mod machine;

use std::fs;

use image_build::release::{Edition, Role, file};
use image_slots::{Device as _, forget, gpt};
use machine::{MAKER, Machine, STRANGER, release};

use crate::{path, refused, run, site::tiny, text};

#[test]
fn an_update_is_written_by_its_words_and_the_way_back_stays() {
    let machine = Machine::new();
    let status = machine.status();
    assert_eq!((&status["version"], &status["drive"]), (&"0.1.0".into(), &"vda".into()));
    assert_eq!(status["slots"][0]["state"], "on trial");
    let new = machine.dir.path().join("new");
    let hash = release(&new, Edition { version: "0.2.0", epoch: 2 }, 2, MAKER, Some(MAKER));
    refused(&machine.update(&new, &[]), &["was not promoted yet", "appliance check"]);
    machine.good();
    let before = machine.content();
    let asked = text(&machine.update(&new, &[]).stdout);
    assert!(
        asked.contains("would be put into slot b") && asked.contains("--permit \"restart into 0.2.0\""),
        "{asked}"
    );
    refused(&machine.update(&new, &["--permit", "restart"]), &["restart into 0.2.0", "Nothing was written"]);
    assert_eq!(machine.content(), before, "nothing was written so far");
    // A stick has its words in a file; its folder may be named by its description as well.
    let said = machine.dir.path().join("said");
    let typed = new.join("permit");
    let permit = ["--permit-file", path(&typed), "--on-screen", "--said", path(&said)];
    fs::write(&typed, "").unwrap();
    refused(
        &machine.update(&new, &permit),
        &["permit is empty", "restart into 0.2.0", "Nothing was written"],
    );
    assert_eq!(machine.content(), before, "an empty file allows nothing");
    fs::write(&typed, "restart into 0.2.0\r\n").unwrap();
    let done = machine.update(&new.join("release.json"), &permit);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(
        text(&done.stdout)
            .contains("Slot b holds scalerforge-appliance 0.2.0, and was read back; entry 0001b+3.efi")
    );
    assert!(fs::read_to_string(said.join("update")).unwrap().starts_with("good\trelease 0.2.0 is in slot b"));
    let status = machine.status();
    let slot = |n: usize| (status["slots"][n]["release"].clone(), status["slots"][n]["state"].clone());
    assert_eq!(slot(0), ("scalerforge-appliance 0.1.0".into(), "good".into()));
    assert_eq!(slot(1), ("scalerforge-appliance 0.2.0".into(), "on trial".into()));
    assert_eq!(status["slots"][1]["tries_left"], 3);
    // The new system runs, is marked good, and the old one can be had back by its words.
    machine.runs("b", "0.2.0", hash);
    machine.good();
    assert_eq!(machine.status()["slots"][1]["state"], "good");
    refused(&machine.run(&["back"]), &["holds scalerforge-appliance 0.1.0", "restart into the other slot"]);
    let back = machine.run(&["back", "--later", "--permit", "restart into the other slot"]);
    assert!(text(&back.stdout).contains("Slot a is started next"), "{}", text(&back.stderr));
    let human = text(&machine.run(&["status"]).stdout);
    assert!(
        human.contains("slot b  scalerforge-appliance 0.2.0  good, runs") && human.contains("3 tries left"),
        "{human}"
    );
}

#[test]
fn what_is_not_the_makers_newer_whole_release_is_refused_before_anything_is_written() {
    let machine = Machine::new();
    machine.good();
    let before = machine.content();
    let folder = |name: &str| machine.dir.path().join(name);
    let edition = |version, epoch| Edition { version, epoch };
    let said = folder("said");
    let permit = ["--permit", "restart into 0.2.0", "--on-screen", "--said", path(&said)];
    let mut seed = 10;
    let mut made = |name: &str, edition, vouches, signs| {
        seed += 1;
        release(&folder(name), edition, seed, vouches, signs);
        folder(name)
    };
    let unsigned = made("unsigned", edition("0.2.0", 2), MAKER, None);
    let foreign = made("foreign", edition("0.2.0", 2), STRANGER, Some(STRANGER));
    let other_key = made("other-key", edition("0.2.0", 2), STRANGER, Some(MAKER));
    let older = made("older", edition("0.0.9", 2), MAKER, Some(MAKER));
    let old_epoch = made("old-epoch", edition("0.2.0", 1), MAKER, Some(MAKER));
    let cut = made("cut", edition("0.2.0", 2), MAKER, Some(MAKER));
    fs::write(cut.join(file(Role::Root)), b"cut").unwrap();
    let bent = made("bent", edition("0.2.0", 2), MAKER, Some(MAKER));
    let text_of = fs::read_to_string(bent.join("release.json")).unwrap();
    fs::write(bent.join("release.json"), text_of.replace("0.2.0", "0.3.0")).unwrap();
    for (from, words) in [
        (&unsigned, "is not signed"),
        (&foreign, "not signed by who made the system that runs"),
        (&other_key, "another maker's key"),
        (&older, "not newer than 0.1.0"),
        (&old_epoch, "demands 2"),
        (&cut, "host.erofs is not what was signed"),
        (&bent, "or it was changed"),
        (&folder("nowhere"), "release.json"),
    ] {
        refused(&machine.update(from, &permit), &[words]);
        assert!(fs::read_to_string(said.join("update")).unwrap().starts_with("bad\tno update: "), "{words}");
    }
    assert_eq!(machine.content(), before, "nothing was written");
    let new = made("new", edition("0.2.0", 2), MAKER, Some(MAKER));
    // A system that was built without a maker, a medium, and somebody else's machine.
    fs::remove_file(machine.root().join("run/systemd/tpm2-pcr-public-key.pem")).unwrap();
    refused(&machine.update(&new, &permit), &["without its maker's key"]);
    fs::write(machine.root().join("run/scalerforge/live"), "").unwrap();
    refused(&machine.update(&new, &permit), &["runs from a live medium", "appliance.iso", "appliance.raw"]);
    refused(&machine.run(&["status"]), &["live medium"]);
    let nobody = tempfile::tempdir().unwrap();
    refused(
        &run(&["appliance", "status", "--root", path(nobody.path())]),
        &["no installed appliance runs here"],
    );
}

#[test]
fn a_system_is_marked_good_by_its_own_page_and_database() {
    let machine = Machine::new();
    let said = machine.dir.path().join("said");
    let running = crate::running::Appliance::of(crate::site::Site::new());
    // Until it answers.
    while !run(&["host", "list", "--appliance", &running.url]).status.success() {
        std::thread::yield_now();
    }
    let check = |url: &str, more: &[&str]| {
        let site = running.site.dir();
        let words = ["check", "--site", path(&site), "--said", path(&said), "--appliance", url];
        machine.run(&[&words[..], more].concat())
    };
    let ill = check("http://127.0.0.77:1", &[]);
    assert_eq!(ill.status.code(), Some(1));
    assert!(
        text(&ill.stdout).contains("Not well: the database: no appliance answers"),
        "{}",
        text(&ill.stdout)
    );
    assert_eq!(machine.status()["slots"][0]["state"], "on trial", "a look changes nothing");
    let good = check(&running.url, &["--until-good"]);
    let words = text(&good.stdout);
    assert!(words.contains("Slot a is good") && words.contains("No rollback floor is kept"), "{words}");
    assert_eq!(machine.status()["slots"][0]["state"], "good");
    let again = check("http://127.0.0.77:1", &["--until-good"]);
    assert!(again.status.success(), "what was marked good stays so: {}", text(&again.stderr));
}

#[test]
fn a_factory_reset_erases_the_key_by_the_sites_typed_name() {
    let machine = Machine::new();
    let (site, said) = (crate::site::Site::new(), machine.dir.path().join("said"));
    let directory = site.dir();
    let reset = |more: &[&str]| {
        let words = ["reset", "--later", "--site", path(&directory), "--said", path(&said)];
        machine.run(&[&words[..], more].concat())
    };
    // A drive with a state behind its slots, as the first start makes one.
    let mut drive = machine.drive();
    let gpt::Table::Partitions(mut parts) = gpt::read(&mut drive).unwrap() else { panic!("no table") };
    let last = parts.iter().map(|part| part.start + part.bytes).max().unwrap();
    let start = last.next_multiple_of(1 << 20);
    let file = fs::File::options().write(true).open(machine.root().join("dev/vda")).unwrap();
    file.set_len(start + (80 << 20)).unwrap();
    let number = u32::try_from(parts.len()).unwrap() + 1;
    let (name, id) = ("scalerforge-state".to_owned(), gpt::Guid([7; 16]));
    parts.push(gpt::Partition { number, kind: forget::STATE, id, name, start, bytes: 64 << 20 });
    let mut drive = machine.drive();
    gpt::write(&mut drive, gpt::Guid([8; 16]), &parts).unwrap();
    drive.write(start, b"LUKS\xba\xbe\x00\x02").unwrap();
    let before = machine.content();
    refused(&reset(&[]), &["erase everything of test", "site backup", "nothing was changed"]);
    refused(&reset(&["--permit", "erase everything"]), &["erase everything of test"]);
    let absent = machine.dir.path().join("reset");
    assert!(
        reset(&["--permit-file", path(&absent)]).status.success(),
        "a stick without the words resets nothing"
    );
    assert_eq!(machine.content(), before);
    fs::write(&absent, "").unwrap();
    refused(&reset(&["--permit-file", path(&absent)]), &["erase everything of test", "nothing was changed"]);
    fs::write(&absent, "erase everything of test\n").unwrap();
    let done = reset(&["--permit-file", path(&absent)]);
    assert!(text(&done.stdout).contains("nobody reads it any more"), "{}", text(&done.stderr));
    assert_eq!(forget::look(&mut machine.drive()).unwrap(), forget::Kept::Nothing);
    let again = reset(&["--permit", "erase everything of test"]);
    assert!(text(&again.stdout).contains("nothing that this appliance remembers"), "{}", text(&again.stderr));
    assert_eq!(machine.status()["slots"][0]["release"], "scalerforge-appliance 0.1.0", "the system stays");
}
