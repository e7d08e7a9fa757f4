//! Two ends over real sockets, on loopback: what they measure, and who is not let in.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use appliance_model::burn_in::aid::Token;
use firmware_checks_workloads::{
    Watch,
    network::{Ear, Seen, Way, distance, play},
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TIME: Duration = Duration::from_secs(1);

fn ear() -> Result<Ear, String> {
    Ear::open(SocketAddr::new(HERE, 0), None)
}

/// Both ends' accounts.
fn both(ear: &Ear, tokens: [&Token; 2], stop: &AtomicBool) -> [Result<Seen, String>; 2] {
    let watch = Watch::new(stop, &|_| {});
    let from = SocketAddr::new(HERE, 0);
    thread::scope(|scope| {
        let way = Way::Listen { ear, from: HERE };
        let listener = scope.spawn(move || play(way, tokens[0], 1500, TIME, watch));
        let way = Way::Dial { from, to: ear.at(), interface: None };
        let dialler = play(way, tokens[1], 1500, TIME, watch);
        [listener.join().unwrap_or(Err("a panic".into())), dialler]
    })
}

#[test]
fn two_ends_measure_the_same_and_nothing_stays_open() {
    let (ear, token, stop) = (ear().unwrap(), Token([7; 32]), AtomicBool::new(false));
    // Twice: a task plays several matches on one socket.
    for _ in 0..2 {
        let [listener, dialler] = both(&ear, [&token, &token], &stop).map(Result::unwrap);
        assert_eq!((listener.sent, listener.arrived), (dialler.partner_sent, dialler.received));
        assert_eq!((listener.rate_in, listener.rate_out), (dialler.rate_out, dialler.rate_in));
        for seen in [&listener, &dialler] {
            assert_eq!((seen.lost_permille(), seen.wrong_bytes), (Some(0), 0));
            assert!(seen.sent > 100 && seen.latency_p99.is_some(), "{seen:?}");
            assert_eq!(seen.packet_bytes, Some(1500));
            assert!(seen.rate_in > 10 << 20 && seen.rate_both > 10 << 20, "{seen:?}");
            assert!(!seen.curve_in.is_empty() && !seen.curve_latency.is_empty());
        }
    }
    let at = ear.at();
    drop(ear);
    assert!(TcpStream::connect(at).is_err(), "nobody listens once the task is over");
    assert!(UdpSocket::bind(at).is_ok());
}

#[test]
fn strangers_are_sent_away_and_the_match_goes_on() {
    let (ear, token, stop) = (ear().unwrap(), Token([7; 32]), AtomicBool::new(false));
    let at = ear.at();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // One that knows the first bytes and no token, one that says nothing, one that floods.
        scope.spawn(|| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(&[0x41; 48]).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.len() <= 24, "a stranger gets a nonce and no more: {} bytes", answer.len());
        });
        let _silent = TcpStream::connect(at).unwrap();
        scope.spawn(|| {
            let socket = UdpSocket::bind((HERE, 0)).unwrap();
            while !done.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[1; 64], at);
                thread::sleep(Duration::from_millis(1));
            }
        });
        let [listener, dialler] = both(&ear, [&token, &token], &stop);
        done.store(true, Ordering::Relaxed);
        assert_eq!(dialler.unwrap().lost_permille(), Some(0));
        assert_eq!(listener.unwrap().lost_permille(), Some(0));
    });
}

#[test]
fn another_token_is_no_match_and_a_stop_is_heard() {
    let (ear, stop) = (ear().unwrap(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(1));
            stop.store(true, Ordering::Relaxed);
        });
        let [listener, dialler] = both(&ear, [&Token([7; 32]), &Token([8; 32])], &stop);
        assert!(dialler.unwrap_err().contains("did not prove"));
        assert_eq!(listener.unwrap_err(), "called off");
    });
}

#[test]
fn a_place_that_answers_has_a_distance_and_one_that_does_not_has_a_reason() {
    let here = SocketAddr::new(HERE, 0);
    let place = TcpListener::bind(here).unwrap();
    let at = place.local_addr().unwrap();
    assert!((1..2_000_000).contains(&distance(here, at, None).unwrap()));
    drop(place);
    assert!(distance(here, at, None).unwrap_err().contains(&at.to_string()));
}
