//! What no honest client sends: each is refused, told, and the connection closed.

use std::{io::Write as _, time::Duration};

use pxe_http::{Limits, What, Why};

use crate::world::{World, limits};

#[test]
fn table_of_shapes() {
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(600));
    let giant = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(17 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(100));
    let endless = "GET / HTTP/1.1\r\nHost: x\r\nX: ".to_owned() + &"a".repeat(40 << 10);
    let with = |headers: &str| format!("GET /script HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let rows: Vec<(String, Why)> = vec![
        ("GET /script\r\n".into(), Why::NotHttp),
        ("GET /script HTTP/0.9\r\n\r\n".into(), Why::NotHttp),
        ("GET /script HTTP/2.0\r\nHost: x\r\n\r\n".into(), Why::NotHttp),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), Why::NotHttp),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\n\r\n\r\n".into(), Why::NotHttp),
        ("GET /script HTTP/1.1\nHost: x\n\n".into(), Why::NotHttp),
        ("GET /script HTTP/1.1\r\nHost: x\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n".into(), Why::NotHttp),
        (with("X : spaced\r\n"), Why::NotHttp),
        (with("X: a\r\n folded\r\n"), Why::NotHttp),
        (with("X: \0\r\n"), Why::NotHttp),
        ("GET /scr\0ipt HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::NotHttp),
        ("GET http://x/script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET * HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET //..//script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /x/../script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /./script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /%2e%2e/script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /script%00 HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /a\\..\\script HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        ("GET /script?x HTTP/1.1\r\nHost: x\r\n\r\n".into(), Why::Path),
        (long_path, Why::Path),
        ("GET /script HTTP/1.1\r\n\r\n".into(), Why::Host),
        ("GET /script HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), Why::Host),
        (with("Content-Length: 5\r\n") + "hello", Why::Body),
        (with("Content-Length: +0\r\n"), Why::Body),
        (with("Content-Length: 0\r\nContent-Length: 0\r\n"), Why::Body),
        (with("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n", Why::Body),
        (with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", Why::Body),
        (with("transfer-encoding: identity\r\n"), Why::Body),
        (giant, Why::HeaderTooLarge),
        (many, Why::HeaderTooLarge),
        (endless, Why::HeaderTooLarge),
    ];
    for (request, why) in rows {
        let world = World::new(limits());
        let mut client = world.client();
        // What follows a refused request must not be read as one.
        client.say(&format!("{request}GET /script HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        let shown: String = request.chars().take(80).collect();
        let status = if why == Why::HeaderTooLarge { "HTTP/1.1 431 " } else { "HTTP/1.1 400 " };
        assert!(answer.starts_with(status), "{shown:?}: {answer:?}");
        assert!(!answer.contains("#!ipxe"), "{shown:?}");
        assert_eq!(world.heard(), [What::Refused(why)], "{shown:?}");
    }
}

#[test]
fn slow_loris_is_shown_the_door() {
    let world = World::new(Limits { header: Duration::from_millis(300), ..limits() });
    let mut client = world.client();
    // 30 s of single bytes would fit in a header, were there time for them.
    let drops = "GET /script HTTP/1.1\r\nX: ".bytes().chain(std::iter::repeat(b'a')).take(3000);
    let taken = drops.take_while(|byte| {
        std::thread::sleep(Duration::from_millis(10));
        client.stream.write_all(&[*byte]).is_ok()
    });
    assert!(taken.count() < 3000);
    world.wait(|event| event.what == What::Refused(Why::HeaderTooSlow));
    // Idle connections end too, and that is nobody's fault.
    let before = world.heard().len();
    assert!(world.client().rest().is_empty());
    assert_eq!(world.heard().len(), before);
}

#[test]
fn one_address_cannot_have_all_connections() {
    let world = World::new(Limits { connections_per_address_max: 3, ..limits() });
    let mut held: Vec<_> = (0..3).map(|_| world.client_from(9)).collect();
    for client in &mut held {
        client.get("/script");
        client.head();
    }
    assert!(world.client_from(9).rest().is_empty());
    world.wait(|event| event.what == What::Refused(Why::Connections));
    let mut other = world.client_from(10);
    other.get("/script");
    assert!(other.head().starts_with("HTTP/1.1 200 "));
    // Room again once one leaves.
    drop(held);
    for _ in 0..3000 {
        let mut again = world.client_from(9);
        again.say("GET /script HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        if again.rest().ends_with(b"#!ipxe\n") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no room again");
}
