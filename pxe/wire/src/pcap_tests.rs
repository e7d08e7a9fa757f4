//! The file's bytes, and that an analyser reads them.

use super::*;

fn sample(source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let mut capture = Capture::new("made up", "br0");
    capture.push(&Datagram {
        micros: 0x0006_0102_0304_0506,
        direction: Direction::Out,
        ethernet_source: [2, 0, 0, 0, 0, 1],
        ethernet_target: [255; 6],
        source,
        target,
        payload: b"abc",
        comments: &["said".to_owned()],
    });
    capture.finish()
}

fn four() -> Vec<u8> {
    sample(SocketAddr::from(([10, 0, 0, 1], 67)), SocketAddr::from(([255, 255, 255, 255], 68)))
}

/// If this fails, change your code, not this test: other people's analysers read such files.
#[test]
fn the_format_is_pinned() {
    let expected = [
        // Section header: byte order, version 1.0, unknown length, comment, application.
        "0a0d0d0a 3c000000 4d3c2b1a 01000000 ffffffffffffffff",
        "01000700 6d616465 20757000 04000b00 7363616c6572666f72676500 00000000 3c000000",
        // Interface: Ethernet, name.
        "01000000 20000000 01000000 ffff0000 02000300 62723000 00000000 20000000",
        // Packet: interface 0, time, two lengths.
        "06000000 64000000 00000000 02010600 06050403 2d000000 2d000000",
        // Ethernet, IPv4, UDP, "abc", padding.
        "ffffffffffff 020000000001 0800",
        "4500001f 00000000 4011 70ce 0a000001 ffffffff",
        "0043 0044 000b 30ee 616263 000000",
        // Comment, outbound.
        "01000400 73616964 02000400 02000000 00000000 64000000",
    ];
    let expected: String = expected.concat().split(' ').collect();
    let found: String = four().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn checksums_are_what_a_receiver_computes() {
    let bytes = four();
    let start = bytes.windows(2).position(|pair| pair == [0x45, 0]).unwrap();
    assert_eq!(checksum(&[&bytes[start..start + 20]]), 0);
    let pseudo = pseudo4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::BROADCAST);
    assert_eq!(checksum(&[&pseudo, &[0, 11], &bytes[start + 20..start + 31]]), 0);
}

#[test]
fn both_families_but_no_mixture() {
    let six = SocketAddr::from((Ipv6Addr::LOCALHOST, 546));
    let four = SocketAddr::from((Ipv4Addr::LOCALHOST, 67));
    let empty = Capture::new("made up", "br0").finish().len();
    assert!(sample(six, six).len() > empty);
    assert_eq!(sample(six, four).len(), empty);
}

#[test]
fn giant_payloads_and_comments_are_cut() {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 67));
    let mut capture = Capture::new(&"é".repeat(100_000), "br0");
    capture.push(&Datagram {
        micros: 0,
        direction: Direction::In,
        ethernet_source: [0; 6],
        ethernet_target: [0; 6],
        source: at,
        target: at,
        payload: &[0; 100_000],
        comments: &["x".repeat(100_000)],
    });
    let bytes = capture.finish();
    assert!(bytes.len() < 70_000);
    assert_eq!(bytes.len() % 4, 0);
}
