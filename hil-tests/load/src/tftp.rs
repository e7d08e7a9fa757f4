//! Many TFTP clients in one thread: each fetches one file, compares every byte, and says what went wrong.
//!
//! Distance is made here and not in the kernel: an answer leaves one round trip after the packet that caused it came.

mod client;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::AsFd as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};
use serde::{Deserialize, Serialize};

use client::{Client, Heard};

/// How often the silent are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events taken at once.
const EVENTS_MAX: usize = 256;
/// The delay line's mark among the clients' numbers.
const LINE: u64 = u64::MAX;

/// Who asks what.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    /// The server's address and port.
    #[arg(long)]
    pub server: SocketAddr,
    /// Name of the file on the server.
    #[arg(long)]
    pub name: String,
    /// The same file here, to compare with.
    #[arg(long)]
    pub file: PathBuf,
    /// Clients, all at once.
    #[arg(long, default_value_t = 1)]
    pub clients: usize,
    /// Block size to ask for, bytes; 0 asks for nothing.
    #[arg(long, default_value_t = 1468)]
    pub block: u16,
    /// Window to ask for, blocks; 0 asks for nothing.
    #[arg(long, default_value_t = 0)]
    pub window: u16,
    /// Round trip to make, microseconds.
    #[arg(long, default_value_t = 0)]
    pub rtt_us: u64,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 120)]
    pub seconds_max: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// From the first request to the last byte.
    pub seconds: f64,
    /// Bytes that arrived in order and were right, 10^6 a second.
    pub megabytes_per_second: f64,
    /// Clients that have the whole file.
    pub whole: usize,
    /// Clients that have not.
    pub failed: usize,
    /// Why the first of them has not.
    pub failure: Option<String>,
    /// Requests and ACKs sent again after a second of silence.
    pub again: u64,
    /// Gaps that were seen.
    pub gaps: u64,
    /// Blocks that came twice.
    pub twice: u64,
    /// What the server agreed to, of the last client: block size and window.
    pub agreed: (u16, u16),
}

/// Runs the plan.
///
/// # Errors
/// When the file here cannot be read or the kernel refuses sockets; what servers do wrong is in the outcome.
pub fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let file = std::fs::read(&plan.file).with_context(|| format!("reading {}", plan.file.display()))?;
    let mut load = Load::new(plan, &file)?;
    load.go()?;
    Ok(load.outcome())
}

struct Load<'a> {
    plan: &'a Plan,
    clients: Vec<Client<'a>>,
    epoll: Epoll,
    timer: TimerFd,
    /// Answers on their way: when they leave, whose, what.
    line: VecDeque<(Instant, usize, Vec<u8>)>,
    armed: bool,
    busy: usize,
    begun: Instant,
    ended: Instant,
}

impl<'a> Load<'a> {
    fn new(plan: &'a Plan, file: &'a [u8]) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("making an epoll")?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).context("making a timer")?;
        epoll
            .add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, LINE))
            .context("waiting for the timer")?;
        let begun = now();
        let mut clients = Vec::with_capacity(plan.clients);
        for number in 0..plan.clients {
            let client = Client::new(plan, file, begun)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            epoll.add(client.socket(), event).context("waiting for a client's socket")?;
            clients.push(client);
        }
        let busy = clients.len();
        Ok(Self {
            plan,
            clients,
            epoll,
            timer,
            line: VecDeque::new(),
            armed: false,
            busy,
            begun,
            ended: begun,
        })
    }

    fn go(&mut self) -> anyhow::Result<()> {
        self.begun = now();
        for client in &mut self.clients {
            client.ask(self.begun)?;
        }
        let give_up = self.begun + Duration::from_secs(self.plan.seconds_max);
        let mut looked = self.begun;
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        // The last ACKs leave too: a server that does not get one thinks that the client is gone.
        while self.busy > 0 || !self.line.is_empty() {
            let wait = EpollTimeout::try_from(LOOK_EVERY).unwrap_or(EpollTimeout::ZERO);
            let count = match self.epoll.wait(&mut events, wait) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error).context("waiting for answers"),
            };
            let at = now();
            for event in events.iter().take(count) {
                match usize::try_from(event.data()) {
                    Ok(number) if event.data() != LINE => self.hear(number, at),
                    Ok(_) | Err(_) => {
                        self.armed = false;
                        // Reading resets it; that it fired is all there is to know.
                        let _ = self.timer.wait();
                    }
                }
            }
            self.deliver()?;
            if at.duration_since(looked) >= LOOK_EVERY {
                looked = at;
                self.look(at, at >= give_up);
            }
        }
        Ok(())
    }

    fn hear(&mut self, number: usize, at: Instant) {
        let Some(client) = self.clients.get_mut(number) else { return };
        loop {
            match client.hear(at) {
                Heard::Nothing => return,
                Heard::Something => {}
                Heard::Answer { packet, last } => {
                    if self.plan.rtt_us == 0 {
                        client.send(&packet);
                    } else {
                        let due = at + Duration::from_micros(self.plan.rtt_us);
                        self.line.push_back((due, number, packet));
                    }
                    if last {
                        return self.over(at);
                    }
                    // A whole window has come: nothing more will before the answer is out.
                    return;
                }
                Heard::Failed => return self.over(at),
            }
        }
    }

    fn over(&mut self, at: Instant) {
        self.busy = self.busy.saturating_sub(1);
        self.ended = at;
    }

    /// Sends what has been on its way for a round trip.
    fn deliver(&mut self) -> anyhow::Result<()> {
        loop {
            let Some((due, _, _)) = self.line.front() else { return Ok(()) };
            let wait = due.saturating_duration_since(now());
            if !wait.is_zero() {
                if !self.armed {
                    let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
                    self.timer.set(expiration, TimerSetTimeFlags::empty()).context("setting the timer")?;
                    self.armed = true;
                }
                return Ok(());
            }
            if let Some((_, number, packet)) = self.line.pop_front()
                && let Some(client) = self.clients.get(number)
            {
                client.send(&packet);
            }
        }
    }

    fn look(&mut self, at: Instant, give_up: bool) {
        for number in 0..self.clients.len() {
            let Some(client) = self.clients.get_mut(number) else { return };
            if client.look(at, give_up) {
                self.over(at);
            }
        }
    }

    fn outcome(&self) -> Outcome {
        let mut outcome = Outcome { seconds: (self.ended - self.begun).as_secs_f64(), ..Outcome::default() };
        let mut bytes = 0u64;
        for client in &self.clients {
            let tally = client.tally();
            bytes = bytes.saturating_add(tally.bytes);
            outcome.again += tally.again;
            outcome.gaps += tally.gaps;
            outcome.twice += tally.twice;
            outcome.agreed = tally.agreed;
            match &tally.failure {
                None => outcome.whole += 1,
                Some(failure) => {
                    outcome.failed += 1;
                    outcome.failure.get_or_insert_with(|| failure.clone());
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let megabytes = bytes as f64 / 1e6;
        outcome.megabytes_per_second = megabytes / outcome.seconds.max(1e-9);
        outcome
    }
}

#[expect(clippy::disallowed_methods, reason = "measures")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::UdpSocket};

    use super::*;

    /// A server that loses block 2 once and sends block 3 twice, by hand: the generator counts both.
    #[test]
    fn counts_what_the_server_does() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..40u8).collect();
        file.write_all(&bytes).unwrap();
        let plan = Plan {
            server: server.local_addr().unwrap(),
            name: "x".to_owned(),
            file: file.path().to_owned(),
            clients: 1,
            block: 16,
            window: 3,
            rtt_us: 200,
            seconds_max: 20,
        };
        let thread = std::thread::spawn(move || run(&plan).unwrap());
        let mut packet = [0; 600];
        let (length, client) = server.recv_from(&mut packet).unwrap();
        assert_eq!(&packet[..length], b"\0\x01x\0octet\0tsize\x000\0blksize\x0016\0windowsize\x003\0");
        server.send_to(b"\0\x06blksize\x0016\0windowsize\x003\0tsize\x0040\0", client).unwrap();
        let data = |block: u8| {
            let start = usize::from(block - 1) * 16;
            [&[0, 3, 0, block], &bytes[start..(start + 16).min(40)]].concat()
        };
        let mut ack = || {
            let (length, _) = server.recv_from(&mut packet).unwrap();
            packet[..length].to_vec()
        };
        assert_eq!(ack(), [0, 4, 0, 0]);
        server.send_to(&data(1), client).unwrap();
        server.send_to(&data(3), client).unwrap();
        assert_eq!(ack(), [0, 4, 0, 1], "the gap is told");
        for block in [1, 2, 3] {
            server.send_to(&data(block), client).unwrap();
        }
        assert_eq!(ack(), [0, 4, 0, 3]);
        let outcome = thread.join().unwrap();
        assert_eq!((outcome.whole, outcome.failed, outcome.gaps, outcome.twice), (1, 0, 1, 1), "{outcome:?}");
        assert_eq!(outcome.agreed, (16, 3));
    }
}
