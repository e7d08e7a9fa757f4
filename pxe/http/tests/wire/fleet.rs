//! Fleets: a thousand wait for few places and none starves; five hundred leave the caller's own work alone.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use pxe_http::{Limits, What};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Barrier, watch},
    task::JoinSet,
    time::timeout,
};

use crate::world::{PATIENCE, World, limits};

/// Far more than the kernel keeps for a client that does not read.
const BYTES: usize = 40_000_000;
const PLACES: usize = 8;
const FLEET: usize = 1000;
/// What each of the fleet wants.
const EACH: usize = 100_000;

/// Client `n` of a network of its own, at an address of its own.
async fn connect(at: SocketAddr, net: u8, n: usize) -> TcpStream {
    let [.., high, low] = u32::try_from(n).unwrap().to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, net, high, low), 0).into()).unwrap();
    socket.connect(at).await.unwrap()
}

async fn ask(stream: &mut TcpStream, bytes: usize) {
    let last = bytes - 1;
    let request = format!("GET /image HTTP/1.1\r\nHost: x\r\nRange: bytes=0-{last}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 206 "));
}

#[tokio::test]
async fn a_thousand_take_turns_in_order_and_none_starves_meanwhile() {
    let patient = Limits { stall: PATIENCE, dead: PATIENCE, trickle: Duration::from_millis(50), ..limits() };
    let world = World::with(Limits { places: PLACES, threads: 1, ..patient }, BYTES, |_| {});
    let at = world.at;
    let mut holders = Vec::new();
    for n in 0..PLACES {
        let mut holder = connect(at, 3, n).await;
        ask(&mut holder, BYTES).await;
        holders.push(holder);
    }
    let wanted: Arc<[u8]> = world.image[..EACH].into();
    let fed = Arc::new(Barrier::new(FLEET + 1));
    let mut fleet = JoinSet::new();
    for n in 0..FLEET {
        let (wanted, fed) = (Arc::clone(&wanted), Arc::clone(&fed));
        fleet.spawn(async move {
            let mut stream = connect(at, 2, n).await;
            ask(&mut stream, EACH).await;
            let mut body = vec![stream.read_u8().await.unwrap()];
            fed.wait().await;
            body.resize(EACH, 0);
            stream.read_exact(&mut body[1..]).await.unwrap();
            assert!(*body == *wanted, "another file");
        });
    }
    timeout(PATIENCE, fed.wait()).await.expect("each gets a few bytes while it waits");
    let mut places: Vec<usize> = world.heard().iter().filter_map(queued).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=FLEET).collect::<Vec<_>>());
    assert!(!world.heard().contains(&What::Admitted));
    drop(holders);
    while let Some(one) = timeout(PATIENCE, fleet.join_next()).await.expect("each is served") {
        one.unwrap();
    }
    let events = world.told();
    let (mut runs, mut came, mut went) = (0_usize, Vec::new(), Vec::new());
    for event in &events {
        match event.what {
            What::Queued { .. } => came.push(event.from),
            What::Admitted => {
                went.push(event.from);
                runs += 1;
                assert!(runs <= PLACES, "more than the places run");
            }
            What::Sent { .. } => runs -= 1,
            What::Asked
            | What::Started { .. }
            | What::Stalled { .. }
            | What::Broken { .. }
            | What::Refused(_) => {}
        }
    }
    assert_eq!((came.len(), runs), (FLEET, 0));
    // Those who are admitted together are woken together; beyond that it goes by who came first.
    for (place, from) in went.iter().enumerate() {
        let first = came.iter().position(|other| other == from).unwrap();
        assert!(first.abs_diff(place) <= PLACES, "the {first}th to come was the {place}th to go");
    }
}

fn queued(what: &What) -> Option<usize> {
    if let What::Queued { place } = what { Some(*place) } else { None }
}

#[test]
fn five_hundred_pulls_leave_the_callers_runtime_alone() {
    let world = World::with(Limits { places: 50, ..limits() }, BYTES, |_| {});
    let at = world.at;
    let (stop, stopped) = watch::channel(());
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let pulls = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pulls = JoinSet::new();
            for n in 0..500 {
                let (count, mut stopped) = (Arc::clone(&count), stopped.clone());
                pulls.spawn(async move {
                    let pull = async {
                        let mut stream = connect(at, 4, n).await;
                        loop {
                            ask(&mut stream, BYTES).await;
                            let mut part = vec![0; 16 << 10];
                            let mut left = BYTES;
                            while left > 0 {
                                let most = left.min(part.len());
                                left -= stream.read(&mut part[..most]).await.unwrap();
                            }
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    };
                    tokio::select! { () = pull => {}, _ = stopped.changed() => {} }
                });
            }
            pulls.join_all().await;
        });
    });
    world.wait(|event| matches!(event.what, What::Queued { place: 450 }));
    let answered = world.beside(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let api = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while let Ok(byte) = stream.read_u8().await {
                stream.write_u8(byte.wrapping_add(1)).await.unwrap();
            }
        });
        let mut stream = TcpStream::connect(api).await.unwrap();
        for n in 0..200 {
            stream.write_u8(n).await.unwrap();
            assert_eq!(timeout(PATIENCE, stream.read_u8()).await.expect("in time").unwrap(), n + 1);
        }
        200
    });
    // It was answered beside the pulls, not after them.
    let broken = world.heard().iter().any(|what| matches!(what, What::Broken { .. }));
    assert_eq!((answered, broken, pulled.load(Ordering::Relaxed) < 10_000), (200, false, true));
    drop(stop);
    pulls.join().unwrap();
}
