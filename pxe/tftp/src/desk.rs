//! Who may have a transfer, and which packet belongs to which; pure: no socket, no clock.
//!
//! A client is its address and port; it has one transfer.  Requests that are not served cost a look into two tables
//! and nothing that lasts.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use pxe_wire::tftp::{self, Code, Mode, Packet, Request};

use crate::{
    Broken, Event, Files, Limits, What,
    negotiate::{block_bytes_for, terms},
    paths::Paths,
    transfer::{Run, Step, Transfer},
};

/// One drop in so many is told: a flood must not become a flood of events.
const DROPS_TOLD_EVERY: u64 = 1000;

/// Something to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// Which of the answering sockets.
    pub(crate) socket: usize,
    pub(crate) to: SocketAddr,
    /// Our address that the client knows, where the socket listens on all of them.
    pub(crate) source: Option<IpAddr>,
    pub(crate) body: Body,
}

/// What.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// One packet.
    Packet(Vec<u8>),
    /// Consecutive DATA packets.
    Blocks { file: Bytes, block_bytes: u16, first: u64, count: u64, fragment: bool },
}

/// What the kernel knows of the way to a client.
pub(crate) trait Route {
    /// Bytes of an IP packet that go through uncut.
    fn mtu(&self, client: SocketAddr) -> u16;
}

/// All transfers.
pub(crate) struct Desk<R> {
    files: Arc<dyn Files>,
    limits: Limits,
    route: R,
    transfers: HashMap<SocketAddr, Entry>,
    per_client: HashMap<IpAddr, usize>,
    /// Transfers whose client has not answered, oldest first; those that have are skipped when their turn comes.
    unanswered: VecDeque<(SocketAddr, u64)>,
    unanswered_count: usize,
    /// One per transfer, at or before its deadline; those of ended transfers are skipped.
    alarms: BinaryHeap<Reverse<(Duration, SocketAddr, u64)>>,
    paths: Paths,
    begun: u64,
    dropped: u64,
    /// What is to be sent; the caller empties it.
    pub(crate) outbox: Vec<Parcel>,
}

#[derive(Debug)]
struct Entry {
    transfer: Transfer,
    file: Bytes,
    tag: u64,
    socket: usize,
    source: Option<IpAddr>,
    /// Tells this transfer from an earlier one of the same client.
    number: u64,
    /// Blocks went out that routers may cut, and since then all do.
    fragment: bool,
}

impl<R: Route> Desk<R> {
    pub(crate) fn new(files: Arc<dyn Files>, limits: Limits, route: R) -> Self {
        Self {
            files,
            limits,
            route,
            transfers: HashMap::new(),
            per_client: HashMap::new(),
            unanswered: VecDeque::new(),
            unanswered_count: 0,
            alarms: BinaryHeap::new(),
            paths: Paths::default(),
            begun: 0,
            dropped: 0,
            outbox: Vec::new(),
        }
    }

    /// A packet to the well-known port; `source` is the address it was sent to, where that is not plain.
    pub(crate) fn request(&mut self, from: SocketAddr, source: Option<IpAddr>, packet: &[u8], now: Duration) {
        // Nothing that could be a reply is answered: two servers would talk to each other for ever.
        match tftp::parse(packet) {
            Ok(Packet::Read(request)) => self.read(from, source, &request, now),
            Ok(Packet::Write(request)) => {
                self.refuse(from, source, Code::Access, "this server is read-only");
                let name = request.name.to_owned();
                self.files.tell(Event { from, tag: None, what: What::WriteAttempt { name } });
            }
            Ok(Packet::Data { .. } | Packet::Ack(_) | Packet::Error { .. } | Packet::OptionsAck(_)) => {}
            Err(malformed) => {
                if matches!(packet, [0, 1 | 2, ..]) {
                    self.refuse(from, source, Code::Illegal, "malformed request");
                }
                self.files.tell(Event { from, tag: None, what: What::Malformed(malformed) });
            }
        }
    }

    fn read(&mut self, from: SocketAddr, source: Option<IpAddr>, request: &Request<'_>, now: Duration) {
        if let Some(entry) = self.transfers.get_mut(&from) {
            match entry.transfer.asked_again(now) {
                Some(step) => return self.follow(from, step, now),
                None => self.end(from, Some(Broken::AskedAgain), now),
            }
        }
        if request.mode != Mode::Octet {
            self.refuse(from, source, Code::Illegal, "ask in octet (binary) mode");
            return self.files.tell(Event { from, tag: None, what: What::WrongMode });
        }
        let held = self.per_client.get(&from.ip()).copied().unwrap_or_default();
        if held >= self.limits.transfers_per_client_max || self.full() {
            self.dropped = self.dropped.saturating_add(1);
            if self.dropped % DROPS_TOLD_EVERY == 1 {
                self.files.tell(Event { from, tag: None, what: What::TooMany });
            }
            return;
        }
        let opened = match self.files.open(request.name, from) {
            Ok(opened) => opened,
            Err(refusal) => {
                self.refuse(from, source, refusal.code, &refusal.text);
                return self.files.tell(Event { from, tag: None, what: What::Refused(refusal.code) });
            }
        };
        if self.unanswered_count >= self.limits.unanswered_max {
            self.displace(now);
        }
        let mtu = self.limits.mtu_bytes.unwrap_or_else(|| self.route.mtu(from));
        let learnt = self.paths.block_bytes_max(from.ip()).unwrap_or(u16::MAX);
        let block_bytes_max = block_bytes_for(mtu, from.ip()).min(self.limits.block_bytes_max).min(learnt);
        let file_bytes = opened.bytes.len() as u64;
        let terms = terms(&request.options, file_bytes, block_bytes_max, &self.limits);
        let (transfer, step) = Transfer::begin(terms, now);
        self.begun = self.begun.wrapping_add(1);
        let number = self.begun;
        let socket = usize::try_from(number).unwrap_or_default() % self.limits.answer_ports.max(1);
        let started =
            What::Started { asked: request.options, granted: terms.granted, file_bytes, path_mtu: mtu };
        let tag = opened.tag;
        let entry = Entry { transfer, file: opened.bytes, tag, socket, source, number, fragment: false };
        self.alarms.push(Reverse((entry.transfer.deadline(), from, number)));
        self.transfers.insert(from, entry);
        *self.per_client.entry(from.ip()).or_default() += 1;
        self.unanswered.push_back((from, number));
        self.unanswered_count = self.unanswered_count.saturating_add(1);
        self.sweep();
        self.files.tell(Event { from, tag: Some(tag), what: started });
        self.follow(from, step, now);
    }

    fn full(&self) -> bool {
        self.transfers.len().saturating_sub(self.unanswered_count) >= self.limits.transfers_max
    }

    /// A packet to an answering port.
    pub(crate) fn packet(&mut self, socket: usize, from: SocketAddr, packet: &[u8], now: Duration) {
        let parsed = tftp::parse(packet);
        let Some(entry) = self.transfers.get_mut(&from).filter(|entry| entry.socket == socket) else {
            // RFC 1350 section 4: a packet of nobody's transfer is answered with an error.  Only an ACK is: an answer
            // to an error would be answered too.
            if let Ok(Packet::Ack(_)) = parsed {
                let body = Body::Packet(tftp::error(Code::UnknownTransfer, "no such transfer"));
                self.outbox.push(Parcel { socket, to: from, source: None, body });
            }
            return;
        };
        match parsed {
            Ok(Packet::Ack(block)) => {
                let (was_proven, was_acked) = (entry.transfer.proven(), entry.transfer.acked());
                let step = entry.transfer.ack(block, now);
                if !was_proven && entry.transfer.proven() {
                    self.unanswered_count = self.unanswered_count.saturating_sub(1);
                }
                if entry.fragment && was_acked == 0 && entry.transfer.acked() > 0 {
                    let (tag, block_bytes) = (Some(entry.tag), entry.transfer.terms().block_bytes);
                    let next_block_bytes = self.paths.too_large(from.ip(), block_bytes);
                    let what = What::FragmentsPass { block_bytes, next_block_bytes };
                    self.files.tell(Event { from, tag, what });
                }
                self.follow(from, step, now);
            }
            Ok(Packet::Error { code, text }) => {
                let text = text.iter().take(80).map(|byte| match byte {
                    b' '..=b'~' => char::from(*byte),
                    _ => '?',
                });
                self.end(from, Some(Broken::ByClient { code, text: text.collect() }), now);
            }
            Ok(Packet::Read(_) | Packet::Write(_) | Packet::Data { .. } | Packet::OptionsAck(_)) | Err(_) => {
            }
        }
    }

    /// The kernel says that nobody listens there.
    pub(crate) fn unreachable(&mut self, socket: usize, to: SocketAddr, now: Duration) {
        if self.transfers.get(&to).is_some_and(|entry| entry.socket == socket) {
            self.end(to, Some(Broken::Unreachable), now);
        }
    }

    /// When [`Desk::expire`] is next needed.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.alarms.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Looks after those who are silent.
    pub(crate) fn expire(&mut self, now: Duration) {
        while let Some(Reverse((at, client, number))) = self.alarms.peek().copied() {
            if at > now {
                break;
            }
            self.alarms.pop();
            let Some(entry) = self.transfers.get_mut(&client).filter(|entry| entry.number == number) else {
                continue;
            };
            let step = entry.transfer.expired(now);
            if step != Step::GiveUp {
                self.alarms.push(Reverse((entry.transfer.deadline(), client, number)));
            }
            self.follow(client, step, now);
        }
    }

    fn follow(&mut self, client: SocketAddr, step: Step, now: Duration) {
        let Some(entry) = self.transfers.get_mut(&client) else { return };
        let (socket, source) = (entry.socket, entry.source);
        match step {
            Step::Wait => {}
            Step::Greet => {
                let body = Body::Packet(tftp::options_ack(&entry.transfer.terms().granted));
                self.outbox.push(Parcel { socket, to: client, source, body });
                self.lost(client);
            }
            Step::Send(Run { first, count, fragment, lost }) => {
                entry.fragment |= fragment;
                let (file, fragment) = (entry.file.clone(), entry.fragment);
                let block_bytes = entry.transfer.terms().block_bytes;
                let body = Body::Blocks { file, block_bytes, first, count, fragment };
                self.outbox.push(Parcel { socket, to: client, source, body });
                if lost > 0 {
                    self.lost(client);
                }
            }
            Step::Done => self.end(client, None, now),
            Step::GiveUp => {
                let why = if entry.transfer.proven() { Broken::Silent } else { Broken::NeverAnswered };
                if only_small_pass(&entry.transfer) {
                    self.paths.too_large(client.ip(), entry.transfer.terms().block_bytes);
                }
                self.end(client, Some(why), now);
            }
        }
    }

    /// Tells of the third loss of a block and of each doubling.
    fn lost(&self, client: SocketAddr) {
        let Some(entry) = self.transfers.get(&client) else { return };
        let times = entry.transfer.lost();
        if times != 3 && !(times > 3 && times.is_power_of_two()) {
            return;
        }
        let block = if entry.transfer.greeting() { 0 } else { entry.transfer.acked().saturating_add(1) };
        let what = What::Lost {
            block,
            times,
            block_bytes: entry.transfer.terms().block_bytes,
            path_mtu: self.limits.mtu_bytes.unwrap_or_else(|| self.route.mtu(client)),
            only_small_pass: only_small_pass(&entry.transfer),
        };
        self.files.tell(Event { from: client, tag: Some(entry.tag), what });
    }

    fn end(&mut self, client: SocketAddr, why: Option<Broken>, now: Duration) {
        let Some(entry) = self.transfers.remove(&client) else { return };
        if let Some(held) = self.per_client.get_mut(&client.ip()) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.per_client.remove(&client.ip());
            }
        }
        if !entry.transfer.proven() {
            self.unanswered_count = self.unanswered_count.saturating_sub(1);
        }
        let seconds = entry.transfer.age(now).as_secs_f64();
        let resent_blocks = entry.transfer.resent();
        let what = match why {
            None => What::Done { seconds, bytes: entry.file.len() as u64, resent_blocks },
            Some(why) => {
                let (acked, blocks) = (entry.transfer.acked(), entry.transfer.blocks());
                What::Broken { acked, blocks, seconds, resent_blocks, why }
            }
        };
        self.files.tell(Event { from: client, tag: Some(entry.tag), what });
    }

    /// Ends the oldest transfer whose client has not answered.
    fn displace(&mut self, now: Duration) {
        while let Some((client, number)) = self.unanswered.pop_front() {
            if self.waits_for_answer(client, number) {
                return self.end(client, Some(Broken::Displaced), now);
            }
        }
    }

    fn waits_for_answer(&self, client: SocketAddr, number: u64) -> bool {
        self.transfers.get(&client).is_some_and(|entry| entry.number == number && !entry.transfer.proven())
    }

    /// Forgets alarms and claims of transfers that ended, before they outnumber the living by far.
    fn sweep(&mut self) {
        if self.alarms.len() > 1024 + self.transfers.len().saturating_mul(4) {
            let transfers = &self.transfers;
            self.alarms.retain(|Reverse((_, client, number))| {
                transfers.get(client).is_some_and(|entry| entry.number == *number)
            });
        }
        if self.unanswered.len() > 1024 + self.unanswered_count.saturating_mul(4) {
            let mut queue = std::mem::take(&mut self.unanswered);
            queue.retain(|(client, number)| self.waits_for_answer(*client, *number));
            self.unanswered = queue;
        }
    }

    fn refuse(&mut self, to: SocketAddr, source: Option<IpAddr>, code: Code, text: &str) {
        // Spread by the port, which differs from client to client.
        let socket = usize::from(to.port()) % self.limits.answer_ports.max(1);
        let body = Body::Packet(tftp::error(code, text));
        self.outbox.push(Parcel { socket, to, source, body });
    }
}

/// Whether the OACK arrived and no full block did.
fn only_small_pass(transfer: &Transfer) -> bool {
    transfer.proven() && transfer.acked() == 0 && !transfer.greeting()
}

impl<R> std::fmt::Debug for Desk<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("transfers", &self.transfers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
