//! One client on HTTP/1.1: requests one after the other, each answered in full or the connection ends.
//!
//! A transfer that waits for its turn gets its head at once and a few bytes now and then: firmware gives up after 5 s
//! of silence (edk2's `PcdHttpIoTimeout`), and no client minds a slow start.

use std::{future::poll_fn, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    Content, Grant, Method, Parsed, Request, What, Why,
    gate::Event,
    request::{HEADER_BYTES_MAX, parse_request},
    respond::{Answer, Status, answer, content_head, empty_head},
    server::Shared,
    turnstile::Pass,
    wire::{SEND_BYTES, Wire},
};

/// One transfer lets the others of its thread work after this much.
const TURN_BYTES: u64 = 4 << 20;
/// How often a file is looked at while it is sent.
const LOOK_BYTES: u64 = 32 << 20;
/// What a waiting client gets now and then: below 1 % of 10 GbE for 10,000 of them.
pub(crate) const TRICKLE_BYTES: u64 = 512;
/// A body up to this size goes out with its head: one call, one TLS record, mostly one packet.
const TOGETHER_BYTES: u64 = 4 << 10;
/// A transfer that lost its place this often ends: it would go round for ever.
const STALLS_MAX: u32 = 60;

/// Serves one client until it leaves or is refused.
pub(crate) async fn serve(mut wire: Wire, from: SocketAddr, shared: &Arc<Shared>) {
    let mut buffer = Vec::new();
    loop {
        let request = match next(&mut wire, &mut buffer, shared).await {
            Next::Request(request) => request,
            // It hears no farewell.  What was sent last is still delivered.
            Next::Left => return,
            Next::Idle => break,
            Next::Refused(why) => {
                shared.gate.tell(Event { from, tag: None, what: What::Refused(why) });
                // Silence is the answer to silence: who sent nothing in time hears nothing.
                if why != Why::HeaderTooSlow {
                    let head = empty_head(&Status::of(why), false);
                    let _ = timeout(shared.limits.header, wire.head(&head, false)).await;
                }
                break;
            }
        };
        match respond(&mut wire, &request, from, shared).await {
            Ok(true) => {}
            Ok(false) => break,
            // Half an answer went out: an orderly end would look like a whole one to HTTP/1.0 clients.
            Err(error) => {
                tracing::debug!(%from, %error, "boot HTTP connection ended");
                return;
            }
        }
    }
    wire.finish().await;
}

enum Next {
    Request(Request),
    /// The client ended it, or it broke.
    Left,
    /// Nothing came for long.
    Idle,
    Refused(Why),
}

async fn next(wire: &mut Wire, buffer: &mut Vec<u8>, shared: &Shared) -> Next {
    let read = async {
        // What came behind the last request is the next one already.
        let mut fresh = !buffer.is_empty();
        loop {
            // Without a line's end in it, what came cannot complete a request; reading all again would be quadratic.
            if fresh || buffer.len() >= HEADER_BYTES_MAX {
                match parse_request(buffer) {
                    Parsed::Partial => {}
                    Parsed::Complete(request, used) => {
                        buffer.drain(..used);
                        if buffer.is_empty() {
                            // A client that waits long should hold little.
                            *buffer = Vec::new();
                        }
                        return Next::Request(request);
                    }
                    Parsed::Bad(why) => return Next::Refused(why),
                }
            }
            let before = buffer.len();
            match wire.read(buffer).await {
                Ok(0) | Err(_) => return Next::Left,
                Ok(_) => fresh = buffer.get(before..).is_some_and(|part| part.contains(&b'\n')),
            }
        }
    };
    let result = timeout(shared.limits.header, read).await;
    // A connection that was idle, or opened and never used, simply ends; one in the middle of a request is refused.
    let idle = buffer.is_empty();
    result.unwrap_or(if idle { Next::Idle } else { Next::Refused(Why::HeaderTooSlow) })
}

/// Answers; says whether the connection goes on.
async fn respond(
    wire: &mut Wire,
    request: &Request,
    from: SocketAddr,
    shared: &Arc<Shared>,
) -> io::Result<bool> {
    let (grant, part, first, bytes, body) = match answer(request, from, &*shared.gate) {
        Answer::Empty(status) => {
            let keep_alive = request.keep_alive && !ends(request, &status);
            send_head(wire, &empty_head(&status, keep_alive), false, shared).await?;
            return Ok(keep_alive);
        }
        Answer::Content { grant, part, first, bytes, body } => (grant, part, first, bytes, body),
    };
    let head = content_head(&grant, part, first, bytes, request.keep_alive);
    if !body {
        send_head(wire, &head, false, shared).await?;
        return Ok(request.keep_alive);
    }
    let tell = |what| shared.gate.tell(Event { from, tag: Some(grant.tag), what });
    let pass = if bytes > shared.limits.small_bytes_max {
        let Some(pass) = shared.turnstile.arrive(from.ip()) else {
            tell(What::Refused(Why::QueueFull));
            let busy = Status::Busy { retry_seconds: shared.limits.retry_seconds };
            send_head(wire, &empty_head(&busy, false), false, shared).await?;
            return Ok(false);
        };
        Some(pass)
    } else {
        None
    };
    let of = grant.content.length();
    tell(What::Started { first, bytes, of });
    let waits = pass.as_ref().is_some_and(Pass::waits);
    let mut transfer = Transfer {
        wire,
        from,
        shared,
        grant: &grant,
        first,
        bytes,
        at: 0,
        taken: Instant::now(),
        reported: false,
    };
    if bytes <= TOGETHER_BYTES && pass.is_none() {
        transfer.together(head).await?;
    } else {
        send_head(transfer.wire, &head, !waits, shared).await?;
        transfer.run(pass).await?;
    }
    transfer.reported = true;
    tell(What::Sent { first, bytes, of });
    Ok(request.keep_alive)
}

/// Whether the connection ends with this answer though the client would keep it.  Who is refused a file by GET: shim on
/// edk2 then does nothing until the server hangs up, for each of the three files that it can do without.
fn ends(request: &Request, status: &Status) -> bool {
    request.method == Method::Get && !matches!(status, Status::NotModified { .. })
}

async fn send_head(wire: &mut Wire, head: &[u8], more: bool, shared: &Shared) -> io::Result<()> {
    let sent = async {
        wire.head(head, more).await?;
        if more { Ok(()) } else { wire.flush().await }
    };
    timeout(shared.limits.header, sent).await?
}

/// One body on its way.  Dropped early, it tells how far it came.
struct Transfer<'a> {
    wire: &'a mut Wire,
    from: SocketAddr,
    shared: &'a Arc<Shared>,
    grant: &'a Grant,
    first: u64,
    bytes: u64,
    at: u64,
    /// When the client last took anything.
    taken: Instant,
    reported: bool,
}

enum Pumped {
    All,
    Stalled,
}

enum Step {
    Sent(io::Result<u64>),
    Time,
    Turn,
}

impl Transfer<'_> {
    /// Head and body at once.
    async fn together(&mut self, mut head: Vec<u8>) -> io::Result<()> {
        let start = head.len();
        head.resize(start.saturating_add(usize::try_from(self.bytes).map_err(io::Error::other)?), 0);
        let body = head.get_mut(start..).unwrap_or_default();
        if self.grant.content.read_at(body, self.first)? < body.len() {
            // The file ended before its length: it was cut.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.unchanged()?;
        send_head(self.wire, &head, false, self.shared).await?;
        self.at = self.bytes;
        Ok(())
    }

    async fn run(&mut self, mut pass: Option<Pass>) -> io::Result<()> {
        let mut stalls = 0_u32;
        loop {
            if let Some(pass) = &mut pass
                && pass.waits()
            {
                self.tell(What::Queued { place: pass.place });
                self.wait(pass).await?;
                self.tell(What::Admitted);
            }
            match self.pump().await? {
                Pumped::All => return timeout(self.shared.limits.dead, self.wire.flush()).await?,
                Pumped::Stalled => {
                    stalls = stalls.saturating_add(1);
                    if stalls > STALLS_MAX {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.tell(What::Stalled { at: self.at });
                    if pass.take().is_some() {
                        let again = self.shared.turnstile.arrive(self.from.ip());
                        pass = Some(again.ok_or(io::ErrorKind::QuotaExceeded)?);
                    }
                }
            }
        }
    }

    /// Sends until all is sent, or less than the least went out in one window of time.
    async fn pump(&mut self) -> io::Result<Pumped> {
        let limits = &self.shared.limits;
        let mut window = pin!(sleep(limits.stall));
        let mut moved = 0_u64;
        let mut turn = 0_u64;
        let mut looked = 0_u64;
        while self.left() > 0 {
            let mut left = self.left();
            // The last piece waits until the file was looked at: what changed on the way never arrives as whole.
            let last = u64::try_from(SEND_BYTES).unwrap_or(u64::MAX).min(self.bytes / 2);
            if left <= last || looked >= LOOK_BYTES {
                self.unchanged()?;
                looked = 0;
            } else {
                left = left.saturating_sub(last);
            }
            let content: &Content = &self.grant.content;
            let (at, wire) = (self.first.saturating_add(self.at), &mut *self.wire);
            let step = poll_fn(|cx| match wire.poll_body(cx, content, at, left) {
                Poll::Ready(sent) => Poll::Ready(Step::Sent(sent)),
                Poll::Pending => window.as_mut().poll(cx).map(|()| Step::Time),
            });
            match step.await {
                Step::Sent(sent) => {
                    let sent = sent?;
                    self.at = self.at.saturating_add(sent);
                    moved = moved.saturating_add(sent);
                    turn = turn.saturating_add(sent);
                    looked = looked.saturating_add(sent);
                    if turn >= TURN_BYTES {
                        turn = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Step::Time | Step::Turn => {
                    if moved > 0 {
                        self.taken = Instant::now();
                    }
                    self.alive()?;
                    if moved < limits.stall_bytes_min {
                        return Ok(Pumped::Stalled);
                    }
                    moved = 0;
                    window.as_mut().reset(Instant::now() + limits.stall);
                }
            }
        }
        Ok(Pumped::All)
    }

    /// Until its turn comes; a few bytes meanwhile.
    async fn wait(&mut self, pass: &mut Pass) -> io::Result<()> {
        let limits = &self.shared.limits;
        loop {
            let mut pause = pin!(sleep(limits.trickle));
            let step = poll_fn(|cx| match pass.poll_turn(cx) {
                Poll::Ready(()) => Poll::Ready(Step::Turn),
                Poll::Pending => pause.as_mut().poll(cx).map(|()| Step::Time),
            });
            match step.await {
                Step::Turn | Step::Sent(_) => return Ok(()),
                Step::Time => {}
            }
            // The last byte is for the turn itself, so that the end of a transfer is where it seems to be.
            let (at, little) =
                (self.first.saturating_add(self.at), TRICKLE_BYTES.min(self.left().saturating_sub(1)));
            if little == 0 {
                continue;
            }
            self.unchanged()?;
            let (wire, content) = (&mut *self.wire, &self.grant.content);
            let sent = poll_fn(|cx| Poll::Ready(wire.poll_body(cx, content, at, little))).await;
            match sent {
                Poll::Ready(sent) => {
                    self.at = self.at.saturating_add(sent?);
                    self.taken = Instant::now();
                }
                Poll::Pending => self.alive()?,
            }
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.taken.elapsed() < self.shared.limits.dead {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }

    fn left(&self) -> u64 {
        self.bytes.saturating_sub(self.at)
    }

    fn unchanged(&self) -> io::Result<()> {
        if self.grant.content.unchanged() {
            return Ok(());
        }
        self.tell(What::Refused(Why::Changed));
        Err(io::Error::other("the file changed while it was sent"))
    }

    fn tell(&self, what: What) {
        self.shared.gate.tell(Event { from: self.from, tag: Some(self.grant.tag), what });
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.tell(What::Broken { at: self.at, of: self.bytes });
        }
    }
}
