//! Who waits, what it gets meanwhile, and who loses its place.

use std::time::Duration;

use pxe_http::{Limits, What, Why};

use crate::world::{World, limits};

/// Far more than the kernel keeps for a client that does not read.
const BYTES: usize = 40_000_000;

fn one_place() -> Limits {
    Limits { places: 1, trickle: Duration::from_millis(20), ..limits() }
}

#[test]
fn the_second_waits_with_a_few_bytes_and_small_answers_do_not() {
    let world = World::with(one_place(), BYTES, |_| {});
    let mut first = world.client_from(1);
    first.get("/image");
    first.head();
    let mut second = world.client_from(2);
    second.get("/image");
    // The head comes at once, and a little now and then.
    assert!(second.head().starts_with("HTTP/1.1 200 "));
    world.wait(|event| event.what == What::Queued { place: 1 });
    while second.lies_ready() < 1024 {}
    assert!(!world.heard().contains(&What::Admitted));
    let mut third = world.client_from(3);
    third.get("/script");
    third.head();
    assert_eq!(third.body(7), b"#!ipxe\n");
    third.say("HEAD /image HTTP/1.1\r\nHost: x\r\n\r\n");
    third.head();
    third.say("GET /image HTTP/1.1\r\nHost: x\r\nRange: bytes=0-99\r\n\r\n");
    third.head();
    assert_eq!(third.body(100), world.image[..100]);
    assert_eq!(first.body(BYTES), world.image);
    assert_eq!(second.body(BYTES), world.image);
    assert!(world.heard().contains(&What::Admitted));
}

#[test]
fn who_does_not_read_loses_its_place_and_may_come_again() {
    let world = World::with(Limits { stall: Duration::from_millis(200), ..one_place() }, BYTES, |_| {});
    let mut first = world.client_from(1);
    first.get("/image");
    first.head();
    let mut second = world.client_from(2);
    second.get("/image");
    second.head();
    assert_eq!(second.body(BYTES), world.image, "while the first still does not read");
    world.wait(|event| {
        matches!(event.what, What::Stalled { .. }) && event.from.ip().to_string() == "127.0.0.1"
    });
    assert_eq!(first.body(BYTES), world.image);
}

#[test]
fn who_takes_nothing_for_long_is_let_go() {
    let times = Limits { stall: Duration::from_millis(50), dead: Duration::from_millis(400), ..one_place() };
    let world = World::with(times, BYTES, |_| {});
    let mut first = world.client_from(1);
    first.get("/image");
    world.wait(|event| matches!(event.what, What::Broken { .. }));
    assert!(first.rest().len() < BYTES);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let world = World::with(Limits { waiting_max: 1, ..one_place() }, BYTES, |_| {});
    let mut held: Vec<_> = (1..3).map(|n| world.client_from(n)).collect();
    for client in &mut held {
        client.get("/image");
        client.head();
    }
    let mut third = world.client_from(3);
    third.get("/image");
    let head = third.head();
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Retry-After: 30\r\n"), "{head}");
    world.wait(|event| event.what == What::Refused(Why::QueueFull));
}

#[test]
fn who_leaves_makes_room() {
    let world = World::with(one_place(), BYTES, |_| {});
    let mut first = world.client_from(1);
    first.get("/image");
    first.head();
    let mut second = world.client_from(2);
    second.get("/image");
    second.head();
    drop(first);
    world.wait(|event| matches!(event.what, What::Broken { .. }));
    assert_eq!(second.body(BYTES), world.image);
}
