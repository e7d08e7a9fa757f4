//! The screen without a terminal: what is shown, and where keys lead.

use std::net::Ipv4Addr;

use appliance_first_run::{Facts, Heard, Images, Mode, Nic, Storage, Tpm};
use appliance_model::Now;
use ratatui::{Terminal, backend::TestBackend};

use crate::{Console, Done, Key, Level, Line, Seen, Target, Want};

fn facts() -> Facts {
    let silence = Heard { servers: Vec::new(), proposal: Mode::Full, why: "nobody answered".into() };
    let rival =
        Heard { servers: vec![Ipv4Addr::new(192, 0, 2, 1)], proposal: Mode::Proxy, why: "one".into() };
    let nic = |name: &str, addresses: &[(Ipv4Addr, u8)], heard| Nic {
        name: name.into(),
        mac: None,
        carrier: true,
        addresses: addresses.to_vec(),
        heard: Some(heard),
    };
    Facts {
        now: Now(1_795_305_600_000),
        hardware_clock: None,
        nics: vec![nic("enp1s0", &[(Ipv4Addr::new(192, 0, 2, 7), 24)], rival), nic("enp2s0", &[], silence)],
        tpm: Tpm::Absent,
        storage: Storage { free_bytes: 8 << 30, live: false, why: None },
        images: Images { uki: "discovery.efi".into(), reference: "reference.json".into(), host: None },
    }
}

fn bare() -> Seen {
    Seen {
        facts: facts(),
        site: None,
        page: Some("http://192.0.2.7/#K7QX-29FD".into()),
        secret: Some("K7QX-29FD".into()),
        live: false,
        health: vec![Line { level: Level::Warn, text: "no site: answer the first run".into() }],
    }
}

fn picture(console: &Console, width: u16, height: u16) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| console.draw(frame));
    let buffer = terminal.backend().buffer();
    let row =
        |row: &[ratatui::buffer::Cell]| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>();
    buffer.content.chunks(usize::from(width)).map(|cells| row(cells).trim_end().to_owned() + "\n").collect()
}

fn press(console: &mut Console, keys: &[Key]) -> Option<Want> {
    keys.iter().filter_map(|key| console.key(*key)).last()
}

fn write(console: &mut Console, text: &str) -> Option<Want> {
    let keys: Vec<Key> = text.chars().map(Key::Letter).chain([Key::Enter]).collect();
    press(console, &keys)
}

#[track_caller]
fn shows(console: &Console, words: &[&str]) {
    let picture = picture(console, 80, 24);
    for word in words {
        assert!(picture.contains(word), "`{word}` is not on the screen:\n{picture}");
    }
}

#[test]
fn a_machine_without_a_site_shows_where_to_go_and_can_be_set_up_here() {
    let mut console = Console::default();
    shows(&console, &["looking around"]);
    console.show(bare());
    shows(
        &console,
        &[
            "http://192.0.2.7/",
            "asks for the code K7QX-29FD",
            "enp1s0     192.0.2.7/24 · DHCP server 192.0.2.1",
            "enp2s0     no address",
            "no site: answer",
            "██ █▄▄▄█ █",
        ],
    );
    assert!(
        picture(&console, 60, 16).contains("no site: answer"),
        "without room the code goes, not the words"
    );
    press(&mut console, &[Key::Enter]);
    shows(
        &console,
        &["▸ Name of the site", "needed", "(enp2s0)", "(10.77.0.1/24)", "(auto-proxy)", "site.name: letters"],
    );
    press(&mut console, &[Key::Letter('v')]);
    shows(&console, &["This cannot be done yet", "site.name has no answer", "site.region has no answer"]);
    press(&mut console, &[Key::Enter, Key::Enter]);
    write(&mut console, "rack-7");
    press(&mut console, &[Key::Enter]);
    write(&mut console, "eu-west");
    // Through the classes, back to the first, and then what is proposed after all.
    press(&mut console, &[Key::Enter, Key::Tab, Key::Tab]);
    shows(&console, &["gpu_"]);
    press(&mut console, &[Key::Escape, Key::Letter('v')]);
    shows(
        &console,
        &["This will happen", "The site is called rack-7", "this machine has no TPM", "Make the site? _"],
    );
    assert_eq!(write(&mut console, "no"), None, "only `yes` makes it");
    press(&mut console, &[Key::Back, Key::Back]);
    let Some(Want::Make(plan)) = write(&mut console, "yes") else { panic!("nothing is made") };
    assert!(plan.files.last().unwrap().text.contains("name = \"rack-7\""));
    shows(&console, &["making the site"]);
    assert_eq!(press(&mut console, &[Key::Enter]), None, "it is made once");
    console.made(Ok(Done { password: "abcd-efgh-jkmn-pqrs".into() }));
    shows(&console, &["The site is made", "abcd-efgh-jkmn-pqrs", "shown this once"]);
    press(&mut console, &[Key::Enter]);
    console.show(Seen {
        site: Some("rack-7".into()),
        secret: None,
        page: Some("https://192.0.2.7/".into()),
        ..bare()
    });
    shows(&console, &["· rack-7", "https://192.0.2.7/"]);
    assert!(!picture(&console, 80, 24).contains("abcd"), "the password is gone");
    assert_eq!(press(&mut console, &[Key::Enter, Key::Letter('l')]), None, "a site is looked at only");
}

#[test]
fn what_cannot_be_an_answer_is_said_at_once_and_failures_are_shown() {
    let mut console = Console::default();
    console.show(bare());
    press(&mut console, &[Key::Enter, Key::Enter]);
    write(&mut console, "räck");
    shows(&console, &["is not printable ASCII", "räck_"]);
    press(&mut console, &[Key::Escape, Key::Escape]);
    assert_eq!(press(&mut console, &[Key::Letter('l')]), Some(Want::Listen));
    shows(&console, &["listening for other DHCP servers"]);
    assert_eq!(press(&mut console, &[Key::Enter]), None, "one thing at a time");
    console.show(bare());
    console.made(Err("cannot write /var/lib/scalerforge/ca.key; make room".into()));
    shows(&console, &["No site was made", "make room"]);
    press(&mut console, &[Key::Enter]);
    shows(&console, &["In a browser"]);
    let quit = console.key(Key::Quit);
    assert_eq!(quit, Some(Want::Quit));
}

#[test]
fn no_address_no_page() {
    let mut console = Console::default();
    console.show(Seen { page: None, secret: None, ..bare() });
    shows(&console, &["No page yet: no port has an address.", "network with DHCP, or press Enter"]);
    console.show(Seen { site: Some("rack-7".into()), page: None, secret: None, ..bare() });
    shows(&console, &["No page yet", "a DHCP server at its end?"]);
}

#[test]
fn a_live_medium_is_installed_by_the_words_of_one_drive() {
    let mut console = Console::default();
    console.show(bare());
    assert_eq!(press(&mut console, &[Key::Letter('i')]), None, "an installed appliance offers nothing");
    console.show(Seen { live: true, ..bare() });
    shows(&console, &["i: install on a drive"]);
    assert_eq!(press(&mut console, &[Key::Letter('i')]), Some(Want::Drives));
    shows(&console, &["looking at the drives"]);
    let target = |called: &str, what: &str, possible| Target {
        called: called.into(),
        what: what.into(),
        words: format!("erase everything on {called}"),
        possible,
    };
    console.drives(Ok(vec![
        target("TINY1", "sda (512 MiB): too small", false),
        target("S3RIAL", "nvme0n1 (8192 MiB): holds NTFS", true),
    ]));
    shows(&console, &["▸ TINY1", "too small", "nvme0n1 (8192 MiB): holds NTFS"]);
    press(&mut console, &[Key::Enter]);
    shows(&console, &["Enter: take it"]);
    press(&mut console, &[Key::Down, Key::Enter]);
    shows(&console, &["To do it, type: erase everything on S3RIAL"]);
    assert_eq!(write(&mut console, "yes"), None, "only its words do it");
    press(&mut console, &[Key::Back; 3]);
    let wanted = Some(Want::Install("erase everything on S3RIAL".into()));
    assert_eq!(write(&mut console, "erase everything on S3RIAL"), wanted);
    console.progress("26 of 260 MiB written".into());
    shows(&console, &["26 of 260 MiB written"]);
    assert_eq!(press(&mut console, &[Key::Enter]), None, "it is installed once");
    console.installed(Err("drive S3RIAL: it is failing".into()));
    shows(&console, &["Nothing was installed", "it is failing"]);
    assert_eq!(press(&mut console, &[Key::Enter]), None);
    shows(&console, &["In a browser"]);
    console.installed(Ok("take the medium out".into()));
    shows(&console, &["It is installed", "take the medium out", "Enter: restart"]);
    assert_eq!(press(&mut console, &[Key::Letter('x')]), None);
    assert_eq!(press(&mut console, &[Key::Enter]), Some(Want::Restart));
    shows(&console, &["restarting"]);
}
