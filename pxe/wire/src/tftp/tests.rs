//! Packets of firmware, packets of nobody.

use proptest::prelude::*;

use super::*;

fn rrq(options: &Options) -> Vec<u8> {
    request("boot/x.efi", Mode::Octet, options)
}

#[test]
fn a_request_with_size_block_and_window() {
    // Size, block and window in one request, as UEFI firmware asks.
    let packet = b"\0\x01boot/x.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0";
    let options = Options {
        block_bytes: Some(1468),
        timeout_seconds: None,
        file_bytes: Some(0),
        window_blocks: Some(4),
    };
    let want = Request { name: "boot/x.efi", mode: Mode::Octet, options };
    assert_eq!(parse(packet), Ok(Packet::Read(want)));
    assert_eq!(rrq(&options), packet);
}

#[test]
fn answers() {
    let agreed =
        Options { file_bytes: Some(5_000_000_000), window_blocks: Some(65_535), ..Options::default() };
    for (packet, want) in [
        (&b"\0\x04\0\x07"[..], Ok(Packet::Ack(7))),
        (b"\0\x04\0\x07\0\0\0", Ok(Packet::Ack(7))),
        (b"\0\x04\0\x07\0\x01", Err(Malformed::Trailing(6))),
        (b"\0\x04\0", Err(Malformed::Short(3))),
        (b"", Err(Malformed::Short(0))),
        (b"\0\x03\xff\xffabc", Ok(Packet::Data { block: 65_535, bytes: b"abc" })),
        (b"\0\x03\0", Err(Malformed::Short(3))),
        (b"\0\x05\0\x08stop\0", Ok(Packet::Error { code: Code::Options, text: b"stop" })),
        (b"\0\x05\0\x63no NUL", Ok(Packet::Error { code: Code::Other(99), text: b"no NUL" })),
        (b"\0\x06tsize\x005000000000\0WindowSize\x0065535\0", Ok(Packet::OptionsAck(agreed))),
        (b"\0\x07", Err(Malformed::Opcode(7))),
        (b"GET / HTTP/1.1", Err(Malformed::Opcode(0x4745))),
    ] {
        assert_eq!(parse(packet), want, "{packet:?}");
    }
}

#[test]
fn requests_that_are_refused() {
    let many = (0..17).flat_map(|n| format!("o{n}\0v\0").into_bytes()).collect::<Vec<_>>();
    let with = |tail: &[u8]| [b"\0\x01f\0octet\0", tail].concat();
    for (packet, want) in [
        (b"\0\x01f".to_vec(), Malformed::Unterminated("file name")),
        (b"\0\x01f\0octet".to_vec(), Malformed::Unterminated("transfer mode")),
        (b"\0\x01\0octet\0".to_vec(), Malformed::NoName),
        (b"\0\x01a\n\0octet\0".to_vec(), Malformed::Name { at: 1, byte: b'\n' }),
        (b"\0\x01\xc3\xa4\0octet\0".to_vec(), Malformed::Name { at: 0, byte: 0xc3 }),
        (b"\0\x01f\0binary\0".to_vec(), Malformed::Mode),
        (with(b"blksize\0"), Malformed::Unterminated("value of an option")),
        (with(b"blksize"), Malformed::Unterminated("name of an option")),
        (with(b"blksize\x007\0"), Malformed::Value(Named::BlockBytes)),
        (with(b"blksize\x0065465\0"), Malformed::Value(Named::BlockBytes)),
        (with(b"blksize\x00-1\0"), Malformed::Value(Named::BlockBytes)),
        (with(b"blksize\0+512\0"), Malformed::Value(Named::BlockBytes)),
        (with(b"blksize\0 512\0"), Malformed::Value(Named::BlockBytes)),
        (with(b"timeout\x000\0"), Malformed::Value(Named::TimeoutSeconds)),
        (with(b"timeout\x00256\0"), Malformed::Value(Named::TimeoutSeconds)),
        (with(b"tsize\0\0"), Malformed::Value(Named::FileBytes)),
        (with(b"tsize\x0018446744073709551616\0"), Malformed::Value(Named::FileBytes)),
        (with(b"windowsize\x000\0"), Malformed::Value(Named::WindowBlocks)),
        (with(b"blksize\x00512\0BLKSIZE\x00512\0"), Malformed::Twice(Named::BlockBytes)),
        (with(b"\0x\0"), Malformed::EmptyOption),
        (with(&many), Malformed::Many),
        (with(&[b'a'; 600]), Malformed::Long(610)),
    ] {
        assert_eq!(parse(&packet), Err(want), "{packet:?}");
    }
    // What nobody defined is ignored, and so are zeros that fill a buffer.
    let fine = Packet::Read(Request { name: "f", mode: Mode::Octet, options: Options::default() });
    assert_eq!(parse(&with(b"multicast\0\0rollover\x000\0\0\0\0\0")), Ok(fine));
}

#[test]
fn errors_stay_small() {
    let packet = error(Code::NotFound, &"ä".repeat(500));
    assert!(packet.len() <= 125, "{}", packet.len());
    assert!(matches!(parse(&packet), Ok(Packet::Error { code: Code::NotFound, .. })));
    assert_eq!(error(Code::Access, "a\0b"), b"\0\x05\0\x02a\0");
}

proptest! {
    #[test]
    fn anything_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn nearly_requests(tail in "[a-z0-9\\x00]{0,200}") {
        let _ = parse(&[b"\0\x01f\0octet\0", tail.as_bytes()].concat());
    }

    #[test]
    fn what_is_built_is_read(
        name in "[ -~]{1,200}", block in proptest::option::of(8u16..=65_464),
        seconds in proptest::option::of(1u8..), file in proptest::option::of(any::<u64>()),
        window in proptest::option::of(1u16..),
    ) {
        let options =
            Options { block_bytes: block, timeout_seconds: seconds, file_bytes: file, window_blocks: window };
        let packet = request(&name, Mode::Octet, &options);
        prop_assert_eq!(parse(&packet), Ok(Packet::Read(Request { name: &name, mode: Mode::Octet, options })));
        let agreed = options_ack(&options);
        prop_assert_eq!(parse(&agreed), Ok(Packet::OptionsAck(options)));
    }
}
