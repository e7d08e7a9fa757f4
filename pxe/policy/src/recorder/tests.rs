//! Bounds: what stays, what goes, and that memory is what the limits say.

use super::*;

fn frame(at: u64, bytes: usize) -> Frame {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68));
    Frame { at: Now(at), seen: Seen::Received, source: any, target: any, payload: vec![7; bytes] }
}

fn invented(n: u32) -> Mac {
    let [a, b, c, d] = n.to_be_bytes();
    Mac([2, 9, a, b, c, d])
}

const HOST: Mac = Mac([2, 0, 0, 0, 0, 1]);

#[test]
fn a_hundred_thousand_invented_macs_leave_a_known_machines_ring() {
    let limits = Limits::default();
    let mut recorder = Recorder::new(limits);
    for at in 0..20 {
        recorder.frame(HOST, true, frame(at, 300));
    }
    for n in 0..100_000 {
        recorder.frame(invented(n), false, frame(u64::from(n), 300));
    }
    let machines = recorder.list();
    let host = machines.iter().find(|machine| machine.mac == HOST).unwrap();
    assert_eq!((host.entries, host.known), (20, true));
    assert!(machines.len() < 20_000, "{}", machines.len());
    assert!(recorder.bytes() <= limits.known_bytes_max + limits.strangers_bytes_max);
    assert!(machines.iter().any(|machine| machine.mac == invented(99_999)), "the newest stranger is there");
}

#[test]
fn one_machine_cannot_take_more_than_its_share() {
    let limits = Limits { machine_entries_max: 10, machine_bytes_max: 4096, ..Limits::default() };
    let mut recorder = Recorder::new(limits);
    for at in 0..1000 {
        recorder.frame(HOST, false, frame(at, 9000));
        recorder.note(HOST, false, Now(at), Note::TftpWrite { file: "x".repeat(100_000).into() });
        assert!(recorder.bytes() <= 4096, "{}", recorder.bytes());
    }
    assert_eq!(recorder.list()[0].entries, 2000);
}

#[test]
fn a_machine_takes_its_ring_along_when_it_becomes_known() {
    let limits = Limits { strangers_bytes_max: 20_000, ..Limits::default() };
    let mut recorder = Recorder::new(limits);
    recorder.frame(HOST, false, frame(1, 300));
    recorder.note(HOST, true, Now(2), Note::AgentUp { by_dhcp: false });
    for n in 0..1000 {
        recorder.frame(invented(n), false, frame(3, 300));
    }
    let host = recorder.list().into_iter().find(|machine| machine.mac == HOST).unwrap();
    assert_eq!((host.entries, host.first, host.last), (2, Now(1), Now(2)));
    assert!(recorder.bytes() <= 25_000, "{}", recorder.bytes());
}

#[test]
fn words_of_others_are_one_short_line() {
    let note = Note::TftpWrite { file: format!("a\n\u{1b}[2J{}", "é".repeat(500)).into() }.bounded();
    let text = note.to_string();
    assert!(text.len() < 250 && !text.chars().any(char::is_control), "{text}");
}
