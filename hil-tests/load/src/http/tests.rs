//! The client against answers that are not what they should be.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use super::{client::promised, *};

#[test]
fn table_of_heads() {
    let rows = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Some(7)),
        ("HTTP/1.1 200 OK\r\nX: 1\r\ncontent-length:9\r\n\r\n", Some(9)),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 7\r\n\r\n", None),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", None),
    ];
    for (head, expected) in rows {
        assert_eq!(promised(head.as_bytes(), false).ok(), expected, "{head:?}");
    }
}

#[test]
fn answers_are_counted_and_short_ones_are_failures() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for body in [5_usize, 3, 5] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
            stream.write_all(&b"hello"[..body]).unwrap();
        }
    });
    let plan = Plan {
        target,
        path: "/".into(),
        clients: 3,
        seconds: None,
        tls: false,
        fresh: false,
        bytes: None,
        attentive: false,
        beside: None,
        beside_target: None,
        spread: false,
        stuck: 0,
    };
    let outcome = run(&plan).unwrap();
    server.join().unwrap();
    assert_eq!((outcome.answers, outcome.failures, outcome.bytes), (2, 1, 13), "{:?}", outcome.failure);
}
