//! What a good request gets.

use pxe_http::What;

use crate::world::{World, limits};

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(found, _)| *found == name))
        .map(|(_, value)| value)
}

#[test]
fn one_connection_gets_everything_in_turn() {
    let world = World::new(limits());
    let length = world.image.len().to_string();
    let mut client = world.client();
    client.say("HEAD /image HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(field(&head, "Content-Length"), Some(length.as_str()));
    assert_eq!(field(&head, "Accept-Ranges"), Some("bytes"));
    assert_eq!(field(&head, "Content-Type"), Some("application/efi"));
    assert_eq!(field(&head, "ETag"), Some(world.digest_tag().as_str()));
    assert!(field(&head, "Date").is_some());
    client.get("/image");
    assert_eq!(field(&client.head(), "Content-Length"), Some(length.as_str()));
    assert_eq!(client.body(world.image.len()), world.image);
    client.get("/script");
    assert_eq!(field(&client.head(), "Content-Length"), Some("7"));
    assert_eq!(client.body(7), b"#!ipxe\n");
    client.say("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(field(&head, "Content-Length"), Some("0"));
    // Two at once are answered one after the other.
    client.say(
        "GET /script HTTP/1.1\r\nHost: x\r\n\r\nGET /script HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let both = String::from_utf8(client.rest()).unwrap();
    assert_eq!(both.matches("#!ipxe\n").count(), 2, "{both}");
    let of = u64::try_from(world.image.len()).unwrap();
    assert_eq!(
        world.heard().get(..3).unwrap(),
        [What::Asked, What::Started { first: 0, bytes: of, of }, What::Sent { first: 0, bytes: of, of }]
    );
}

/// Firmware that is refused a file waits until the server hangs up.
#[test]
fn who_is_refused_a_file_is_not_kept_waiting() {
    let world = World::new(limits());
    let mut client = world.client();
    client.get("/nothing");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(field(&head, "Connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn table_of_statuses() {
    let world = World::new(limits());
    let tag = world.digest_tag();
    let total = world.image.len();
    let rows = [
        ("GET /image", String::new(), 200),
        ("GET /later", String::new(), 503),
        ("GET /secret", String::new(), 403),
        ("GET /", String::new(), 404),
        ("POST /image", String::new(), 405),
        ("OPTIONS /image", String::new(), 405),
        ("GET /image", format!("Range: bytes={total}-\r\n"), 416),
        ("GET /image", "Range: bytes=0-0\r\n".into(), 206),
        ("GET /image", "Range: bytes=-1\r\n".into(), 206),
        ("GET /image", "Range: bytes=0-1,4-5\r\n".into(), 200),
        ("GET /image", "Range: bytes=0-1\r\nRange: bytes=0-1\r\n".into(), 200),
        ("GET /image", format!("Range: bytes=0-0\r\nIf-Range: {tag}\r\n"), 206),
        ("GET /image", "Range: bytes=0-0\r\nIf-Range: \"other\"\r\n".into(), 200),
        ("GET /image", format!("If-None-Match: {tag}\r\n"), 304),
        ("HEAD /image", format!("If-None-Match: \"x\", W/{tag}\r\n"), 304),
        ("GET /image", "If-None-Match: \"x\"\r\n".into(), 200),
        ("GET /image", "Content-Length: 0\r\n".into(), 200),
    ];
    for (start, headers, status) in rows {
        let answer = world.say(&format!("{start} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{start} {headers}: {}",
            &answer[..answer.len().min(200)]
        );
    }
    let answer = world.say("GET /later HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(field(&answer, "Retry-After"), Some("7"));
    let answer = world.say(&format!(
        "GET /image HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes={total}-\r\n\r\n"
    ));
    assert_eq!(field(&answer, "Content-Range"), Some(format!("bytes */{total}").as_str()));
}

#[test]
fn ranges_are_the_bytes_they_name() {
    let world = World::new(limits());
    let total = world.image.len();
    for (range, first, end) in [
        ("0-0".to_owned(), 0, 1),
        ("1000000-2999999".to_owned(), 1_000_000, 3_000_000),
        ("-17".to_owned(), total - 17, total),
        (format!("5-{}", u64::MAX), 5, total),
    ] {
        let mut client = world.client();
        client.say(&format!("GET /image HTTP/1.1\r\nHost: x\r\nRange: bytes={range}\r\n\r\n"));
        let head = client.head();
        assert_eq!(
            field(&head, "Content-Range"),
            Some(format!("bytes {first}-{}/{total}", end - 1).as_str())
        );
        assert_eq!(client.body(end - first), world.image[first..end], "{range}");
    }
}

#[test]
fn http_1_0_gets_one_answer_and_the_end() {
    let world = World::new(limits());
    let answer = world.say("GET /script HTTP/1.0\r\n\r\n");
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("#!ipxe\n"), "{answer}");
}

#[test]
fn a_file_that_changed_is_not_handed_out() {
    let world = World::new(limits());
    std::fs::write(world.folder.path().join("image"), b"something else").unwrap();
    let answer = world.say("GET /image HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    world.wait(|event| event.what == What::Refused(pxe_http::Why::Changed));
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_breaks_the_answer_off() {
    let world = World::with(limits(), 30_000_000, |_| {});
    let mut client = world.client();
    client.get("/image");
    client.head();
    client.body(1000);
    std::fs::File::options()
        .write(true)
        .open(world.folder.path().join("image"))
        .unwrap()
        .set_len(10_000_000)
        .unwrap();
    assert!(client.rest().len() < world.image.len() - 1000);
    world.wait(|event| matches!(event.what, What::Broken { .. }));
}
