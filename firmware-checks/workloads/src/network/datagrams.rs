//! Datagrams with sequence numbers: how many get lost, how long an answer takes, how large one may be.
//!
//! They go at a pace that no port finds hard, before the streams begin: what is lost here is lost by the hardware, not
//! to a full queue.  Each is proven (`proof.rs`); one that is not is not even counted.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::Socket;

use super::{
    Seen,
    control::{Control, Step},
    proof::{Secret, TAG_BYTES},
    second,
};
use crate::{
    histogram::Histogram,
    watch::{Clock, now},
};

/// Kind, sequence number, microseconds of the sender's clock.
const HEAD_BYTES: usize = 1 + 8 + 8;
const BYTES_MIN: usize = TAG_BYTES + HEAD_BYTES;
/// The largest that IP has.
const BYTES_MAX: u64 = 65_535;

/// One a millisecond: enough that two lost of a hundred show within a second, and no load for a 1 Gbit/s port.
const PACE: Duration = Duration::from_millis(1);
/// Sent at once after a wait that was too long.
const BURST_MAX: u64 = 64;
/// How long the last ones may be under way.
const GRACE: Duration = Duration::from_millis(500);
/// How long the ends look for each other, and how often.
const MEET: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);
/// How long the partner may take for what it does meanwhile, such as finding the largest packet.
const PATIENCE: Duration = Duration::from_secs(20);
/// What any path carries (RFC 8200, 5; IPv4's 576 is a quarter of any link of today).
const PACKET_BYTES_MIN: u64 = 1280;
/// A size is tried so often.
const SIZE_TRIES: u32 = 3;

const HELLO: u8 = 1;
const HELLO_ANSWER: u8 = 2;
const COUNTED: u8 = 3;
const COUNTED_ANSWER: u8 = 4;
const SIZE: u8 = 5;
const SIZE_ANSWER: u8 = 6;

/// Has the kernel send with "don't fragment", whatever it believes of the path (`IP_PMTUDISC_PROBE`, ip(7)).
#[expect(unsafe_code, reason = "this socket option has no safe form")]
pub(super) fn never_cut(socket: &Socket) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (level, option) = if socket.domain()? == socket2::Domain::IPV6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)
    };
    let probe: libc::c_int = libc::IP_PMTUDISC_PROBE;
    let bytes = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the kernel reads one int, which lives until it returns.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const probe).cast(), bytes) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn play(
    control: &mut Control,
    udp: &UdpSocket,
    secret: &Secret,
    (mtu, time): (u64, Duration),
    clock: &Clock<'_>,
    seen: &mut Seen,
) -> Result<(), String> {
    let place = |error: io::Error| format!("datagrams: {error}");
    udp.set_nonblocking(false).and_then(|()| udp.set_read_timeout(Some(AGAIN))).map_err(place)?;
    let peer = if secret.dials() { udp.peer_addr().ok() } else { None };
    let mut line = Line { udp, secret, peer, clock };
    line.meet(control)?;
    let heard = Mutex::new(Heard::new(time));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiver = scope.spawn(|| line.receive(&heard, &done));
        let played = line.play(control, (mtu, time), &heard, seen);
        done.store(true, Ordering::Relaxed);
        let received = receiver.join().map_err(|_| "datagrams: a defect of this program".to_owned())?;
        played.and(received.map_err(place))
    })
}

/// What has come so far.
struct Heard {
    /// Of the partner's datagrams, by sequence number.
    theirs: Bits,
    /// Of ours that were answered.
    answered: Bits,
    latency: Histogram,
    curve: Vec<(u32, u64)>,
    /// The largest packet that came back whole.
    packet_bytes: u64,
}

impl Heard {
    fn new(time: Duration) -> Self {
        // Both ends agreed on the time; a partner that sends more is not counted further.
        let most = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).saturating_add(1000);
        Self {
            theirs: Bits::new(most),
            answered: Bits::new(most),
            latency: Histogram::new(),
            curve: Vec::new(),
            packet_bytes: 0,
        }
    }

    fn took(&mut self, second: u32, microseconds: u64) {
        self.latency.add(microseconds);
        match self.curve.last_mut() {
            Some((last, longest)) if *last == second => *longest = microseconds.max(*longest),
            Some(_) | None => self.curve.push((second, microseconds)),
        }
    }
}

/// Which numbers were seen: a doubled datagram is one.
struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    fn new(most: usize) -> Self {
        Self { words: vec![0; most.div_ceil(64)], count: 0 }
    }

    /// Whether it is new.
    fn set(&mut self, number: u64) -> bool {
        let Some(word) = usize::try_from(number / 64).ok().and_then(|at| self.words.get_mut(at)) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(new);
        new
    }
}

struct Line<'a> {
    udp: &'a UdpSocket,
    secret: &'a Secret,
    peer: Option<SocketAddr>,
    clock: &'a Clock<'a>,
}

/// A datagram of the partner.
struct Came {
    kind: u8,
    number: u64,
    time: u64,
    bytes: usize,
    from: SocketAddr,
}

impl Line<'_> {
    /// The one that dials knocks until it is answered; the other learns where it is.
    fn meet(&mut self, control: &mut Control) -> Result<(), String> {
        let mut buffer = vec![0; 2048];
        let begin = now();
        let mut met = false;
        while !met && begin.elapsed() < MEET && !self.clock.stopped() {
            if self.secret.dials() {
                let _ = self.send(HELLO, 0, BYTES_MIN);
            }
            let Some(came) = self.hear(&mut buffer).map_err(|error| format!("datagrams: {error}"))? else {
                continue;
            };
            self.peer = Some(came.from);
            met = came.kind == if self.secret.dials() { HELLO_ANSWER } else { HELLO };
        }
        if met && !self.secret.dials() {
            let _ = self.send(HELLO_ANSWER, 0, BYTES_MIN);
        }
        let [theirs, ..] = control.exchange(Step::Probe, [u64::from(met), 0, 0, 0], PATIENCE)?;
        if met || theirs == 1 {
            Ok(())
        } else {
            Err("no datagram gets through, though connections do".into())
        }
    }

    fn play(
        &self,
        control: &mut Control,
        (mtu, time): (u64, Duration),
        heard: &Mutex<Heard>,
        seen: &mut Seen,
    ) -> Result<(), String> {
        self.largest(mtu.clamp(PACKET_BYTES_MIN, BYTES_MAX), heard);
        let ours = lock(heard).packet_bytes;
        let [theirs, ..] = control.exchange(Step::Datagrams, [ours, 0, 0, 0], PATIENCE)?;
        seen.packet_bytes = Some(ours.min(theirs)).filter(|bytes| *bytes > 0);
        let bytes = self.payload(ours.max(PACKET_BYTES_MIN));
        let begin = now();
        let (mut sent, mut number) = (0, 0);
        while begin.elapsed() < time && !self.clock.stopped() {
            let due = u64::try_from(begin.elapsed().as_micros() / PACE.as_micros().max(1)).unwrap_or(0);
            for _ in 0..due.saturating_sub(number).min(BURST_MAX) {
                // One that the kernel did not take was not lost on the way.
                sent += u64::from(self.send(COUNTED, number, bytes).is_ok());
                number += 1;
            }
            self.clock.tell();
            thread::sleep(PACE);
        }
        let [partner_sent, ..] = control.exchange(Step::Sent, [sent, 0, 0, 0], PATIENCE + time)?;
        thread::sleep(GRACE);
        let received = lock(heard).theirs.count;
        let [arrived, ..] = control.exchange(Step::Received, [received, 0, 0, 0], PATIENCE)?;
        (seen.sent, seen.arrived) = (sent, arrived.min(sent));
        (seen.partner_sent, seen.received) = (partner_sent, received.min(partner_sent));
        let heard = lock(heard);
        if heard.answered.count > 0 {
            seen.latency_p50 = Some(heard.latency.percentile(5000));
            seen.latency_p99 = Some(heard.latency.percentile(9900));
        }
        seen.curve_latency.clone_from(&heard.curve);
        Ok(())
    }

    /// The largest packet that comes back: first what the port is set to, then between that and what any path carries.
    fn largest(&self, mtu: u64, heard: &Mutex<Heard>) {
        let passes = |size: u64| {
            for _ in 0..SIZE_TRIES {
                if self.send(SIZE, size, self.payload(size)).is_err() {
                    return false;
                }
                let begin = now();
                while begin.elapsed() < AGAIN * 2 {
                    if lock(heard).packet_bytes >= size {
                        return true;
                    }
                    thread::sleep(PACE);
                }
            }
            false
        };
        if passes(mtu) || !passes(PACKET_BYTES_MIN) {
            return;
        }
        let (mut good, mut bad) = (PACKET_BYTES_MIN, mtu);
        while bad - good > 1 && !self.clock.stopped() {
            let middle = good.midpoint(bad);
            if passes(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
    }

    /// Bytes of ours in an IP packet of this size.
    fn payload(&self, packet: u64) -> usize {
        let six = self.peer.is_some_and(|peer| peer.is_ipv6() && peer.ip().to_canonical().is_ipv6());
        let payload = packet.saturating_sub(if six { 48 } else { 28 });
        usize::try_from(payload).unwrap_or(0).max(BYTES_MIN)
    }

    fn receive(&self, heard: &Mutex<Heard>, done: &AtomicBool) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        while !done.load(Ordering::Relaxed) {
            let Some(came) = self.hear(&mut buffer)? else { continue };
            // What we answer is never larger than what came.
            match came.kind {
                HELLO => drop(self.send(HELLO_ANSWER, 0, BYTES_MIN)),
                SIZE => drop(self.send(SIZE_ANSWER, came.number, came.bytes)),
                COUNTED if lock(heard).theirs.set(came.number) => drop(self.answer(&came)),
                COUNTED_ANSWER => {
                    let took = self.microseconds().saturating_sub(came.time);
                    let mut heard = lock(heard);
                    if heard.answered.set(came.number) {
                        heard.took(second(self.clock), took);
                    }
                }
                SIZE_ANSWER if came.bytes == self.payload(came.number) => {
                    let mut heard = lock(heard);
                    heard.packet_bytes = heard.packet_bytes.max(came.number);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The next datagram that the partner has proven; none if nothing came for a moment.
    fn hear(&self, buffer: &mut [u8]) -> io::Result<Option<Came>> {
        let (bytes, from) = match self.udp.recv_from(buffer) {
            Ok(came) => came,
            // A port that is not open yet is told by ICMP, and shows here.
            Err(error) if passing(&error) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if self.peer.is_some_and(|peer| peer != from) {
            return Ok(None);
        }
        let Some((tag, rest)) = buffer.get(..bytes).and_then(|whole| whole.split_at_checked(TAG_BYTES))
        else {
            return Ok(None);
        };
        let Some((head, _)) = rest.split_at_checked(HEAD_BYTES) else { return Ok(None) };
        if !self.secret.is_partners(tag, head) {
            return Ok(None);
        }
        let ([kind], rest) = head.split_at(1) else { return Ok(None) };
        let (words, _) = rest.as_chunks::<8>();
        let [number, time] = words else { return Ok(None) };
        let (number, time) = (u64::from_be_bytes(*number), u64::from_be_bytes(*time));
        Ok(Some(Came { kind: *kind, number, time, bytes, from }))
    }

    fn send(&self, kind: u8, number: u64, bytes: usize) -> io::Result<()> {
        self.put(kind, number, self.microseconds(), bytes)
    }

    /// The sender's own time goes back to it.
    fn answer(&self, came: &Came) -> io::Result<()> {
        self.put(COUNTED_ANSWER, came.number, came.time, BYTES_MIN)
    }

    fn put(&self, kind: u8, number: u64, time: u64, bytes: usize) -> io::Result<()> {
        let peer = self.peer.ok_or(io::ErrorKind::NotConnected)?;
        let mut head = vec![kind];
        head.extend(number.to_be_bytes());
        head.extend(time.to_be_bytes());
        let mut whole = self.secret.tag(&head).to_vec();
        whole.extend(&head);
        whole.resize(bytes.max(BYTES_MIN), 0x5a);
        self.udp.send_to(&whole, peer).map(drop)
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Errors of a moment.
fn passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
    )
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
