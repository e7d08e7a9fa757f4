//! One thread that serves everybody: waits, reads a batch, asks the desk, sends a batch.

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd as _,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use socket2::Socket;
use tokio::sync::oneshot;

use crate::{
    Files, Limits,
    desk::Desk,
    sockets::{Inbox, KernelRoute, Poll, Ready, Sender, Wake, bind_answers, bind_requests},
};

/// A TFTP server, bound and not yet running.
#[derive(Debug)]
pub struct Server {
    at: SocketAddr,
    limits: Limits,
    requests: Socket,
    answers: Vec<Socket>,
    poll: Poll,
}

impl Server {
    /// Binds the port for requests (69 in the field; 0 takes any) and those for answers.  An address of one interface
    /// is better than all of them: answers then leave from it without asking.
    ///
    /// # Errors
    /// When the kernel refuses a socket: the port is taken, or below 1,024 without the right to it.
    pub fn bind(at: SocketAddr, limits: Limits) -> io::Result<Self> {
        let requests = bind_requests(at)?;
        let at = requests.local_addr()?.as_socket().unwrap_or(at);
        let answers = (0..limits.answer_ports.max(1)).map(|_| bind_answers(at)).collect::<io::Result<_>>()?;
        Ok(Self { at, limits, requests, answers, poll: Poll::new()? })
    }

    /// Where requests are taken.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.at
    }

    /// Serves until waiting fails.  It has a thread of its own, because a file's pages may have to be read while it
    /// sends; the thread ends when this future is dropped, and its ports are free then.
    ///
    /// # Errors
    /// When the thread cannot be started or the kernel cannot wait.
    pub async fn run(self, files: Arc<dyn Files>) -> io::Result<()> {
        let (tell, ended) = oneshot::channel();
        let wake = self.poll.wake();
        let thread = std::thread::Builder::new().name("tftp".to_owned()).spawn(move || {
            let _ = tell.send(self.serve(files));
        })?;
        let _thread = Running { wake, thread: Some(thread) };
        ended
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the TFTP thread panicked; see its message above")))
    }

    fn serve(self, files: Arc<dyn Files>) -> io::Result<()> {
        let requests_number = self.answers.len();
        for (number, socket) in self.answers.iter().chain([&self.requests]).enumerate() {
            self.poll.add(socket.as_raw_fd(), number as u64)?;
        }
        let clock = Clock::start();
        let limits = Limits { answer_ports: self.answers.len(), ..self.limits };
        let mut desk = Desk::new(files, limits, KernelRoute::new(self.at.ip()));
        let (mut inbox, mut sender) = (Inbox::new(), Sender::new(self.at.is_ipv4(), true));
        let mut ready = Vec::new();
        loop {
            let wait = desk.deadline().map(|at| at.saturating_sub(clock.now()));
            self.poll.wait(wait, &mut ready)?;
            let now = clock.now();
            for ready in &ready {
                match *ready {
                    Ready::Stop => return Ok(()),
                    Ready::Socket { number, .. } if number == requests_number => {
                        self.requests_came(&mut inbox, &mut desk, now);
                    }
                    Ready::Socket { number, error } => {
                        self.answers_came(number, error, &mut inbox, &mut desk, now);
                    }
                }
                sender.send(&self.answers, &mut desk.outbox);
            }
            desk.expire(now);
            sender.send(&self.answers, &mut desk.outbox);
        }
    }

    /// One batch a turn, so that a flood of requests leaves time for transfers.
    fn requests_came(&self, inbox: &mut Inbox, desk: &mut Desk<KernelRoute>, now: Duration) {
        // A failure here is an ICMP message about an earlier packet, or nothing to read after all.
        if inbox.receive(&self.requests, false).is_err() {
            return;
        }
        for (from, packet, said) in inbox.packets() {
            // RFC 1123 section 4.2.3.5: requests to a broadcast address are silently ignored.
            if !said.many && from.port() != 0 {
                desk.request(from, said.local, packet, now);
            }
        }
    }

    fn answers_came(
        &self,
        number: usize,
        error: bool,
        inbox: &mut Inbox,
        desk: &mut Desk<KernelRoute>,
        now: Duration,
    ) {
        let Some(socket) = self.answers.get(number) else { return };
        if error && inbox.receive(socket, true).is_ok() {
            for (to, _, said) in inbox.packets() {
                if said.errno == Some(libc::ECONNREFUSED) {
                    desk.unreachable(number, to, now);
                }
            }
        }
        if inbox.receive(socket, false).is_ok() {
            for (from, packet, _) in inbox.packets() {
                desk.packet(number, from, packet, now);
            }
        }
    }
}

/// Ends the thread when the caller has no more use for it.
struct Running {
    wake: Wake,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wake.wake();
        if let Some(thread) = self.thread.take() {
            // It looks at the wake at least once in a turn, and a turn takes no longer than a full send queue.
            let _ = thread.join();
        }
    }
}

/// Time since the server began.
struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the loop is where time comes from; the desk is told")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
